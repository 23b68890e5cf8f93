/* What Python's str knows of Unicode, by utf8proc. */
#include "chat/tmpl_int.h"

#include <utf8proc.h>

#include "base/utf8.h"

bool tmpl_is_space(uint32_t cp)
{
    if (cp < 0x80)
        return cp == ' ' || (cp >= 0x09 && cp <= 0x0D) || (cp >= 0x1C && cp <= 0x1F);
    return cp == 0x85 || cp == 0xA0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200A) ||
           cp == 0x2028 || cp == 0x2029 || cp == 0x202F || cp == 0x205F || cp == 0x3000;
}

static utf8proc_category_t category(uint32_t cp)
{
    return utf8proc_category((utf8proc_int32_t)cp);
}

bool tmpl_is_alpha(uint32_t cp)
{
    const utf8proc_category_t c = category(cp);
    return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
}

bool tmpl_is_digit(uint32_t cp)
{
    return cp < 0x80 ? cp >= '0' && cp <= '9' : category(cp) == UTF8PROC_CATEGORY_ND;
}

bool tmpl_is_upper(uint32_t cp)
{
    return category(cp) == UTF8PROC_CATEGORY_LU;
}

bool tmpl_is_lower(uint32_t cp)
{
    return category(cp) == UTF8PROC_CATEGORY_LL || cp == 0xAA || cp == 0xBA;
}

bool tmpl_is_word(uint32_t cp)
{
    const utf8proc_category_t c = category(cp);
    return cp == '_' || tmpl_is_alpha(cp) ||
           (c >= UTF8PROC_CATEGORY_ND && c <= UTF8PROC_CATEGORY_NO);
}

bool tmpl_is_printable(uint32_t cp)
{
    if (cp < 0x80)
        return cp >= 0x20 && cp < 0x7F;
    const utf8proc_category_t c = category(cp);
    return c != UTF8PROC_CATEGORY_CN && (c < UTF8PROC_CATEGORY_ZS || c > UTF8PROC_CATEGORY_CO);
}

/* Upper cases of more than one character (SpecialCasing.txt); title case has the second smaller. */
static const struct {
    uint32_t from;
    const char *upper;
    const char *title;
} special_upper[] = {
    {0xDF, "SS", "Ss"},     {0x149, "ʼN", "ʼN"},    {0x1F0, "J̌", "J̌"},    {0x587, "ԵՒ", "Եւ"},
    {0x1E96, "H̱", "H̱"},     {0x1E97, "T̈", "T̈"},     {0x1E98, "W̊", "W̊"},   {0x1E99, "Y̊", "Y̊"},
    {0x1E9A, "Aʾ", "Aʾ"},   {0xFB00, "FF", "Ff"},   {0xFB01, "FI", "Fi"}, {0xFB02, "FL", "Fl"},
    {0xFB03, "FFI", "Ffi"}, {0xFB04, "FFL", "Ffl"}, {0xFB05, "ST", "St"}, {0xFB06, "ST", "St"},
    {0xFB13, "ՄՆ", "Մն"},
};

static void put_cp(uint32_t cp, buf *out)
{
    char bytes[4];
    (void)buf_append(out, bytes, utf8_encode(cp, bytes)); /* sticks in out */
}

static void put_upper(uint32_t cp, bool title, buf *out)
{
    for (size_t i = 0; i < sizeof special_upper / sizeof *special_upper; i++) {
        if (special_upper[i].from == cp) {
            (void)buf_puts(out, title ? special_upper[i].title : special_upper[i].upper);
            return;
        }
    }
    const utf8proc_int32_t c = (utf8proc_int32_t)cp;
    put_cp((uint32_t)(title ? utf8proc_totitle(c) : utf8proc_toupper(c)), out);
}

/* A sigma at the end of a word has a form of its own. */
static bool final_sigma(const tstr *s, size_t at, size_t behind)
{
    uint32_t cp = 0;
    size_t i = at;
    while (i > 0) {
        i--;
        if (((unsigned char)s->p[i] & 0xC0) != 0x80)
            break;
    }
    if (at > 0)
        (void)utf8_decode(s->p + i, at - i, &cp);
    if (at == 0 || !tmpl_is_alpha(cp))
        return false;
    if (behind < s->n)
        (void)utf8_decode(s->p + behind, s->n - behind, &cp);
    return behind >= s->n || !tmpl_is_alpha(cp);
}

static void put_lower(const tstr *s, size_t at, size_t len, uint32_t cp, buf *out)
{
    if (cp == 0x3A3)
        put_cp(final_sigma(s, at, at + len) ? 0x3C2 : 0x3C3, out);
    else if (cp == 0x130)
        (void)buf_puts(out, "i̇");
    else
        put_cp((uint32_t)utf8proc_tolower((utf8proc_int32_t)cp), out);
}

static void put_folded(const tstr *s, size_t at, size_t len, uint32_t cp, buf *out)
{
    if (cp == 0xDF || cp == 0x1E9E)
        (void)buf_puts(out, "ss");
    else if (cp == 0x3A3 || cp == 0x3C2)
        put_cp(0x3C3, out);
    else
        put_lower(s, at, len, cp, out);
}

tval tmpl_recase(trun *r, const tstr *s, tcase how)
{
    buf b;
    buf_init(&b, r->mem.max_bytes);
    bool in_word = false;
    if (!tmpl_step(r, s->n / 8))
        return (tval){.kind = V_UNDEF};
    for (size_t i = 0; i < s->n;) {
        uint32_t cp;
        const size_t len = utf8_decode(s->p + i, s->n - i, &cp);
        const bool cased =
            tmpl_is_upper(cp) || tmpl_is_lower(cp) || category(cp) == UTF8PROC_CATEGORY_LT;
        const bool first = how == CASE_CAPITALIZE ? i == 0 : !in_word;
        const bool title = how == CASE_TITLE || how == CASE_CAPITALIZE;
        if (how == CASE_UPPER || (how == CASE_SWAP && tmpl_is_lower(cp)) || (title && first))
            put_upper(cp, title, &b);
        else if (how == CASE_FOLD)
            put_folded(s, i, len, cp, &b);
        else if (how == CASE_SWAP && !tmpl_is_upper(cp))
            put_cp(cp, &b);
        else
            put_lower(s, i, len, cp, &b);
        in_word = cased;
        i += len;
    }
    return tmpl_buf_str(r, &b);
}

static bool in_set(uint32_t cp, const tstr *chars)
{
    if (!chars)
        return tmpl_is_space(cp);
    for (size_t i = 0; i < chars->n;) {
        uint32_t c;
        i += utf8_decode(chars->p + i, chars->n - i, &c);
        if (c == cp)
            return true;
    }
    return false;
}

tval tmpl_strip(trun *r, const tstr *s, const tstr *chars, unsigned sides)
{
    size_t from = 0;
    size_t to = s->n;
    if (!tmpl_step(r, s->n / 16 * (chars ? chars->n / 8 + 1 : 1)))
        return (tval){.kind = V_UNDEF};
    while ((sides & 1) && from < to) {
        uint32_t cp;
        const size_t len = utf8_decode(s->p + from, to - from, &cp);
        if (!in_set(cp, chars))
            break;
        from += len;
    }
    while ((sides & 2) && to > from) {
        size_t at = to - 1;
        while (at > from && ((unsigned char)s->p[at] & 0xC0) == 0x80)
            at--;
        uint32_t cp;
        (void)utf8_decode(s->p + at, to - at, &cp); /* its length is to - at */
        if (!in_set(cp, chars))
            break;
        to = at;
    }
    return tmpl_str_static(r, s->p + from, to - from);
}
