/* tok_pre.h - pre-tokenizers: how a text is cut into words before BPE merges inside each.
 *
 * A name (tokenizer.ggml.pre) stands for a list of steps and a few side effects: the table in
 * tok_pre.c. Each step cuts every piece that the steps before it left; what lies between two
 * matches stays as a piece of its own. docs/tokenizers.md tells how to add one.
 *
 * Expressions do not run on the text but on its classes, one byte a character: ASCII is itself,
 * white space outside ASCII is a vertical tab, all else is 0x80 | group << 4 | tok_class. So a
 * character class is a set of 256 bits whatever it means in Unicode, and the result depends on our
 * table alone, not on the Unicode version of the regex library. The notation is PCRE2's with
 *     \p{L} \p{N} \p{P} \p{S} \p{M}    inside or outside of [ ]
 *     \p{H}                            letters outside ASCII
 *     \p{1} ... \p{7}                  characters outside ASCII with that number in the groups
 * and \s \d \w \b know ASCII, which together with the vertical tab makes \s all of White_Space.
 */
#ifndef TOK_TOK_PRE_H
#define TOK_TOK_PRE_H

#include "base/buf.h"
#include "base/err.h"

typedef enum tok_step_kind {
    TOK_STEP_REGEX,
    /* Runs of digits cut into threes from the right: */
    TOK_STEP_THREES_N, /* \p{N}; the text before the first group stays with it, that behind not */
    TOK_STEP_THREES_D  /* ASCII digits: a cut before each whole three, and nowhere else */
} tok_step_kind;

typedef struct tok_step {
    tok_step_kind kind;
    const char *regex; /* TOK_STEP_REGEX */
} tok_step;

#define TOK_PRE_MAX_STEP 6

typedef struct tok_group { /* code points lo to hi have this number; ranges may not overlap */
    uint32_t lo, hi;
    uint8_t number; /* 1 to 7 */
} tok_group;

typedef struct tok_set {
    tok_step step[TOK_PRE_MAX_STEP];
    uint8_t n_step;
    uint16_t n_group;
    const tok_group *group; /* ascending */
} tok_set;

/* Side effects of a pre-tokenizer's name. */
enum {
    TOK_PRE_IGNORE_MERGES = 1, /* a word that is a token is taken whole */
    TOK_PRE_ADD_BOS = 2,
    TOK_PRE_ADD_SEP = 4,
    TOK_PRE_KEEP_SPACES = 8, /* clean_spaces is off */
    TOK_PRE_NO_BOS = 16,     /* no default BOS */
    TOK_PRE_CHARS = 32       /* no byte mapping: spaces become U+2581, characters are symbols */
};

typedef struct tok_pre {
    const char *name;
    const tok_set *set;
    uint8_t effects;
} tok_pre;

/* NULL: no such name. n = 0 stands for "default". */
const tok_pre *tok_pre_find(const char *name, size_t n);
/* The i-th of the table, NULL past its end: for tests that walk it. */
const tok_pre *tok_pre_at(size_t i);

/* A set made ready to run. Immutable: threads may share it. */
typedef struct tok_splitter tok_splitter;
cama_err tok_splitter_new(const tok_set *set, tok_splitter **out, err_info *err);
void tok_splitter_free(tok_splitter *s);

/* What one call of tok_split needs and gives; reused from call to call. */
typedef struct tok_pieces {
    size_t n_piece;
    uint32_t *end; /* byte offset of the end of each piece */
    uint32_t *end_other;
    uint8_t *cls; /* class byte of each character */
    uint32_t *at; /* byte offset of each character, and of the end */
    size_t cap;
    void *match; /* pcre2_match_data */
} tok_pieces;
void tok_pieces_init(tok_pieces *p);
void tok_pieces_done(tok_pieces *p);

/* text must be valid UTF-8. CAMA_ERR_LIMIT: longer than 1 GiB, or an expression that gives up. */
cama_err tok_split(const tok_splitter *s, const char *text, size_t n, tok_pieces *p, err_info *err);

#endif
