#include "cli/cli_args.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

const cli_option *cli_option_at(size_t i)
{
    return i < cli_n_option ? &cli_options[i] : NULL;
}

size_t cli_option_index(const cli_option *o)
{
    return (size_t)(o - cli_options);
}

void cli_choice_name(const cli_option *o, int choice, char out[CLI_CHOICE_BYTES])
{
    const char *at = o->choices;
    for (int i = 0; i < choice; i++)
        at += strcspn(at, "|") + 1;
    (void)snprintf(out, CLI_CHOICE_BYTES, "%.*s", (int)strcspn(at, "|"), at);
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

bool cli_find_choice(const cli_option *o, const char *text, int *out)
{
    const size_t n = strlen(text);
    int index = 0;
    for (const char *at = o->choices; *at; index++) {
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

static cama_err set_switch(const cli_option *o, const char *text, int *at, err_info *err)
{
    static const char *const words[2][3] = {{"false", "0", "f"}, {"true", "1", "t"}};
    for (int i = 0; text && i < 6; i++) {
        if (!strcmp(text, words[i / 3][i % 3])) {
            *at = i / 3;
            return CAMA_OK;
        }
    }
    if (text)
        return err_set(err, CAMA_ERR_ARG, "--%s is '%s', must be true or false", o->name, text);
    *at = 1;
    return CAMA_OK;
}

static cama_err set_value(cli_args *args, const cli_option *o, const char *text, err_info *err)
{
    void *at = (char *)args + o->offset;
    args->given[cli_option_index(o)] = true;
    switch (o->kind) {
    case CLI_SWITCH:
        return set_switch(o, text, at, err);
    case CLI_OPTIONAL:
        *(const char **)at = text ? text : "true";
        return CAMA_OK;
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
        return cli_find_choice(o, text, at) ? CAMA_OK : bad_value(o, text, err);
    case CLI_STOPS:
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
    for (size_t i = 0; i < cli_n_option; i++) {
        const cli_option *o = &cli_options[i];
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

cli_command cli_find_command(const char *name)
{
    int i = 0;
    while (i < CLI_N_COMMAND && strcmp(name, cli_commands[i].name) != 0 &&
           (!cli_commands[i].alias || strcmp(name, cli_commands[i].alias) != 0))
        i++;
    return (cli_command)i;
}

static cama_err find_command(const char *name, cli_command *out, err_info *err)
{
    static const char *const later[] = {"pull", "push", "signin", "signout",
                                        "launch"}; /* Ollama's */
    nearest near = nearest_to(name);
    *out = cli_find_command(name);
    if (*out < CLI_N_COMMAND)
        return CAMA_OK;
    *out = CLI_HELP;
    for (size_t i = 0; i < sizeof later / sizeof later[0]; i++) {
        if (!strcmp(name, later[i]))
            return err_set(err, CAMA_ERR_ARG, "unknown command \"%s\" for \"cama\": not built yet",
                           name);
    }
    for (int i = 0; i < CLI_N_COMMAND; i++)
        offer(&near, cli_commands[i].name);
    if (near.best)
        return err_set(err, CAMA_ERR_ARG, "unknown command \"%s\" for \"cama\"; is \"%s\" meant?",
                       name, near.best);
    return err_set(err, CAMA_ERR_ARG, "unknown command \"%s\" for \"cama\"", name);
}

/* The command's part of the table as getopt_long wants it; a value is the row's number + 256. */
typedef struct getopt_table {
    struct option longs[2 * CLI_MAX_OPTION + 1];
    char shorts[2 * CLI_MAX_OPTION + 2];
} getopt_table;

static int argument_of(const cli_option *o)
{
    if (o->kind == CLI_FLAG)
        return no_argument;
    return o->kind == CLI_SWITCH || o->kind == CLI_OPTIONAL ? optional_argument : required_argument;
}

static void make_table(cli_command c, getopt_table *t)
{
    *t = (getopt_table){0};
    size_t n_long = 0;
    size_t n_short = 0;
    t->shorts[n_short++] = ':'; /* a missing value is ':', not '?' */
    for (size_t i = 0; i < cli_n_option; i++) {
        const cli_option *o = &cli_options[i];
        if (!(o->commands & 1u << c))
            continue;
        const int has_arg = argument_of(o);
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

static const cli_option *option_of(cli_command c, int value)
{
    if (value >= 256)
        return &cli_options[value - 256];
    for (size_t i = 0; i < cli_n_option; i++) {
        if (cli_options[i].letter == value && cli_options[i].commands & 1u << c)
            return &cli_options[i];
    }
    return NULL;
}

static cama_err refuse_letter(cli_command c, const char *word, err_info *err)
{
    const char *command = cli_commands[c].name;
    const int letter = isprint(optopt) ? optopt : '?';
    if (cli_commands[c].ollama)
        return err_set(err, CAMA_ERR_ARG, "unknown shorthand flag: '%c' in %s", letter, word);
    return err_set(err, CAMA_ERR_ARG, "cama %s has no option -%c; see `cama help %s`", command,
                   letter, command);
}

static cama_err refuse_name(cli_command c, const char *name, const char *best, err_info *err)
{
    const char *command = cli_commands[c].name;
    const char *before = cli_commands[c].ollama ? "unknown flag: --" : "";
    if (*before && best)
        return err_set(err, CAMA_ERR_ARG, "%s%s; is --%s meant?", before, name, best);
    if (*before)
        return err_set(err, CAMA_ERR_ARG, "%s%s", before, name);
    if (best)
        return err_set(err, CAMA_ERR_ARG, "cama %s has no option --%s; is --%s meant?", command,
                       name, best);
    return err_set(err, CAMA_ERR_ARG, "cama %s has no option --%s; see `cama help %s`", command,
                   name, command);
}

/* What getopt_long did not take: unknown, ambiguous, or a value for a flag. */
static cama_err refuse(cli_command c, const char *word, err_info *err)
{
    if (optopt && optopt < 256)
        return refuse_letter(c, word, err);
    char name[64];
    const size_t n = strcspn(word, "=");
    const size_t n_dash = strspn(word, "-");
    if (n - n_dash >= sizeof name)
        return err_set(err, CAMA_ERR_ARG, "cama %s has no option of %zu bytes",
                       cli_commands[c].name, n);
    memcpy(name, word + n_dash, n - n_dash);
    name[n - n_dash] = '\0';
    nearest near = nearest_to(name);
    bool starts = false;
    for (size_t i = 0; i < cli_n_option; i++) {
        const cli_option *o = &cli_options[i];
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
    return refuse_name(c, name, near.best, err);
}

static cama_err name_missing_value(cli_command c, const char *word, err_info *err)
{
    const cli_option *o = option_of(c, optopt);
    if (cli_commands[c].ollama && o && optopt < 256)
        return err_set(err, CAMA_ERR_ARG, "flag needs an argument: '%c' in %s", optopt, word);
    if (cli_commands[c].ollama && o)
        return err_set(err, CAMA_ERR_ARG, "flag needs an argument: --%s", o->name);
    return err_set(err, CAMA_ERR_ARG, "--%s needs a value (%s)", o ? o->name : "?",
                   o && o->arg ? o->arg : "");
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
        if (value == ':')
            return name_missing_value(args->command, argv[optind - 1], err);
        const cli_option *o = option_of(args->command, value);
        const cama_err e = o ? set_value(args, o, optarg, err) : CAMA_ERR_INTERNAL;
        if (e)
            return e;
    }
    args->pos = argv + optind;
    args->n_pos = argc - optind;
    return CAMA_OK;
}

static cama_err check_ollamas(const cli_command_info *c, int n_pos, err_info *err)
{
    if (c->min_pos == c->max_pos && n_pos != c->min_pos && c->min_pos)
        return err_set(err, CAMA_ERR_ARG, "accepts %d arg(s), received %d", c->min_pos, n_pos);
    if (n_pos < c->min_pos)
        return err_set(err, CAMA_ERR_ARG, "requires at least %d arg(s), only received %d",
                       c->min_pos, n_pos);
    if (c->max_pos >= 0 && n_pos > c->max_pos)
        return err_set(err, CAMA_ERR_ARG, "accepts %d arg(s), received %d", c->max_pos, n_pos);
    return CAMA_OK;
}

static cama_err check_positional(const cli_args *args, err_info *err)
{
    const cli_command_info *c = &cli_commands[args->command];
    if (args->help)
        return CAMA_OK;
    if (c->ollama)
        return check_ollamas(c, args->n_pos, err);
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
    *args = (cli_args){.command = CLI_HELP,
                       .truncate = -1,
                       .engine = -1,
                       .device = -1,
                       .n_token = 256,
                       .mistake_is_ollamas = true};
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
        out->verbose = true; /* the server's too */
        return CAMA_OK;
    }
    if (!strcmp(first, "--help") || !strcmp(first, "-h"))
        return CAMA_OK;
    cama_err e = find_command(first, &out->command, err);
    if (!e)
        out->mistake_is_ollamas = cli_commands[out->command].ollama;
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
