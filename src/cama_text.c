/* cama_text.c - the public API: text into tokens and back, messages into prompts. */
#include "cama_int.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CHAT_MEMORY ((size_t)256 << 20)
#define PLAN_MEMORY ((size_t)256 << 20)

static cama_err need_vocab(const cama_model *m, cama_error *err)
{
    if (m->vocab)
        return CAMA_OK;
    return err_set(err, CAMA_ERR_ARG, "the model was opened without its tokenizer");
}

static cama_err encode(const cama_model *m, const char *text, size_t n, uint32_t flags,
                       tok_ids *ids, cama_error *err)
{
    const tok_flags tf = {
        .add_special = (flags & CAMA_TOKENIZE_ADD_SPECIAL) != 0,
        .parse_special = (flags & CAMA_TOKENIZE_PARSE_SPECIAL) != 0,
    };
    return tok_encode(m->vocab, text, n, tf, ids, err);
}

/* Of no tokens there is an array too: the caller may free it without a look. */
static cama_err hand_out_ids(cama_err e, tok_ids *ids, int32_t **out_ids, size_t *out_n,
                             cama_error *err)
{
    int32_t *out = e || ids->id ? ids->id : malloc(sizeof *out);
    if (!e && !out)
        e = err_set(err, CAMA_ERR_NOMEM, "cama: no memory for tokens");
    if (e) {
        tok_ids_done(ids);
        return e;
    }
    *out_ids = out;
    *out_n = ids->n;
    return CAMA_OK;
}

cama_err cama_tokenize(const cama_model *m, const char *text, size_t n_text, uint32_t flags,
                       int32_t **out_ids, size_t *out_n, cama_error *err)
{
    cama_err e = need_vocab(m, err);
    if (e)
        return e;
    tok_ids ids;
    tok_ids_init(&ids, CAMA_MAX_OUTPUT / sizeof *ids.id);
    e = encode(m, text, n_text, flags, &ids, err);
    return hand_out_ids(e, &ids, out_ids, out_n, err);
}

cama_err cama_detokenize(const cama_model *m, const int32_t *ids, size_t n, bool special,
                         char **out_text, size_t *out_n, cama_error *err)
{
    cama_err e = need_vocab(m, err);
    if (e)
        return e;
    buf b;
    buf_init(&b, CAMA_MAX_OUTPUT);
    e = tok_decode(m->vocab, ids, n, special, &b, err);
    if (e) {
        buf_done(&b);
        return e;
    }
    return cama_hand_out(&b, out_text, out_n, "the text of the tokens", err);
}

bool cama_token_is_eog(const cama_model *m, int32_t id)
{
    return m->vocab && tok_is_eog(m->vocab, id);
}

cama_err cama_model_template(const cama_model *m, char **out_text, cama_error *err)
{
    gguf_str s;
    const cama_err e = gguf_get_str(m->file, CAMA_TEMPLATE_KEY, &s, err);
    if (e == CAMA_ERR_NOT_FOUND)
        return err_set(err, e, "the file has no chat template: key '%s' is absent",
                       CAMA_TEMPLATE_KEY);
    if (e)
        return e;
    buf b;
    buf_init(&b, CAMA_MAX_OUTPUT);
    (void)buf_append(&b, s.text, s.n); /* its failure is sticky */
    return cama_hand_out(&b, out_text, NULL, "the chat template", err);
}

cama_err cama_model_plan(const cama_model *m, char **out_text, cama_error *err)
{
    if (!m->desc)
        return err_set(err, CAMA_ERR_ARG, "the model was opened without its forward pass");
    arena a;
    arena_init(&a, PLAN_MEMORY);
    buf b;
    buf_init(&b, CAMA_MAX_OUTPUT);
    const model_record_opts opts = {
        .n_ctx = m->engine ? m->eo.n_ctx : model_get_info(m->desc)->n_ctx_train,
    };
    const plan *p = NULL;
    cama_err e = model_record(m->desc, &opts, &a, &p, err);
    if (!e) {
        (void)plan_print(p, &b); /* its failure is sticky */
        e = cama_hand_out(&b, out_text, NULL, "the plan", err);
    } else {
        buf_done(&b);
    }
    arena_done(&a);
    return e;
}

/* ---- chat ---- */

/* Parses the template and finds out what it can take, once. */
static cama_err need_template(cama_model *m, cama_error *err)
{
    if (m->tmpl)
        return CAMA_OK;
    gguf_str source;
    if (gguf_get_str(m->file, CAMA_TEMPLATE_KEY, &source, NULL))
        return err_set(err, CAMA_ERR_NOT_FOUND, "the file has no chat template: key '%s' is absent",
                       CAMA_TEMPLATE_KEY);
    tmpl *t = NULL;
    cama_err e = tmpl_open(source.text, source.n, &t, err);
    if (!e)
        e = chat_probe(t, &m->caps, err);
    if (e) {
        tmpl_close(t);
        return err_wrap(err, e, "the file's chat template");
    }
    m->tmpl = t;
    return CAMA_OK;
}

/* Keys of the caller's object that chat_request has a place for; all others are the template's. */
static bool is_own_key(const char *key)
{
    static const char *const own[] = {"messages", "tools", "think", "add_generation_prompt"};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        if (!strcmp(key, own[i]))
            return true;
    }
    return false;
}

static cama_err read_object(const json_value *o, arena *a, chat_request *q, cama_error *err)
{
    q->messages = json_get(o, "messages");
    q->tools = json_get(o, "tools");
    const json_value *think = json_get(o, "think");
    if (think && think->kind == JSON_BOOL)
        q->think = think->boolean ? CHAT_THINK_ON : CHAT_THINK_OFF;
    const json_value *add = json_get(o, "add_generation_prompt");
    if (add && add->kind == JSON_BOOL)
        q->add_generation_prompt = add->boolean;
    json_value *extra = json_new_object(a);
    bool ok = extra != NULL;
    for (size_t i = 0; ok && i < o->n; i++) {
        if (!is_own_key(o->members[i].key))
            ok = json_put(a, extra, o->members[i].key, o->members[i].value);
    }
    q->extra = extra;
    return ok ? CAMA_OK : err_set(err, CAMA_ERR_NOMEM, "chat: no memory for messages");
}

/* The caller's JSON: an array of messages, or an object around it. */
static cama_err read_messages(const char *text, arena *a, chat_request *q, cama_error *err)
{
    json_value *v = NULL;
    cama_err e = json_parse(text, strlen(text), a, &v, err);
    if (e)
        return err_wrap(err, e, "messages");
    if (v->kind == JSON_OBJECT)
        e = read_object(v, a, q, err);
    else
        q->messages = v;
    if (!e && (!q->messages || q->messages->kind != JSON_ARRAY))
        e = err_set(err, CAMA_ERR_ARG, "messages must be a JSON array, or an object with one");
    return e;
}

static const char *token_text(const cama_model *m, arena *a, int32_t id)
{
    const tok_str s = tok_text(m->vocab, id); /* n = 0: there is none */
    return s.n ? arena_copy(a, s.text, s.n) : NULL;
}

/* What was changed for the template is told, each change once a model. */
static void tell_adapted(cama_model *m, uint32_t adapted)
{
    for (int i = 0; i < CHAT_N_ADAPTED; i++) {
        const uint32_t bit = 1u << i;
        if (adapted & bit & ~m->told)
            cama_warn(m, "chat template: %s", chat_adapted_text(bit));
    }
    m->told |= adapted;
}

static cama_err render(cama_model *m, const char *messages, buf *out, cama_error *err)
{
    arena a;
    arena_init(&a, CHAT_MEMORY);
    cama_err e = need_template(m, err);
    chat_request q = {.caps = &m->caps, .add_generation_prompt = true, .now_s = time(NULL)};
    if (!e)
        e = read_messages(messages, &a, &q, err);
    if (!e) {
        const tok_special *t = tok_specials(m->vocab);
        q.bos = token_text(m, &a, t->bos);
        q.eos = token_text(m, &a, t->eos);
        uint32_t adapted = 0;
        e = chat_render(m->tmpl, &q, out, &adapted, err);
        tell_adapted(m, adapted);
    }
    arena_done(&a);
    return e;
}

cama_err cama_chat_prompt(cama_model *m, const char *messages, char **out_prompt, cama_error *err)
{
    cama_err e = need_vocab(m, err);
    if (e)
        return e;
    buf b;
    buf_init(&b, CAMA_MAX_OUTPUT);
    e = render(m, messages, &b, err);
    if (e) {
        buf_done(&b);
        return e;
    }
    return cama_hand_out(&b, out_prompt, NULL, "the prompt", err);
}

/* Templates usually write BOS themselves; the tokenizer must not put a second one before it. */
static void drop_second_bos(const cama_model *m, tok_ids *ids)
{
    const tok_special *t = tok_specials(m->vocab);
    if (!t->add_bos || ids->n < 2 || ids->id[0] != t->bos || ids->id[1] != t->bos)
        return;
    memmove(ids->id, ids->id + 1, (ids->n - 1) * sizeof *ids->id);
    ids->n--;
}

static cama_err ids_of_messages(cama_model *m, const char *messages, tok_ids *ids, cama_error *err)
{
    buf b;
    buf_init(&b, CAMA_MAX_OUTPUT);
    cama_err e = render(m, messages, &b, err);
    if (!e)
        e = encode(m, b.n ? b.data : "", b.n,
                   CAMA_TOKENIZE_ADD_SPECIAL | CAMA_TOKENIZE_PARSE_SPECIAL, ids, err);
    if (!e)
        drop_second_bos(m, ids);
    buf_done(&b);
    return e;
}

cama_err cama_prompt_ids(cama_model *m, const cama_gen_opts *o, tok_ids *ids, cama_error *err)
{
    const cama_err e = need_vocab(m, err);
    if (e)
        return e;
    if ((o->prompt != NULL) + (o->messages != NULL) + (o->ids != NULL) != 1)
        return err_set(err, CAMA_ERR_ARG, "the prompt is one of ids, prompt and messages");
    if (o->messages)
        return ids_of_messages(m, o->messages, ids, err);
    if (!o->prompt)
        return CAMA_OK; /* ids: there is nothing to make */
    return encode(m, o->prompt, strlen(o->prompt),
                  CAMA_TOKENIZE_ADD_SPECIAL | CAMA_TOKENIZE_PARSE_SPECIAL, ids, err);
}

cama_err cama_prompt_tokens(cama_model *m, const cama_gen_opts *opts, int32_t **out_ids,
                            size_t *out_n, cama_error *err)
{
    tok_ids ids;
    tok_ids_init(&ids, CAMA_MAX_OUTPUT / sizeof *ids.id);
    cama_gen_opts o;
    cama_err e = cama_read_gen_opts(opts, &o, err);
    if (!e && o.ids)
        e = err_set(err, CAMA_ERR_ARG, "the prompt is tokens already");
    if (!e)
        e = cama_prompt_ids(m, &o, &ids, err);
    return hand_out_ids(e, &ids, out_ids, out_n, err);
}
