#include "plan/plan.h"

const char *plan_role_name(plan_role r)
{
    static const char *const name[] = {
#define X(role) [PLAN_ROLE_##role] = #role,
        PLAN_ROLES(X)
#undef X
    };
    return (size_t)r < PLAN_N_ROLE ? name[r] : "?";
}

const char *plan_op_name(plan_op op)
{
    static const char *const name[PLAN_N_OP] = {
        [PLAN_EMBED] = "embed",
        [PLAN_RMS_NORM] = "rms_norm",
        [PLAN_LAYER_NORM] = "layer_norm",
        [PLAN_L2_NORM] = "l2_norm",
        [PLAN_LINEAR] = "linear",
        [PLAN_HEAD_LINEAR] = "head_linear",
        [PLAN_SLICE] = "slice",
        [PLAN_JOIN] = "join",
        [PLAN_ROPE] = "rope",
        [PLAN_KV_STORE] = "kv_store",
        [PLAN_ATTEND] = "attend",
        [PLAN_ADD] = "add",
        [PLAN_MUL] = "mul",
        [PLAN_SCALE] = "scale",
        [PLAN_ACT] = "act",
        [PLAN_GLU] = "glu",
        [PLAN_SOFTCAP] = "softcap",
        [PLAN_ROUTE] = "route",
        [PLAN_EXPERTS] = "experts",
        [PLAN_CONV] = "conv",
        [PLAN_DELTA] = "delta",
        [PLAN_SELECT] = "select",
        [PLAN_POOL] = "pool",
        [PLAN_OUTPUT] = "output",
    };
    return (size_t)op < PLAN_N_OP ? name[op] : "?";
}

static const char *step_name(plan_step_kind kind)
{
    static const char *const name[PLAN_N_STEP_KIND] = {
        [PLAN_STEP_PRIM] = "prim",
        [PLAN_STEP_NORM_LINEAR] = "norm+linear",
        [PLAN_STEP_ROPE_STORE] = "rope+store",
        [PLAN_STEP_ATTEND] = "attend",
        [PLAN_STEP_LINEAR_ADD] = "linear+add",
        [PLAN_STEP_NORM_GLU] = "norm+glu",
        [PLAN_STEP_HEAD] = "head",
    };
    return name[kind];
}

static void print_node(const plan *p, int32_t id, buf *out)
{
    const plan_node *n = &p->nodes[id];
    (void)buf_printf(out, " | %d %s", id, plan_op_name(n->op)); /* buf keeps its first failure */
    for (int k = 0; k < PLAN_MAX_IN; k++)
        if (n->in[k] >= 0)
            (void)buf_printf(out, " %d", n->in[k]);
    for (int k = 0; k < PLAN_MAX_WEIGHT; k++)
        if (n->w[k])
            (void)buf_printf(out, " %s:%s", plan_role_name(n->w[k]->role),
                             quant_table[n->w[k]->type].name);
    if (n->op == PLAN_KV_STORE || n->op == PLAN_ATTEND)
        (void)buf_printf(out, " slot %d", n->par.attend.slot);
    if (n->n_col)
        (void)buf_printf(out, " [%zu]", n->n_col);
}

cama_err plan_print(const plan *p, buf *out)
{
    for (size_t g = 0; g < p->n_group; g++) {
        const plan_kv_slot *s = &p->groups[g].shape;
        static const char *const kind[] = {"full", "window", "state"};
        (void)buf_printf(out, "kv %zu: %d slots, %s", g, p->groups[g].n_slot, kind[s->kind]);
        if (s->kind == PLAN_KV_STATE)
            (void)buf_printf(out, " of %zu floats\n", s->n_state);
        else
            (void)buf_printf(out, ", %zu heads of %zu and %zu%s, window %zu\n", s->n_kv_head,
                             s->dim_k, s->dim_v, s->v_in_k ? " (V in K)" : "", s->window);
    }
    int32_t layer = -1;
    for (size_t i = 0; i < p->n_step; i++) {
        const plan_step *s = &p->steps[i];
        const plan_node *first = &p->nodes[p->node_order[s->first]];
        if (first->layer != layer) {
            layer = first->layer;
            if (layer < 0)
                (void)buf_puts(out, "outside the layers\n");
            else
                (void)buf_printf(out, "layer %d\n", layer);
        }
        (void)buf_printf(out, "  %-11s", step_name(s->kind));
        for (int32_t k = 0; k < s->n; k++)
            print_node(p, p->node_order[s->first + k], out);
        (void)buf_putc(out, '\n');
    }
    return out->fail;
}
