/* Values as Go's fmt prints them: print, printf, println, and what an action prints. */
#include "chat/gotmpl_int.h"

#include <string.h>

#include "base/utf8.h"

/* `plain`: inside a %!verb(...) methods are not called. */
static void print_value(const gformat *f, gval v, uint32_t verb, int depth, bool plain);

static void put_rune(buf *out, uint32_t cp)
{
    char bytes[4];
    (void)buf_append(out, bytes, utf8_encode(cp, bytes)); /* sticks in out, as all appends here */
}

/* %!d(string=hi) */
static void bad_verb(const gformat *f, gval v, uint32_t verb)
{
    (void)buf_puts(f->out, "%!");
    put_rune(f->out, verb);
    (void)buf_putc(f->out, '(');
    if (!v.type) {
        (void)buf_puts(f->out, "<nil>");
    } else {
        (void)buf_printf(f->out, "%s=", v.type->name);
        print_value(f, gval_unwrap(v), 'v', 0, true);
    }
    (void)buf_putc(f->out, ')');
}

static bool verb_in(uint32_t verb, const char *set)
{
    return verb && verb < 0x80 && strchr(set, (int)verb);
}

static void print_complex(const gformat *f, gval v, uint32_t verb)
{
    gformat g = *f;
    const uint32_t kind = verb == 'F' ? 'f' : verb;
    const int prec = verb_in(kind, "feE") ? 6 : -1;
    (void)buf_putc(f->out, '(');
    gfmt_float(&g, v.u.c.re, kind, prec);
    g.plus = true;
    gfmt_float(&g, v.u.c.im, kind, prec);
    (void)buf_puts(f->out, "i)");
}

static bool print_scalar(const gformat *f, gval v, uint32_t verb)
{
    switch (v.type->kind) {
    case G_BOOL:
        if (!verb_in(verb, "tv"))
            return false;
        gfmt_pad(f, v.u.b ? GSTR("true") : GSTR("false"));
        return true;
    case G_INT:
    case G_UINT8:
        if (!verb_in(verb, "vdboOxXcqU"))
            return false;
        if (verb == 'v' && f->sharp_v && v.type->kind == G_UINT8) {
            gformat g = *f;
            g.sharp = true;
            gfmt_integer(&g, (uint64_t)v.u.i, false, 'x');
            return true;
        }
        gfmt_integer(f, (uint64_t)v.u.i, v.u.i < 0, verb);
        return true;
    case G_FLOAT:
        if (!verb_in(verb, "vbgGxXfeEF"))
            return false;
        gfmt_float(f, v.u.f, verb == 'F' ? 'f' : verb, verb_in(verb, "feEF") ? 6 : -1);
        return true;
    case G_COMPLEX:
        if (!verb_in(verb, "vbgGxXfFeE"))
            return false;
        print_complex(f, v, verb);
        return true;
    default:
        if (!verb_in(verb, "vsxXq"))
            return false;
        gfmt_text(f, v.u.s, verb);
        return true;
    }
}

/* `{` .. `}` with commas under %#v, else `[` .. `]` and spaces. */
static void open_list(const gformat *f, gval v, const char *plain)
{
    (void)buf_printf(f->out, "%s%s", f->sharp_v ? v.type->name : plain, f->sharp_v ? "{" : "");
}

static void print_slice(const gformat *f, gval v, uint32_t verb, int depth, bool plain)
{
    if (f->sharp_v && v.nil) {
        (void)buf_printf(f->out, "%s(nil)", v.type->name);
        return;
    }
    open_list(f, v, "[");
    for (size_t i = 0; i < v.u.l.n && !f->out->fail; i++) {
        (void)buf_puts(f->out, i == 0 ? "" : f->sharp_v ? ", " : " ");
        print_value(f, gval_elem(v, i), verb, depth + 1, plain);
    }
    (void)buf_putc(f->out, f->sharp_v ? '}' : ']');
}

static void print_map(const gformat *f, gval v, uint32_t verb, int depth, bool plain)
{
    if (f->sharp_v && v.nil) {
        (void)buf_printf(f->out, "%s(nil)", v.type->name);
        return;
    }
    open_list(f, v, "map[");
    for (size_t i = 0; i < v.u.m.n && !f->out->fail; i++) {
        gval e = v.u.m.entries[i].value;
        e.iface = e.iface || !v.type->elem;
        (void)buf_puts(f->out, i == 0 ? "" : f->sharp_v ? ", " : " ");
        print_value(f, gval_string(v.u.m.entries[i].key), verb, depth + 1, plain);
        (void)buf_putc(f->out, ':');
        print_value(f, e, verb, depth + 1, plain);
    }
    (void)buf_putc(f->out, f->sharp_v ? '}' : ']');
}

static void print_struct(const gformat *f, gval v, uint32_t verb, int depth, bool plain)
{
    (void)buf_printf(f->out, "%s{", f->sharp_v ? v.type->name : "");
    for (size_t i = 0; i < v.type->n_field && !f->out->fail; i++) {
        (void)buf_puts(f->out, i == 0 ? "" : f->sharp_v ? ", " : " ");
        if (f->plus_v || f->sharp_v)
            (void)buf_printf(f->out, "%s:", v.type->fields[i].name);
        print_value(f, gval_field(v, i), verb, depth + 1, plain);
    }
    (void)buf_putc(f->out, '}');
}

/* An address says nothing that a template could use, so a fixed one is printed. */
static void print_pointer(const gformat *f, gval v, uint32_t verb, int depth, bool plain)
{
    if (depth == 0 && !v.nil) {
        (void)buf_putc(f->out, '&');
        print_value(f, *v.u.ref, verb, 1, plain);
    } else if (!verb_in(verb, "vbodxX")) {
        bad_verb(f, v, verb);
    } else if (v.nil && verb == 'v' && f->sharp_v) {
        (void)buf_printf(f->out, "(%s)(nil)", v.type->name);
    } else if (v.nil && verb == 'v') {
        gfmt_pad(f, GSTR("<nil>"));
    } else if (v.nil) {
        gfmt_integer(f, 0, false, verb);
    } else {
        (void)buf_puts(f->out, "0xc000000000");
    }
}

static void print_text_of(const gformat *f, gval v, uint32_t verb)
{
    buf b;
    buf_init(&b, f->out->max_bytes);
    gotmpl_stringer(v, &b);
    gfmt_text(f, (gstr){b.data ? b.data : "", b.n}, verb);
    if (b.fail)
        f->out->fail = b.fail;
    buf_done(&b);
}

/* The depth is that of the data, which json.h bounds. */
static void print_value(const gformat *f, gval v, uint32_t verb, int depth, bool plain)
{
    if (!v.type) {
        if (f->sharp_v && v.iface && depth)
            (void)buf_puts(f->out, "interface {}(nil)");
        else if (verb == 'v' || (v.iface && depth))
            (void)buf_puts(f->out, "<nil>");
        else
            bad_verb(f, v, verb);
        return;
    }
    if (!plain && !f->sharp_v && v.type->stringer && verb_in(verb, "vsxXq")) {
        print_text_of(f, v, verb);
        return;
    }
    if (v.type->in_order && v.nil) { /* a pointer in Go */
        print_pointer(f, v, verb, depth, plain);
        return;
    }
    const int next = v.iface && depth ? depth + 1 : depth;
    switch (v.type->kind) {
    case G_SLICE:
        print_slice(f, v, verb, next, plain);
        break;
    case G_MAP:
        print_map(f, v, verb, next, plain);
        break;
    case G_STRUCT:
        print_struct(f, v, verb, next, plain);
        break;
    case G_PTR:
        print_pointer(f, v, verb, next, plain);
        break;
    default:
        if (!print_scalar(f, v, verb))
            bad_verb(f, v, verb);
    }
}

static bool has_address(gval v)
{
    return v.type && (v.type->kind == G_PTR || v.type->kind == G_MAP || v.type->kind == G_SLICE);
}

static void print_arg(const gformat *f, gval v, uint32_t verb)
{
    v.iface = false;
    if (!v.type && verb_in(verb, "Tv"))
        gfmt_pad(f, GSTR("<nil>"));
    else if (!v.type || (verb == 'p' && !has_address(v)))
        bad_verb(f, v, verb);
    else if (verb == 'T')
        gfmt_text(f, (gstr){v.type->name, strlen(v.type->name)}, 's');
    else if (verb == 'p')
        (void)buf_puts(f->out, v.nil ? "0x0" : "0xc000000000");
    else
        print_value(f, v, verb, 0, false);
}

void gotmpl_print_verb(gval v, char verb, buf *out)
{
    const gformat f = {.out = out};
    print_arg(&f, v, (unsigned char)verb);
}

void gotmpl_print(gval v, buf *out)
{
    gotmpl_print_verb(v, 'v', out);
}

void gotmpl_print_action(gval v, buf *out)
{
    bool nil = false;
    if (v.type && v.type->kind == G_PTR)
        v = gval_indirect(v, &nil);
    if (!v.type)
        (void)buf_puts(out, "<no value>");
    else
        gotmpl_print(v, out);
}

void gotmpl_sprint(const gval *argv, size_t n, bool line, buf *out)
{
    bool was_string = false;
    for (size_t i = 0; i < n; i++) {
        const bool is_string = argv[i].type && argv[i].type->kind == G_STRING;
        if (i > 0 && (line || (!is_string && !was_string)))
            (void)buf_putc(out, ' ');
        gotmpl_print(argv[i], out);
        was_string = is_string;
    }
    if (line)
        (void)buf_putc(out, '\n');
}

/* ---- printf ---- */

typedef struct gprintf_state {
    gformat f;
    gstr fmt;
    size_t i; /* in fmt */
    const gval *argv;
    size_t n_arg;
    size_t arg;     /* the next one */
    bool reordered; /* an index was seen: what is left over is no error */
    bool good_index;
    bool after_index; /* the last thing read was an index */
} gprintf_state;

static char here(const gprintf_state *s)
{
    return s->i < s->fmt.n ? s->fmt.p[s->i] : '\0';
}

static bool read_flag(gformat *f, char c)
{
    switch (c) {
    case '#':
        f->sharp = true;
        return true;
    case '0':
        f->zero = true;
        return true;
    case '+':
        f->plus = true;
        return true;
    case '-':
        f->minus = true;
        return true;
    case ' ':
        f->space = true;
        return true;
    default:
        return false;
    }
}

/* Digits up to end; false: none, or too many. */
static bool read_number(const gprintf_state *s, size_t *at, size_t end, int *out)
{
    size_t i = *at;
    int v = 0;
    for (; i < end && s->fmt.p[i] >= '0' && s->fmt.p[i] <= '9'; i++) {
        if (v > GOTMPL_MAX_WIDTH) { /* Go stops at the end of the format then */
            *at = end;
            *out = 0;
            return false;
        }
        v = v * 10 + (s->fmt.p[i] - '0');
    }
    const bool any = i > *at;
    *at = i;
    *out = v;
    return any;
}

/* [3] */
static void read_index(gprintf_state *s)
{
    s->after_index = false;
    if (s->i >= s->fmt.n || s->fmt.p[s->i] != '[')
        return;
    s->reordered = true;
    const char *close =
        s->fmt.n - s->i >= 3 ? memchr(s->fmt.p + s->i + 1, ']', s->fmt.n - s->i - 1) : NULL;
    if (!close) {
        s->good_index = false;
        s->i++;
        return;
    }
    const size_t end = (size_t)(close - s->fmt.p);
    size_t at = s->i + 1;
    int index = 0;
    const bool ok = read_number(s, &at, end, &index) && at == end;
    s->i = end + 1;
    s->after_index = ok;
    if (ok && index >= 1 && (size_t)index <= s->n_arg)
        s->arg = (size_t)index - 1;
    else
        s->good_index = false;
}

/* The value of a `*`; false: not an int. */
static bool read_star(gprintf_state *s, int *out)
{
    *out = 0;
    s->i++;
    s->after_index = false;
    if (s->arg >= s->n_arg)
        return false;
    const gval v = s->argv[s->arg++];
    if (!v.type || (v.type->kind != G_INT && v.type->kind != G_UINT8) || v.u.i > GOTMPL_MAX_WIDTH ||
        v.u.i < -GOTMPL_MAX_WIDTH)
        return false;
    *out = (int)v.u.i;
    return true;
}

static void read_width(gprintf_state *s)
{
    read_index(s);
    if (here(s) == '*') {
        s->f.has_width = read_star(s, &s->f.width);
        if (!s->f.has_width)
            (void)buf_puts(s->f.out, "%!(BADWIDTH)");
        if (s->f.width < 0) {
            s->f.width = -s->f.width;
            s->f.minus = true;
            s->f.zero = false;
        }
        return;
    }
    s->f.has_width = read_number(s, &s->i, s->fmt.n, &s->f.width);
    if (s->after_index && s->f.has_width)
        s->good_index = false;
}

static void read_precision(gprintf_state *s)
{
    if (s->i + 1 >= s->fmt.n || here(s) != '.')
        return;
    s->i++;
    if (s->after_index)
        s->good_index = false;
    read_index(s);
    if (here(s) == '*') {
        s->f.has_prec = read_star(s, &s->f.prec);
        if (s->f.prec < 0) {
            s->f.prec = 0;
            s->f.has_prec = false;
        }
        if (!s->f.has_prec)
            (void)buf_puts(s->f.out, "%!(BADPREC)");
        return;
    }
    if (!read_number(s, &s->i, s->fmt.n, &s->f.prec))
        s->f.prec = 0;
    s->f.has_prec = true;
}

static void print_verb(gprintf_state *s, uint32_t verb)
{
    if (verb == 'v') {
        s->f.sharp_v = s->f.sharp;
        s->f.sharp = false;
        s->f.plus_v = s->f.plus;
        s->f.plus = false;
    }
    if (verb == 'w') /* only errors may be wrapped, and a template has none */
        bad_verb(&s->f, s->argv[s->arg++], verb);
    else
        print_arg(&s->f, s->argv[s->arg++], verb);
}

/* Behind a `%`. */
static void print_directive(gprintf_state *s)
{
    s->f = (gformat){.out = s->f.out};
    s->good_index = true;
    s->after_index = false;
    while (s->i < s->fmt.n && read_flag(&s->f, s->fmt.p[s->i]))
        s->i++;
    read_width(s);
    read_precision(s);
    if (!s->after_index)
        read_index(s);
    if (s->i >= s->fmt.n) {
        (void)buf_puts(s->f.out, "%!(NOVERB)");
        return;
    }
    uint32_t verb;
    s->i += gotmpl_decode(s->fmt, s->i, &verb);
    if (verb == '%') {
        (void)buf_putc(s->f.out, '%');
    } else if (!s->good_index || s->arg >= s->n_arg) {
        (void)buf_puts(s->f.out, "%!");
        put_rune(s->f.out, verb);
        (void)buf_puts(s->f.out, s->good_index ? "(MISSING)" : "(BADINDEX)");
    } else {
        print_verb(s, verb);
    }
}

static void print_extra(gprintf_state *s)
{
    s->f = (gformat){.out = s->f.out};
    (void)buf_puts(s->f.out, "%!(EXTRA ");
    for (size_t i = s->arg; i < s->n_arg; i++) {
        (void)buf_puts(s->f.out, i > s->arg ? ", " : "");
        if (s->argv[i].type) {
            (void)buf_printf(s->f.out, "%s=", s->argv[i].type->name);
            print_arg(&s->f, s->argv[i], 'v');
        } else {
            (void)buf_puts(s->f.out, "<nil>");
        }
    }
    (void)buf_putc(s->f.out, ')');
}

void gotmpl_sprintf(gstr fmt, const gval *argv, size_t n, buf *out)
{
    gprintf_state s = {.f = {.out = out}, .fmt = fmt, .argv = argv, .n_arg = n};
    while (s.i < fmt.n && !out->fail) {
        const char *percent = memchr(fmt.p + s.i, '%', fmt.n - s.i);
        const size_t end = percent ? (size_t)(percent - fmt.p) : fmt.n;
        (void)buf_append(out, fmt.p + s.i, end - s.i);
        s.i = end + 1;
        if (percent)
            print_directive(&s);
    }
    if (!s.reordered && s.arg < n)
        print_extra(&s);
}
