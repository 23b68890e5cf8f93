/* tok_int.h - the vocabulary inside, and what the files of this room share.
 *
 * tok.c opens and closes; tok_special.c finds the ids with a meaning; tok_encode.c cuts at special
 * tokens and hands the rest to tok_bpe.c, tok_spm.c, tok_wpm.c or tok_ugm.c; tok_decode.c and
 * tok_stream.c go back. Everything here is written in tok_open and only read afterwards.
 */
#ifndef TOK_TOK_INT_H
#define TOK_TOK_INT_H

#include "base/arena.h"
#include "base/strmap.h"
#include "tok/tok.h"
#include "tok/tok_pre.h"

#define TOK_SPACE "\xE2\x96\x81" /* U+2581, which stands for a space in SPM, WPM, UGM */

enum {
    TOK_MAX_TOKEN = 1 << 24,
    TOK_MAX_MERGE = 1 << 26,
    TOK_MAX_TEXT = 1 << 16, /* bytes of one token or merge */
    TOK_MAX_CUT_TEXT = 512, /* a longer special token is never found in a text */
    TOK_MAX_ENCODE_BYTES = 256 << 20
};

typedef enum tok_kind {
    TOK_KIND_NONE,
    TOK_KIND_BPE,
    TOK_KIND_SPM,
    TOK_KIND_WPM,
    TOK_KIND_UGM
} tok_kind;

enum { TOK_LSTRIP = 1, TOK_RSTRIP = 2 }; /* white space beside a special token belongs to it */

/* Special tokens of one length. The longest are looked for first, so a text is scanned once a
 * length; the two sets of bytes make most of these scans a glance. */
typedef struct tok_cut_class {
    uint32_t n_byte;
    uint32_t first[8]; /* 256 bits: bytes that one of them starts with */
    uint32_t last[8];  /* and ends with */
} tok_cut_class;

/* A merge of two symbols; its index is its rank. Symbols below n_token are tokens, the others are
 * texts that only merges name. */
typedef struct tok_merge {
    int32_t left, right, both;
} tok_merge;

typedef struct tok_bpe {
    tok_merge *merge;
    uint32_t n_merge;
    uint32_t *slot; /* open addressing over pairs: rank + 1, 0 free */
    uint32_t slot_mask;
    uint64_t key;
    strmap extra; /* text -> symbol - n_token */
    tok_str *extra_text;
    uint32_t n_extra;
    uint32_t cap_extra;
    int32_t byte_sym[256]; /* symbol of a byte's character */
    bool chars;            /* TOK_PRE_CHARS */
    bool ignore_merges;
    tok_splitter *splitter;
} tok_bpe;

typedef struct tok_ugm_entry {
    tok_str text;
    int32_t id;
} tok_ugm_entry;

typedef struct tok_ugm {
    tok_ugm_entry *entry; /* tokens that a text may hold, by text */
    uint32_t n_entry;
    bool has_user;
    const uint32_t *unit; /* of the double array; NULL: nothing is replaced */
    size_t n_unit;
    const char *replace; /* NUL-terminated strings */
    size_t n_replace;
    float unknown_score;
    bool merge_spaces;
} tok_ugm;

struct tok_vocab {
    arena vocab_arena;
    tok_kind kind;
    uint32_t n_token;
    tok_str *text;
    uint8_t *attr;  /* tok_attr */
    uint8_t *strip; /* TOK_LSTRIP, TOK_RSTRIP */
    bool *eog;
    float *score;      /* NULL unless SPM or UGM */
    strmap ids;        /* text -> id */
    uint32_t max_text; /* bytes of the longest token */
    tok_special special;
    bool add_space_prefix;
    bool clean_spaces;
    bool lowercase;       /* WPM */
    bool strip_accents;   /* WPM */
    int32_t byte_id[256]; /* "<0xXX>", or the byte's own text, or TOK_NONE */
    tok_cut_class *cut;
    uint32_t n_cut;
    strmap cut_ids; /* texts of special tokens -> id */
    tok_bpe bpe;
    tok_ugm ugm;
};

/* ---- scratch of one call -----------------------------------------------------------------------
 */

/* A priority queue, least key first. */
typedef struct tok_heap_item {
    uint64_t key;
    uint64_t value;
} tok_heap_item;
typedef struct tok_heap {
    tok_heap_item *item;
    size_t n, cap;
} tok_heap;
cama_err tok_heap_push(tok_heap *h, uint64_t key, uint64_t value, err_info *err);
bool tok_heap_pop(tok_heap *h, tok_heap_item *out); /* false: empty */

/* A list of symbols that grow by swallowing their right neighbour. */
typedef struct tok_node {
    uint32_t at, n;     /* bytes of the text; n = 0: swallowed */
    int32_t prev, next; /* -1 at the ends */
    int32_t sym;
} tok_node;

typedef struct tok_scratch {
    buf text; /* the fragment made ready: valid UTF-8, escaped spaces */
    buf word;
    tok_pieces pieces;
    tok_heap heap;
    tok_node *node;
    size_t cap_node;
} tok_scratch;

cama_err tok_scratch_nodes(tok_scratch *s, size_t n, err_info *err);
/* text with every byte that is no UTF-8 as U+FFFD, and with each space as U+2581 if escape. */
cama_err tok_clean_text(const char *text, size_t n, bool escape, buf *out, err_info *err);
cama_err tok_push_id(tok_ids *ids, int32_t id, err_info *err);
/* Bytes that became no token: a byte token each, else the unknown token. */
cama_err tok_push_bytes(const tok_vocab *v, const char *text, size_t n, tok_ids *ids,
                        err_info *err);

/* ---- the algorithms: a fragment without special tokens, appended to ids ------------------------
 */

cama_err tok_bpe_encode(const tok_vocab *v, const char *text, size_t n, tok_scratch *s,
                        tok_ids *ids, err_info *err);
/* prefix: a space goes before the text. */
cama_err tok_spm_encode(const tok_vocab *v, const char *text, size_t n, bool prefix, tok_scratch *s,
                        tok_ids *ids, err_info *err);
cama_err tok_wpm_encode(const tok_vocab *v, const char *text, size_t n, tok_scratch *s,
                        tok_ids *ids, err_info *err);
cama_err tok_ugm_encode(const tok_vocab *v, const char *text, size_t n, tok_scratch *s,
                        tok_ids *ids, err_info *err);

cama_err tok_bpe_open(tok_vocab *v, const tok_vocab_def *def, const tok_pre *pre, err_info *err);
void tok_bpe_close(tok_bpe *b);
cama_err tok_ugm_open(tok_vocab *v, const tok_vocab_def *def, err_info *err);

/* ---- opening -----------------------------------------------------------------------------------
 */

int32_t tok_find(const tok_vocab *v, const char *text, size_t n); /* TOK_NONE: no such token */
void tok_special_open(tok_vocab *v, const tok_vocab_def *def, const tok_pre *pre);
cama_err tok_cut_open(tok_vocab *v, err_info *err);

/* The byte that a character of GPT-2's alphabet stands for; -1: none. */
int tok_char_to_byte(uint32_t cp);

#endif
