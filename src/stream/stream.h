/* stream.h - from token ids to what a reader sees.
 *
 *     id -> bytes -> whole characters -> text that no stop string can still take back -> the sink
 *
 * The sink is handed in at the door with the job; this room calls it and knows nothing of sockets.
 * Text that could be the beginning of a stop string is held until the next tokens decide. A stop
 * string is found the moment its last byte comes, however the tokens cut it, so the answer does not
 * depend on the vocabulary's pieces; of several that end at the same byte the longest counts.
 *
 * Life: stream_open ... any number of stream_token ... exactly one of stream_done, stream_fail
 * (which tell the sink, once), stream_close. Engine thread only.
 */
#ifndef STREAM_STREAM_H
#define STREAM_STREAM_H

#include "tok/tok.h"

#define STREAM_MAX_STOP 64
#define STREAM_MAX_STOP_BYTES 1024 /* of one stop string */
#define STREAM_MAX_TEXT (1u << 20) /* of one token with what was held before it */
#define STREAM_MAX_TOP 20          /* alternatives that are told with a token */

typedef enum stream_flow {
    STREAM_GO,    /* taken, and there is room for more */
    STREAM_PAUSE, /* taken, but no more until ready() */
    STREAM_CLOSE  /* the reader has gone */
} stream_flow;

/* A token and how likely it was: the logarithm of its share of the whole vocabulary, before any
 * sampler. text: its own bytes, which may be a piece of a character. */
typedef struct stream_alt {
    int32_t id;
    float logprob;
    const char *text;
    size_t n_text;
} stream_alt;

/* A token of the answer, and the likeliest ones in its place, best first. */
typedef struct stream_prob {
    stream_alt token;
    const stream_alt *top; /* [n_top] */
    size_t n_top;
} stream_prob;

typedef enum stream_reason { STREAM_STOP, STREAM_LENGTH, STREAM_CANCELED } stream_reason;

/* What an answer came to. Times are of the wall, from the job's admission. */
typedef struct stream_end {
    stream_reason reason;
    bool context_full;  /* LENGTH: it was the context that ended it */
    int32_t stop_index; /* which stop string ended it; -1: none */
    uint32_t n_prompt, n_cached, n_token, seed;
    uint32_t n_shift;   /* times that the full context was cut to go on */
    uint32_t n_dropped; /* tokens that these cuts took out of it */
    uint64_t queue_ns;  /* from submission to admission */
    uint64_t prompt_ns; /* from admission to the first token */
    uint64_t eval_ns;   /* from the first token to the last */
    const int32_t *ids; /* [n_id]: prompt and answer, also what was dropped; for the call */
    size_t n_id;
} stream_end;

/* Where an answer goes. Calls come from the engine thread and must not block. */
typedef struct stream_sink {
    void *user;
    /* Whole UTF-8, n >= 1. probs: where the job asked for them, each token whose text begins in
     * this piece (its end may be in a later one, or be cut by a stop string); a token without text
     * is in none. All memory is for the call. */
    stream_flow (*text)(void *user, const char *text, size_t n, const stream_prob *probs,
                        size_t n_prob);
    bool (*ready)(void *user); /* asked while paused; NULL: it never pauses */
    void (*vector)(void *user, const float *v, size_t n); /* an embedding; may be NULL */
    void (*done)(void *user, const stream_end *end);
    void (*fail)(void *user, const err_info *err);
} stream_sink;

typedef struct stream_opts {
    const tok_vocab *vocab;  /* borrowed */
    const char *const *stop; /* n_stop of them; copied. Empty strings are ignored */
    size_t n_stop;
    bool ignore_eog;
    bool special; /* control tokens are written out */
} stream_opts;

typedef struct stream stream; /* opaque: the struct is in stream.c */

/* CAMA_ERR_LIMIT names a stop string that is too long, or their number; CAMA_ERR_NOMEM. */
cama_err stream_open(const stream_opts *o, const stream_sink *sink, stream **out, err_info *err);
void stream_close(stream *s); /* accepts NULL; tells nobody */

typedef enum stream_state {
    STREAM_RUNS,
    STREAM_PAUSED, /* runs on when stream_ready */
    STREAM_ENDED,  /* the model ended it, or a stop string did: stream_done(STREAM_STOP) */
    STREAM_LEFT,   /* the reader has gone: stream_done(STREAM_CANCELED) */
    STREAM_BROKEN  /* *err says why: stream_fail */
} stream_state;

/* The next token of the answer. prob: NULL, or its probabilities; their texts are not read: the
 * stream finds them. */
stream_state stream_token(stream *s, int32_t id, const stream_prob *prob, err_info *err);
/* Whether a paused sink takes more. */
bool stream_ready(stream *s);
/* An embedding instead of tokens; v is borrowed for the call. */
void stream_vector(stream *s, const float *v, size_t n);

/* Gives out what is still held (unless a stop string ended it), then tells the sink. stop_index is
 * filled in from what was found. */
void stream_done(stream *s, stream_end *end);
void stream_fail(stream *s, const err_info *err);

#endif
