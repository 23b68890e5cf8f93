#include "tok/tok_int.h"

#include <string.h>

#include "base/utf8.h"

/* "<0x0A>" is what a byte token's text looks like. */
static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static cama_err put_byte(tok_str text, buf *out)
{
    if (text.n == 6 && memcmp(text.text, "<0x", 3) == 0 && hex_digit(text.text[3]) >= 0 &&
        hex_digit(text.text[4]) >= 0)
        return buf_putc(out, (char)(hex_digit(text.text[3]) << 4 | hex_digit(text.text[4])));
    return buf_append(out, text.text, text.n);
}

/* U+2581 back to spaces. */
static cama_err put_escaped(tok_str text, buf *out)
{
    for (size_t i = 0; i < text.n;) {
        if (text.n - i >= 3 && memcmp(text.text + i, TOK_SPACE, 3) == 0) {
            (void)buf_putc(out, ' '); /* sticky: looked at below */
            i += 3;
        } else {
            (void)buf_putc(out, text.text[i++]);
        }
    }
    return out->fail;
}

/* GPT-2's characters back to bytes; a character that stands for none is itself. */
static cama_err put_mapped(tok_str text, buf *out)
{
    for (size_t i = 0; i < text.n;) {
        uint32_t cp;
        const size_t step = utf8_decode(text.text + i, text.n - i, &cp);
        const int byte = tok_char_to_byte(cp);
        if (byte >= 0)
            (void)buf_putc(out, (char)byte); /* sticky: looked at below */
        else
            (void)buf_append(out, text.text + i, step);
        i += step;
    }
    return out->fail;
}

cama_err tok_piece(const tok_vocab *v, int32_t id, bool special, buf *out, err_info *err)
{
    if (id < 0 || (uint32_t)id >= v->n_token)
        return err_set(err, CAMA_ERR_ARG, "token %d is not one of the vocabulary's %u", id,
                       v->n_token);
    if (v->kind == TOK_KIND_NONE)
        return CAMA_OK;
    const tok_str text = v->text[id];
    switch ((tok_attr)v->attr[id]) {
    case TOK_CONTROL:
    case TOK_UNKNOWN:
        if (special)
            (void)buf_append(out, text.text, text.n); /* sticky: looked at below */
        break;
    case TOK_USER:
        (void)buf_append(out, text.text, text.n);
        break;
    case TOK_NORMAL:
        if (v->kind == TOK_KIND_BPE && !v->bpe.chars)
            (void)put_mapped(text, out);
        else
            (void)put_escaped(text, out);
        break;
    case TOK_BYTE:
        (void)put_byte(text, out);
        break;
    case TOK_UNDEFINED:
    case TOK_UNUSED:
        break;
    }
    return buf_error(out, "text of tokens", err);
}

/* ---- spaces that the tokenizer of the training put between words -------------------------------
 */

static bool is_one_of(char c, const char *set)
{
    return c && strchr(set, c);
}

/* " ?" becomes "?". Gives the new length, as do the two below. */
static size_t join_marks(char *text, size_t n)
{
    size_t to = 0;
    for (size_t i = 0; i < n; i++) {
        if (i && text[i - 1] == ' ' && is_one_of(text[i], "?!.,"))
            to--;
        text[to++] = text[i];
    }
    return to;
}

/* "x ' y" becomes "x'y". */
static size_t join_quotes(char *text, size_t n)
{
    size_t to = 0;
    for (size_t i = 0; i < n; i++) {
        const bool alone =
            text[i] == '\'' && i && i + 1 < n && text[i - 1] == ' ' && text[i + 1] == ' ';
        if (alone)
            to--;
        text[to++] = text[i];
        if (alone) { /* what follows is not after a space */
            i++;
            text[i] = '\0';
        }
    }
    return to;
}

/* "it 's" becomes "it's"; llama.cpp joins 's 'm 're 've and no others. */
static size_t join_contractions(char *text, size_t n)
{
    size_t to = 0;
    for (size_t i = 0; i < n; i++) {
        if (i && i + 1 < n && text[i - 1] == ' ' && text[i] == '\'') {
            const char next = text[i + 1];
            if (next == 's' || next == 'm' ||
                (i + 2 < n && text[i + 2] == 'e' && (next == 'r' || next == 'v')))
                to--;
        }
        text[to++] = text[i];
    }
    return to;
}

cama_err tok_decode(const tok_vocab *v, const int32_t *ids, size_t n, bool special, buf *out,
                    err_info *err)
{
    const size_t from = out->n;
    cama_err e = CAMA_OK;
    for (size_t i = 0; !e && i < n; i++) {
        e = tok_piece(v, ids[i], special, out, err);
        if (!e && i == 0 && v->add_space_prefix && out->n > from && out->data[from] == ' ') {
            memmove(out->data + from, out->data + from + 1, out->n - from);
            out->n--;
        }
    }
    if (e) {
        out->n = from;
        return e;
    }
    if (v->clean_spaces && out->n > from) {
        char *text = out->data + from;
        size_t n_text = join_marks(text, out->n - from);
        n_text = join_quotes(text, n_text);
        n_text = join_contractions(text, n_text);
        out->n = from + n_text;
        out->data[out->n] = '\0';
    }
    return CAMA_OK;
}
