#include "cli/cli_args.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

const cli_command_info cli_commands[CLI_N_COMMAND] = {
    [CLI_RUN] = {"run", "FILE [PROMPT...]", "Answer a prompt, or chat with a model", 1, -1},
    [CLI_LOGITS] = {"logits", "FILE", "Write the logits of tokens as a NumPy array", 1, 1},
    [CLI_TOKENIZE] = {"tokenize", "FILE TEXT|-", "Text into token ids", 2, 2},
    [CLI_DETOKENIZE] = {"detokenize", "FILE IDS|-", "Token ids into text", 2, 2},
    [CLI_SHOW] = {"show", "FILE", "What a model file holds", 1, 1},
    [CLI_EMBED] = {"embed", "FILE TEXT|-", "The embedding of a text", 2, 2},
    [CLI_VERSION] = {"version", "", "The version of this program", 0, 0},
    [CLI_HELP] = {"help", "[COMMAND]", "Help about a command", 0, 1},
};

#define RUN (1u << CLI_RUN)
#define COMPUTES (RUN | 1u << CLI_LOGITS | 1u << CLI_EMBED)
#define TEXTS (1u << CLI_TOKENIZE | 1u << CLI_DETOKENIZE)
#define PRINTS_JSON (TEXTS | 1u << CLI_SHOW | 1u << CLI_EMBED)
#define ALL_COMMANDS ((1u << CLI_N_COMMAND) - 1)
#define AT(field) offsetof(cli_args, field)
#define BIG 1e9

static const cli_option options[] = {
    {"num-ctx", "ctx-size", 'c', CLI_U32, 1, 1 << 26, NULL, "N",
     "tokens of context (default: the model's own, at most 4096)", COMPUTES, true, AT(model.n_ctx)},
    {"num-thread", "threads", 't', CLI_U32, 1, 256, NULL, "N",
     "threads (default: as many as may really run at once)", COMPUTES, true, AT(model.n_thread)},
    {"num-batch", "batch-size", 'b', CLI_U32, 1, 8192, NULL, "N",
     "tokens computed in one step (default 512)", COMPUTES, true, AT(model.n_batch)},
    {"kv-type", NULL, 0, CLI_CHOICE, 0, 0, "f16|f32|bf16|q8_0|q4_0", "TYPE",
     "how keys and values are stored (default f16)", COMPUTES, false, AT(kv_type)},
    {"activations", NULL, 0, CLI_CHOICE, 0, 0, "int8|f32", "FORM",
     "form of the activations; f32 is exact and slower (default int8)", COMPUTES, false,
     AT(activations)},
    {"weights", NULL, 0, CLI_CHOICE, 0, 0, "auto|mapped|memory", "WHERE",
     "weights in the mapped file, or read into memory (default auto: memory when it is plentiful)",
     COMPUTES, false, AT(weights)},
    {"engine", NULL, 0, CLI_TEXT, 0, 0, NULL, "NAME", "engine (default: the one that fits best)",
     COMPUTES, false, AT(model.engine)},
    {"max-memory", NULL, 0, CLI_BYTES, 1, 1e18, NULL, "BYTES",
     "memory that may be taken: 512M, 8G (default: what is free)", COMPUTES, false,
     AT(model.max_bytes)},
    {"system", NULL, 's', CLI_TEXT, 0, 0, NULL, "TEXT", "system message", RUN, false, AT(system)},
    {"temperature", "temp", 0, CLI_FLOAT, 0, 100, NULL, "X",
     "0: the best token, always (default 0.8)", RUN, true, AT(gen.temperature)},
    {"top-k", NULL, 0, CLI_I32, 0, BIG, NULL, "N", "only the best N tokens; 0: off (default 40)",
     RUN, true, AT(gen.top_k)},
    {"top-p", NULL, 0, CLI_FLOAT, 0, 1, NULL, "X",
     "only the best tokens that together reach X (default 0.9)", RUN, true, AT(gen.top_p)},
    {"min-p", NULL, 0, CLI_FLOAT, 0, 1, NULL, "X",
     "only tokens with X times the best one's probability (default 0)", RUN, true, AT(gen.min_p)},
    {"typical-p", NULL, 0, CLI_FLOAT, 0, 1, NULL, "X",
     "only tokens of typical information (default 1: off)", RUN, true, AT(gen.typical_p)},
    {"repeat-last-n", NULL, 0, CLI_I32, -1, 1 << 20, NULL, "N",
     "tokens that the penalties look at; -1: all (default 64)", RUN, true, AT(gen.repeat_last_n)},
    {"repeat-penalty", NULL, 0, CLI_FLOAT, 1e-3, 1e3, NULL, "X",
     "divides what came before (default 1: off)", RUN, true, AT(gen.repeat_penalty)},
    {"frequency-penalty", NULL, 0, CLI_FLOAT, -100, 100, NULL, "X",
     "subtracted for each time it came (default 0)", RUN, true, AT(gen.frequency_penalty)},
    {"presence-penalty", NULL, 0, CLI_FLOAT, -100, 100, NULL, "X",
     "subtracted if it came at all (default 0)", RUN, true, AT(gen.presence_penalty)},
    {"seed", NULL, 0, CLI_I64, -1, 4294967295.0, NULL, "N",
     "the same seed gives the same answer (default -1: random)", RUN, true, AT(gen.seed)},
    {"num-predict", "predict", 'n', CLI_I32, -2, BIG, NULL, "N",
     "most tokens of an answer; -1: no limit (default -1)", RUN, true, AT(gen.n_predict)},
    {"stop", NULL, 0, CLI_STOP, 0, 0, NULL, "TEXT",
     "a string that ends the answer; may be repeated", RUN, true, AT(stops)},
    {"ignore-eos", NULL, 0, CLI_FLAG, 0, 0, NULL, NULL, "run on when the model ends its answer",
     RUN, false, AT(gen.ignore_eog)},
    {"tokens", NULL, 0, CLI_TEXT, 0, 0, NULL, "IDS", "token ids: 1,5,9; -: from standard input",
     1u << CLI_LOGITS, false, AT(tokens)},
    {"chunk", NULL, 0, CLI_U32, 1, 8192, NULL, "N", "tokens a step (default 512)", 1u << CLI_LOGITS,
     false, AT(chunk)},
    {"out", NULL, 'o', CLI_TEXT, 0, 0, NULL, "FILE", "where the array goes (.npy, float32)",
     1u << CLI_LOGITS | 1u << CLI_EMBED, false, AT(out)},
    {"special", NULL, 0, CLI_FLAG, 0, 0, NULL, NULL,
     "control tokens in the text are read, or written", TEXTS | RUN, false, AT(special)},
    {"no-bos", NULL, 0, CLI_FLAG, 0, 0, NULL, NULL, "without the tokens that begin and end a text",
     1u << CLI_TOKENIZE | 1u << CLI_EMBED, false, AT(no_bos)},
    {"tensors", NULL, 0, CLI_FLAG, 0, 0, NULL, NULL, "list the tensors", 1u << CLI_SHOW, false,
     AT(tensors)},
    {"plan", NULL, 0, CLI_FLAG, 0, 0, NULL, NULL, "the recorded forward pass", 1u << CLI_SHOW,
     false, AT(plan)},
    {"template", NULL, 0, CLI_FLAG, 0, 0, NULL, NULL, "the chat template", 1u << CLI_SHOW, false,
     AT(template_)},
    {"json", NULL, 0, CLI_FLAG, 0, 0, NULL, NULL, "print JSON", PRINTS_JSON, false, AT(json)},
    {"verbose", NULL, 'v', CLI_FLAG, 0, 0, NULL, NULL, "more figures on standard error", RUN, false,
     AT(verbose)},
    {"help", NULL, 'h', CLI_FLAG, 0, 0, NULL, NULL, "this help", ALL_COMMANDS, false, AT(help)},
};

#define N_OPTION (sizeof options / sizeof options[0])

const cli_option *cli_option_at(size_t i)
{
    return i < N_OPTION ? &options[i] : NULL;
}

/* ---- nearest names ---- */

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* Edits that make a of b: a letter added, left out, replaced, or two of them swapped. */
static int edit_distance(const char *a, const char *b)
{
    enum { MAX = 32 };
    int d[MAX][MAX]; /* d[i][j]: of the first i and j letters */
    const size_t n = strlen(a);
    const size_t m = strlen(b);
    if (n >= MAX || m >= MAX)
        return MAX;
    for (size_t i = 0; i <= n; i++)
        d[i][0] = (int)i;
    for (size_t j = 0; j <= m; j++)
        d[0][j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        for (size_t j = 1; j <= m; j++) {
            d[i][j] = least(d[i - 1][j - 1] + (a[i - 1] != b[j - 1]),
                            1 + least(d[i - 1][j], d[i][j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                d[i][j] = least(d[i][j], d[i - 2][j - 2] + 1);
        }
    }
    return d[n][m];
}

/* The candidate closest to name, if it is close enough to be meant. */
typedef struct nearest {
    const char *name;
    const char *best;
    int distance;
} nearest;

static void offer(nearest *n, const char *candidate)
{
    if (!candidate)
        return;
    const int d = edit_distance(n->name, candidate);
    if (d < n->distance) {
        n->distance = d;
        n->best = candidate;
    }
}

static nearest nearest_to(const char *name)
{
    const int limit = 1 + (int)strlen(name) / 3; /* a longer name may have more typing errors */
    return (nearest){.name = name, .distance = limit < 4 ? limit : 4};
}

/* ---- values ---- */

static cama_err bad_value(const cli_option *o, const char *text, err_info *err)
{
    if (o->kind == CLI_CHOICE)
        return err_set(err, CAMA_ERR_ARG, "--%s is '%s', must be one of %s", o->name, text,
                       o->choices);
    if (o->kind == CLI_FLOAT)
        return err_set(err, CAMA_ERR_ARG, "--%s is '%s', must be a number from %g to %g", o->name,
                       text, o->min, o->max);
    return err_set(err, CAMA_ERR_ARG, "--%s is '%s', must be a whole number from %.0f to %.0f",
                   o->name, text, o->min, o->max);
}

static bool read_whole(const char *text, long long *out, char **out_end)
{
    errno = 0;
    *out = strtoll(text, out_end, 10);
    return errno == 0 && *out_end > text && !isspace((unsigned char)text[0]);
}

static bool read_bytes(const char *text, uint64_t *out)
{
    static const char units[] = "KMGT";
    char *end;
    long long n;
    if (!read_whole(text, &n, &end) || n < 0)
        return false;
    uint64_t bytes = (uint64_t)n;
    const char *unit = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
    if (unit) {
        const unsigned shift = 10u * (unsigned)(unit - units + 1);
        if (bytes > UINT64_MAX >> shift)
            return false;
        bytes <<= shift;
        end++;
        if (*end == 'i')
            end++;
        if (*end == 'B')
            end++;
    }
    *out = bytes;
    return !*end;
}

static bool read_choice(const char *choices, const char *text, int *out)
{
    const size_t n = strlen(text);
    int index = 0;
    for (const char *at = choices; *at; index++) {
        const size_t n_choice = strcspn(at, "|");
        if (n_choice == n && !memcmp(at, text, n)) {
            *out = index;
            return true;
        }
        at += n_choice + (at[n_choice] == '|');
    }
    return false;
}

static cama_err set_integer(const cli_option *o, const char *text, void *at, err_info *err)
{
    char *end;
    long long n;
    if (!read_whole(text, &n, &end) || *end || (double)n < o->min || (double)n > o->max)
        return bad_value(o, text, err);
    if (o->kind == CLI_U32)
        *(uint32_t *)at = (uint32_t)n;
    else if (o->kind == CLI_I32)
        *(int32_t *)at = (int32_t)n;
    else
        *(int64_t *)at = n;
    return CAMA_OK;
}

static cama_err set_float(const cli_option *o, const char *text, float *at, err_info *err)
{
    char *end;
    const double x = strtod(text, &end);
    if (end == text || *end || !(x >= o->min && x <= o->max))
        return bad_value(o, text, err);
    *at = (float)x;
    return CAMA_OK;
}

static cama_err add_stop(cli_args *args, const char *text, err_info *err)
{
    if (args->gen.n_stop == CLI_MAX_STOP)
        return err_set(err, CAMA_ERR_ARG, "--stop is given more than %d times", CLI_MAX_STOP);
    if (!*text)
        return err_set(err, CAMA_ERR_ARG, "--stop is empty, must be a text");
    args->stops[args->gen.n_stop++] = text;
    return CAMA_OK;
}

static cama_err set_value(cli_args *args, const cli_option *o, const char *text, err_info *err)
{
    void *at = (char *)args + o->offset;
    switch (o->kind) {
    case CLI_FLAG:
        *(bool *)at = true;
        return CAMA_OK;
    case CLI_U32:
    case CLI_I32:
    case CLI_I64:
        return set_integer(o, text, at, err);
    case CLI_FLOAT:
        return set_float(o, text, at, err);
    case CLI_BYTES:
        if (!read_bytes(text, at))
            return err_set(err, CAMA_ERR_ARG, "--%s is '%s', must be a size as 1500, 512M or 8G",
                           o->name, text);
        return CAMA_OK;
    case CLI_TEXT:
        *(const char **)at = text;
        return CAMA_OK;
    case CLI_CHOICE:
        return read_choice(o->choices, text, at) ? CAMA_OK : bad_value(o, text, err);
    case CLI_STOP:
        return add_stop(args, text, err);
    }
    return CAMA_ERR_INTERNAL;
}

/* A parameter's name has underscores where the option has dashes. */
static bool same_name(const char *name, const char *option)
{
    for (; *name && *option; name++, option++) {
        if (*name != *option && !((*name == '_' || *name == '-') && *option == '-'))
            return false;
    }
    return !*name && !*option;
}

cama_err cli_set_parameter(cli_args *args, const char *name, const char *text, err_info *err)
{
    nearest near = nearest_to(name);
    for (size_t i = 0; i < N_OPTION; i++) {
        const cli_option *o = &options[i];
        if (!o->parameter)
            continue;
        if (same_name(name, o->name))
            return set_value(args, o, text, err);
        offer(&near, o->name);
    }
    if (near.best)
        return err_set(err, CAMA_ERR_ARG, "there is no parameter '%s'; is '%s' meant?", name,
                       near.best);
    return err_set(err, CAMA_ERR_ARG, "there is no parameter '%s'", name);
}

/* ---- the command line ---- */

static cama_err find_command(const char *name, cli_command *out, err_info *err)
{
    nearest near = nearest_to(name);
    for (int i = 0; i < CLI_N_COMMAND; i++) {
        if (!strcmp(name, cli_commands[i].name)) {
            *out = (cli_command)i;
            return CAMA_OK;
        }
        offer(&near, cli_commands[i].name);
    }
    if (near.best)
        return err_set(err, CAMA_ERR_ARG, "there is no command '%s'; is '%s' meant?", name,
                       near.best);
    return err_set(err, CAMA_ERR_ARG, "there is no command '%s'; `cama help` lists them", name);
}

/* The command's part of the table as getopt_long wants it; a value is the row's number + 256. */
typedef struct getopt_table {
    struct option longs[2 * N_OPTION + 1];
    char shorts[2 * N_OPTION + 2];
} getopt_table;

static void make_table(cli_command c, getopt_table *t)
{
    *t = (getopt_table){0};
    size_t n_long = 0;
    size_t n_short = 0;
    t->shorts[n_short++] = ':'; /* a missing value is ':', not '?' */
    for (size_t i = 0; i < N_OPTION; i++) {
        const cli_option *o = &options[i];
        if (!(o->commands & 1u << c))
            continue;
        const int has_arg = o->kind == CLI_FLAG ? no_argument : required_argument;
        t->longs[n_long++] = (struct option){o->name, has_arg, NULL, (int)i + 256};
        if (o->alias)
            t->longs[n_long++] = (struct option){o->alias, has_arg, NULL, (int)i + 256};
        if (o->letter) {
            t->shorts[n_short++] = o->letter;
            if (has_arg)
                t->shorts[n_short++] = ':';
        }
    }
}

static const cli_option *option_of(int value)
{
    if (value >= 256)
        return &options[value - 256];
    for (size_t i = 0; i < N_OPTION; i++) {
        if (options[i].letter == value)
            return &options[i];
    }
    return NULL;
}

/* What getopt_long did not take: unknown, ambiguous, or a value for a flag. */
static cama_err refuse(cli_command c, const char *word, err_info *err)
{
    const char *command = cli_commands[c].name;
    if (optopt && optopt < 256)
        return err_set(err, CAMA_ERR_ARG, "cama %s has no option -%c; see `cama help %s`", command,
                       isprint(optopt) ? optopt : '?', command);
    char name[64];
    const size_t n = strcspn(word, "=");
    const size_t n_dash = strspn(word, "-");
    if (n - n_dash >= sizeof name)
        return err_set(err, CAMA_ERR_ARG, "cama %s has no option of %zu bytes", command, n);
    memcpy(name, word + n_dash, n - n_dash);
    name[n - n_dash] = '\0';
    nearest near = nearest_to(name);
    bool starts = false;
    for (size_t i = 0; i < N_OPTION; i++) {
        const cli_option *o = &options[i];
        if (!(o->commands & 1u << c))
            continue;
        if (!strcmp(o->name, name) && o->kind == CLI_FLAG)
            return err_set(err, CAMA_ERR_ARG, "--%s takes no value", name);
        starts = starts || (*name && !strncmp(o->name, name, strlen(name)));
        offer(&near, o->name);
        offer(&near, o->alias);
    }
    if (starts)
        return err_set(err, CAMA_ERR_ARG, "--%s is the beginning of several options", name);
    if (near.best)
        return err_set(err, CAMA_ERR_ARG, "cama %s has no option --%s; is --%s meant?", command,
                       name, near.best);
    return err_set(err, CAMA_ERR_ARG, "cama %s has no option --%s; see `cama help %s`", command,
                   name, command);
}

static cama_err read_options(int argc, char **argv, cli_args *args, err_info *err)
{
    getopt_table t;
    make_table(args->command, &t);
    opterr = 0;
    optind = 0; /* begin anew: both glibc and the BSDs take 0 so */
    int value;
    while ((value = getopt_long(argc, argv, t.shorts, t.longs, NULL)) != -1) {
        if (value == '?')
            return refuse(args->command, argv[optind - 1], err);
        if (value == ':') {
            const cli_option *o = option_of(optopt);
            return err_set(err, CAMA_ERR_ARG, "--%s needs a value (%s)", o ? o->name : "?",
                           o && o->arg ? o->arg : "");
        }
        const cli_option *o = option_of(value);
        const cama_err e = o ? set_value(args, o, optarg, err) : CAMA_ERR_INTERNAL;
        if (e)
            return e;
    }
    args->pos = argv + optind;
    args->n_pos = argc - optind;
    return CAMA_OK;
}

static cama_err check_positional(const cli_args *args, err_info *err)
{
    const cli_command_info *c = &cli_commands[args->command];
    if (args->help)
        return CAMA_OK;
    if (args->n_pos < c->min_pos)
        return err_set(err, CAMA_ERR_ARG, "usage: cama %s %s", c->name, c->args);
    if (c->max_pos >= 0 && args->n_pos > c->max_pos)
        return err_set(err, CAMA_ERR_ARG,
                       "cama %s: '%s' is one argument too many; usage: cama %s %s", c->name,
                       args->pos[c->max_pos], c->name, c->args);
    return CAMA_OK;
}

static void set_defaults(cli_args *args)
{
    *args = (cli_args){.command = CLI_HELP};
    cama_model_opts_init(&args->model, sizeof args->model);
    cama_gen_opts_init(&args->gen, sizeof args->gen);
    args->gen.stop = args->stops;
}

cama_err cli_parse(int argc, char **argv, cli_args *out, err_info *err)
{
    set_defaults(out);
    if (argc < 2)
        return CAMA_OK;
    const char *first = argv[1];
    if (!strcmp(first, "--version") || !strcmp(first, "-v")) {
        out->command = CLI_VERSION;
        return CAMA_OK;
    }
    if (!strcmp(first, "--help") || !strcmp(first, "-h"))
        return CAMA_OK;
    cama_err e = find_command(first, &out->command, err);
    if (!e)
        e = read_options(argc - 1, argv + 1, out, err);
    if (!e)
        e = check_positional(out, err);
    out->model.kv_type = (cama_kv_type)out->kv_type;
    out->model.weights = (cama_weights)out->weights;
    out->model.activations = (cama_activations)out->activations;
    out->gen.special = out->special;
    return e;
}

cama_err cli_parse_ids(const char *text, int32_t **out_ids, size_t *out_n, err_info *err)
{
    size_t n_max = 1;
    for (const char *c = text; *c; c++)
        n_max += !isdigit((unsigned char)*c);
    int32_t *ids = calloc(n_max, sizeof *ids);
    if (!ids)
        return err_set(err, CAMA_ERR_NOMEM, "no memory for %zu token ids", n_max);
    size_t n = 0;
    for (const char *at = text;;) {
        at += strspn(at, " ,\t\r\n[]");
        if (!*at)
            break;
        char *end;
        errno = 0;
        const long long id = strtoll(at, &end, 10);
        if (end == at || errno || id < 0 || id > INT32_MAX ||
            (*end && !strchr(" ,\t\r\n]", *end))) {
            free(ids);
            return err_set(err, CAMA_ERR_ARG,
                           "'%.20s' is no token id: ids are numbers, as in 1,5,9", at);
        }
        ids[n++] = (int32_t)id;
        at = end;
    }
    *out_ids = ids;
    *out_n = n;
    return CAMA_OK;
}

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

static void write_command_help(cli_command c, buf *out)
{
    const cli_command_info *info = &cli_commands[c];
    (void)buf_printf(out, "usage: cama %s %s\n\n%s.\n\n", info->name, info->args, info->summary);
    for (size_t i = 0; i < N_OPTION; i++) {
        if (options[i].commands & 1u << c)
            write_option(&options[i], out);
    }
}

static void write_program_help(buf *out)
{
    (void)buf_printf(out,
                     "cama %s: language models on the machine in front of you\n\n"
                     "usage: cama COMMAND [OPTIONS]\n\n",
                     cama_version());
    for (int i = 0; i < CLI_N_COMMAND; i++) {
        const cli_command_info *c = &cli_commands[i];
        (void)buf_printf(out, "  %-10s %-18s %s\n", c->name, c->args, c->summary);
    }
    (void)buf_puts(out, "\nExit status: 0 done, 1 failed, 2 wrong command line, 130 interrupted,\n"
                        "141 the reader of the output left.\n");
}

cama_err cli_write_help(cli_command c, buf *out)
{
    if (c < CLI_N_COMMAND)
        write_command_help(c, out);
    else
        write_program_help(out);
    return buf_error(out, "the help", NULL);
}
