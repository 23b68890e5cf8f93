/* Messages -> prompt -> ids that fit the context. */
#include "runner/runner_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MIN_LIMIT 4 /* tokens of the smallest context, as in Ollama */

static const char chatml[] =
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/* ---- templates ---- */

static cama_err open_jinja(runner *r, const char *source, size_t n, err_info *err)
{
    tmpl *t = NULL;
    cama_err e = tmpl_open(source, n, &t, err);
    if (!e)
        e = chat_probe(t, &r->caps, err);
    if (e) {
        tmpl_close(t);
        return err_wrap(err, e, "the file's chat template");
    }
    r->tmpl = t;
    return CAMA_OK;
}

/* The file's template, or ChatML where it has none, parsed once. What is wrong with it is kept: it
 * will not get better. */
static cama_err need_jinja(runner *r, err_info *err)
{
    gguf_str source = {.text = chatml, .n = sizeof chatml - 1};
    if (!r->tmpl && !r->tmpl_err.code) {
        r->is_chatml = gguf_get_str(r->file, RUNNER_TEMPLATE_KEY, &source, NULL) != CAMA_OK;
        const cama_err e = open_jinja(r, source.text, source.n, err);
        if (e == CAMA_ERR_NOMEM)
            return e;
        if (e)
            r->tmpl_err = *err;
    }
    if (r->tmpl_err.code)
        return err_set(err, r->tmpl_err.code, "%s", r->tmpl_err.text);
    return CAMA_OK;
}

void runner_prompt_warm(runner *r)
{
    err_info err;
    gguf_str source;
    if (gguf_get_str(r->file, RUNNER_TEMPLATE_KEY, &source, NULL) == CAMA_OK)
        (void)need_jinja(r, &err); /* the first job that needs it is told */
}

/* The job's own Go template; the last one stays parsed, as most jobs have the same. */
static cama_err need_go(runner *r, const char *source, err_info *err)
{
    if (r->gotmpl && !strcmp(r->go_source, source))
        return CAMA_OK;
    gotmpl_close(r->gotmpl);
    free(r->go_source);
    r->gotmpl = NULL;
    r->go_source = strdup(source);
    if (!r->go_source)
        return err_set(err, CAMA_ERR_NOMEM, "runner: no memory for a template");
    return gotmpl_open(source, strlen(source), &r->gotmpl, err);
}

static cama_err choose_path(runner_prep *p, err_info *err)
{
    const char *source = prep_str(p, "template");
    runner_job *j = p->j;
    if (prep_bool(p, "raw", false) || (!json_get(p->head, "messages") && !source)) {
        j->path = "raw";
        return CAMA_OK;
    }
    if (source) {
        j->path = "go";
        return need_go(p->r, source, err);
    }
    const cama_err e = need_jinja(p->r, err);
    j->path = p->r->is_chatml ? "chatml" : "jinja";
    if (!e && p->r->is_chatml)
        runner_warn(j, "template_missing", "",
                    "the file has no chat template: ChatML is used, which the model may not know");
    return e;
}

/* ---- through Jinja ---- */

/* In the shape of OpenAI's, which such templates are written for. */
static json_value *call_for_jinja(arena *a, const json_value *call)
{
    json_value *out = json_new_object(a);
    const json_value *id = json_get(call, "id");
    if (id)
        (void)json_put(a, out, "id",
                       (json_value *)(uintptr_t)id); /* NULL goes on: looked at last */
    (void)json_put(a, out, "type", json_new_string(a, "function", 8));
    const bool ok =
        json_put(a, out, "function", (json_value *)(uintptr_t)json_get(call, "function"));
    return ok ? out : NULL;
}

static bool put_calls(arena *a, json_value *message, const json_value *calls)
{
    json_value *list = json_new_array(a);
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < calls->n; i++)
        ok = json_append(a, list, call_for_jinja(a, calls->items[i]));
    return ok && json_put(a, message, "tool_calls", list);
}

static json_value *message_for_jinja(arena *a, const json_value *m)
{
    static const struct {
        const char *from, *to;
    } keys[] = {{"role", "role"},
                {"content", "content"},
                {"thinking", "reasoning_content"},
                {"tool_name", "name"},
                {"tool_call_id", "tool_call_id"}};
    json_value *out = json_new_object(a);
    bool ok = out != NULL;
    for (size_t i = 0; ok && i < sizeof keys / sizeof keys[0]; i++) {
        const json_value *v = json_get(m, keys[i].from);
        if (v && (v->kind != JSON_STRING || v->n || i < 2))
            ok = json_put(a, out, keys[i].to, (json_value *)(uintptr_t)v);
        else if (i == 1)
            ok = json_put(a, out, "content", json_new_string(a, "", 0));
    }
    const json_value *calls = json_get(m, "tool_calls");
    if (ok && calls && calls->kind == JSON_ARRAY && calls->n)
        ok = put_calls(a, out, calls);
    return ok ? out : NULL;
}

static const char *token_text(const runner *r, arena *a, int32_t id)
{
    const tok_str s = tok_text(r->vocab, id); /* n = 0: there is none */
    return s.n ? arena_copy(a, s.text, s.n) : NULL;
}

static bool read_think(runner_prep *p, chat_request *q)
{
    const json_value *think = json_get(p->head, "think");
    if (!think || think->kind == JSON_NULL)
        return true;
    q->think = think->kind == JSON_BOOL && !think->boolean ? CHAT_THINK_OFF : CHAT_THINK_ON;
    if (think->kind != JSON_STRING)
        return true;
    json_value *extra = json_new_object(&p->tree);
    q->extra = extra;
    return json_put(&p->tree, extra, "reasoning_effort",
                    json_new_string(&p->tree, think->text, think->n));
}

/* What was changed so that the template takes it, one warning for each. */
static void warn_adapted(runner_job *j, uint32_t adapted)
{
    for (int i = 0; i < CHAT_N_ADAPTED; i++) {
        const uint32_t bit = 1u << i;
        const char *code = bit == CHAT_TOOLS_IGNORED   ? "tools_ignored"
                           : bit == CHAT_THINK_IGNORED ? "think_ignored"
                                                       : "template_adapted";
        if (adapted & bit)
            runner_warn(j, code, "", "%s", chat_adapted_text(bit));
    }
}

/* A chat that ends with a message of the assistant's is gone on with: the text is the beginning of
 * the answer, in the prompt and in what the reader gets. */
static const char *prefill_of(const runner_prep *p, const json_value *messages)
{
    const json_value *last = messages->n ? messages->items[messages->n - 1] : NULL;
    const json_value *role = json_get(last, "role");
    const json_value *content = json_get(last, "content");
    const bool open = !strcmp(p->kind, "chat") && messages->n > 1 && role &&
                      role->kind == JSON_STRING && !strcmp(role->text, "assistant") &&
                      !json_get(last, "tool_calls") && content && content->kind == JSON_STRING &&
                      content->n;
    return open ? content->text : NULL;
}

static cama_err render_jinja(runner_prep *p, const json_value *messages, buf *out,
                             uint32_t *adapted, err_info *err)
{
    arena *a = &p->tree;
    const tok_special *t = tok_specials(p->r->vocab);
    chat_request q = {.caps = &p->r->caps,
                      .bos = token_text(p->r, a, t->bos),
                      .eos = token_text(p->r, a, t->eos),
                      .add_generation_prompt = true,
                      .now_s = time(NULL)};
    const json_value *tools = json_get(p->head, "tools");
    if (tools && tools->kind == JSON_ARRAY && tools->n)
        q.tools = tools;
    json_value *list = json_new_array(a);
    bool ok = list && read_think(p, &q);
    p->prefill = prefill_of(p, messages);
    const size_t n = messages->n - (p->prefill != NULL);
    for (size_t i = 0; ok && i < n; i++)
        ok = json_append(a, list, message_for_jinja(a, messages->items[i]));
    if (!ok)
        return err_set(err, CAMA_ERR_NOMEM, "runner: no memory for %zu messages", messages->n);
    q.messages = list;
    const cama_err e = chat_render(p->r->tmpl, &q, out, adapted, err);
    if (e || !p->prefill)
        return e;
    (void)buf_puts(out, p->prefill); /* its failure sticks */
    return buf_error(out, "the prompt", err);
}

/* ---- through a Go template ---- */

static cama_err render_go(runner_prep *p, const json_value *messages, buf *out, err_info *err)
{
    const json_value *think = json_get(p->head, "think");
    gochat_request q = {.messages = messages,
                        .tools = json_get(p->head, "tools"),
                        .prompt = prep_str(p, "prompt"),
                        .suffix = prep_str(p, "suffix"),
                        .think = -1,
                        .think_level = "",
                        .now_s = time(NULL)};
    if (think && think->kind == JSON_BOOL)
        q.think = think->boolean;
    if (think && think->kind == JSON_STRING) {
        q.think = 1;
        q.think_level = think->text;
    }
    return gochat_render(p->r->gotmpl, &q, out, err);
}

/* ---- without a template ---- */

static cama_err put_token(const runner *r, int32_t id, buf *out)
{
    const tok_str s = tok_text(r->vocab, id);
    return buf_append(out, s.text, s.n);
}

/* Prompt and suffix around the vocabulary's own marks. */
static cama_err render_infill(runner_prep *p, const char *suffix, buf *out, err_info *err)
{
    const tok_special *t = tok_specials(p->r->vocab);
    if (t->fim_pre < 0 || t->fim_suf < 0 || t->fim_mid < 0)
        return err_set(err, CAMA_ERR_UNSUPPORTED,
                       "this model does not support insert: its vocabulary has no tokens for it");
    const char *prompt = prep_str(p, "prompt");
    (void)put_token(p->r, t->fim_pre, out); /* failures stick */
    (void)buf_puts(out, prompt ? prompt : "");
    (void)put_token(p->r, t->fim_suf, out);
    (void)buf_puts(out, suffix);
    (void)put_token(p->r, t->fim_mid, out);
    return buf_error(out, "the prompt", err);
}

static cama_err render(runner_prep *p, const json_value *messages, buf *out, uint32_t *adapted,
                       err_info *err)
{
    const char *path = p->j->path;
    const char *suffix = prep_str(p, "suffix");
    *adapted = 0;
    if (!strcmp(path, "go"))
        return render_go(p, messages, out, err);
    if (strcmp(path, "raw") != 0)
        return render_jinja(p, messages, out, adapted, err);
    if (suffix && !prep_bool(p, "raw", false))
        return render_infill(p, suffix, out, err);
    const char *prompt = prep_str(p, "prompt");
    (void)buf_puts(out, prompt ? prompt : "");
    return buf_error(out, "the prompt", err);
}

/* ---- ids ---- */

/* Templates usually write BOS themselves; the tokenizer must not put a second one before it. */
static void drop_second_bos(const runner *r, tok_ids *ids)
{
    const tok_special *t = tok_specials(r->vocab);
    if (!t->add_bos || ids->n < 2 || ids->id[0] != t->bos || ids->id[1] != t->bos)
        return;
    memmove(ids->id, ids->id + 1, (ids->n - 1) * sizeof *ids->id);
    ids->n--;
}

/* `context` of the request stands before the prompt, and has its BOS already. */
static cama_err encode(runner_prep *p, const buf *text, tok_ids *ids, err_info *err)
{
    const int64_t n = prep_head_int(p, "n_context");
    if (n < 0 || (uint64_t)n > p->j->n_data / sizeof(int32_t))
        return err_set(err, CAMA_ERR_ARG, "n_context is %lld, the data has %zu bytes", (long long)n,
                       p->j->n_data);
    tok_ids_done(ids);
    if (n) {
        ids->id = malloc((size_t)n * sizeof *ids->id);
        if (!ids->id)
            return err_set(err, CAMA_ERR_NOMEM, "runner: no memory for %lld ids", (long long)n);
        memcpy(ids->id, p->j->data, (size_t)n * sizeof *ids->id);
        ids->n = ids->cap = (size_t)n;
    }
    const tok_flags flags = {.add_special = n == 0, .parse_special = true};
    const cama_err e = tok_encode(p->r->vocab, text->n ? text->data : "", text->n, flags, ids, err);
    if (!e && !n)
        drop_second_bos(p->r, ids);
    return e;
}

/* ---- what fits ---- */

static bool is_system(const json_value *m)
{
    const json_value *role = json_get(m, "role");
    return role && role->kind == JSON_STRING && !strcmp(role->text, "system");
}

/* The messages without the n_drop oldest of those that may go: all but system's and the last. */
static json_value *without(runner_prep *p, const json_value *messages, size_t n_drop)
{
    json_value *out = json_new_array(&p->tree);
    bool ok = out != NULL;
    for (size_t i = 0; ok && i < messages->n; i++) {
        const bool stays = i + 1 == messages->n || is_system(messages->items[i]);
        if (!stays && n_drop)
            n_drop--;
        else
            ok = json_append(&p->tree, out, messages->items[i]);
    }
    return ok ? out : NULL;
}

static size_t n_droppable(const json_value *messages)
{
    size_t n = 0;
    for (size_t i = 0; i + 1 < messages->n; i++)
        n += !is_system(messages->items[i]);
    return n;
}

static cama_err try_without(runner_prep *p, const json_value *messages, size_t n_drop,
                            uint32_t *adapted, err_info *err)
{
    const json_value *some = n_drop ? without(p, messages, n_drop) : messages;
    if (!some)
        return err_set(err, CAMA_ERR_NOMEM, "runner: no memory for %zu messages", messages->n);
    if (job_is_canceled(p->j))
        return err_set(err, CAMA_ERR_CANCELED, "canceled");
    buf_clear(&p->text);
    const cama_err e = render(p, some, &p->text, adapted, err);
    return e ? e : encode(p, &p->text, &p->ids, err);
}

/* The fewest of the oldest messages go. Their number is searched by halves: what fits with some
 * gone fits with more gone. */
static cama_err drop_messages(runner_prep *p, const json_value *messages, size_t n_all,
                              uint32_t *adapted, err_info *err)
{
    const size_t n_asked = p->ids.n;
    size_t few = 0; /* too few */
    size_t many = n_droppable(messages);
    while (many - few > 1) {
        const size_t half = few + (many - few) / 2;
        const cama_err e = try_without(p, messages, half, adapted, err);
        if (e)
            return e;
        if (p->ids.n <= p->n_limit)
            many = half;
        else
            few = half;
    }
    const cama_err e = try_without(p, messages, many, adapted, err);
    if (e)
        return e;
    char figures[96];
    (void)snprintf(figures, sizeof figures, ",\"n_prompt\":%zu,\"n_kept\":%zu,\"n_dropped\":%zu",
                   n_asked, p->ids.n, many);
    runner_warn(p->j, "context_truncated", figures,
                "the conversation has %zu tokens, the context %u: the %zu oldest of %zu messages "
                "were left out, %zu tokens remain",
                n_asked, p->n_limit, many, n_all, p->ids.n);
    return CAMA_OK;
}

/* Keeps the first tokens and the last, so that about half of the rest of the context is free. */
static cama_err cut_middle(runner_prep *p, err_info *err)
{
    runner_job *j = p->j;
    tok_ids *ids = &p->ids;
    const size_t n_asked = ids->n;
    const int64_t n_keep = prep_int(p, "num_keep");
    const size_t limit = p->n_limit;
    size_t keep = n_keep < 0 || (uint64_t)n_keep > limit ? limit : (size_t)n_keep;
    keep += tok_specials(p->r->vocab)->add_bos;
    if (keep > limit - MIN_LIMIT / 2)
        keep = limit < 2 * MIN_LIMIT ? limit / 2 : limit - MIN_LIMIT;
    const size_t n_tail = (limit - keep) / 2 ? (limit - keep) / 2 : 1;
    if (j->want_context) {
        j->uncut.id = malloc(ids->n * sizeof *ids->id);
        if (!j->uncut.id)
            return err_set(err, CAMA_ERR_NOMEM, "runner: no memory for %zu ids", ids->n);
        memcpy(j->uncut.id, ids->id, ids->n * sizeof *ids->id);
        j->uncut.n = j->uncut.cap = ids->n;
    }
    memmove(ids->id + keep, ids->id + ids->n - n_tail, n_tail * sizeof *ids->id);
    ids->n = keep + n_tail;
    char figures[64];
    (void)snprintf(figures, sizeof figures, ",\"n_prompt\":%zu,\"n_kept\":%zu", n_asked, ids->n);
    runner_warn(j, "prompt_cut", figures,
                "the prompt has %zu tokens, the context %zu: %zu of them were kept, the first %zu "
                "and the last %zu",
                n_asked, limit, ids->n, keep, n_tail);
    return CAMA_OK;
}

static cama_err too_long(const runner_prep *p, uint32_t n_ctx, char figures[96], err_info *err)
{
    (void)snprintf(figures, 96, ",\"n_prompt\":%zu,\"n_ctx\":%u", p->ids.n, n_ctx);
    return err_set(err, CAMA_ERR_CONTEXT, "the prompt has %zu tokens, the context holds %u",
                   p->ids.n, n_ctx);
}

/* Those of the job; a bare prompt for a template is one message, and without one there are none. */
static cama_err messages_of(runner_prep *p, const json_value **out, err_info *err)
{
    arena *a = &p->tree;
    const json_value *given = json_get(p->head, "messages");
    if (given && given->kind != JSON_ARRAY)
        return err_set(err, CAMA_ERR_ARG, "messages are no array");
    *out = given;
    if (given)
        return CAMA_OK;
    const char *prompt = prep_str(p, "prompt");
    json_value *list = json_new_array(a);
    bool ok = list != NULL;
    if (ok && prompt && !strcmp(p->j->path, "go") && !prep_str(p, "suffix")) {
        json_value *m = json_new_object(a);
        ok = json_put(a, m, "role", json_new_string(a, "user", 4)) &&
             json_put(a, m, "content", json_new_string(a, prompt, strlen(prompt))) &&
             json_append(a, list, m);
    }
    *out = list;
    return ok ? CAMA_OK : err_set(err, CAMA_ERR_NOMEM, "runner: no memory for a message");
}

cama_err runner_prompt(runner_prep *p, char figures[96], err_info *err)
{
    const json_value *messages = NULL;
    uint32_t adapted = 0;
    cama_err e = choose_path(p, err);
    if (!e)
        e = messages_of(p, &messages, err);
    if (!e)
        e = try_without(p, messages, 0, &adapted, err);
    if (e)
        return e;
    const bool truncate = prep_bool(p, "truncate", true);
    const bool shift = prep_bool(p, "shift", true);
    if (!truncate && p->ids.n >= p->j->n_ctx)
        return too_long(p, p->j->n_ctx, figures, err);
    if (truncate && p->ids.n > p->n_limit && n_droppable(messages))
        e = drop_messages(p, messages, messages->n, &adapted, err);
    warn_adapted(p->j, adapted);
    if (!e && truncate && p->ids.n > p->n_limit)
        e = shift ? cut_middle(p, err) : too_long(p, p->n_limit, figures, err);
    return e;
}
