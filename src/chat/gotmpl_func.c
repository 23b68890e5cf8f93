/* The functions a template may call: Go's built-in ones and Ollama's. */
#include "chat/gotmpl_int.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/utf8.h"

/* ---- index, slice, len ---- */

static bool index_of(grun *r, gval index, size_t cap, size_t *out)
{
    if (!index.type && !index.iface) {
        (void)grun_call_fail(r, "cannot index slice/array with nil"); /* stays in r, as below */
        return false;
    }
    if (index.iface || (index.type->kind != G_INT && index.type->kind != G_UINT8)) {
        (void)grun_call_fail(r, "cannot index slice/array with type %s", gval_type_name(index));
        return false;
    }
    if (index.u.i < 0 || (uint64_t)index.u.i > cap) {
        (void)grun_call_fail(r, "index out of range: %lld", (long long)index.u.i);
        return false;
    }
    *out = (size_t)index.u.i;
    return true;
}

static size_t length_of(gval v)
{
    return v.type->kind == G_STRING ? v.u.s.n : v.type->kind == G_MAP ? v.u.m.n : v.u.l.n;
}

static gval index_list(grun *r, gval item, gval index)
{
    const size_t n = length_of(item);
    const bool text = item.type->kind == G_STRING;
    size_t i;
    if (!index_of(r, index, n, &i))
        return gval_none();
    if (i == n) /* past Go's own check, so its reflect package panics */
        return grun_call_fail(r, "reflect: %s index out of range", text ? "string" : "slice");
    if (!text)
        return gval_elem(item, i);
    return (gval){.type = &gotmpl_uint8, .u.i = (unsigned char)item.u.s.p[i]};
}

static gval index_map(grun *r, gval item, gval index)
{
    gval v;
    if (!index.type)
        return grun_call_fail(r, "value is nil; should be of type string");
    if (index.type->kind != G_STRING)
        return grun_call_fail(r, "value has type %s; should be string", index.type->name);
    return gval_lookup(item, index.u.s, &v) ? v : gval_zero(item.type->elem);
}

static gval call_index(grun *r, const gval *argv, size_t n)
{
    gval item = gval_unwrap(argv[0]);
    if (!item.type)
        return grun_call_fail(r, "index of untyped nil");
    for (size_t i = 1; i < n && !r->call_failed; i++) {
        bool nil;
        item = gval_indirect(item, &nil);
        if (nil)
            return grun_call_fail(r, "index of nil pointer");
        const gkind kind = item.type->kind;
        if (kind == G_SLICE || kind == G_STRING)
            item = index_list(r, item, gval_unwrap(argv[i]));
        else if (kind == G_MAP)
            item = index_map(r, item, gval_unwrap(argv[i]));
        else
            return grun_call_fail(r, "can't index item of type %s", item.type->name);
    }
    return item;
}

static gval cut(gval item, const size_t at[3], bool three)
{
    if (item.type->kind == G_STRING) {
        item.u.s = (gstr){item.u.s.p + at[0], at[1] - at[0]};
        return item;
    }
    if (at[0])
        item.u.l.items += at[0];
    item.u.l.n = at[1] - at[0];
    item.u.l.cap = (three ? at[2] : item.u.l.cap) - at[0];
    return item;
}

static gval call_slice(grun *r, const gval *argv, size_t n)
{
    bool nil;
    if (!argv[0].type)
        return grun_call_fail(r, "slice of untyped nil");
    const gval item = gval_indirect(argv[0], &nil);
    if (nil)
        return grun_call_fail(r, "slice of nil pointer");
    if (n > 4)
        return grun_call_fail(r, "too many slice indexes: %zu", n - 1);
    if (item.type->kind != G_STRING && item.type->kind != G_SLICE)
        return grun_call_fail(r, "can't slice item of type %s", item.type->name);
    if (item.type->kind == G_STRING && n == 4)
        return grun_call_fail(r, "cannot 3-index slice a string");
    size_t at[3] = {0, length_of(item), 0};
    const size_t cap = item.type->kind == G_STRING ? at[1] : item.u.l.cap;
    for (size_t i = 1; i < n; i++)
        if (!index_of(r, argv[i], cap, &at[i - 1])) /* Go does not look into interfaces here */
            return gval_none();
    if (at[0] > at[1])
        return grun_call_fail(r, "invalid slice index: %zu > %zu", at[0], at[1]);
    if (n == 4 && at[1] > at[2])
        return grun_call_fail(r, "invalid slice index: %zu > %zu", at[1], at[2]);
    return cut(item, at, n == 4);
}

static gval call_len(grun *r, const gval *argv, size_t n)
{
    (void)n; /* one: the table says so */
    bool nil;
    const gval item = gval_indirect(argv[0], &nil);
    if (nil)
        return grun_call_fail(r, "len of nil pointer");
    if (!item.type) /* reflect's text: Go asks a value that is none for its type */
        return grun_call_fail(r, "reflect: call of reflect.Value.Type on zero Value");
    if (item.type->kind != G_STRING && item.type->kind != G_SLICE && item.type->kind != G_MAP)
        return grun_call_fail(r, "len of type %s", item.type->name);
    return gval_int((int64_t)length_of(item));
}

static gval call_not(grun *r, const gval *argv, size_t n)
{
    (void)r; /* cannot fail */
    (void)n; /* one */
    return gval_bool(!gval_true(argv[0]));
}

/* ---- comparison ---- */

static bool is_basic(gval v)
{
    return v.type && v.type->kind <= G_STRING;
}

static gval not_comparable(grun *r, gval v, const char *fmt)
{
    buf b;
    buf_init(&b, GOTMPL_ERROR_BYTES);
    gotmpl_print_verb(v, 's', &b);
    (void)grun_call_fail(r, fmt, b.data ? b.data : "", v.type->name); /* stays in r */
    buf_done(&b);
    return gval_none();
}

/* Go compares kinds: int and uint8 are two, but may be compared with each other. */
static bool same_basic(gval a, gval b)
{
    switch (a.type->kind) {
    case G_BOOL:
        return a.u.b == b.u.b;
    case G_FLOAT:
        return a.u.f == b.u.f;
    case G_COMPLEX:
        return a.u.c.re == b.u.c.re && a.u.c.im == b.u.c.im;
    case G_STRING:
        return gstr_same(a.u.s, b.u.s);
    default:
        return a.u.i == b.u.i;
    }
}

static void charge_strings(grun *r, gval a, gval b)
{
    if (a.type && b.type && a.type->kind == G_STRING && b.type->kind == G_STRING)
        grun_charge(r, a.u.s.n < b.u.s.n ? a.u.s.n : b.u.s.n);
}

static bool both_whole(gval a, gval b)
{
    return (a.type->kind == G_INT || a.type->kind == G_UINT8) &&
           (b.type->kind == G_INT || b.type->kind == G_UINT8);
}

/* Neither has a basic kind. */
static bool same_other(grun *r, gval a, gval b)
{
    if (a.type && b.type && a.type->kind != b.type->kind) {
        buf first;
        buf second;
        buf_init(&first, GOTMPL_ERROR_BYTES);
        buf_init(&second, GOTMPL_ERROR_BYTES);
        gotmpl_print_verb(a, 's', &first);
        gotmpl_print(b, &second);
        (void)grun_call_fail(r, "non-comparable types %s: %s, %s: %s", /* stays in r */
                             first.data ? first.data : "", a.type->name, b.type->name,
                             second.data ? second.data : "");
        buf_done(&first);
        buf_done(&second);
        return false;
    }
    if (gval_is_nil(a) || gval_is_nil(b))
        return gval_is_nil(a) == gval_is_nil(b);
    if (b.type->kind != G_PTR) {
        (void)not_comparable(r, b, "non-comparable type %s: %s"); /* stays in r */
        return false;
    }
    return a.u.ref == b.u.ref;
}

static gval call_eq(grun *r, const gval *argv, size_t n)
{
    const gval a = gval_unwrap(argv[0]);
    bool same = false;
    if (n == 1)
        return grun_call_fail(r, "missing argument for comparison");
    for (size_t i = 1; i < n && !same && !r->call_failed; i++) {
        const gval b = gval_unwrap(argv[i]);
        charge_strings(r, a, b);
        if (!is_basic(a) && !is_basic(b))
            same = same_other(r, a, b);
        else if (is_basic(a) && is_basic(b) && (a.type->kind == b.type->kind || both_whole(a, b)))
            same = same_basic(a, b);
        else if (a.type && b.type)
            return grun_call_fail(r, "incompatible types for comparison: %s and %s", a.type->name,
                                  b.type->name);
    }
    return gval_bool(same);
}

static gval call_ne(grun *r, const gval *argv, size_t n)
{
    gval v = call_eq(r, argv, n);
    v.u.b = !v.u.b;
    return v;
}

/* -1, 0, 1, or 2 where floats have no order; false after an error. */
static bool order(grun *r, const gval *argv, int *out)
{
    const gval a = gval_unwrap(argv[0]);
    const gval b = gval_unwrap(argv[1]);
    charge_strings(r, a, b);
    if (!is_basic(a) || !is_basic(b)) {
        (void)grun_call_fail(r, "invalid type for comparison"); /* stays in r, as below */
        return false;
    }
    if (a.type->kind != b.type->kind && !both_whole(a, b)) {
        (void)grun_call_fail(r, "incompatible types for comparison: %s and %s", a.type->name,
                             b.type->name);
        return false;
    }
    switch (a.type->kind) {
    case G_BOOL:
    case G_COMPLEX:
        (void)grun_call_fail(r, "invalid type for comparison");
        return false;
    case G_FLOAT:
        *out = a.u.f < b.u.f ? -1 : a.u.f > b.u.f ? 1 : a.u.f == b.u.f ? 0 : 2;
        return true;
    case G_STRING: {
        const size_t n = a.u.s.n < b.u.s.n ? a.u.s.n : b.u.s.n;
        const int c = n ? memcmp(a.u.s.p, b.u.s.p, n) : 0;
        *out = c ? (c > 0) - (c < 0) : (a.u.s.n > b.u.s.n) - (a.u.s.n < b.u.s.n);
        return true;
    }
    default:
        *out = (a.u.i > b.u.i) - (a.u.i < b.u.i);
        return true;
    }
}

static gval call_lt(grun *r, const gval *argv, size_t n)
{
    int c = 0;
    (void)n; /* two */
    return order(r, argv, &c) ? gval_bool(c == -1) : gval_none();
}

static gval call_le(grun *r, const gval *argv, size_t n)
{
    int c = 0;
    (void)n; /* two */
    return order(r, argv, &c) ? gval_bool(c == -1 || c == 0) : gval_none();
}

/* gt and ge are the opposites of le and lt, also where nothing has an order. */
static gval call_gt(grun *r, const gval *argv, size_t n)
{
    int c = 0;
    (void)n; /* two */
    return order(r, argv, &c) ? gval_bool(!(c == -1 || c == 0)) : gval_none();
}

static gval call_ge(grun *r, const gval *argv, size_t n)
{
    int c = 0;
    (void)n; /* two */
    return order(r, argv, &c) ? gval_bool(c != -1) : gval_none();
}

/* ---- text ---- */

static gval call_print(grun *r, const gval *argv, size_t n)
{
    buf b;
    buf_init(&b, r->mem.max_bytes);
    gotmpl_sprint(argv, n, false, &b);
    return grun_text(r, &b);
}

static gval call_println(grun *r, const gval *argv, size_t n)
{
    buf b;
    buf_init(&b, r->mem.max_bytes);
    gotmpl_sprint(argv, n, true, &b);
    return grun_text(r, &b);
}

static gval call_printf(grun *r, const gval *argv, size_t n)
{
    buf b;
    buf_init(&b, r->mem.max_bytes);
    gotmpl_sprintf(argv[0].u.s, argv + 1, n - 1, &b);
    return grun_text(r, &b);
}

/* What html, js and urlquery escape: a string as it is, all else printed. */
static void escaper_text(const gval *argv, size_t n, buf *out)
{
    bool was_string = false;
    for (size_t i = 0; i < n; i++) {
        /* a value that is missing prints as an action does, and is then a string */
        const bool is_string = !argv[i].type || argv[i].type->kind == G_STRING;
        if (i > 0 && !is_string && !was_string)
            (void)buf_putc(out, ' '); /* sticks in out */
        gotmpl_print_action(gval_unwrap(argv[i]), out);
        was_string = is_string;
    }
}

static void put_html(buf *in, buf *out)
{
    for (size_t i = 0; i < in->n; i++) {
        const char c = in->data[i];
        const char *text = c == '"'    ? "&#34;"
                           : c == '\'' ? "&#39;"
                           : c == '&'  ? "&amp;"
                           : c == '<'  ? "&lt;"
                           : c == '>'  ? "&gt;"
                           : c == '\0' ? "\xEF\xBF\xBD"
                                       : NULL;
        if (text)
            (void)buf_puts(out, text); /* sticks in out, as below */
        else
            (void)buf_putc(out, c);
    }
}

static void put_js(buf *in, buf *out)
{
    const gstr s = {in->data, in->n};
    for (size_t i = 0; i < s.n;) {
        uint32_t cp;
        const size_t n = gotmpl_decode(s, i, &cp);
        if (cp == '\\' || cp == '\'' || cp == '"')
            (void)buf_printf(out, "\\%c", (int)cp);
        else if (cp == 0x7F || (gotmpl_is_print(cp) && !(cp < 0x80 && strchr("<>&=", (int)cp))))
            (void)buf_append(out, s.p + i, n);
        else
            (void)buf_printf(out, "\\u%04X", (unsigned)cp);
        i += n;
    }
}

static void put_query(buf *in, buf *out)
{
    for (size_t i = 0; i < in->n; i++) {
        const unsigned char c = (unsigned char)in->data[i];
        const bool plain = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') ||
                           c == '-' || c == '_' || c == '.' || c == '~';
        if (plain)
            (void)buf_putc(out, (char)c);
        else if (c == ' ')
            (void)buf_putc(out, '+');
        else
            (void)buf_printf(out, "%%%02X", c);
    }
}

static gval escape(grun *r, const gval *argv, size_t n, void (*put)(buf *in, buf *out))
{
    buf in;
    buf out;
    buf_init(&in, r->mem.max_bytes);
    buf_init(&out, r->mem.max_bytes);
    escaper_text(argv, n, &in);
    if (in.n)
        put(&in, &out);
    if (in.fail)
        out.fail = in.fail;
    buf_done(&in);
    return grun_text(r, &out);
}

static gval call_html(grun *r, const gval *argv, size_t n)
{
    return escape(r, argv, n, put_html);
}

static gval call_js(grun *r, const gval *argv, size_t n)
{
    return escape(r, argv, n, put_js);
}

static gval call_urlquery(grun *r, const gval *argv, size_t n)
{
    return escape(r, argv, n, put_query);
}

/* ---- Ollama's ---- */

static gval call_json(grun *r, const gval *argv, size_t n)
{
    (void)n; /* one */
    buf b;
    buf_init(&b, r->mem.max_bytes);
    if (!gotmpl_json(argv[0], &b))
        buf_clear(&b); /* what cannot be written gives an empty text */
    return grun_text(r, &b);
}

static gval date(grun *r, int days)
{
    struct tm tm;
    char text[64] = "";
    const time_t now = (time_t)r->now_s;
    if (localtime_r(&now, &tm)) {
        tm.tm_mday += days;
        tm.tm_hour = 12; /* no change of the clocks moves noon to another day */
        tm.tm_isdst = -1;
        (void)mktime(&tm); /* brings the day back into its month */
        (void)snprintf(text, sizeof text, "%04d-%02d-%02d", tm.tm_year + 1900, tm.tm_mon + 1,
                       tm.tm_mday);
    }
    char *copy = arena_copy(&r->mem, text, strlen(text));
    return copy ? gval_string((gstr){copy, strlen(copy)}) : grun_nomem(r);
}

static gval call_current_date(grun *r, const gval *argv, size_t n)
{
    (void)argv; /* a format, which Ollama ignores too */
    (void)n;
    return date(r, 0);
}

static gval call_yesterday_date(grun *r, const gval *argv, size_t n)
{
    (void)argv; /* as above */
    (void)n;
    return date(r, -1);
}

static const char *script_name(gstr type)
{
    static const char *const names[][2] = {
        {"string", "string"},   {"number", "number"}, {"integer", "number"},
        {"boolean", "boolean"}, {"array", "any[]"},   {"object", "Record<string, any>"},
        {"null", "null"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (gstr_is(type, names[i][0]))
            return names[i][1];
    return "any";
}

static gval field_named(gval v, const char *name)
{
    for (size_t i = 0; i < v.type->n_field; i++)
        if (strcmp(v.type->fields[i].name, name) == 0)
            return gval_field(v, i);
    return gval_none();
}

/* The depth is that of the data, which json.h bounds. */
static void put_script_type(gval property, buf *out)
{
    const gval any_of = field_named(property, "AnyOf");
    const gval type = field_named(property, "Type");
    for (size_t i = 0; i < any_of.u.l.n; i++) {
        (void)buf_puts(out, i ? " | " : ""); /* sticks in out, as below */
        put_script_type(gval_elem(any_of, i), out);
    }
    for (size_t i = 0; i < type.u.l.n && any_of.u.l.n == 0; i++)
        (void)buf_printf(out, "%s%s", i ? " | " : "", script_name(gval_elem(type, i).u.s));
    if (any_of.u.l.n == 0 && type.u.l.n == 0)
        (void)buf_puts(out, "any");
}

gval gotmpl_script_type(grun *r, gval property)
{
    buf b;
    buf_init(&b, r->mem.max_bytes);
    put_script_type(property, &b);
    return grun_text(r, &b);
}

static gval call_script_type(grun *r, const gval *argv, size_t n)
{
    (void)n; /* one */
    bool nil;
    const gval v = gval_indirect(argv[0], &nil);
    if (nil || !v.type || !v.type->script_type)
        return gval_string(GSTR("any"));
    return gotmpl_script_type(r, v);
}

/* ---- the table ---- */

/* fn NULL: gotmpl_eval.c does it, since its arguments are not all looked at, or are told. */
static const gfunc functions[] = {
    {"and", NULL, 1, true, GP_VALUE, GP_VALUE},
    {"call", NULL, 1, true, GP_VALUE, GP_VALUE},
    {"currentDate", call_current_date, 0, true, GP_STRING, GP_STRING},
    {"eq", call_eq, 1, true, GP_VALUE, GP_VALUE},
    {"ge", call_ge, 2, false, GP_VALUE, GP_VALUE},
    {"gt", call_gt, 2, false, GP_VALUE, GP_VALUE},
    {"html", call_html, 0, true, GP_ANY, GP_ANY},
    {"index", call_index, 1, true, GP_VALUE, GP_VALUE},
    {"js", call_js, 0, true, GP_ANY, GP_ANY},
    {"json", call_json, 1, false, GP_ANY, GP_ANY},
    {"le", call_le, 2, false, GP_VALUE, GP_VALUE},
    {"len", call_len, 1, false, GP_VALUE, GP_VALUE},
    {"lt", call_lt, 2, false, GP_VALUE, GP_VALUE},
    {"ne", call_ne, 2, false, GP_VALUE, GP_VALUE},
    {"not", call_not, 1, false, GP_VALUE, GP_VALUE},
    {"or", NULL, 1, true, GP_VALUE, GP_VALUE},
    {"print", call_print, 0, true, GP_ANY, GP_ANY},
    {"printf", call_printf, 1, true, GP_STRING, GP_ANY},
    {"println", call_println, 0, true, GP_ANY, GP_ANY},
    {"slice", call_slice, 1, true, GP_VALUE, GP_VALUE},
    {"toTypeScriptType", call_script_type, 1, false, GP_ANY, GP_ANY},
    {"urlquery", call_urlquery, 0, true, GP_ANY, GP_ANY},
    {"yesterdayDate", call_yesterday_date, 0, true, GP_STRING, GP_STRING},
};

const gfunc *gotmpl_find_func(gstr name)
{
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (gstr_is(name, functions[i].name))
            return &functions[i];
    return NULL;
}
