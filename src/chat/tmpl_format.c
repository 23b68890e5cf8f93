/* Formatting: "%5.2f" % x, "{:>8}".format(x), and strftime. */
#include "chat/tmpl_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/utf8.h"

static const tval undefined = {.kind = V_UNDEF};

/* What both languages of formats say about one field. */
typedef struct tspec {
    const char *fill; /* one character */
    size_t n_fill;
    char align; /* < > ^ = or 0 */
    char sign;  /* + space or 0 */
    bool alternate;
    char group; /* , _ or 0 */
    int64_t width;
    int64_t precision; /* -1: none */
    char type;         /* 0: none */
} tspec;

#define MAX_WIDTH 100000 /* of a field: more is no layout but an attack */
#define MAX_PRECISION 300

static bool limit_spec(trun *r, const tspec *s)
{
    if (s->width > MAX_WIDTH || s->precision > MAX_PRECISION)
        tmpl_fail_code(r, CAMA_ERR_LIMIT, "a format is wider than %d or finer than %d", MAX_WIDTH,
                       MAX_PRECISION);
    return !r->fail;
}

static void put_fill(const tspec *s, size_t n, buf *out)
{
    for (size_t i = 0; i < n && !out->fail; i++)
        (void)buf_append(out, s->fill, s->n_fill); /* sticks in out */
}

/* text with n_sign bytes in front that '=' keeps before the fill. */
static void put_padded(const tspec *s, const char *text, size_t n, size_t n_sign, char align,
                       buf *out)
{
    const size_t n_cp = tmpl_count_cp(text, n);
    const size_t pad = s->width > (int64_t)n_cp ? (size_t)s->width - n_cp : 0;
    const size_t left = align == '<' ? 0 : align == '^' ? pad / 2 : pad;
    const size_t head = align == '=' ? n_sign : 0;
    (void)buf_append(out, text, head); /* sticks in out */
    put_fill(s, left, out);
    (void)buf_append(out, text + head, n - head);
    put_fill(s, pad - left, out);
}

/* Separators between groups of digits, in place; digits start at text + from. */
static void group_digits(char *text, size_t cap, size_t from, char sep, size_t every)
{
    size_t digits = 0;
    while (text[from + digits] && strchr("0123456789abcdefABCDEF", text[from + digits]))
        digits++;
    if (every == 3) { /* 1e5: the e is no digit here */
        digits = strspn(text + from, "0123456789");
    }
    for (size_t i = digits; i > every && strlen(text) + 2 < cap; i -= every) {
        char *at = text + from + i - every;
        memmove(at + 1, at, strlen(at) + 1);
        *at = sep;
    }
}

static size_t put_sign(const tspec *s, bool negative, char *text)
{
    if (!negative && !s->sign)
        return 0;
    text[0] = negative ? '-' : s->sign;
    return 1;
}

static void put_radix(uint64_t value, unsigned base, bool upper, char *text)
{
    char digits[72];
    size_t n = 0;
    uint64_t v = value;
    do {
        digits[n++] = (upper ? "0123456789ABCDEF" : "0123456789abcdef")[v % base];
        v /= base;
    } while (v);
    for (size_t i = 0; i < n; i++)
        text[i] = digits[n - 1 - i];
    text[n] = '\0';
}

static void format_int(trun *r, const tspec *s, int64_t v, bool percent, buf *out)
{
    char text[200];
    const uint64_t magnitude = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    size_t at = put_sign(s, v < 0, text);
    const char type = s->type ? s->type : 'd';
    const unsigned base = type == 'x' || type == 'X' ? 16 : type == 'o' ? 8 : type == 'b' ? 2 : 10;
    if (s->alternate && base != 10) {
        text[at++] = '0';
        text[at++] = type;
    }
    put_radix(magnitude, base, type == 'X', text + at);
    const size_t n_digits = strlen(text + at);
    if (percent && s->precision > (int64_t)n_digits && s->precision < 100) {
        const size_t zeros = (size_t)s->precision - n_digits;
        memmove(text + at + zeros, text + at, n_digits + 1);
        memset(text + at, '0', zeros);
    }
    if (s->group)
        group_digits(text, sizeof text, at, s->group, base == 10 ? 3 : 4);
    if (limit_spec(r, s))
        put_padded(s, text, strlen(text), at, s->align ? s->align : '>', out);
}

/* C's e, f and g with the sign apart; Python writes the same digits. */
static void format_float(trun *r, const tspec *s, double v, buf *out)
{
    char text[1000];
    char fmt[16];
    const bool negative = v < 0 || (v == 0 && 1 / v < 0);
    const size_t at = put_sign(s, negative, text);
    const double magnitude = negative ? -v : v;
    const char type = s->type == 0 || s->type == 'n' ? 'g' : s->type == '%' ? 'f' : s->type;
    const int64_t precision = s->precision >= 0 ? s->precision : 6;
    if (!limit_spec(r, s))
        return;
    if (s->type == 0 && s->precision < 0) {
        (void)json_format_double(magnitude, text + at); /* fits */
    } else {
        (void)snprintf(fmt, sizeof fmt, "%%%s.*%c", s->alternate ? "#" : "", type);
        (void)snprintf(text + at, sizeof text - at, fmt, (int)precision,
                       s->type == '%' ? magnitude * 100 : magnitude);
        if (s->type == 0 && !strpbrk(text + at, ".einf") &&
            strlen(text + at) + 3 < sizeof text - at)
            memcpy(text + at + strlen(text + at), ".0", 3); /* a float shows that it is one */
    }
    if (s->type == '%')
        memcpy(text + strlen(text), "%", 2);
    if (s->group)
        group_digits(text, sizeof text, at, s->group, 3);
    put_padded(s, text, strlen(text), at, s->align ? s->align : '>', out);
}

static void format_text(trun *r, const tspec *s, const tstr *text, char align, buf *out)
{
    size_t n = text->n;
    if (s->width > MAX_WIDTH) {
        (void)limit_spec(r, s); /* sticks in r */
        return;
    }
    if (s->precision >= 0)
        n = tmpl_byte_at(text, (size_t)s->precision);
    put_padded(s, text->p, n, 0, align, out);
}

static void put_char(trun *r, const tspec *s, tval v, char align, buf *out)
{
    char bytes[4];
    if (v.kind == V_STR && v.u.s->n_cp == 1) {
        put_padded(s, v.u.s->p, v.u.s->n, 0, align, out);
    } else if (tmpl_is_intlike(v) && tmpl_as_int(v) >= 0 && tmpl_as_int(v) <= 0x10FFFF) {
        const size_t n = utf8_encode((uint32_t)tmpl_as_int(v), bytes);
        put_padded(s, bytes, n, 0, align, out);
    } else {
        (void)tmpl_fail(r, "%%c requires int or char"); /* sticks in r */
    }
}

/* ---- "..." % args ---- */

typedef struct tpercent {
    trun *r;
    const tstr *fmt;
    size_t pos;
    tval args;
    size_t next; /* of a tuple */
    bool used_mapping;
    buf *out;
} tpercent;

static tval next_arg(tpercent *p)
{
    if (p->args.kind == V_TUPLE) {
        if (p->next < p->args.u.list->n)
            return p->args.u.list->items[p->next++];
    } else if (p->next++ == 0) {
        return p->args;
    }
    return tmpl_fail(p->r, "not enough arguments for format string");
}

static char at_pos(const tpercent *p)
{
    return p->pos < p->fmt->n ? p->fmt->p[p->pos] : '\0';
}

static int64_t read_number(const tstr *s, size_t *pos)
{
    int64_t v = 0;
    while (*pos < s->n && s->p[*pos] >= '0' && s->p[*pos] <= '9') {
        v = v > MAX_WIDTH ? v : v * 10 + (s->p[*pos] - '0');
        (*pos)++;
    }
    return v;
}

static int64_t percent_number(tpercent *p)
{
    if (at_pos(p) != '*')
        return read_number(p->fmt, &p->pos);
    p->pos++;
    const tval v = next_arg(p);
    return tmpl_arg_int(p->r, v, 0, "* in a format");
}

/* (name): the value, else absent. */
static tval percent_name(tpercent *p)
{
    if (at_pos(p) != '(')
        return (tval){.kind = V_ABSENT};
    const size_t from = ++p->pos;
    int open = 1;
    for (; p->pos < p->fmt->n; p->pos++) {
        open += at_pos(p) == '(' ? 1 : at_pos(p) == ')' ? -1 : 0;
        if (open == 0)
            break;
    }
    if (open)
        return tmpl_fail(p->r, "incomplete format key");
    const size_t n = p->pos++ - from;
    if (p->args.kind != V_DICT)
        return tmpl_fail(p->r, "format requires a mapping");
    p->used_mapping = true;
    tval v = undefined;
    const tval key = tmpl_str_static(p->r, p->fmt->p + from, n);
    if (key.kind == V_STR && !tmpl_dict_get(p->r, p->args.u.dict, key, &v))
        return tmpl_fail(p->r, "KeyError: '%.*s'", (int)n, p->fmt->p + from);
    return v;
}

static void percent_flags(tpercent *p, tspec *s)
{
    for (;; p->pos++) {
        switch (at_pos(p)) {
        case '-':
            s->align = '<';
            break;
        case '+':
            s->sign = '+';
            break;
        case ' ':
            s->sign = s->sign ? s->sign : ' ';
            break;
        case '#':
            s->alternate = true;
            break;
        case '0':
            s->fill = "0";
            break;
        default:
            return;
        }
    }
}

static void percent_integer(tpercent *p, tspec *s, tval v)
{
    if (v.kind == V_BIG && (s->type == 'd' || s->type == 'i' || s->type == 'u')) {
        put_padded(s, v.u.s->p, v.u.s->n, 0, s->align == '<' ? '<' : '>', p->out);
        return;
    }
    const bool decimal = s->type == 'd' || s->type == 'i' || s->type == 'u';
    if (v.kind == V_FLOAT && decimal && v.u.f > -9e18 && v.u.f < 9e18) {
        v = tmpl_int((int64_t)v.u.f);
    } else if (!tmpl_is_intlike(v)) {
        (void)tmpl_fail(p->r, "%%%c format: a number is required, not %s", s->type, tmpl_type(v));
        return; /* it sticks */
    }
    s->type = decimal ? 'd' : s->type;
    if (s->align != '<')
        s->align = *s->fill == '0' ? '=' : '>';
    else
        s->fill = " ";
    format_int(p->r, s, tmpl_as_int(v), true, p->out);
}

static void percent_float(tpercent *p, tspec *s, tval v)
{
    if (!tmpl_is_number(v)) {
        (void)tmpl_fail(p->r, "must be real number, not %s", tmpl_type(v)); /* sticks */
        return;
    }
    if (s->align != '<')
        s->align = *s->fill == '0' ? '=' : '>';
    else
        s->fill = " ";
    format_float(p->r, s, tmpl_as_double(v), p->out);
}

static void percent_value(tpercent *p, tspec *s, tval v)
{
    const char align = s->align == '<' ? '<' : '>';
    const tstr *text;
    switch (s->type) {
    case 's':
    case 'r':
    case 'a':
        s->fill = " ";
        text = s->type == 's' ? tmpl_to_str(p->r, v) : tmpl_to_repr(p->r, v);
        if (text)
            format_text(p->r, s, text, align, p->out);
        break;
    case 'c':
        s->fill = " ";
        put_char(p->r, s, v, align, p->out);
        break;
    case 'd':
    case 'i':
    case 'u':
    case 'o':
    case 'x':
    case 'X':
        percent_integer(p, s, v);
        break;
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
        percent_float(p, s, v);
        break;
    default:
        (void)tmpl_fail(p->r, "unsupported format character '%c'", s->type); /* sticks */
    }
}

/* Behind a '%'. */
static void percent_field(tpercent *p)
{
    tspec s = {.fill = " ", .n_fill = 1, .precision = -1};
    if (at_pos(p) == '%') {
        p->pos++;
        (void)buf_putc(p->out, '%'); /* sticks in out */
        return;
    }
    tval v = percent_name(p);
    percent_flags(p, &s);
    s.width = percent_number(p);
    if (s.width < 0) {
        s.align = '<';
        s.width = s.width == INT64_MIN ? INT64_MAX : -s.width;
    }
    if (at_pos(p) == '.') {
        p->pos++;
        s.precision = percent_number(p);
        if (s.precision < 0)
            s.precision = 0;
    }
    while (at_pos(p) == 'l' || at_pos(p) == 'h' || at_pos(p) == 'L')
        p->pos++;
    if (p->pos >= p->fmt->n)
        (void)tmpl_fail(p->r, "incomplete format");
    s.type = at_pos(p);
    p->pos++;
    if (v.kind == V_ABSENT && !p->r->fail)
        v = next_arg(p);
    if (!p->r->fail)
        percent_value(p, &s, v);
}

tval tmpl_percent(trun *r, const tstr *fmt, tval args)
{
    buf b;
    buf_init(&b, r->mem.max_bytes);
    tpercent p = {.r = r, .fmt = fmt, .args = args, .out = &b};
    while (p.pos < fmt->n && !r->fail && !b.fail) {
        const char *at = memchr(fmt->p + p.pos, '%', fmt->n - p.pos);
        const size_t end = at ? (size_t)(at - fmt->p) : fmt->n;
        (void)buf_append(&b, fmt->p + p.pos, end - p.pos); /* sticks in b */
        p.pos = end + 1;
        if (at && tmpl_step(r, 1))
            percent_field(&p);
    }
    const tkind k = args.kind; /* what has items may leave them unused */
    const bool all = k == V_TUPLE
                         ? p.next == args.u.list->n
                         : p.next > 0 || k == V_DICT || k == V_LIST || k == V_RANGE || k == V_UNDEF;
    if (!r->fail && !all && !p.used_mapping)
        (void)tmpl_fail(r, "not all arguments converted during string formatting"); /* sticks */
    return tmpl_buf_str(r, &b);
}

/* ---- "...".format(...) ---- */

typedef struct tformat {
    trun *r;
    const tcall *c;
    int64_t next; /* automatic number; -1 once numbers were given */
    buf *out;
} tformat;

static size_t cp_len(const tstr *s, size_t pos)
{
    uint32_t cp;
    return pos < s->n ? utf8_decode(s->p + pos, s->n - pos, &cp) : 0;
}

static bool is_align(const tstr *s, size_t pos)
{
    return pos < s->n && memchr("<>=^", s->p[pos], 4) != NULL;
}

static bool read_spec(trun *r, const tstr *t, bool number, tspec *s)
{
    size_t i = 0;
    *s = (tspec){.fill = " ", .n_fill = 1, .precision = -1};
    const size_t first = cp_len(t, 0);
    const bool fill = first && is_align(t, first);
    if (fill) {
        s->fill = t->p;
        s->n_fill = first;
        s->align = t->p[first];
        i = first + 1;
    } else if (is_align(t, 0)) {
        s->align = t->p[i++];
    }
    if (i < t->n && memchr("+- ", t->p[i], 3)) {
        s->sign = t->p[i] == '-' ? 0 : t->p[i];
        i++;
    }
    if (i < t->n && t->p[i] == '#') {
        s->alternate = true;
        i++;
    }
    if (!fill && i < t->n && t->p[i] == '0') {
        s->fill = "0";
        if (!s->align && number)
            s->align = '=';
        i++;
    }
    s->width = read_number(t, &i);
    if (i < t->n && (t->p[i] == ',' || t->p[i] == '_'))
        s->group = t->p[i++];
    if (i < t->n && t->p[i] == '.') {
        i++;
        s->precision = read_number(t, &i);
    }
    if (i < t->n)
        s->type = t->p[i++];
    if (i < t->n)
        (void)tmpl_fail(r, "Invalid format specifier"); /* sticks in r */
    return !r->fail;
}

static void bad_type(trun *r, const tspec *s, tval v)
{
    (void)tmpl_fail(r, "format code '%c' or a flag is not for an object of type '%s'",
                    s->type ? s->type : 's', tmpl_type(v)); /* sticks in r */
}

static void format_number(trun *r, tspec *s, tval v, buf *out)
{
    const bool as_float = v.kind == V_FLOAT || (s->type && memchr("eEfFgG%", s->type, 7));
    if (as_float && (!s->type || memchr("eEfFgG%n", s->type, 8))) {
        format_float(r, s, tmpl_as_double(v), out);
    } else if (!as_float && s->type == 'c') {
        put_char(r, s, v, s->align ? s->align : '<', out);
    } else if (!as_float && (!s->type || memchr("dxXobn", s->type, 6))) {
        if (s->precision >= 0)
            (void)tmpl_fail(r, "Precision not allowed in integer format specifier"); /* sticks */
        format_int(r, s, tmpl_as_int(v), false, out);
    } else {
        bad_type(r, s, v);
    }
}

static void format_value(trun *r, tval v, const tstr *spec, buf *out)
{
    tspec s;
    if (spec->n == 0) {
        tmpl_put_str(r, v, out);
        return;
    }
    if (v.kind != V_STR && !tmpl_is_number(v)) {
        (void)tmpl_fail(r, "unsupported format string passed to %s.__format__", tmpl_type(v));
        return; /* it sticks */
    }
    if (!read_spec(r, spec, v.kind != V_STR, &s))
        return;
    if (v.kind != V_STR)
        format_number(r, &s, v, out);
    else if ((s.type && s.type != 's') || s.align == '=' || s.sign || s.group || s.alternate)
        bad_type(r, &s, v);
    else
        format_text(r, &s, v.u.s, s.align ? s.align : '<', out);
}

static tval positional(tformat *f, int64_t i)
{
    if (i < 0 || i >= (int64_t)f->c->n_pos)
        return tmpl_fail(f->r,
                         "Replacement index %" PRId64 " out of range for positional args tuple", i);
    return f->c->pos[i];
}

/* The head of a field: nothing, a number or a name. */
static tval field_head(tformat *f, const char *p, size_t n)
{
    const tstr text = {p, n, n};
    size_t i = 0;
    if (n == 0) {
        if (f->next < 0)
            return tmpl_fail(f->r,
                             "cannot switch from manual field specification to automatic field "
                             "numbering");
        return positional(f, f->next++);
    }
    const int64_t number = read_number(&text, &i);
    if (i == n) {
        if (f->next > 0)
            return tmpl_fail(f->r, "cannot switch from automatic field numbering to manual field "
                                   "specification");
        f->next = -1;
        return positional(f, number);
    }
    for (i = 0; i < f->c->n_kw; i++) {
        if (f->c->kw[i].name->n == n && memcmp(f->c->kw[i].name->p, p, n) == 0)
            return f->c->kw[i].value;
    }
    return tmpl_fail(f->r, "KeyError: '%.*s'", (int)n, p);
}

/* name.attr[key] */
static tval field_value(tformat *f, const char *p, size_t n)
{
    size_t i = 0;
    while (i < n && p[i] != '.' && p[i] != '[')
        i++;
    tval v = field_head(f, p, i);
    while (i < n && !f->r->fail) {
        const bool item = p[i] == '[';
        const size_t from = ++i;
        while (i < n && (item ? p[i] != ']' : p[i] != '.' && p[i] != '['))
            i++;
        const tstr text = {p + from, i - from, tmpl_count_cp(p + from, i - from)};
        size_t digits = 0;
        const int64_t number = read_number(&text, &digits);
        const tval key =
            digits && digits == text.n ? tmpl_int(number) : tmpl_str_static(f->r, text.p, text.n);
        if (key.kind == V_UNDEF)
            return undefined;
        const tval of = v;
        v = item ? tmpl_get_item(f->r, of, key) : tmpl_own_attr(f->r, of, &text);
        if (v.kind == V_ABSENT || v.kind == V_UNDEF)
            return tmpl_fail(f->r, "a field of the format is not there");
        i += item;
    }
    return v;
}

/* Replacement fields may stand inside a specification. */
static const tstr *inner_spec(tformat *f, const char *p, size_t n)
{
    buf b;
    buf_init(&b, f->r->mem.max_bytes);
    for (size_t i = 0; i < n && !f->r->fail; i++) {
        if (p[i] != '{') {
            (void)buf_putc(&b, p[i]); /* sticks in b */
            continue;
        }
        const char *end = memchr(p + i, '}', n - i);
        if (!end) {
            (void)tmpl_fail(f->r, "expected '}' before end of string");
            break;
        }
        tmpl_put_str(f->r, field_value(f, p + i + 1, (size_t)(end - p) - i - 1), &b);
        i = (size_t)(end - p);
    }
    const tval v = tmpl_buf_str(f->r, &b);
    return v.kind == V_STR ? v.u.s : NULL;
}

/* One field: text between { and its }. */
static void put_field(tformat *f, const char *p, size_t n)
{
    size_t end = 0;
    int brackets = 0;
    for (; end < n && (brackets || (p[end] != ':' && p[end] != '!')); end++)
        brackets += p[end] == '[' ? 1 : p[end] == ']' ? -1 : 0;
    tval v = field_value(f, p, end);
    if (end + 1 < n && p[end] == '!') {
        const char how = p[end + 1];
        const tstr *text = how == 's' ? tmpl_to_str(f->r, v) : tmpl_to_repr(f->r, v);
        v = text ? tmpl_str_val(text) : undefined;
        end += 2;
        if ((how != 's' && how != 'r' && how != 'a') || (end < n && p[end] != ':'))
            (void)tmpl_fail(f->r, "Unknown conversion specifier"); /* sticks */
    }
    const size_t from = end < n ? end + 1 : n;
    const tstr *spec = inner_spec(f, p + from, n - from);
    if (spec && !f->r->fail)
        format_value(f->r, v, spec, f->out);
}

tval tmpl_format(trun *r, const tstr *fmt, const tcall *c)
{
    buf b;
    buf_init(&b, r->mem.max_bytes);
    tformat f = {.r = r, .c = c, .out = &b};
    for (size_t i = 0; i < fmt->n && !b.fail && tmpl_step(r, 1); i++) {
        const char ch = fmt->p[i];
        const bool twice = i + 1 < fmt->n && fmt->p[i + 1] == ch;
        if ((ch != '{' && ch != '}') || twice) {
            (void)buf_putc(&b, ch); /* sticks in b */
            i += ch == '{' || ch == '}';
            continue;
        }
        size_t end = i + 1;
        for (int open = 1; end < fmt->n; end++) {
            open += fmt->p[end] == '{' ? 1 : fmt->p[end] == '}' ? -1 : 0;
            if (open == 0)
                break;
        }
        if (ch == '}' || end == fmt->n)
            (void)tmpl_fail(r, "Single '%c' encountered in format string", ch);
        else
            put_field(&f, fmt->p + i + 1, end - i - 1);
        i = end;
    }
    return tmpl_buf_str(r, &b);
}

/* ---- strftime ---- */

/* Python's own letters first: %f are microseconds, and a naive time has no zone. */
static bool python_only(char letter, buf *out)
{
    if (letter == 'f')
        (void)buf_puts(out, "000000"); /* sticks in out */
    return letter == 'f' || letter == 'z' || letter == 'Z';
}

tval tmpl_strftime(trun *r, const tstr *fmt)
{
    const time_t now = (time_t)r->now_s;
    struct tm tm;
    if (!localtime_r(&now, &tm))
        return tmpl_fail(r, "strftime_now: %" PRId64 " is no time", r->now_s);
    buf b;
    buf_init(&b, r->mem.max_bytes);
    for (size_t i = 0; i < fmt->n && tmpl_step(r, 1); i++) {
        if (fmt->p[i] != '%' || i + 1 == fmt->n) {
            (void)buf_putc(&b, fmt->p[i]); /* sticks in b */
            continue;
        }
        char one[5] = {'%'};
        size_t n = 1;
        while (i + 1 < fmt->n && n < 3 && memchr("-_0^#", fmt->p[i + 1], 5))
            one[n++] = fmt->p[++i]; /* flags of the C library */
        if (i + 1 < fmt->n)
            one[n++] = fmt->p[++i];
        char text[128];
        if (python_only(one[n - 1], &b))
            continue;
        const size_t len = strftime(text, sizeof text, one, &tm);
        (void)buf_append(&b, text, len);
    }
    return tmpl_buf_str(r, &b);
}
