/* Methods of str. */
#include "chat/tmpl_int.h"

#include <string.h>

#include "base/utf8.h"

static const tval undefined = {.kind = V_UNDEF};

static const tstr *self(const tcall *c)
{
    return c->self.u.s;
}

static bool given(tval v)
{
    return v.kind != V_ABSENT && v.kind != V_NONE;
}

/* ---- case and stripping ---- */

static tval m_upper(trun *r, tcall *c)
{
    return tmpl_recase(r, self(c), CASE_UPPER);
}

static tval m_lower(trun *r, tcall *c)
{
    return tmpl_recase(r, self(c), CASE_LOWER);
}

static tval m_title(trun *r, tcall *c)
{
    return tmpl_recase(r, self(c), CASE_TITLE);
}

static tval m_capitalize(trun *r, tcall *c)
{
    return tmpl_recase(r, self(c), CASE_CAPITALIZE);
}

static tval m_swapcase(trun *r, tcall *c)
{
    return tmpl_recase(r, self(c), CASE_SWAP);
}

static tval m_casefold(trun *r, tcall *c)
{
    return tmpl_recase(r, self(c), CASE_FOLD);
}

static tval strip(trun *r, const tcall *c, unsigned sides)
{
    const tstr *chars = given(c->in[0]) ? tmpl_arg_str(r, c->in[0], "strip") : NULL;
    return r->fail ? undefined : tmpl_strip(r, self(c), chars, sides);
}

static tval m_strip(trun *r, tcall *c)
{
    return strip(r, c, 3);
}

static tval m_lstrip(trun *r, tcall *c)
{
    return strip(r, c, 1);
}

static tval m_rstrip(trun *r, tcall *c)
{
    return strip(r, c, 2);
}

static bool begins(const tstr *s, const tstr *with)
{
    return s->n >= with->n && memcmp(s->p, with->p, with->n) == 0;
}

static bool ends(const tstr *s, const tstr *with)
{
    return s->n >= with->n && memcmp(s->p + s->n - with->n, with->p, with->n) == 0;
}

static tval m_removeprefix(trun *r, tcall *c)
{
    const tstr *s = self(c);
    const tstr *with = tmpl_arg_str(r, c->in[0], "removeprefix()");
    if (!with || !begins(s, with))
        return c->self;
    return tmpl_str_static(r, s->p + with->n, s->n - with->n);
}

static tval m_removesuffix(trun *r, tcall *c)
{
    const tstr *s = self(c);
    const tstr *with = tmpl_arg_str(r, c->in[0], "removesuffix()");
    if (!with || !ends(s, with))
        return c->self;
    return tmpl_str_static(r, s->p, s->n - with->n);
}

/* ---- finding; from and to are code points, as in a slice ---- */

/* The part of s that from and to leave; false: from is past its end. */
static bool window(trun *r, const tstr *s, tval from_val, tval to_val, tstr *out, size_t *out_from)
{
    const int64_t n = (int64_t)s->n_cp;
    int64_t from = given(from_val) ? tmpl_arg_int(r, from_val, 0, "start") : 0;
    int64_t to = given(to_val) ? tmpl_arg_int(r, to_val, n, "end") : n;
    if (from < 0)
        from = from + n < 0 ? 0 : from + n;
    if (to < 0)
        to = to + n < 0 ? 0 : to + n;
    if (to > n)
        to = n;
    *out_from = (size_t)from;
    if (from > to || r->fail)
        return false;
    const size_t a = tmpl_byte_at(s, (size_t)from);
    const size_t b = tmpl_byte_at(s, (size_t)to);
    *out = (tstr){s->p + a, b - a, (size_t)(to - from)};
    return tmpl_step(r, s->n / 16);
}

static tval edge(trun *r, const tcall *c, bool (*test)(const tstr *s, const tstr *with))
{
    tstr part;
    size_t from;
    const tval with = c->in[0];
    if (!window(r, self(c), c->in[1], c->in[2], &part, &from))
        return tmpl_bool(false);
    if (with.kind == V_STR)
        return tmpl_bool(test(&part, with.u.s));
    if (with.kind != V_TUPLE)
        return with.kind == V_UNDEF
                   ? tmpl_no_use(r, with)
                   : tmpl_fail(r, "first arg must be str or a tuple of str, not %s",
                               tmpl_type(with));
    for (size_t i = 0; i < with.u.list->n; i++) {
        const tstr *one = tmpl_arg_str(r, with.u.list->items[i], "a tuple of prefixes");
        if (one && test(&part, one))
            return tmpl_bool(true);
    }
    return tmpl_bool(false);
}

static tval m_startswith(trun *r, tcall *c)
{
    return edge(r, c, begins);
}

static tval m_endswith(trun *r, tcall *c)
{
    return edge(r, c, ends);
}

static int64_t find_last(const tstr *s, const tstr *what)
{
    for (size_t i = s->n + 1; i-- > 0;) {
        if (s->n - i >= what->n && memcmp(s->p + i, what->p, what->n) == 0)
            return (int64_t)i;
    }
    return -1;
}

/* Code point where it is, or -1. */
static int64_t find(trun *r, const tcall *c, bool last)
{
    tstr part;
    size_t from;
    const tstr *what = tmpl_arg_str(r, c->in[0], "find()");
    if (!what || !window(r, self(c), c->in[1], c->in[2], &part, &from) ||
        !tmpl_step_search(r, part.n, what->n))
        return -1;
    const int64_t at =
        last ? find_last(&part, what) : tmpl_find_bytes(part.p, part.n, what->p, what->n);
    return at < 0 ? -1 : (int64_t)(from + tmpl_count_cp(part.p, (size_t)at));
}

static tval m_find(trun *r, tcall *c)
{
    return tmpl_int(find(r, c, false));
}

static tval m_rfind(trun *r, tcall *c)
{
    return tmpl_int(find(r, c, true));
}

static tval m_index(trun *r, tcall *c)
{
    const int64_t at = find(r, c, false);
    return at < 0 ? tmpl_fail(r, "substring not found") : tmpl_int(at);
}

static tval m_rindex(trun *r, tcall *c)
{
    const int64_t at = find(r, c, true);
    return at < 0 ? tmpl_fail(r, "substring not found") : tmpl_int(at);
}

static tval m_count(trun *r, tcall *c)
{
    tstr part;
    size_t from;
    const tstr *what = tmpl_arg_str(r, c->in[0], "count()");
    if (!what || !window(r, self(c), c->in[1], c->in[2], &part, &from) ||
        !tmpl_step_search(r, part.n, what->n))
        return tmpl_int(0);
    if (what->n == 0)
        return tmpl_int((int64_t)part.n_cp + 1);
    int64_t n = 0;
    for (size_t i = 0; i < part.n; n++) {
        const int64_t at = tmpl_find_bytes(part.p + i, part.n - i, what->p, what->n);
        if (at < 0)
            break;
        i += (size_t)at + what->n;
    }
    return tmpl_int(n);
}

static tval m_replace(trun *r, tcall *c)
{
    const tstr *from = tmpl_arg_str(r, c->in[0], "replace()");
    const tstr *to = tmpl_arg_str(r, c->in[1], "replace()");
    const int64_t count = tmpl_arg_int(r, c->in[2], -1, "replace()");
    return r->fail ? undefined : tmpl_replace(r, self(c), from, to, count);
}

/* ---- splitting ---- */

static size_t space_before(const tstr *s, size_t end, bool space)
{
    size_t to = end;
    while (to > 0) {
        size_t at = to - 1;
        while (at > 0 && ((unsigned char)s->p[at] & 0xC0) == 0x80)
            at--;
        uint32_t cp;
        (void)utf8_decode(s->p + at, to - at, &cp); /* its length is to - at */
        if (tmpl_is_space(cp) != space)
            break;
        to = at;
    }
    return to;
}

static size_t space_after(const tstr *s, size_t from, bool space)
{
    size_t i = from;
    while (i < s->n) {
        uint32_t cp;
        const size_t len = utf8_decode(s->p + i, s->n - i, &cp);
        if (tmpl_is_space(cp) != space)
            break;
        i += len;
    }
    return i;
}

static void add_part(trun *r, tlist *l, const tstr *s, size_t from, size_t to)
{
    (void)tmpl_list_add(r, l, tmpl_str_static(r, s->p + from, to - from)); /* sticks in r */
}

static void split_words(trun *r, tlist *l, const tstr *s, int64_t max)
{
    size_t i = space_after(s, 0, true);
    for (int64_t left = max; i < s->n && !r->fail; left--) {
        const size_t end = left == 0 ? space_before(s, s->n, true) : space_after(s, i, false);
        /* what is left over keeps the white space at its end */
        add_part(r, l, s, i, left == 0 ? s->n : end);
        i = left == 0 ? s->n : space_after(s, end, true);
    }
}

static void split_at(trun *r, tlist *l, const tstr *s, const tstr *sep, int64_t max)
{
    size_t i = 0;
    for (int64_t left = max; left != 0 && !r->fail; left--) {
        const int64_t at = tmpl_find_bytes(s->p + i, s->n - i, sep->p, sep->n);
        if (at < 0)
            break;
        add_part(r, l, s, i, i + (size_t)at);
        i += (size_t)at + sep->n;
    }
    add_part(r, l, s, i, s->n);
}

static void turn_around(tlist *l)
{
    for (size_t i = 0; i < l->n / 2; i++) {
        const tval v = l->items[i];
        l->items[i] = l->items[l->n - 1 - i];
        l->items[l->n - 1 - i] = v;
    }
}

static void rsplit_words(trun *r, tlist *l, const tstr *s, int64_t max)
{
    size_t end = space_before(s, s->n, true);
    for (int64_t left = max; end > 0 && !r->fail; left--) {
        const size_t from = left == 0 ? 0 : space_before(s, end, false);
        add_part(r, l, s, from, end);
        end = left == 0 ? 0 : space_before(s, from, true);
    }
    turn_around(l);
}

static void rsplit_at(trun *r, tlist *l, const tstr *s, const tstr *sep, int64_t max)
{
    tstr head = *s;
    for (int64_t left = max; left != 0 && !r->fail; left--) {
        const int64_t at = find_last(&head, sep);
        if (at < 0)
            break;
        add_part(r, l, s, (size_t)at + sep->n, head.n);
        head.n = (size_t)at;
    }
    add_part(r, l, s, 0, head.n);
    turn_around(l);
}

static tval split(trun *r, const tcall *c, bool from_right)
{
    const tstr *sep = given(c->in[0]) ? tmpl_arg_str(r, c->in[0], "split()") : NULL;
    const int64_t max = tmpl_arg_int(r, c->in[1], -1, "split()");
    tlist *l = tmpl_list_new(r, 0);
    if (!l || r->fail || !tmpl_step_search(r, self(c)->n, sep ? sep->n : 1))
        return undefined;
    if (sep && sep->n == 0)
        return tmpl_fail(r, "empty separator");
    if (sep && from_right)
        rsplit_at(r, l, self(c), sep, max);
    else if (sep)
        split_at(r, l, self(c), sep, max);
    else if (from_right)
        rsplit_words(r, l, self(c), max);
    else
        split_words(r, l, self(c), max);
    return tmpl_list_val(l);
}

static tval m_split(trun *r, tcall *c)
{
    return split(r, c, false);
}

static tval m_rsplit(trun *r, tcall *c)
{
    return split(r, c, true);
}

static tval m_splitlines(trun *r, tcall *c)
{
    return tmpl_list_val(tmpl_splitlines(r, self(c), tmpl_truth(r, c->in[0])));
}

static tval partition(trun *r, const tcall *c, bool from_right)
{
    const tstr *s = self(c);
    const tstr *sep = tmpl_arg_str(r, c->in[0], "partition()");
    tlist *l = tmpl_list_new(r, 3);
    if (!sep || !l || !tmpl_step_search(r, s->n, sep->n))
        return undefined;
    if (sep->n == 0)
        return tmpl_fail(r, "empty separator");
    const int64_t at = from_right ? find_last(s, sep) : tmpl_find_bytes(s->p, s->n, sep->p, sep->n);
    const size_t before = at >= 0 ? (size_t)at : from_right ? 0 : s->n;
    const size_t behind = at >= 0 ? (size_t)at + sep->n : before;
    add_part(r, l, s, 0, before);
    add_part(r, l, s, before, behind);
    add_part(r, l, s, behind, s->n);
    return tmpl_tuple_val(l);
}

static tval m_partition(trun *r, tcall *c)
{
    return partition(r, c, false);
}

static tval m_rpartition(trun *r, tcall *c)
{
    return partition(r, c, true);
}

static tval m_join(trun *r, tcall *c)
{
    const tlist *l = tmpl_iter(r, c->in[0]);
    return l ? tmpl_join(r, self(c), l, true) : undefined;
}

static tval m_format(trun *r, tcall *c)
{
    return tmpl_format(r, self(c), c);
}

/* ---- padding ---- */

static tval pad(trun *r, const tcall *c, int how)
{
    const tstr *s = self(c);
    const int64_t width = tmpl_arg_int(r, c->in[0], 0, "width");
    const tstr *fill = c->in[1].kind == V_ABSENT ? NULL : tmpl_arg_str(r, c->in[1], "fill");
    if (fill && fill->n_cp != 1)
        return tmpl_fail(r, "The fill character must be exactly one character long");
    if (r->fail || width <= (int64_t)s->n_cp)
        return c->self;
    const size_t n = (size_t)width - s->n_cp;
    /* center puts the odd one on the left of an odd width, as CPython does */
    const size_t left = how < 0 ? 0 : how > 0 ? n : n / 2 + (n & (size_t)width & 1);
    buf b;
    buf_init(&b, r->mem.max_bytes);
    for (size_t i = 0; i < n && !b.fail; i++) {
        if (i == left)
            (void)buf_append(&b, s->p, s->n); /* sticks in b */
        (void)buf_append(&b, fill ? fill->p : " ", fill ? fill->n : 1);
    }
    if (left == n)
        (void)buf_append(&b, s->p, s->n);
    return tmpl_buf_str(r, &b);
}

static tval m_ljust(trun *r, tcall *c)
{
    return pad(r, c, -1);
}

static tval m_rjust(trun *r, tcall *c)
{
    return pad(r, c, 1);
}

static tval m_center(trun *r, tcall *c)
{
    return pad(r, c, 0);
}

static tval m_zfill(trun *r, tcall *c)
{
    const tstr *s = self(c);
    const int64_t width = tmpl_arg_int(r, c->in[0], 0, "zfill()");
    const size_t sign = s->n && (s->p[0] == '-' || s->p[0] == '+');
    if (r->fail || width <= (int64_t)s->n_cp)
        return c->self;
    buf b;
    buf_init(&b, r->mem.max_bytes);
    (void)buf_append(&b, s->p, sign); /* sticks in b */
    for (size_t i = s->n_cp; i < (size_t)width && !b.fail; i++)
        (void)buf_putc(&b, '0');
    (void)buf_append(&b, s->p + sign, s->n - sign);
    return tmpl_buf_str(r, &b);
}

static tval m_expandtabs(trun *r, tcall *c)
{
    const tstr *s = self(c);
    const int64_t size = tmpl_arg_int(r, c->in[0], 8, "expandtabs()");
    int64_t column = 0;
    buf b;
    buf_init(&b, r->mem.max_bytes);
    for (size_t i = 0; i < s->n && !b.fail; i++) {
        const char ch = s->p[i];
        if (ch == '\t') {
            for (int64_t n = size > 0 ? size - column % size : 0; n > 0 && !b.fail; n--, column++)
                (void)buf_putc(&b, ' '); /* sticks in b */
            continue;
        }
        (void)buf_putc(&b, ch);
        column += ((unsigned char)ch & 0xC0) != 0x80;
        if (ch == '\n' || ch == '\r')
            column = 0;
    }
    return tmpl_buf_str(r, &b);
}

/* ---- is...() ---- */

/* Not empty, and every character passes. */
static tval all(const tstr *s, bool (*test)(uint32_t cp))
{
    for (size_t i = 0; i < s->n;) {
        uint32_t cp;
        i += utf8_decode(s->p + i, s->n - i, &cp);
        if (!test(cp))
            return tmpl_bool(false);
    }
    return tmpl_bool(s->n > 0);
}

static bool is_alnum(uint32_t cp)
{
    return cp != '_' && tmpl_is_word(cp);
}

static tval m_isalpha(trun *r, tcall *c)
{
    (void)r;
    return all(self(c), tmpl_is_alpha);
}

static tval m_isdigit(trun *r, tcall *c)
{
    (void)r;
    return all(self(c), tmpl_is_digit);
}

static tval m_isalnum(trun *r, tcall *c)
{
    (void)r;
    return all(self(c), is_alnum);
}

static tval m_isspace(trun *r, tcall *c)
{
    (void)r;
    return all(self(c), tmpl_is_space);
}

static tval m_isascii(trun *r, tcall *c)
{
    (void)r;
    for (size_t i = 0; i < self(c)->n; i++) {
        if ((unsigned char)self(c)->p[i] >= 0x80)
            return tmpl_bool(false);
    }
    return tmpl_bool(true);
}

static tval m_isprintable(trun *r, tcall *c)
{
    (void)r;
    return self(c)->n ? all(self(c), tmpl_is_printable) : tmpl_bool(true);
}

static tval case_test(trun *r, tcall *c, const char *test)
{
    const tstr name = {test, strlen(test), strlen(test)};
    return tmpl_find_test(&name)->fn(r, c);
}

static tval m_isupper(trun *r, tcall *c)
{
    return case_test(r, c, "upper");
}

static tval m_islower(trun *r, tcall *c)
{
    return case_test(r, c, "lower");
}

static tval m_istitle(trun *r, tcall *c)
{
    const tstr *s = self(c);
    bool in_word = false;
    bool seen = false;
    (void)r;
    for (size_t i = 0; i < s->n;) {
        uint32_t cp;
        i += utf8_decode(s->p + i, s->n - i, &cp);
        const bool upper = tmpl_is_upper(cp);
        const bool lower = tmpl_is_lower(cp);
        if (upper ? in_word : lower && !in_word)
            return tmpl_bool(false);
        in_word = upper || lower;
        seen |= in_word;
    }
    return tmpl_bool(seen);
}

static tval m_isidentifier(trun *r, tcall *c)
{
    uint32_t first = 0;
    (void)r;
    if (self(c)->n)
        (void)utf8_decode(self(c)->p, self(c)->n, &first);
    if (!tmpl_is_alpha(first) && first != '_')
        return tmpl_bool(false);
    return all(self(c), tmpl_is_word);
}

const tbuiltin *tmpl_find_str_method(const tstr *name)
{
    static const tbuiltin table[] = {
        {"upper", m_upper, 0, ""},
        {"lower", m_lower, 0, ""},
        {"title", m_title, 0, ""},
        {"capitalize", m_capitalize, 0, ""},
        {"swapcase", m_swapcase, 0, ""},
        {"casefold", m_casefold, 0, ""},
        {"strip", m_strip, 0, "chars"},
        {"lstrip", m_lstrip, 0, "chars"},
        {"rstrip", m_rstrip, 0, "chars"},
        {"removeprefix", m_removeprefix, 1, "prefix"},
        {"removesuffix", m_removesuffix, 1, "suffix"},
        {"startswith", m_startswith, 1, "prefix start end"},
        {"endswith", m_endswith, 1, "suffix start end"},
        {"find", m_find, 1, "sub start end"},
        {"rfind", m_rfind, 1, "sub start end"},
        {"index", m_index, 1, "sub start end"},
        {"rindex", m_rindex, 1, "sub start end"},
        {"count", m_count, 1, "sub start end"},
        {"replace", m_replace, 2, "old new count"},
        {"split", m_split, 0, "sep maxsplit"},
        {"rsplit", m_rsplit, 0, "sep maxsplit"},
        {"splitlines", m_splitlines, 0, "keepends"},
        {"partition", m_partition, 1, "sep"},
        {"rpartition", m_rpartition, 1, "sep"},
        {"join", m_join, 1, "iterable"},
        {"format", m_format, 0, NULL},
        {"ljust", m_ljust, 1, "width fillchar"},
        {"rjust", m_rjust, 1, "width fillchar"},
        {"center", m_center, 1, "width fillchar"},
        {"zfill", m_zfill, 1, "width"},
        {"expandtabs", m_expandtabs, 0, "tabsize"},
        {"isalpha", m_isalpha, 0, ""},
        {"isdigit", m_isdigit, 0, ""},
        {"isdecimal", m_isdigit, 0, ""},
        {"isnumeric", m_isdigit, 0, ""},
        {"isalnum", m_isalnum, 0, ""},
        {"isspace", m_isspace, 0, ""},
        {"isascii", m_isascii, 0, ""},
        {"isprintable", m_isprintable, 0, ""},
        {"isupper", m_isupper, 0, ""},
        {"islower", m_islower, 0, ""},
        {"istitle", m_istitle, 0, ""},
        {"isidentifier", m_isidentifier, 0, ""},
    };
    return tmpl_find(table, sizeof table / sizeof *table, name);
}
