/* The REPL over a model of a server. */
#include "cli/cli_repl.h"

#include <stdio.h>
#include <string.h>

#include "cli/cli_ask.h"
#include "cli/cli_card.h"
#include "cli/cli_models.h"
#include "cli/cli_wrap.h"

#define MAX_REST ((size_t)64 << 20)
#define MAX_WORDS 64

typedef struct model_end {
    ask_opts opts;
    cli_chat chat;
    bool thinks; /* the model can */
} model_end;

static void complain(const cama_error *err)
{
    fprintf(stderr, "Error: %s\n", err->text);
}

static void forget(session *s)
{
    model_end *m = s->end;
    cama_error err;
    cli_chat_done(&m->chat);
    cli_chat_init(&m->chat);
    if (m->opts.system && cli_chat_add(&m->chat, "system", m->opts.system, &err))
        complain(&err);
}

/* ---- questions ---- */

static cama_err answer(model_end *m, const char *question, buf *text, ask_result *r,
                       cama_error *err)
{
    size_t n_dropped;
    const cama_err e = cli_chat_add(&m->chat, "user", question, err);
    if (e)
        return e;
    const char *messages = cli_chat_messages(&m->chat, 0, &n_dropped);
    if (!messages)
        return err_set(err, CAMA_ERR_NOMEM, "no memory for the conversation");
    return ask_chat(&m->opts, messages, text, r, err);
}

static void ask(session *s, const char *question)
{
    model_end *m = s->end;
    cama_error err;
    ask_result r = {0};
    buf text;
    buf_init(&text, CLI_MAX_INPUT);
    const size_t n_message = m->chat.n_message;
    cama_err e = answer(m, question, &text, &r, &err);
    const bool nothing = !e && r.canceled && !text.n;
    if (!e && !nothing)
        e = cli_chat_add(&m->chat, "assistant", text.data ? text.data : "", &err);
    if (e || nothing)
        cli_chat_cut(&m->chat, n_message); /* as if it had not been asked */
    if (e)
        complain(&err);
    buf_done(&text);
}

/* ---- /show ---- */

static void show_parameters(const model_end *m, const char *text)
{
    printf("Model defined parameters:\n");
    if (!*text)
        printf("  No additional parameters were specified for this model.\n");
    while (*text) {
        const size_t n = strcspn(text, "\n");
        (void)fputs("  ", stdout);
        wrap_say(text, n);
        (void)fputc('\n', stdout);
        text += n + (text[n] == '\n');
    }
    printf("\n");
    if (!m->opts.params.n)
        return;
    printf("User defined parameters:\n");
    for (size_t i = 0; i < m->opts.params.n; i++)
        printf("  %-30s %s\n", m->opts.params.rows[i].name, m->opts.params.rows[i].shown);
    printf("\n");
}

static void show_system(const model_end *m, const char *of_model)
{
    const char *text = m->opts.system && *m->opts.system ? m->opts.system : of_model;
    if (*text) {
        wrap_say(text, strlen(text));
        (void)fputs("\n\n", stdout);
    } else {
        printf("No system message was specified for this model.\n");
    }
}

static void show_info(const json_value *reply, arena *a)
{
    buf out;
    buf_init(&out, CLI_MAX_REPLY);
    (void)card_write(reply, false, a, &out); /* sticky */
    if (out.n)
        (void)fwrite(out.data, 1, out.n, stdout); /* a lost one ends the next read */
    buf_done(&out);
}

static void show_text(const json_value *reply, const char *key, const char *none)
{
    const char *text = json_text(reply, key);
    text = *text ? text : none;
    wrap_say(text, strlen(text));
    (void)fputc('\n', stdout);
}

static void show(session *s, const char *what)
{
    const model_end *m = s->end;
    cama_error err;
    arena a;
    json_value *reply = NULL;
    arena_init(&a, 4 * CLI_MAX_REPLY);
    if (models_show(m->opts.server, m->opts.model, false, &a, &reply, &err))
        complain(&err);
    else if (!strcmp(what, "info"))
        show_info(reply, &a);
    else if (!strcmp(what, "parameters"))
        show_parameters(m, json_text(reply, "parameters"));
    else if (!strcmp(what, "system"))
        show_system(m, json_text(reply, "system"));
    else if (!strcmp(what, "license"))
        show_text(reply, "license", "No license was specified for this model.");
    else if (!strcmp(what, "template"))
        show_text(reply, "template", "No prompt template was specified for this model.");
    else
        show_text(reply, "modelfile", "");
    arena_done(&a);
}

/* ---- /set ---- */

static const char parameter_help[] =
    "Available Parameters:\n"
    "  /set parameter seed <int>             Random number seed\n"
    "  /set parameter num_predict <int>      Max number of tokens to predict\n"
    "  /set parameter top_k <int>            Pick from top k num of tokens\n"
    "  /set parameter top_p <float>          Pick token based on sum of probabilities\n"
    "  /set parameter min_p <float>          Pick token based on top token probability * min_p\n"
    "  /set parameter num_ctx <int>          Set the context size\n"
    "  /set parameter temperature <float>    Set creativity level\n"
    "  /set parameter repeat_penalty <float> How strongly to penalize repetitions\n"
    "  /set parameter repeat_last_n <int>    Set how far back to look for repetitions\n"
    "  /set parameter num_gpu <int>          The number of layers to send to the GPU\n"
    "  /set parameter stop <string> <string> ...   Set the stop parameters\n\n";

static void set_parameter(session *s, const char *name, char *words)
{
    model_end *m = s->end;
    cama_error err;
    const char *texts[MAX_WORDS];
    char told[1024];
    size_t n = 0;
    size_t n_told = 0;
    if (!name) {
        (void)fputs(parameter_help, stdout);
        return;
    }
    for (char *word; n < MAX_WORDS && (word = repl_take_word(&words));)
        texts[n++] = word;
    if (param_put(&m->opts.params, name, texts, n, &s->texts, &err)) {
        fprintf(stderr, "Couldn't set parameter: \"%s\"\n", err.text);
        return;
    }
    for (size_t i = 0; i < n && n_told < sizeof told; i++)
        n_told +=
            (size_t)snprintf(told + n_told, sizeof told - n_told, "%s%s", i ? ", " : "", texts[i]);
    printf("Set parameter '%s' to '%s'\n", name, told);
}

static void set_system(session *s, const char *text)
{
    model_end *m = s->end;
    cama_error err;
    const char *copy = repl_keep(s, text);
    if (!copy)
        return;
    const bool fresh = m->chat.n_message == (m->opts.system ? 1u : 0u);
    m->opts.system = copy;
    if (fresh)
        forget(s); /* nothing was asked yet: it takes the old one's place */
    else if (cli_chat_add(&m->chat, "system", copy, &err))
        complain(&err);
    printf("Set system message.\n");
}

static void set_format(session *s, const char *format)
{
    model_end *m = s->end;
    m->opts.format = *format ? "\"json\"" : NULL;
    if (*format)
        printf("Set format to '%s' mode.\n", format);
}

static void set_think(session *s, const char *how)
{
    model_end *m = s->end;
    const char *json = ask_think_json(how);
    if (!json) {
        fprintf(stderr, "Invalid think option: \"%s\" (must be high, medium, low, or max)\n", how);
        return;
    }
    if (!m->thinks)
        fprintf(stderr, "warning: model \"%s\" does not support thinking output\n", m->opts.model);
    m->opts.think = json;
    if (!strcmp(how, "false"))
        printf("Set 'nothink' mode.\n");
    else if (!strcmp(how, "true"))
        printf("Set 'think' mode.\n");
    else
        printf("Set 'think' mode to '%s'.\n", how);
}

static void set_verbose(session *s, bool on)
{
    ((model_end *)s->end)->opts.verbose = on;
}

static void set_wordwrap(session *s, bool on)
{
    ((model_end *)s->end)->opts.nowordwrap = !on;
}

/* ---- /load, /save, /list ---- */

/* What it was told before stays, but what belongs to the conversation. */
static void load(session *s, const char *name)
{
    model_end *m = s->end;
    cama_error err;
    arena a;
    json_value *reply = NULL;
    arena_init(&a, 4 * CLI_MAX_REPLY);
    const char *copy = repl_keep(s, name);
    cama_err e = copy ? models_show(m->opts.server, copy, false, &a, &reply, &err) : CAMA_OK;
    if (e == CAMA_ERR_NOT_FOUND) {
        printf("Couldn't find model '%s'\n", name);
    } else if (!e && copy) {
        cli_catch_interrupt(false);
        e = models_load(m->opts.server, copy, m->opts.keep_alive, &err);
        cli_release_interrupt();
    }
    if (e && e != CAMA_ERR_NOT_FOUND)
        complain(&err);
    if (!e && copy) {
        m->opts.model = copy;
        m->thinks = ask_can(reply, "thinking");
        forget(s);
    }
    arena_done(&a);
}

static bool on_saved(void *user, const json_value *v)
{
    (void)user;
    (void)v;
    return true;
}

/* The messages of the conversation without its system message, which is a member of its own. */
static void put_messages(model_end *m, buf *out)
{
    size_t n_dropped;
    const char *messages = cli_chat_messages(&m->chat, 0, &n_dropped);
    if (!messages || !m->chat.n_turn)
        return;
    const char *first = strstr(messages, "{\"role\":\"user\"");
    if (first)
        (void)buf_printf(out, ",\"messages\":[%s", first);
}

static void save(session *s, const char *name)
{
    model_end *m = s->end;
    cama_error err;
    buf body;
    buf_init(&body, MAX_REST);
    (void)buf_puts(&body, "{\"model\":"); /* sticky, as all here */
    (void)json_write_string(name, strlen(name), &body);
    (void)buf_puts(&body, ",\"from\":");
    (void)json_write_string(m->opts.model, strlen(m->opts.model), &body);
    if (m->opts.system) {
        (void)buf_puts(&body, ",\"system\":");
        (void)json_write_string(m->opts.system, strlen(m->opts.system), &body);
    }
    if (m->opts.params.n) {
        (void)buf_puts(&body, ",\"parameters\":");
        (void)param_write_set(&m->opts.params, &body);
    }
    put_messages(m, &body);
    (void)buf_putc(&body, '}');
    cama_err e = buf_error(&body, "the conversation", &err);
    const server_call c = {
        .method = "POST", .path = "/api/create", .body = body.data, .line = on_saved};
    if (!e)
        e = server_send(m->opts.server, &c, NULL, NULL, NULL, &err);
    if (!e)
        printf("Created new model '%s'\n", name);
    else if (strstr(err.text, "invalid model name"))
        printf("error: The model name '%s' is invalid\n", name);
    else
        complain(&err);
    buf_done(&body);
}

static void list(session *s)
{
    const model_end *m = s->end;
    cama_error err;
    if (models_print_list(m->opts.server, NULL, false, &err))
        complain(&err);
}

/* ---- the beginning ---- */

/* What the model brings along (MESSAGE) is shown, as it is part of what it will answer to. */
static void show_messages(const json_value *reply)
{
    const json_value *messages = json_get(reply, "messages");
    for (size_t i = 0; messages && messages->kind == JSON_ARRAY && i < messages->n; i++) {
        const char *role = json_text(messages->items[i], "role");
        const char *text = json_text(messages->items[i], "content");
        const bool user = !strcmp(role, "user");
        if (!user && strcmp(role, "assistant") != 0)
            continue;
        (void)fputs(user ? ">>> " : "", stdout);
        wrap_say(text, strlen(text));
        (void)fputs(user ? "\n" : "\n\n", stdout);
    }
}

int cli_repl_model(const ask_opts *opts, const json_value *shown)
{
    static const repl_vt vt = {
        .what = "modelname",
        .ask = ask,
        .forget = forget,
        .show = show,
        .set_parameter = set_parameter,
        .set_system = set_system,
        .set_format = set_format,
        .set_think = set_think,
        .set_verbose = set_verbose,
        .set_wordwrap = set_wordwrap,
        .load = load,
        .save = save,
        .list = list,
    };
    model_end m = {.opts = *opts, .thinks = ask_can(shown, "thinking")};
    cama_error err;
    cli_chat_init(&m.chat);
    if (opts->system && cli_chat_add(&m.chat, "system", opts->system, &err))
        complain(&err);
    cli_catch_interrupt(true);
    const cama_err e = models_load(opts->server, opts->model, opts->keep_alive, &err);
    cli_release_interrupt();
    int status = CLI_OK;
    if (e == CAMA_ERR_CANCELED)
        status = CLI_INTERRUPTED;
    else if (e)
        status = server_fail(&err);
    if (!e) {
        show_messages(shown);
        status = repl_run(&vt, &m);
    }
    cli_chat_done(&m.chat);
    return status;
}
