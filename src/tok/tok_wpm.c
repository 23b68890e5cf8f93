#include "tok/tok_int.h"

#include <utf8proc.h>

#include "base/utf8.h"
#include "tok/tok_class.h"

/* The ideographs that BERT takes one by one. 2B920 for 2B820 is its own slip, kept by everyone. */
static bool is_ideograph(uint32_t cp)
{
    return (cp >= 0x4E00 && cp <= 0x9FFF) || (cp >= 0x3400 && cp <= 0x4DBF) ||
           (cp >= 0x20000 && cp <= 0x2A6DF) || (cp >= 0x2A700 && cp <= 0x2B73F) ||
           (cp >= 0x2B740 && cp <= 0x2B81F) || (cp >= 0x2B920 && cp <= 0x2CEAF) ||
           (cp >= 0xF900 && cp <= 0xFAFF) || (cp >= 0x2F800 && cp <= 0x2FA1F);
}

/* A letter without its marks: the first code point of its canonical decomposition. */
static uint32_t base_of(uint32_t cp)
{
    utf8proc_int32_t parts[8];
    if (cp < 0x80)
        return cp;
    const utf8proc_ssize_t n =
        utf8proc_decompose_char((utf8proc_int32_t)cp, parts, 8, UTF8PROC_DECOMPOSE, NULL);
    return n > 0 ? (uint32_t)parts[0] : cp;
}

static uint32_t lower_of(uint32_t cp)
{
    if (cp < 0x80)
        return cp >= 'A' && cp <= 'Z' ? cp + 'a' - 'A' : cp;
    return (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp);
}

/* Longest match first, from the left. One part that is no token makes the whole word unknown. */
static cama_err encode_word(const tok_vocab *v, const char *word, size_t n, tok_ids *ids,
                            err_info *err)
{
    const size_t n_before = ids->n;
    for (size_t i = 0; i < n;) {
        size_t k = n - i < v->max_text ? n - i : v->max_text;
        int32_t id = TOK_NONE;
        while (k > 0 && (id = tok_find(v, word + i, k)) < 0)
            k--;
        if (id < 0) {
            ids->n = n_before;
            return v->special.unk >= 0 ? tok_push_id(ids, v->special.unk, err) : CAMA_OK;
        }
        const cama_err e = tok_push_id(ids, id, err);
        if (e)
            return e;
        i += k;
    }
    return CAMA_OK;
}

/* The word gathered in s->word, if there is one; the next starts with U+2581. */
static cama_err end_word(const tok_vocab *v, tok_scratch *s, tok_ids *ids, err_info *err)
{
    cama_err e = buf_error(&s->word, "word", err);
    if (!e && s->word.n > sizeof TOK_SPACE - 1)
        e = encode_word(v, s->word.data, s->word.n, ids, err);
    buf_clear(&s->word);
    (void)buf_puts(&s->word, TOK_SPACE); /* sticky: seen at the next end */
    return e;
}

static void put_char(tok_scratch *s, uint32_t cp)
{
    char bytes[4];
    const size_t n = utf8_encode(cp, bytes);
    (void)buf_append(&s->word, bytes, n); /* sticky: seen at the end of the word */
}

static cama_err take_char(const tok_vocab *v, uint32_t cp, tok_scratch *s, tok_ids *ids,
                          err_info *err)
{
    if (v->strip_accents)
        cp = base_of(cp);
    const tok_class cls = tok_class_of(cp);
    if (cls == TOK_CLASS_SPACE)
        return end_word(v, s, ids, err);
    if (cp == 0 || cp == UTF8_REPLACEMENT || cls == TOK_CLASS_CONTROL ||
        (v->strip_accents && cls == TOK_CLASS_MARK))
        return CAMA_OK;
    const uint32_t folded = v->lowercase ? lower_of(cp) : cp;
    if (cls != TOK_CLASS_PUNCT && !(cp < 0x7F && cls == TOK_CLASS_SYMBOL) && !is_ideograph(cp)) {
        put_char(s, folded);
        return CAMA_OK;
    }
    cama_err e = end_word(v, s, ids, err);
    put_char(s, folded);
    return e ? e : end_word(v, s, ids, err);
}

cama_err tok_wpm_encode(const tok_vocab *v, const char *text, size_t n, tok_scratch *s,
                        tok_ids *ids, err_info *err)
{
    cama_err e = tok_clean_text(text, n, false, &s->text, err);
    buf_clear(&s->word);
    (void)buf_puts(&s->word, TOK_SPACE); /* sticky: seen at the end of the word */
    for (size_t i = 0; !e && i < s->text.n;) {
        uint32_t cp;
        i += utf8_decode(s->text.data + i, s->text.n - i, &cp);
        e = take_char(v, cp, s, ids, err);
    }
    return e ? e : end_word(v, s, ids, err);
}
