/* `cama run`: one answer, or the REPL. */
#include "cli/cli_int.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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
        e = cli_answer(m, &o, NULL, r, err);
    if (e == CAMA_ERR_CONTEXT)
        cli_name_remedy(err, "--num-ctx N makes room for more");
    cli_chat_done(&chat);
    return e;
}

int cli_run(cli_args *args)
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
