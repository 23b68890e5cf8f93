/* Statements: text and side effects on scopes. */
#include "chat/tmpl_int.h"

#include <string.h>

/* ---- scopes ---- */

tscope *tmpl_push_scope(trun *r, tscope *up)
{
    tscope *s = tmpl_take(r, sizeof *s);
    if (s)
        s->up = up;
    return s;
}

void tmpl_set_var(trun *r, uint32_t name, tval value)
{
    tscope *s = r->scope;
    if (r->fail)
        return;
    for (size_t i = 0; i < s->n; i++) {
        if (s->vars[i].name == name) {
            s->vars[i].value = value;
            return;
        }
    }
    if (s->n == s->cap) {
        const size_t cap = s->cap ? 2 * s->cap : 4;
        tvar *more = tmpl_take_array(r, cap, sizeof *more);
        if (!more)
            return;
        if (s->n)
            memcpy(more, s->vars, s->n * sizeof *more);
        s->vars = more;
        s->cap = cap;
    }
    s->vars[s->n++] = (tvar){name, value};
}

static void assign_attr(trun *r, const tnode *target, tval value)
{
    const tval space = tmpl_eval(r, target->a);
    if (r->fail)
        return;
    if (space.kind != V_SPACE)
        (void)tmpl_fail(r, "cannot assign attribute on non-namespace object"); /* sticks in r */
    else
        (void)tmpl_dict_put(r, space.u.dict, tmpl_str_val(target->text), value); /* likewise */
}

static void assign(trun *r, const tnode *target, tval value)
{
    if (r->fail)
        return;
    if (target->kind == N_NAME) {
        tmpl_set_var(r, target->name, value);
        return;
    }
    if (target->kind == N_ATTR) {
        assign_attr(r, target, value);
        return;
    }
    const tlist *l = tmpl_iter(r, value);
    if (!l)
        return;
    if (l->n != target->n) {
        (void)tmpl_fail(r,
                        l->n > target->n ? "too many values to unpack (expected %zu)"
                                         : "not enough values to unpack (expected %zu)",
                        target->n);
        return;
    }
    for (size_t i = 0; i < l->n; i++)
        assign(r, target->kids[i], l->items[i]);
}

/* ---- for ---- */

/* A scope for one iteration: that of the last one, unless a macro keeps it. */
static tscope *iteration_scope(trun *r, tscope *last, tscope *up)
{
    if (!last || last->captured)
        return tmpl_push_scope(r, up);
    last->n = 0;
    return last;
}

static tlist *filter_items(trun *r, const tnode *n, tlist *items)
{
    tlist *kept = tmpl_list_new(r, 0);
    tscope *outer = r->scope;
    tscope *s = NULL;
    for (size_t i = 0; kept && i < items->n && !r->fail; i++) {
        s = iteration_scope(r, s, outer);
        if (!s)
            break;
        r->scope = s;
        assign(r, n->kids[0], items->items[i]);
        if (tmpl_truth(r, tmpl_eval(r, n->kids[2])))
            (void)tmpl_list_add(r, kept, items->items[i]); /* sticks in r */
    }
    r->scope = outer;
    return r->fail ? NULL : kept;
}

static void exec_else(trun *r, const tnode *n, tflow *flow)
{
    tscope *outer = r->scope;
    tscope *s = n->kids[4] && !r->fail ? tmpl_push_scope(r, outer) : NULL;
    if (!s)
        return;
    r->scope = s;
    *flow = tmpl_exec(r, n->kids[4]);
    r->scope = outer;
}

/* The loop over items, in the scope r->scope. */
static tflow run_loop(trun *r, const tnode *n, tlist *all, int64_t depth0)
{
    tlist *items = n->kids[2] ? filter_items(r, n, all) : all;
    tloop *loop = items ? tmpl_take(r, sizeof *loop) : NULL;
    tlist *mine = loop ? tmpl_list_new(r, 0) : NULL;
    tscope *outer = r->scope;
    tscope *s = NULL;
    tflow flow = FLOW_NEXT;
    bool whole = false; /* one iteration reached its end */
    if (!mine)
        return flow;
    *mine = (tlist){items->items, items->n, items->n}; /* an append to it is not seen here */
    *loop = (tloop){.items = mine, .depth0 = depth0, .node = n->flag ? n : NULL, .scope = outer};
    outer->captured |= n->flag;
    const tval loop_val = {.kind = V_LOOP, .u.loop = loop};
    for (; loop->i < mine->n && !r->fail && flow != FLOW_BREAK; loop->i++) {
        s = iteration_scope(r, s, outer);
        if (!s || !tmpl_step(r, 1))
            break;
        r->scope = s;
        tmpl_set_var(r, NAME_LOOP, loop_val);
        assign(r, n->kids[0], mine->items[loop->i]);
        flow = tmpl_exec(r, n->kids[3]);
        whole |= flow == FLOW_NEXT;
    }
    r->scope = outer;
    flow = FLOW_NEXT;
    if (!whole) /* as in jinja2: also when every iteration was left by break or continue */
        exec_else(r, n, &flow);
    return flow;
}

static tflow exec_for(trun *r, const tnode *n)
{
    tlist *items = tmpl_iter(r, tmpl_eval(r, n->kids[1]));
    return items ? run_loop(r, n, items, 0) : FLOW_NEXT;
}

/* Output of what runs between begin and end goes to a buffer of its own. */
static buf *capture_begin(trun *r, buf *b)
{
    buf *outer = r->out;
    buf_init(b, r->mem.max_bytes);
    r->out = b;
    return outer;
}

static tval capture_end(trun *r, buf *b, buf *outer)
{
    r->out = outer;
    return tmpl_buf_str(r, b);
}

tval tmpl_loop_again(trun *r, tloop *l, tval items)
{
    if (!l->node)
        return tmpl_fail(r, "The loop must have the 'recursive' marker to be called recursively.");
    tlist *list = tmpl_iter(r, items);
    if (!list || !tmpl_enter(r))
        return (tval){.kind = V_UNDEF};
    if (++r->depth > r->max_depth)
        tmpl_fail_code(r, CAMA_ERR_LIMIT, "calls nested deeper than %u", r->max_depth);
    buf b;
    buf *outer = capture_begin(r, &b);
    tscope *scope = r->scope;
    r->scope = l->scope;
    (void)run_loop(r, l->node, list, l->depth0 + 1); /* a loop ends its breaks itself */
    r->scope = scope;
    r->depth--;
    tmpl_leave(r);
    return capture_end(r, &b, outer);
}

/* ---- the others ---- */

static tflow exec_scoped(trun *r, const tnode *body)
{
    tscope *outer = r->scope;
    tscope *s = tmpl_push_scope(r, outer);
    if (!s)
        return FLOW_NEXT;
    r->scope = s;
    const tflow flow = tmpl_exec(r, body);
    r->scope = outer;
    return flow;
}

static tflow exec_set_block(trun *r, const tnode *n)
{
    buf b;
    buf *outer = capture_begin(r, &b);
    const tflow flow = exec_scoped(r, n->c);
    tval v = capture_end(r, &b, outer);
    if (flow != FLOW_NEXT || r->fail)
        return flow;
    if (n->b)
        v = tmpl_apply_filter(r, n->b, v);
    assign(r, n->a, v);
    return FLOW_NEXT;
}

static tflow exec_filter_block(trun *r, const tnode *n)
{
    buf b;
    buf *outer = capture_begin(r, &b);
    const tflow flow = exec_scoped(r, n->b);
    const tval v = capture_end(r, &b, outer);
    if (flow == FLOW_NEXT && !r->fail)
        tmpl_put_str(r, tmpl_apply_filter(r, n->a, v), r->out);
    return flow;
}

static tflow exec_with(trun *r, const tnode *n)
{
    tscope *outer = r->scope;
    tscope *s = tmpl_push_scope(r, outer);
    for (size_t i = 0; s && i + 1 < n->n; i += 2) {
        const tval v = tmpl_eval(r, n->kids[i + 1]); /* sees the outside only */
        r->scope = s;
        assign(r, n->kids[i], v);
        r->scope = outer;
    }
    if (!s || r->fail)
        return FLOW_NEXT;
    r->scope = s;
    const tflow flow = tmpl_exec(r, n->b);
    r->scope = outer;
    return flow;
}

static void exec_call_block(trun *r, const tnode *n)
{
    static const tstr caller_name = {"caller", 6, 6};
    const tval f = tmpl_eval(r, n->a->a);
    const tkw caller = {&caller_name, tmpl_make_macro(r, n->sig, n->b)};
    if (!r->fail)
        tmpl_put_str(r, tmpl_call_node(r, f, n->a->args, &caller, 1), r->out);
}

static tflow exec_if(trun *r, const tnode *start)
{
    for (const tnode *n = start; n && !r->fail; n = n->c) {
        if (n->kind != N_IF)
            return tmpl_exec(r, n);
        if (tmpl_truth(r, tmpl_eval(r, n->a)))
            return tmpl_exec(r, n->b);
    }
    return FLOW_NEXT;
}

static tflow exec_block(trun *r, const tnode *n)
{
    tflow flow = FLOW_NEXT;
    if (++r->depth > r->max_depth)
        tmpl_fail_code(r, CAMA_ERR_LIMIT, "blocks nested deeper than %u", r->max_depth);
    for (size_t i = 0; i < n->n && flow == FLOW_NEXT && !r->fail; i++)
        flow = tmpl_exec(r, n->kids[i]);
    r->depth--;
    return flow;
}

static tflow dispatch(trun *r, const tnode *n)
{
    switch (n->kind) {
    case N_BLOCK:
        return exec_block(r, n);
    case N_TEXT:
        (void)buf_append(r->out, n->text->p, n->text->n); /* sticks in the buffer */
        return FLOW_NEXT;
    case N_PRINT:
        tmpl_put_str(r, tmpl_eval(r, n->a), r->out);
        return FLOW_NEXT;
    case N_IF:
        return exec_if(r, n);
    case N_FOR:
        return exec_for(r, n);
    case N_SET:
        assign(r, n->a, tmpl_eval(r, n->b));
        return FLOW_NEXT;
    case N_SET_BLOCK:
        return exec_set_block(r, n);
    case N_MACRO:
        tmpl_set_var(r, n->name, tmpl_make_macro(r, n->sig, n->b));
        return FLOW_NEXT;
    case N_CALL_BLOCK:
        exec_call_block(r, n);
        return FLOW_NEXT;
    case N_FILTER_BLOCK:
        return exec_filter_block(r, n);
    case N_WITH:
        return exec_with(r, n);
    case N_GENERATION:
        return exec_scoped(r, n->b);
    case N_BREAK:
        return FLOW_BREAK;
    case N_CONTINUE:
        return FLOW_CONTINUE;
    default:
        (void)tmpl_fail(r, "not a statement"); /* the parser makes no such tree */
        return FLOW_NEXT;
    }
}

tflow tmpl_exec(trun *r, const tnode *n)
{
    if (r->fail || !tmpl_enter(r))
        return FLOW_NEXT;
    r->line = n->line;
    if (r->out->fail)
        tmpl_fail_code(r, r->out->fail, "the output is longer than its limit of %zu bytes",
                       r->out->max_bytes);
    const tflow flow = dispatch(r, n);
    tmpl_leave(r);
    return flow;
}
