/* Actions: text, printing, if, with, range, template. */
#include "chat/gotmpl_int.h"

#include <string.h>

/* ---- errors of a render ---- */

/* ":line:byte" of a node, the byte counted from the line's start. */
static void print_location(const grun *r, buf *out)
{
    const size_t pos = r->node->pos < r->t->source.n ? r->node->pos : r->t->source.n;
    size_t line = 1;
    size_t begin = 0;
    for (size_t i = 0; i < pos; i++) {
        if (r->t->source.p[i] == '\n') {
            line++;
            begin = i + 1;
        }
    }
    (void)buf_printf(out, ":%zu:%zu", line, pos - begin); /* sticks in out, as below */
}

gval grun_fail(grun *r, const char *fmt, ...)
{
    if (r->fail)
        return gval_none();
    char text[CAMA_ERROR_BYTES];
    va_list args;
    va_start(args, fmt);
    err_info said = {0};
    r->fail = err_vset(&said, CAMA_ERR_TEMPLATE, fmt, args);
    va_end(args);
    memcpy(text, said.text, sizeof text);
    buf b;
    buf_init(&b, GOTMPL_ERROR_BYTES);
    (void)buf_puts(&b, "template: ");
    print_location(r, &b);
    (void)buf_puts(&b, ": executing ");
    gotmpl_quote(r->tree_name, false, &b);
    (void)buf_puts(&b, " at <");
    gotmpl_print_node(r->node, &b);
    (void)buf_printf(&b, ">: %s", text);
    (void)err_set(r->err, r->fail, "%s", b.data && !b.fail ? b.data : text); /* r->fail is kept */
    buf_done(&b);
    return gval_none();
}

gval grun_nomem(grun *r)
{
    if (r->fail)
        return gval_none();
    if (r->mem.used_bytes >= r->mem.max_bytes / 2)
        return grun_limit(r, "template: its render takes more than %zu bytes", r->mem.max_bytes);
    r->fail = err_set(r->err, CAMA_ERR_NOMEM, "template: no memory to render it");
    return gval_none();
}

gval grun_limit(grun *r, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    if (!r->fail)
        r->fail = err_vset(r->err, CAMA_ERR_LIMIT, fmt, args);
    va_end(args);
    return gval_none();
}

gval grun_call_fail(grun *r, const char *fmt, ...)
{
    err_info said = {0};
    va_list args;
    va_start(args, fmt);
    (void)err_vset(&said, CAMA_ERR_TEMPLATE, fmt, args); /* only its text is wanted */
    va_end(args);
    memcpy(r->call_error, said.text, sizeof r->call_error);
    r->call_failed = true;
    return gval_none();
}

bool grun_step(grun *r)
{
    if (r->fail)
        return false;
    if (++r->n_step <= r->max_steps)
        return true;
    (void)grun_limit(r, "template: its render takes more than %llu steps", /* sticks in r */
                     (unsigned long long)r->max_steps);
    return false;
}

void grun_charge(grun *r, size_t n_byte)
{
    r->n_step += n_byte / 64; /* about what a step takes; the next one looks at the limit */
}

gval grun_text(grun *r, buf *b)
{
    char *text = b->fail ? NULL : arena_copy(&r->mem, b->data ? b->data : "", b->n);
    const gstr s = {text, b->n};
    const cama_err e = b->fail;
    buf_done(b);
    if (e == CAMA_ERR_LIMIT)
        return grun_limit(r, "template: a text of its render is larger than %zu bytes",
                          b->max_bytes);
    return text ? gval_string(s) : grun_nomem(r);
}

bool grun_enter(grun *r)
{
    if (++r->depth <= r->max_depth)
        return grun_step(r);
    (void)grun_limit(r, "template: its render nests deeper than %u", r->max_depth);
    return false; /* sticks in r, which is given up: depth need not go back */
}

/* ---- actions ---- */

typedef enum gflow { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE } gflow;

static gflow walk_list(grun *r, gval dot, const gnode *list);

static void check_out(grun *r)
{
    if (r->out->fail && !r->fail)
        r->fail = buf_error(r->out, "the prompt", r->err);
}

static void walk_action(grun *r, gval dot, const gnode *n)
{
    const gval v = geval_pipeline(r, dot, n->pipe);
    r->node = n;
    if (r->fail || n->pipe->n_decl)
        return;
    gotmpl_print_action(v, r->out);
    check_out(r);
}

/* `else if` is an if alone in a list: it is walked here, in one turn of the loop. */
static gflow walk_condition(grun *r, gval dot, const gnode *n)
{
    const size_t n_var = r->n_var;
    gflow flow = FLOW_ON;
    for (const gnode *next = n; next;) {
        n = next;
        next = NULL;
        if (!grun_step(r))
            break;
        r->node = n;
        const gval v = geval_pipeline(r, dot, n->pipe);
        if (r->fail)
            break;
        if (gval_true(gval_unwrap(v)))
            flow = walk_list(r, n->kind == GN_WITH ? v : dot, n->list);
        else if (n->other && n->other->n == 1 &&
                 (n->other->kids[0]->kind == GN_IF || n->other->kids[0]->kind == GN_WITH))
            next = n->other->kids[0];
        else if (n->other)
            flow = walk_list(r, dot, n->other);
    }
    r->n_var = n_var;
    return flow;
}

static void set_top(grun *r, size_t n, gval v)
{
    r->vars[r->n_var - n].value = v;
}

/* One turn; false ends the loop. */
static bool walk_turn(grun *r, const gnode *n, gval index, gval elem)
{
    const size_t mark = r->n_var;
    const gnode *pipe = n->pipe;
    if (pipe->n_decl && pipe->flag) {
        geval_set(r, pipe->decl[0]->idents[0], pipe->n_decl > 1 ? index : elem);
        if (pipe->n_decl > 1)
            geval_set(r, pipe->decl[1]->idents[0], elem);
    } else if (pipe->n_decl) {
        set_top(r, 1, elem);
        if (pipe->n_decl > 1)
            set_top(r, 2, index);
    }
    const gflow flow = grun_step(r) ? walk_list(r, elem, n->list) : FLOW_BREAK;
    r->n_var = mark;
    return flow != FLOW_BREAK && !r->fail;
}

static void cannot_range(grun *r, const char *fmt, gval v)
{
    buf b;
    buf_init(&b, GOTMPL_ERROR_BYTES);
    gotmpl_print(v, &b);
    (void)grun_fail(r, fmt, b.data ? b.data : ""); /* sticks in r */
    buf_done(&b);
}

/* False: there was nothing to range over. */
static bool range_number(grun *r, const gnode *n, gval v)
{
    if (n->pipe->n_decl > 1) {
        cannot_range(r, "can't use %s to iterate over more than one variable", v);
        return true;
    }
    for (int64_t i = 0; i < v.u.i; i++) {
        gval elem = v;
        elem.u.i = i;
        if (!walk_turn(r, n, gval_none(), elem))
            break;
    }
    return v.u.i > 0;
}

static bool range_over(grun *r, const gnode *n, gval v)
{
    if (!v.type)
        return false;
    switch (v.type->kind) {
    case G_INT:
    case G_UINT8:
        return range_number(r, n, v);
    case G_SLICE:
        for (size_t i = 0; i < v.u.l.n; i++)
            if (!walk_turn(r, n, gval_int((int64_t)i), gval_elem(v, i)))
                break;
        return v.u.l.n > 0;
    case G_MAP:
        for (size_t i = 0; i < v.u.m.n; i++) {
            gval elem = v.u.m.entries[i].value;
            elem.iface = elem.iface || !v.type->elem;
            if (!walk_turn(r, n, gval_string(v.u.m.entries[i].key), elem))
                break;
        }
        return v.u.m.n > 0;
    case G_PTR: /* a nil one */
    default:
        cannot_range(r, "range can't iterate over %s", v);
        return true;
    }
}

static gflow walk_range(grun *r, gval dot, const gnode *n)
{
    const size_t n_var = r->n_var;
    bool nil; /* a nil pointer stays one, and range_over refuses it */
    gflow flow = FLOW_ON;
    const gval v = gval_indirect(geval_pipeline(r, dot, n->pipe), &nil);
    if (!r->fail && !range_over(r, n, v) && n->other)
        flow = walk_list(r, dot, n->other);
    r->n_var = n_var;
    return flow == FLOW_BREAK ? FLOW_ON : flow; /* in an else, too, it ends this range in Go */
}

static const gtree *find_tree(const gotmpl *t, gstr name)
{
    for (size_t i = 0; i < t->n_tree; i++)
        if (gstr_same(t->trees[i].name, name))
            return &t->trees[i];
    return NULL;
}

static void undefined_template(grun *r, gstr name)
{
    buf b;
    buf_init(&b, GOTMPL_ERROR_BYTES);
    gotmpl_quote(name, false, &b);
    (void)grun_fail(r, "template %s not defined", b.data ? b.data : ""); /* sticks in r */
    buf_done(&b);
}

/* A template has variables of its own: those below r->base are not seen. */
static void walk_template(grun *r, gval dot, const gnode *n)
{
    const gtree *tree = find_tree(r->t, n->text);
    if (!tree) {
        undefined_template(r, n->text);
        return;
    }
    const gval data = n->pipe ? geval_pipeline(r, dot, n->pipe) : gval_none();
    if (r->fail || !grun_enter(r))
        return;
    const gstr name = r->tree_name;
    const size_t base = r->base;
    const size_t n_var = r->n_var;
    r->base = n_var;
    r->tree_name = tree->name;
    geval_push(r, GSTR("$"), data);
    (void)walk_list(r, data, tree->root); /* no break leaves a template: the parser saw to it */
    r->n_var = n_var;
    r->base = base;
    r->tree_name = name;
    r->depth--;
}

static gflow walk(grun *r, gval dot, const gnode *n)
{
    r->node = n;
    switch (n->kind) {
    case GN_TEXT:
        (void)buf_append(r->out, n->text.p, n->text.n); /* looked at below */
        check_out(r);
        return FLOW_ON;
    case GN_ACTION:
        walk_action(r, dot, n);
        return FLOW_ON;
    case GN_IF:
    case GN_WITH:
        return walk_condition(r, dot, n);
    case GN_RANGE:
        return walk_range(r, dot, n);
    case GN_TEMPLATE:
        walk_template(r, dot, n);
        return FLOW_ON;
    case GN_BREAK:
        return FLOW_BREAK;
    default:
        return FLOW_CONTINUE;
    }
}

static gflow walk_list(grun *r, gval dot, const gnode *list)
{
    gflow flow = FLOW_ON;
    if (!grun_enter(r))
        return FLOW_BREAK;
    for (size_t i = 0; i < list->n && flow == FLOW_ON && grun_step(r); i++)
        flow = walk(r, dot, list->kids[i]);
    r->depth--;
    return flow;
}

cama_err gotmpl_exec(const gotmpl *t, const gexec_opts *o, buf *out, err_info *err)
{
    static const tmpl_limits none = {0};
    const tmpl_limits *l = o->limits ? o->limits : &none;
    grun r = {.t = t,
              .tree_name = {"", 0},
              .out = out,
              .max_steps = l->max_steps ? l->max_steps : TMPL_MAX_STEPS,
              .max_depth = l->max_depth ? l->max_depth : TMPL_MAX_DEPTH,
              .now_s = o->now_s,
              .node = o->root,
              .err = err};
    arena_init(&r.mem, l->max_bytes ? l->max_bytes : TMPL_MAX_BYTES);
    geval_push(&r, GSTR("$"), o->data);
    (void)walk_list(&r, o->data, o->root); /* its end is that of the template */
    arena_done(&r.mem);
    return r.fail;
}
