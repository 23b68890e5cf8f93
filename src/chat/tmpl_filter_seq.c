/* Filters over sequences and mappings. */
#include "chat/tmpl_int.h"

#include <string.h>

static const tval undefined = {.kind = V_UNDEF};
static const tval absent = {.kind = V_ABSENT};

static bool given(tval v)
{
    return v.kind != V_ABSENT && v.kind != V_NONE;
}

/* What jinja2 compares by: text without its case unless asked otherwise. */
static tval fold(trun *r, tval v, bool case_sensitive)
{
    return v.kind == V_STR && !case_sensitive ? tmpl_recase(r, v.u.s, CASE_LOWER) : v;
}

static tval f_length(trun *r, tcall *c)
{
    return tmpl_len(r, c->self);
}

static tval f_default(trun *r, tcall *c)
{
    const bool missing =
        c->self.kind == V_UNDEF || (tmpl_truth(r, c->in[1]) && !tmpl_truth(r, c->self));
    if (!missing)
        return c->self;
    return c->in[0].kind == V_ABSENT ? tmpl_text(r, "") : c->in[0];
}

static tval f_list(trun *r, tcall *c)
{
    const tlist *from = tmpl_iter(r, c->self);
    tlist *l = from ? tmpl_list_new(r, from->n) : NULL;
    for (size_t i = 0; l && i < from->n; i++) {
        if (!tmpl_list_add(r, l, from->items[i]))
            break;
    }
    return tmpl_list_val(l);
}

static tval f_items(trun *r, tcall *c)
{
    tview *v = tmpl_take(r, sizeof *v);
    if (!v || c->self.kind == V_UNDEF)
        return tmpl_gen_val(r, tmpl_list_new(r, 0));
    if (c->self.kind != V_DICT)
        return tmpl_fail(r, "Can only get item pairs from a mapping.");
    *v = (tview){.dict = c->self.u.dict, .of = VIEW_ITEMS};
    return tmpl_gen_val(r, tmpl_iter(r, (tval){.kind = V_VIEW, .u.view = v}));
}

static tval f_join(trun *r, tcall *c)
{
    static const tstr empty = {"", 0, 0};
    const tlist *l = tmpl_iter(r, c->self);
    const tstr *sep = c->in[0].kind == V_ABSENT ? &empty : tmpl_to_str(r, c->in[0]);
    if (!l || !sep)
        return undefined;
    if (!given(c->in[1]))
        return tmpl_join(r, sep, l, false);
    tlist *parts = tmpl_list_new(r, l->n);
    for (size_t i = 0; i < l->n && !r->fail; i++)
        (void)tmpl_list_add(r, parts, tmpl_get_path(r, l->items[i], c->in[1], absent)); /* sticks */
    return r->fail ? undefined : tmpl_join(r, sep, parts, false);
}

static tval f_first(trun *r, tcall *c)
{
    const tlist *l = tmpl_iter(r, c->self);
    if (l && l->n)
        return l->items[0];
    return tmpl_undef(r, "No first item, sequence was empty.");
}

static tval f_last(trun *r, tcall *c)
{
    if (c->self.kind == V_GEN)
        return tmpl_fail(r, "'%s' object is not reversible", tmpl_type(c->self));
    const tlist *l = tmpl_iter(r, c->self);
    if (l && l->n)
        return l->items[l->n - 1];
    return tmpl_undef(r, "No last item, sequence was empty.");
}

static tval f_reverse(trun *r, tcall *c)
{
    const tval step = tmpl_int(-1);
    if (c->self.kind == V_STR)
        return tmpl_slice(r, c->self, absent, absent, step);
    tlist *l = tmpl_iter(r, c->self);
    const tval turned = l ? tmpl_slice(r, tmpl_list_val(l), absent, absent, step) : undefined;
    return turned.kind == V_LIST ? tmpl_named_gen(r, turned.u.list, "list_reverseiterator")
                                 : undefined;
}

/* ---- sorting and comparing ---- */

/* 'a,b.c' sorts by a, then by b.c: the key is a list of what they give. */
static tval sort_key(trun *r, tval item, tval attribute, bool case_sensitive)
{
    if (!given(attribute))
        return fold(r, item, case_sensitive);
    if (attribute.kind != V_STR || !attribute.u.s->n ||
        !memchr(attribute.u.s->p, ',', attribute.u.s->n))
        return fold(r, tmpl_get_path(r, item, attribute, absent), case_sensitive);
    tlist *key = tmpl_list_new(r, 2);
    const tstr *s = attribute.u.s;
    for (size_t i = 0; i <= s->n && key && !r->fail;) {
        size_t end = i;
        while (end < s->n && s->p[end] != ',')
            end++;
        const tval path = tmpl_str_static(r, s->p + i, end - i);
        const tval part = tmpl_get_path(r, item, path, absent);
        (void)tmpl_list_add(r, key, fold(r, part, case_sensitive)); /* sticks in r */
        i = end + 1;
    }
    return tmpl_list_val(key);
}

/* A sorted copy. */
static tlist *sorted(trun *r, tval v, tval attribute, bool case_sensitive, bool reverse)
{
    const tlist *from = tmpl_iter(r, v);
    tlist *l = from ? tmpl_list_new(r, from->n) : NULL;
    tval *keys = l ? tmpl_take_array(r, from->n, sizeof *keys) : NULL;
    for (size_t i = 0; keys && i < from->n && !r->fail; i++) {
        keys[i] = sort_key(r, from->items[i], attribute, case_sensitive);
        (void)tmpl_list_add(r, l, from->items[i]); /* sticks in r */
    }
    if (keys && !r->fail)
        tmpl_sort(r, keys, l->items, l->n, reverse);
    return r->fail ? NULL : l;
}

static tval f_sort(trun *r, tcall *c)
{
    return tmpl_list_val(
        sorted(r, c->self, c->in[2], tmpl_truth(r, c->in[1]), tmpl_truth(r, c->in[0])));
}

static tval f_dictsort(trun *r, tcall *c)
{
    const bool by_value = tmpl_is_str(c->in[1], "value");
    if (c->in[1].kind != V_ABSENT && !by_value && !tmpl_is_str(c->in[1], "key"))
        return tmpl_fail(r, "You can only sort by either \"key\" or \"value\"");
    if (c->self.kind != V_DICT)
        return c->self.kind == V_UNDEF ? tmpl_no_use(r, c->self)
                                       : tmpl_fail(r, "dictsort wants a dict");
    const tval items = f_items(r, c);
    if (r->fail)
        return undefined;
    return tmpl_list_val(
        sorted(r, items, tmpl_int(by_value), tmpl_truth(r, c->in[0]), tmpl_truth(r, c->in[2])));
}

static tval f_unique(trun *r, tcall *c)
{
    const tlist *from = tmpl_iter(r, c->self);
    tdict *seen = tmpl_dict_new(r);
    tlist *l = tmpl_list_new(r, 0);
    for (size_t i = 0; from && l && seen && i < from->n && !r->fail; i++) {
        const tval key = sort_key(r, from->items[i], c->in[1], tmpl_truth(r, c->in[0]));
        const size_t n = seen->n;
        if (tmpl_dict_put(r, seen, key, tmpl_none()) && seen->n > n)
            (void)tmpl_list_add(r, l, from->items[i]); /* sticks in r */
    }
    return tmpl_gen_val(r, l);
}

static tval extreme(trun *r, const tcall *c, bool max)
{
    const tlist *l = tmpl_iter(r, c->self);
    if (!l || l->n == 0)
        return tmpl_undef(r, "No aggregated item, sequence was empty.");
    const bool exact = tmpl_truth(r, c->in[0]);
    size_t best = 0;
    tval best_key = sort_key(r, l->items[0], c->in[1], exact);
    for (size_t i = 1; i < l->n && !r->fail; i++) {
        const tval key = sort_key(r, l->items[i], c->in[1], exact);
        const int order =
            max ? tmpl_order(r, key, best_key, ">") : tmpl_order(r, key, best_key, "<");
        if (order == (max ? 1 : -1)) {
            best = i;
            best_key = key;
        }
    }
    return l->items[best];
}

static tval f_min(trun *r, tcall *c)
{
    return extreme(r, c, false);
}

static tval f_max(trun *r, tcall *c)
{
    return extreme(r, c, true);
}

static tval f_sum(trun *r, tcall *c)
{
    const tlist *l = tmpl_iter(r, c->self);
    tval total = c->in[1].kind == V_ABSENT ? tmpl_int(0) : c->in[1];
    if (total.kind == V_STR)
        return tmpl_fail(r, "sum() can't sum strings [use ''.join(seq) instead]");
    for (size_t i = 0; l && i < l->n && !r->fail; i++) {
        const tval v =
            given(c->in[0]) ? tmpl_get_path(r, l->items[i], c->in[0], absent) : l->items[i];
        total = tmpl_binary(r, OP_ADD, total, v);
    }
    return total;
}

/* ---- grouping ---- */

static tval group(trun *r, tval key, tlist *members)
{
    tval g = tmpl_pair(r, key, tmpl_list_val(members));
    g.markup = g.kind == V_TUPLE; /* has .grouper and .list */
    return g;
}

static tval f_groupby(trun *r, tcall *c)
{
    const bool exact = tmpl_truth(r, c->in[2]);
    const tval fallback = c->in[1];
    const tlist *from = tmpl_iter(r, c->self);
    tlist *out = tmpl_list_new(r, 0);
    tlist *items = from ? tmpl_list_new(r, from->n) : NULL;
    tval *keys = items && out ? tmpl_take_array(r, from->n, sizeof *keys) : NULL;
    for (size_t i = 0; keys && i < from->n && !r->fail; i++) {
        keys[i] = fold(r, tmpl_get_path(r, from->items[i], c->in[0], fallback), exact);
        (void)tmpl_list_add(r, items, from->items[i]); /* sticks in r */
    }
    if (!keys || r->fail)
        return undefined;
    tmpl_sort(r, keys, items->items, items->n, false);
    for (size_t i = 0; i < items->n && !r->fail;) {
        tlist *members = tmpl_list_new(r, 0);
        const tval key = tmpl_get_path(r, items->items[i], c->in[0], fallback);
        const tval same = keys[i];
        for (; i < items->n && !r->fail && tmpl_equal(r, keys[i], same); i++)
            (void)tmpl_list_add(r, members, items->items[i]);
        (void)tmpl_list_add(r, out, group(r, key, members));
    }
    return tmpl_list_val(out);
}

static tval f_batch(trun *r, tcall *c)
{
    const tlist *from = tmpl_iter(r, c->self);
    const int64_t size = tmpl_arg_int(r, c->in[0], 1, "batch");
    tlist *out = tmpl_list_new(r, 0);
    tlist *row = tmpl_list_new(r, 0);
    for (size_t i = 0; from && i < from->n && row && !r->fail; i++) {
        if ((int64_t)row->n == size) {
            (void)tmpl_list_add(r, out, tmpl_list_val(row)); /* sticks in r */
            row = tmpl_list_new(r, 0);
        }
        (void)tmpl_list_add(r, row, from->items[i]);
    }
    if (!row || !row->n || r->fail)
        return tmpl_gen_val(r, out);
    while (given(c->in[1]) && (int64_t)row->n < size && !r->fail)
        (void)tmpl_list_add(r, row, c->in[1]);
    (void)tmpl_list_add(r, out, tmpl_list_val(row));
    return tmpl_gen_val(r, out);
}

/* Columns of about the same length, the longer ones first. */
static tval f_slice(trun *r, tcall *c)
{
    const tlist *from = tmpl_iter(r, c->self);
    const int64_t n = tmpl_arg_int(r, c->in[0], 1, "slice");
    if (!from)
        return undefined;
    if (n <= 0)
        return tmpl_fail(r, "slice wants at least one column");
    tlist *out = tmpl_list_new(r, 0);
    const size_t each = from->n / (size_t)n;
    const size_t extra = from->n % (size_t)n;
    size_t at = 0;
    for (size_t i = 0; i < (size_t)n && !r->fail; i++) {
        tlist *column = tmpl_list_new(r, 0);
        const size_t end = at + each + (i < extra);
        for (; at < end && !r->fail; at++)
            (void)tmpl_list_add(r, column, from->items[at]); /* sticks in r */
        if (given(c->in[1]) && i >= extra)
            (void)tmpl_list_add(r, column, c->in[1]);
        (void)tmpl_list_add(r, out, tmpl_list_val(column));
    }
    return tmpl_gen_val(r, out);
}

/* ---- map and select ---- */

static bool kw_is(const tkw *kw, const char *name)
{
    return kw->name->n == strlen(name) && memcmp(kw->name->p, name, kw->name->n) == 0;
}

/* map(attribute=, default=) */
static tval map_attribute(trun *r, const tcall *c)
{
    tval path = absent;
    tval fallback = absent;
    for (size_t i = 0; i < c->n_kw; i++) {
        if (kw_is(&c->kw[i], "attribute"))
            path = c->kw[i].value;
        else if (kw_is(&c->kw[i], "default"))
            fallback = c->kw[i].value;
        else
            return tmpl_fail(r, "map: unexpected keyword argument");
    }
    if (path.kind == V_ABSENT)
        return tmpl_fail(r, "map requires a filter argument");
    const tlist *from = tmpl_iter(r, c->self);
    tlist *l = from ? tmpl_list_new(r, from->n) : NULL;
    for (size_t i = 0; l && i < from->n && !r->fail; i++)
        (void)tmpl_list_add(r, l, tmpl_get_path(r, from->items[i], path, fallback)); /* sticks */
    return tmpl_gen_val(r, l);
}

static tval f_map(trun *r, tcall *c)
{
    if (!tmpl_truth(r, c->self)) /* as in jinja2, nothing is looked at: none maps to nothing */
        return tmpl_gen_val(r, tmpl_list_new(r, 0));
    if (c->n_pos == 0)
        return map_attribute(r, c);
    const tstr *name = tmpl_arg_str(r, c->pos[0], "map");
    const tbuiltin *fn = name ? tmpl_find_filter(name) : NULL;
    if (!fn)
        return name ? tmpl_fail(r, "No filter named '%.*s'.", (int)name->n, name->p) : undefined;
    const tlist *from = tmpl_iter(r, c->self);
    tlist *l = from ? tmpl_list_new(r, from->n) : NULL;
    for (size_t i = 0; l && i < from->n && tmpl_enter(r); i++) {
        tcall one = {.self = from->items[i],
                     .pos = c->pos + 1,
                     .n_pos = c->n_pos - 1,
                     .kw = c->kw,
                     .n_kw = c->n_kw};
        (void)tmpl_list_add(r, l, tmpl_call_builtin(r, fn, &one)); /* sticks in r */
        tmpl_leave(r);
    }
    return tmpl_gen_val(r, l);
}

/* Arguments from n_skip on are a test and what it takes; none: the truth of the value. */
static bool passes(trun *r, const tcall *c, size_t n_skip, const tbuiltin *test, tval v)
{
    if (!test)
        return tmpl_truth(r, v);
    tcall one = {.self = v,
                 .pos = c->pos + n_skip + 1,
                 .n_pos = c->n_pos - n_skip - 1,
                 .kw = c->kw,
                 .n_kw = c->n_kw};
    return tmpl_truth(r, tmpl_call_builtin(r, test, &one));
}

static tval select_by(trun *r, const tcall *c, bool attribute, bool keep)
{
    const size_t n_skip = attribute;
    const tbuiltin *test = NULL;
    if (!tmpl_truth(r, c->self))
        return tmpl_gen_val(r, tmpl_list_new(r, 0));
    if (attribute && c->n_pos == 0)
        return tmpl_fail(r, "Missing parameter for attribute name");
    if (c->n_pos > n_skip) {
        const tstr *name = tmpl_arg_str(r, c->pos[n_skip], "select");
        test = name ? tmpl_find_test(name) : NULL;
        if (!test)
            return name ? tmpl_fail(r, "No test named '%.*s'.", (int)name->n, name->p) : undefined;
    }
    const tlist *from = tmpl_iter(r, c->self);
    tlist *l = from ? tmpl_list_new(r, 0) : NULL;
    for (size_t i = 0; l && i < from->n && tmpl_enter(r); i++) {
        const tval item = from->items[i];
        const tval v = attribute ? tmpl_get_path(r, item, c->pos[0], absent) : item;
        if (passes(r, c, n_skip, test, v) == keep)
            (void)tmpl_list_add(r, l, item); /* sticks in r */
        tmpl_leave(r);
    }
    return tmpl_gen_val(r, l);
}

static tval f_select(trun *r, tcall *c)
{
    return select_by(r, c, false, true);
}

static tval f_reject(trun *r, tcall *c)
{
    return select_by(r, c, false, false);
}

static tval f_selectattr(trun *r, tcall *c)
{
    return select_by(r, c, true, true);
}

static tval f_rejectattr(trun *r, tcall *c)
{
    return select_by(r, c, true, false);
}

/* The attribute only, never an item. */
static tval f_attr(trun *r, tcall *c)
{
    const tstr *name = tmpl_to_str(r, c->in[0]);
    if (!name)
        return undefined;
    if (c->self.kind == V_UNDEF)
        return tmpl_no_use(r, c->self);
    const tval v = tmpl_own_attr(r, c->self, name);
    return v.kind == V_ABSENT ? tmpl_undef_attr(r, c->self, name) : v;
}

const tbuiltin *tmpl_find_filter(const tstr *name)
{
    static const tbuiltin table[] = {
        {"length", f_length, 0, ""},
        {"count", f_length, 0, ""},
        {"default", f_default, 0, "default_value boolean"},
        {"d", f_default, 0, "default_value boolean"},
        {"list", f_list, 0, ""},
        {"items", f_items, 0, ""},
        {"join", f_join, 0, "d attribute"},
        {"first", f_first, 0, ""},
        {"last", f_last, 0, ""},
        {"reverse", f_reverse, 0, ""},
        {"sort", f_sort, 0, "reverse case_sensitive attribute"},
        {"dictsort", f_dictsort, 0, "case_sensitive by reverse"},
        {"unique", f_unique, 0, "case_sensitive attribute"},
        {"min", f_min, 0, "case_sensitive attribute"},
        {"max", f_max, 0, "case_sensitive attribute"},
        {"sum", f_sum, 0, "attribute start"},
        {"groupby", f_groupby, 1, "attribute default case_sensitive"},
        {"batch", f_batch, 1, "linecount fill_with"},
        {"slice", f_slice, 1, "slices fill_with"},
        {"map", f_map, 0, NULL},
        {"select", f_select, 0, NULL},
        {"reject", f_reject, 0, NULL},
        {"selectattr", f_selectattr, 0, NULL},
        {"rejectattr", f_rejectattr, 0, NULL},
        {"attr", f_attr, 1, "name"},
    };
    const tbuiltin *fn = tmpl_find(table, sizeof table / sizeof *table, name);
    return fn ? fn : tmpl_find_text_filter(name);
}
