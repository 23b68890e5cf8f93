/* tok_pack.h - the vocabularies and cases of tests/data/tok, as tests/golden/tok_pack.py wrote
 * them.
 *
 * Numbers are LEB128, strings a number and bytes. A token is its bytes, or two earlier tokens; so
 * is a merge, mostly the pair of the next token that was stored as a pair. Files of the tree are
 * trusted.
 */
#ifndef TESTS_TOK_PACK_H
#define TESTS_TOK_PACK_H

#include "test.h"

#include "tok/tok.h"

typedef struct pack {
    unsigned char *data;
    size_t n, at;
} pack;

static inline pack pack_read(const char *path)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    pack p = {malloc(8 << 20), 0, 4};
    assert_non_null(p.data);
    p.n = fread(p.data, 1, 8 << 20, f);
    assert_true(p.n > 4);
    assert_int_equal(fclose(f), 0);
    return p;
}

static inline uint64_t pack_number(pack *p)
{
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
        assert_true(p->at < p->n);
        const unsigned char byte = p->data[p->at++];
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80)
            return value;
    }
}

static inline int32_t pack_signed(pack *p)
{
    const uint64_t n = pack_number(p);
    return (int32_t)(n & 1 ? -(int64_t)(n / 2) - 1 : (int64_t)(n / 2));
}

static inline tok_str pack_string(pack *p)
{
    const size_t n = pack_number(p);
    assert_true(n <= p->n - p->at);
    p->at += n;
    return (tok_str){(const char *)p->data + p->at - n, n};
}

/* A definition with the memory it points into. */
typedef struct pack_vocab {
    pack file;
    tok_vocab_def def;
    tok_str *tokens, *merges;
    uint32_t *left, *right; /* of tokens that are two: n_join of them */
    size_t n_join;
    float *scores;
    int32_t *types;
    char *text; /* of tokens that are two, and of merges */
    size_t n_text;
} pack_vocab;

enum { PACK_TEXT_BYTES = 16 << 20 };

static inline tok_str pack_join(pack_vocab *v, tok_str a, const char *between, tok_str b)
{
    const size_t n_between = strlen(between);
    char *to = v->text + v->n_text;
    assert_true(v->n_text + a.n + b.n + n_between <= PACK_TEXT_BYTES);
    memcpy(to, a.text, a.n);
    memcpy(to + a.n, between, n_between);
    memcpy(to + a.n + n_between, b.text, b.n);
    v->n_text += a.n + b.n + n_between;
    return (tok_str){to, a.n + b.n + n_between};
}

static inline void pack_tokens(pack_vocab *v)
{
    v->def.n_token = (uint32_t)pack_number(&v->file);
    v->tokens = calloc(v->def.n_token, sizeof *v->tokens);
    v->left = calloc(v->def.n_token, sizeof *v->left);
    v->right = calloc(v->def.n_token, sizeof *v->right);
    v->types = calloc(v->def.n_token, sizeof *v->types);
    assert_true(v->tokens && v->left && v->right && v->types);
    for (uint32_t i = 0; i < v->def.n_token; i++) {
        const uint64_t left = pack_number(&v->file);
        if (left == 0) {
            v->tokens[i] = pack_string(&v->file);
            continue;
        }
        const uint64_t right = pack_number(&v->file);
        assert_true(left - 1 < i && right < i);
        v->left[v->n_join] = (uint32_t)left - 1;
        v->right[v->n_join++] = (uint32_t)right;
        v->tokens[i] = pack_join(v, v->tokens[left - 1], "", v->tokens[right]);
    }
    for (uint32_t i = 0; i < v->def.n_token;) {
        const uint64_t n = pack_number(&v->file);
        const int32_t type = (int32_t)pack_number(&v->file);
        for (uint64_t k = 0; k < n; k++)
            v->types[i++] = type;
    }
}

static inline void pack_scores(pack_vocab *v)
{
    if (pack_number(&v->file) == 0)
        return;
    v->scores = calloc(v->def.n_token, sizeof *v->scores);
    assert_non_null(v->scores);
    for (uint32_t i = 0; i < v->def.n_token;) {
        const bool raw = pack_number(&v->file);
        const uint64_t n = pack_number(&v->file);
        assert_true(n <= v->def.n_token - i);
        if (raw) {
            memcpy(v->scores + i, v->file.data + v->file.at, n * sizeof *v->scores);
            v->file.at += n * sizeof *v->scores;
            i += (uint32_t)n;
            continue;
        }
        const int32_t start = pack_signed(&v->file);
        const int32_t step = pack_signed(&v->file);
        for (uint64_t k = 0; k < n; k++)
            v->scores[i++] = (float)(start + step * (int32_t)k);
    }
}

static inline tok_str pack_merge(pack_vocab *v, uint64_t kind, size_t *next)
{
    if (kind == 2)
        return pack_string(&v->file);
    if (kind == 3)
        *next += pack_number(&v->file);
    if (kind == 1) {
        const uint64_t left = pack_number(&v->file);
        const uint64_t right = pack_number(&v->file);
        return pack_join(v, v->tokens[left], " ", v->tokens[right]);
    }
    assert_true(*next < v->n_join);
    const tok_str left = v->tokens[v->left[*next]];
    const tok_str right = v->tokens[v->right[(*next)++]];
    return pack_join(v, left, " ", right);
}

static inline void pack_merges(pack_vocab *v)
{
    size_t next = 0;
    v->def.n_merge = pack_number(&v->file);
    v->merges = calloc(v->def.n_merge + 1, sizeof *v->merges);
    assert_non_null(v->merges);
    for (size_t i = 0; i < v->def.n_merge;) {
        const uint64_t kind = pack_number(&v->file);
        const uint64_t n = pack_number(&v->file);
        assert_true(n <= v->def.n_merge - i);
        for (uint64_t k = 0; k < n; k++)
            v->merges[i++] = pack_merge(v, kind, &next);
    }
}

static inline void pack_fields(pack_vocab *v)
{
    tok_vocab_def *d = &v->def;
    int32_t *const ids[] = {&d->bos,     &d->eos,     &d->eot,     &d->eom,     &d->unk,
                            &d->sep,     &d->pad,     &d->cls,     &d->mask,    &d->fim_pre,
                            &d->fim_suf, &d->fim_mid, &d->fim_pad, &d->fim_rep, &d->fim_sep};
    int8_t *const flags[] = {&d->add_bos,
                             &d->add_eos,
                             &d->add_sep,
                             &d->add_space_prefix,
                             &d->remove_extra_whitespaces,
                             &d->lowercase,
                             &d->strip_accents,
                             &d->clean_spaces};
    for (size_t i = 0; i < TEST_COUNT(ids); i++)
        *ids[i] = pack_signed(&v->file);
    for (size_t i = 0; i < TEST_COUNT(flags); i++)
        *flags[i] = (int8_t)pack_signed(&v->file);
    const tok_str charsmap = pack_string(&v->file);
    d->charsmap = charsmap.n ? (const uint8_t *)charsmap.text : NULL;
    d->n_charsmap = charsmap.n;
}

/* The definition in v->def stays until pack_done; its fields may be changed before tok_open. */
static inline void pack_vocab_read(pack_vocab *v, const char *path)
{
    *v = (pack_vocab){.file = pack_read(path), .def = tok_vocab_def_init()};
    v->text = malloc(PACK_TEXT_BYTES);
    assert_non_null(v->text);
    v->def.model = pack_string(&v->file);
    v->def.pre = pack_string(&v->file);
    v->def.arch = pack_string(&v->file);
    v->def.name = pack_string(&v->file);
    pack_tokens(v);
    pack_scores(v);
    pack_merges(v);
    pack_fields(v);
    assert_int_equal(v->file.at, v->file.n);
    v->def.tokens = v->tokens;
    v->def.scores = v->scores;
    v->def.types = v->types;
    v->def.merges = v->merges;
}

static inline void pack_vocab_done(pack_vocab *v)
{
    free(v->file.data);
    free(v->tokens);
    free(v->merges);
    free(v->left);
    free(v->right);
    free(v->scores);
    free(v->types);
    free(v->text);
}

static inline tok_vocab *pack_open(const char *path)
{
    pack_vocab v;
    tok_vocab *out = NULL;
    err_info err = {0};
    pack_vocab_read(&v, path);
    if (tok_open(&v.def, &out, &err))
        fail_msg("%s: %s", path, err.text);
    pack_vocab_done(&v);
    return out;
}

#endif
