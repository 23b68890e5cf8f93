#include "json/json.h"

#include <string.h>

#include "base/utf8.h"

static void write_escape(unsigned char c, buf *out)
{
    static const char names[] = "btnvfr"; /* from 8; \v has no JSON form */
    if (c == '"' || c == '\\') {
        (void)buf_putc(out, '\\'); /* failures of buf stick: json_write_string looks at the end */
        (void)buf_putc(out, (char)c);
    } else if (c >= 8 && c <= 13 && c != 11) {
        (void)buf_putc(out, '\\');
        (void)buf_putc(out, names[c - 8]);
    } else {
        (void)buf_printf(out, "\\u%04x", c);
    }
}

cama_err json_write_string(const char *text, size_t n, buf *out)
{
    (void)buf_putc(out, '"');
    size_t from = 0; /* bytes before it are written */
    for (size_t i = 0; i < n;) {
        const unsigned char c = (unsigned char)text[i];
        uint32_t cp = c;
        const size_t len = c < 0x80 ? 1 : utf8_decode(text + i, n - i, &cp);
        /* A U+FFFD that is really there takes three bytes; anything else with that value is bad. */
        const bool bad = cp == UTF8_REPLACEMENT && (len != 3 || c != 0xEF);
        const bool plain = c >= 0x20 && c != '"' && c != '\\' && !bad;
        if (!plain) {
            (void)buf_append(out, text + from, i - from);
            if (bad)
                (void)buf_puts(out, "\xEF\xBF\xBD");
            else
                write_escape(c, out);
            from = i + len;
        }
        i += len;
    }
    (void)buf_append(out, text + from, n - from);
    return buf_putc(out, '"');
}

static cama_err write_value(const json_value *v, buf *out, uint32_t depth);

static cama_err write_array(const json_value *v, buf *out, uint32_t depth)
{
    (void)buf_putc(out, '[');
    for (size_t i = 0; i < v->n; i++) {
        if (i)
            (void)buf_putc(out, ',');
        const cama_err e = write_value(v->items[i], out, depth + 1);
        if (e)
            return e;
    }
    return buf_putc(out, ']');
}

static cama_err write_object(const json_value *v, buf *out, uint32_t depth)
{
    (void)buf_putc(out, '{');
    for (size_t i = 0; i < v->n; i++) {
        const json_member *m = &v->members[i];
        if (i)
            (void)buf_putc(out, ',');
        (void)json_write_string(m->key, m->n_key, out);
        (void)buf_putc(out, ':');
        const cama_err e = write_value(m->value, out, depth + 1);
        if (e)
            return e;
    }
    return buf_putc(out, '}');
}

static cama_err write_value(const json_value *v, buf *out, uint32_t depth)
{
    if (depth > JSON_MAX_DEPTH)
        return CAMA_ERR_LIMIT; /* a built tree, which nothing else bounds */
    switch (v->kind) {
    case JSON_NULL:
        return buf_puts(out, "null");
    case JSON_BOOL:
        return buf_puts(out, v->boolean ? "true" : "false");
    case JSON_INT:
    case JSON_FLOAT:
        return buf_append(out, v->text, v->n);
    case JSON_STRING:
        return json_write_string(v->text, v->n, out);
    case JSON_ARRAY:
        return write_array(v, out, depth);
    case JSON_OBJECT:
        return write_object(v, out, depth);
    }
    return CAMA_ERR_INTERNAL;
}

cama_err json_write(const json_value *v, buf *out)
{
    return write_value(v, out, 0);
}
