/* tok.h - text <-> token ids.
 *
 * docs/tokenizers.md says which vocabularies there are, how to add one, and where we differ from
 * llama.cpp, which the tests hold us to.
 *
 * A vocabulary is built from plain arrays (tok_vocab_def), so this room has never heard of a file
 * format: runner/load_vocab.c fills the definition from GGUF metadata. Encoding first cuts the text
 * at special tokens, then runs the vocabulary's algorithm (BPE, SPM, WPM, ...) on the rest.
 * Immutable after tok_open; any number of threads may encode at once (scratch is per call).
 */
#ifndef TOK_TOK_H
#define TOK_TOK_H

#include "base/buf.h"
#include "base/err.h"

typedef struct tok_vocab tok_vocab; /* opaque */

/* tokenizer.ggml.token_type */
typedef enum tok_attr {
    TOK_UNDEFINED,
    TOK_NORMAL,
    TOK_UNKNOWN,
    TOK_CONTROL,
    TOK_USER,
    TOK_UNUSED,
    TOK_BYTE
} tok_attr;

typedef struct tok_str {
    const char *text; /* not terminated */
    size_t n;
} tok_str;

#define TOK_NONE (-1)  /* a special id that the vocabulary does not have */
#define TOK_UNSET (-2) /* in a definition: the file does not say; the algorithm's default holds */

/* What a file says about its vocabulary. All memory stays the caller's and must outlive tok_open
 * only (texts are copied). */
typedef struct tok_vocab_def {
    tok_str model; /* "llama" "gpt2" "bert" "gemma4" "no_vocab" ... (tokenizer.ggml.model) */
    tok_str pre;   /* tokenizer.ggml.pre; n = 0: "default" */
    const tok_str *tokens;
    const float *scores;  /* n_token, or NULL */
    const int32_t *types; /* n_token of tok_attr, or NULL: all normal */
    uint32_t n_token;
    const tok_str *merges; /* "A B" */
    size_t n_merge;
    const uint8_t *charsmap; /* precompiled_charsmap, or NULL */
    size_t n_charsmap;
    int32_t bos, eos, eot, eom, unk, sep, pad, cls, mask; /* id, or TOK_UNSET */
    int32_t fim_pre, fim_suf, fim_mid, fim_pad, fim_rep, fim_sep;
    int8_t add_bos, add_eos, add_sep, add_space_prefix; /* 0, 1, or -1: the file does not say */
    int8_t remove_extra_whitespaces, lowercase, strip_accents, clean_spaces;
    tok_str arch; /* general.architecture: some strip rules key on it and on the model's name */
    tok_str name; /* general.name */
} tok_vocab_def;

/* A definition with every optional field unset. */
tok_vocab_def tok_vocab_def_init(void);

/* CAMA_ERR_UNSUPPORTED: unknown model or pre, named; CAMA_ERR_FORMAT: inconsistent arrays;
 * CAMA_ERR_LIMIT: more than 2^24 tokens, or one of more than 64 KiB; CAMA_ERR_NOMEM. `model`
 * no_vocab/none gives a vocabulary of n_token ids without texts. */
cama_err tok_open(const tok_vocab_def *def, tok_vocab **out, err_info *err);
void tok_close(tok_vocab *v);

typedef struct tok_special {
    int32_t bos, eos, eot, eom, unk, sep, pad, cls, mask;
    bool add_bos, add_eos, add_sep;
    int32_t fim_pre, fim_suf, fim_mid, fim_pad, fim_rep, fim_sep; /* filling in the middle */
} tok_special;

uint32_t tok_n_token(const tok_vocab *v);
const tok_special *tok_specials(const tok_vocab *v);
bool tok_is_eog(const tok_vocab *v, int32_t id); /* ends a generation; false out of range */
tok_attr tok_attr_of(const tok_vocab *v, int32_t id);
/* The token's text as stored in the vocabulary (escaped form); n = 0 out of range. */
tok_str tok_text(const tok_vocab *v, int32_t id);

typedef struct tok_flags {
    bool add_special;   /* BOS, EOS, SEP as the vocabulary asks for */
    bool parse_special; /* control tokens in the text become ids; user-defined ones always do */
} tok_flags;

/* A growing list of ids, at most max_n of them. Takes nothing before the first one. */
typedef struct tok_ids {
    int32_t *id;
    size_t n;
    size_t cap;
    size_t max_n;
} tok_ids;
void tok_ids_init(tok_ids *ids, size_t max_n);
void tok_ids_done(tok_ids *ids);

/* Ids of text appended to *ids. Any bytes will do: what is no UTF-8 becomes U+FFFD, one a byte, or
 * stays as it is where the vocabulary has tokens for bytes (SPM). BOS is put in front even where
 * the text has one: a chat template that prints it wants add_special off. O(n log n) in one word.
 * CAMA_ERR_LIMIT past ids->max_n or 256 MiB of text, CAMA_ERR_NOMEM: *ids is then as before. */
cama_err tok_encode(const tok_vocab *v, const char *text, size_t n, tok_flags flags, tok_ids *ids,
                    err_info *err);

/* The bytes that token id stands for, appended to out; "" for control tokens unless special.
 * Out of range: CAMA_ERR_ARG. */
cama_err tok_piece(const tok_vocab *v, int32_t id, bool special, buf *out, err_info *err);
/* The text of a whole run of ids, with the vocabulary's rules about leading and clean spaces. */
cama_err tok_decode(const tok_vocab *v, const int32_t *ids, size_t n, bool special, buf *out,
                    err_info *err);

/* Streaming: tokens in, whole characters out. The same text as tok_decode's, but that spaces are
 * not cleaned (clean_spaces): what was given out cannot be taken back, and llama.cpp's server does
 * so. */
typedef struct tok_stream {
    const tok_vocab *v;
    bool special;
    bool at_start; /* the next piece may lose its leading space */
    char held[8];  /* the bytes of a character that is not complete yet */
    size_t n_held;
} tok_stream;
/* continues: the text before is a prompt, so the first piece keeps its leading space. */
void tok_stream_init(tok_stream *s, const tok_vocab *v, bool special, bool continues);
/* Appends to out the text that id completes: always valid UTF-8, possibly empty. Bytes that can
 * never become a character are written as U+FFFD. */
cama_err tok_stream_push(tok_stream *s, int32_t id, buf *out, err_info *err);
/* The end: what is still held becomes U+FFFD. */
cama_err tok_stream_end(tok_stream *s, buf *out, err_info *err);

#endif
