/* Truth, equality, order, membership and iteration, as Python has them. */
#include "chat/tmpl_int.h"

#include <math.h>
#include <string.h>

const char *tmpl_type(tval v)
{
    switch (v.kind) {
    case V_ABSENT:
    case V_UNDEF:
        return "Undefined";
    case V_NONE:
        return "NoneType";
    case V_BOOL:
        return "bool";
    case V_INT:
    case V_BIG:
        return "int";
    case V_FLOAT:
        return "float";
    case V_STR:
        return v.markup ? "Markup" : "str";
    case V_LIST:
        return "list";
    case V_TUPLE:
        return "tuple";
    case V_DICT:
        return "dict";
    case V_VIEW:
        return v.u.view->of == VIEW_KEYS     ? "dict_keys"
               : v.u.view->of == VIEW_VALUES ? "dict_values"
                                             : "dict_items";
    case V_RANGE:
        return "range";
    case V_GEN:
        return v.u.gen->type;
    case V_SPACE:
        return "Namespace";
    case V_LOOP:
        return "LoopContext";
    case V_MACRO:
        return "Macro";
    case V_FUNC:
        return "function";
    case V_METHOD:
        return "builtin_function_or_method";
    case V_CYCLER:
        return "Cycler";
    case V_JOINER:
        return "Joiner";
    }
    return "object";
}

bool tmpl_is_str(tval v, const char *text)
{
    const size_t n = strlen(text);
    return v.kind == V_STR && v.u.s->n == n && memcmp(v.u.s->p, text, n) == 0;
}

bool tmpl_is_number(tval v)
{
    return v.kind == V_BOOL || v.kind == V_INT || v.kind == V_FLOAT;
}

double tmpl_as_double(tval v)
{
    return v.kind == V_FLOAT ? v.u.f : (double)tmpl_as_int(v);
}

bool tmpl_is_intlike(tval v)
{
    return v.kind == V_BOOL || v.kind == V_INT;
}

int64_t tmpl_as_int(tval v)
{
    return v.kind == V_BOOL ? v.u.b : v.u.i;
}

tval tmpl_no_use(trun *r, tval v)
{
    const tundef *u = v.kind == V_UNDEF ? v.u.undef : NULL;
    if (!u)
        return tmpl_fail(r, "value is undefined");
    if (!u->name)
        return tmpl_fail(r, "%s", u->hint ? u->hint : "value is undefined");
    if (u->type)
        return tmpl_fail(r, "'%s object' has no attribute '%.*s'", u->type, (int)u->name->n,
                         u->name->p);
    return tmpl_fail(r, "'%.*s' is undefined", (int)u->name->n, u->name->p);
}

bool tmpl_truth(trun *r, tval v)
{
    switch (v.kind) {
    case V_ABSENT:
    case V_UNDEF:
    case V_NONE:
        return false;
    case V_BOOL:
        return v.u.b;
    case V_INT:
        return v.u.i != 0;
    case V_FLOAT:
        return v.u.f != 0;
    case V_STR:
        return v.u.s->n != 0;
    case V_LIST:
    case V_TUPLE:
        return v.u.list->n != 0;
    case V_DICT:
        return v.u.dict->n != 0;
    case V_VIEW:
        return v.u.view->dict->n != 0;
    case V_RANGE:
        return v.u.range->n != 0;
    default:
        return !r->fail;
    }
}

/* ---- equality and order ---- */

static int order_doubles(double a, double b)
{
    return (a > b) - (a < b);
}

/* Exact even where an int has more digits than a double. NaN is neither: 2. */
static int order_numbers(tval a, tval b)
{
    if (tmpl_is_intlike(a) && tmpl_is_intlike(b)) {
        const int64_t x = tmpl_as_int(a);
        const int64_t y = tmpl_as_int(b);
        return (x > y) - (x < y);
    }
    const double x = tmpl_as_double(a);
    const double y = tmpl_as_double(b);
    if (isnan(x) || isnan(y))
        return 2;
    const int rough = order_doubles(x, y);
    if (rough || (a.kind == V_FLOAT && b.kind == V_FLOAT) || fabs(x) >= 9.2e18)
        return rough;
    const int64_t i = a.kind == V_FLOAT ? (int64_t)x : tmpl_as_int(a);
    const int64_t k = b.kind == V_FLOAT ? (int64_t)y : tmpl_as_int(b);
    return (i > k) - (i < k);
}

static int order_strings(const tstr *a, const tstr *b)
{
    const size_t n = a->n < b->n ? a->n : b->n;
    const int c = n ? memcmp(a->p, b->p, n) : 0; /* UTF-8 sorts as its code points */
    return c ? (c > 0) - (c < 0) : (a->n > b->n) - (a->n < b->n);
}

static bool equal_lists(trun *r, const tlist *a, const tlist *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n && !r->fail; i++) {
        if (!tmpl_equal(r, a->items[i], b->items[i]))
            return false;
    }
    return true;
}

static bool equal_dicts(trun *r, const tdict *a, const tdict *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n && !r->fail; i++) {
        tval other;
        if (!tmpl_dict_get(r, b, a->entries[i].key, &other) ||
            !tmpl_equal(r, a->entries[i].value, other))
            return false;
    }
    return true;
}

bool tmpl_same(tval a, tval b)
{
    if (a.kind != b.kind)
        return false;
    switch (a.kind) {
    case V_ABSENT:
    case V_NONE:
        return true;
    case V_BOOL:
        return a.u.b == b.u.b;
    case V_INT:
        return a.u.i == b.u.i;
    case V_FLOAT:
        return a.u.f == b.u.f;
    case V_STR:
    case V_BIG:
        return a.u.s == b.u.s || order_strings(a.u.s, b.u.s) == 0;
    case V_LIST:
    case V_TUPLE:
        return a.u.list == b.u.list;
    case V_DICT:
    case V_SPACE:
        return a.u.dict == b.u.dict;
    case V_FUNC:
        return a.u.fn == b.u.fn;
    case V_MACRO:
        return a.u.macro == b.u.macro;
    default:
        return a.u.view == b.u.view; /* all the others are pointers of their own */
    }
}

static bool equal_inside(trun *r, tval a, tval b)
{
    if (a.kind == V_DICT)
        return equal_dicts(r, a.u.dict, b.u.dict);
    if (a.kind == V_LIST || a.kind == V_TUPLE)
        return equal_lists(r, a.u.list, b.u.list);
    tlist *x = tmpl_iter(r, a); /* ranges and views */
    tlist *y = tmpl_iter(r, b);
    return x && y && equal_lists(r, x, y);
}

bool tmpl_equal(trun *r, tval a, tval b)
{
    if (tmpl_is_number(a) && tmpl_is_number(b))
        return order_numbers(a, b) == 0;
    if (a.kind != b.kind)
        return false;
    if (a.kind == V_UNDEF)
        return true;
    if (a.kind == V_STR || a.kind == V_BIG)
        return a.u.s == b.u.s || (a.u.s->n == b.u.s->n && tmpl_step(r, a.u.s->n / 64) &&
                                  memcmp(a.u.s->p, b.u.s->p, a.u.s->n) == 0);
    const bool deep =
        a.kind == V_DICT || a.kind == V_LIST || a.kind == V_TUPLE || a.kind == V_RANGE ||
        (a.kind == V_VIEW && a.u.view->of != VIEW_VALUES && b.u.view->of == a.u.view->of);
    if (!deep || tmpl_same(a, b))
        return tmpl_same(a, b);
    if (!tmpl_enter(r))
        return false;
    const bool same = equal_inside(r, a, b);
    tmpl_leave(r);
    return same;
}

static int order_lists(trun *r, const tlist *a, const tlist *b, const char *op)
{
    const size_t n = a->n < b->n ? a->n : b->n;
    if (!tmpl_enter(r))
        return 0;
    int c = 0;
    for (size_t i = 0; i < n && !c && !r->fail; i++) {
        if (!tmpl_equal(r, a->items[i], b->items[i]))
            c = tmpl_order(r, a->items[i], b->items[i], op);
    }
    tmpl_leave(r);
    return c ? c : (a->n > b->n) - (a->n < b->n);
}

int tmpl_order(trun *r, tval a, tval b, const char *op)
{
    if (tmpl_is_number(a) && tmpl_is_number(b))
        return order_numbers(a, b);
    if (a.kind == V_STR && b.kind == V_STR && tmpl_step(r, a.u.s->n / 64))
        return order_strings(a.u.s, b.u.s);
    if ((a.kind == V_LIST || a.kind == V_TUPLE) && a.kind == b.kind)
        return order_lists(r, a.u.list, b.u.list, op);
    if (a.kind == V_UNDEF || b.kind == V_UNDEF)
        (void)tmpl_no_use(r, a.kind == V_UNDEF ? a : b); /* sticks in r */
    else
        (void)tmpl_fail(r, "'%s' not supported between instances of '%s' and '%s'", op,
                        tmpl_type(a), tmpl_type(b));
    return 0;
}

/* ---- iteration and membership ---- */

static tlist *iter_string(trun *r, const tstr *s)
{
    tlist *l = tmpl_list_new(r, s->n_cp);
    size_t at = 0;
    for (size_t i = 0; l && i < s->n_cp; i++) {
        size_t next = at + 1;
        while (next < s->n && ((unsigned char)s->p[next] & 0xC0) == 0x80)
            next++;
        if (!tmpl_list_add(r, l, tmpl_str_static(r, s->p + at, next - at)))
            return NULL;
        at = next;
    }
    return l;
}

static tlist *iter_dict(trun *r, const tdict *d, int of)
{
    tlist *l = tmpl_list_new(r, d->n);
    for (size_t i = 0; l && i < d->n; i++) {
        const tentry *e = &d->entries[i];
        const tval v = of == VIEW_KEYS     ? e->key
                       : of == VIEW_VALUES ? e->value
                                           : tmpl_pair(r, e->key, e->value);
        if (!tmpl_list_add(r, l, v))
            return NULL;
    }
    return l;
}

static tlist *iter_range(trun *r, const trange *g)
{
    tlist *l = tmpl_list_new(r, g->n);
    for (size_t i = 0; l && i < g->n; i++) {
        if (!tmpl_list_add(r, l, tmpl_int(g->start + (int64_t)i * g->step)))
            return NULL;
    }
    return l;
}

static tlist *iter_generator(trun *r, tgen *g)
{
    tlist *rest = tmpl_list_new(r, 0);
    if (!rest)
        return NULL;
    rest->items = g->list->items ? g->list->items + g->next : NULL;
    rest->n = rest->cap = g->list->n - g->next;
    g->next = g->list->n;
    return rest;
}

/* A loop yields what it has not come to, with itself. */
static tlist *iter_loop(trun *r, tval v)
{
    tloop *loop = v.u.loop;
    tlist *l = tmpl_list_new(r, 0);
    for (; l && loop->i + 1 < loop->items->n; loop->i++) {
        if (!tmpl_list_add(r, l, tmpl_pair(r, loop->items->items[loop->i + 1], v)))
            return NULL;
    }
    return l;
}

tlist *tmpl_iter(trun *r, tval v)
{
    if (r->fail)
        return NULL;
    switch (v.kind) {
    case V_UNDEF:
        return tmpl_list_new(r, 0);
    case V_LIST:
    case V_TUPLE:
        return v.u.list;
    case V_STR:
        return iter_string(r, v.u.s);
    case V_DICT:
        return iter_dict(r, v.u.dict, VIEW_KEYS);
    case V_VIEW:
        return iter_dict(r, v.u.view->dict, (int)v.u.view->of);
    case V_RANGE:
        return iter_range(r, v.u.range);
    case V_GEN:
        return iter_generator(r, v.u.gen);
    case V_LOOP:
        return iter_loop(r, v);
    default:
        (void)tmpl_fail(r, "'%s' object is not iterable", tmpl_type(v)); /* sticks in r */
        return NULL;
    }
}

bool tmpl_has_len(tval v)
{
    return v.kind == V_UNDEF || v.kind == V_STR || v.kind == V_LIST || v.kind == V_TUPLE ||
           v.kind == V_DICT || v.kind == V_VIEW || v.kind == V_RANGE || v.kind == V_LOOP;
}

tval tmpl_len(trun *r, tval v)
{
    switch (v.kind) {
    case V_UNDEF:
        return tmpl_int(0);
    case V_STR:
        return tmpl_int((int64_t)v.u.s->n_cp);
    case V_LIST:
    case V_TUPLE:
        return tmpl_int((int64_t)v.u.list->n);
    case V_DICT:
        return tmpl_int((int64_t)v.u.dict->n);
    case V_VIEW:
        return tmpl_int((int64_t)v.u.view->dict->n);
    case V_RANGE:
        return tmpl_int((int64_t)v.u.range->n);
    case V_LOOP:
        return tmpl_int((int64_t)v.u.loop->items->n);
    default:
        return tmpl_fail(r, "object of type '%s' has no len()", tmpl_type(v));
    }
}

static bool string_contains(trun *r, const tstr *s, tval v)
{
    if (v.kind != V_STR) {
        (void)tmpl_fail(r, "'in <string>' requires string as left operand, not %s", tmpl_type(v));
        return false;
    }
    return tmpl_step_search(r, s->n, v.u.s->n) &&
           tmpl_find_bytes(s->p, s->n, v.u.s->p, v.u.s->n) >= 0;
}

bool tmpl_contains(trun *r, tval set, tval v)
{
    tval ignored;
    switch (set.kind) {
    case V_STR:
        return string_contains(r, set.u.s, v);
    case V_DICT:
        return tmpl_dict_get(r, set.u.dict, v, &ignored);
    case V_RANGE:
        if (v.kind == V_STR)
            return false;
        break;
    case V_VIEW:
        if (set.u.view->of == VIEW_KEYS)
            return tmpl_dict_get(r, set.u.view->dict, v, &ignored);
        break;
    case V_UNDEF:
    case V_LIST:
    case V_TUPLE:
    case V_GEN:
        break;
    default:
        (void)tmpl_fail(r, "argument of type '%s' is not iterable", tmpl_type(set));
        return false;
    }
    const tlist *l = tmpl_iter(r, set);
    for (size_t i = 0; l && l->items && i < l->n && tmpl_step(r, 1); i++) {
        if (tmpl_equal(r, l->items[i], v))
            return true;
    }
    return false;
}
