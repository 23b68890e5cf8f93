/* Help, manual pages and completion, all made from the tables. */
#include "cli/cli_args.h"

#include <string.h>

/* ---- help ---- */

static void write_option(const cli_option *o, buf *out)
{
    buf left;
    buf_init(&left, 256);
    (void)buf_printf(&left, "  ");
    if (o->letter)
        (void)buf_printf(&left, "-%c, ", o->letter);
    (void)buf_printf(&left, "--%s", o->name);
    if (o->alias)
        (void)buf_printf(&left, ", --%s", o->alias);
    if (o->arg)
        (void)buf_printf(&left, " %s", o->arg);
    (void)buf_printf(out, "%-34s %s", left.data ? left.data : "", o->help);
    if (o->choices)
        (void)buf_printf(out, " [%s]", o->choices);
    (void)buf_putc(out, '\n');
    buf_done(&left);
}

/* docs/environment.md says more. Ours are those that Ollama does not have. */
static const struct {
    const char *name; /* behind OLLAMA_, or CAMA_, which comes first */
    bool ours;
    bool asks; /* the commands that ask a server read it too */
    const char *help;
} variables[] = {
    {"HOST", false, true, "where the server listens, or is asked (default 127.0.0.1:11434)"},
    {"MODELS", false, false, "the store (default ~/.ollama/models)"},
    {"ORIGINS", false, false, "web pages that may ask, with commas between"},
    {"KEEP_ALIVE", false, false, "how long a model without work stays loaded (default 5m)"},
    {"CONTEXT_LENGTH", false, false, "context where nobody says another (default 4096)"},
    {"NUM_PARALLEL", false, false, "full contexts that memory is planned for (default 1)"},
    {"MAX_LOADED_MODELS", false, false, "models loaded at once (default 3)"},
    {"MAX_QUEUE", false, false, "requests that may wait (default 512)"},
    {"KV_CACHE_TYPE", false, false, "how keys and values are stored (default f16)"},
    {"LOAD_TIMEOUT", false, false, "a load without progress is given up (default 5m)"},
    {"NOPRUNE", false, false, "prune nothing from the store at the start"},
    {"MAX_MEMORY", true, false, "memory for all models together (default: what is free)"},
    {"THREADS", true, false, "threads for computing (default: the CPUs that there are)"},
    {"ACTIVATIONS", true, false, "int8, or f32 for exact comparisons (default int8)"},
    {"WEIGHTS", true, false, "auto, mapped or memory (default auto)"},
    {"ENGINE", true, false, "auto, native or mlx (default auto)"},
    {"DEVICE", true, false, "auto, cpu or gpu (default auto)"},
    {"ENGINE_STRICT", true, false, "no engine stands in for another"},
    {"HANG_TIMEOUT", true, false, "a runner that stands still is ended (default 30s)"},
    {"STRICT", true, false, "a warning of a request is an error"},
};
#define N_VARIABLE (sizeof variables / sizeof variables[0])

static void write_variables(cli_command c, buf *out)
{
    if (!cli_commands[c].ollama || c == CLI_HELP)
        return;
    (void)buf_puts(out, "\nEnvironment (CAMA_X may stand for OLLAMA_X, and comes before it):\n");
    for (size_t i = 0; i < N_VARIABLE; i++) {
        if (c == CLI_SERVE || variables[i].asks)
            (void)buf_printf(out, "      %s_%-*s %s\n", variables[i].ours ? "CAMA" : "OLLAMA",
                             variables[i].ours ? 24 : 22, variables[i].name, variables[i].help);
    }
}

static void write_command_help(cli_command c, buf *out)
{
    const cli_command_info *info = &cli_commands[c];
    (void)buf_printf(out, "usage: cama %s %s\n", info->name, info->args);
    if (info->alias)
        (void)buf_printf(out, "       cama %s %s\n", info->alias, info->args);
    (void)buf_printf(out, "\n%s.\n\n", info->summary);
    for (size_t i = 0; i < cli_n_option; i++) {
        if (cli_options[i].commands & 1u << c)
            write_option(&cli_options[i], out);
    }
    write_variables(c, out);
}

static const char exit_statuses[] =
    "\nExit status: 0 done, 1 failed (a wrong command line too, where Ollama has the command),\n"
    "2 wrong command line, 130 interrupted, 141 the reader of the output left.\n";

static void write_program_help(buf *out)
{
    (void)buf_printf(
        out,
        "cama %s: language models on the machine in front of you\n\n"
        "usage: cama COMMAND [OPTIONS]\n\n"
        "  -h, --help                         this help; `cama COMMAND --help`: of one\n"
        "  -v, --version                      the level of Ollama that the server "
        "speaks\n\n",
        cama_version());
    for (int i = 0; i < CLI_N_COMMAND; i++) {
        const cli_command_info *c = &cli_commands[i];
        (void)buf_printf(out, "  %-12s %-23s %s\n", c->name, c->args, c->summary);
    }
    (void)buf_puts(out, exit_statuses);
}

cama_err cli_write_help(cli_command c, buf *out)
{
    if (c < CLI_N_COMMAND)
        write_command_help(c, out);
    else
        write_program_help(out);
    return buf_error(out, "the help", NULL);
}

/* ---- manual pages ---- */

/* Text in roff: a dash stays a dash when it is copied, a backslash one, and no line is a request.
 */
static void write_roff(const char *text, buf *out)
{
    bool at_start = true;
    for (const char *c = text; *c; c++) {
        if (at_start && (*c == '.' || *c == '\''))
            (void)buf_puts(out, "\\&");
        if (*c == '-' || *c == '\\')
            (void)buf_putc(out, '\\');
        (void)buf_putc(out, *c == '\\' ? 'e' : *c);
        at_start = *c == '\n';
    }
}

static void write_option_page(const cli_option *o, buf *out)
{
    (void)buf_puts(out, ".TP\n.B ");
    if (o->letter)
        (void)buf_printf(out, "\\-%c, ", o->letter);
    (void)buf_puts(out, "\\-\\-");
    write_roff(o->name, out);
    if (o->alias) {
        (void)buf_puts(out, ", \\-\\-");
        write_roff(o->alias, out);
    }
    if (o->arg)
        (void)buf_printf(out, " \\fI%s\\fR", o->arg);
    (void)buf_putc(out, '\n');
    write_roff(o->help, out);
    if (o->choices)
        (void)buf_printf(out, " [%s]", o->choices);
    (void)buf_putc(out, '\n');
}

static void write_command_page(cli_command c, buf *out)
{
    const cli_command_info *info = &cli_commands[c];
    (void)buf_printf(out, ".TH CAMA-%s 1 \"\" \"cama %s\" \"\"\n.SH NAME\ncama\\-%s \\- ",
                     info->name, cama_version(), info->name);
    write_roff(info->summary, out);
    (void)buf_printf(out, "\n.SH SYNOPSIS\n.B cama %s\n[\\fIoptions\\fR] ", info->name);
    write_roff(info->args, out);
    if (info->alias)
        (void)buf_printf(out, "\n.br\n.B cama %s\n[\\fIoptions\\fR] %s", info->alias, info->args);
    (void)buf_puts(out, "\n.SH OPTIONS\n");
    for (size_t i = 0; i < cli_n_option; i++) {
        if (cli_options[i].commands & 1u << c)
            write_option_page(&cli_options[i], out);
    }
    (void)buf_puts(out, ".SH SEE ALSO\n.BR cama (1)\n");
}

static void write_program_page(buf *out)
{
    (void)buf_printf(out,
                     ".TH CAMA 1 \"\" \"cama %s\" \"\"\n.SH NAME\ncama \\- language models on the "
                     "machine in front of you\n.SH SYNOPSIS\n.B cama\n\\fIcommand\\fR "
                     "[\\fIoptions\\fR]\n.SH COMMANDS\n",
                     cama_version());
    for (int i = 0; i < CLI_N_COMMAND; i++) {
        const cli_command_info *c = &cli_commands[i];
        (void)buf_printf(out, ".TP\n.B %s\n%s (\\fBcama\\-%s\\fR(1))\n", c->name, c->summary,
                         c->name);
    }
    (void)buf_puts(out, ".SH EXIT STATUS\n");
    write_roff(exit_statuses + 1, out);
    (void)buf_puts(out, ".SH ENVIRONMENT\n");
    for (size_t i = 0; i < N_VARIABLE; i++) {
        (void)buf_printf(out, ".TP\n.B CAMA_%s%s%s\n", variables[i].name,
                         variables[i].ours ? "" : ", OLLAMA_",
                         variables[i].ours ? "" : variables[i].name);
        write_roff(variables[i].help, out);
        (void)buf_putc(out, '\n');
    }
}

cama_err cli_write_man(cli_command c, buf *out)
{
    if (c < CLI_N_COMMAND)
        write_command_page(c, out);
    else
        write_program_page(out);
    return buf_error(out, "the manual page", NULL);
}

/* ---- completion ---- */

static void write_option_words(cli_command c, buf *out)
{
    for (size_t i = 0; i < cli_n_option; i++) {
        if (cli_options[i].commands & 1u << c)
            (void)buf_printf(out, " --%s", cli_options[i].name);
    }
}

cama_err cli_write_completion(buf *out)
{
    (void)buf_puts(out, "# Completion of cama for bash: models by name where a model is wanted.\n"
                        "_cama()\n{\n    local word=${COMP_WORDS[COMP_CWORD]} words=\n"
                        "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        words='");
    for (int i = 0; i < CLI_N_COMMAND; i++)
        (void)buf_printf(out, "%s%s", i ? " " : "", cli_commands[i].name);
    (void)buf_puts(out, "'\n    else\n        case ${COMP_WORDS[1]} in\n");
    for (int i = 0; i < CLI_N_COMMAND; i++) {
        const cli_command_info *c = &cli_commands[i];
        (void)buf_printf(out, "        %s%s%s) words='", c->name, c->alias ? " | " : "",
                         c->alias ? c->alias : "");
        write_option_words((cli_command)i, out);
        (void)buf_puts(out, "' ;;\n");
    }
    (void)buf_puts(out,
                   "        esac\n        case ${COMP_WORDS[1]} in\n"
                   "        show | run | stop | cp | rm)\n"
                   "            [ \"${word#-}\" = \"$word\" ] &&\n"
                   "                words=$(cama list 2>/dev/null | awk 'NR > 1 { print $1 }') ;;\n"
                   "        esac\n    fi\n"
                   "    # A name has a colon, at which bash cuts words.\n"
                   "    COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
                   "    declare -F __ltrim_colon_completions >/dev/null && "
                   "__ltrim_colon_completions \"$word\"\n"
                   "}\ncomplete -o default -F _cama cama\n");
    return buf_error(out, "the completion", NULL);
}
