#include "stream/stream.h"

#include <stdlib.h>

#include "base/utf8.h"
#include "stream/held.h"
#include "stream/stop.h"

struct stream {
    stream_sink sink;
    tok_stream bytes;
    stop_set stop;
    held_probs probs;   /* of tokens in text, when the job asks for them */
    buf text;           /* whole characters that the sink has not seen */
    size_t n_scanned;   /* of text, the stop strings have read so far */
    int32_t stop_index; /* found; -1: none */
    bool ignore_eog;
    bool told; /* the sink knows the end */
};

cama_err stream_open(const stream_opts *o, const stream_sink *sink, stream **out, err_info *err)
{
    stream *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(err, CAMA_ERR_NOMEM, "stream: no memory for a stream");
    s->sink = *sink;
    s->stop_index = -1;
    s->ignore_eog = o->ignore_eog;
    tok_stream_init(&s->bytes, o->vocab, o->special, true);
    buf_init(&s->text, STREAM_MAX_TEXT);
    held_init(&s->probs);
    const cama_err e = stop_init(&s->stop, o->stop, o->n_stop, err);
    if (e) {
        stream_close(s);
        return e;
    }
    *out = s;
    return CAMA_OK;
}

void stream_close(stream *s)
{
    if (!s)
        return;
    stop_done(&s->stop);
    buf_done(&s->text);
    held_done(&s->probs);
    free(s);
}

/* Lets the stop strings read what is new. True: one ended, and text now ends where it began. */
static bool scan(stream *s)
{
    for (; s->n_scanned < s->text.n; s->n_scanned++) {
        const stop_string *found = stop_byte(&s->stop, s->text.data[s->n_scanned]);
        if (!found)
            continue;
        /* What a stop string covers was held: it is all still here. */
        s->text.n = s->n_scanned + 1 - found->n;
        s->text.n = utf8_whole(s->text.data, s->text.n);
        s->stop_index = found->index;
        return true;
    }
    return false;
}

/* A stop string may begin in the middle of a character: then the character is held too. */
static size_t whole_before(const stream *s, size_t n)
{
    while (n > 0 && n < s->text.n && ((unsigned char)s->text.data[n] & 0xC0) == 0x80)
        n--;
    return n;
}

static stream_flow give(stream *s, size_t n)
{
    n = whole_before(s, n);
    if (!n)
        return STREAM_GO;
    const stream_prob *probs;
    const size_t n_prob = held_before(&s->probs, n, &probs);
    const stream_flow flow = s->sink.text(s->sink.user, s->text.data, n, probs, n_prob);
    held_drop_front(&s->probs, n);
    buf_drop_front(&s->text, n);
    s->n_scanned = s->n_scanned > n ? s->n_scanned - n : 0;
    return flow;
}

stream_state stream_token(stream *s, int32_t id, const stream_prob *prob, err_info *err)
{

    if (!s->ignore_eog && tok_is_eog(s->bytes.v, id))
        return STREAM_ENDED;
    if (tok_stream_push(&s->bytes, id, &s->text, err))
        return STREAM_BROKEN;
    if (prob && held_add(&s->probs, &s->bytes, prob, s->text.n + s->bytes.n_held, err))
        return STREAM_BROKEN;
    if (scan(s))
        return STREAM_ENDED;
    switch (give(s, s->text.n - stop_held(&s->stop))) {
    case STREAM_PAUSE:
        return STREAM_PAUSED;
    case STREAM_CLOSE:
        return STREAM_LEFT;
    case STREAM_GO:
        break;
    }
    return STREAM_RUNS;
}

bool stream_ready(stream *s)
{
    return !s->sink.ready || s->sink.ready(s->sink.user);
}

void stream_vector(stream *s, const float *v, size_t n)
{
    if (s->sink.vector)
        s->sink.vector(s->sink.user, v, n);
}

void stream_done(stream *s, stream_end *end)
{
    if (s->told)
        return;
    s->told = true;
    /* The end of text may complete a stop string by itself: U+FFFD for what never became whole. */
    if (s->stop_index < 0 && end->reason != STREAM_CANCELED) {
        err_info err;
        if (tok_stream_end(&s->bytes, &s->text, &err)) {
            s->sink.fail(s->sink.user, &err);
            return;
        }
        (void)scan(s);
    }
    if (end->reason != STREAM_CANCELED)
        (void)give(s, s->text.n); /* nothing follows that a full sink could delay */
    end->stop_index = s->stop_index;
    s->sink.done(s->sink.user, end);
}

void stream_fail(stream *s, const err_info *err)
{
    if (s->told)
        return;
    s->told = true;
    s->sink.fail(s->sink.user, err);
}
