/* `cama run`: one answer, or the REPL; of a file in this process, or of a server's model. */
#include "cli/cli_ask.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli_models.h"
#include "store/store.h"

/* Beside a prompt, an open but silent standard input is not waited for: programs that start others
 * often leave such a pipe behind. Without one it is the prompt, however long it takes. */
#define INPUT_WAIT_MS 3000

static bool has_input(const cli_args *args)
{
    if (isatty(STDIN_FILENO))
        return false;
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
    if (args->n_pos < 2 || poll(&p, 1, INPUT_WAIT_MS) != 0)
        return true; /* something to read, or its end */
    cli_warning(NULL, "standard input is open but gave nothing for 3 s: it is left out");
    return false;
}

/* Standard input (when it is no terminal), then the arguments, joined by spaces. */
static cama_err gather_prompt(const cli_args *args, buf *prompt, cama_error *err)
{
    if (has_input(args)) {
        const cama_err e = cli_read_input(prompt, err);
        if (e)
            return e;
        while (prompt->n && prompt->data[prompt->n - 1] == '\n')
            prompt->data[--prompt->n] = '\0';
    }
    for (int i = 1; i < args->n_pos; i++) {
        if (prompt->n)
            (void)buf_putc(prompt, ' ');
        (void)buf_puts(prompt, args->pos[i]);
    }
    return buf_error(prompt, "the prompt", err);
}

static cama_err fill_chat(const cli_args *args, const char *prompt, cli_chat *chat, cama_error *err)
{
    cama_err e = CAMA_OK;
    if (args->system)
        e = cli_chat_add(chat, "system", args->system, err);
    if (!e)
        e = cli_chat_add(chat, "user", prompt, err);
    return e;
}

static cama_err answer_once(const cli_args *args, cama_model *m, const char *prompt,
                            cama_gen_result *r, cama_error *err)
{
    cama_info info;
    cama_model_info(m, &info, sizeof info);
    cama_gen_opts o = args->gen;
    cli_chat chat;
    cli_chat_init(&chat);
    cama_err e = CAMA_OK;
    if (info.has_template) {
        e = fill_chat(args, prompt, &chat, err);
        size_t n_dropped;
        o.messages = e ? NULL : cli_chat_messages(&chat, 0, &n_dropped);
        if (!e && !o.messages)
            e = err_set(err, CAMA_ERR_NOMEM, "no memory for the conversation");
    } else {
        cli_warning(NULL, "the file has no chat template: the text is continued as it is");
        if (args->system)
            cli_warning(NULL, "without a template there is no place for a system message");
        o.prompt = prompt;
    }
    if (!e)
        e = cli_answer(m, &o, &(cli_sink){.wordwrap = !args->nowordwrap}, r, err);
    if (e == CAMA_ERR_CONTEXT)
        cli_name_remedy(err, "--num-ctx N makes room for more");
    cli_chat_done(&chat);
    return e;
}

static int run_file(cli_args *args)
{
    cama_error err;
    buf prompt;
    buf_init(&prompt, CLI_MAX_INPUT);
    cama_model *m = NULL;
    cama_gen_result r;
    cama_err e = gather_prompt(args, &prompt, &err);
    const bool asked = prompt.n > 0;
    if (!e && !asked && !(isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)))
        e = err_set(&err, CAMA_ERR_ARG,
                    "no prompt: neither an argument nor standard input has one, "
                    "and a conversation needs a terminal");
    if (!e)
        e = cli_open(args, CAMA_OPEN_ALL, &m, &err);
    if (!e && !asked) {
        buf_done(&prompt);
        return cli_repl(args, m);
    }
    if (!e)
        e = answer_once(args, m, prompt.data, &r, &err);
    int status = CLI_OK;
    if (e)
        status = cli_fail(&err);
    else
        cli_print_figures(m, &r, args->verbose);
    if (!e && r.finish == CAMA_FINISH_CANCELED)
        status = CLI_INTERRUPTED;
    cama_model_close(m);
    buf_done(&prompt);
    return status;
}

/* ---- a name, in this process ---- */

cama_err cli_find_file(cli_args *args, arena *a, cama_error *err)
{
    store *s;
    model_name name;
    store_model m;
    char path[4096];
    cama_err e = name_parse(args->pos[0], &name, err);
    if (!e)
        e = store_open(NULL, &s, err);
    if (e)
        return e;
    e = store_find(s, &name, a, &m, err);
    const store_layer *weights = e ? NULL : store_layer_of(&m, "model");
    if (!e && !weights)
        e = err_set(err, CAMA_ERR_NOT_FOUND, "model '%s' has no weights", args->pos[0]);
    if (!e)
        e = store_blob_path(s, weights->digest, path, sizeof path, err);
    if (!e && args->command == CLI_RUN &&
        (store_layer_of(&m, "template") || store_layer_of(&m, "params") ||
         store_layer_of(&m, "system")))
        cli_warning(NULL,
                    "template, system message and parameters of the model are the server's to "
                    "use: without one it runs as its file says");
    char *copy = e ? NULL : arena_copy(a, path, strlen(path));
    if (!e && !copy)
        e = err_set(err, CAMA_ERR_NOMEM, "no memory for '%s'", path);
    if (copy)
        args->pos[0] = copy;
    store_close(s);
    return e;
}

static int run_name_here(cli_args *args)
{
    arena a;
    cama_error err;
    arena_init(&a, (size_t)64 << 20);
    const cama_err e = cli_find_file(args, &a, &err);
    const int status = e ? server_fail(&err) : run_file(args);
    arena_done(&a);
    return status;
}

/* ---- a name, by a server ---- */

/* A model that is only for embeddings answers nothing: it gives the vector of a text. */
static bool is_for_vectors(const json_value *shown)
{
    return ask_can(shown, "embedding") && !ask_can(shown, "completion");
}

static cama_err check_vectors(const ask_opts *o, const buf *prompt, cama_error *err)
{
    if (prompt->n)
        return CAMA_OK;
    return err_set(err, CAMA_ERR_ARG,
                   "embedding models require input text. Usage: cama run %s \"your text here\"",
                   o->model);
}

static void name_missing(const ask_opts *o, cama_error *err)
{
    const cama_error before = *err;
    (void)err_set(err, before.code,
                  "%s; pulling is not built yet: with a file, write \"FROM /path/to/model.gguf\" "
                  "to a Modelfile, then: cama create %s -f Modelfile",
                  before.text, o->model);
}

static void tell_of_files_only(const cli_args *args)
{
    static const size_t only[] = {offsetof(cli_args, special), offsetof(cli_args, gen.ignore_eog)};
    for (size_t i = 0; i < cli_n_option; i++) {
        for (size_t j = 0; j < sizeof only / sizeof only[0]; j++) {
            if (args->given[i] && cli_options[i].offset == only[j])
                fprintf(stderr,
                        "cama: warning: --%s is without effect: it is for files and --in-process\n",
                        cli_options[i].name);
        }
    }
}

/* Gives the exit status; *e says whether it is an error that was not told yet. */
static int run_with(const ask_opts *o, const cli_args *args, arena *a, cama_err *e, cama_error *err)
{
    json_value *shown = NULL;
    ask_result r = {0};
    buf prompt;
    buf_init(&prompt, CLI_MAX_INPUT);
    const bool talk = args->n_pos < 2 && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    *e = models_show(o->server, o->model, false, a, &shown, err);
    if (*e == CAMA_ERR_NOT_FOUND)
        name_missing(o, err);
    if (!*e && !talk)
        *e = gather_prompt(args, &prompt, err);
    if (!*e && is_for_vectors(shown))
        *e = check_vectors(o, &prompt, err);
    int status = CLI_OK;
    if (!*e && talk)
        status = cli_repl_model(o, shown);
    else if (!*e && is_for_vectors(shown))
        *e = ask_embed(o, args, prompt.data, err);
    else if (!*e)
        *e = ask_prompt(o, prompt.data ? prompt.data : "", &r, err);
    buf_done(&prompt);
    return status;
}

static int run_name(cli_args *args)
{
    arena a;
    cama_error err;
    ask_opts o = {0};
    arena_init(&a, 4 * CLI_MAX_REPLY);
    cama_err e = ask_take_args(&o, args, &a, &err);
    tell_of_files_only(args);
    if (!e)
        e = server_open_or_embed(args, &o.server, &err);
    int status = CLI_OK;
    if (!e)
        status = run_with(&o, args, &a, &e, &err);
    if (e)
        status = server_fail(&err);
    server_close(o.server);
    arena_done(&a);
    return status;
}

int cli_run(cli_args *args)
{
    if (models_is_file(args->pos[0]))
        return run_file(args);
    return args->in_process ? run_name_here(args) : run_name(args);
}
