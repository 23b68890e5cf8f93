/* Pipelines, commands, fields and calls. */
#include "chat/gotmpl_int.h"

#include <string.h>

/* The words of a command behind its first, and what the pipeline hands on as its last argument. */
typedef struct gargs {
    gnode *const *of; /* of[0] is what is called; NULL: no words */
    size_t n;
    bool piped;
    gval last;
} gargs;

static const gargs no_args = {0};

/* ---- variables ---- */

void geval_push(grun *r, gstr name, gval v)
{
    if (r->n_var == r->cap_var) {
        const size_t cap = r->cap_var ? r->cap_var * 2 : 32;
        gvar *more = arena_take_array(&r->mem, cap, sizeof *more);
        if (!more) {
            (void)grun_nomem(r); /* sticks in r */
            return;
        }
        if (r->n_var)
            memcpy(more, r->vars, r->n_var * sizeof *more);
        r->vars = more;
        r->cap_var = cap;
    }
    r->vars[r->n_var++] = (gvar){name, v};
}

static gvar *find_var(grun *r, gstr name)
{
    for (size_t i = r->n_var; i > r->base; i--)
        if (gstr_same(r->vars[i - 1].name, name))
            return &r->vars[i - 1];
    (void)grun_fail(r, "undefined variable: %.*s", (int)name.n, name.p); /* sticks in r */
    return NULL;
}

void geval_set(grun *r, gstr name, gval v)
{
    gvar *var = find_var(r, name);
    if (var)
        var->value = v;
}

/* ---- arguments ---- */

static gval eval_arg(grun *r, gval dot, gparam want, const gnode *n);

static gval fail_with_node(grun *r, const char *fmt, const gnode *n)
{
    buf b;
    buf_init(&b, GOTMPL_ERROR_BYTES);
    gotmpl_print_node(n, &b);
    (void)grun_fail(r, fmt, b.data ? b.data : ""); /* sticks in r */
    buf_done(&b);
    return gval_none();
}

/* What a parameter of this kind makes of a value. */
static gval fit(grun *r, gval v, gparam want)
{
    if (want == GP_VALUE)
        return v;
    if (want == GP_ANY) {
        v.iface = true;
        return v;
    }
    if (!v.type && !v.iface)
        return grun_fail(r, "invalid value; expected string");
    if (v.iface && v.type)
        v.iface = false;
    if (v.type && v.type->kind == G_STRING)
        return v;
    return grun_fail(r, "wrong type for value; expected string; got %s", gval_type_name(v));
}

static void no_arguments(grun *r, const gnode *word, const gargs *a)
{
    if (a->n > 1 || a->piped)
        (void)fail_with_node(r, "can't give argument to non-function %s", word); /* sticks */
}

static gval ideal_constant(grun *r, const gnode *n)
{
    const gnumber *c = &n->number;
    const char *p = n->text.p;
    r->node = n;
    if (c->is_complex) {
        gval v = {.type = &gotmpl_complex};
        v.u.c.re = c->f;
        v.u.c.im = c->im;
        return v;
    }
    const bool hex_float = memchr(p, 'p', n->text.n) || memchr(p, 'P', n->text.n);
    const bool hex = n->text.n > 2 && p[0] == '0' && (p[1] | 32) == 'x' && !hex_float;
    const bool has_point = memchr(p, '.', n->text.n) || memchr(p, 'e', n->text.n) ||
                           memchr(p, 'E', n->text.n) || hex_float;
    if (c->is_float && !hex && p[0] != '\'' && has_point)
        return gval_float(c->f);
    if (c->is_int)
        return gval_int(c->i);
    if (c->is_uint)
        return grun_fail(r, "%.*s overflows int", (int)n->text.n, n->text.p);
    return gval_none();
}

/* ---- calls ---- */

static gval count_error(grun *r, gstr name, const char *want, size_t n_want, size_t n_got)
{
    return grun_fail(r, "wrong number of args for %.*s: want %s%zu got %zu", (int)name.n, name.p,
                     want, n_want, n_got);
}

/* and, or: the rest is not even looked at once the answer is known. */
static gval eval_logic(grun *r, gval dot, bool stop_at, const gargs *a)
{
    gval v = gval_none();
    for (size_t i = 1; i < a->n; i++) {
        v = eval_arg(r, dot, GP_VALUE, a->of[i]);
        if (r->fail || gval_true(v) == stop_at)
            return v;
    }
    return a->piped ? a->last : v;
}

/* The name that `call` tells of what it cannot call. */
static gval eval_call_function(grun *r, const gargs *a, gval fn)
{
    buf b;
    buf_init(&b, GOTMPL_ERROR_BYTES);
    fn.iface = false;
    if (a->n > 1)
        gotmpl_print_node(a->of[1], &b);
    else if (fn.type && fn.type->kind == G_STRING)
        (void)buf_append(&b, fn.u.s.p, fn.u.s.n); /* sticks in b, as below */
    else
        (void)buf_printf(&b, "<%s Value>", fn.type ? fn.type->name : "invalid");
    if (!fn.type)
        (void)grun_call_fail(r, "call of nil"); /* stays in r, as below */
    else
        (void)grun_call_fail(r, "non-function %s of type %s", b.data ? b.data : "", fn.type->name);
    buf_done(&b);
    return gval_none();
}

static gval call_result(grun *r, const gnode *node, gstr name, gval v)
{
    if (!r->call_failed || r->fail)
        return r->fail ? gval_none() : v;
    char text[sizeof r->call_error];
    memcpy(text, r->call_error, sizeof text);
    r->call_failed = false;
    r->node = node;
    return grun_fail(r, "error calling %.*s: %s", (int)name.n, name.p, text);
}

/* node: what an error of the function itself points to. */
static gval eval_function(grun *r, gval dot, const gnode *ident, const gnode *node, const gargs *a)
{
    const gfunc *f = ident->fn;
    const size_t n_word = a->n ? a->n - 1 : 0;
    const size_t n_in = n_word + a->piped;
    r->node = ident;
    if (f->variadic && n_in < f->n_fixed)
        return count_error(r, ident->text, "at least ", f->n_fixed, n_word);
    if (!f->variadic && n_in != f->n_fixed)
        return count_error(r, ident->text, "", f->n_fixed, n_in);
    if (!f->fn && (gstr_is(ident->text, "and") || gstr_is(ident->text, "or")))
        return eval_logic(r, dot, ident->text.p[0] == 'o', a);
    gval *argv = arena_take_array(&r->mem, n_in, sizeof *argv);
    if (!argv)
        return grun_nomem(r);
    for (size_t i = 0; i < n_word && !r->fail; i++)
        argv[i] = eval_arg(r, dot, i < f->n_fixed ? f->fixed : f->rest, a->of[i + 1]);
    if (a->piped && !r->fail)
        argv[n_word] = fit(r, a->last, n_word < f->n_fixed ? f->fixed : f->rest);
    if (r->fail)
        return gval_none();
    const gval v = f->fn ? f->fn(r, argv, n_in) : eval_call_function(r, a, argv[0]);
    return call_result(r, node, ident->text, v);
}

/* Methods take no arguments. */
static gval eval_method(grun *r, gval self, gstr name, const gargs *a)
{
    const size_t n_in = (a->n ? a->n - 1 : 0) + a->piped;
    if (n_in)
        return count_error(r, name, "", 0, n_in);
    if (self.type->script_type && gstr_is(name, "ToTypeScriptType"))
        return gotmpl_script_type(r, self);
    buf b;
    buf_init(&b, TMPL_MAX_BYTES);
    gotmpl_stringer(self, &b);
    return grun_text(r, &b);
}

/* ---- fields ---- */

static bool is_method(const gtype *t, gstr name)
{
    return (t->stringer && gstr_is(name, "String")) ||
           (t->script_type && gstr_is(name, "ToTypeScriptType"));
}

static bool find_field(const gtype *t, gstr name, size_t *out)
{
    for (size_t i = 0; i < t->n_field; i++) {
        if (gstr_is(name, t->fields[i].name)) {
            *out = i;
            return true;
        }
    }
    return false;
}

static gval map_entry(grun *r, gval map, gstr name, bool has_args)
{
    gval v;
    if (has_args)
        return grun_fail(r, "%.*s is not a method but has arguments", (int)name.n, name.p);
    return gval_lookup(map, name, &v) ? v : gval_zero(map.type->elem);
}

static gval eval_field(grun *r, gstr name, const gargs *a, gval receiver)
{
    bool nil;
    size_t i;
    if (!receiver.type && !receiver.iface)
        return gval_none();
    const char *type = gval_type_name(receiver);
    const gval v = gval_indirect(receiver, &nil);
    const bool has_args = a->n > 1 || a->piped;
    if (nil && (!v.type || find_field(v.type->elem, name, &i)))
        return grun_fail(r, "nil pointer evaluating %s.%.*s", type, (int)name.n, name.p);
    if (!nil && is_method(v.type, name))
        return eval_method(r, v, name, a);
    if (!nil && v.type->kind == G_STRUCT && find_field(v.type, name, &i)) {
        if (has_args)
            return grun_fail(r, "%.*s has arguments but cannot be invoked as function", (int)name.n,
                             name.p);
        return gval_field(v, i);
    }
    if (!nil && v.type->kind == G_MAP)
        return map_entry(r, v, name, has_args);
    return grun_fail(r, "can't evaluate field %.*s in type %s", (int)name.n, name.p, type);
}

static gval eval_chain(grun *r, const gnode *n, size_t from, const gargs *a, gval receiver)
{
    for (size_t i = from; i + 1 < n->n_ident && grun_step(r); i++)
        receiver = eval_field(r, n->idents[i], &no_args, receiver);
    return grun_step(r) ? eval_field(r, n->idents[n->n_ident - 1], a, receiver) : gval_none();
}

static gval eval_variable(grun *r, const gnode *n, const gargs *a)
{
    r->node = n;
    const gvar *var = find_var(r, n->idents[0]);
    if (!var)
        return gval_none();
    if (n->n_ident > 1)
        return eval_chain(r, n, 1, a, var->value);
    no_arguments(r, n, a);
    return var->value;
}

/* What a chain begins with: a pipeline or a function. */
static gval eval_chain_node(grun *r, gval dot, const gnode *n, const gargs *a)
{
    r->node = n;
    const gnode *first = n->pipe;
    const gval v = first->kind == GN_PIPE ? geval_pipeline(r, dot, first)
                                          : eval_function(r, dot, first, first, &no_args);
    return r->fail ? gval_none() : eval_chain(r, n, 0, a, v);
}

/* ---- words and commands ---- */

static gval string_parameter(grun *r, const gnode *n)
{
    r->node = n;
    if (n->kind == GN_STRING)
        return gval_string(n->text);
    return fail_with_node(r, "expected string; found %s", n);
}

static gval eval_arg(grun *r, gval dot, gparam want, const gnode *n)
{
    if (!grun_step(r))
        return gval_none();
    r->node = n;
    gval v;
    switch (n->kind) {
    case GN_DOT:
        v = dot;
        break;
    case GN_NIL:
        if (want == GP_STRING)
            return grun_fail(r, "cannot assign nil to string");
        return want == GP_ANY ? gval_zero(NULL) : gval_none();
    case GN_FIELD:
        v = eval_chain(r, n, 0, &no_args, dot);
        break;
    case GN_VARIABLE:
        v = eval_variable(r, n, &no_args);
        break;
    case GN_PIPE:
        v = geval_pipeline(r, dot, n);
        break;
    case GN_IDENT:
        v = eval_function(r, dot, n, n, &no_args);
        break;
    case GN_CHAIN:
        v = eval_chain_node(r, dot, n, &no_args);
        break;
    default:
        if (want == GP_STRING)
            return string_parameter(r, n);
        v = n->kind == GN_BOOL     ? gval_bool(n->flag)
            : n->kind == GN_STRING ? gval_string(n->text)
                                   : ideal_constant(r, n);
        v.iface = want == GP_ANY;
        return v;
    }
    return r->fail ? gval_none() : fit(r, v, want);
}

static gval eval_constant(grun *r, gval dot, const gnode *word, const gargs *a)
{
    r->node = word;
    no_arguments(r, word, a);
    if (r->fail)
        return gval_none();
    switch (word->kind) {
    case GN_BOOL:
        return gval_bool(word->flag);
    case GN_DOT:
        return dot;
    case GN_STRING:
        return gval_string(word->text);
    case GN_NUMBER:
        return ideal_constant(r, word);
    default:
        return grun_fail(r, "nil is not a command");
    }
}

static gval eval_command(grun *r, gval dot, const gnode *cmd, const gargs *a)
{
    const gnode *word = cmd->kids[0];
    switch (word->kind) {
    case GN_FIELD:
        r->node = word;
        return eval_chain(r, word, 0, a, dot);
    case GN_CHAIN:
        if (word->pipe->kind == GN_NIL)
            return fail_with_node(r, "indirection through explicit nil in %s", word);
        return eval_chain_node(r, dot, word, a);
    case GN_IDENT:
        return eval_function(r, dot, word, cmd, a);
    case GN_PIPE:
        no_arguments(r, word, a);
        return r->fail ? gval_none() : geval_pipeline(r, dot, word);
    case GN_VARIABLE:
        return eval_variable(r, word, a);
    default:
        return eval_constant(r, dot, word, a);
    }
}

gval geval_pipeline(grun *r, gval dot, const gnode *pipe)
{
    gval v = gval_none();
    if (!grun_enter(r))
        return v;
    r->node = pipe;
    for (size_t i = 0; i < pipe->n && grun_step(r); i++) {
        const gargs a = {pipe->kids[i]->kids, pipe->kids[i]->n, i > 0, v};
        v = gval_unwrap(eval_command(r, dot, pipe->kids[i], &a));
    }
    for (size_t i = 0; i < pipe->n_decl && !r->fail; i++) {
        if (pipe->flag)
            geval_set(r, pipe->decl[i]->idents[0], v);
        else
            geval_push(r, pipe->decl[i]->idents[0], v);
    }
    r->depth--;
    return r->fail ? gval_none() : v;
}
