#include "chat/tmpl_int.h"

#include <stdlib.h>
#include <string.h>

static cama_err parse(tmpl *t, const ttokens *tokens, err_info *err)
{
    static const tstr fixed[TMPL_N_FIXED_NAMES] = {
        [NAME_LOOP] = {"loop", 4, 4},
        [NAME_CALLER] = {"caller", 6, 6},
        [NAME_VARARGS] = {"varargs", 7, 7},
        [NAME_KWARGS] = {"kwargs", 6, 6},
    };
    tparser p = {.mem = &t->mem, .tok = tokens->of, .err = err};
    for (size_t i = 0; i < TMPL_N_FIXED_NAMES; i++)
        (void)tmpl_intern(&p, &fixed[i]); /* a failure sticks in p */
    t->root = tmpl_parse_body(&p);
    t->names = p.names;
    t->n_name = p.n_name;
    return p.fail;
}

cama_err tmpl_open(const char *source, size_t n, tmpl **out, err_info *err)
{
    tmpl *t = calloc(1, sizeof *t);
    if (!t)
        return err_set(err, CAMA_ERR_NOMEM, "chat template: no memory");
    arena_init(&t->mem, TMPL_TREE_BYTES);
    ttokens tokens = {0};
    cama_err e = tmpl_lex(source, n, &t->mem, &tokens, err);
    if (!e)
        e = parse(t, &tokens, err);
    free(tokens.of);
    if (e) {
        tmpl_close(t);
        return e;
    }
    *out = t;
    return CAMA_OK;
}

void tmpl_close(tmpl *t)
{
    if (!t)
        return;
    arena_done(&t->mem);
    free(t);
}

bool tmpl_uses(const tmpl *t, const char *variable)
{
    const size_t n = strlen(variable);
    for (size_t i = 0; i < t->n_name; i++) {
        if (t->names[i]->n == n && memcmp(t->names[i]->p, variable, n) == 0)
            return true;
    }
    return false;
}

static void find_globals(trun *r, const json_value *vars)
{
    const tmpl *t = r->t;
    r->globals = tmpl_take_array(r, t->n_name, sizeof *r->globals);
    for (size_t i = 0; r->globals && i < t->n_name && !r->fail; i++) {
        const tbuiltin *fn = tmpl_find_global(t->names[i]);
        r->globals[i] = fn ? (tval){.kind = V_FUNC, .u.fn = fn} : (tval){.kind = V_ABSENT};
        for (size_t k = 0; vars && vars->kind == JSON_OBJECT && k < vars->n; k++) {
            const json_member *m = &vars->members[k];
            if (m->n_key == t->names[i]->n && memcmp(m->key, t->names[i]->p, m->n_key) == 0)
                r->globals[i] = tmpl_from_json(r, m->value);
        }
    }
}

cama_err tmpl_render(const tmpl *t, const json_value *vars, int64_t now_s,
                     const tmpl_limits *limits, buf *out, err_info *err)
{
    trun r = {.t = t, .now_s = now_s, .out = out, .err = err, .line = 1};
    r.max_steps = limits && limits->max_steps ? limits->max_steps : TMPL_MAX_STEPS;
    r.max_depth = limits && limits->max_depth ? limits->max_depth : TMPL_MAX_DEPTH;
    arena_init(&r.mem, limits && limits->max_bytes ? limits->max_bytes : TMPL_MAX_BYTES);
    const size_t n_before = out->n;
    find_globals(&r, vars);
    r.scope = r.fail ? NULL : tmpl_push_scope(&r, NULL);
    if (r.scope)
        (void)tmpl_exec(&r, t->root); /* no jump leaves the root; failures stick in r */
    if (!r.fail && out->fail)
        r.fail = buf_error(out, "chat template: the prompt", err);
    if (r.fail && out->data) {
        out->n = n_before; /* a failed render leaves no half of a prompt */
        out->data[n_before] = '\0';
    }
    arena_done(&r.mem);
    return r.fail;
}
