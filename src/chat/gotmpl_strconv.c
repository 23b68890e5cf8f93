/* What Go's strconv and unicode packages do for a template: numbers, quotes, classes. */
#include "chat/gotmpl_int.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "base/utf8.h"

static utf8proc_category_t category(uint32_t cp)
{
    return utf8proc_category((utf8proc_int32_t)cp);
}

bool gotmpl_is_word(uint32_t cp)
{
    if (cp < 0x80)
        return cp == '_' || (cp >= '0' && cp <= '9') || ((cp | 32) >= 'a' && (cp | 32) <= 'z');
    const utf8proc_category_t c = category(cp);
    return (c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO) || c == UTF8PROC_CATEGORY_ND;
}

bool gotmpl_is_print(uint32_t cp)
{
    if (cp < 0x80)
        return cp >= 0x20 && cp < 0x7F;
    const utf8proc_category_t c = category(cp);
    return c != UTF8PROC_CATEGORY_CN && c < UTF8PROC_CATEGORY_ZS;
}

bool gotmpl_is_space(uint32_t cp)
{
    if (cp < 0x80)
        return cp == ' ' || (cp >= 0x09 && cp <= 0x0D);
    return cp == 0x85 || cp == 0xA0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200A) ||
           cp == 0x2028 || cp == 0x2029 || cp == 0x202F || cp == 0x205F || cp == 0x3000;
}

size_t gotmpl_decode(gstr s, size_t at, uint32_t *out_cp)
{
    const size_t n = utf8_decode(s.p + at, s.n - at, out_cp);
    /* the replacement character itself is three bytes, whatever is bad counts as one */
    if (*out_cp == UTF8_REPLACEMENT && !(n == 3 && memcmp(s.p + at, "\xEF\xBF\xBD", 3) == 0))
        return 1;
    return n;
}

/* ---- quotes ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if ((c | 32) >= 'a' && (c | 32) <= 'f')
        return (c | 32) - 'a' + 10;
    return -1;
}

/* n digits of a base at s[*at]; -1: not that many. */
static int64_t read_digits(gstr s, size_t *at, size_t n, int base)
{
    int64_t v = 0;
    if (s.n - *at < n)
        return -1;
    for (size_t i = 0; i < n; i++) {
        const int d = hex_digit(s.p[*at + i]);
        if (d < 0 || d >= base)
            return -1;
        v = v * base + d;
    }
    *at += n;
    return v;
}

/* What stands behind a backslash at s[*at]. *out_byte: it is a byte, not a code point. */
static bool read_escape(gstr s, size_t *at, char quote, uint32_t *out_cp, bool *out_byte)
{
    static const char letters[] = "abfnrtv\\";
    static const char values[] = "\a\b\f\n\r\t\v\\";
    if (*at == s.n)
        return false;
    const char c = s.p[(*at)++];
    *out_byte = false;
    const char *known = c ? strchr(letters, c) : NULL;
    if (known) {
        *out_cp = (unsigned char)values[known - letters];
        return true;
    }
    if (c == '\'' || c == '"') {
        *out_cp = (unsigned char)c;
        return c == quote;
    }
    int64_t v = -1;
    if (c == 'x') {
        v = read_digits(s, at, 2, 16);
        *out_byte = true;
    } else if (c == 'u' || c == 'U') {
        v = read_digits(s, at, c == 'u' ? 4 : 8, 16);
        if (v > 0x10FFFF || (v >= 0xD800 && v <= 0xDFFF))
            return false;
    } else if (c >= '0' && c <= '7') {
        (*at)--;
        v = read_digits(s, at, 3, 8);
        *out_byte = true;
        if (v > 255)
            return false;
    }
    *out_cp = (uint32_t)v;
    return v >= 0;
}

static void unquote_raw(gstr s, char *out, size_t *out_n)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '\r')
            out[n++] = s.p[i];
    *out_n = n;
}

bool gotmpl_unquote(gstr quoted, char *out, size_t *out_n)
{
    const gstr s = {quoted.p + 1, quoted.n - 2};
    if (quoted.p[0] == '`') {
        unquote_raw(s, out, out_n);
        return true;
    }
    size_t n = 0;
    for (size_t i = 0; i < s.n;) {
        uint32_t cp;
        bool byte = false;
        if (s.p[i] == '\n')
            return false;
        if (s.p[i] != '\\') { /* as it is, but bytes that are no UTF-8 */
            const size_t step = gotmpl_decode(s, i, &cp);
            i += step;
        } else {
            i++;
            if (!read_escape(s, &i, quoted.p[0], &cp, &byte))
                return false;
        }
        if (byte)
            out[n++] = (char)cp;
        else
            n += utf8_encode(cp, out + n);
    }
    *out_n = n;
    return true;
}

/* A code point as it stands between quotes. */
static void put_quoted(uint32_t cp, char quote, bool ascii_only, buf *out)
{
    static const char letters[] = "abfnrtv";
    static const char values[] = "\a\b\f\n\r\t\v";
    char bytes[4];
    if (cp == (unsigned char)quote || cp == '\\') {
        (void)buf_printf(out, "\\%c", (int)cp); /* sticks in out, as below */
        return;
    }
    const char *known = cp && cp < 0x20 ? strchr(values, (int)cp) : NULL;
    if (known)
        (void)buf_printf(out, "\\%c", letters[known - values]);
    else if (ascii_only ? cp >= 0x20 && cp < 0x7F : gotmpl_is_print(cp))
        (void)buf_append(out, bytes, utf8_encode(cp, bytes));
    else if (cp < ' ' || cp == 0x7F)
        (void)buf_printf(out, "\\x%02x", (unsigned)cp);
    else if (cp < 0x10000)
        (void)buf_printf(out, "\\u%04x", (unsigned)cp);
    else
        (void)buf_printf(out, "\\U%08x", (unsigned)cp);
}

void gotmpl_quote(gstr s, bool ascii_only, buf *out)
{
    (void)buf_putc(out, '"');
    for (size_t i = 0; i < s.n;) {
        uint32_t cp;
        const size_t n = gotmpl_decode(s, i, &cp);
        if (cp == UTF8_REPLACEMENT && n == 1)
            (void)buf_printf(out, "\\x%02x", (unsigned char)s.p[i]);
        else
            put_quoted(cp, '"', ascii_only, out);
        i += n;
    }
    (void)buf_putc(out, '"');
}

void gotmpl_quote_rune(uint32_t cp, bool ascii_only, buf *out)
{
    (void)buf_putc(out, '\'');
    put_quoted(cp > 0x10FFFF || (cp >= 0xD800 && cp <= 0xDFFF) ? UTF8_REPLACEMENT : cp, '\'',
               ascii_only, out);
    (void)buf_putc(out, '\'');
}

/* ---- numbers ---- */

/* Underscores only between digits, or between a base's prefix and a digit. */
static bool good_underscores(gstr s)
{
    char before = '^'; /* begin; '0' a digit, '_', '!' anything else */
    size_t i = 0;
    bool hex = false;
    if (s.n && (s.p[0] == '+' || s.p[0] == '-'))
        i = 1;
    if (s.n - i >= 2 && s.p[i] == '0' && strchr("bBoOxX", s.p[i + 1]) && s.p[i + 1]) {
        hex = (s.p[i + 1] | 32) == 'x';
        before = '0';
        i += 2;
    }
    for (; i < s.n; i++) {
        const char c = s.p[i];
        if ((c >= '0' && c <= '9') || (hex && hex_digit(c) >= 0)) {
            before = '0';
        } else if (c == '_') {
            if (before != '0')
                return false;
            before = '_';
        } else {
            if (before == '_')
                return false;
            before = '!';
        }
    }
    return before != '_';
}

/* strconv.ParseUint(s, 0, 64) without a sign. */
static bool parse_unsigned(gstr s, uint64_t *out)
{
    unsigned base = 10;
    size_t i = 0;
    if (s.n == 0 || !good_underscores(s))
        return false;
    if (s.p[0] == '0' && s.n >= 3 && strchr("bBoOxX", s.p[1]) && s.p[1]) {
        base = (s.p[1] | 32) == 'b' ? 2 : (s.p[1] | 32) == 'o' ? 8 : 16;
        i = 2;
    } else if (s.p[0] == '0') {
        base = 8;
        i = 1;
    }
    uint64_t v = 0;
    for (; i < s.n; i++) {
        if (s.p[i] == '_')
            continue;
        const int d = hex_digit(s.p[i]);
        if (d < 0 || (unsigned)d >= base || v > (UINT64_MAX - (unsigned)d) / base)
            return false;
        v = v * base + (unsigned)d;
    }
    *out = v;
    return true;
}

static bool parse_signed(gstr s, int64_t *out)
{
    uint64_t u;
    const bool negative = s.n && s.p[0] == '-';
    if (s.n && (s.p[0] == '-' || s.p[0] == '+'))
        s = (gstr){s.p + 1, s.n - 1};
    if (!parse_unsigned(s, &u) || u > (uint64_t)INT64_MAX + (negative ? 1 : 0))
        return false;
    *out = negative ? (int64_t)(0 - u) : (int64_t)u;
    return true;
}

/* strconv.ParseFloat of what the lexer lets through as a number. */
static bool parse_float(gstr s, double *out)
{
    char text[512];
    size_t n = 0;
    bool digit = false;
    if (s.n == 0 || s.n >= sizeof text || (memchr(s.p, '_', s.n) && !good_underscores(s)))
        return false;
    const size_t sign = s.p[0] == '+' || s.p[0] == '-';
    const bool hex = s.n - sign > 2 && s.p[sign] == '0' && (s.p[sign + 1] | 32) == 'x';
    if (hex && !memchr(s.p, 'p', s.n) && !memchr(s.p, 'P', s.n))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '_')
            continue;
        digit = digit || (i >= sign + (hex ? 2 : 0) && hex_digit(s.p[i]) >= 0);
        text[n++] = s.p[i];
    }
    text[n] = '\0';
    if (!digit || strspn(text, "+-0123456789abcdefABCDEFxX.pP") != n)
        return false;
    char *end;
    errno = 0;
    const double f = strtod(text, &end);
    if (end != text + n || isinf(f))
        return false;
    *out = f;
    return true;
}

static void whole_from_float(gnumber *out)
{
    const double f = out->f;
    if (!out->is_int && f >= -9223372036854775808.0 && f < 9223372036854775808.0 &&
        (double)(int64_t)f == f) {
        out->is_int = true;
        out->i = (int64_t)f;
    }
    if (!out->is_uint && f >= 0 && f < 18446744073709551616.0 && (double)(uint64_t)f == f)
        out->is_uint = true;
}

static const char *char_number(gstr text, gnumber *out, char text_buf[128])
{
    const gstr s = {text.p + 1, text.n - 1};
    size_t at = 0;
    uint32_t cp;
    bool byte;
    if (s.p[0] == '\'')
        return "invalid syntax";
    if (s.p[0] == '\\') {
        at = 1;
        if (!read_escape(s, &at, '\'', &cp, &byte))
            return "invalid syntax";
    } else {
        at = gotmpl_decode(s, 0, &cp);
    }
    if (at + 1 != s.n) {
        (void)snprintf(text_buf, 128, "malformed character constant: %.*s",
                       text.n < 64 ? (int)text.n : 64, text.p);
        return text_buf;
    }
    *out = (gnumber){true, true, true, false, (int64_t)cp, (double)cp, 0};
    return NULL;
}

static const char *complex_number(gstr text, gnumber *out)
{
    size_t split = text.n - 1;
    while (split > 1 &&
           !((text.p[split] == '+' || text.p[split] == '-') && !strchr("eEpP", text.p[split - 1])))
        split--;
    const gstr re = {text.p, split};
    const gstr im = {text.p + split, text.n - split - 1};
    if (!parse_float(re, &out->f) || !parse_float(im, &out->im))
        return "syntax error scanning complex number";
    out->is_complex = true;
    out->is_float = out->im == 0;
    if (out->is_float)
        whole_from_float(out);
    return NULL;
}

static const char *quoted_error(const char *what, gstr text, char text_buf[128])
{
    (void)snprintf(text_buf, 128, "%s: \"%.*s\"", what, text.n < 64 ? (int)text.n : 64, text.p);
    return text_buf;
}

static bool has_any(gstr s, const char *set)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] && strchr(set, s.p[i]))
            return true;
    return false;
}

const char *gotmpl_number(gstr text, gtoken_kind kind, gnumber *out, char text_buf[128])
{
    *out = (gnumber){0};
    if (kind == GT_CHAR_CONST)
        return char_number(text, out, text_buf);
    if (kind == GT_COMPLEX)
        return complex_number(text, out);
    if (text.p[text.n - 1] == 'i' && parse_float((gstr){text.p, text.n - 1}, &out->im)) {
        out->is_complex = true;
        out->is_float = out->im == 0;
        if (out->is_float)
            whole_from_float(out);
        return NULL;
    }
    uint64_t u = 0;
    out->is_uint = parse_unsigned(text, &u);
    out->is_int = parse_signed(text, &out->i);
    if (out->is_int) {
        out->is_uint = out->is_uint || out->i == 0;
        out->is_float = true;
        out->f = (double)out->i;
    } else if (out->is_uint) {
        out->is_float = true;
        out->f = (double)u;
    } else if (parse_float(text, &out->f)) {
        if (!has_any(text, ".eEpP"))
            return quoted_error("integer overflow", text, text_buf);
        out->is_float = true;
        whole_from_float(out);
    } else {
        return quoted_error("illegal number syntax", text, text_buf);
    }
    return NULL;
}

/* Significant digits of the shortest text that reads back, and the exponent of the first. */
static size_t shortest(double f, char digits[32], int *out_exp)
{
    char text[64];
    for (int precision = 0; precision < 17; precision++) {
        (void)snprintf(text, sizeof text, "%.*e", precision, f);
        if (strtod(text, NULL) == f)
            break;
    }
    size_t n = 0;
    const char *p = text;
    for (; *p && *p != 'e'; p++)
        if (*p != '.')
            digits[n++] = *p;
    *out_exp = atoi(p + 1);
    digits[n] = '\0';
    return n;
}

void gotmpl_float_text(double f, char fmt, char out[400])
{
    char digits[32];
    int exp10;
    const char *sign = signbit(f) && !isnan(f) ? "-" : "";
    if (isnan(f) || isinf(f)) {
        (void)snprintf(out, 400, "%s", isnan(f) ? "NaN" : f > 0 ? "+Inf" : "-Inf");
        return;
    }
    const size_t n = shortest(fabs(f), digits, &exp10);
    if (fmt == 'g')
        fmt = exp10 < -4 || exp10 >= 6 ? 'e' : 'f';
    if (fmt == 'e') {
        (void)snprintf(out, 400, "%s%c%s%se%c%02d", sign, digits[0], n > 1 ? "." : "", digits + 1,
                       exp10 < 0 ? '-' : '+', abs(exp10));
        return;
    }
    size_t w = strlen(sign);
    memcpy(out, sign, w);
    if (exp10 < 0)
        out[w++] = '0';
    for (int i = 0; i <= exp10; i++)
        out[w++] = (size_t)i < n ? digits[i] : '0';
    if (exp10 < (int)n - 1) {
        out[w++] = '.';
        for (int i = -1; i > exp10; i--)
            out[w++] = '0';
        for (int i = exp10 < 0 ? 0 : exp10 + 1; i < (int)n; i++)
            out[w++] = digits[i];
    }
    out[w] = '\0';
}
