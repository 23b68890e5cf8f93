/* Expressions to values. Every function that recurses is small: depth costs stack. */
#include "chat/tmpl_int.h"

#include <string.h>

static const tval undefined = {.kind = V_UNDEF};

static tval eval_name(trun *r, const tnode *n)
{
    for (const tscope *s = r->scope; s; s = s->up) {
        for (size_t i = s->n; i-- > 0;) {
            if (s->vars[i].name == n->name)
                return s->vars[i].value;
        }
    }
    const tval v = r->globals[n->name];
    if (v.kind != V_ABSENT)
        return v;
    tundef *u = tmpl_take(r, sizeof *u);
    if (u)
        u->name = n->text;
    return (tval){.kind = V_UNDEF, .u.undef = u};
}

static tval eval_sequence(trun *r, const tnode *n)
{
    tlist *l = tmpl_list_new(r, n->n);
    for (size_t i = 0; l && i < n->n; i++) {
        if (!tmpl_list_add(r, l, tmpl_eval(r, n->kids[i])))
            break;
    }
    return n->kind == N_TUPLE ? tmpl_tuple_val(l) : tmpl_list_val(l);
}

static tval eval_dict(trun *r, const tnode *n)
{
    tdict *d = tmpl_dict_new(r);
    for (size_t i = 0; d && i + 1 < n->n; i += 2) {
        const tval key = tmpl_eval(r, n->kids[i]);
        if (!tmpl_dict_put(r, d, key, tmpl_eval(r, n->kids[i + 1])))
            break;
    }
    return (tval){.kind = d ? V_DICT : V_UNDEF, .u.dict = d};
}

static tval eval_part(trun *r, const tnode *n)
{
    return n ? tmpl_eval(r, n) : (tval){.kind = V_ABSENT};
}

static tval eval_slice(trun *r, const tnode *n)
{
    const tval of = tmpl_eval(r, n->a);
    const tval start = eval_part(r, n->b->a);
    const tval stop = eval_part(r, n->b->b);
    return tmpl_slice(r, of, start, stop, eval_part(r, n->b->c));
}

static tval eval_item(trun *r, const tnode *n)
{
    if (n->b->kind == N_SLICE)
        return eval_slice(r, n);
    const tval of = tmpl_eval(r, n->a);
    return tmpl_get_item(r, of, tmpl_eval(r, n->b));
}

/* Arguments of a filter or test, behind the value they work on. */
static tval apply(trun *r, const tnode *n, tval value, const char *what)
{
    if (!n->fn)
        return tmpl_fail(r, "No %s named '%.*s'", what, (int)n->text->n, n->text->p);
    tcall c = {.self = value};
    if (!n->args)
        return tmpl_call_builtin(r, n->fn, &c);
    const tval f = {.kind = V_FUNC, .u.fn = n->fn};
    tmethod m = {value, f.u.fn}; /* bound: tmpl_call_node evaluates the rest */
    return tmpl_call_node(r, (tval){.kind = V_METHOD, .u.method = &m}, n->args, NULL, 0);
}

tval tmpl_apply_filter(trun *r, const tnode *filter, tval value)
{
    const tval in = filter->a ? tmpl_apply_filter(r, filter->a, value) : value;
    return r->fail ? undefined : apply(r, filter, in, "filter");
}

static tval eval_filter(trun *r, const tnode *n)
{
    const tval v = tmpl_eval(r, n->a);
    return r->fail ? undefined : apply(r, n, v, "filter");
}

static tval eval_test(trun *r, const tnode *n)
{
    const tval v = tmpl_eval(r, n->a);
    if (r->fail)
        return undefined;
    const tval got = apply(r, n, v, "test");
    return r->fail ? undefined : tmpl_bool(tmpl_truth(r, got) != n->flag);
}

static tval eval_cond(trun *r, const tnode *n)
{
    if (tmpl_truth(r, tmpl_eval(r, n->b)))
        return tmpl_eval(r, n->a);
    if (n->c)
        return tmpl_eval(r, n->c);
    return tmpl_undef(r, "the inline if-expression evaluated to false and no else section was "
                         "defined");
}

static tval eval_logic(trun *r, const tnode *n)
{
    const tval left = tmpl_eval(r, n->a);
    if (tmpl_truth(r, left) == (n->kind == N_OR))
        return left;
    return tmpl_eval(r, n->b);
}

static tval eval_binary(trun *r, const tnode *n)
{
    const tval a = tmpl_eval(r, n->a);
    const tval b = tmpl_eval(r, n->b);
    r->line = n->line;
    return tmpl_binary(r, n->op, a, b);
}

static tval eval_concat(trun *r, const tnode *n)
{
    const tstr *s = NULL;
    for (size_t i = 0; i < n->n && !r->fail; i++) {
        const tstr *next = tmpl_to_str(r, tmpl_eval(r, n->kids[i]));
        if (!next)
            return undefined;
        s = s ? tmpl_concat(r, s, next).u.s : next;
    }
    return r->fail ? undefined : tmpl_str_val(s);
}

static bool compare(trun *r, top op, tval a, tval b)
{
    switch (op) {
    case OP_EQ:
        return tmpl_equal(r, a, b);
    case OP_NE:
        return !tmpl_equal(r, a, b);
    case OP_IN:
        return tmpl_contains(r, b, a);
    case OP_NOT_IN:
        return !tmpl_contains(r, b, a);
    case OP_LT:
        return tmpl_order(r, a, b, "<") == -1;
    case OP_GT:
        return tmpl_order(r, a, b, ">") == 1;
    case OP_LE: {
        const int c = tmpl_order(r, a, b, "<=");
        return c == -1 || c == 0;
    }
    default: {
        const int c = tmpl_order(r, a, b, ">=");
        return c == 1 || c == 0;
    }
    }
}

static tval eval_compare(trun *r, const tnode *n)
{
    tval left = tmpl_eval(r, n->kids[0]);
    for (size_t i = 1; i < n->n && !r->fail; i++) {
        const tval right = tmpl_eval(r, n->kids[i]);
        if (r->fail)
            break;
        r->line = n->line;
        if (!compare(r, n->ops[i - 1], left, right))
            return tmpl_bool(false);
        left = right;
    }
    return tmpl_bool(true);
}

static tval eval_call(trun *r, const tnode *n)
{
    const tval f = tmpl_eval(r, n->a);
    r->line = n->line;
    return r->fail ? undefined : tmpl_call_node(r, f, n->args, NULL, 0);
}

static tval eval_plus(trun *r, const tnode *n)
{
    const tval v = tmpl_eval(r, n->a);
    if (v.kind == V_BOOL)
        return tmpl_int(v.u.b);
    if (tmpl_is_number(v) || v.kind == V_BIG)
        return v;
    if (v.kind == V_UNDEF)
        return tmpl_no_use(r, v);
    return tmpl_fail(r, "bad operand type for unary +: '%s'", tmpl_type(v));
}

static tval dispatch(trun *r, const tnode *n)
{
    switch (n->kind) {
    case N_CONST:
        return n->value;
    case N_NAME:
        return eval_name(r, n);
    case N_LIST:
    case N_TUPLE:
        return eval_sequence(r, n);
    case N_DICT:
        return eval_dict(r, n);
    case N_ATTR:
        return tmpl_get_attr(r, tmpl_eval(r, n->a), n->text);
    case N_ITEM:
        return eval_item(r, n);
    case N_CALL:
        return eval_call(r, n);
    case N_FILTER:
        return eval_filter(r, n);
    case N_TEST:
        return eval_test(r, n);
    case N_COND:
        return eval_cond(r, n);
    case N_AND:
    case N_OR:
        return eval_logic(r, n);
    case N_NOT:
        return tmpl_bool(!tmpl_truth(r, tmpl_eval(r, n->a)));
    case N_NEG:
        return tmpl_negate(r, tmpl_eval(r, n->a));
    case N_POS:
        return eval_plus(r, n);
    case N_BINARY:
        return eval_binary(r, n);
    case N_CONCAT:
        return eval_concat(r, n);
    case N_COMPARE:
        return eval_compare(r, n);
    default: /* a slice in a tuple of indices: nothing has such keys */
        return tmpl_fail(r, "a slice may not stand here");
    }
}

tval tmpl_eval(trun *r, const tnode *n)
{
    if (r->fail || !tmpl_enter(r))
        return undefined;
    r->line = n->line;
    const tval v = dispatch(r, n);
    tmpl_leave(r);
    return r->fail ? undefined : v;
}
