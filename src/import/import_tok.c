/* tokenizer.json -> tokenizer.ggml.*: BPE over bytes ("gpt2"), and the BPE that SentencePiece's
 * vocabularies were turned into ("llama"), whose scores come from the order of its merges. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strmap.h"
#include "import/import_int.h"
#include "tok/tok.h"

#define KEY(name) "tokenizer.ggml." name
#define SPACE_MARK "\xE2\x96\x81" /* U+2581, a space in SentencePiece's texts */
#define NO_MERGE (-1e6f)          /* score of a token that no merge makes */
#define MAX_MERGE (1u << 22)

typedef struct vocab {
    importer *m;
    const json_value *model;
    bool is_spm;
    uint32_t n; /* rows of the table of embeddings */
    gguf_str *texts;
    int32_t *types; /* tok_attr; TOK_UNDEFINED: no token has this id */
    strmap ids;
} vocab;

static gguf_str text_of(const json_value *v)
{
    return (gguf_str){v->text, v->n};
}

static bool is_type(const json_value *v, const char *type)
{
    const char *text = import_text(v, "type");
    return text && !strcmp(text, type);
}

/* ---- tokens ---- */

static bool put_token(vocab *v, gguf_str text, int64_t id, tok_attr attr)
{
    importer *m = v->m;
    if (id < 0 || id >= (int64_t)v->n)
        return import_fail(m, CAMA_ERR_FORMAT,
                           "tokenizer.json: token '%.60s' has id %lld, the vocabulary of "
                           "config.json has %u",
                           text.text, (long long)id, v->n);
    if (v->types[id] && v->texts[id].n == text.n && !memcmp(v->texts[id].text, text.text, text.n)) {
        v->types[id] = (int32_t)attr; /* an added token that is in the vocabulary, too */
        return true;
    }
    bool found = false;
    if (v->types[id])
        return import_fail(m, CAMA_ERR_FORMAT, "tokenizer.json: two tokens have id %lld",
                           (long long)id);
    if (strmap_add(&v->ids, text.text, text.n, (uint32_t)id, &found))
        return import_fail(m, CAMA_ERR_NOMEM, "no memory for a vocabulary of %u tokens", v->n);
    v->texts[id] = text;
    v->types[id] = (int32_t)attr;
    return true;
}

static bool get_id(const vocab *v, const char *text, size_t n, uint32_t *out)
{
    return text && strmap_get(&v->ids, text, n, out);
}

static bool is_byte(gguf_str s)
{
    static const char hex[] = "0123456789ABCDEFabcdef";
    return s.n == 6 && !memcmp(s.text, "<0x", 3) && strchr(hex, s.text[3]) &&
           strchr(hex, s.text[4]) && s.text[5] == '>';
}

static void read_tokens(vocab *v)
{
    const json_value *list = json_get(v->model, "vocab");
    const char *unk = import_text(v->model, "unk_token");
    if (!list || list->kind != JSON_OBJECT || !list->n) {
        (void)import_fail(v->m, CAMA_ERR_FORMAT, "tokenizer.json: its model has no vocab");
        return;
    }
    for (size_t i = 0; i < list->n; i++) {
        const json_member *t = &list->members[i];
        const gguf_str text = {t->key, t->n_key};
        const bool is_unk = unk && !strcmp(unk, t->key);
        const tok_attr attr = is_unk                       ? TOK_UNKNOWN
                              : v->is_spm && is_byte(text) ? TOK_BYTE
                                                           : TOK_NORMAL;
        if (!put_token(v, text, t->value->kind == JSON_INT ? t->value->integer : -1, attr))
            return;
    }
}

/* Some files forget to say which of their added tokens are special. */
static bool looks_special(gguf_str s)
{
    static const char *const pairs[][2] = {
        {"<|", "|>"}, {"<\xEF\xBD\x9C", "\xEF\xBD\x9C>"}, {"<unused", ">"}};
    static const char *const whole[] = {"<pad>", "<mask>", "<2mass>", "[@BOS@]"};
    bool is = false;
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        is = is || (s.n == strlen(whole[i]) && !memcmp(s.text, whole[i], s.n));
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        const size_t a = strlen(pairs[i][0]), b = strlen(pairs[i][1]);
        is = is || (s.n >= a + b && !memcmp(s.text, pairs[i][0], a) &&
                    !memcmp(s.text + s.n - b, pairs[i][1], b));
    }
    return is;
}

static void read_added(vocab *v)
{
    const json_value *list = json_get(v->m->tokenizer, "added_tokens");
    const char *unk = import_text(v->model, "unk_token");
    for (size_t i = 0; list && list->kind == JSON_ARRAY && i < list->n; i++) {
        const json_value *t = list->items[i];
        const json_value *content = json_get(t, "content"), *id = json_get(t, "id");
        if (!content || content->kind != JSON_STRING || !id || id->kind != JSON_INT) {
            (void)import_fail(v->m, CAMA_ERR_FORMAT,
                              "tokenizer.json: added token %zu has no content or id", i);
            return;
        }
        const gguf_str text = text_of(content);
        const bool special = import_bool(t, "special", false) || looks_special(text);
        const tok_attr attr = unk && !strcmp(unk, content->text) ? TOK_UNKNOWN
                              : special                          ? TOK_CONTROL
                                                                 : TOK_USER;
        if (!put_token(v, text, id->integer, attr))
            return;
    }
}

/* Rows of the table that no token has. */
static void fill_gaps(vocab *v)
{
    for (uint32_t i = 0; i < v->n; i++) {
        if (v->types[i])
            continue;
        char name[24];
        const int n = snprintf(name, sizeof name, "[PAD%u]", i);
        const char *text = arena_copy(&v->m->tree, name, (size_t)n);
        if (!text) {
            (void)import_fail(v->m, CAMA_ERR_NOMEM, "no memory for a vocabulary of %u tokens",
                              v->n);
            return;
        }
        v->texts[i] = (gguf_str){text, (size_t)n};
        v->types[i] = TOK_UNUSED;
    }
}

/* ---- merges ---- */

/* "a b" or ["a", "b"] into its halves. */
static bool split_merge(const json_value *v, gguf_str out[2])
{
    if (v->kind == JSON_ARRAY && v->n == 2 && v->items[0]->kind == JSON_STRING &&
        v->items[1]->kind == JSON_STRING) {
        out[0] = text_of(v->items[0]);
        out[1] = text_of(v->items[1]);
        return true;
    }
    const char *space = v->kind == JSON_STRING ? strchr(v->text, ' ') : NULL;
    if (!space)
        return false;
    const size_t n = (size_t)(space - v->text);
    out[0] = (gguf_str){v->text, n};
    out[1] = (gguf_str){space + 1, v->n - n - 1};
    return true;
}

static char *join(importer *m, const gguf_str half[2], const char *between, size_t *out_n)
{
    const size_t n_between = strlen(between);
    *out_n = half[0].n + n_between + half[1].n;
    char *text = import_take(m, *out_n + 1, 1);
    if (!text)
        return NULL;
    memcpy(text, half[0].text, half[0].n);
    memcpy(text + half[0].n, between, n_between);
    memcpy(text + half[0].n + n_between, half[1].text, half[1].n);
    return text;
}

static bool bad_merge(importer *m, size_t i)
{
    return import_fail(m, CAMA_ERR_FORMAT, "tokenizer.json: merge %zu is no pair of texts", i);
}

/* "a b" for each, as GGUF has them. */
static void put_merges(vocab *v, const json_value *list)
{
    importer *m = v->m;
    gguf_str *merges = import_take(m, list->n + 1, sizeof *merges);
    for (size_t i = 0; merges && i < list->n; i++) {
        gguf_str half[2];
        const json_value *item = list->items[i];
        if (!split_merge(item, half) || memchr(half[0].text, ' ', half[0].n) ||
            memchr(half[1].text, ' ', half[1].n)) {
            (void)bad_merge(m, i);
            return;
        }
        merges[i] = text_of(item);
        if (item->kind == JSON_ARRAY) {
            merges[i].text = join(m, half, " ", &merges[i].n);
            if (!merges[i].text)
                return;
        }
    }
    if (merges)
        gguf_put_strs(&m->w, KEY("merges"), merges, list->n);
}

/* SentencePiece merges the pair whose whole has the best score, BPE the first in the list: the
 * place of the first merge that makes a token, as a negative number, is a score that says the same.
 */
static void put_scores(vocab *v, const json_value *list)
{
    importer *m = v->m;
    float *scores = import_take(m, v->n, sizeof *scores);
    for (uint32_t i = 0; scores && i < v->n; i++)
        scores[i] = v->types[i] == TOK_NORMAL ? NO_MERGE : 0;
    for (size_t i = 0; scores && i < list->n; i++) {
        gguf_str half[2];
        size_t n = 0;
        uint32_t id = 0;
        if (!split_merge(list->items[i], half)) {
            (void)bad_merge(m, i);
            return;
        }
        const char *whole = join(m, half, "", &n);
        if (!whole)
            return;
        if (get_id(v, whole, n, &id) && scores[id] == NO_MERGE)
            scores[id] = -(float)(i + 1);
    }
    if (scores)
        gguf_put_f32s(&m->w, KEY("scores"), scores, v->n);
}

static void read_merges(vocab *v)
{
    const json_value *list = json_get(v->model, "merges");
    if (!list || list->kind != JSON_ARRAY || list->n > MAX_MERGE) {
        (void)import_fail(v->m, CAMA_ERR_FORMAT,
                          "tokenizer.json: its model has no list of merges, or more than %u",
                          MAX_MERGE);
        return;
    }
    if (v->is_spm)
        put_scores(v, list);
    else
        put_merges(v, list);
}

/* ---- what kind of tokenizer it is ---- */

/* Item i of v, which is one step or a Sequence of steps under `key`; NULL past the end. */
static const json_value *step_at(const json_value *v, const char *key, size_t i)
{
    const json_value *list = json_get(v, key);
    if (!v || v->kind != JSON_OBJECT)
        return NULL;
    if (!is_type(v, "Sequence"))
        return i == 0 ? v : NULL;
    return list && list->kind == JSON_ARRAY && i < list->n ? list->items[i] : NULL;
}

static const json_value *find_step(const json_value *v, const char *key, const char *type)
{
    const json_value *step;
    for (size_t i = 0; (step = step_at(v, key, i)); i++) {
        if (is_type(step, type))
            return step;
    }
    return NULL;
}

static bool is_space_mark(const json_value *step)
{
    const char *from = import_text(json_get(step, "pattern"), "String");
    const char *to = import_text(step, "content");
    return from && to && !strcmp(from, " ") && !strcmp(to, SPACE_MARK);
}

/* What changes the text before it is cut. GGUF knows NFC (as nothing at all: llama.cpp does so) and
 * SentencePiece's marks for spaces. */
static void check_normalizer(vocab *v)
{
    const json_value *norm = json_get(v->m->tokenizer, "normalizer"), *step;
    for (size_t i = 0; (step = step_at(norm, "normalizers", i)); i++) {
        const char *mark = import_text(step, "prepend");
        const bool fine = v->is_spm
                              ? (is_type(step, "Prepend") && mark && !strcmp(mark, SPACE_MARK)) ||
                                    (is_type(step, "Replace") && is_space_mark(step))
                              : is_type(step, "NFC");
        const char *type = import_text(step, "type");
        if (!fine) {
            (void)import_fail(v->m, CAMA_ERR_UNSUPPORTED,
                              "tokenizer.json: the normalizer '%.40s' cannot be imported",
                              type ? type : "?");
            return;
        }
    }
}

/* A space in front of the text: by the normalizer in older files, by Metaspace in newer ones. */
static bool has_space_prefix(const importer *m)
{
    const json_value *norm = json_get(m->tokenizer, "normalizer");
    const json_value *meta =
        find_step(json_get(m->tokenizer, "pre_tokenizer"), "pretokenizers", "Metaspace");
    const char *scheme = import_text(meta, "prepend_scheme");
    if (find_step(norm, "normalizers", "Prepend"))
        return true;
    return meta &&
           (scheme ? strcmp(scheme, "never") != 0 : import_bool(meta, "add_prefix_space", true));
}

static void find_kind(vocab *v)
{
    importer *m = v->m;
    const json_value *pre = json_get(m->tokenizer, "pre_tokenizer");
    v->model = json_get(m->tokenizer, "model");
    const char *type = import_text(v->model, "type");
    if (!v->model || v->model->kind != JSON_OBJECT || (type && strcmp(type, "BPE") != 0)) {
        (void)import_fail(m, CAMA_ERR_UNSUPPORTED,
                          "tokenizer.json: a model of type '%.40s' cannot be imported; BPE can",
                          type ? type : "?");
        return;
    }
    const bool bytes = find_step(pre, "pretokenizers", "ByteLevel") != NULL;
    v->is_spm = !bytes && import_bool(v->model, "byte_fallback", false);
    if (!bytes && !v->is_spm)
        (void)import_fail(m, CAMA_ERR_UNSUPPORTED,
                          "tokenizer.json: neither over bytes nor with byte_fallback: a text could "
                          "have no tokens");
    check_normalizer(v);
}

/* ---- single tokens and switches ---- */

/* "x" or {"content": "x"} in tokenizer_config.json. */
static const json_value *named_token(const importer *m, const char *key)
{
    const json_value *v = json_get(m->tokenizer_config, key);
    if (v && v->kind == JSON_OBJECT)
        v = json_get(v, "content");
    return v && v->kind == JSON_STRING ? v : NULL;
}

/* A number, or the first of a list. */
static int64_t number_in(const json_value *o, const char *key)
{
    const json_value *v = json_get(o, key);
    if (v && v->kind == JSON_ARRAY && v->n)
        v = v->items[0];
    return v && v->kind == JSON_INT ? v->integer : -1;
}

/* By its text in tokenizer_config.json, else by its number in config.json; -1: not said. */
static int64_t special_id(const vocab *v, const char *token, const char *number)
{
    const json_value *text = named_token(v->m, token);
    uint32_t id = 0;
    if (text && get_id(v, text->text, text->n, &id))
        return id;
    int64_t n = number_in(v->m->config, number);
    if (n < 0)
        n = number_in(v->m->generation, number);
    return n >= 0 && n < (int64_t)v->n ? n : -1;
}

/* Models that may stop at several tokens list them; the second one ends a turn. What else is known
 * to end an answer is found by its text when the model is opened. */
static int64_t turn_end(const vocab *v, int64_t eos)
{
    const json_value *list = json_get(v->m->generation, "eos_token_id");
    for (size_t i = 0; list && list->kind == JSON_ARRAY && i < list->n; i++) {
        const json_value *id = list->items[i];
        if (id->kind == JSON_INT && id->integer >= 0 && id->integer < (int64_t)v->n &&
            id->integer != eos)
            return id->integer;
    }
    return -1;
}

static void put_specials(vocab *v)
{
    static const struct {
        const char *key, *token, *number;
    } list[] = {{KEY("bos_token_id"), "bos_token", "bos_token_id"},
                {KEY("eos_token_id"), "eos_token", "eos_token_id"},
                {KEY("unknown_token_id"), "unk_token", "unk_token_id"},
                {KEY("padding_token_id"), "pad_token", "pad_token_id"}};
    int64_t eos = -1;
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        const int64_t id = special_id(v, list[i].token, list[i].number);
        if (id >= 0)
            gguf_put_u32(&v->m->w, list[i].key, (uint32_t)id);
        if (i == 1)
            eos = id;
    }
    const int64_t eot = turn_end(v, eos);
    if (eot >= 0)
        gguf_put_u32(&v->m->w, KEY("eot_token_id"), (uint32_t)eot);
}

/* Whether a special token stands in front of a text (or behind it): by tokenizer_config.json, else
 * by the template of the post-processor. Where neither says it, the key is left out, and what is
 * usual for the kind of vocabulary holds. */
static void put_special_switch(vocab *v, const char *key, const char *config_key, bool last)
{
    importer *m = v->m;
    const json_value *said = json_get(m->tokenizer_config, config_key);
    const json_value *post = json_get(m->tokenizer, "post_processor");
    const json_value *single =
        json_get(find_step(post, "processors", "TemplateProcessing"), "single");
    if (said && said->kind == JSON_BOOL)
        gguf_put_bool(&m->w, key, said->boolean);
    else if (single && single->kind == JSON_ARRAY && single->n)
        gguf_put_bool(&m->w, key,
                      json_get(single->items[last ? single->n - 1 : 0], "SpecialToken") != NULL);
}

static void put_switches(vocab *v)
{
    put_special_switch(v, KEY("add_bos_token"), "add_bos_token", false);
    put_special_switch(v, KEY("add_eos_token"), "add_eos_token", true);
    if (v->is_spm)
        gguf_put_bool(&v->m->w, KEY("add_space_prefix"), has_space_prefix(v->m));
}

/* The file of its own counts, then the text in tokenizer_config.json, or the default of a list. */
static void put_template(importer *m)
{
    static const char key[] = "tokenizer.chat_template";
    const json_value *v = json_get(m->tokenizer_config, "chat_template");
    const json_value *chosen = v && v->kind == JSON_STRING ? v : NULL;
    for (size_t i = 0; v && v->kind == JSON_ARRAY && i < v->n; i++) {
        const char *name = import_text(v->items[i], "name");
        const json_value *text = json_get(v->items[i], "template");
        if (text && text->kind == JSON_STRING && name && !strcmp(name, "default"))
            chosen = text;
    }
    if (m->jinja)
        gguf_put_str(&m->w, key, (gguf_str){m->jinja, m->n_jinja});
    else if (chosen)
        gguf_put_str(&m->w, key, text_of(chosen));
}

static void put_vocab(vocab *v)
{
    importer *m = v->m;
    const char *pre =
        v->is_spm ? "default" : import_pre(m, json_get(m->tokenizer, "pre_tokenizer"));
    if (!pre)
        return;
    gguf_put_text(&m->w, KEY("model"), v->is_spm ? "llama" : "gpt2");
    gguf_put_text(&m->w, KEY("pre"), pre);
    gguf_put_strs(&m->w, KEY("tokens"), v->texts, v->n);
    gguf_put_i32s(&m->w, KEY("token_type"), v->types, v->n);
    read_merges(v);
    put_specials(v);
    put_switches(v);
    put_template(m);
}

void import_tokenizer(importer *m)
{
    vocab v = {.m = m, .n = (uint32_t)m->dims[IMPORT_VOCAB]};
    v.texts = import_take(m, v.n, sizeof *v.texts);
    v.types = import_take(m, v.n, sizeof *v.types);
    if (!v.texts || !v.types)
        return;
    if (strmap_init(&v.ids, v.n)) {
        (void)import_fail(m, CAMA_ERR_NOMEM, "no memory for a vocabulary of %u tokens", v.n);
        return;
    }
    find_kind(&v);
    if (!m->err.code)
        read_tokens(&v);
    if (!m->err.code)
        read_added(&v);
    if (!m->err.code)
        fill_gaps(&v);
    if (!m->err.code)
        put_vocab(&v);
    strmap_done(&v.ids);
}
