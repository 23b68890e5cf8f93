/* The tokenizer that a GGUF describes: its keys into the arrays of tok.h. */
#include "runner/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY(name) "tokenizer.ggml." name
#define MAX_VOCAB (1u << 24)

/* Arrays made for the definition; tok_open copies what it keeps. */
typedef struct vocab_arrays {
    tok_str *tokens, *merges;
    float *scores;
    int32_t *types;
} vocab_arrays;

static void arrays_done(vocab_arrays *a)
{
    free(a->tokens);
    free(a->merges);
    free(a->scores);
    free(a->types);
}

static cama_err get_text(const gguf_file *f, const char *key, tok_str *out, err_info *err)
{
    gguf_str s;
    const cama_err e = gguf_get_str(f, key, &s, err);
    if (e)
        return e == CAMA_ERR_NOT_FOUND ? CAMA_OK : e;
    *out = (tok_str){s.text, s.n};
    return CAMA_OK;
}

static cama_err get_texts(const gguf_file *f, const char *key, tok_str **out, size_t *out_n,
                          err_info *err)
{
    const gguf_kv *kv = gguf_find(f, key);
    if (!kv)
        return CAMA_OK;
    if (kv->type != GGUF_ARRAY || kv->elem != GGUF_STRING)
        return err_set(err, CAMA_ERR_FORMAT, "key '%s' is no array of strings", key);
    if (kv->n > MAX_VOCAB)
        return err_set(err, CAMA_ERR_LIMIT, "key '%s' has %llu strings, at most %u", key,
                       (unsigned long long)kv->n, MAX_VOCAB);
    tok_str *texts = calloc(kv->n ? (size_t)kv->n : 1, sizeof *texts);
    if (!texts)
        return err_set(err, CAMA_ERR_NOMEM, "tokenizer: no memory for '%s'", key);
    for (uint64_t i = 0; i < kv->n; i++)
        texts[i] = (tok_str){kv->strings[i].text, kv->strings[i].n};
    *out = texts;
    *out_n = (size_t)kv->n;
    return CAMA_OK;
}

/* Room for a value of each token when the file has an array of them at key; else *out stays. */
static cama_err take_values(const gguf_file *f, const char *key, uint32_t n_token, size_t size,
                            void **out, err_info *err)
{
    const gguf_kv *kv = gguf_find(f, key);
    if (!kv)
        return CAMA_OK;
    if (kv->type != GGUF_ARRAY || kv->n != n_token)
        return err_set(err, CAMA_ERR_FORMAT, "key '%s' has %llu values for %u tokens", key,
                       (unsigned long long)kv->n, n_token);
    *out = calloc(n_token ? n_token : 1, size);
    if (!*out)
        return err_set(err, CAMA_ERR_NOMEM, "tokenizer: no memory for '%s'", key);
    return CAMA_OK;
}

static cama_err get_scores(const gguf_file *f, uint32_t n_token, float **out, err_info *err)
{
    static const char key[] = KEY("scores");
    void *room = NULL;
    cama_err e = take_values(f, key, n_token, sizeof **out, &room, err);
    *out = room;
    for (uint32_t i = 0; !e && *out && i < n_token; i++) {
        double v = 0;
        e = gguf_get_f64_at(f, key, i, &v, err);
        (*out)[i] = (float)v;
    }
    return e;
}

static cama_err get_types(const gguf_file *f, uint32_t n_token, int32_t **out, err_info *err)
{
    static const char key[] = KEY("token_type");
    void *room = NULL;
    cama_err e = take_values(f, key, n_token, sizeof **out, &room, err);
    *out = room;
    for (uint32_t i = 0; !e && *out && i < n_token; i++) {
        uint64_t v = 0;
        e = gguf_get_u64_at(f, key, i, &v, err);
        if (!e && v > TOK_BYTE)
            e = err_set(err, CAMA_ERR_FORMAT, "token %u has type %llu, must be 0 to %d", i,
                        (unsigned long long)v, TOK_BYTE);
        (*out)[i] = e ? TOK_UNDEFINED : (int32_t)v;
    }
    return e;
}

static cama_err get_id(const gguf_file *f, const char *key, uint32_t n_token, int32_t *out,
                       err_info *err)
{
    int64_t v;
    const cama_err e = gguf_get_i64(f, key, &v, err);
    if (e == CAMA_ERR_NOT_FOUND)
        return CAMA_OK;
    if (e)
        return e;
    /* Writers say "none" as -1 or as 2^32 - 1. */
    if (v == -1 || v == (int64_t)UINT32_MAX)
        *out = TOK_NONE;
    else if (v < 0 || v >= (int64_t)n_token)
        return err_set(err, CAMA_ERR_FORMAT, "key '%s' is %lld, the vocabulary has %u tokens", key,
                       (long long)v, n_token);
    else
        *out = (int32_t)v;
    return CAMA_OK;
}

static cama_err get_ids(const gguf_file *f, tok_vocab_def *d, err_info *err)
{
    const struct {
        const char *key, *old_key;
        int32_t *at;
    } ids[] = {
        {KEY("bos_token_id"), NULL, &d->bos},
        {KEY("eos_token_id"), NULL, &d->eos},
        {KEY("eot_token_id"), NULL, &d->eot},
        {KEY("eom_token_id"), NULL, &d->eom},
        {KEY("unknown_token_id"), NULL, &d->unk},
        {KEY("seperator_token_id"), KEY("separator_token_id"), &d->sep}, /* sic, in all files */
        {KEY("padding_token_id"), NULL, &d->pad},
        {KEY("cls_token_id"), NULL, &d->cls},
        {KEY("mask_token_id"), NULL, &d->mask},
        {KEY("fim_pre_token_id"), KEY("prefix_token_id"), &d->fim_pre},
        {KEY("fim_suf_token_id"), KEY("suffix_token_id"), &d->fim_suf},
        {KEY("fim_mid_token_id"), KEY("middle_token_id"), &d->fim_mid},
        {KEY("fim_pad_token_id"), NULL, &d->fim_pad},
        {KEY("fim_rep_token_id"), NULL, &d->fim_rep},
        {KEY("fim_sep_token_id"), NULL, &d->fim_sep},
    };
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        cama_err e = CAMA_OK;
        if (ids[i].old_key)
            e = get_id(f, ids[i].old_key, d->n_token, ids[i].at, err);
        if (!e)
            e = get_id(f, ids[i].key, d->n_token, ids[i].at, err);
        if (e)
            return e;
    }
    return CAMA_OK;
}

static cama_err get_switches(const gguf_file *f, tok_vocab_def *d, err_info *err)
{
    const struct {
        const char *key;
        int8_t *at;
    } switches[] = {
        {KEY("add_bos_token"), &d->add_bos},
        {KEY("add_eos_token"), &d->add_eos},
        {KEY("add_sep_token"), &d->add_sep},
        {KEY("add_space_prefix"), &d->add_space_prefix},
        {KEY("remove_extra_whitespaces"), &d->remove_extra_whitespaces},
        {KEY("normalizer.lowercase"), &d->lowercase},
        {KEY("normalizer.strip_accents"), &d->strip_accents},
    };
    for (size_t i = 0; i < sizeof switches / sizeof switches[0]; i++) {
        bool on;
        const cama_err e = gguf_get_bool(f, switches[i].key, &on, err);
        if (!e)
            *switches[i].at = on;
        else if (e != CAMA_ERR_NOT_FOUND)
            return e;
    }
    return CAMA_OK;
}

static cama_err get_charsmap(const gguf_file *f, tok_vocab_def *d, err_info *err)
{
    static const char key[] = KEY("precompiled_charsmap");
    const gguf_kv *kv = gguf_find(f, key);
    if (!kv)
        return CAMA_OK;
    if (kv->type != GGUF_ARRAY || (kv->elem != GGUF_U8 && kv->elem != GGUF_I8))
        return err_set(err, CAMA_ERR_FORMAT, "key '%s' is no array of bytes", key);
    d->charsmap = kv->data;
    d->n_charsmap = (size_t)kv->n;
    return CAMA_OK;
}

/* A vocabulary without texts has only a size. */
static cama_err get_size(const gguf_file *f, tok_vocab_def *d, err_info *err)
{
    char key[160];
    (void)snprintf(key, sizeof key, "%.*s.vocab_size", (int)(d->arch.n < 64 ? d->arch.n : 64),
                   d->arch.n ? d->arch.text : "");
    uint64_t n;
    const cama_err e = gguf_get_u64(f, key, &n, err);
    if (e == CAMA_ERR_NOT_FOUND)
        return err_set(err, CAMA_ERR_FORMAT, "neither '%s' nor '%s' is there", KEY("tokens"), key);
    if (!e && (n == 0 || n > MAX_VOCAB))
        return err_set(err, CAMA_ERR_LIMIT, "key '%s' is %llu, must be 1 to %u", key,
                       (unsigned long long)n, MAX_VOCAB);
    if (!e)
        d->n_token = (uint32_t)n;
    return e;
}

static cama_err get_arrays(const gguf_file *f, tok_vocab_def *d, vocab_arrays *a, err_info *err)
{
    size_t n_token = 0;
    cama_err e = get_texts(f, KEY("tokens"), &a->tokens, &n_token, err);
    d->tokens = a->tokens;
    d->n_token = (uint32_t)n_token;
    if (!e && !a->tokens)
        e = get_size(f, d, err);
    if (!e)
        e = get_texts(f, KEY("merges"), &a->merges, &d->n_merge, err);
    if (!e && a->tokens)
        e = get_scores(f, d->n_token, &a->scores, err);
    if (!e && a->tokens)
        e = get_types(f, d->n_token, &a->types, err);
    d->merges = a->merges;
    d->scores = a->scores;
    d->types = a->types;
    return e;
}

cama_err load_vocab(const gguf_file *f, tok_vocab **out, err_info *err)
{
    tok_vocab_def d = tok_vocab_def_init();
    vocab_arrays a = {0};
    cama_err e = get_text(f, KEY("model"), &d.model, err);
    if (!e && !d.model.n)
        e = err_set(err, CAMA_ERR_FORMAT, "the file has no tokenizer: key '%s' is absent",
                    KEY("model"));
    if (!e)
        e = get_text(f, KEY("pre"), &d.pre, err);
    if (!e)
        e = get_text(f, "general.architecture", &d.arch, err);
    if (!e)
        e = get_text(f, "general.name", &d.name, err);
    if (!e)
        e = get_arrays(f, &d, &a, err);
    if (!e)
        e = get_ids(f, &d, err);
    if (!e)
        e = get_switches(f, &d, err);
    if (!e)
        e = get_charsmap(f, &d, err);
    if (!e)
        e = tok_open(&d, out, err);
    arrays_done(&a);
    return e;
}
