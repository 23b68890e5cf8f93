/* x.name, x[key] and x[a:b:c]: attributes first for the dot, items first for the bracket. */
#include "chat/tmpl_int.h"

#include <stdlib.h>
#include <string.h>

static bool named(const tstr *s, const char *text)
{
    return s->n == strlen(text) && memcmp(s->p, text, s->n) == 0;
}

static tval method(trun *r, tval self, const tbuiltin *fn)
{
    tmethod *m = tmpl_take(r, sizeof *m);
    if (!m)
        return (tval){.kind = V_UNDEF};
    *m = (tmethod){self, fn};
    return (tval){.kind = V_METHOD, .u.method = m};
}

static tval loop_neighbour(trun *r, const tloop *l, bool next)
{
    if (next ? l->i + 1 >= l->items->n : l->i == 0)
        return tmpl_undef(r, next ? "there is no next item" : "there is no previous item");
    return l->items->items[next ? l->i + 1 : l->i - 1];
}

/* V_ABSENT: no such attribute. */
static tval loop_attr(trun *r, const tloop *l, const tstr *name)
{
    const int64_t i = (int64_t)l->i;
    const int64_t n = (int64_t)l->items->n;
    if (named(name, "index"))
        return tmpl_int(i + 1);
    if (named(name, "index0"))
        return tmpl_int(i);
    if (named(name, "first"))
        return tmpl_bool(i == 0);
    if (named(name, "last"))
        return tmpl_bool(i + 1 == n);
    if (named(name, "length"))
        return tmpl_int(n);
    if (named(name, "revindex"))
        return tmpl_int(n - i);
    if (named(name, "revindex0"))
        return tmpl_int(n - i - 1);
    if (named(name, "depth"))
        return tmpl_int(l->depth0 + 1);
    if (named(name, "depth0"))
        return tmpl_int(l->depth0);
    if (named(name, "previtem") || named(name, "nextitem"))
        return loop_neighbour(r, l, named(name, "nextitem"));
    return (tval){.kind = V_ABSENT};
}

static tval macro_attr(trun *r, const tmacro *m, const tstr *name)
{
    if (named(name, "name"))
        return m->sig->name ? tmpl_str_val(m->sig->name) : tmpl_none();
    if (named(name, "catch_kwargs"))
        return tmpl_bool(m->sig->kwargs);
    if (named(name, "catch_varargs"))
        return tmpl_bool(m->sig->varargs);
    if (named(name, "caller"))
        return tmpl_bool(m->sig->caller);
    if (!named(name, "arguments"))
        return (tval){.kind = V_ABSENT};
    tlist *l = tmpl_list_new(r, m->sig->n);
    for (size_t i = 0; i < m->sig->n; i++) {
        if (!tmpl_list_add(r, l, tmpl_str_val(r->t->names[m->sig->params[i]])))
            break;
    }
    return tmpl_tuple_val(l);
}

tval tmpl_own_attr(trun *r, tval v, const tstr *name)
{
    tval out = {.kind = V_ABSENT};
    switch (v.kind) {
    case V_SPACE:
        (void)tmpl_dict_get_text(r, v.u.dict, name, &out); /* absent: out stays so */
        return out;
    case V_LOOP:
        out = loop_attr(r, v.u.loop, name);
        break;
    case V_MACRO:
        return macro_attr(r, v.u.macro, name);
    case V_TUPLE: /* of groupby */
        if (v.markup && (named(name, "grouper") || named(name, "list")))
            return v.u.list->items[named(name, "list")];
        break;
    case V_CYCLER:
        if (named(name, "current"))
            return v.u.cycler->items->items[v.u.cycler->pos];
        break;
    default:
        break;
    }
    if (out.kind != V_ABSENT)
        return out;
    const tbuiltin *fn =
        v.kind == V_STR ? tmpl_find_str_method(name) : tmpl_find_method(v.kind, name);
    return fn ? method(r, v, fn) : out;
}

tval tmpl_get_attr(trun *r, tval v, const tstr *name)
{
    if (v.kind == V_UNDEF)
        return tmpl_no_use(r, v);
    tval out = tmpl_own_attr(r, v, name);
    if (out.kind != V_ABSENT)
        return out;
    if (v.kind == V_DICT && tmpl_dict_get_text(r, v.u.dict, name, &out))
        return out;
    return tmpl_undef_attr(r, v, name);
}

static bool index_in(int64_t i, size_t n, size_t *out)
{
    const int64_t at = i < 0 ? i + (int64_t)n : i;
    *out = (size_t)at;
    return at >= 0 && at < (int64_t)n;
}

/* V_ABSENT: IndexError, or not a sequence. */
static tval at_index(trun *r, tval v, int64_t i)
{
    size_t at;
    const tval none = {.kind = V_ABSENT};
    switch (v.kind) {
    case V_STR:
        return index_in(i, v.u.s->n_cp, &at) ? tmpl_substr(r, v.u.s, at, at + 1) : none;
    case V_LIST:
    case V_TUPLE:
        return index_in(i, v.u.list->n, &at) ? v.u.list->items[at] : none;
    case V_RANGE:
        return index_in(i, v.u.range->n, &at)
                   ? tmpl_int(v.u.range->start + (int64_t)at * v.u.range->step)
                   : none;
    default:
        return none;
    }
}

static bool hashable(tval v)
{
    if (v.kind != V_TUPLE)
        return v.kind != V_LIST && v.kind != V_DICT && v.kind != V_VIEW;
    for (size_t i = 0; i < v.u.list->n; i++) {
        const tkind k = v.u.list->items[i].kind;
        if (k == V_LIST || k == V_DICT || k == V_VIEW)
            return false;
    }
    return true;
}

tval tmpl_get_item(trun *r, tval v, tval key)
{
    tval out = {.kind = V_ABSENT};
    if (r->fail)
        return (tval){.kind = V_UNDEF};
    if (v.kind == V_UNDEF)
        return tmpl_no_use(r, v);
    if (v.kind == V_DICT && hashable(key) && tmpl_dict_get(r, v.u.dict, key, &out))
        return out;
    if (tmpl_is_intlike(key))
        out = at_index(r, v, tmpl_as_int(key));
    else if (key.kind == V_STR)
        out = tmpl_own_attr(r, v, key.u.s);
    if (out.kind != V_ABSENT)
        return out;
    return key.kind == V_STR ? tmpl_undef_attr(r, v, key.u.s)
                             : tmpl_undef(r, "an object has no element of that index");
}

/* ---- slices ---- */

static bool slice_part(trun *r, tval v, int64_t absent, int64_t *out)
{
    if (v.kind == V_NONE || v.kind == V_ABSENT)
        *out = absent;
    else if (tmpl_is_intlike(v))
        *out = tmpl_as_int(v);
    else
        return tmpl_fail(r, "slice indices must be integers or None").kind == V_ABSENT;
    return true;
}

static int64_t clamp(int64_t i, int64_t low, int64_t high)
{
    return i < low ? low : i > high ? high : i;
}

/* Start, step and count of what a slice of n elements takes, as PySlice_AdjustIndices. */
static bool slice_bounds(trun *r, tval part[3], int64_t n, int64_t *out_start, int64_t *out_step,
                         size_t *out_n)
{
    int64_t step = 1;
    int64_t start = 0;
    int64_t stop = 0;
    if (!slice_part(r, part[2], 1, &step))
        return false;
    if (step == 0) {
        (void)tmpl_fail(r, "slice step cannot be zero"); /* sticks in r */
        return false;
    }
    if (step == INT64_MIN)
        step = -INT64_MAX;
    const bool down = step < 0;
    if (!slice_part(r, part[0], down ? INT64_MAX : 0, &start) ||
        !slice_part(r, part[1], down ? INT64_MIN : INT64_MAX, &stop))
        return false;
    const bool stop_open = part[1].kind == V_NONE || part[1].kind == V_ABSENT;
    if (start < 0)
        start += n;
    if (stop < 0 && !stop_open)
        stop += n;
    start = clamp(start, down ? -1 : 0, down ? n - 1 : n);
    stop = clamp(stop, down ? -1 : 0, down ? n - 1 : n);
    *out_start = start;
    *out_step = step;
    if (down)
        *out_n = start > stop ? (size_t)((start - stop - 1) / -step + 1) : 0;
    else
        *out_n = stop > start ? (size_t)((stop - start - 1) / step + 1) : 0;
    return true;
}

static tval slice_string(trun *r, const tstr *s, int64_t start, int64_t step, size_t n)
{
    if (step == 1)
        return tmpl_substr(r, s, (size_t)start, (size_t)start + n);
    const tlist *chars = tmpl_iter(r, tmpl_str_val(s));
    buf b;
    buf_init(&b, r->mem.max_bytes);
    for (size_t i = 0; chars && i < n; i++) {
        const tstr *c = chars->items[start + (int64_t)i * step].u.s;
        (void)buf_append(&b, c->p, c->n); /* sticks in b */
    }
    return tmpl_buf_str(r, &b);
}

static tval slice_list(trun *r, tval v, int64_t start, int64_t step, size_t n)
{
    tlist *l = tmpl_list_new(r, n);
    for (size_t i = 0; l && i < n; i++) {
        if (!tmpl_list_add(r, l, v.u.list->items[start + (int64_t)i * step]))
            break;
    }
    return (tval){.kind = l ? v.kind : V_UNDEF, .u.list = l};
}

static tval slice_range(trun *r, const trange *of, int64_t start, int64_t step, size_t n)
{
    trange *g = tmpl_take(r, sizeof *g);
    if (!g)
        return (tval){.kind = V_UNDEF};
    *g = (trange){.start = of->start + start * of->step, .step = of->step * step, .n = n};
    g->stop = g->start + (int64_t)n * g->step;
    return (tval){.kind = V_RANGE, .u.range = g};
}

tval tmpl_slice(trun *r, tval v, tval start, tval stop, tval step)
{
    tval part[3] = {start, stop, step};
    int64_t from;
    int64_t by;
    size_t n;
    if (r->fail)
        return (tval){.kind = V_UNDEF};
    if (v.kind == V_UNDEF)
        return tmpl_no_use(r, v);
    if (v.kind != V_STR && v.kind != V_LIST && v.kind != V_TUPLE && v.kind != V_RANGE)
        return tmpl_fail(r, "'%s' object is not subscriptable by a slice", tmpl_type(v));
    if (!slice_bounds(r, part, tmpl_len(r, v).u.i, &from, &by, &n))
        return (tval){.kind = V_UNDEF};
    if (v.kind == V_STR) {
        tval s = slice_string(r, v.u.s, from, by, n);
        s.markup = v.markup && s.kind == V_STR;
        return s;
    }
    return v.kind == V_RANGE ? slice_range(r, v.u.range, from, by, n)
                             : slice_list(r, v, from, by, n);
}

/* ---- attribute= ---- */

static tval path_step(trun *r, tval v, const char *p, size_t n)
{
    size_t digits = 0;
    while (digits < n && p[digits] >= '0' && p[digits] <= '9')
        digits++;
    if (n && digits == n && n < 18) {
        char number[20] = {0};
        memcpy(number, p, n);
        return tmpl_get_item(r, v, tmpl_int(strtoll(number, NULL, 10)));
    }
    return tmpl_get_item(r, v, tmpl_str_static(r, p, n));
}

tval tmpl_get_path(trun *r, tval v, tval path, tval fallback)
{
    if (path.kind != V_STR) {
        const tval out = tmpl_get_item(r, v, path);
        return out.kind == V_UNDEF && fallback.kind != V_ABSENT ? fallback : out;
    }
    const tstr *s = path.u.s;
    tval out = v;
    for (size_t i = 0; i <= s->n && !r->fail;) {
        size_t end = i;
        while (end < s->n && s->p[end] != '.')
            end++;
        out = path_step(r, out, s->p + i, end - i);
        if (out.kind == V_UNDEF && fallback.kind != V_ABSENT && fallback.kind != V_NONE)
            return fallback;
        i = end + 1;
    }
    return out;
}
