/* Values as Go's encoding/json writes them: HTML escaped, the keys of maps sorted. */
#include "chat/gotmpl_int.h"

#include <math.h>
#include <string.h>

#include "base/utf8.h"

static void put_char(gstr s, size_t at, size_t n, uint32_t cp, buf *out)
{
    static const char letters[] = "\b\f\n\r\t\"\\";
    static const char escapes[] = "bfnrt\"\\";
    const char *known = cp && cp < 0x80 ? strchr(letters, (int)cp) : NULL;
    if (known)
        (void)buf_printf(out, "\\%c", escapes[known - letters]); /* sticks in out, as below */
    else if (cp < 0x20 || cp == '<' || cp == '>' || cp == '&' || cp == 0x2028 || cp == 0x2029)
        (void)buf_printf(out, "\\u%04x", (unsigned)cp);
    else if (cp == UTF8_REPLACEMENT && n == 1)
        (void)buf_puts(out, "\\ufffd");
    else
        (void)buf_append(out, s.p + at, n);
}

static void put_string(gstr s, buf *out)
{
    (void)buf_putc(out, '"');
    for (size_t i = 0; i < s.n && !out->fail;) {
        uint32_t cp;
        const size_t n = gotmpl_decode(s, i, &cp);
        put_char(s, i, n, cp, out);
        i += n;
    }
    (void)buf_putc(out, '"');
}

static bool put_float(double f, buf *out)
{
    char text[400];
    if (isnan(f) || isinf(f))
        return false;
    const double size = fabs(f);
    const bool exponent = size != 0 && (size < 1e-6 || size >= 1e21);
    gotmpl_float_text(f, exponent ? 'e' : 'f', text);
    const size_t n = strlen(text);
    if (exponent && n >= 4 && text[n - 4] == 'e' && text[n - 3] == '-' && text[n - 2] == '0') {
        text[n - 2] = text[n - 1]; /* e-09 is written e-9 */
        text[n - 1] = '\0';
    }
    (void)buf_puts(out, text);
    return true;
}

static bool put_list(gval v, buf *out)
{
    if (v.nil) {
        (void)buf_puts(out, "null");
        return true;
    }
    if (v.type->json_unwrap && v.u.l.n == 1)
        return gotmpl_json(gval_elem(v, 0), out);
    (void)buf_putc(out, '[');
    for (size_t i = 0; i < v.u.l.n; i++) {
        (void)buf_puts(out, i ? "," : "");
        if (!gotmpl_json(gval_elem(v, i), out))
            return false;
    }
    (void)buf_putc(out, ']');
    return true;
}

static bool put_map(gval v, buf *out)
{
    if (v.nil) {
        (void)buf_puts(out, "null");
        return true;
    }
    (void)buf_putc(out, '{');
    for (size_t i = 0; i < v.u.m.n; i++) {
        (void)buf_puts(out, i ? "," : "");
        put_string(v.u.m.entries[i].key, out);
        (void)buf_putc(out, ':');
        if (!gotmpl_json(v.u.m.entries[i].value, out))
            return false;
    }
    (void)buf_putc(out, '}');
    return true;
}

/* What omitempty leaves out; a struct never. */
static bool is_empty(gval v)
{
    return !v.type || (v.type->kind != G_STRUCT && !v.iface && !gval_true(v));
}

static bool put_struct(gval v, buf *out)
{
    bool first = true;
    (void)buf_putc(out, '{');
    for (size_t i = 0; i < v.type->n_field; i++) {
        const gfield *f = &v.type->fields[i];
        const gval e = gval_field(v, i);
        if (f->omit_empty && is_empty(e))
            continue;
        (void)buf_printf(out, "%s\"%s\":", first ? "" : ",", f->key ? f->key : f->name);
        first = false;
        if (!gotmpl_json(e, out))
            return false;
    }
    (void)buf_putc(out, '}');
    return true;
}

bool gotmpl_json(gval v, buf *out)
{
    if (!v.type) {
        (void)buf_puts(out, "null");
        return true;
    }
    switch (v.type->kind) {
    case G_BOOL:
        (void)buf_puts(out, v.u.b ? "true" : "false");
        return true;
    case G_INT:
    case G_UINT8:
        (void)buf_printf(out, "%lld", (long long)v.u.i);
        return true;
    case G_FLOAT:
        return put_float(v.u.f, out);
    case G_STRING:
        put_string(v.u.s, out);
        return true;
    case G_SLICE:
        return put_list(v, out);
    case G_MAP:
        return put_map(v, out);
    case G_STRUCT:
        return put_struct(v, out);
    case G_PTR:
        if (!v.nil)
            return gotmpl_json(*v.u.ref, out);
        (void)buf_puts(out, "null");
        return true;
    default:
        return false; /* complex numbers */
    }
}

/* ["string"] is string, ["string","null"] is [string null]. */
static void put_property_type(gval v, buf *out)
{
    if (v.u.l.n != 1)
        (void)buf_puts(out, v.u.l.n ? "[" : "");
    for (size_t i = 0; i < v.u.l.n; i++) {
        const gstr s = gval_elem(v, i).u.s;
        (void)buf_puts(out, i ? " " : "");
        (void)buf_append(out, s.p, s.n);
    }
    (void)buf_puts(out, v.u.l.n > 1 ? "]" : "");
}

void gotmpl_stringer(gval v, buf *out)
{
    if (v.type->stringer == GS_PROPERTY_TYPE)
        put_property_type(v, out);
    else if (v.type->kind == G_MAP && v.nil)
        (void)buf_puts(out, "{}");
    else if (!gotmpl_json(v, out))
        buf_clear(out); /* Go gives out nothing then */
}
