#include "plan/plan_int.h"

#include <string.h>

/* Ops whose row i depends on row i of their inputs alone, and on no table that the whole batch
 * shares (RoPE reads positions by row). SELECT may be moved over them. */
static bool is_row_wise(plan_op op)
{
    switch (op) {
    case PLAN_RMS_NORM:
    case PLAN_LAYER_NORM:
    case PLAN_L2_NORM:
    case PLAN_LINEAR:
    case PLAN_HEAD_LINEAR:
    case PLAN_SLICE:
    case PLAN_JOIN:
    case PLAN_ADD:
    case PLAN_MUL:
    case PLAN_SCALE:
    case PLAN_ACT:
    case PLAN_GLU:
    case PLAN_SOFTCAP:
    case PLAN_ROUTE:
    case PLAN_EXPERTS:
        return true;
    default:
        return false;
    }
}

typedef struct mover {
    ops *o;
    const plan_node *old;
    size_t n_old;
    bool *late;        /* [n_old] only selected rows of it are ever read */
    int32_t *all;      /* [n_old] new index of the value over all rows, or of a late one */
    int32_t *selected; /* [n_old] new index of its SELECT, -1: none yet */
} mover;

/* A node is late when it is row-wise and everything that reads it is late or a SELECT. */
static void find_late(mover *m)
{
    for (size_t i = 0; i < m->n_old; i++)
        m->late[i] = is_row_wise(m->old[i].op);
    bool *read = m->late + m->n_old; /* the second half of the same array */
    for (size_t i = m->n_old; i-- > 0;) {
        const plan_node *n = &m->old[i];
        m->late[i] = m->late[i] && read[i];
        for (int k = 0; k < PLAN_MAX_IN; k++) {
            if (n->in[k] < 0)
                continue;
            read[n->in[k]] = true;
            if (!m->late[i] && n->op != PLAN_SELECT)
                m->late[n->in[k]] = false;
        }
    }
}

static int32_t put(mover *m, const plan_node *n)
{
    m->o->nodes[m->o->n] = *n;
    return (int32_t)m->o->n++;
}

/* The value of old node i for the selected rows. */
static int32_t select_of(mover *m, int32_t i)
{
    if (m->late[i] || m->old[i].op == PLAN_SELECT)
        return m->all[i];
    if (m->selected[i] < 0) {
        plan_node s = {.op = PLAN_SELECT, .n_col = m->old[i].n_col, .layer = m->old[i].layer};
        for (int k = 0; k < PLAN_MAX_IN; k++)
            s.in[k] = -1;
        s.in[0] = m->all[i];
        m->selected[i] = put(m, &s);
    }
    return m->selected[i];
}

static void rewrite(mover *m)
{
    for (size_t i = 0; i < m->n_old; i++) {
        plan_node n = m->old[i];
        if (n.op == PLAN_SELECT) {
            m->all[i] = select_of(m, n.in[0]);
            continue;
        }
        for (int k = 0; k < PLAN_MAX_IN; k++)
            if (n.in[k] >= 0)
                n.in[k] = m->late[i] ? select_of(m, n.in[k]) : m->all[n.in[k]];
        m->all[i] = put(m, &n);
    }
}

cama_err plan_select_early(ops *o)
{
    size_t n_select = 0;
    for (size_t i = 0; i < o->n; i++)
        n_select += o->nodes[i].op == PLAN_SELECT;
    if (n_select == 0)
        return CAMA_OK;
    mover m = {.o = o, .old = o->nodes, .n_old = o->n};
    m.late = arena_take_array(o->a, 2 * o->n, sizeof *m.late);
    m.all = arena_take_array(o->a, o->n, sizeof *m.all);
    m.selected = arena_take_array(o->a, o->n, sizeof *m.selected);
    /* at most one SELECT is added for each old value */
    plan_node *nodes = arena_take_array(o->a, 2 * o->n, sizeof *nodes);
    if (!m.late || !m.all || !m.selected || !nodes)
        return err_set(&o->err, CAMA_ERR_NOMEM, "plan: no memory to move %zu nodes", o->n);
    memset(m.selected, 0xFF, o->n * sizeof *m.selected);
    find_late(&m);
    o->nodes = nodes;
    o->cap = 2 * o->n;
    o->n = 0;
    rewrite(&m);
    return CAMA_OK;
}
