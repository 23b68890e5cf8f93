#include "cli/cli_ask.h"

#include <stdio.h>
#include <string.h>

#include "base/duration.h"
#include "cli/cli_wrap.h"

#define MAX_BODY ((size_t)256 << 20)

/* ---- the command line ---- */

const char *ask_think_json(const char *how)
{
    static const char *const words[][2] = {{"true", "true"},     {"false", "false"},
                                           {"high", "\"high\""}, {"medium", "\"medium\""},
                                           {"low", "\"low\""},   {"max", "\"max\""}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (!strcmp(how, words[i][0]))
            return words[i][1];
    }
    return NULL;
}

static cama_err take_think(ask_opts *o, const char *how, cama_error *err)
{
    o->think = ask_think_json(how);
    if (o->think)
        return CAMA_OK;
    return err_set(err, CAMA_ERR_ARG,
                   "invalid value for --think: \"%s\" (must be true, false, high, medium, low, or "
                   "max)",
                   how);
}

static const char *quoted(arena *a, const char *text)
{
    buf out;
    buf_init(&out, MAX_BODY);
    const char *copy = NULL;
    if (!json_write_string(text, strlen(text), &out))
        copy = arena_copy(a, out.data, out.n);
    buf_done(&out);
    return copy;
}

static cama_err take_keep_alive(ask_opts *o, const char *text, arena *a, cama_error *err)
{
    int64_t ns;
    const cama_err e = go_duration_parse(text, strlen(text), &ns, err);
    if (e)
        return e;
    o->keep_alive = quoted(a, text);
    return o->keep_alive ? CAMA_OK : err_set(err, CAMA_ERR_NOMEM, "no memory for '%s'", text);
}

/* json, or the text of a JSON value. */
static cama_err take_format(ask_opts *o, const char *text, arena *a, cama_error *err)
{
    json_value *v;
    o->format = strcmp(text, "json") ? text : "\"json\"";
    cama_err e = json_parse_prefix(o->format, strlen(o->format), a, &v, err); /* Go's text */
    if (!e)
        e = json_parse(o->format, strlen(o->format), a, &v, err);
    if (e)
        return err_wrap(err, e, "json: error calling MarshalJSON for type json.RawMessage");
    return CAMA_OK;
}

cama_err ask_take_args(ask_opts *o, const cli_args *args, arena *a, cama_error *err)
{
    cama_err e = CAMA_OK;
    if (args->keepalive)
        e = take_keep_alive(o, args->keepalive, a, err);
    if (!e && args->think)
        e = take_think(o, args->think, err);
    if (!e && args->format)
        e = take_format(o, args->format, a, err);
    if (!e)
        e = param_take_args(&o->params, args, a, err);
    o->model = args->pos[0];
    o->system = args->system;
    o->hide_thinking = args->hidethinking;
    o->verbose = args->verbose;
    o->figures = args->figures;
    o->nowordwrap = args->nowordwrap;
    return e;
}

bool ask_can(const json_value *show, const char *capability)
{
    const json_value *list = json_get(show, "capabilities");
    for (size_t i = 0; list && list->kind == JSON_ARRAY && i < list->n; i++) {
        if (list->items[i]->kind == JSON_STRING && !strcmp(list->items[i]->text, capability))
            return true;
    }
    return false;
}

/* ---- figures ---- */

static void print_time(const char *label, int64_t ns)
{
    char text[DURATION_BYTES];
    if (ns <= 0)
        return;
    (void)go_duration_format(ns, text);
    fprintf(stderr, "%-21s %s\n", label, text);
}

static void print_rate(const char *label, int64_t n, int64_t ns)
{
    if (n > 0 && ns > 0)
        fprintf(stderr, "%-21s %.2f tokens/s\n", label, (double)n * 1e9 / (double)ns);
}

/* Ollama's: --verbose and /set verbose. */
static void print_timings(const json_value *last)
{
    const int64_t n_prompt = json_whole(last, "prompt_eval_count");
    const int64_t n = json_whole(last, "eval_count");
    print_time("total duration:", json_whole(last, "total_duration"));
    print_time("load duration:", json_whole(last, "load_duration"));
    if (n_prompt > 0)
        fprintf(stderr, "%-21s %lld token(s)\n", "prompt eval count:", (long long)n_prompt);
    print_time("prompt eval duration:", json_whole(last, "prompt_eval_duration"));
    print_rate("prompt eval rate:", n_prompt, json_whole(last, "prompt_eval_duration"));
    if (n > 0)
        fprintf(stderr, "%-21s %lld token(s)\n", "eval count:", (long long)n);
    print_time("eval duration:", json_whole(last, "eval_duration"));
    print_rate("eval rate:", n, json_whole(last, "eval_duration"));
}

/* The entry of /api/ps that an answer came from: a runner may go by the name of another tag of the
 * same file, and a model may run on two engines at once. */
static const json_value *find_runner(const json_value *ps, const ask_opts *o,
                                     const json_value *last)
{
    const json_value *list = json_get(ps, "models");
    const json_value *found = NULL;
    const size_t n = list && list->kind == JSON_ARRAY ? list->n : 0;
    for (size_t i = 0; i < n; i++) {
        const json_value *m = list->items[i];
        if (strcmp(json_text(m, "engine"), json_text(last, "engine")) != 0 ||
            strcmp(json_text(m, "device"), json_text(last, "device")) != 0)
            continue;
        if (!strncmp(json_text(m, "name"), o->model, strlen(o->model)))
            return m;
        found = m;
    }
    return n == 1 ? found : NULL;
}

static void print_memory(const json_value *m)
{
    const json_value *bytes = json_get(m, "memory");
    const json_value *ours = json_get(m, "cama");
    char text[4][32];
    const int64_t sizes[4] = {json_whole(m, "size"), json_whole(bytes, "weights"),
                              json_whole(bytes, "kv"), json_whole(bytes, "scratch")};
    if (!bytes)
        return;
    for (int i = 0; i < 4; i++)
        cli_format_bytes((uint64_t)sizes[i], text[i], sizeof text[i]);
    fprintf(stderr, "memory   %s: weights %s (%s), KV %s (%s, context %lld), scratch %s\n", text[0],
            text[1], json_text(ours, "weights"), text[2], json_text(ours, "kv_type"),
            (long long)json_whole(m, "context_length"), text[3]);
}

/* The answer names the engine; what more there is to say of the runner is in /api/ps. */
static void print_engine(const ask_opts *o, const json_value *last)
{
    arena a;
    json_value *ps = NULL;
    arena_init(&a, CLI_MAX_REPLY);
    const server_call c = {.method = "GET", .path = "/api/ps"};
    const cama_err e = server_send(o->server, &c, &a, &ps, NULL, NULL);
    const json_value *m = e ? NULL : find_runner(ps, o, last);
    const char *activations = json_text(json_get(m, "cama"), "activations");
    const char *why = json_text(json_get(last, "cama"), "why");
    const char *note = json_text(m, "note");
    fprintf(stderr, "\nengine   %s%s%s%s%s%s%s\ndevice   %s\n", json_text(last, "engine"),
            *activations ? ", " : "", activations, *activations ? " activations" : "",
            *why ? " (" : "", why, *why ? ")" : "", json_text(last, "device"));
    if (*note)
        fprintf(stderr, "note     %s\n", note);
    print_memory(m);
    arena_done(&a);
}

/* Ours: engine, device, memory, speeds; the same lines as of a file in this process. */
static void print_figures(const ask_opts *o, const json_value *last)
{
    const json_value *ours = json_get(last, "cama");
    const int64_t cached = json_whole(ours, "cached");
    const int64_t n_read = json_whole(last, "prompt_eval_count") - cached;
    const int64_t n = json_whole(last, "eval_count");
    const int64_t prompt_ns = json_whole(last, "prompt_eval_duration");
    const int64_t eval_ns = json_whole(last, "eval_duration");
    print_engine(o, last);
    fprintf(stderr, "prefill  %lld tokens, %.1f tokens/s", (long long)n_read,
            prompt_ns > 0 ? (double)n_read * 1e9 / (double)prompt_ns : 0.0);
    if (cached)
        fprintf(stderr, " (%lld more were cached)", (long long)cached);
    fprintf(stderr, "\ndecode   %lld tokens, %.1f tokens/s\n", (long long)n,
            eval_ns > 0 ? (double)n * 1e9 / (double)eval_ns : 0.0);
}

/* ---- an answer ---- */

typedef struct printer {
    const ask_opts *o;
    buf *answer; /* NULL: nobody collects it */
    ask_result *result;
    bool thinking; /* "Thinking..." was said, and its end was not */
    bool asked;    /* there was a question: its answer ends with an empty line */
    cli_wrap wrap;
    buf last; /* the last line of the reply: its figures are told when the request is over */
    cama_error err;
} printer;

static bool say(printer *p, wrap_style style, const char *text, size_t n)
{
    return !n || !wrap_print(&p->wrap, style, text, n, &p->err);
}

static bool say_thinking(printer *p, const char *text, size_t n)
{
    static const char begin[] = "Thinking...\n";
    if (!n || p->o->hide_thinking)
        return true;
    if (!p->thinking && !say(p, WRAP_GREY_BOLD, begin, sizeof begin - 1))
        return false;
    p->thinking = true;
    return say(p, WRAP_GREY, text, n);
}

static bool say_answer(printer *p, const char *text, size_t n)
{
    static const char end[] = "\n...done thinking.\n\n";
    if (!n)
        return true;
    if (p->thinking && !say(p, WRAP_GREY_BOLD, end, sizeof end - 1))
        return false;
    p->thinking = false;
    p->result->said = true;
    if (p->answer)
        (void)buf_append(p->answer, text, n); /* its failure is sticky, and looked at after */
    return say(p, WRAP_PLAIN, text, n);
}

static void tell_warnings(const json_value *v)
{
    const json_value *list = json_get(v, "warnings");
    for (size_t i = 0; list && list->kind == JSON_ARRAY && i < list->n; i++) {
        const json_value *w = list->items[i];
        cli_warning(NULL, w->kind == JSON_STRING ? w->text : json_text(w, "text"));
    }
}

static size_t length_of(const json_value *object, const char *key)
{
    const json_value *v = json_get(object, key);
    return v && v->kind == JSON_STRING ? v->n : 0;
}

static bool on_line(void *user, const json_value *v)
{
    printer *p = user;
    const json_value *message = json_get(v, "message");
    const json_value *from = message ? message : v;
    const char *key = message ? "content" : "response";
    if (!say_thinking(p, json_text(from, "thinking"), length_of(from, "thinking")) ||
        !say_answer(p, json_text(from, key), length_of(from, key)))
        return false;
    if (!json_true(v, "done"))
        return true;
    if (p->asked && !say(p, WRAP_PLAIN, "\n\n", 2))
        return false;
    tell_warnings(v);
    (void)json_write(v, &p->last); /* sticky: then there are no figures */
    return true;
}

static void tell_figures(const printer *p)
{
    arena a;
    json_value *last = NULL;
    arena_init(&a, CLI_MAX_REPLY);
    if (p->last.n && !p->last.fail && !json_parse(p->last.data, p->last.n, &a, &last, NULL)) {
        if (p->o->verbose)
            print_timings(last);
        if (p->o->figures && p->asked)
            print_figures(p->o, last);
    }
    arena_done(&a);
}

static void put_common(const ask_opts *o, buf *body)
{
    (void)buf_puts(body, "{\"model\":"); /* sticky, as all here */
    (void)json_write_string(o->model, strlen(o->model), body);
    if (o->format)
        (void)buf_printf(body, ",\"format\":%s", o->format);
    if (o->think)
        (void)buf_printf(body, ",\"think\":%s", o->think);
    if (o->keep_alive)
        (void)buf_printf(body, ",\"keep_alive\":%s", o->keep_alive);
    if (o->params.n) {
        (void)buf_puts(body, ",\"options\":");
        (void)param_write_set(&o->params, body);
    }
}

/* The first Ctrl-C stops the answer; so does a reader that left, which is told by the status. */
static cama_err stream(printer *p, const char *path, const buf *body, bool once, cama_error *err)
{
    cama_err e = buf_error(body, "the question", err);
    const server_call c = {.method = "POST",
                           .path = path,
                           .body = body->data,
                           .line = on_line,
                           .user = p,
                           .interruptible = true};
    if (e)
        return e;
    buf_init(&p->last, CLI_MAX_REPLY);
    wrap_init(&p->wrap, !p->o->nowordwrap);
    cli_catch_interrupt(once);
    e = server_send(p->o->server, &c, NULL, NULL, NULL, err);
    cli_release_interrupt();
    if (!e)
        tell_figures(p);
    buf_done(&p->last);
    if (!e && p->err.code) {
        *err = p->err;
        e = p->err.code;
    }
    if (e != CAMA_ERR_CANCELED)
        return e;
    p->result->canceled = true;
    return cli_print("\n", 1, err);
}

cama_err ask_prompt(const ask_opts *o, const char *prompt, ask_result *out, cama_error *err)
{
    printer p = {.o = o, .result = out, .asked = *prompt, .err = {.code = CAMA_OK}};
    buf body;
    *out = (ask_result){0};
    buf_init(&body, MAX_BODY);
    put_common(o, &body);
    (void)buf_puts(&body, ",\"prompt\":");
    (void)json_write_string(prompt, strlen(prompt), &body);
    if (o->system) {
        (void)buf_puts(&body, ",\"system\":");
        (void)json_write_string(o->system, strlen(o->system), &body);
    }
    (void)buf_putc(&body, '}');
    const cama_err e = stream(&p, "/api/generate", &body, true, err);
    buf_done(&body);
    return e;
}

cama_err ask_chat(const ask_opts *o, const char *messages, buf *answer, ask_result *out,
                  cama_error *err)
{
    printer p = {.o = o, .answer = answer, .result = out, .asked = true, .err = {.code = CAMA_OK}};
    buf body;
    *out = (ask_result){0};
    buf_init(&body, MAX_BODY);
    put_common(o, &body);
    (void)buf_printf(&body, ",\"messages\":%s}", messages);
    const cama_err e = stream(&p, "/api/chat", &body, false, err);
    buf_done(&body);
    return e;
}

/* ---- vectors ---- */

static cama_err print_vector(const json_value *reply, cama_error *err)
{
    const json_value *list = json_get(reply, "embeddings");
    buf out;
    buf_init(&out, CLI_MAX_REPLY);
    if (list && list->kind == JSON_ARRAY && list->n)
        (void)json_write(list->items[0], &out); /* sticky */
    else
        (void)buf_puts(&out, "[]");
    (void)buf_putc(&out, '\n');
    cama_err e = buf_error(&out, "the vector", err);
    if (!e)
        e = cli_print(out.data, out.n, err);
    buf_done(&out);
    return e;
}

cama_err ask_embed(const ask_opts *o, const cli_args *args, const char *text, cama_error *err)
{
    arena a;
    buf body;
    json_value *reply = NULL;
    arena_init(&a, CLI_MAX_REPLY);
    buf_init(&body, MAX_BODY);
    put_common(o, &body);
    (void)buf_puts(&body, ",\"input\":");
    (void)json_write_string(text, strlen(text), &body);
    if (args->truncate >= 0)
        (void)buf_printf(&body, ",\"truncate\":%s", args->truncate ? "true" : "false");
    if (args->dimensions)
        (void)buf_printf(&body, ",\"dimensions\":%u", args->dimensions);
    (void)buf_putc(&body, '}');
    cama_err e = buf_error(&body, "the text", err);
    const server_call c = {.method = "POST", .path = "/api/embed", .body = body.data};
    if (!e)
        e = server_send(o->server, &c, &a, &reply, NULL, err);
    if (!e) {
        tell_warnings(reply);
        e = print_vector(reply, err);
    }
    buf_done(&body);
    arena_done(&a);
    return e;
}
