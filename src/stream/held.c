#include "stream/held.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_CAP 8

void held_init(held_probs *h)
{
    *h = (held_probs){0};
    buf_init(&h->text, HELD_MAX_TEXT);
}

void held_done(held_probs *h)
{
    free(h->tokens);
    free(h->probs);
    free(h->alts);
    buf_done(&h->text);
}

/* Room for one more token and for what is told of all. Each array is replaced as it grows, so that
 * a failure leaves all three as they can be used. */
static cama_err grow(held_probs *h, err_info *err)
{
    if (h->n < h->cap)
        return CAMA_OK;
    if (h->cap >= HELD_MAX)
        return err_set(err, CAMA_ERR_LIMIT, "stream: %zu tokens wait to be told, at most %d", h->n,
                       HELD_MAX);
    size_t cap = h->cap ? 2 * h->cap : FIRST_CAP;
    cap = cap < HELD_MAX ? cap : HELD_MAX;
    held_token *tokens = realloc(h->tokens, cap * sizeof *tokens);
    if (tokens)
        h->tokens = tokens;
    stream_prob *probs = realloc(h->probs, cap * sizeof *probs);
    if (probs)
        h->probs = probs;
    stream_alt *alts = realloc(h->alts, cap * STREAM_MAX_TOP * sizeof *alts);
    if (alts)
        h->alts = alts;
    if (!tokens || !probs || !alts)
        return err_set(err, CAMA_ERR_NOMEM, "stream: no memory for probabilities of %zu tokens",
                       cap);
    h->cap = cap;
    return CAMA_OK;
}

static cama_err add_alt(held_probs *h, const tok_stream *as, const stream_alt *from, held_alt *to,
                        err_info *err)
{
    *to = (held_alt){.id = from->id, .logprob = from->logprob, .at = h->text.n};
    const cama_err e = tok_piece(as->v, from->id, as->special, &h->text, err);
    if (!e)
        to->n = h->text.n - to->at;
    return e;
}

cama_err held_add(held_probs *h, const tok_stream *as, const stream_prob *p, size_t end,
                  err_info *err)
{
    if (p->n_top > STREAM_MAX_TOP)
        return err_set(err, CAMA_ERR_LIMIT, "stream: %zu alternatives to a token, at most %d",
                       p->n_top, STREAM_MAX_TOP);
    cama_err e = grow(h, err);
    if (e)
        return e;
    held_token *t = &h->tokens[h->n];
    const size_t n_before = h->text.n;
    e = add_alt(h, as, &p->token, &t->token, err);
    if (e || !t->token.n)
        return e;
    t->start = end > t->token.n ? end - t->token.n : 0;
    t->n_top = p->n_top;
    for (size_t i = 0; i < p->n_top && !e; i++)
        e = add_alt(h, as, &p->top[i], &t->top[i], err);
    if (e)
        h->text.n = n_before;
    else
        h->n++;
    return e;
}

static stream_alt told(const held_probs *h, const held_alt *a)
{
    return (stream_alt){
        .id = a->id,
        .logprob = a->logprob,
        .text = a->n ? h->text.data + a->at : "",
        .n_text = a->n,
    };
}

size_t held_before(held_probs *h, size_t n, const stream_prob **out)
{
    size_t i = 0;
    for (; i < h->n && h->tokens[i].start < n; i++) {
        const held_token *t = &h->tokens[i];
        stream_alt *top = h->alts + i * STREAM_MAX_TOP;
        for (size_t k = 0; k < t->n_top; k++)
            top[k] = told(h, &t->top[k]);
        h->probs[i] = (stream_prob){.token = told(h, &t->token), .top = top, .n_top = t->n_top};
    }
    *out = h->probs;
    return i;
}

void held_drop_front(held_probs *h, size_t n)
{
    size_t gone = 0;
    while (gone < h->n && h->tokens[gone].start < n)
        gone++;
    const size_t n_text = gone < h->n ? h->tokens[gone].token.at : h->text.n;
    h->n -= gone;
    if (gone)
        memmove(h->tokens, h->tokens + gone, h->n * sizeof *h->tokens);
    for (size_t i = 0; i < h->n; i++) {
        held_token *t = &h->tokens[i];
        t->start -= n;
        t->token.at -= n_text;
        for (size_t k = 0; k < t->n_top; k++)
            t->top[k].at -= n_text;
    }
    buf_drop_front(&h->text, n_text);
}
