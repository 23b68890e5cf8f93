/* The REPL of `cama run`: questions, answers, and the commands that begin with a slash. */
#include "cli/cli_int.h"

#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "cli/cli_line.h"

#define SESSION_BYTES ((size_t)64 << 20) /* all texts of /set together */

typedef struct session {
    cli_args *args;
    cama_model *m; /* NULL only while it cannot be opened again */
    cli_chat chat;
    cli_line *line;
    arena texts;
    const char *system; /* in texts or argv; NULL: none */
    bool verbose, over;
    int status;
} session;

static void complain(const cama_error *err)
{
    fprintf(stderr, "cama: %s\n", err->text);
}

static void begin_chat(session *s)
{
    cama_error err;
    cli_chat_done(&s->chat);
    cli_chat_init(&s->chat);
    if (s->system && cli_chat_add(&s->chat, "system", s->system, &err))
        complain(&err);
}

/* ---- commands ---- */

static void help(void)
{
    static const char text[] =
        "  /set parameter NAME VALUE  how the next token is chosen; see /show parameters\n"
        "  /set system TEXT           system message, from the next question on\n"
        "  /set verbose, /set quiet   figures after each answer, or none\n"
        "  /show info                 the model, its engine and memory\n"
        "  /show parameters           what /set parameter can change\n"
        "  /show system, template     the system message, the chat template\n"
        "  /clear                     forget the conversation\n"
        "  /bye                       leave (also Ctrl-D)\n"
        "  \"\"\"                        begins and ends a text of several lines\n"
        "  Ctrl-C                     stops an answer\n";
    (void)fputs(text, stdout);
}

static void show_info(const session *s)
{
    cama_info i;
    cama_model_info(s->m, &i, sizeof i);
    char total[32];
    cli_format_bytes(i.total_bytes, total, sizeof total);
    printf("  architecture   %s\n  name           %s\n  parameters     %.2fM\n"
           "  weights        mostly %s\n  context        %u of %u tokens\n"
           "  engine         %s, %s activations\n  device         %s\n"
           "  memory         %s, KV %s\n",
           i.arch, i.name, (double)i.n_param / 1e6, i.weight_type, i.n_ctx, i.n_ctx_train, i.engine,
           i.activations, i.device, total, i.kv_type);
}

static void show_parameter(const session *s, const cli_option *o)
{
    const void *at = (const char *)s->args + o->offset;
    printf("  %-18s ", o->name);
    switch (o->kind) {
    case CLI_U32:
        printf("%u", *(const uint32_t *)at);
        break;
    case CLI_I32:
        printf("%d", *(const int32_t *)at);
        break;
    case CLI_I64:
        printf("%lld", (long long)*(const int64_t *)at);
        break;
    case CLI_FLOAT:
        printf("%g", (double)*(const float *)at);
        break;
    case CLI_STOP:
        for (size_t i = 0; i < s->args->gen.n_stop; i++)
            printf("\"%s\" ", s->args->stops[i]);
        break;
    default:
        break;
    }
    printf("\n");
}

static void show(session *s, const char *what)
{
    cama_error err;
    char *text = NULL;
    if (!strcmp(what, "info")) {
        show_info(s);
    } else if (!strcmp(what, "parameters")) {
        for (size_t i = 0; cli_option_at(i); i++) {
            if (cli_option_at(i)->parameter)
                show_parameter(s, cli_option_at(i));
        }
    } else if (!strcmp(what, "system")) {
        printf("%s\n", s->system ? s->system : "No system message was set.");
    } else if (!strcmp(what, "template")) {
        if (cama_model_template(s->m, &text, &err))
            complain(&err);
        else
            printf("%s\n", text);
        cama_free(text);
    } else {
        fprintf(stderr, "cama: /show takes info, parameters, system or template, not '%s'\n", what);
    }
}

/* Another context or number of threads needs the model opened anew. */
static void reopen(session *s, const cama_model_opts *before)
{
    cama_error err;
    cama_model_close(s->m);
    s->m = NULL;
    if (!cli_open(s->args, CAMA_OPEN_ALL, &s->m, &err))
        return;
    complain(&err);
    s->args->model = *before; /* back to what worked */
    if (!cli_open(s->args, CAMA_OPEN_ALL, &s->m, &err))
        return;
    complain(&err);
    s->over = true;
    s->status = CLI_FAILED;
}

static void set_parameter(session *s, char *words)
{
    cama_error err;
    char *value = words + strcspn(words, " \t");
    if (*value)
        *value++ = '\0';
    value += strspn(value, " \t");
    if (!*words || !*value) {
        fprintf(stderr, "cama: usage: /set parameter NAME VALUE\n");
        return;
    }
    /* Stop strings are kept by address: the line goes away, the copy stays. */
    const char *copy = arena_copy(&s->texts, value, strlen(value));
    const cama_model_opts before = s->args->model;
    if (!copy) {
        fprintf(stderr, "cama: no memory for '%s'\n", words);
        return;
    }
    if (cli_set_parameter(s->args, words, copy, &err)) {
        complain(&err);
        return;
    }
    printf("Set parameter '%s' to '%s'\n", words, copy);
    if (before.n_ctx != s->args->model.n_ctx || before.n_thread != s->args->model.n_thread ||
        before.n_batch != s->args->model.n_batch)
        reopen(s, &before);
}

static void set_system(session *s, const char *text)
{
    cama_error err;
    const char *copy = arena_copy(&s->texts, text, strlen(text));
    if (!copy) {
        fprintf(stderr, "cama: no memory for the system message\n");
        return;
    }
    const bool fresh = s->chat.n_message == (s->system ? 1u : 0u);
    s->system = copy;
    if (fresh)
        begin_chat(s); /* nothing was asked yet: it takes the old one's place */
    else if (cli_chat_add(&s->chat, "system", copy, &err))
        complain(&err);
    printf("Set system message.\n");
}

static char *after_word(char *text, const char *word)
{
    const size_t n = strlen(word);
    if (strncmp(text, word, n) != 0 || (text[n] && text[n] != ' ' && text[n] != '\t'))
        return NULL;
    return text + n + strspn(text + n, " \t");
}

/* """text""" or "text" without its quotes. */
static char *unquote(char *text)
{
    static const char *const quotes[] = {"\"\"\"", "\""};
    const size_t n = strlen(text);
    for (size_t i = 0; i < sizeof quotes / sizeof quotes[0]; i++) {
        const size_t n_quote = strlen(quotes[i]);
        if (n >= 2 * n_quote && !strncmp(text, quotes[i], n_quote) &&
            !strcmp(text + n - n_quote, quotes[i])) {
            text[n - n_quote] = '\0';
            return text + n_quote;
        }
    }
    return text;
}

static void set(session *s, char *rest)
{
    char *words;
    if ((words = after_word(rest, "parameter")))
        set_parameter(s, words);
    else if ((words = after_word(rest, "system")))
        set_system(s, unquote(words));
    else if (after_word(rest, "verbose"))
        s->verbose = true;
    else if (after_word(rest, "quiet"))
        s->verbose = false;
    else
        fprintf(stderr, "cama: /set takes parameter, system, verbose or quiet\n");
}

static void command(session *s, char *text)
{
    char *rest;
    if (after_word(text, "/bye") || after_word(text, "/exit")) {
        s->over = true;
    } else if (after_word(text, "/clear")) {
        begin_chat(s);
        printf("Cleared session context\n");
    } else if (after_word(text, "/help") || after_word(text, "/?")) {
        help();
    } else if ((rest = after_word(text, "/set"))) {
        set(s, rest);
    } else if ((rest = after_word(text, "/show"))) {
        show(s, rest);
    } else {
        fprintf(stderr, "cama: unknown command '%.*s'; /help lists them\n",
                (int)strcspn(text, " \t\n"), text);
    }
}

/* ---- questions ---- */

/* Model files without a template are given the bare text, and no conversation. */
static cama_err answer(session *s, const char *question, buf *text, cama_gen_result *r,
                       cama_error *err)
{
    cama_info info;
    cama_model_info(s->m, &info, sizeof info);
    cama_gen_opts o = s->args->gen;
    cama_err e = CAMA_OK;
    if (info.has_template) {
        e = cli_chat_add(&s->chat, "user", question, err);
        o.messages = e ? NULL : cli_chat_messages(&s->chat);
        if (!e && !o.messages)
            e = err_set(err, CAMA_ERR_NOMEM, "no memory for the conversation");
    } else {
        o.prompt = question;
    }
    return e ? e : cli_answer(s->m, &o, text, r, err);
}

static void ask(session *s, const char *question)
{
    cama_error err;
    cama_gen_result r;
    buf text;
    buf_init(&text, CLI_MAX_INPUT);
    const size_t n_json = s->chat.json.n;
    const size_t n_message = s->chat.n_message;
    cama_err e = answer(s, question, &text, &r, &err);
    if (!e)
        e = cli_chat_add(&s->chat, "assistant", text.data ? text.data : "", &err);
    if (e) { /* as if it had not been asked */
        s->chat.json.n = n_json;
        s->chat.n_message = n_message;
        complain(&err);
        if (e == CAMA_ERR_CONTEXT)
            fprintf(stderr, "cama: /clear forgets the conversation, "
                            "/set parameter num_ctx N makes room for more\n");
    } else if (s->verbose) {
        cli_print_figures(s->m, &r, true);
    }
    buf_done(&text);
}

/* A line, or what lies between two """. *text is NUL-terminated on LINE_TEXT. */
static line_event read_question(session *s, buf *text)
{
    static const char quotes[] = "\"\"\"";
    line_event event = line_read(s->line, ">>> ", text);
    if (event != LINE_TEXT || !text->n || strncmp(text->data, quotes, 3) != 0)
        return event;
    buf_drop_front(text, 3);
    const char *end;
    while (!(end = text->n ? strstr(text->data, quotes) : NULL)) {
        (void)buf_putc(text, '\n'); /* sticky: seen by the caller */
        event = line_read(s->line, "... ", text);
        if (event != LINE_TEXT || text->fail)
            return event;
    }
    text->n = (size_t)(end - text->data);
    text->data[text->n] = '\0';
    return LINE_TEXT;
}

static void turn(session *s, buf *text)
{
    buf_clear(text);
    switch (read_question(s, text)) {
    case LINE_END:
        s->over = true;
        return;
    case LINE_INTERRUPTED:
        printf("Use Ctrl + d or /bye to exit.\n");
        return;
    case LINE_TEXT:
        break;
    }
    cama_error err;
    if (buf_error(text, "the question", &err)) {
        complain(&err);
        return;
    }
    if (!text->n || !text->data[strspn(text->data, " \t\n")])
        return;
    line_remember(s->line, text->data);
    char *question = text->data + strspn(text->data, " \t\n");
    if (*question == '/')
        command(s, question);
    else
        ask(s, question);
}

int cli_repl(cli_args *args, cama_model *m)
{
    session s = {.args = args, .m = m, .system = args->system, .verbose = args->verbose};
    cama_error err;
    arena_init(&s.texts, SESSION_BYTES);
    cli_chat_init(&s.chat);
    begin_chat(&s);
    cama_info info;
    cama_model_info(m, &info, sizeof info);
    if (!info.has_template)
        cli_warning(NULL, "the file has no chat template: each text is continued as it is");
    buf text;
    buf_init(&text, CLI_MAX_INPUT);
    if (line_open(&s.line, &err)) {
        s.status = cli_fail(&err);
        s.over = true;
    }
    while (!s.over)
        turn(&s, &text);
    line_close(s.line);
    buf_done(&text);
    cli_chat_done(&s.chat);
    arena_done(&s.texts);
    cama_model_close(s.m);
    return s.status;
}
