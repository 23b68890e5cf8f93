#include "cli/cli_param.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json/json.h"

/* ---- one value ---- */

static cama_err bad_value(const char *type, const char *value, cama_error *err)
{
    return err_set(err, CAMA_ERR_ARG, "invalid %s value [%s]", type, value);
}

static cama_err put_int(const char *text, buf *out, cama_error *err)
{
    char *end;
    errno = 0;
    const long long n = strtoll(text, &end, 10);
    if (end == text || *end || errno || text[0] == ' ' || text[0] == '\t')
        return bad_value("int", text, err);
    return buf_printf(out, "%lld", n);
}

static cama_err put_float(const char *text, buf *out, cama_error *err)
{
    char *end;
    char number[JSON_DOUBLE_BYTES];
    const double x = strtod(text, &end);
    if (end == text || *end || !isfinite(x) || text[0] == ' ' || text[0] == '\t')
        return bad_value("float", text, err);
    (void)json_format_double(x, number);
    return buf_puts(out, number);
}

static cama_err put_bool(const char *text, buf *out, cama_error *err)
{
    static const char *const words[2][6] = {{"0", "f", "F", "false", "FALSE", "False"},
                                            {"1", "t", "T", "true", "TRUE", "True"}};
    for (int i = 0; i < 12; i++) {
        if (!strcmp(text, words[i / 6][i % 6]))
            return buf_puts(out, i / 6 ? "true" : "false");
    }
    return bad_value("bool", text, err);
}

cama_err param_write(const option_row *row, const char *text, buf *out, cama_error *err)
{
    cama_err e;
    switch (row->type) {
    case OPTION_INT:
        e = put_int(text, out, err);
        break;
    case OPTION_FLOAT:
        e = put_float(text, out, err);
        break;
    case OPTION_BOOL:
        e = put_bool(text, out, err);
        break;
    case OPTION_WORD:
        if (!option_is_word(row, text, strlen(text)))
            return err_set(err, CAMA_ERR_ARG, "%s is '%s', must be one of %s", row->name, text,
                           option_words(row));
        e = json_write_string(text, strlen(text), out);
        break;
    default:
        e = json_write_string(text, strlen(text), out);
    }
    return e && e == out->fail ? buf_error(out, row->name, err) : e;
}

/* ---- sets ---- */

static const char *keep(arena *a, const buf *text)
{
    return text->fail ? NULL : arena_copy(a, text->data ? text->data : "", text->n);
}

static cama_err write_values(const option_row *row, const char *const *texts, size_t n, buf *json,
                             buf *shown, cama_error *err)
{
    const bool list = row->type == OPTION_STRINGS;
    if (n > 1 && !list)
        return err_set(err, CAMA_ERR_ARG, "%s takes one value, '%s' is another", row->name,
                       texts[1]);
    (void)buf_puts(json, list ? "[" : ""); /* sticky, as all here */
    (void)buf_puts(shown, list ? "[" : "");
    for (size_t i = 0; i < n; i++) {
        (void)buf_puts(json, i ? "," : "");
        (void)buf_printf(shown, "%s%s", i ? " " : "", texts[i]);
        const cama_err e = param_write(row, texts[i], json, err);
        if (e)
            return e;
    }
    (void)buf_puts(json, list ? "]" : "");
    (void)buf_puts(shown, list ? "]" : "");
    return CAMA_OK;
}

static cama_err store_row(param_set *set, const option_row *row, const char *json,
                          const char *shown, cama_error *err)
{
    size_t i = 0;
    while (i < set->n && strcmp(set->rows[i].name, row->name) != 0)
        i++;
    if (i == PARAM_MAX)
        return err_set(err, CAMA_ERR_LIMIT, "more than %d parameters", PARAM_MAX);
    if (!json || !shown)
        return err_set(err, CAMA_ERR_NOMEM, "no memory for '%s'", row->name);
    set->rows[i].name = row->name;
    set->rows[i].json = json;
    set->rows[i].shown = shown;
    set->n += i == set->n;
    return CAMA_OK;
}

cama_err param_put(param_set *set, const char *name, const char *const *texts, size_t n, arena *a,
                   cama_error *err)
{
    const option_row *row = option_find(name, strlen(name));
    if (!row)
        return err_set(err, CAMA_ERR_ARG, "unknown parameter '%s'", name);
    buf json;
    buf shown;
    buf_init(&json, (size_t)1 << 20);
    buf_init(&shown, (size_t)1 << 20);
    cama_err e = write_values(row, texts, n, &json, &shown, err);
    if (!e)
        e = store_row(set, row, keep(a, &json), keep(a, &shown), err);
    buf_done(&json);
    buf_done(&shown);
    return e;
}

/* The fewest digits that read back as x: 0.7, where the double nearest to x has more. */
static void write_float(float x, char out[JSON_DOUBLE_BYTES])
{
    for (int n = 1; n <= 9; n++) {
        (void)snprintf(out, JSON_DOUBLE_BYTES, "%.*g", n, (double)x);
        if (strtof(out, NULL) == x)
            return;
    }
}

static_assert(CLI_CHOICE_BYTES <= JSON_DOUBLE_BYTES, "a word fits where a number does");

/* A number or a word of the command line as text again; its kind is the table's. */
static void write_number(const cli_args *args, const cli_option *o, char out[JSON_DOUBLE_BYTES])
{
    const void *at = (const char *)args + o->offset;
    if (o->kind == CLI_CHOICE)
        cli_choice_name(o, *(const int *)at, out);
    else if (o->kind == CLI_U32)
        (void)snprintf(out, JSON_DOUBLE_BYTES, "%u", *(const uint32_t *)at);
    else if (o->kind == CLI_I32)
        (void)snprintf(out, JSON_DOUBLE_BYTES, "%d", *(const int32_t *)at);
    else if (o->kind == CLI_I64)
        (void)snprintf(out, JSON_DOUBLE_BYTES, "%lld", (long long)*(const int64_t *)at);
    else
        write_float(*(const float *)at, out);
}

cama_err param_take_args(param_set *set, const cli_args *args, arena *a, cama_error *err)
{
    for (size_t i = 0; i < cli_n_option; i++) {
        const cli_option *o = &cli_options[i];
        char name[32];
        char number[JSON_DOUBLE_BYTES];
        if (!o->parameter || !args->given[i])
            continue;
        (void)snprintf(name, sizeof name, "%s", o->name);
        for (char *c = name; *c; c++)
            *c = *c == '-' ? '_' : *c;
        cama_err e;
        if (o->kind == CLI_STOPS) {
            e = param_put(set, name, args->stops, args->gen.n_stop, a, err);
        } else {
            write_number(args, o, number);
            e = param_put(set, name, &(const char *){number}, 1, a, err);
        }
        if (e)
            return e;
    }
    return CAMA_OK;
}

cama_err param_write_set(const param_set *set, buf *out)
{
    (void)buf_putc(out, '{'); /* sticky */
    for (size_t i = 0; i < set->n; i++)
        (void)buf_printf(out, "%s\"%s\":%s", i ? "," : "", set->rows[i].name, set->rows[i].json);
    return buf_putc(out, '}');
}
