/* plan_int.h - what the files of this room share. */
#ifndef PLAN_INT_H
#define PLAN_INT_H

#include "plan/ops.h"

#define PLAN_MAX_NODE 65536

struct ops_val {
    int32_t node;
    size_t n_col;
};

struct ops {
    arena *a;
    plan_node *nodes; /* [cap], in the arena; the last array is the plan's */
    size_t n, cap;
    plan_kv_slot *slots;
    size_t n_slot, cap_slot;
    size_t n_vocab, n_embd;
    bool causal;
    int layer;
    err_info err; /* the first failure; err.code is CAMA_OK before it */
};

/* Rewrites the nodes so that rows without an output leave the forward as early as possible. */
cama_err plan_select_early(ops *o);
/* Groups nodes into steps and orders them; fills p's order and steps. */
cama_err plan_fuse(ops *o, plan *p);

#endif
