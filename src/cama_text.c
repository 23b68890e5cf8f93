/* cama_text.c - the public API: text into tokens and back, messages into prompts. */
#include "cama_int.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "chat/tmpl.h"

#define TEMPLATE_KEY "tokenizer.chat_template"
#define CHAT_MEMORY ((size_t)256 << 20)

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

cama_err cama_tokenize(const cama_model *m, const char *text, size_t n_text, uint32_t flags,
                       int32_t **out_ids, size_t *out_n, cama_error *err)
{
    cama_err e = need_vocab(m, err);
    if (e)
        return e;
    tok_ids ids;
    tok_ids_init(&ids, CAMA_MAX_OUTPUT / sizeof *ids.id);
    e = encode(m, text, n_text, flags, &ids, err);
    /* Of no tokens there is an array too: the caller may free it without a look. */
    int32_t *out = e || ids.id ? ids.id : malloc(sizeof *out);
    if (!e && !out)
        e = err_set(err, CAMA_ERR_NOMEM, "cama: no memory for tokens");
    if (e) {
        tok_ids_done(&ids);
        return e;
    }
    *out_ids = out;
    *out_n = ids.n;
    return CAMA_OK;
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
    const cama_err e = gguf_get_str(m->file, TEMPLATE_KEY, &s, err);
    if (e == CAMA_ERR_NOT_FOUND)
        return err_set(err, e, "the file has no chat template: key '%s' is absent", TEMPLATE_KEY);
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
    arena_init(&a, CHAT_MEMORY);
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

static bool put_token(const cama_model *m, arena *a, json_value *vars, const char *key, int32_t id)
{
    if (json_get(vars, key))
        return true;
    const tok_str s = tok_text(m->vocab, id); /* n = 0: there is none */
    return json_put(a, vars, key, json_new_string(a, s.n ? s.text : "", s.n));
}

/* The template's inputs: the caller's object, or one made around an array of messages. */
static cama_err chat_vars(const cama_model *m, const char *messages, arena *a, json_value **out,
                          cama_error *err)
{
    json_value *v = NULL;
    const cama_err e = json_parse(messages, strlen(messages), a, &v, err);
    if (e)
        return err_wrap(err, e, "messages");
    if (v->kind == JSON_ARRAY) {
        json_value *o = json_new_object(a);
        if (!json_put(a, o, "messages", v))
            return err_set(err, CAMA_ERR_NOMEM, "chat: no memory for messages");
        v = o;
    }
    if (v->kind != JSON_OBJECT || !json_get(v, "messages") ||
        json_get(v, "messages")->kind != JSON_ARRAY)
        return err_set(err, CAMA_ERR_ARG, "messages must be a JSON array, or an object with one");
    const tok_special *t = tok_specials(m->vocab);
    if ((!json_get(v, "add_generation_prompt") &&
         !json_put(a, v, "add_generation_prompt", json_new_bool(a, true))) ||
        !put_token(m, a, v, "bos_token", t->bos) || !put_token(m, a, v, "eos_token", t->eos))
        return err_set(err, CAMA_ERR_NOMEM, "chat: no memory for messages");
    *out = v;
    return CAMA_OK;
}

static cama_err render(cama_model *m, const char *messages, buf *out, cama_error *err)
{
    gguf_str source;
    if (gguf_get_str(m->file, TEMPLATE_KEY, &source, NULL))
        return err_set(err, CAMA_ERR_NOT_FOUND, "the file has no chat template: key '%s' is absent",
                       TEMPLATE_KEY);
    arena a;
    arena_init(&a, CHAT_MEMORY);
    tmpl *t = NULL;
    json_value *vars = NULL;
    cama_err e = chat_vars(m, messages, &a, &vars, err);
    if (!e)
        e = tmpl_open(source.text, source.n, &t, err);
    if (!e)
        e = tmpl_render(t, vars, (int64_t)time(NULL), &(tmpl_limits){0}, out, err);
    tmpl_close(t);
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
    return encode(m, o->prompt, strlen(o->prompt),
                  CAMA_TOKENIZE_ADD_SPECIAL | CAMA_TOKENIZE_PARSE_SPECIAL, ids, err);
}
