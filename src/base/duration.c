#include "base/duration.h"

#include <stdio.h>
#include <string.h>

#define MAX_ABS ((uint64_t)1 << 63) /* of nanoseconds: that of the lowest int64_t */

typedef struct unit {
    const char *name;
    uint64_t ns;
} unit;

static const unit units[] = {
    {"ns", 1},           {"us", 1000},      {"\xc2\xb5s", 1000}, /* U+00B5, the micro sign */
    {"\xce\xbcs", 1000},                                         /* U+03BC, the Greek letter */
    {"ms", 1000000},     {"s", 1000000000}, {"m", 60000000000},  {"h", 3600000000000},
};

/* As Go quotes in these texts: control characters and bytes past ASCII in hex. Cut where out is
 * full. */
static void quote(const char *text, size_t n, char *out, size_t out_bytes)
{
    size_t at = 0;
    out[at++] = '"';
    for (size_t i = 0; i < n && at + 6 < out_bytes; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (c >= 0x80 || c < ' ') {
            (void)snprintf(out + at, 5, "\\x%02x",
                           c); /* four characters, for which there is room */
            at += 4;
            continue;
        }
        if (c == '"' || c == '\\')
            out[at++] = '\\';
        out[at++] = (char)c;
    }
    out[at++] = '"';
    out[at] = '\0';
}

typedef struct scan {
    const char *p, *end;
} scan;

static bool is_digit(const scan *s)
{
    return s->p < s->end && *s->p >= '0' && *s->p <= '9';
}

/* False: the number is past what a duration can hold. */
static bool scan_int(scan *s, uint64_t *out)
{
    uint64_t x = 0;
    for (; is_digit(s); s->p++) {
        if (x > MAX_ABS / 10)
            return false;
        x = x * 10 + (uint64_t)(*s->p - '0');
        if (x > MAX_ABS)
            return false;
    }
    *out = x;
    return true;
}

/* Digits behind a point; those that a uint64_t cannot hold change nothing. */
static void scan_fraction(scan *s, uint64_t *out, double *out_scale)
{
    uint64_t x = 0;
    double scale = 1;
    bool full = false;
    for (; is_digit(s); s->p++) {
        if (full || x > (MAX_ABS - 1) / 10) {
            full = true;
            continue;
        }
        const uint64_t y = x * 10 + (uint64_t)(*s->p - '0');
        if (y > MAX_ABS) {
            full = true;
            continue;
        }
        x = y;
        scale *= 10;
    }
    *out = x;
    *out_scale = scale;
}

/* The run up to the next digit or point. */
static const unit *scan_unit(scan *s, const char **out_text, size_t *out_n)
{
    const char *from = s->p;
    while (s->p < s->end && *s->p != '.' && !is_digit(s))
        s->p++;
    *out_text = from;
    *out_n = (size_t)(s->p - from);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strlen(units[i].name) == *out_n && !memcmp(units[i].name, from, *out_n))
            return &units[i];
    return NULL;
}

typedef enum term_result { TERM_OK, TERM_INVALID, TERM_NO_UNIT, TERM_UNKNOWN_UNIT } term_result;

/* One number with its unit, added to *sum. */
static term_result scan_term(scan *s, uint64_t *sum, const char **out_unit, size_t *out_n)
{
    uint64_t v = 0;
    uint64_t f = 0;
    double scale = 1;
    const char *from = s->p;
    if (!scan_int(s, &v))
        return TERM_INVALID;
    bool any = s->p != from;
    if (s->p < s->end && *s->p == '.') {
        s->p++;
        from = s->p;
        scan_fraction(s, &f, &scale);
        any = any || s->p != from;
    }
    if (!any)
        return TERM_INVALID;
    const unit *u = scan_unit(s, out_unit, out_n);
    if (*out_n == 0)
        return TERM_NO_UNIT;
    if (!u)
        return TERM_UNKNOWN_UNIT;
    if (v > MAX_ABS / u->ns)
        return TERM_INVALID;
    v *= u->ns;
    if (f > 0)
        v += (uint64_t)((double)f * ((double)u->ns / scale)); /* below one unit: no overflow */
    if (v > MAX_ABS - *sum)
        return TERM_INVALID;
    *sum += v;
    return TERM_OK;
}

static cama_err refuse(term_result r, scan all, scan unit_text, err_info *err)
{
    char quoted[192];
    char quoted_unit[64];
    quote(all.p, (size_t)(all.end - all.p), quoted, sizeof quoted);
    if (r == TERM_NO_UNIT)
        return err_set(err, CAMA_ERR_ARG, "time: missing unit in duration %s", quoted);
    if (r == TERM_UNKNOWN_UNIT) {
        quote(unit_text.p, (size_t)(unit_text.end - unit_text.p), quoted_unit, sizeof quoted_unit);
        return err_set(err, CAMA_ERR_ARG, "time: unknown unit %s in duration %s", quoted_unit,
                       quoted);
    }
    return err_set(err, CAMA_ERR_ARG, "time: invalid duration %s", quoted);
}

/* Appends the last `digits` decimal digits of *v as a fraction without trailing zeros, from the
 * end of out backwards; *v keeps the rest. */
static char *put_fraction(char *at, uint64_t *v, int digits)
{
    bool print = false;
    for (int i = 0; i < digits; i++) {
        const uint64_t digit = *v % 10;
        print = print || digit != 0;
        if (print)
            *--at = (char)('0' + digit);
        *v /= 10;
    }
    if (print)
        *--at = '.';
    return at;
}

static char *put_int(char *at, uint64_t v)
{
    do {
        *--at = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    return at;
}

static char *put_small(char *at, uint64_t v)
{
    *--at = 's';
    if (v < 1000) {
        *--at = 'n';
        return put_int(at, v);
    }
    int digits = 3;
    if (v < 1000000) {
        *--at = '\xb5';
        *--at = '\xc2';
    } else {
        *--at = 'm';
        digits = 6;
    }
    at = put_fraction(at, &v, digits);
    return put_int(at, v);
}

static char *put_large(char *at, uint64_t v)
{
    *--at = 's';
    at = put_fraction(at, &v, 9);
    at = put_int(at, v % 60);
    v /= 60;
    if (v == 0)
        return at;
    *--at = 'm';
    at = put_int(at, v % 60);
    v /= 60;
    if (v == 0)
        return at;
    *--at = 'h';
    return put_int(at, v);
}

cama_err go_duration_parse(const char *text, size_t n, int64_t *out_ns, err_info *err)
{
    const scan all = {text, text + n};
    scan s = all;
    bool negative = false;
    if (n > 0 && (*text == '-' || *text == '+')) {
        negative = *text == '-';
        s.p++;
    }
    if (s.end - s.p == 1 && *s.p == '0') {
        *out_ns = 0;
        return CAMA_OK;
    }
    if (s.p == s.end)
        return refuse(TERM_INVALID, all, s, err);
    uint64_t sum = 0;
    while (s.p < s.end) {
        const char *unit_text = s.p; /* until a unit is found: a null pointer takes no offset */
        size_t n_unit = 0;
        const term_result r = scan_term(&s, &sum, &unit_text, &n_unit);
        if (r)
            return refuse(r, all, (scan){unit_text, unit_text + n_unit}, err);
    }
    if (!negative && sum == MAX_ABS)
        return refuse(TERM_INVALID, all, s, err);
    *out_ns = negative ? (sum == MAX_ABS ? INT64_MIN : -(int64_t)sum) : (int64_t)sum;
    return CAMA_OK;
}

size_t go_duration_format(int64_t ns, char out[DURATION_BYTES])
{
    /* From the end backwards, as the small digits come first; "-2562047h47m16.854775808s" is the
     * longest. */
    char text[DURATION_BYTES];
    char *end = text + sizeof text;
    char *at = end;
    const uint64_t v = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
    if (v == 0) {
        *--at = 's';
        *--at = '0';
    } else {
        at = v < 1000000000 ? put_small(at, v) : put_large(at, v);
    }
    if (ns < 0)
        *--at = '-';
    const size_t n = (size_t)(end - at);
    memcpy(out, at, n);
    out[n] = '\0';
    return n;
}
