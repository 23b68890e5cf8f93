/* Text work that filters and methods share. */
#include "chat/tmpl_int.h"

#include <string.h>

#include "base/utf8.h"

const tstr *tmpl_arg_str(trun *r, tval v, const char *who)
{
    if (v.kind == V_STR)
        return v.u.s;
    if (v.kind == V_UNDEF)
        (void)tmpl_no_use(r, v); /* sticks in r */
    else
        (void)tmpl_fail(r, "%s wants a str, not %s", who, tmpl_type(v));
    return NULL;
}

int64_t tmpl_arg_int(trun *r, tval v, int64_t absent, const char *who)
{
    if (v.kind == V_ABSENT)
        return absent;
    if (tmpl_is_intlike(v))
        return tmpl_as_int(v);
    if (v.kind == V_UNDEF)
        (void)tmpl_no_use(r, v); /* sticks in r */
    else
        (void)tmpl_fail(r, "%s wants an int, not %s", who, tmpl_type(v));
    return absent;
}

bool tmpl_step_search(trun *r, size_t n, size_t n_what)
{
    const size_t per_byte = n_what > 64 ? n_what / 16 : 1; /* both within the memory of a render */
    return tmpl_step(r, n / 16 * per_byte);
}

int64_t tmpl_find_bytes(const char *p, size_t n, const char *what, size_t n_what)
{
    if (n_what == 0)
        return 0;
    for (size_t i = 0; n_what <= n && i <= n - n_what; i++) {
        const char *at = memchr(p + i, what[0], n - n_what - i + 1);
        if (!at)
            return -1;
        i = (size_t)(at - p);
        if (memcmp(at, what, n_what) == 0)
            return (int64_t)i;
    }
    return -1;
}

/* An empty `from` matches before every character and at the end. */
static void replace_between(trun *r, const tstr *s, const tstr *to, int64_t count, buf *out)
{
    int64_t left = count;
    for (size_t i = 0; i <= s->n && !r->fail && !out->fail;) {
        if (left != 0) {
            (void)buf_append(out, to->p, to->n); /* sticks in out */
            left--;
        }
        uint32_t cp;
        const size_t len = i < s->n ? utf8_decode(s->p + i, s->n - i, &cp) : 1;
        if (i < s->n)
            (void)buf_append(out, s->p + i, len);
        i += len;
    }
}

tval tmpl_replace(trun *r, const tstr *s, const tstr *from, const tstr *to, int64_t count)
{
    buf b;
    buf_init(&b, r->mem.max_bytes);
    if (!tmpl_step_search(r, s->n, from->n))
        return (tval){.kind = V_UNDEF};
    if (from->n == 0) {
        replace_between(r, s, to, count, &b);
        return tmpl_buf_str(r, &b);
    }
    size_t i = 0;
    for (int64_t left = count; left != 0 && !b.fail; left--) {
        const int64_t at = tmpl_find_bytes(s->p + i, s->n - i, from->p, from->n);
        if (at < 0)
            break;
        (void)buf_append(&b, s->p + i, (size_t)at); /* sticks in b */
        (void)buf_append(&b, to->p, to->n);
        i += (size_t)at + from->n;
    }
    (void)buf_append(&b, s->p + i, s->n - i);
    return tmpl_buf_str(r, &b);
}

tval tmpl_join(trun *r, const tstr *sep, const tlist *l, bool strict)
{
    buf b;
    buf_init(&b, r->mem.max_bytes);
    for (size_t i = 0; l && i < l->n && !r->fail && !b.fail; i++) {
        if (strict && l->items[i].kind != V_STR)
            (void)tmpl_fail(r, "sequence item %zu: expected str instance, %s found", i,
                            tmpl_type(l->items[i])); /* sticks in r */
        if (i)
            (void)buf_append(&b, sep->p, sep->n); /* sticks in b */
        tmpl_put_str(r, l->items[i], &b);
    }
    return tmpl_buf_str(r, &b);
}

static bool is_line_end(uint32_t cp)
{
    return (cp >= 0x0A && cp <= 0x0D) || (cp >= 0x1C && cp <= 0x1E) || cp == 0x85 || cp == 0x2028 ||
           cp == 0x2029;
}

tlist *tmpl_splitlines(trun *r, const tstr *s, bool keep)
{
    tlist *l = tmpl_list_new(r, 0);
    size_t from = 0;
    for (size_t i = 0; i < s->n && l && !r->fail;) {
        uint32_t cp;
        size_t len = utf8_decode(s->p + i, s->n - i, &cp);
        if (!is_line_end(cp)) {
            i += len;
            continue;
        }
        if (cp == '\r' && i + 1 < s->n && s->p[i + 1] == '\n')
            len = 2;
        (void)tmpl_list_add(r, l, tmpl_str_static(r, s->p + from, i - from + (keep ? len : 0)));
        i += len;
        from = i;
    }
    if (l && from < s->n)
        (void)tmpl_list_add(r, l, tmpl_str_static(r, s->p + from, s->n - from)); /* sticks in r */
    return r->fail ? NULL : l;
}

/* ---- sorting ---- */

static bool comes_after(trun *r, tval a, tval b, bool reverse)
{
    return reverse ? tmpl_order(r, a, b, "<") == -1 : tmpl_order(r, b, a, "<") == -1;
}

typedef struct tsorted {
    tval *keys;
    tval *items;
} tsorted;

static void merge(trun *r, tsorted from, tsorted to, size_t lo, size_t mid, size_t hi, bool reverse)
{
    size_t a = lo;
    size_t b = mid;
    for (size_t k = lo; k < hi; k++) {
        const bool right =
            b < hi && (a >= mid || comes_after(r, from.keys[a], from.keys[b], reverse));
        const size_t take = right ? b++ : a++;
        to.keys[k] = from.keys[take];
        to.items[k] = from.items[take];
    }
}

void tmpl_sort(trun *r, tval *keys, tval *items, size_t n, bool reverse)
{
    tsorted from = {keys, items};
    tsorted to = {tmpl_take_array(r, n, sizeof(tval)), tmpl_take_array(r, n, sizeof(tval))};
    for (size_t width = 1; width < n && !r->fail; width *= 2) {
        if (!tmpl_step(r, n))
            return;
        for (size_t lo = 0; lo < n; lo += 2 * width) {
            const size_t mid = lo + width < n ? lo + width : n;
            merge(r, from, to, lo, mid, mid + width < n ? mid + width : n, reverse);
        }
        const tsorted swap = from;
        from = to;
        to = swap;
    }
    if (n && !r->fail && from.keys != keys) {
        memcpy(keys, from.keys, n * sizeof *keys);
        memcpy(items, from.items, n * sizeof *items);
    }
}
