#include "cli/cli.h"

#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli_server.h"

static int print_text(cama_err (*write)(cli_command c, buf *out), cli_command c)
{
    buf out;
    buf_init(&out, 1 << 20);
    cama_error err = {.code = CAMA_OK};
    cama_err e = write(c, &out);
    if (e)
        (void)buf_error(&out, "the text", &err); /* gives e again, and its text */
    else
        e = cli_print(out.data, out.n, &err);
    buf_done(&out);
    return e ? cli_fail(&err) : CLI_OK;
}

/* As Ollama has it: told on standard error, and no failure. */
static int help_unknown(const char *topic)
{
    buf out;
    buf_init(&out, 1 << 20);
    if (!cli_write_help(CLI_N_COMMAND, &out))
        fprintf(stderr, "Unknown help topic [`%s`]\n%s", topic, out.data);
    buf_done(&out);
    return CLI_OK;
}

static int help(const cli_args *args)
{
    const cli_command c = args->n_pos ? cli_find_command(args->pos[0]) : CLI_N_COMMAND;
    if (args->n_pos && c == CLI_N_COMMAND)
        return help_unknown(args->pos[0]);
    return print_text(cli_write_help, c);
}

static cama_err write_page(const char *folder, cli_command c, cama_error *err)
{
    char path[4096];
    buf page;
    if (snprintf(path, sizeof path, "%s/cama%s%s.1", folder, c < CLI_N_COMMAND ? "-" : "",
                 c < CLI_N_COMMAND ? cli_commands[c].name : "") >= (int)sizeof path)
        return err_set(err, CAMA_ERR_LIMIT, "'%.60s...' is too long a path", folder);
    buf_init(&page, 1 << 20);
    cama_err e = cli_write_man(c, &page);
    if (e)
        (void)buf_error(&page, "a page", err); /* gives e again, and its text */
    FILE *f = e ? NULL : fopen(path, "we");
    bool ok = f && fwrite(page.data, 1, page.n, f) == page.n;
    if (f)
        ok = !fclose(f) && ok;
    if (!e && !ok)
        e = err_set(err, CAMA_ERR_IO, "cannot write '%s': %s", path, strerror(errno));
    buf_done(&page);
    return e;
}

static int write_pages(const char *folder)
{
    cama_error err;
    cama_err e = CAMA_OK;
    for (int c = 0; !e && c <= CLI_N_COMMAND; c++)
        e = write_page(folder, (cli_command)c, &err);
    return e ? cli_fail(&err) : CLI_OK;
}

static int manual(cli_args *args)
{
    if (args->out)
        return write_pages(args->out);
    const cli_command c = args->n_pos ? cli_find_command(args->pos[0]) : CLI_N_COMMAND;
    if (args->n_pos && c == CLI_N_COMMAND) {
        fprintf(stderr, "cama: there is no command '%s'; `cama help` lists them\n", args->pos[0]);
        return CLI_USAGE;
    }
    return print_text(cli_write_man, c);
}

static cama_err write_completion(cli_command c, buf *out)
{
    (void)c;
    return cli_write_completion(out);
}

static int completion(cli_args *args)
{
    return print_text(write_completion, args->command);
}

static int version(cli_args *args)
{
    char line[64];
    cama_error err;
    const int n = snprintf(line, sizeof line, "cama version %s\n", cama_version());
    if (args->verbose)
        return cli_server_version();
    return cli_print(line, (size_t)n, &err) ? cli_fail(&err) : CLI_OK;
}

/* Mistakes in a command line that Ollama knows too are told and counted as there. */
static int refuse(const cli_args *args, const cama_error *err)
{
    if (args->mistake_is_ollamas)
        return server_fail(err);
    (void)cli_fail(err);
    return CLI_USAGE;
}

int cli_main(int argc, char **argv)
{
    static int (*const commands[CLI_N_COMMAND])(cli_args *args) = {
        [CLI_SERVE] = cli_serve,
        [CLI_CREATE] = cli_create,
        [CLI_SHOW] = cli_show,
        [CLI_RUN] = cli_run,
        [CLI_STOP] = cli_stop,
        [CLI_LIST] = cli_list,
        [CLI_PS] = cli_ps,
        [CLI_CP] = cli_cp,
        [CLI_RM] = cli_rm,
        [CLI_LOGITS] = cli_logits,
        [CLI_TOKENIZE] = cli_tokenize,
        [CLI_DETOKENIZE] = cli_detokenize,
        [CLI_EMBED] = cli_embed,
        [CLI_ENGINES] = cli_engines,
        [CLI_VERIFY] = cli_verify,
        [CLI_MAN] = manual,
        [CLI_VERSION] = version,
        [CLI_COMPLETION] = completion,
    };
    (void)setlocale(LC_CTYPE, ""); /* line editing counts characters; without one it counts bytes */
    (void)signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of write, told and counted */
    cli_args args;
    cama_error err;
    if (cli_parse(argc, argv, &args, &err))
        return refuse(&args, &err);
    if (args.help)
        return print_text(cli_write_help, args.command);
    if (args.command == CLI_HELP)
        return help(&args);
    return commands[args.command](&args);
}
