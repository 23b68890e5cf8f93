#include "cli/cli.h"

#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli_int.h"

static int print_help(cli_command c)
{
    buf out;
    buf_init(&out, 1 << 20);
    cama_error err = {.code = CAMA_OK};
    cama_err e = cli_write_help(c, &out);
    if (e)
        (void)buf_error(&out, "the help", &err); /* gives e again, and its text */
    else
        e = cli_print(out.data, out.n, &err);
    buf_done(&out);
    return e ? cli_fail(&err) : CLI_OK;
}

static int help(const cli_args *args)
{
    if (args->n_pos == 0)
        return print_help(CLI_N_COMMAND);
    for (int i = 0; i < CLI_N_COMMAND; i++) {
        if (!strcmp(args->pos[0], cli_commands[i].name))
            return print_help((cli_command)i);
    }
    fprintf(stderr, "cama: there is no command '%s'; `cama help` lists them\n", args->pos[0]);
    return CLI_USAGE;
}

static int version(void)
{
    char line[64];
    cama_error err;
    const int n = snprintf(line, sizeof line, "cama version %s\n", cama_version());
    return cli_print(line, (size_t)n, &err) ? cli_fail(&err) : CLI_OK;
}

int cli_main(int argc, char **argv)
{
    static int (*const commands[CLI_N_COMMAND])(cli_args *args) = {
        [CLI_RUN] = cli_run,           [CLI_LOGITS] = cli_logits,
        [CLI_TOKENIZE] = cli_tokenize, [CLI_DETOKENIZE] = cli_detokenize,
        [CLI_SHOW] = cli_show,         [CLI_EMBED] = cli_embed,
    };
    (void)setlocale(LC_CTYPE, ""); /* line editing counts characters; without one it counts bytes */
    (void)signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of write, told and counted */
    cli_args args;
    cama_error err;
    if (cli_parse(argc, argv, &args, &err)) {
        (void)cli_fail(&err);
        return CLI_USAGE;
    }
    if (args.help)
        return print_help(args.command);
    if (args.command == CLI_VERSION)
        return version();
    if (args.command == CLI_HELP)
        return help(&args);
    return commands[args.command](&args);
}
