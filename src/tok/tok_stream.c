#include "tok/tok.h"

#include <string.h>

#include "base/utf8.h"
#include "tok/tok_int.h"

enum { MAX_PIECE_BYTES = 4 * TOK_MAX_TEXT };

void tok_stream_init(tok_stream *s, const tok_vocab *v, bool special, bool continues)
{
    *s = (tok_stream){.v = v, .special = special, .at_start = !continues};
}

/* Valid characters as they are, each run of bytes that is none as U+FFFD. */
static void put_valid(const char *text, size_t n, buf *out)
{
    if (utf8_valid(text, n)) {
        (void)buf_append(out, text, n); /* sticky in out: looked at by the caller */
        return;
    }
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        char bytes[4];
        i += utf8_decode(text + i, n - i, &cp);
        (void)buf_append(out, bytes, utf8_encode(cp, bytes));
    }
}

/* The held bytes and the piece of id, in piece. */
static cama_err gather(tok_stream *s, int32_t id, buf *piece, err_info *err)
{
    (void)buf_append(piece, s->held, s->n_held); /* sticky: tok_piece looks at it */
    cama_err e = tok_piece(s->v, id, s->special, piece, err);
    if (e)
        return e;
    if (s->at_start && s->v->add_space_prefix && piece->n && piece->data[0] == ' ')
        buf_drop_front(piece, 1);
    return buf_error(piece, "text of a token", err);
}

cama_err tok_stream_push(tok_stream *s, int32_t id, buf *out, err_info *err)
{
    buf piece;
    buf_init(&piece, MAX_PIECE_BYTES);
    cama_err e = gather(s, id, &piece, err);
    if (!e) {
        const size_t whole = piece.n ? utf8_whole(piece.data, piece.n) : 0;
        const size_t n_before = out->n;
        if (whole)
            put_valid(piece.data, whole, out);
        e = buf_error(out, "generated text", err);
        if (e) {
            out->n = n_before;
        } else {
            s->at_start = false;
            s->n_held = piece.n - whole;
            if (s->n_held)
                memcpy(s->held, piece.data + whole, s->n_held);
        }
    }
    buf_done(&piece);
    return e;
}

cama_err tok_stream_end(tok_stream *s, buf *out, err_info *err)
{
    if (s->n_held)
        put_valid(s->held, s->n_held, out);
    s->n_held = 0;
    return buf_error(out, "generated text", err);
}
