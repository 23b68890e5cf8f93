/* str(), repr() and json.dumps(), letter for letter as CPython's. */
#include "chat/tmpl_int.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/utf8.h"

/* Appends to out stick there; a render looks at its buffers when it is done with them. */

static void put_cp_escape(uint32_t cp, buf *out)
{
    if (cp < 0x100)
        (void)buf_printf(out, "\\x%02x", cp);
    else if (cp < 0x10000)
        (void)buf_printf(out, "\\u%04x", cp);
    else
        (void)buf_printf(out, "\\U%08x", cp);
}

static void put_string_repr(trun *r, const tstr *s, buf *out)
{
    if (!tmpl_step(r, s->n / 16))
        return;
    const bool use_double = s->n && memchr(s->p, '\'', s->n) && !memchr(s->p, '"', s->n);
    const char quote = use_double ? '"' : '\'';
    (void)buf_putc(out, quote);
    for (size_t i = 0; i < s->n;) {
        uint32_t cp;
        const size_t len = utf8_decode(s->p + i, s->n - i, &cp);
        if (cp == (unsigned char)quote || cp == '\\')
            (void)buf_printf(out, "\\%c", (char)cp);
        else if (cp == '\n' || cp == '\r' || cp == '\t')
            (void)buf_puts(out, cp == '\n' ? "\\n" : cp == '\r' ? "\\r" : "\\t");
        else if (!tmpl_is_printable(cp))
            put_cp_escape(cp, out);
        else
            (void)buf_append(out, s->p + i, len);
        i += len;
    }
    (void)buf_putc(out, quote);
}

static void put_items(trun *r, const tlist *l, buf *out)
{
    for (size_t i = 0; i < l->n && !r->fail && !out->fail; i++) {
        if (i)
            (void)buf_puts(out, ", ");
        tmpl_put_repr(r, l->items[i], out);
    }
}

static void put_dict(trun *r, const tdict *d, buf *out)
{
    (void)buf_putc(out, '{');
    for (size_t i = 0; i < d->n && !r->fail && !out->fail; i++) {
        if (i)
            (void)buf_puts(out, ", ");
        tmpl_put_repr(r, d->entries[i].key, out);
        (void)buf_puts(out, ": ");
        tmpl_put_repr(r, d->entries[i].value, out);
    }
    (void)buf_putc(out, '}');
}

static void put_view(trun *r, tval v, buf *out)
{
    const tlist *l = tmpl_iter(r, v);
    (void)buf_printf(out, "%s([", tmpl_type(v));
    if (l)
        put_items(r, l, out);
    (void)buf_puts(out, "])");
}

static void put_range(const trange *g, buf *out)
{
    (void)buf_printf(out, "range(%" PRId64 ", %" PRId64, g->start, g->stop);
    if (g->step != 1)
        (void)buf_printf(out, ", %" PRId64, g->step);
    (void)buf_putc(out, ')');
}

static void put_macro(trun *r, const tmacro *m, buf *out)
{
    (void)buf_puts(out, "<Macro ");
    if (m->sig->name)
        put_string_repr(r, m->sig->name, out);
    else
        (void)buf_puts(out, "anonymous");
    (void)buf_putc(out, '>');
}

static void put_compound(trun *r, tval v, buf *out)
{
    switch (v.kind) {
    case V_LIST:
    case V_TUPLE:
        (void)buf_putc(out, v.kind == V_LIST ? '[' : '(');
        put_items(r, v.u.list, out);
        if (v.kind == V_TUPLE && v.u.list->n == 1)
            (void)buf_putc(out, ',');
        (void)buf_putc(out, v.kind == V_LIST ? ']' : ')');
        break;
    case V_DICT:
        put_dict(r, v.u.dict, out);
        break;
    case V_SPACE:
        (void)buf_puts(out, "<Namespace ");
        put_dict(r, v.u.dict, out);
        (void)buf_putc(out, '>');
        break;
    case V_VIEW:
        put_view(r, v, out);
        break;
    case V_LOOP:
        (void)buf_printf(out, "<LoopContext %zu/%zu>", v.u.loop->i + 1, v.u.loop->items->n);
        break;
    case V_MACRO:
        put_macro(r, v.u.macro, out);
        break;
    default: /* Python prints an address here, which no template can mean */
        (void)buf_printf(out, "<%s object>", tmpl_type(v));
    }
}

void tmpl_put_repr(trun *r, tval v, buf *out)
{
    char number[JSON_DOUBLE_BYTES];
    switch (v.kind) {
    case V_ABSENT:
    case V_UNDEF:
        (void)buf_puts(out, "Undefined");
        return;
    case V_NONE:
        (void)buf_puts(out, "None");
        return;
    case V_BOOL:
        (void)buf_puts(out, v.u.b ? "True" : "False");
        return;
    case V_INT:
        (void)buf_printf(out, "%" PRId64, v.u.i);
        return;
    case V_BIG:
        (void)buf_append(out, v.u.s->p, v.u.s->n);
        return;
    case V_FLOAT:
        (void)buf_append(out, number, json_format_double(v.u.f, number));
        return;
    case V_STR:
        if (v.markup)
            (void)buf_puts(out, "Markup(");
        put_string_repr(r, v.u.s, out);
        if (v.markup)
            (void)buf_putc(out, ')');
        return;
    case V_RANGE:
        put_range(v.u.range, out);
        return;
    default:
        break;
    }
    if (!tmpl_enter(r))
        return;
    put_compound(r, v, out);
    tmpl_leave(r);
}

void tmpl_put_str(trun *r, tval v, buf *out)
{
    if (r->fail || v.kind == V_UNDEF)
        return;
    if (v.kind == V_STR)
        (void)buf_append(out, v.u.s->p, v.u.s->n);
    else
        tmpl_put_repr(r, v, out);
}

static const tstr *collect(trun *r, tval v, void (*put)(trun *r, tval v, buf *out))
{
    buf b;
    buf_init(&b, r->mem.max_bytes);
    put(r, v, &b);
    const tval s = tmpl_buf_str(r, &b);
    return s.kind == V_STR ? s.u.s : NULL;
}

const tstr *tmpl_to_str(trun *r, tval v)
{
    return v.kind == V_STR ? v.u.s : collect(r, v, tmpl_put_str);
}

const tstr *tmpl_to_repr(trun *r, tval v)
{
    return collect(r, v, tmpl_put_repr);
}

/* ---- json.dumps ---- */

typedef struct jwriter {
    trun *r;
    const tjson_style *style;
    buf *out;
    uint32_t depth;
} jwriter;

static void json_ascii(const tstr *s, buf *out)
{
    (void)buf_putc(out, '"');
    for (size_t i = 0; i < s->n;) {
        uint32_t cp;
        i += utf8_decode(s->p + i, s->n - i, &cp);
        static const char special[] = "\"\\\n\r\t\b\f";
        static const char letters[] = "\"\\nrtbf";
        const char *at = cp > 0 && cp < 0x80 ? strchr(special, (int)cp) : NULL;
        if (at)
            (void)buf_printf(out, "\\%c", letters[at - special]);
        else if (cp >= 0x20 && cp < 0x7F)
            (void)buf_putc(out, (char)cp);
        else if (cp >= 0x10000)
            (void)buf_printf(out, "\\u%04x\\u%04x", 0xD800 + ((cp - 0x10000) >> 10),
                             0xDC00 + ((cp - 0x10000) & 0x3FF));
        else
            (void)buf_printf(out, "\\u%04x", cp);
    }
    (void)buf_putc(out, '"');
}

static void json_string(const jwriter *w, const tstr *s)
{
    if (!tmpl_step(w->r, s->n / 16))
        return;
    if (w->style->ascii)
        json_ascii(s, w->out);
    else
        (void)json_write_string(s->p, s->n, w->out);
}

static void json_float(double f, buf *out)
{
    char text[JSON_DOUBLE_BYTES];
    if (isnan(f))
        (void)buf_puts(out, "NaN");
    else if (isinf(f))
        (void)buf_puts(out, f > 0 ? "Infinity" : "-Infinity");
    else
        (void)buf_append(out, text, json_format_double(f, text));
}

static void new_line(const jwriter *w)
{
    if (!w->style->indent)
        return;
    (void)buf_putc(w->out, '\n');
    for (uint32_t i = 0; i < w->depth && !w->out->fail; i++)
        (void)buf_append(w->out, w->style->indent->p, w->style->indent->n);
}

static void json_value_of(jwriter *w, tval v);

static void json_key(jwriter *w, tval key)
{
    switch (key.kind) {
    case V_STR:
        json_string(w, key.u.s);
        break;
    case V_NONE:
    case V_BOOL:
    case V_INT:
    case V_BIG:
    case V_FLOAT:
        (void)buf_putc(w->out, '"');
        json_value_of(w, key);
        (void)buf_putc(w->out, '"');
        break;
    default:
        (void)tmpl_fail(w->r, "keys must be str, int, float, bool or None, not %s", tmpl_type(key));
    }
}

static void json_list(jwriter *w, const tlist *l)
{
    (void)buf_putc(w->out, '[');
    w->depth++;
    for (size_t i = 0; i < l->n && !w->r->fail && !w->out->fail; i++) {
        if (i)
            (void)buf_append(w->out, w->style->item->p, w->style->item->n);
        new_line(w);
        json_value_of(w, l->items[i]);
    }
    w->depth--;
    if (l->n)
        new_line(w);
    (void)buf_putc(w->out, ']');
}

static void json_dict(jwriter *w, const tdict *d)
{
    tval *keys = tmpl_take_array(w->r, d->n, sizeof *keys);
    tval *values = tmpl_take_array(w->r, d->n, sizeof *values);
    if (!keys || !values)
        return;
    for (size_t i = 0; i < d->n; i++) {
        keys[i] = d->entries[i].key;
        values[i] = d->entries[i].value;
    }
    if (w->style->sort_keys)
        tmpl_sort(w->r, keys, values, d->n, false);
    (void)buf_putc(w->out, '{');
    w->depth++;
    for (size_t i = 0; i < d->n && !w->r->fail && !w->out->fail; i++) {
        if (i)
            (void)buf_append(w->out, w->style->item->p, w->style->item->n);
        new_line(w);
        json_key(w, keys[i]);
        (void)buf_append(w->out, w->style->key->p, w->style->key->n);
        json_value_of(w, values[i]);
    }
    w->depth--;
    if (d->n)
        new_line(w);
    (void)buf_putc(w->out, '}');
}

static void json_value_of(jwriter *w, tval v)
{
    if (!tmpl_enter(w->r))
        return;
    switch (v.kind) {
    case V_NONE:
        (void)buf_puts(w->out, "null");
        break;
    case V_BOOL:
        (void)buf_puts(w->out, v.u.b ? "true" : "false");
        break;
    case V_INT:
    case V_BIG:
        tmpl_put_repr(w->r, v, w->out);
        break;
    case V_FLOAT:
        json_float(v.u.f, w->out);
        break;
    case V_STR:
        json_string(w, v.u.s);
        break;
    case V_LIST:
    case V_TUPLE:
        json_list(w, v.u.list);
        break;
    case V_DICT:
        json_dict(w, v.u.dict);
        break;
    default:
        (void)tmpl_fail(w->r, "Object of type %s is not JSON serializable", tmpl_type(v));
    }
    tmpl_leave(w->r);
}

void tmpl_put_json(trun *r, tval v, const tjson_style *style, buf *out)
{
    jwriter w = {.r = r, .style = style, .out = out};
    json_value_of(&w, v);
}
