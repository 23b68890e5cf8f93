/* held.h - probabilities of tokens whose text is not out yet.
 *
 * Each remembers where in the held text it begins; a piece of text takes along those that begin in
 * it. So a token is told once, and one that begins behind a stop string is never told.
 *
 *     text    the sky E N D        held until it is clear that "END" is a stop string
 *     tokens  |the| sky| E|ND|     "the sky " goes with three of them, ND with none
 *
 * Texts are found when a token is added and lie in one buffer. Everything grows to what the held
 * text can be and stays.
 */
#ifndef STREAM_HELD_H
#define STREAM_HELD_H

#include "stream/stream.h"

/* Each has at least a byte of what a stop string or half a character can hold back. */
#define HELD_MAX (STREAM_MAX_STOP_BYTES + 64)
#define HELD_MAX_TEXT (STREAM_MAX_TEXT * 4)

typedef struct held_alt {
    int32_t id;
    float logprob;
    size_t at, n; /* of its text in held_probs.text */
} held_alt;

typedef struct held_token {
    size_t start; /* in the held text */
    held_alt token;
    size_t n_top;
    held_alt top[STREAM_MAX_TOP];
} held_token;

typedef struct held_probs {
    held_token *tokens; /* [n], of cap */
    stream_prob *probs; /* [cap], what held_before gives */
    stream_alt *alts;   /* [cap * STREAM_MAX_TOP], behind probs */
    size_t n, cap;
    buf text;
} held_probs;

void held_init(held_probs *h);
void held_done(held_probs *h);

/* p's ids and numbers, for a token whose text is the last in the held text, which with it ends at
 * byte `end`; nothing when it has no text. as: how texts are written. CAMA_ERR_NOMEM;
 * CAMA_ERR_LIMIT past HELD_MAX tokens or STREAM_MAX_TOP alternatives. */
cama_err held_add(held_probs *h, const tok_stream *as, const stream_prob *p, size_t end,
                  err_info *err);
/* Those that begin before byte n, the held_probs' until the next call; the text is going out. */
size_t held_before(held_probs *h, size_t n, const stream_prob **out);
/* The first n bytes of the held text are gone, with the tokens that began in them. */
void held_drop_front(held_probs *h, size_t n);

#endif
