/* One scalar under one verb of Go's fmt: flags, width, precision. */
#include "chat/gotmpl_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

static size_t count_cp(gstr s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; n++) {
        uint32_t cp;
        i += gotmpl_decode(s, i, &cp);
    }
    return n;
}

static void repeat(buf *out, char c, long n)
{
    for (long i = 0; i < n && !out->fail; i++)
        (void)buf_putc(out, c); /* sticks in out, as all appends below */
}

void gfmt_pad(const gformat *f, gstr s)
{
    const long gap = f->has_width ? f->width - (long)count_cp(s) : 0;
    if (!f->minus)
        repeat(f->out, f->zero ? '0' : ' ', gap);
    (void)buf_append(f->out, s.p, s.n);
    if (f->minus)
        repeat(f->out, ' ', gap);
}

/* Pads what a scratch buffer holds, and frees it. Its failure is that of the output. */
static void pad_scratch(const gformat *f, buf *b)
{
    gfmt_pad(f, (gstr){b->data ? b->data : "", b->n});
    if (b->fail)
        f->out->fail = b->fail;
    buf_done(b);
}

/* ---- integers ---- */

static void pad_rune(const gformat *f, uint64_t u, bool quoted)
{
    const uint32_t cp = u > 0x10FFFF ? UTF8_REPLACEMENT : (uint32_t)u;
    buf b;
    buf_init(&b, 64);
    char bytes[4];
    if (quoted)
        gotmpl_quote_rune(cp, f->plus, &b);
    else
        (void)buf_append(&b, bytes, utf8_encode(cp, bytes));
    pad_scratch(f, &b);
}

/* U+0040, with # also the character. */
static void pad_unicode(const gformat *f, uint64_t u)
{
    gformat plain = *f;
    buf b;
    buf_init(&b, GOTMPL_MAX_WIDTH + 64);
    char digits[24];
    char bytes[4];
    const int n = snprintf(digits, sizeof digits, "%llX", (unsigned long long)u);
    (void)buf_puts(&b, "U+");
    repeat(&b, '0', (f->has_prec && f->prec > 4 ? f->prec : 4) - n);
    (void)buf_puts(&b, digits);
    if (f->sharp && u <= 0x10FFFF && gotmpl_is_print((uint32_t)u)) {
        (void)buf_puts(&b, " '");
        (void)buf_append(&b, bytes, utf8_encode((uint32_t)u, bytes));
        (void)buf_puts(&b, "'");
    }
    plain.zero = false;
    pad_scratch(&plain, &b);
}

static size_t digits_of(uint64_t u, unsigned base, bool upper, char out[72])
{
    const char *set = upper ? "0123456789ABCDEF" : "0123456789abcdef";
    char back[72];
    size_t n = 0;
    do {
        back[n++] = set[u % base];
        u /= base;
    } while (u);
    for (size_t i = 0; i < n; i++)
        out[i] = back[n - 1 - i];
    return n;
}

static void pad_number(const gformat *f, uint64_t u, bool negative, uint32_t verb)
{
    const unsigned base = verb == 'b'                  ? 2
                          : verb == 'o' || verb == 'O' ? 8
                          : verb == 'x' || verb == 'X' ? 16
                                                       : 10;
    gformat plain = *f;
    plain.zero = false;
    long least = f->has_prec ? f->prec : 0;
    if (f->has_prec && f->prec == 0 && u == 0) {
        repeat(f->out, ' ', f->has_width ? f->width : 0);
        return;
    }
    if (!f->has_prec && f->zero && !f->minus && f->has_width)
        least = f->width - (negative || f->plus || f->space);
    char digits[72];
    const size_t n = digits_of(negative ? 0 - u : u, base, verb == 'X', digits);
    buf b;
    buf_init(&b, GOTMPL_MAX_WIDTH + 256);
    (void)buf_puts(&b, negative ? "-" : f->plus ? "+" : f->space ? " " : "");
    if (verb == 'O')
        (void)buf_puts(&b, "0o");
    if (f->sharp && base == 2)
        (void)buf_puts(&b, "0b");
    if (f->sharp && base == 16)
        (void)buf_puts(&b, verb == 'X' ? "0X" : "0x");
    if (f->sharp && base == 8 && digits[0] != '0' && least <= (long)n)
        (void)buf_putc(&b, '0');
    repeat(&b, '0', least - (long)n);
    (void)buf_append(&b, digits, n);
    pad_scratch(&plain, &b);
}

void gfmt_integer(const gformat *f, uint64_t u, bool negative, uint32_t verb)
{
    if (verb == 'c' || verb == 'q')
        pad_rune(f, u, verb == 'q');
    else if (verb == 'U')
        pad_unicode(f, u);
    else
        pad_number(f, u, negative, verb);
}

/* ---- floats ---- */

/* C's %a has exponents of one digit, Go's at least two. */
static void put_hex_float(buf *out, double v, bool upper, int prec)
{
    char text[64];
    if (prec < 0)
        (void)snprintf(text, sizeof text, upper ? "%A" : "%a", v);
    else
        (void)snprintf(text, sizeof text, upper ? "%.*A" : "%.*a", prec < 40 ? prec : 40, v);
    char *p = strpbrk(text, "pP");
    if (!p) {
        (void)buf_puts(out, text);
        return;
    }
    (void)buf_append(out, text, (size_t)(p - text));
    repeat(out, '0', prec > 40 ? prec - 40 : 0);
    (void)buf_printf(out, "%c%c%02d", p[0], p[1], abs(atoi(p + 1)));
}

/* mantissa p exponent, both whole: %b */
static void put_binary_float(buf *out, double v)
{
    int exp2 = 0;
    const double m = ldexp(frexp(fabs(v), &exp2), 53);
    exp2 -= 53;
    if (v == 0)
        exp2 = -1074;
    (void)buf_printf(out, "%s%.0fp%+d", signbit(v) ? "-" : "", v == 0 ? 0.0 : m, exp2);
}

static void put_float(buf *out, double v, uint32_t verb, int prec)
{
    char text[400];
    const char kind = (char)(verb == 'v' ? 'g' : verb);
    if (kind == 'x' || kind == 'X') {
        put_hex_float(out, v, kind == 'X', prec);
    } else if (kind == 'b') {
        put_binary_float(out, v);
    } else if (prec < 0) {
        gotmpl_float_text(v, kind == 'G' || kind == 'g' ? 'g' : 'e', text);
        for (char *p = text; kind == 'G' && *p; p++)
            *p = *p == 'e' ? 'E' : *p;
        (void)buf_puts(out, text);
    } else {
        const char fmt[] = {'%', '.', '*', kind, '\0'};
        const int n = snprintf(NULL, 0, fmt, prec, v);
        char *room = n > 0 ? buf_reserve(out, (size_t)n + 1) : NULL;
        if (room) {
            (void)snprintf(room, (size_t)n + 1, fmt, prec, v);
            out->n += (size_t)n;
        }
    }
}

/* The # flag: always a point, and for %g the zeros that it would drop. */
static void sharpen(const buf *b, uint32_t verb, int prec, buf *out)
{
    const bool hex = verb == 'x' || verb == 'X';
    long digits = 0;
    if (verb == 'v' || verb == 'g' || verb == 'G' || verb == 'x')
        digits = prec == -1 ? 6 : prec;
    size_t end = 0;
    bool point = false;
    bool nonzero = false;
    for (size_t i = b->data[0] == '-'; i < b->n; i++, end = i) {
        const char c = b->data[i];
        end = i;
        if (c == 'p' || c == 'P' || (!hex && (c == 'e' || c == 'E')))
            break;
        point = point || c == '.';
        nonzero = nonzero || (c != '0' && c != '.');
        digits -= c != '.' && nonzero;
    }
    (void)buf_append(out, b->data, end);
    if (!point) {
        digits -= end == 1 + (size_t)(b->data[0] == '-') && b->data[end - 1] == '0';
        (void)buf_putc(out, '.');
    }
    repeat(out, '0', digits);
    (void)buf_append(out, b->data + end, b->n - end);
}

static void pad_float(const gformat *f, gstr num, bool finite)
{
    gformat plain = *f;
    const bool negative = num.p[0] == '-';
    const char *sign = negative ? "-" : f->plus ? "+" : f->space ? " " : "";
    if (negative)
        num = (gstr){num.p + 1, num.n - 1};
    const long n = (long)(num.n + strlen(sign));
    buf b;
    buf_init(&b, GOTMPL_MAX_WIDTH * 2u);
    if (!finite)
        plain.zero = false;
    (void)buf_puts(&b, sign);
    if (plain.zero && !f->minus && f->has_width && *sign)
        repeat(&b, '0', f->width - n);
    (void)buf_append(&b, num.p, num.n);
    pad_scratch(&plain, &b);
}

void gfmt_float(const gformat *f, double v, uint32_t verb, int prec)
{
    if (f->has_prec)
        prec = f->prec;
    if (isnan(v) || isinf(v)) {
        gformat g = *f;
        g.plus = g.plus || (isinf(v) && !f->space);
        pad_float(&g, isnan(v) ? GSTR("NaN") : v > 0 ? GSTR("Inf") : GSTR("-Inf"), false);
        return;
    }
    buf b;
    buf sharp;
    buf_init(&b, GOTMPL_MAX_WIDTH * 2u);
    buf_init(&sharp, GOTMPL_MAX_WIDTH * 3u);
    put_float(&b, v, verb, prec);
    if (f->sharp && verb != 'b' && b.n)
        sharpen(&b, verb, prec, &sharp);
    const buf *text = sharp.n ? &sharp : &b;
    if (text->n)
        pad_float(f, (gstr){text->data, text->n}, true);
    if (b.fail || sharp.fail)
        f->out->fail = b.fail ? b.fail : sharp.fail;
    buf_done(&b);
    buf_done(&sharp);
}

/* ---- strings ---- */

static gstr truncate_cp(const gformat *f, gstr s)
{
    size_t n = 0;
    for (int i = 0; f->has_prec && i < f->prec && n < s.n; i++) {
        uint32_t cp;
        n += gotmpl_decode(s, n, &cp);
    }
    return f->has_prec ? (gstr){s.p, n} : s;
}

static bool can_backquote(gstr s)
{
    for (size_t i = 0; i < s.n;) {
        uint32_t cp;
        const size_t n = gotmpl_decode(s, i, &cp);
        if ((cp == UTF8_REPLACEMENT && n == 1) || cp == 0xFEFF || (cp < ' ' && cp != '\t') ||
            cp == '`' || cp == 0x7F)
            return false;
        i += n;
    }
    return true;
}

static void pad_quoted(const gformat *f, gstr s)
{
    buf b;
    buf_init(&b, f->out->max_bytes);
    s = truncate_cp(f, s);
    if (f->sharp && can_backquote(s)) {
        (void)buf_putc(&b, '`');
        (void)buf_append(&b, s.p, s.n);
        (void)buf_putc(&b, '`');
    } else {
        gotmpl_quote(s, f->plus, &b);
    }
    pad_scratch(f, &b);
}

static void put_hex(const gformat *f, gstr s, bool upper)
{
    const char *set = upper ? "0123456789ABCDEF" : "0123456789abcdef";
    const char *lead = upper ? "0X" : "0x";
    const size_t n = f->has_prec && (size_t)f->prec < s.n ? (size_t)f->prec : s.n;
    long width = 2 * (long)n;
    if (n && f->space)
        width = width * (f->sharp ? 2 : 1) + (long)n - 1;
    else if (n && f->sharp)
        width += 2;
    const long gap = f->has_width ? f->width - width : 0;
    if (!f->minus || n == 0)
        repeat(f->out, f->zero && !f->minus ? '0' : ' ', gap);
    if (n && f->sharp)
        (void)buf_puts(f->out, lead);
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)s.p[i];
        if (i && f->space)
            (void)buf_printf(f->out, " %s", f->sharp ? lead : "");
        (void)buf_putc(f->out, set[c >> 4]);
        (void)buf_putc(f->out, set[c & 15]);
    }
    if (f->minus && n)
        repeat(f->out, ' ', gap);
}

void gfmt_text(const gformat *f, gstr s, uint32_t verb)
{
    if (verb == 'q' || (verb == 'v' && f->sharp_v))
        pad_quoted(f, s);
    else if (verb == 'x' || verb == 'X')
        put_hex(f, s, verb == 'X');
    else
        gfmt_pad(f, truncate_cp(f, s));
}
