/* Methods of list, tuple, dict, range, loops and cyclers.
 *
 * jinja2's immutable sandbox, which Hugging Face renders with, refuses the ones that change a list
 * or dict. Templates of known models call them nevertheless (they were written for other engines),
 * and every render works on copies of its own, so here they do what Python does. */
#include "chat/tmpl_int.h"

#include <string.h>

static const tval undefined = {.kind = V_UNDEF};

/* ---- list ---- */

static tval m_append(trun *r, tcall *c)
{
    (void)tmpl_list_add(r, c->self.u.list, c->in[0]); /* sticks in r */
    return tmpl_none();
}

static tval m_extend(trun *r, tcall *c)
{
    const tlist *more = tmpl_iter(r, c->in[0]);
    const size_t n = more ? more->n : 0; /* a list may extend itself */
    for (size_t i = 0; i < n && !r->fail; i++)
        (void)tmpl_list_add(r, c->self.u.list, more->items[i]); /* sticks in r */
    return tmpl_none();
}

static size_t place(const tlist *l, int64_t index)
{
    const int64_t n = (int64_t)l->n;
    const int64_t i = index < 0 ? index + n : index;
    return (size_t)(i < 0 ? 0 : i > n ? n : i);
}

static tval m_insert(trun *r, tcall *c)
{
    tlist *l = c->self.u.list;
    const size_t at = place(l, tmpl_arg_int(r, c->in[0], 0, "insert()"));
    if (r->fail || !tmpl_list_add(r, l, c->in[1]))
        return undefined;
    memmove(l->items + at + 1, l->items + at, (l->n - 1 - at) * sizeof *l->items);
    l->items[at] = c->in[1];
    return tmpl_none();
}

static tval take_out(tlist *l, size_t at)
{
    const tval v = l->items[at];
    memmove(l->items + at, l->items + at + 1, (l->n - at - 1) * sizeof *l->items);
    l->n--;
    return v;
}

static tval m_pop(trun *r, tcall *c)
{
    tlist *l = c->self.u.list;
    int64_t i = tmpl_arg_int(r, c->in[0], -1, "pop()");
    if (i < 0)
        i += (int64_t)l->n;
    if (l->n == 0)
        return tmpl_fail(r, "pop from empty list");
    if (i < 0 || i >= (int64_t)l->n)
        return tmpl_fail(r, "pop index out of range");
    return take_out(l, (size_t)i);
}

/* Where v is in the list; n: nowhere. */
static size_t where(trun *r, const tlist *l, tval v)
{
    for (size_t i = 0; i < l->n && tmpl_step(r, 1); i++) {
        if (tmpl_equal(r, l->items[i], v))
            return i;
    }
    return l->n;
}

static tval m_remove(trun *r, tcall *c)
{
    tlist *l = c->self.u.list;
    const size_t at = where(r, l, c->in[0]);
    if (at == l->n || r->fail)
        return tmpl_fail(r, "list.remove(x): x not in list");
    (void)take_out(l, at);
    return tmpl_none();
}

static tval m_index(trun *r, tcall *c)
{
    const tlist *l = tmpl_iter(r, c->self); /* of a range too */
    const size_t at = l ? where(r, l, c->in[0]) : 0;
    if (r->fail || !l || at == l->n)
        return tmpl_fail(r, "the value is not in the %s", tmpl_type(c->self));
    return tmpl_int((int64_t)at);
}

static tval m_count(trun *r, tcall *c)
{
    const tlist *l = tmpl_iter(r, c->self);
    int64_t n = 0;
    for (size_t i = 0; l && i < l->n && tmpl_step(r, 1); i++)
        n += tmpl_equal(r, l->items[i], c->in[0]);
    return tmpl_int(n);
}

static tval m_reverse(trun *r, tcall *c)
{
    tlist *l = c->self.u.list;
    (void)r;
    for (size_t i = 0; i < l->n / 2; i++) {
        const tval v = l->items[i];
        l->items[i] = l->items[l->n - 1 - i];
        l->items[l->n - 1 - i] = v;
    }
    return tmpl_none();
}

static tval m_sort(trun *r, tcall *c)
{
    tlist *l = c->self.u.list;
    tval *keys = tmpl_take_array(r, l->n, sizeof *keys);
    if (!keys)
        return undefined;
    for (size_t i = 0; i < l->n && !r->fail; i++) {
        const bool by_key = c->in[0].kind != V_ABSENT && c->in[0].kind != V_NONE;
        keys[i] = by_key ? tmpl_call_value(r, c->in[0], &l->items[i], 1, NULL, 0) : l->items[i];
    }
    tmpl_sort(r, keys, l->items, l->n, tmpl_truth(r, c->in[1]));
    return tmpl_none();
}

static tval m_copy(trun *r, tcall *c)
{
    tlist *l = tmpl_list_new(r, 0);
    for (size_t i = 0; i < c->self.u.list->n && !r->fail; i++)
        (void)tmpl_list_add(r, l, c->self.u.list->items[i]); /* sticks in r */
    return tmpl_list_val(l);
}

static tval m_clear(trun *r, tcall *c)
{
    (void)r;
    c->self.u.list->n = 0;
    return tmpl_none();
}

/* ---- dict ---- */

static tval m_get(trun *r, tcall *c)
{
    tval v = c->in[1].kind == V_ABSENT ? tmpl_none() : c->in[1];
    (void)tmpl_dict_get(r, c->self.u.dict, c->in[0], &v); /* absent: v stays */
    return v;
}

static tval view(trun *r, const tcall *c, int of)
{
    tview *v = tmpl_take(r, sizeof *v);
    if (!v)
        return undefined;
    v->dict = c->self.u.dict;
    v->of = of;
    return (tval){.kind = V_VIEW, .u.view = v};
}

static tval m_keys(trun *r, tcall *c)
{
    return view(r, c, VIEW_KEYS);
}

static tval m_values(trun *r, tcall *c)
{
    return view(r, c, VIEW_VALUES);
}

static tval m_items(trun *r, tcall *c)
{
    return view(r, c, VIEW_ITEMS);
}

static tval m_dict_pop(trun *r, tcall *c)
{
    tval v = c->in[1];
    if (!tmpl_dict_remove(r, c->self.u.dict, c->in[0], &v) && v.kind == V_ABSENT) {
        const tstr *key = tmpl_to_repr(r, c->in[0]);
        return key ? tmpl_fail(r, "KeyError: %.*s", (int)key->n, key->p) : undefined;
    }
    return v;
}

static tval m_popitem(trun *r, tcall *c)
{
    tdict *d = c->self.u.dict;
    if (d->n == 0)
        return tmpl_fail(r, "popitem(): dictionary is empty");
    const tval key = d->entries[d->n - 1].key;
    tval value = undefined;
    (void)tmpl_dict_remove(r, d, key, &value); /* it is there */
    return tmpl_pair(r, key, value);
}

static tval m_setdefault(trun *r, tcall *c)
{
    tval v = c->in[1].kind == V_ABSENT ? tmpl_none() : c->in[1];
    if (!tmpl_dict_get(r, c->self.u.dict, c->in[0], &v))
        (void)tmpl_dict_put(r, c->self.u.dict, c->in[0], v); /* sticks in r */
    return v;
}

static tval m_update(trun *r, tcall *c)
{
    static const tstr dict_name = {"dict", 4, 4};
    const tval more = tmpl_call_builtin(r, tmpl_find_global(&dict_name), c);
    for (size_t i = 0; !r->fail && i < more.u.dict->n; i++) {
        const tentry *e = &more.u.dict->entries[i];
        (void)tmpl_dict_put(r, c->self.u.dict, e->key, e->value); /* sticks in r */
    }
    return tmpl_none();
}

static tval m_dict_copy(trun *r, tcall *c)
{
    tdict *d = tmpl_dict_new(r);
    for (size_t i = 0; i < c->self.u.dict->n && !r->fail; i++) {
        const tentry *e = &c->self.u.dict->entries[i];
        (void)tmpl_dict_put(r, d, e->key, e->value); /* sticks in r */
    }
    return (tval){.kind = d ? V_DICT : V_UNDEF, .u.dict = d};
}

static tval m_dict_clear(trun *r, tcall *c)
{
    (void)r;
    *c->self.u.dict = (tdict){0};
    return tmpl_none();
}

/* ---- loop, cycler, float ---- */

static tval m_cycle(trun *r, tcall *c)
{
    if (c->n_pos == 0)
        return tmpl_fail(r, "no items for cycling given");
    return c->pos[c->self.u.loop->i % c->n_pos];
}

static tval m_changed(trun *r, tcall *c)
{
    tloop *loop = c->self.u.loop;
    tlist *now = tmpl_list_new(r, c->n_pos);
    for (size_t i = 0; i < c->n_pos && !r->fail; i++)
        (void)tmpl_list_add(r, now, c->pos[i]); /* sticks in r */
    const bool same =
        loop->changed && now && tmpl_equal(r, tmpl_list_val(loop->changed), tmpl_list_val(now));
    loop->changed = now;
    return tmpl_bool(!same);
}

static tval m_next(trun *r, tcall *c)
{
    tcycler *y = c->self.u.cycler;
    const tval v = y->items->items[y->pos];
    (void)r;
    y->pos = (y->pos + 1) % y->items->n;
    return v;
}

static tval m_reset(trun *r, tcall *c)
{
    (void)r;
    c->self.u.cycler->pos = 0;
    return tmpl_none();
}

static tval m_is_integer(trun *r, tcall *c)
{
    (void)r;
    const double f = c->self.u.f;
    return tmpl_bool(f >= -1e300 && f <= 1e300 && tmpl_as_double(c->self) == (double)(int64_t)f);
}

const tbuiltin *tmpl_find_method(tkind kind, const tstr *name)
{
    static const tbuiltin of_list[] = {
        {"append", m_append, 1, "object"},
        {"extend", m_extend, 1, "iterable"},
        {"insert", m_insert, 2, "index object"},
        {"pop", m_pop, 0, "index"},
        {"remove", m_remove, 1, "value"},
        {"index", m_index, 1, "value"},
        {"count", m_count, 1, "value"},
        {"reverse", m_reverse, 0, ""},
        {"sort", m_sort, 0, "key reverse"},
        {"copy", m_copy, 0, ""},
        {"clear", m_clear, 0, ""},
    };
    static const tbuiltin of_tuple[] = {
        {"index", m_index, 1, "value"},
        {"count", m_count, 1, "value"},
    };
    static const tbuiltin of_dict[] = {
        {"get", m_get, 1, "key default"},
        {"keys", m_keys, 0, ""},
        {"values", m_values, 0, ""},
        {"items", m_items, 0, ""},
        {"pop", m_dict_pop, 1, "key default"},
        {"popitem", m_popitem, 0, ""},
        {"setdefault", m_setdefault, 1, "key default"},
        {"update", m_update, 0, NULL},
        {"copy", m_dict_copy, 0, ""},
        {"clear", m_dict_clear, 0, ""},
    };
    static const tbuiltin of_loop[] = {
        {"cycle", m_cycle, 0, NULL},
        {"changed", m_changed, 0, NULL},
    };
    static const tbuiltin of_cycler[] = {
        {"next", m_next, 0, ""},
        {"reset", m_reset, 0, ""},
    };
    static const tbuiltin of_float[] = {{"is_integer", m_is_integer, 0, ""}};
    static const tbuiltin of_range[] = {{"count", m_count, 1, "value"},
                                        {"index", m_index, 1, "value"}};
#define FIND(table) tmpl_find(table, sizeof(table) / sizeof *(table), name)
    switch (kind) {
    case V_LIST:
        return FIND(of_list);
    case V_TUPLE:
        return FIND(of_tuple);
    case V_DICT:
        return FIND(of_dict);
    case V_LOOP:
        return FIND(of_loop);
    case V_CYCLER:
        return FIND(of_cycler);
    case V_FLOAT:
        return FIND(of_float);
    case V_RANGE:
        return FIND(of_range);
    default:
        return NULL;
    }
#undef FIND
}
