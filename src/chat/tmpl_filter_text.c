/* Filters that make text or numbers of one value. */
#include "chat/tmpl_int.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

static const tval undefined = {.kind = V_UNDEF};

static tval recase(trun *r, const tcall *c, tcase how)
{
    const tstr *s = tmpl_to_str(r, c->self);
    tval v = s ? tmpl_recase(r, s, how) : undefined;
    v.markup = c->self.markup && c->self.kind == V_STR && v.kind == V_STR;
    return v;
}

static tval f_upper(trun *r, tcall *c)
{
    return recase(r, c, CASE_UPPER);
}

static tval f_lower(trun *r, tcall *c)
{
    return recase(r, c, CASE_LOWER);
}

static tval f_capitalize(trun *r, tcall *c)
{
    return recase(r, c, CASE_CAPITALIZE);
}

static bool splits_title(uint32_t cp)
{
    return tmpl_is_space(cp) || (cp < 0x80 && cp && strchr("-({[<", (int)cp));
}

/* Words begin after white space and - ( { [ <, not after any other sign, unlike str.title(). */
static tval f_title(trun *r, tcall *c)
{
    const tstr *s = tmpl_to_str(r, c->self);
    tval out = tmpl_text(r, "");
    size_t from = 0;
    while (s && from < s->n && !r->fail) {
        uint32_t cp;
        (void)utf8_decode(s->p + from, s->n - from, &cp); /* its length comes again below */
        const bool sign = splits_title(cp);
        size_t to = from;
        while (to < s->n) {
            const size_t len = utf8_decode(s->p + to, s->n - to, &cp);
            if (splits_title(cp) != sign)
                break;
            to += len;
        }
        const tval part = tmpl_str_static(r, s->p + from, to - from);
        const tval word =
            part.kind == V_STR ? tmpl_recase(r, part.u.s, CASE_CAPITALIZE) : undefined;
        if (word.kind == V_STR && out.kind == V_STR)
            out = tmpl_concat(r, out.u.s, word.u.s);
        from = to;
    }
    return out;
}

static tval f_trim(trun *r, tcall *c)
{
    const tstr *s = tmpl_to_str(r, c->self);
    const tval chars = c->in[0];
    const bool given = chars.kind != V_ABSENT && chars.kind != V_NONE;
    const tstr *set = given ? tmpl_arg_str(r, chars, "trim") : NULL;
    tval v = s && !r->fail ? tmpl_strip(r, s, set, 3) : undefined;
    v.markup = c->self.markup && c->self.kind == V_STR && v.kind == V_STR;
    return v;
}

static tval f_string(trun *r, tcall *c)
{
    if (c->self.kind == V_STR)
        return c->self;
    return tmpl_str_val(tmpl_to_str(r, c->self));
}

static tval f_safe(trun *r, tcall *c)
{
    tval v = tmpl_str_val(tmpl_to_str(r, c->self));
    v.markup = v.kind == V_STR;
    return v;
}

static tval f_escape(trun *r, tcall *c)
{
    tval v = tmpl_str_val(tmpl_escape(r, c->self));
    v.markup = v.kind == V_STR;
    return v;
}

static tval f_forceescape(trun *r, tcall *c)
{
    c->self.markup = false;
    return f_escape(r, c);
}

static tval f_replace(trun *r, tcall *c)
{
    const tstr *s = tmpl_to_str(r, c->self);
    const tstr *from = tmpl_to_str(r, c->in[0]);
    const tstr *to = tmpl_to_str(r, c->in[1]);
    const int64_t count = c->in[2].kind == V_NONE ? -1 : tmpl_arg_int(r, c->in[2], -1, "replace");
    if (!s || !from || !to || r->fail)
        return undefined;
    return tmpl_replace(r, s, from, to, count);
}

static const tstr *spaces(trun *r, int64_t n)
{
    const tval s = tmpl_binary(r, OP_MUL, tmpl_text(r, " "), tmpl_int(n));
    return s.kind == V_STR ? s.u.s : NULL;
}

static tval f_indent(trun *r, tcall *c)
{
    const tstr *s = tmpl_arg_str(r, c->self, "indent");
    const tval width = c->in[0];
    const tstr *by =
        width.kind == V_STR ? width.u.s : spaces(r, tmpl_arg_int(r, width, 4, "indent"));
    const bool blank = tmpl_truth(r, c->in[2]);
    buf b;
    if (!s || !by || r->fail)
        return undefined;
    buf_init(&b, r->mem.max_bytes);
    const tval whole = tmpl_concat(r, s, tmpl_text(r, "\n").u.s);
    const tlist *lines = whole.kind == V_STR ? tmpl_splitlines(r, whole.u.s, false) : NULL;
    for (size_t i = 0; lines && i < lines->n; i++) {
        const tstr *line = lines->items[i].u.s;
        if (i)
            (void)buf_putc(&b, '\n'); /* sticks in b */
        if (i ? line->n || blank : tmpl_truth(r, c->in[1]))
            (void)buf_append(&b, by->p, by->n);
        (void)buf_append(&b, line->p, line->n);
    }
    return tmpl_buf_str(r, &b);
}

static tval f_center(trun *r, tcall *c)
{
    static const tstr name = {"center", 6, 6};
    const tstr *s = tmpl_to_str(r, c->self);
    const tval width = c->in[0].kind == V_ABSENT ? tmpl_int(80) : c->in[0];
    tcall method = {.self = tmpl_str_val(s), .pos = &width, .n_pos = 1};
    return s ? tmpl_call_builtin(r, tmpl_find_str_method(&name), &method) : undefined;
}

static tval f_truncate(trun *r, tcall *c)
{
    const int64_t length = tmpl_arg_int(r, c->in[0], 255, "truncate");
    const tval end_val = c->in[2].kind == V_ABSENT ? tmpl_text(r, "...") : c->in[2];
    const tstr *end = tmpl_arg_str(r, end_val, "truncate");
    const int64_t leeway = c->in[3].kind == V_NONE ? 5 : tmpl_arg_int(r, c->in[3], 5, "truncate");
    const tval n = tmpl_len(r, c->self); /* a short list passes too */
    if (!end || r->fail)
        return undefined;
    if (length < (int64_t)end->n_cp || leeway < 0)
        return tmpl_fail(r, "truncate: expected length >= %zu", end->n_cp);
    if (leeway > INT64_MAX - length || n.u.i <= length + leeway)
        return c->self;
    const tstr *s = tmpl_arg_str(r, c->self, "truncate");
    if (!s)
        return undefined;
    tval head = tmpl_substr(r, s, 0, (size_t)length - end->n_cp);
    if (head.kind != V_STR)
        return undefined;
    if (!tmpl_truth(r, c->in[1])) {
        size_t cut = head.u.s->n;
        while (cut > 0 && head.u.s->p[cut - 1] != ' ')
            cut--;
        if (cut > 0)
            head = tmpl_str_static(r, head.u.s->p, cut - 1);
    }
    return head.kind == V_STR ? tmpl_concat(r, head.u.s, end) : undefined;
}

static tval f_wordcount(trun *r, tcall *c)
{
    const tstr *s = tmpl_to_str(r, c->self);
    int64_t n = 0;
    bool in_word = false;
    for (size_t i = 0; s && i < s->n;) {
        uint32_t cp;
        i += utf8_decode(s->p + i, s->n - i, &cp);
        const bool word = tmpl_is_word(cp);
        n += word && !in_word;
        in_word = word;
    }
    return tmpl_int(n);
}

static tval f_format(trun *r, tcall *c)
{
    const tstr *s = tmpl_to_str(r, c->self);
    if (!s)
        return undefined;
    if (c->n_kw && c->n_pos)
        return tmpl_fail(r, "can't handle positional and keyword arguments at the same time");
    if (c->n_kw) {
        tdict *d = tmpl_dict_new(r);
        for (size_t i = 0; i < c->n_kw && !r->fail; i++)
            (void)tmpl_dict_put(r, d, tmpl_str_val(c->kw[i].name), c->kw[i].value); /* sticks */
        return tmpl_percent(r, s, (tval){.kind = d ? V_DICT : V_UNDEF, .u.dict = d});
    }
    tlist *l = tmpl_list_new(r, c->n_pos);
    for (size_t i = 0; i < c->n_pos && !r->fail; i++)
        (void)tmpl_list_add(r, l, c->pos[i]);
    return tmpl_percent(r, s, tmpl_tuple_val(l));
}

/* ---- urlencode ---- */

static void put_quoted(const tstr *s, bool query, buf *out)
{
    for (size_t i = 0; i < s->n; i++) {
        const char ch = s->p[i];
        const bool plain = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') ||
                           (ch >= '0' && ch <= '9') || (ch && strchr("_.-~", ch)) ||
                           (ch == '/' && !query);
        if (plain || (ch == ' ' && query))
            (void)buf_putc(out, plain ? ch : '+'); /* sticks in out */
        else
            (void)buf_printf(out, "%%%02X", (unsigned char)ch);
    }
}

static tval f_urlencode(trun *r, tcall *c)
{
    buf b;
    buf_init(&b, r->mem.max_bytes);
    if (c->self.kind == V_STR || !(tmpl_has_len(c->self) || c->self.kind == V_GEN)) {
        const tstr *s = tmpl_to_str(r, c->self);
        if (s)
            put_quoted(s, false, &b);
        return tmpl_buf_str(r, &b);
    }
    tview items = {.dict = c->self.u.dict, .of = VIEW_ITEMS};
    const tval pairs = c->self.kind == V_DICT ? (tval){.kind = V_VIEW, .u.view = &items} : c->self;
    const tlist *l = tmpl_iter(r, pairs);
    for (size_t i = 0; l && i < l->n && !r->fail; i++) {
        const tlist *pair = tmpl_iter(r, l->items[i]);
        if (!pair || pair->n != 2) {
            (void)tmpl_fail(r, "urlencode wants pairs"); /* sticks in r */
            break;
        }
        if (i)
            (void)buf_putc(&b, '&');
        const tstr *key = tmpl_to_str(r, pair->items[0]);
        const tstr *value = tmpl_to_str(r, pair->items[1]);
        if (key && value) {
            put_quoted(key, true, &b);
            (void)buf_putc(&b, '=');
            put_quoted(value, true, &b);
        }
    }
    return tmpl_buf_str(r, &b);
}

/* ---- JSON ---- */

static const tstr *json_indent(trun *r, tval v)
{
    if (v.kind == V_ABSENT || v.kind == V_NONE)
        return NULL;
    return v.kind == V_STR ? v.u.s : spaces(r, tmpl_arg_int(r, v, 0, "tojson"));
}

static tval f_tojson(trun *r, tcall *c)
{
    static const tstr comma = {",", 1, 1};
    static const tstr comma_space = {", ", 2, 2};
    static const tstr colon = {": ", 2, 2};
    tjson_style style = {.ascii = tmpl_truth(r, c->in[0]),
                         .indent = json_indent(r, c->in[1]),
                         .key = &colon,
                         .sort_keys = tmpl_truth(r, c->in[3])};
    style.item = style.indent ? &comma : &comma_space;
    if (c->in[2].kind != V_ABSENT && c->in[2].kind != V_NONE) {
        const tlist *l = tmpl_iter(r, c->in[2]);
        if (!l || l->n != 2)
            return tmpl_fail(r, "tojson: separators are two strings");
        style.item = tmpl_arg_str(r, l->items[0], "tojson");
        style.key = tmpl_arg_str(r, l->items[1], "tojson");
    }
    if (r->fail)
        return undefined;
    buf b;
    buf_init(&b, r->mem.max_bytes);
    tmpl_put_json(r, c->self, &style, &b);
    return tmpl_buf_str(r, &b);
}

/* Not of jinja2: templates of two DeepSeek models want json.loads. */
static tval f_from_json(trun *r, tcall *c)
{
    const tstr *s = tmpl_arg_str(r, c->self, "from_json");
    if (!s || !tmpl_step(r, s->n / 8))
        return undefined;
    arena tmp;
    arena_init(&tmp, r->mem.max_bytes);
    json_value *j = NULL;
    err_info why;
    tval v = undefined;
    const cama_err e = json_parse(s->p, s->n, &tmp, &j, &why);
    if (e == CAMA_ERR_FORMAT)
        (void)tmpl_fail(r, "from_json: %s", why.text); /* sticks in r */
    else if (e)
        tmpl_fail_code(r, e, "from_json: %s", why.text);
    else
        v = tmpl_from_json(r, j);
    arena_done(&tmp);
    return v;
}

/* ---- numbers ---- */

/* Digits with single underscores between them, as int() and float() take them. */
static bool strip_underscores(const tstr *s, char *out, size_t cap)
{
    size_t n = 0;
    if (s->n + 1 > cap)
        return false;
    for (size_t i = 0; i < s->n; i++) {
        if (s->p[i] == '_') {
            if (i == 0 || i + 1 == s->n || s->p[i + 1] == '_' || s->p[i - 1] == '_')
                return false;
            continue;
        }
        if (s->p[i] == '\0')
            return false;
        out[n++] = s->p[i];
    }
    out[n] = '\0';
    return n > 0;
}

/* int(text, base): 0 no int, 1 one, -1 one past 64 bits. */
static int parse_int(trun *r, const tstr *text, int base, int64_t *out)
{
    char digits[400];
    const tval stripped = tmpl_strip(r, text, NULL, 3);
    if (stripped.kind != V_STR || !strip_underscores(stripped.u.s, digits, sizeof digits))
        return 0;
    char *p = digits + (digits[0] == '-' || digits[0] == '+');
    const char low = (char)(p[0] == '0' ? p[1] | 0x20 : 0);
    const bool prefix = (base == 2 && low == 'b') || (base == 8 && low == 'o');
    if (prefix) /* strtoll knows 0x only */
        memmove(p, p + 2, strlen(p + 2) + 1);
    const bool hex = base == 16 && low == 'x';
    if (!hex && !(*p >= '0' && *p <= '9') && !((*p | 0x20) >= 'a' && (*p | 0x20) <= 'z'))
        return 0;
    char *end;
    errno = 0;
    *out = strtoll(digits, &end, base);
    if (*end || end == digits)
        return 0;
    return errno ? -1 : 1;
}

static bool parse_float(trun *r, const tstr *text, double *out)
{
    char digits[400];
    const tval stripped = tmpl_strip(r, text, NULL, 3);
    if (stripped.kind != V_STR || !strip_underscores(stripped.u.s, digits, sizeof digits))
        return false;
    if (strpbrk(digits, "xXpP(") != NULL) /* C's hexadecimal and nan(...) */
        return false;
    char *end;
    *out = strtod(digits, &end);
    return end != digits && *end == '\0';
}

static tval int_of_double(trun *r, double f, tval fallback)
{
    if (isnan(f))
        return fallback; /* ValueError, which the filter catches */
    if (isinf(f))
        return tmpl_fail(r, "cannot convert float infinity to integer");
    if (f >= 9223372036854775808.0 || f < -9223372036854775808.0)
        return tmpl_fail(r, "integer past 64 bits");
    return tmpl_int((int64_t)f);
}

static tval f_int(trun *r, tcall *c)
{
    const tval fallback = c->in[0].kind == V_ABSENT ? tmpl_int(0) : c->in[0];
    const int64_t base = tmpl_arg_int(r, c->in[1], 10, "int");
    const tval v = c->self;
    int64_t i;
    double f;
    if (v.kind == V_UNDEF)
        return tmpl_no_use(r, v);
    if (tmpl_is_intlike(v))
        return tmpl_int(tmpl_as_int(v));
    if (v.kind == V_BIG)
        return v;
    if (v.kind == V_FLOAT)
        return int_of_double(r, v.u.f, fallback);
    if (v.kind != V_STR || (base != 0 && (base < 2 || base > 36)))
        return fallback;
    const int got = parse_int(r, v.u.s, (int)base, &i);
    if (got > 0)
        return tmpl_int(i);
    if (got < 0)
        return tmpl_fail(r, "integer past 64 bits");
    return parse_float(r, v.u.s, &f) ? int_of_double(r, f, fallback) : fallback;
}

static tval f_float(trun *r, tcall *c)
{
    double f;
    const tval fallback = c->in[0].kind == V_ABSENT ? tmpl_float(0) : c->in[0];
    if (c->self.kind == V_UNDEF)
        return tmpl_no_use(r, c->self);
    if (tmpl_is_number(c->self))
        return tmpl_float(tmpl_as_double(c->self));
    return c->self.kind == V_STR && parse_float(r, c->self.u.s, &f) ? tmpl_float(f) : fallback;
}

static tval f_abs(trun *r, tcall *c)
{
    const tval v = c->self;
    if (v.kind == V_FLOAT)
        return tmpl_float(fabs(v.u.f));
    if (tmpl_is_intlike(v))
        return tmpl_as_int(v) < 0 ? tmpl_negate(r, v) : tmpl_int(tmpl_as_int(v));
    if (v.kind == V_UNDEF)
        return tmpl_no_use(r, v);
    return tmpl_fail(r, "bad operand type for abs(): '%s'", tmpl_type(v));
}

/* round(f, precision): the exact value, half to even, as printf rounds. */
static double round_to(double f, int64_t precision)
{
    char text[800];
    if (precision > 300 || isnan(f) || isinf(f))
        return f;
    if (precision < 0) {
        const double unit = pow(10, (double)-precision);
        return isinf(unit) ? 0 : nearbyint(f / unit) * unit;
    }
    (void)snprintf(text, sizeof text, "%.*f", (int)precision, f);
    return strtod(text, NULL);
}

static tval f_round(trun *r, tcall *c)
{
    const int64_t precision = tmpl_arg_int(r, c->in[0], 0, "round");
    const tval how = c->in[1];
    const tval v = c->self;
    if (how.kind != V_ABSENT && !tmpl_is_str(how, "common") && !tmpl_is_str(how, "ceil") &&
        !tmpl_is_str(how, "floor"))
        return tmpl_fail(r, "method must be common, ceil or floor");
    if (!tmpl_is_number(v))
        return v.kind == V_UNDEF
                   ? tmpl_no_use(r, v)
                   : tmpl_fail(r, "type %s doesn't define __round__ method", tmpl_type(v));
    if (how.kind != V_ABSENT && !tmpl_is_str(how, "common")) {
        const double unit = pow(10, (double)precision);
        const double scaled = tmpl_as_double(v) * unit;
        return tmpl_float((tmpl_is_str(how, "ceil") ? ceil(scaled) : floor(scaled)) / unit);
    }
    if (v.kind == V_FLOAT)
        return tmpl_float(round_to(v.u.f, precision));
    if (precision >= 0)
        return tmpl_int(tmpl_as_int(v));
    return int_of_double(r, round_to(tmpl_as_double(v), precision), v);
}

const tbuiltin *tmpl_find_text_filter(const tstr *name)
{
    static const tbuiltin table[] = {
        {"upper", f_upper, 0, ""},
        {"lower", f_lower, 0, ""},
        {"capitalize", f_capitalize, 0, ""},
        {"title", f_title, 0, ""},
        {"trim", f_trim, 0, "chars"},
        {"string", f_string, 0, ""},
        {"safe", f_safe, 0, ""},
        {"escape", f_escape, 0, ""},
        {"e", f_escape, 0, ""},
        {"forceescape", f_forceescape, 0, ""},
        {"replace", f_replace, 2, "old new count"},
        {"indent", f_indent, 0, "width first blank"},
        {"center", f_center, 0, "width"},
        {"truncate", f_truncate, 0, "length killwords end leeway"},
        {"wordcount", f_wordcount, 0, ""},
        {"format", f_format, 0, NULL},
        {"urlencode", f_urlencode, 0, ""},
        {"tojson", f_tojson, 0, "ensure_ascii indent separators sort_keys"},
        {"from_json", f_from_json, 0, ""},
        {"fromjson", f_from_json, 0, ""},
        {"int", f_int, 0, "default base"},
        {"float", f_float, 0, "default"},
        {"abs", f_abs, 0, ""},
        {"round", f_round, 0, "precision method"},
    };
    return tmpl_find(table, sizeof table / sizeof *table, name);
}
