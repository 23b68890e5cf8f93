#include "tok/tok.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tok/tok_int.h"

enum { MAX_EMPTY_NAME = 32 };
#define MAX_VOCAB_BYTES ((size_t)2 << 30)

tok_vocab_def tok_vocab_def_init(void)
{
    return (tok_vocab_def){
        .bos = TOK_UNSET,
        .eos = TOK_UNSET,
        .eot = TOK_UNSET,
        .eom = TOK_UNSET,
        .unk = TOK_UNSET,
        .sep = TOK_UNSET,
        .pad = TOK_UNSET,
        .cls = TOK_UNSET,
        .mask = TOK_UNSET,
        .fim_pre = TOK_UNSET,
        .fim_suf = TOK_UNSET,
        .fim_mid = TOK_UNSET,
        .fim_pad = TOK_UNSET,
        .fim_rep = TOK_UNSET,
        .fim_sep = TOK_UNSET,
        .add_bos = -1,
        .add_eos = -1,
        .add_sep = -1,
        .add_space_prefix = -1,
        .lowercase = -1,
        .remove_extra_whitespaces = -1,
        .strip_accents = -1,
        .clean_spaces = -1,
    };
}

static bool is_text(tok_str s, const char *text)
{
    return s.n == strlen(text) && memcmp(s.text, text, s.n) == 0;
}

/* What tokenizer.ggml.model means. */
static cama_err find_kind(const tok_vocab_def *def, tok_kind *kind, const tok_pre **pre,
                          err_info *err)
{
    const tok_str model = def->model;
    *pre = NULL;
    if (is_text(model, "no_vocab") || is_text(model, "none"))
        *kind = TOK_KIND_NONE;
    else if (is_text(model, "llama"))
        *kind = TOK_KIND_SPM;
    else if (is_text(model, "bert"))
        *kind = TOK_KIND_WPM;
    else if (is_text(model, "t5"))
        *kind = TOK_KIND_UGM;
    else if (is_text(model, "gpt2") || is_text(model, "gemma4"))
        *kind = TOK_KIND_BPE;
    else
        return err_set(err, CAMA_ERR_UNSUPPORTED, "tokenizer model '%.*s' is not supported",
                       (int)(model.n < 64 ? model.n : 64), model.text ? model.text : "");
    if (*kind != TOK_KIND_BPE)
        return CAMA_OK;
    *pre = is_text(model, "gemma4") ? tok_pre_find("gemma4", 6)
                                    : tok_pre_find(def->pre.text, def->pre.n);
    if (*pre)
        return CAMA_OK;
    return err_set(err, CAMA_ERR_UNSUPPORTED, "pre-tokenizer '%.*s' is not supported",
                   (int)(def->pre.n < 64 ? def->pre.n : 64), def->pre.text);
}

static cama_err check_def(const tok_vocab_def *def, tok_kind kind, err_info *err)
{
    if (def->n_token > TOK_MAX_TOKEN)
        return err_set(err, CAMA_ERR_LIMIT, "tok: %u tokens, limit %d", def->n_token,
                       TOK_MAX_TOKEN);
    if (kind == TOK_KIND_NONE)
        return CAMA_OK;
    if (def->n_token == 0 || !def->tokens)
        return err_set(err, CAMA_ERR_FORMAT, "tok: the vocabulary has no tokens");
    if (def->n_merge && !def->merges)
        return err_set(err, CAMA_ERR_FORMAT, "tok: the vocabulary has no merges");
    for (uint32_t i = 0; i < def->n_token; i++)
        if (def->tokens[i].n > TOK_MAX_TEXT)
            return err_set(err, CAMA_ERR_LIMIT, "tok: token %u has %zu bytes, limit %d", i,
                           def->tokens[i].n, TOK_MAX_TEXT);
    return CAMA_OK;
}

/* ---- tables ------------------------------------------------------------------------------------
 */

/* One block for all texts, in order. An empty text gets a name, so that no two are alike. */
static cama_err copy_texts(tok_vocab *v, const tok_vocab_def *def, err_info *err)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < v->n_token; i++)
        bytes += def->tokens[i].n ? def->tokens[i].n : MAX_EMPTY_NAME;
    char *at = arena_take(&v->vocab_arena, bytes);
    v->text = arena_take_array(&v->vocab_arena, v->n_token, sizeof *v->text);
    if (!at || !v->text || strmap_init(&v->ids, v->n_token))
        return err_set(err, CAMA_ERR_NOMEM, "tok: no memory for %u tokens", v->n_token);
    for (uint32_t i = 0; i < v->n_token; i++) {
        size_t n = def->tokens[i].n;
        if (n)
            memcpy(at, def->tokens[i].text, n);
        else
            n = (size_t)snprintf(at, MAX_EMPTY_NAME, "[EMPTY_%u]", i);
        v->text[i] = (tok_str){at, n};
        if (n > v->max_text)
            v->max_text = (uint32_t)n;
        if (strmap_set(&v->ids, at, n, i)) /* of two equal texts the last one is found */
            return err_set(err, CAMA_ERR_NOMEM, "tok: no memory for %u tokens", v->n_token);
        at += n;
    }
    return CAMA_OK;
}

static cama_err copy_attributes(tok_vocab *v, const tok_vocab_def *def, err_info *err)
{
    v->attr = arena_take(&v->vocab_arena, v->n_token);
    v->strip = arena_take(&v->vocab_arena, v->n_token);
    v->eog = arena_take_array(&v->vocab_arena, v->n_token, sizeof *v->eog);
    v->score = arena_take_array(&v->vocab_arena, v->n_token, sizeof *v->score);
    if (!v->attr || !v->strip || !v->eog || !v->score)
        return err_set(err, CAMA_ERR_NOMEM, "tok: no memory for %u tokens", v->n_token);
    for (uint32_t i = 0; i < v->n_token; i++) {
        const int32_t type = def->types ? def->types[i] : TOK_NORMAL;
        v->attr[i] = type >= 0 && type <= TOK_BYTE ? (uint8_t)type : TOK_UNDEFINED;
        v->score[i] = def->scores ? def->scores[i] : 0.0f;
    }
    return CAMA_OK;
}

static void find_bytes(tok_vocab *v)
{
    for (int byte = 0; byte < 256; byte++) {
        char name[8];
        (void)snprintf(name, sizeof name, "<0x%02X>", (unsigned)byte); /* it fits */
        v->byte_id[byte] = tok_find(v, name, 6);
        if (v->byte_id[byte] < 0) {
            const char raw = (char)byte;
            v->byte_id[byte] = tok_find(v, &raw, 1);
        }
    }
}

static cama_err fill(tok_vocab *v, const tok_vocab_def *def, const tok_pre *pre, err_info *err)
{
    v->n_token = def->n_token;
    arena_init(&v->vocab_arena, MAX_VOCAB_BYTES);
    if (v->kind == TOK_KIND_NONE) {
        tok_special_open(v, def, pre);
        return CAMA_OK;
    }
    cama_err e = copy_texts(v, def, err);
    if (!e)
        e = copy_attributes(v, def, err);
    if (e)
        return e;
    find_bytes(v);
    tok_special_open(v, def, pre);
    if (v->kind == TOK_KIND_BPE)
        e = tok_bpe_open(v, def, pre, err);
    if (!e && v->kind == TOK_KIND_UGM)
        e = tok_ugm_open(v, def, err);
    return e ? e : tok_cut_open(v, err);
}

cama_err tok_open(const tok_vocab_def *def, tok_vocab **out, err_info *err)
{
    tok_kind kind = TOK_KIND_NONE;
    const tok_pre *pre;
    cama_err e = find_kind(def, &kind, &pre, err);
    if (!e)
        e = check_def(def, kind, err);
    if (e)
        return e;
    tok_vocab *v = calloc(1, sizeof *v);
    if (!v)
        return err_set(err, CAMA_ERR_NOMEM, "tok: no memory for a vocabulary");
    v->kind = kind;
    e = fill(v, def, pre, err);
    if (e) {
        tok_close(v);
        return e;
    }
    *out = v;
    return CAMA_OK;
}

void tok_close(tok_vocab *v)
{
    if (!v)
        return;
    tok_bpe_close(&v->bpe);
    strmap_done(&v->ids);
    strmap_done(&v->cut_ids);
    arena_done(&v->vocab_arena);
    free(v);
}

/* ---- looking -----------------------------------------------------------------------------------
 */

int32_t tok_find(const tok_vocab *v, const char *text, size_t n)
{
    uint32_t id;
    return strmap_get(&v->ids, text, n, &id) ? (int32_t)id : TOK_NONE;
}

uint32_t tok_n_token(const tok_vocab *v)
{
    return v->n_token;
}

const tok_special *tok_specials(const tok_vocab *v)
{
    return &v->special;
}

static bool has_text(const tok_vocab *v, int32_t id)
{
    return id >= 0 && (uint32_t)id < v->n_token && v->text;
}

bool tok_is_eog(const tok_vocab *v, int32_t id)
{
    if (v->kind == TOK_KIND_NONE)
        return id >= 0 && (id == v->special.eos || id == v->special.eot || id == v->special.eom);
    return has_text(v, id) && v->eog[id];
}

tok_attr tok_attr_of(const tok_vocab *v, int32_t id)
{
    return has_text(v, id) ? (tok_attr)v->attr[id] : TOK_UNDEFINED;
}

tok_str tok_text(const tok_vocab *v, int32_t id)
{
    return has_text(v, id) ? v->text[id] : (tok_str){"", 0};
}
