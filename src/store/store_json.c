/* JSON as Go's encoder writes it, which Ollama names by digest: the same bytes, the same name. */
#include "store/store.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

#define EXACT_INT ((int64_t)1 << 53) /* Go reads a number into a double */

static bool is_separator(uint32_t cp)
{
    return cp == 0x2028 || cp == 0x2029; /* line ends to JavaScript */
}

static void put_escape(uint32_t cp, buf *out)
{
    static const char names[] = "btn.fr"; /* from 8; there is none for 11 */
    if (cp == '"' || cp == '\\')
        (void)buf_printf(out, "\\%c", (int)cp);
    else if (cp >= 8 && cp <= 13 && cp != 11)
        (void)buf_printf(out, "\\%c", names[cp - 8]);
    else
        (void)buf_printf(out, "\\u%04x", (unsigned)cp);
}

cama_err store_json_write_string(const char *text, size_t n, buf *out)
{
    (void)buf_putc(out, '"');
    size_t from = 0; /* bytes before it are written */
    for (size_t i = 0; i < n;) {
        const unsigned char c = (unsigned char)text[i];
        uint32_t cp;
        const size_t len = utf8_decode(text + i, n - i, &cp);
        const bool broken = cp == UTF8_REPLACEMENT && c != 0xEF;
        const bool html = cp == '<' || cp == '>' || cp == '&';
        if (broken || html || is_separator(cp) || cp < 0x20 || cp == '"' || cp == '\\') {
            (void)buf_append(out, text + from, i - from);
            put_escape(cp, out);
            from = i + len;
        }
        i += len;
    }
    (void)buf_append(out, text + from, n - from);
    return buf_putc(out, '"');
}

/* The digits and the exponent of a text as Python's repr writes one: d.ddd * 10^*exponent. */
static size_t split_digits(const char *text, char digits[JSON_DOUBLE_BYTES], int *out_exponent)
{
    size_t n = 0;
    int before = 0; /* digits before the point */
    bool point = false;
    for (; *text && *text != 'e'; text++) {
        if (*text == '.') {
            point = true;
        } else {
            digits[n++] = *text;
            before += !point;
        }
    }
    int exponent = before - 1 + (*text == 'e' ? atoi(text + 1) : 0);
    size_t zeros = 0;
    while (zeros + 1 < n && digits[zeros] == '0')
        zeros++;
    memmove(digits, digits + zeros, n - zeros);
    n -= zeros;
    exponent -= (int)zeros;
    while (n > 1 && digits[n - 1] == '0')
        n--;
    *out_exponent = exponent;
    return n;
}

/* Go's form of a double in JSON: plain from 1e-6 to 1e21, else with an exponent. */
static cama_err write_double(double d, buf *out)
{
    char text[JSON_DOUBLE_BYTES];
    char digits[JSON_DOUBLE_BYTES] = "0";
    int exponent;
    if (!isfinite(d))
        return buf_puts(out, "null"); /* not reachable by parsing; Go refuses */
    (void)json_format_double(fabs(d), text);
    const size_t n = split_digits(text, digits, &exponent);
    if (signbit(d))
        (void)buf_putc(out, '-');
    if (d == 0)
        return buf_putc(out, '0');
    if (fabs(d) < 1e-6 || fabs(d) >= 1e21) {
        (void)buf_putc(out, digits[0]);
        if (n > 1)
            (void)buf_printf(out, ".%.*s", (int)(n - 1), digits + 1);
        /* at least two digits, but for e-7 to e-9: so Go's encoder has it */
        return buf_printf(out, exponent < 0 ? "e%d" : "e+%d", exponent);
    }
    if (exponent < 0) {
        (void)buf_puts(out, "0.");
        for (int i = -1; i > exponent; i--)
            (void)buf_putc(out, '0');
        return buf_append(out, digits, n);
    }
    for (size_t i = 0; i < n || i <= (size_t)exponent; i++) {
        if (i == (size_t)exponent + 1)
            (void)buf_putc(out, '.');
        (void)buf_putc(out, i < n ? digits[i] : '0');
    }
    return out->fail;
}

static cama_err write_number(const json_value *v, buf *out)
{
    if (v->kind == JSON_INT && v->integer != 0 && v->integer <= EXACT_INT &&
        v->integer >= -EXACT_INT)
        return buf_printf(out, "%lld", (long long)v->integer);
    return write_double(v->number, out);
}

static int by_key(const void *a, const void *b)
{
    const json_member *const *x = a;
    const json_member *const *y = b;
    return strcmp((*x)->key, (*y)->key); /* bytes, as Go compares */
}

static cama_err write_object(const json_value *v, bool sort, buf *out, unsigned depth);

static cama_err write_value(const json_value *v, bool sort, buf *out, unsigned depth)
{
    if (depth > JSON_MAX_DEPTH)
        return CAMA_ERR_LIMIT;
    cama_err e = CAMA_OK;
    switch (v->kind) {
    case JSON_NULL:
        return buf_puts(out, "null");
    case JSON_BOOL:
        return buf_puts(out, v->boolean ? "true" : "false");
    case JSON_INT:
    case JSON_FLOAT:
        return write_number(v, out);
    case JSON_STRING:
        return store_json_write_string(v->text, v->n, out);
    case JSON_ARRAY:
        (void)buf_putc(out, '[');
        for (size_t i = 0; i < v->n && !e; i++) {
            if (i)
                (void)buf_putc(out, ',');
            e = write_value(v->items[i], sort, out, depth + 1);
        }
        return e ? e : buf_putc(out, ']');
    case JSON_OBJECT:
        return write_object(v, sort, out, depth);
    }
    return CAMA_ERR_INTERNAL;
}

static cama_err write_object(const json_value *v, bool sort, buf *out, unsigned depth)
{
    const json_member **order = malloc((v->n ? v->n : 1) * sizeof *order);
    if (!order)
        return CAMA_ERR_NOMEM;
    for (size_t i = 0; i < v->n; i++)
        order[i] = &v->members[i];
    if (sort)
        qsort(order, v->n, sizeof *order, by_key);
    cama_err e = buf_putc(out, '{');
    for (size_t i = 0; i < v->n && !e; i++) {
        if (i)
            (void)buf_putc(out, ',');
        (void)store_json_write_string(order[i]->key, order[i]->n_key, out);
        (void)buf_putc(out, ':');
        e = write_value(order[i]->value, sort, out, depth + 1);
    }
    free(order);
    return e ? e : buf_putc(out, '}');
}

cama_err store_json_write(const json_value *v, bool sort, buf *out)
{
    const cama_err e = write_value(v, sort, out, 0);
    if (e && !out->fail)
        out->fail = e; /* sticks as buf's own failures do */
    return e;
}
