/* Calls: macros, functions in C, and the globals every template has. */
#include "chat/tmpl_int.h"

#include <stdio.h>
#include <string.h>

static const tval undefined = {.kind = V_UNDEF};

const tbuiltin *tmpl_find(const tbuiltin *table, size_t n, const tstr *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strlen(table[i].name) == name->n && memcmp(table[i].name, name->p, name->n) == 0)
            return &table[i];
    }
    return NULL;
}

/* ---- functions in C ---- */

/* Which parameter a keyword names; TMPL_MAX_PARAMS: none. */
static size_t param_named(const char *params, const tstr *name)
{
    size_t i = 0;
    for (const char *p = params; *p; i++) {
        const size_t n = strcspn(p, " ");
        if (n == name->n && memcmp(p, name->p, n) == 0)
            return i;
        p += n;
        p += *p == ' ';
    }
    return TMPL_MAX_PARAMS;
}

static size_t count_params(const char *params)
{
    size_t n = *params != '\0';
    for (const char *p = params; *p; p++)
        n += *p == ' ';
    return n;
}

tval tmpl_call_builtin(trun *r, const tbuiltin *f, tcall *c)
{
    if (!f->params)
        return f->fn(r, c);
    if (c->n_pos > count_params(f->params))
        return tmpl_fail(r, "%s() takes %zu arguments but %zu were given", f->name,
                         count_params(f->params), c->n_pos);
    for (size_t i = 0; i < TMPL_MAX_PARAMS; i++)
        c->in[i] = i < c->n_pos ? c->pos[i] : (tval){.kind = V_ABSENT};
    for (size_t i = 0; i < c->n_kw; i++) {
        const size_t at = param_named(f->params, c->kw[i].name);
        if (at == TMPL_MAX_PARAMS || c->in[at].kind != V_ABSENT)
            return tmpl_fail(r, "%s() got an unexpected keyword argument '%.*s'", f->name,
                             (int)c->kw[i].name->n, c->kw[i].name->p);
        c->in[at] = c->kw[i].value;
    }
    for (size_t i = 0; i < f->n_required; i++) {
        if (c->in[i].kind == V_ABSENT)
            return tmpl_fail(r, "%s() needs %u arguments", f->name, f->n_required);
    }
    return f->fn(r, c);
}

/* ---- macros ---- */

tval tmpl_make_macro(trun *r, const tsig *sig, const tnode *body)
{
    tmacro *m = tmpl_take(r, sizeof *m);
    if (!m)
        return undefined;
    *m = (tmacro){sig, body, r->scope};
    for (tscope *s = r->scope; s && !s->captured; s = s->up)
        s->captured = true;
    return (tval){.kind = V_MACRO, .u.macro = m};
}

typedef struct tgiven { /* the arguments of one call of a macro */
    const tval *pos;
    size_t n_pos;
    const tkw *kw;
    size_t n_kw;
} tgiven;

static bool same_name(const tstr *a, const tstr *b)
{
    return a->n == b->n && memcmp(a->p, b->p, a->n) == 0;
}

static const tkw *find_kw(const tgiven *g, const tstr *name)
{
    for (size_t i = 0; i < g->n_kw; i++) {
        if (same_name(g->kw[i].name, name))
            return &g->kw[i];
    }
    return NULL;
}

static bool is_param(const trun *r, const tsig *sig, size_t from, const tstr *name)
{
    for (size_t i = from; i < sig->n; i++) {
        if (same_name(r->t->names[sig->params[i]], name))
            return true;
    }
    return false;
}

static const char *shown_name(const tsig *sig, char text[64])
{
    (void)snprintf(text, 64, "%.*s", sig->name ? (int)sig->name->n : 4,
                   sig->name ? sig->name->p : "None"); /* cut when longer */
    return text;
}

static void bind_rest(trun *r, const tsig *sig, const tgiven *g)
{
    char name[64];
    static const tstr caller_name = {"caller", 6, 6};
    const size_t n_taken = g->n_pos < sig->n ? g->n_pos : sig->n;
    const tkw *caller = is_param(r, sig, 0, &caller_name) ? NULL : find_kw(g, &caller_name);
    tdict *kwargs = tmpl_dict_new(r);
    tlist *varargs = tmpl_list_new(r, 0);
    if (sig->caller && !is_param(r, sig, 0, &caller_name))
        tmpl_set_var(r, NAME_CALLER, caller ? caller->value : tmpl_undef(r, "No caller defined"));
    for (size_t i = 0; i < g->n_kw && !r->fail; i++) {
        if (is_param(r, sig, n_taken, g->kw[i].name) || (sig->caller && &g->kw[i] == caller))
            continue;
        if (!sig->kwargs)
            (void)tmpl_fail(r, "macro '%s' takes no keyword argument '%.*s'", shown_name(sig, name),
                            (int)g->kw[i].name->n, g->kw[i].name->p); /* sticks in r */
        (void)tmpl_dict_put(r, kwargs, tmpl_str_val(g->kw[i].name), g->kw[i].value);
    }
    if (g->n_pos > sig->n && !sig->varargs)
        (void)tmpl_fail(r, "macro '%s' takes not more than %zu argument(s)", shown_name(sig, name),
                        sig->n);
    for (size_t i = n_taken; i < g->n_pos && !r->fail; i++)
        (void)tmpl_list_add(r, varargs, g->pos[i]);
    if (sig->kwargs)
        tmpl_set_var(r, NAME_KWARGS, (tval){.kind = kwargs ? V_DICT : V_UNDEF, .u.dict = kwargs});
    if (sig->varargs)
        tmpl_set_var(r, NAME_VARARGS, tmpl_tuple_val(varargs));
}

static void bind_params(trun *r, const tsig *sig, const tgiven *g)
{
    for (size_t i = 0; i < sig->n && !r->fail; i++) {
        const tkw *kw = i < g->n_pos ? NULL : find_kw(g, r->t->names[sig->params[i]]);
        tval v;
        if (i < g->n_pos)
            v = g->pos[i];
        else if (kw)
            v = kw->value;
        else if (sig->defaults[i])
            v = tmpl_eval(r, sig->defaults[i]); /* sees the parameters before it */
        else
            v = tmpl_undef(r, "a parameter of a macro was not provided");
        tmpl_set_var(r, sig->params[i], v);
    }
}

static tval call_macro(trun *r, const tmacro *m, const tgiven *g)
{
    tscope *caller = r->scope;
    buf *outer = r->out;
    tscope *s = tmpl_push_scope(r, m->scope);
    if (!s || !tmpl_enter(r))
        return undefined;
    if (++r->depth > r->max_depth)
        tmpl_fail_code(r, CAMA_ERR_LIMIT, "calls nested deeper than %u", r->max_depth);
    buf b;
    buf_init(&b, r->mem.max_bytes);
    r->out = &b;
    r->scope = s;
    bind_params(r, m->sig, g);
    bind_rest(r, m->sig, g);
    (void)tmpl_exec(r, m->body); /* no jump leaves a macro */
    r->scope = caller;
    r->out = outer;
    r->depth--;
    tmpl_leave(r);
    return tmpl_buf_str(r, &b);
}

/* ---- calling ---- */

/* Filters and tests with arguments are called as methods of their value, too. */
static bool is_str_method(const tbuiltin *fn)
{
    const tstr name = {fn->name, strlen(fn->name), strlen(fn->name)};
    return tmpl_find_str_method(&name) == fn;
}

/* What Markup.join joins: each element as escaped text. */
static tval escape_all(trun *r, tval v)
{
    const tlist *from = tmpl_iter(r, v);
    tlist *l = from ? tmpl_list_new(r, from->n) : NULL;
    for (size_t i = 0; l && i < from->n && !r->fail; i++)
        (void)tmpl_list_add(r, l, tmpl_str_val(tmpl_escape(r, from->items[i]))); /* sticks in r */
    return tmpl_list_val(l);
}

/* Methods of Markup give Markup again; those that take text escape it first. */
static tval call_markup_method(trun *r, const tmethod *m, tcall *c)
{
    static const char *const escaping[] = {"replace", "strip", "lstrip",       "rstrip",
                                           "ljust",   "rjust", "removeprefix", "removesuffix"};
    bool escapes = false;
    for (size_t i = 0; i < sizeof escaping / sizeof *escaping; i++)
        escapes |= strcmp(m->fn->name, escaping[i]) == 0;
    tval *pos = tmpl_take_array(r, c->n_pos, sizeof *pos);
    for (size_t i = 0; pos && i < c->n_pos; i++) {
        const bool text = escapes && c->pos[i].kind == V_STR;
        pos[i] = text ? tmpl_str_val(tmpl_escape(r, c->pos[i])) : c->pos[i];
    }
    if (pos && c->n_pos && strcmp(m->fn->name, "join") == 0)
        pos[0] = escape_all(r, pos[0]);
    c->pos = pos;
    tval v = pos ? tmpl_call_builtin(r, m->fn, c) : undefined;
    v.markup |= v.kind == V_STR;
    for (size_t i = 0; (v.kind == V_LIST || v.kind == V_TUPLE) && i < v.u.list->n; i++)
        v.u.list->items[i].markup |= v.u.list->items[i].kind == V_STR; /* fresh: of a split */
    return v;
}

tval tmpl_call_value(trun *r, tval f, const tval *pos, size_t n_pos, const tkw *kw, size_t n_kw)
{
    const tgiven g = {pos, n_pos, kw, n_kw};
    tcall c = {.pos = pos, .n_pos = n_pos, .kw = kw, .n_kw = n_kw};
    if (r->fail)
        return undefined;
    switch (f.kind) {
    case V_MACRO:
        return call_macro(r, f.u.macro, &g);
    case V_FUNC:
        return tmpl_call_builtin(r, f.u.fn, &c);
    case V_METHOD:
        c.self = f.u.method->self;
        if (c.self.kind == V_STR && c.self.markup && is_str_method(f.u.method->fn))
            return call_markup_method(r, f.u.method, &c);
        return tmpl_call_builtin(r, f.u.method->fn, &c);
    case V_LOOP:
        return n_pos == 1 && n_kw == 0 ? tmpl_loop_again(r, f.u.loop, pos[0])
                                       : tmpl_fail(r, "a loop takes one argument");
    case V_JOINER:
        if (f.u.cycler->pos++ == 0)
            return tmpl_text(r, "");
        return f.u.cycler->items->items[0];
    case V_UNDEF:
        return tmpl_no_use(r, f);
    default:
        return tmpl_fail(r, "'%s' object is not callable", tmpl_type(f));
    }
}

static void collect_positional(trun *r, const targs *args, tlist *pos)
{
    for (size_t i = 0; i < args->n_pos && !r->fail; i++)
        (void)tmpl_list_add(r, pos, tmpl_eval(r, args->pos[i])); /* sticks in r */
    if (!args->star || r->fail)
        return;
    const tlist *more = tmpl_iter(r, tmpl_eval(r, args->star));
    for (size_t i = 0; more && i < more->n && !r->fail; i++)
        (void)tmpl_list_add(r, pos, more->items[i]);
}

typedef struct tkws {
    tkw *of;
    size_t n;
    size_t cap;
} tkws;

static void add_kw(trun *r, tkws *k, const tstr *name, tval value)
{
    for (size_t i = 0; i < k->n; i++) {
        if (same_name(k->of[i].name, name))
            (void)tmpl_fail(r, "got multiple values for keyword argument '%.*s'", (int)name->n,
                            name->p); /* sticks in r */
    }
    if (!r->fail && k->n < k->cap)
        k->of[k->n++] = (tkw){name, value};
}

static void collect_keywords(trun *r, const targs *args, tkws *k, const tkw *extra, size_t n_extra)
{
    const tval rest = args->star_star ? tmpl_eval(r, args->star_star) : tmpl_none();
    const bool has_rest = rest.kind == V_DICT;
    if (args->star_star && !has_rest)
        (void)tmpl_fail(r, "argument after ** must be a mapping, not %s", tmpl_type(rest));
    k->cap = args->n_kw + n_extra + (has_rest ? rest.u.dict->n : 0);
    k->of = k->cap ? tmpl_take_array(r, k->cap, sizeof *k->of) : NULL;
    for (size_t i = 0; i < args->n_kw && !r->fail; i++)
        add_kw(r, k, args->kw_names[i], tmpl_eval(r, args->kw[i]));
    for (size_t i = 0; i < n_extra && !r->fail; i++)
        add_kw(r, k, extra[i].name, extra[i].value);
    for (size_t i = 0; has_rest && i < rest.u.dict->n && !r->fail; i++) {
        const tentry *e = &rest.u.dict->entries[i];
        if (e->key.kind != V_STR)
            (void)tmpl_fail(r, "keywords must be strings");
        else
            add_kw(r, k, e->key.u.s, e->value);
    }
}

tval tmpl_call_node(trun *r, tval f, const targs *args, const tkw *extra, size_t n_extra)
{
    tlist *pos = tmpl_list_new(r, args->n_pos);
    tkws k = {0};
    if (!pos)
        return undefined;
    const uint32_t line = r->line;
    collect_positional(r, args, pos);
    collect_keywords(r, args, &k, extra, n_extra);
    r->line = line;
    return tmpl_call_value(r, f, pos->items, pos->n, k.of, k.n);
}

/* ---- globals ---- */

static tval g_raise(trun *r, tcall *c)
{
    const tstr *s = tmpl_to_str(r, c->in[0]);
    return s ? tmpl_fail(r, "%.*s", (int)s->n, s->p) : undefined;
}

static tval g_strftime(trun *r, tcall *c)
{
    const tstr *s = tmpl_arg_str(r, c->in[0], "strftime_now()");
    return s ? tmpl_strftime(r, s) : undefined;
}

static tval g_range(trun *r, tcall *c)
{
    int64_t v[3] = {0, 0, 1};
    for (size_t i = 0; i < c->n_pos && i < 3; i++) {
        if (!tmpl_is_intlike(c->pos[i]))
            return c->pos[i].kind == V_UNDEF
                       ? tmpl_no_use(r, c->pos[i])
                       : tmpl_fail(r, "'%s' object cannot be interpreted as an integer",
                                   tmpl_type(c->pos[i]));
        v[c->n_pos == 1 ? 1 : i] = tmpl_as_int(c->pos[i]);
    }
    if (c->n_pos < 1 || c->n_pos > 3 || c->n_kw)
        return tmpl_fail(r, "range expected 1 to 3 arguments, got %zu", c->n_pos);
    if (v[2] == 0)
        return tmpl_fail(r, "range() arg 3 must not be zero");
    const bool up = v[2] > 0;
    /* Unsigned: the distance of two int64 may need all 64 bits. */
    const uint64_t span = up ? (uint64_t)v[1] - (uint64_t)v[0] : (uint64_t)v[0] - (uint64_t)v[1];
    const uint64_t step = up ? (uint64_t)v[2] : 0 - (uint64_t)v[2];
    const bool empty = up ? v[1] <= v[0] : v[1] >= v[0];
    const uint64_t n = empty ? 0 : (span - 1) / step + 1;
    if (n > TMPL_MAX_RANGE)
        return tmpl_fail(r, "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).",
                         TMPL_MAX_RANGE);
    trange *g = tmpl_take(r, sizeof *g);
    if (!g)
        return undefined;
    *g = (trange){.start = v[0], .step = v[2], .n = (size_t)n, .stop = v[1]};
    return (tval){.kind = V_RANGE, .u.range = g};
}

/* dict(pairs or mapping, **more) and namespace() of the same. */
static tdict *make_dict(trun *r, const tcall *c)
{
    tdict *d = tmpl_dict_new(r);
    if (c->n_pos > 1)
        (void)tmpl_fail(r, "dict expected at most 1 argument, got %zu", c->n_pos);
    if (d && c->n_pos == 1 && c->pos[0].kind == V_DICT) {
        const tdict *from = c->pos[0].u.dict;
        for (size_t i = 0; i < from->n; i++) {
            if (!tmpl_dict_put(r, d, from->entries[i].key, from->entries[i].value))
                return NULL;
        }
    } else if (d && c->n_pos == 1) {
        const tlist *l = tmpl_iter(r, c->pos[0]);
        for (size_t i = 0; l && i < l->n && !r->fail; i++) {
            const tlist *pair = tmpl_iter(r, l->items[i]);
            if (pair && pair->n != 2)
                (void)tmpl_fail(r,
                                "dictionary update sequence element #%zu has length %zu; 2 is "
                                "required",
                                i, pair->n);
            else if (pair)
                (void)tmpl_dict_put(r, d, pair->items[0], pair->items[1]);
        }
    }
    for (size_t i = 0; i < c->n_kw && !r->fail; i++)
        (void)tmpl_dict_put(r, d, tmpl_str_val(c->kw[i].name), c->kw[i].value);
    return r->fail ? NULL : d;
}

static tval g_dict(trun *r, tcall *c)
{
    tdict *d = make_dict(r, c);
    return (tval){.kind = d ? V_DICT : V_UNDEF, .u.dict = d};
}

static tval g_namespace(trun *r, tcall *c)
{
    tdict *d = make_dict(r, c);
    return (tval){.kind = d ? V_SPACE : V_UNDEF, .u.dict = d};
}

static tval make_cycler(trun *r, tkind kind, tlist *items)
{
    tcycler *y = items ? tmpl_take(r, sizeof *y) : NULL;
    if (!y)
        return undefined;
    y->items = items;
    return (tval){.kind = kind, .u.cycler = y};
}

static tval g_cycler(trun *r, tcall *c)
{
    tlist *l = tmpl_list_new(r, c->n_pos);
    if (c->n_pos == 0)
        return tmpl_fail(r, "at least one item has to be provided");
    for (size_t i = 0; i < c->n_pos; i++) {
        if (!tmpl_list_add(r, l, c->pos[i]))
            return undefined;
    }
    return make_cycler(r, V_CYCLER, l);
}

static tval g_joiner(trun *r, tcall *c)
{
    tlist *l = tmpl_list_new(r, 1);
    const tval sep = c->in[0].kind == V_ABSENT ? tmpl_text(r, ", ") : c->in[0];
    return tmpl_list_add(r, l, sep) ? make_cycler(r, V_JOINER, l) : undefined;
}

const tbuiltin *tmpl_find_global(const tstr *name)
{
    static const tbuiltin table[] = {
        {"raise_exception", g_raise, 1, "message"},
        {"strftime_now", g_strftime, 1, "format"},
        {"range", g_range, 0, NULL},
        {"dict", g_dict, 0, NULL},
        {"namespace", g_namespace, 0, NULL},
        {"cycler", g_cycler, 0, NULL},
        {"joiner", g_joiner, 0, "sep"},
    };
    return tmpl_find(table, sizeof table / sizeof *table, name);
}
