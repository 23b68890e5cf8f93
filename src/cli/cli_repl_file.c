/* The REPL over a model file in this process. */
#include "cli/cli_repl.h"

#include <stdio.h>
#include <string.h>

#include "cli/cli_wrap.h"
#include "json/json.h"

#define SHOW_MEMORY ((size_t)1 << 30)
#define ANSWER_SHARE 4 /* the part of the context that a conversation leaves to the answer */

typedef struct file_end {
    cli_args *args;
    cama_model *m; /* NULL only while it cannot be opened again */
    cli_chat chat;
    const char *system; /* in the session's texts or argv; NULL: none */
    bool verbose;
} file_end;

static void begin_chat(file_end *f)
{
    cama_error err;
    cli_chat_done(&f->chat);
    cli_chat_init(&f->chat);
    if (f->system && cli_chat_add(&f->chat, "system", f->system, &err))
        repl_complain(&err);
}

static void forget(session *s)
{
    begin_chat(s->end);
}

/* ---- what fits into the context ---- */

/* The conversation without some of its oldest turns, as tokens. */
typedef struct window {
    int32_t *ids;
    size_t n_id;
    size_t n_dropped; /* messages */
} window;

/* Takes the place of *w, which keeps what it had on failure. */
static cama_err make_window(file_end *f, size_t n_drop, window *w, cama_error *err)
{
    window next = {0};
    cama_gen_opts o = f->args->gen;
    o.messages = cli_chat_messages(&f->chat, n_drop, &next.n_dropped);
    if (!o.messages)
        return err_set(err, CAMA_ERR_NOMEM, "no memory for the conversation");
    const cama_err e = cama_prompt_tokens(f->m, &o, &next.ids, &next.n_id, err);
    if (e)
        return e;
    cama_free(w->ids);
    *w = next;
    return CAMA_OK;
}

/* Tokens that a prompt may have, so that there is room for an answer. */
static size_t room_for_prompt(const file_end *f, uint32_t n_ctx)
{
    const int32_t n_predict = f->args->gen.n_predict;
    const uint32_t most = n_ctx / ANSWER_SHARE;
    return n_ctx - (n_predict >= 0 && (uint32_t)n_predict < most ? (uint32_t)n_predict : most);
}

/* Leaves out the fewest oldest turns that make the rest fit; system messages and the last question
 * stay. Whole turns, because many templates insist on a user's message behind the system's. More
 * turns are never more tokens, so their number is found by halving. */
static cama_err fit_window(file_end *f, uint32_t n_ctx, window *w, cama_error *err)
{
    cama_err e = make_window(f, 0, w, err);
    const size_t n_all = w->n_id;
    const size_t limit = room_for_prompt(f, n_ctx);
    if (e || n_all <= limit || f->chat.n_turn < 2)
        return e;
    size_t low = 1;
    size_t high = f->chat.n_turn - 1;
    size_t have = 0; /* turns left out of *w */
    while (!e && low < high) {
        have = low + (high - low) / 2;
        e = make_window(f, have, w, err);
        if (!e && w->n_id <= limit)
            high = have;
        else
            low = have + 1;
    }
    if (!e && have != low)
        e = make_window(f, low, w, err);
    if (!e && w->n_id <= n_ctx)
        fprintf(stderr,
                "cama: warning: the conversation has %zu tokens, the context holds %u: the %zu "
                "oldest messages are left out, %zu tokens are kept\n",
                n_all, n_ctx, w->n_dropped, w->n_id);
    return e;
}

/* ---- questions ---- */

/* Model files without a template are given the bare text, and no conversation. */
static cama_err answer(file_end *f, const char *question, buf *text, cama_gen_result *r,
                       cama_error *err)
{
    const cli_sink to = {.wordwrap = !f->args->nowordwrap, .text = text};
    cama_info info;
    cama_model_info(f->m, &info, sizeof info);
    cama_gen_opts o = f->args->gen;
    if (!info.has_template) {
        o.prompt = question;
        return cli_answer(f->m, &o, &to, r, err);
    }
    window w = {0};
    cama_err e = cli_chat_add(&f->chat, "user", question, err);
    if (!e)
        e = fit_window(f, info.n_ctx, &w, err);
    o.ids = w.ids;
    o.n_id = w.n_id;
    if (!e)
        e = cli_answer(f->m, &o, &to, r, err);
    cama_free(w.ids);
    return e;
}

static void ask(session *s, const char *question)
{
    file_end *f = s->end;
    cama_error err;
    cama_gen_result r;
    buf text;
    buf_init(&text, CLI_MAX_INPUT);
    const size_t n_message = f->chat.n_message;
    cama_err e = answer(f, question, &text, &r, &err);
    const bool nothing = !e && r.finish == CAMA_FINISH_CANCELED && !text.n;
    if (!e && !nothing)
        e = cli_chat_add(&f->chat, "assistant", text.data ? text.data : "", &err);
    if (e || nothing)
        cli_chat_cut(&f->chat, n_message); /* as if it had not been asked */
    if (e == CAMA_ERR_CONTEXT)
        cli_name_remedy(&err, "/set parameter num_ctx N makes room for more");
    if (e)
        repl_complain(&err);
    else if (f->verbose)
        cli_print_figures(f->m, &r, true);
    buf_done(&text);
}

/* ---- /show ---- */

/* A text of the file: no byte of it may steer the terminal. */
static void tell(const char *text, const char *end)
{
    wrap_say(text, strlen(text));
    (void)fputs(end, stdout);
}

static void show_info(const file_end *f)
{
    cama_info i;
    cama_model_info(f->m, &i, sizeof i);
    char total[32];
    cli_format_bytes(i.total_bytes, total, sizeof total);
    printf("  architecture   %s\n  name           ", i.arch);
    tell(i.name, "\n");
    printf("  parameters     %.2fM\n"
           "  weights        mostly %s\n  context        %u of %u tokens\n"
           "  engine         %s, %s activations (%s)\n  device         %s\n"
           "  memory         %s, KV %s\n\n",
           (double)i.n_param / 1e6, i.weight_type, i.n_ctx, i.n_ctx_train, i.engine, i.activations,
           i.engine_why, i.device, total, i.kv_type);
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

static void show_choice(const cli_option *o, int choice)
{
    char word[CLI_CHOICE_BYTES] = "default";
    if (choice >= 0)
        cli_choice_name(o, choice, word);
    printf("%s\n", word);
}

static void show_parameter(const file_end *f, const cli_option *o)
{
    char name[32];
    const void *at = (const char *)f->args + o->offset;
    if (o->kind == CLI_STOPS) {
        for (size_t i = 0; i < f->args->gen.n_stop; i++)
            printf("  %-30s \"%s\"\n", "stop", f->args->stops[i]);
        return;
    }
    printf("  %-30s ", parameter_name(o, name));
    if (o->kind == CLI_CHOICE)
        show_choice(o, *(const int *)at);
    else if (o->kind == CLI_U32 && !*(const uint32_t *)at)
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

static void show_parameters(const file_end *f)
{
    for (size_t i = 0; cli_option_at(i); i++) {
        if (cli_option_at(i)->parameter)
            show_parameter(f, cli_option_at(i));
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
        tell(v->text, "\n");
        any = true;
    }
    (void)fputs(any ? "\n" : "No license was specified for this model.\n", stdout);
}

static void show_license(const file_end *f)
{
    cama_error err;
    char *text = NULL;
    json_value *o;
    arena a;
    arena_init(&a, SHOW_MEMORY);
    cama_err e = cama_model_json(f->m, 0, &text, &err);
    if (!e)
        e = json_parse(text, strlen(text), &a, &o, &err);
    if (e)
        repl_complain(&err);
    else
        print_license(json_get(o, "metadata"));
    cama_free(text);
    arena_done(&a);
}

static void show_template(const file_end *f)
{
    cama_error err;
    char *text = NULL;
    const cama_err e = cama_model_template(f->m, &text, &err);
    if (e == CAMA_ERR_NOT_FOUND)
        printf("No prompt template was specified for this model.\n");
    else if (e)
        repl_complain(&err);
    else
        tell(text, "\n\n");
    cama_free(text);
}

static void show_system(const file_end *f)
{
    if (f->system && *f->system)
        printf("%s\n\n", f->system);
    else
        printf("No system message was specified for this model.\n");
}

static void show(session *s, const char *what)
{
    const file_end *f = s->end;
    if (!strcmp(what, "info"))
        show_info(f);
    else if (!strcmp(what, "license"))
        show_license(f);
    else if (!strcmp(what, "parameters"))
        show_parameters(f);
    else if (!strcmp(what, "system"))
        show_system(f);
    else if (!strcmp(what, "template"))
        show_template(f);
    else
        fprintf(stderr, "/show %s is not supported\n", what);
}

/* ---- /set, /load ---- */

/* Another context, number of threads or file needs the model opened anew. What is asked for next
 * computes the conversation again. */
static void reopen(session *s, file_end *f, const char *before_file, const cli_args *before)
{
    cama_error err;
    cama_model_close(f->m);
    f->m = NULL;
    if (!cli_open(f->args, CAMA_OPEN_ALL, &f->m, &err))
        return;
    repl_complain(&err);
    f->args->model = before->model; /* back to what worked */
    f->args->engine = before->engine;
    f->args->device = before->device;
    f->args->pos[0] = (char *)before_file;
    if (!cli_open(f->args, CAMA_OPEN_ALL, &f->m, &err))
        return;
    repl_complain(&err);
    s->over = true;
    s->status = CLI_FAILED;
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
                       o->kind == CLI_STOPS ? " ..." : "");
        printf("  /set parameter %-22s %s\n", left, o->help);
    }
    printf("\n");
}

/* All words become the values: more than one only for `stop`, whose list they replace. The copy
 * outlives the line, because stop strings are kept by address. */
static cama_err set_values(session *s, file_end *f, const char *name, char *values, buf *told,
                           cama_error *err)
{
    char *copy = arena_copy(&s->texts, values, strlen(values));
    if (!copy)
        return err_set(err, CAMA_ERR_NOMEM, "no memory for '%s'", name);
    const bool stop = !strcmp(name, "stop");
    if (stop)
        f->args->gen.n_stop = 0;
    for (char *value; (value = repl_take_word(&copy));) {
        if (told->n && !stop)
            return err_set(err, CAMA_ERR_ARG, "%s takes one value, '%s' is another", name, value);
        const cama_err e = cli_set_parameter(f->args, name, value, err);
        if (e)
            return e;
        (void)buf_printf(told, "%s%s", told->n ? ", " : "", value); /* sticky, and only told */
    }
    return CAMA_OK;
}

static void set_parameter(session *s, const char *name, char *words)
{
    file_end *f = s->end;
    cama_error err;
    if (!name) {
        list_parameters();
        return;
    }
    const cli_args before = *f->args;
    buf told;
    buf_init(&told, CLI_MAX_INPUT);
    if (set_values(s, f, name, words, &told, &err)) {
        *f->args = before; /* its own address is the same, so gen.stop still points into it */
        fprintf(stderr, "Couldn't set parameter: \"%s\"\n", err.text);
    } else {
        printf("Set parameter '%s' to '%s'\n", name, told.data ? told.data : "");
        if (before.model.n_ctx != f->args->model.n_ctx ||
            before.model.n_thread != f->args->model.n_thread ||
            before.model.n_batch != f->args->model.n_batch || before.engine != f->args->engine ||
            before.device != f->args->device)
            reopen(s, f, f->args->pos[0], &before);
    }
    buf_done(&told);
}

static void set_system(session *s, const char *text)
{
    file_end *f = s->end;
    cama_error err;
    const char *copy = repl_keep(s, text);
    if (!copy)
        return;
    const bool fresh = f->chat.n_message == (f->system ? 1u : 0u);
    f->system = copy;
    if (fresh)
        begin_chat(f); /* nothing was asked yet: it takes the old one's place */
    else if (cli_chat_add(&f->chat, "system", copy, &err))
        repl_complain(&err);
    printf("Set system message.\n");
}

static void set_verbose(session *s, bool on)
{
    ((file_end *)s->end)->verbose = on;
}

static void set_wordwrap(session *s, bool on)
{
    ((file_end *)s->end)->args->nowordwrap = !on;
}

static void load(session *s, const char *file)
{
    file_end *f = s->end;
    char *copy = repl_keep(s, file);
    if (!copy)
        return;
    char *const before = f->args->pos[0];
    f->args->pos[0] = copy;
    const cli_args args = *f->args;
    reopen(s, f, before, &args);
    if (f->args->pos[0] == copy)
        begin_chat(f); /* what another model said is not this one's */
}

int cli_repl(cli_args *args, cama_model *m)
{
    static const repl_vt vt = {
        .what = "file",
        .ask = ask,
        .forget = forget,
        .show = show,
        .set_parameter = set_parameter,
        .set_system = set_system,
        .set_verbose = set_verbose,
        .set_wordwrap = set_wordwrap,
        .load = load,
    };
    file_end f = {.args = args, .m = m, .system = args->system, .verbose = args->verbose};
    cli_chat_init(&f.chat);
    begin_chat(&f);
    cama_info info;
    cama_model_info(m, &info, sizeof info);
    if (!info.has_template)
        cli_warning(NULL, "the file has no chat template: each text is continued as it is");
    const int status = repl_run(&vt, &f);
    cli_chat_done(&f.chat);
    cama_model_close(f.m);
    return status;
}
