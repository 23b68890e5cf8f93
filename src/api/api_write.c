/* JSON as Go's encoding/json writes it: byte for byte what clients of Ollama see. */
#include "api/api_int.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/utf8.h"

/* <, > and & too, for Go's encoder makes its output safe inside HTML. */
static void put_escape(buf *out, uint32_t c)
{
    static const char names[] = "btn\0fr"; /* from 8 */
    if (c == '"' || c == '\\')
        (void)buf_printf(out, "\\%c", (char)c);
    else if (c >= 8 && c <= 13 && c != 11)
        (void)buf_printf(out, "\\%c", names[c - 8]);
    else
        (void)buf_printf(out, "\\u%04" PRIx32, c);
}

static void put_string(buf *out, const char *text, size_t n)
{
    (void)buf_putc(out, '"'); /* failures of buf stick */
    size_t from = 0;
    for (size_t i = 0; i < n;) {
        const unsigned char c = (unsigned char)text[i];
        uint32_t cp = c;
        const size_t len = c < 0x80 ? 1 : utf8_decode(text + i, n - i, &cp);
        const bool bad = cp == UTF8_REPLACEMENT && (len != 3 || c != 0xEF);
        if (bad || c < 0x20 || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' ||
            cp == 0x2028 || cp == 0x2029) {
            (void)buf_append(out, text + from, i - from);
            put_escape(out, cp);
            from = i + len;
        }
        i += len;
    }
    (void)buf_append(out, text + from, n - from);
    (void)buf_putc(out, '"');
}

static void put_key(api_writer *w, const char *key)
{
    if (w->comma)
        (void)buf_putc(w->out, ',');
    w->comma = true;
    if (!key)
        return;
    put_string(w->out, key, strlen(key));
    (void)buf_putc(w->out, ':');
}

void api_open(api_writer *w, const char *key, char bracket)
{
    put_key(w, key);
    (void)buf_putc(w->out, bracket);
    w->comma = false;
}

void api_close(api_writer *w, char bracket)
{
    (void)buf_putc(w->out, bracket);
    w->comma = true;
}

void api_put_text(api_writer *w, const char *key, const char *text, size_t n)
{
    put_key(w, key);
    put_string(w->out, text ? text : "", n);
}

void api_put_str(api_writer *w, const char *key, const char *text)
{
    api_put_text(w, key, text, text ? strlen(text) : 0);
}

void api_put_int(api_writer *w, const char *key, int64_t v)
{
    put_key(w, key);
    (void)buf_printf(w->out, "%" PRId64, v);
}

void api_put_bool(api_writer *w, const char *key, bool v)
{
    put_key(w, key);
    (void)buf_puts(w->out, v ? "true" : "false");
}

void api_put_null(api_writer *w, const char *key)
{
    put_key(w, key);
    (void)buf_puts(w->out, "null");
}

void api_put_raw(api_writer *w, const char *key, const char *json, size_t n)
{
    put_key(w, key);
    (void)buf_append(w->out, json, n);
}

/* Digits and a decimal exponent -> Go's form: plain from 1e-6 to 1e21, else with an exponent that
 * has no leading zero. digits are as of "%.*e" with n of them; exp is that of the first. */
static size_t lay_out(const char *digits, int n, int exp, bool minus, char *out)
{
    char *p = out;
    if (minus)
        *p++ = '-';
    if (exp < -6 || exp >= 21) {
        *p++ = digits[0];
        if (n > 1) {
            *p++ = '.';
            memcpy(p, digits + 1, (size_t)n - 1);
            p += n - 1;
        }
        p += snprintf(p, 8, "e%c%02d", exp < 0 ? '-' : '+', exp < 0 ? -exp : exp);
        if (p[-2] == '0' && exp < 0) { /* e-09 becomes e-9 */
            p[-2] = p[-1];
            p--;
        }
    } else if (exp < 0) {
        *p++ = '0';
        *p++ = '.';
        for (int i = -1; i > exp; i--)
            *p++ = '0';
        memcpy(p, digits, (size_t)n);
        p += n;
    } else {
        for (int i = 0; i <= exp || i < n; i++) {
            if (i == exp + 1)
                *p++ = '.';
            *p++ = i < n ? digits[i] : '0';
        }
    }
    *p = '\0';
    return (size_t)(p - out);
}

/* The fewest digits that read back as the same number, found by trying. */
static size_t format_shortest(double v, bool single, char out[API_NUMBER_BYTES])
{
    if (v == 0) {
        return (size_t)snprintf(out, API_NUMBER_BYTES, "%s", signbit(v) ? "-0" : "0");
    }
    char text[40];
    const int most = single ? 9 : 17;
    for (int n = 1; n <= most; n++) {
        (void)snprintf(text, sizeof text, "%.*e", n - 1, fabs(v));
        const bool same =
            single ? strtof(text, NULL) == (float)fabs(v) : strtod(text, NULL) == fabs(v);
        if (same || n == most)
            break;
    }
    char digits[24] = "0";
    int n = 0;
    const char *p = text;
    for (; *p && *p != 'e'; p++) {
        if (*p != '.')
            digits[n++] = *p;
    }
    const int exp = (int)strtol(p + 1, NULL, 10);
    while (n > 1 && digits[n - 1] == '0')
        n--;
    return lay_out(digits, n, exp, v < 0, out);
}

size_t api_format_f64(double v, char out[API_NUMBER_BYTES])
{
    return format_shortest(v, false, out);
}

size_t api_format_f32(float v, char out[API_NUMBER_BYTES])
{
    return format_shortest((double)v, true, out);
}

void api_put_f64(api_writer *w, const char *key, double v)
{
    char text[API_NUMBER_BYTES];
    if (!isfinite(v))
        api_put_null(w, key); /* JSON has no other; Go would fail the whole reply */
    else
        api_put_raw(w, key, text, api_format_f64(v, text));
}

void api_put_f32(api_writer *w, const char *key, float v)
{
    char text[API_NUMBER_BYTES];
    if (!isfinite(v))
        api_put_null(w, key);
    else
        api_put_raw(w, key, text, api_format_f32(v, text));
}

static int by_key(const void *a, const void *b)
{
    const json_member *const *x = a;
    const json_member *const *y = b;
    return strcmp((*x)->key, (*y)->key);
}

static void put_value(api_writer *w, const char *key, const json_value *v, bool sorted,
                      uint32_t depth);

static void put_object(api_writer *w, const char *key, const json_value *v, bool sorted,
                       uint32_t depth)
{
    const json_member **order = NULL;
    if (sorted && v->n > 1) {
        order = calloc(v->n, sizeof *order);
        if (!order) {
            w->out->fail = CAMA_ERR_NOMEM;
            return;
        }
        for (size_t i = 0; i < v->n; i++)
            order[i] = &v->members[i];
        qsort(order, v->n, sizeof *order, by_key);
    }
    api_open(w, key, '{');
    for (size_t i = 0; i < v->n; i++) {
        const json_member *m = order ? order[i] : &v->members[i];
        put_value(w, m->key, m->value, sorted, depth + 1);
    }
    api_close(w, '}');
    free(order);
}

static void put_value(api_writer *w, const char *key, const json_value *v, bool sorted,
                      uint32_t depth)
{
    if (!v || depth > JSON_MAX_DEPTH) {
        api_put_null(w, key);
        return;
    }
    switch (v->kind) {
    case JSON_NULL:
        api_put_null(w, key);
        break;
    case JSON_BOOL:
        api_put_bool(w, key, v->boolean);
        break;
    case JSON_INT:
        api_put_int(w, key, v->integer);
        break;
    case JSON_FLOAT:
        api_put_f64(w, key, v->number);
        break;
    case JSON_STRING:
        api_put_text(w, key, v->text, v->n);
        break;
    case JSON_ARRAY:
        api_open(w, key, '[');
        for (size_t i = 0; i < v->n; i++)
            put_value(w, NULL, v->items[i], sorted, depth + 1);
        api_close(w, ']');
        break;
    case JSON_OBJECT:
        put_object(w, key, v, sorted, depth);
        break;
    }
}

void api_put_json(api_writer *w, const char *key, const json_value *v)
{
    put_value(w, key, v, false, 0);
}

void api_put_sorted(api_writer *w, const char *key, const json_value *v)
{
    put_value(w, key, v, true, 0);
}

int64_t api_now_ns(void)
{
    struct timespec t = {0};
    (void)clock_gettime(CLOCK_REALTIME, &t); /* cannot fail for this clock */
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void api_put_time(api_writer *w, const char *key, int64_t ns, bool local)
{
    int64_t s = ns / 1000000000;
    int64_t rest = ns % 1000000000;
    if (rest < 0) {
        rest += 1000000000;
        s--;
    }
    api_put_date(w, key, (api_date){.s = s, .ns = rest}, local);
}

/* Nanoseconds lose their trailing zeros, as in Go's RFC3339Nano. */
void api_put_date(api_writer *w, const char *key, api_date date, bool local)
{
    const time_t t = (time_t)date.s;
    struct tm tm = {0};
    if (local)
        (void)localtime_r(&t,
                          &tm); /* out of range leaves zeros: a date that nobody takes for one */
    else
        (void)gmtime_r(&t, &tm);
    char text[96];
    size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (date.ns) {
        n += (size_t)snprintf(text + n, sizeof text - n, ".%09" PRId64, date.ns);
        while (text[n - 1] == '0')
            n--;
    }
    const long off = local ? tm.tm_gmtoff : 0;
    const long minutes = labs(off) / 60;
    if (off == 0)
        n += (size_t)snprintf(text + n, sizeof text - n, "Z");
    else
        n += (size_t)snprintf(text + n, sizeof text - n, "%c%02ld:%02ld", off < 0 ? '-' : '+',
                              minutes / 60, minutes % 60);
    api_put_text(w, key, text, n);
}

void api_quote(buf *out, const char *text, size_t n)
{
    (void)buf_putc(out, '"');
    for (size_t i = 0; i < n;) {
        const unsigned char c = (unsigned char)text[i];
        uint32_t cp = c;
        const size_t len = c < 0x80 ? 1 : utf8_decode(text + i, n - i, &cp);
        if (c == '"' || c == '\\')
            (void)buf_printf(out, "\\%c", c);
        else if (c >= 7 && c <= 13)
            (void)buf_printf(out, "\\%c", "abtnvfr"[c - 7]);
        else if (c < 0x20 || c == 0x7F || (cp == UTF8_REPLACEMENT && len != 3))
            (void)buf_printf(out, "\\x%02x", c);
        else
            (void)buf_append(out, text + i, len);
        i += len;
    }
    (void)buf_putc(out, '"');
}
