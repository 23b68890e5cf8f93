/* Any bytes through every pre-tokenizer and algorithm: ids are tokens, and lead back to the text.
 * The first byte chooses the vocabulary, the second the flags. */
#include "tok_small.h"

#include <stdint.h>

#include "tok/tok_pre.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { MAX_PRE = 128 };

static tok_vocab *bpe[MAX_PRE];
static size_t n_bpe;
static tok_vocab *spm;
static tok_vocab *wpm;
static tok_vocab *ugm;

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void open_all(void)
{
    static small_vocab s;
    for (size_t i = 0; tok_pre_at(i); i++) {
        small_init(&s, SMALL_BPE);
        s.def.pre = (tok_str){tok_pre_at(i)->name, strlen(tok_pre_at(i)->name)};
        s.def.clean_spaces = 0;
        check(i < MAX_PRE && tok_open(&s.def, &bpe[i], NULL) == CAMA_OK);
        n_bpe++;
    }
    small_init(&s, SMALL_SPM);
    check(tok_open(&s.def, &spm, NULL) == CAMA_OK);
    small_init(&s, SMALL_WPM);
    check(tok_open(&s.def, &wpm, NULL) == CAMA_OK);
    small_init(&s, SMALL_UGM);
    check(tok_open(&s.def, &ugm, NULL) == CAMA_OK);
}

/* What the ids of a byte-level vocabulary stand for: a byte that is no UTF-8 becomes U+FFFD. */
static void put_repaired(const char *text, size_t n, buf *out)
{
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        const size_t step = utf8_decode(text + i, n - i, &cp);
        if (utf8_valid(text + i, step))
            (void)buf_append(out, text + i, step);
        else
            for (size_t k = 0; k < step; k++)
                (void)buf_puts(out, "\xEF\xBF\xBD");
        i += step;
    }
}

/* Where U+2581 stands for a space, the two cannot be told apart on the way back. */
static void put_spaces(const char *text, size_t n, buf *out)
{
    for (size_t i = 0; i < n;) {
        const bool mark = n - i >= 3 && memcmp(text + i, "▁", 3) == 0;
        (void)buf_append(out, mark ? " " : text + i, 1);
        i += mark ? 3 : 1;
    }
}

static void check_round_trip(const tok_vocab *v, const char *text, size_t n, const tok_ids *ids)
{
    buf want;
    buf decoded;
    buf got;
    buf_init(&want, SIZE_MAX);
    buf_init(&decoded, SIZE_MAX);
    buf_init(&got, SIZE_MAX);
    check(tok_decode(v, ids->id, ids->n, true, &decoded, NULL) == CAMA_OK);
    if (v == spm) {
        put_spaces(text, n, &want);
        put_spaces(decoded.data, decoded.n, &got);
    } else {
        put_repaired(text, n, &want);
        (void)buf_append(&got, decoded.data, decoded.n);
    }
    check(want.n == got.n && (want.n == 0 || memcmp(want.data, got.data, want.n) == 0));
    buf_done(&want);
    buf_done(&decoded);
    buf_done(&got);
}

/* A vocabulary whose ids say all that the text said. */
static bool is_lossless(const tok_vocab *v, size_t which, bool parse_special)
{
    if (v == wpm || v == ugm)
        return false;
    if (v == spm) /* after a special token a space is added, and stays */
        return !parse_special;
    const tok_pre *pre = tok_pre_at(which);
    return !(pre->effects & TOK_PRE_CHARS) && !strstr(pre->name, "jina-v2");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (!spm)
        open_all();
    if (n < 2)
        return 0;
    const size_t which = data[0] % (n_bpe + 3);
    const tok_vocab *const others[] = {spm, wpm, ugm};
    const tok_vocab *v = which < n_bpe ? bpe[which] : others[which - n_bpe];
    const tok_flags flags = {.parse_special = data[1] & 1};
    const char *text = (const char *)data + 2;
    tok_ids ids;
    tok_ids_init(&ids, 8 * n + 8);
    const cama_err e = tok_encode(v, text, n - 2, flags, &ids, NULL);
    check(e == CAMA_OK);
    for (size_t i = 0; i < ids.n; i++)
        check(ids.id[i] >= 0 && (uint32_t)ids.id[i] < tok_n_token(v));
    if (is_lossless(v, which, flags.parse_special))
        check_round_trip(v, text, n - 2, &ids);
    tok_ids_done(&ids);
    return 0;
}
