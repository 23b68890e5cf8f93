/* The commands of the REPL, with the names and the words that Ollama's users know. */
#include "cli/cli_repl.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "json/json.h"

#define SHOW_MEMORY ((size_t)1 << 30)

/* ---- help ---- */

static const char help_all[] = "Available Commands:\n"
                               "  /set            Set session variables\n"
                               "  /show           Show model information\n"
                               "  /load <file>    Load a model\n"
                               "  /clear          Clear session context\n"
                               "  /bye            Exit\n"
                               "  /?, /help       Help for a command\n"
                               "  /? shortcuts    Help for keyboard shortcuts\n"
                               "\n"
                               "Use \"\"\" to begin a multi-line message.\n\n";

static const char help_set[] = "Available Commands:\n"
                               "  /set parameter ...     Set a parameter\n"
                               "  /set system <string>   Set system message\n"
                               "  /set history           Enable history\n"
                               "  /set nohistory         Disable history\n"
                               "  /set verbose           Show LLM stats\n"
                               "  /set quiet             Disable LLM stats\n\n";

static const char help_show[] = "Available Commands:\n"
                                "  /show info         Show details for this model\n"
                                "  /show license      Show model license\n"
                                "  /show parameters   Show parameters for this model\n"
                                "  /show system       Show system message\n"
                                "  /show template     Show prompt template\n\n";

static const char help_shortcuts[] =
    "Available keyboard shortcuts:\n"
    "  Ctrl + a            Move to the beginning of the line (Home)\n"
    "  Ctrl + e            Move to the end of the line (End)\n"
    "   Alt + b            Move back (left) one word\n"
    "   Alt + f            Move forward (right) one word\n"
    "  Ctrl + k            Delete the sentence after the cursor\n"
    "  Ctrl + u            Delete the whole sentence\n"
    "  Ctrl + w            Delete the word before the cursor\n"
    "\n"
    "  Ctrl + l            Clear the screen\n"
    "  Ctrl + c            Stop the model from responding\n"
    "  Ctrl + d            Exit (/bye)\n\n";

static void help(const char *about)
{
    const char *text = help_all;
    if (!strcmp(about, "set") || !strcmp(about, "/set"))
        text = help_set;
    else if (!strcmp(about, "show") || !strcmp(about, "/show"))
        text = help_show;
    else if (!strcmp(about, "shortcuts") || !strcmp(about, "shortcut"))
        text = help_shortcuts;
    (void)fputs(text, stdout);
}

static void unknown(const char *command, const char *rest)
{
    fprintf(stderr, "Unknown command '%s%s%.*s'. Type /? for help\n", command, *rest ? " " : "",
            (int)strcspn(rest, " \t\n"), rest);
}

static void refuse(const char *what)
{
    fprintf(stderr, "%s is not supported\n", what);
}

/* ---- /show ---- */

static void show_info(const session *s)
{
    cama_info i;
    cama_model_info(s->m, &i, sizeof i);
    char total[32];
    cli_format_bytes(i.total_bytes, total, sizeof total);
    printf("  architecture   %s\n  name           %s\n  parameters     %.2fM\n"
           "  weights        mostly %s\n  context        %u of %u tokens\n"
           "  engine         %s, %s activations\n  device         %s\n"
           "  memory         %s, KV %s\n\n",
           i.arch, i.name, (double)i.n_param / 1e6, i.weight_type, i.n_ctx, i.n_ctx_train, i.engine,
           i.activations, i.device, total, i.kv_type);
}

/* "num-ctx" as parameters are written: "num_ctx". */
static const char *parameter_name(const cli_option *o, char out[static 32])
{
    size_t i = 0;
    for (; i < 31 && o->name[i]; i++)
        out[i] = o->name[i] == '-' ? '_' : o->name[i];
    out[i] = '\0';
    return out;
}

static void show_parameter(const session *s, const cli_option *o)
{
    char name[32];
    const void *at = (const char *)s->args + o->offset;
    if (o->kind == CLI_STOP) {
        for (size_t i = 0; i < s->args->gen.n_stop; i++)
            printf("  %-30s \"%s\"\n", "stop", s->args->stops[i]);
        return;
    }
    printf("  %-30s ", parameter_name(o, name));
    if (o->kind == CLI_U32 && !*(const uint32_t *)at)
        printf("default\n");
    else if (o->kind == CLI_U32)
        printf("%u\n", *(const uint32_t *)at);
    else if (o->kind == CLI_I32)
        printf("%d\n", *(const int32_t *)at);
    else if (o->kind == CLI_I64)
        printf("%lld\n", (long long)*(const int64_t *)at);
    else
        printf("%g\n", (double)*(const float *)at);
}

static void show_parameters(const session *s)
{
    for (size_t i = 0; cli_option_at(i); i++) {
        if (cli_option_at(i)->parameter)
            show_parameter(s, cli_option_at(i));
    }
    printf("\n");
}

/* Files name their license ("apache-2.0"), and some tell more of it; few hold its text. */
static void print_license(const json_value *metadata)
{
    static const char *const keys[] = {"general.license", "general.license.name",
                                       "general.license.link"};
    bool any = false;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const json_value *v = metadata ? json_get(metadata, keys[i]) : NULL;
        if (!v || v->kind != JSON_STRING)
            continue;
        printf("%s\n", v->text);
        any = true;
    }
    (void)fputs(any ? "\n" : "No license was specified for this model.\n", stdout);
}

static void show_license(const session *s)
{
    cama_error err;
    char *text = NULL;
    json_value *o;
    arena a;
    arena_init(&a, SHOW_MEMORY);
    cama_err e = cama_model_json(s->m, 0, &text, &err);
    if (!e)
        e = json_parse(text, strlen(text), &a, &o, &err);
    if (e)
        repl_complain(&err);
    else
        print_license(json_get(o, "metadata"));
    cama_free(text);
    arena_done(&a);
}

static void show_template(const session *s)
{
    cama_error err;
    char *text = NULL;
    const cama_err e = cama_model_template(s->m, &text, &err);
    if (e == CAMA_ERR_NOT_FOUND)
        printf("No prompt template was specified for this model.\n");
    else if (e)
        repl_complain(&err);
    else
        printf("%s\n\n", text);
    cama_free(text);
}

static void show_system(const session *s)
{
    if (s->system && *s->system)
        printf("%s\n\n", s->system);
    else
        printf("No system message was specified for this model.\n");
}

static void show(const session *s, const char *what)
{
    if (!*what)
        help("show");
    else if (!strcmp(what, "info"))
        show_info(s);
    else if (!strcmp(what, "license"))
        show_license(s);
    else if (!strcmp(what, "parameters"))
        show_parameters(s);
    else if (!strcmp(what, "system"))
        show_system(s);
    else if (!strcmp(what, "template"))
        show_template(s);
    else if (!strcmp(what, "modelfile"))
        refuse("/show modelfile");
    else
        unknown("/show", what);
}

/* ---- /set, /load ---- */

/* Another context, number of threads or file needs the model opened anew. What is asked for next
 * computes the conversation again. */
static void reopen(session *s, const char *before_file, const cama_model_opts *before)
{
    cama_error err;
    cama_model_close(s->m);
    s->m = NULL;
    if (!cli_open(s->args, CAMA_OPEN_ALL, &s->m, &err))
        return;
    repl_complain(&err);
    s->args->model = *before; /* back to what worked */
    s->args->pos[0] = (char *)before_file;
    if (!cli_open(s->args, CAMA_OPEN_ALL, &s->m, &err))
        return;
    repl_complain(&err);
    s->over = true;
    s->status = CLI_FAILED;
}

/* Cuts the first word off *at: up to a space, or all between two ". NULL: there is none. */
static char *take_word(char **at)
{
    char *word = *at + strspn(*at, " \t\n");
    if (!*word)
        return NULL;
    const char *ends = " \t\n";
    if (*word == '"' && strchr(word + 1, '"')) {
        word++;
        ends = "\"";
    }
    char *end = word + strcspn(word, ends);
    *at = *end ? end + 1 : end;
    *end = '\0';
    return word;
}

static void list_parameters(void)
{
    printf("Available Parameters:\n");
    for (size_t i = 0; cli_option_at(i); i++) {
        const cli_option *o = cli_option_at(i);
        char name[32];
        char left[64];
        if (!o->parameter)
            continue;
        (void)snprintf(left, sizeof left, "%s <%s>%s", parameter_name(o, name), o->arg,
                       o->kind == CLI_STOP ? " ..." : "");
        printf("  /set parameter %-22s %s\n", left, o->help);
    }
    printf("\n");
}

/* All words become the values: more than one only for `stop`, whose list they replace. The copy
 * outlives the line, because stop strings are kept by address. */
static cama_err set_values(session *s, const char *name, char *values, buf *told, cama_error *err)
{
    char *copy = arena_copy(&s->texts, values, strlen(values));
    if (!copy)
        return err_set(err, CAMA_ERR_NOMEM, "no memory for '%s'", name);
    const bool stop = !strcmp(name, "stop");
    if (stop)
        s->args->gen.n_stop = 0;
    for (char *value; (value = take_word(&copy));) {
        if (told->n && !stop)
            return err_set(err, CAMA_ERR_ARG, "%s takes one value, '%s' is another", name, value);
        const cama_err e = cli_set_parameter(s->args, name, value, err);
        if (e)
            return e;
        (void)buf_printf(told, "%s%s", told->n ? ", " : "", value); /* sticky, and only told */
    }
    return CAMA_OK;
}

static void set_parameter(session *s, char *words)
{
    cama_error err;
    const char *name = take_word(&words);
    words += strspn(words, " \t\n");
    if (!name || !*words) {
        list_parameters();
        return;
    }
    const cli_args before = *s->args;
    buf told;
    buf_init(&told, CLI_MAX_INPUT);
    if (set_values(s, name, words, &told, &err)) {
        *s->args = before; /* its own address is the same, so gen.stop still points into it */
        fprintf(stderr, "Couldn't set parameter: \"%s\"\n", err.text);
    } else {
        printf("Set parameter '%s' to '%s'\n", name, told.data ? told.data : "");
        if (before.model.n_ctx != s->args->model.n_ctx ||
            before.model.n_thread != s->args->model.n_thread ||
            before.model.n_batch != s->args->model.n_batch)
            reopen(s, s->args->pos[0], &before.model);
    }
    buf_done(&told);
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
        repl_begin_chat(s); /* nothing was asked yet: it takes the old one's place */
    else if (cli_chat_add(&s->chat, "system", copy, &err))
        repl_complain(&err);
    printf("Set system message.\n");
}

/* What follows the word at the front of text; NULL: that is another word. */
static char *after_word(char *text, const char *word)
{
    const size_t n = strlen(word);
    if (strncmp(text, word, n) != 0 || (text[n] && !isspace((unsigned char)text[n])))
        return NULL;
    return text + n + strspn(text + n, " \t\n");
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

static void set_mode(session *s, const char *mode)
{
    if (!strcmp(mode, "history") || !strcmp(mode, "nohistory")) {
        line_keep_history(s->line, *mode == 'h');
    } else if (!strcmp(mode, "verbose") || !strcmp(mode, "quiet")) {
        s->verbose = *mode == 'v';
        printf("Set '%s' mode.\n", mode);
    } else if (!strcmp(mode, "nowordwrap")) {
        printf("Set 'nowordwrap' mode.\n"); /* always so: the terminal breaks the lines */
    } else if (!strcmp(mode, "noformat")) {
        printf("Disabled format.\n"); /* always so */
    } else if (!strcmp(mode, "wordwrap") || !strcmp(mode, "nothink")) {
        char what[32];
        (void)snprintf(what, sizeof what, "/set %s", mode);
        refuse(what);
    } else {
        unknown("/set", mode);
    }
}

static void set(session *s, char *rest)
{
    char *words;
    if (!*rest || after_word(rest, "system") == rest + strlen(rest))
        help("set");
    else if ((words = after_word(rest, "parameter")))
        set_parameter(s, words);
    else if ((words = after_word(rest, "system")))
        set_system(s, unquote(words));
    else if (after_word(rest, "format"))
        refuse("/set format");
    else if (after_word(rest, "think"))
        refuse("/set think");
    else
        set_mode(s, rest);
}

static void load(session *s, char *file)
{
    if (!*file) {
        fprintf(stderr, "Usage:\n  /load <file>\n");
        return;
    }
    char *copy = arena_copy(&s->texts, file, strlen(file));
    if (!copy) {
        fprintf(stderr, "cama: no memory for '%s'\n", file);
        return;
    }
    char *const before = s->args->pos[0];
    printf("Loading model '%s'\n", file);
    (void)fflush(stdout);
    s->args->pos[0] = copy;
    const cama_model_opts opts = s->args->model;
    reopen(s, before, &opts);
    if (s->args->pos[0] == copy)
        repl_begin_chat(s); /* what another model said is not this one's */
}

/* ---- the line ---- */

static void cut_end(char *text)
{
    size_t n = strlen(text);
    while (n && isspace((unsigned char)text[n - 1]))
        text[--n] = '\0';
}

void repl_command(session *s, char *text)
{
    char *rest;
    cut_end(text);
    if (after_word(text, "/bye") || after_word(text, "/exit")) {
        s->over = true;
    } else if (after_word(text, "/clear")) {
        repl_begin_chat(s);
        printf("Cleared session context\n");
    } else if ((rest = after_word(text, "/help")) || (rest = after_word(text, "/?"))) {
        help(rest);
    } else if ((rest = after_word(text, "/set"))) {
        set(s, rest);
    } else if ((rest = after_word(text, "/show"))) {
        show(s, rest);
    } else if ((rest = after_word(text, "/load"))) {
        load(s, rest);
    } else if (after_word(text, "/save") || after_word(text, "/list")) {
        text[strcspn(text, " \t\n")] = '\0';
        refuse(text);
    } else {
        text[strcspn(text, " \t\n")] = '\0';
        unknown(text, "");
    }
    (void)fflush(stdout); /* before what the terminal shows next; a lost one ends the next read */
}
