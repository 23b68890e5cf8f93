/* ops.h - the verbs in which a model file writes its forward pass.
 *
 * They compute nothing: they record nodes of a plan (plan.h). The first verb to fail sticks, later
 * ones pass NULL on, and ops_finish looks once. Widths are checked as they are recorded: a weight
 * whose shape does not fit its input is CAMA_ERR_FORMAT naming the tensor and both numbers.
 * C evaluates arguments in any order: two verbs that record go into two statements, or the plan's
 * numbering would depend on the compiler.
 *
 *     ops *o = ops_open(arena, n_vocab, n_embd, true);
 *     const ops_val *x = ops_embed(o, w->token_embd, PLAN_EMBED_TOKEN);
 *     const ops_val *h = ops_rms_norm(o, x, w->attn_norm, m->eps);
 *     ...
 *     h = ops_linear(o, h, &w->head);
 *     ops_output(o, h, PLAN_OUT_LOGITS);
 *     e = ops_finish(o, &plan, err);
 */
#ifndef PLAN_OPS_H
#define PLAN_OPS_H

#include "plan/plan.h"

typedef struct ops ops;
typedef struct ops_val ops_val; /* a recorded value; NULL after a failure */

/* Everything recorded lives in a, the plan too. NULL when it is out of memory: every verb and
 * ops_finish take it as a failure. causal: a row sees what comes before it alone. */
ops *ops_open(arena *a, size_t n_vocab, size_t n_embd, bool causal);
/* Runs the fusion passes and gives the plan; the first failure of any verb otherwise. */
cama_err ops_finish(ops *o, const plan **out, err_info *err);

size_t ops_width(const ops_val *x); /* columns; 0 for NULL */
/* Names of dumps and reports: layer of what is recorded next (-1: none). */
void ops_layer(ops *o, int layer);
const ops_val *ops_name(ops *o, const ops_val *x, const char *name); /* literal; gives x back */

/* In what follows x is [n_row, n_col], and what is said of columns holds for each row. A vector is
 * F32, a matrix any weight format; plan_op in plan.h says the same of the nodes. */

/* A row of table ne [n_embd, n]: that of the token, of the position, or always row 0. */
const ops_val *ops_embed(ops *o, const plan_tensor *table, plan_embed_kind kind);
/* Of whole rows; w and b [n_col], or NULL. */
const ops_val *ops_rms_norm(ops *o, const ops_val *x, const plan_tensor *w, float eps);
const ops_val *ops_layer_norm(ops *o, const ops_val *x, const plan_tensor *w, const plan_tensor *b,
                              float eps);
/* RMS norm of each run of head_dim columns; w [head_dim] or NULL. */
const ops_val *ops_head_norm(ops *o, const ops_val *x, const plan_tensor *w, size_t head_dim,
                             float eps);
/* Runs of head_dim columns, each divided by max(its length, eps). */
const ops_val *ops_l2_norm(ops *o, const ops_val *x, size_t head_dim, float eps);
/* l->w ne [n_col, n_out], l->b [n_out] or NULL: gives n_out columns. */
const ops_val *ops_linear(ops *o, const ops_val *x, const plan_linear *l);
/* w ne [n_in, n_out, n_head], a matrix a head: x of n_head * n_in columns gives n_head * n_out. */
const ops_val *ops_head_linear(ops *o, const ops_val *x, const plan_tensor *w);
/* Columns [from, from + n) of each of the n_head equal runs. */
const ops_val *ops_slice(ops *o, const ops_val *x, size_t n_head, size_t from, size_t n);
/* Per head [a_h | b_h]; shared: b is one part that every head gets. */
const ops_val *ops_join(ops *o, const ops_val *a, const ops_val *b, size_t n_head);
const ops_val *ops_join_shared(ops *o, const ops_val *a, const ops_val *b, size_t n_head);
/* Turns r->n_rot columns of each head, from r->from on. */
const ops_val *ops_rope(ops *o, const ops_val *x, const plan_rope *r);
/* Declares a place in the KV; -1 after a failure. */
int ops_kv_slot(ops *o, const plan_kv_slot *slot);
/* Stores k and v (v NULL: the slot has v_in_k; both NULL: the slot is shared, another layer stores)
 * and attends. sinks [n_head] or NULL. */
const ops_val *ops_attend(ops *o, const ops_val *q, const ops_val *k, const ops_val *v,
                          const plan_attend *a, const plan_tensor *sinks);
/* Column by column; both of one width where nothing else is said. */
const ops_val *ops_add(ops *o, const ops_val *a, const ops_val *b);
const ops_val *ops_add_weight(ops *o, const ops_val *x, const plan_tensor *w); /* w [n_col] */
const ops_val *ops_mul(ops *o, const ops_val *a, const ops_val *b); /* b's width divides a's */
const ops_val *ops_mul_weight(ops *o, const ops_val *x, const plan_tensor *w);
const ops_val *ops_scale(ops *o, const ops_val *x, float s);
const ops_val *ops_act(ops *o, const ops_val *x, plan_act_fn fn);
/* fn(gate) * up */
const ops_val *ops_glu(ops *o, const ops_val *gate, const ops_val *up, plan_act_fn fn);
/* tanh(x / cap) * cap */
const ops_val *ops_softcap(ops *o, const ops_val *x, float cap);

/* Stacks ne [n_in, n_out, n_expert], up NULL: fused in gate. Biases [n_out, n_expert] or NULL. */
typedef struct ops_experts {
    const plan_tensor *gate, *up, *down;
    const plan_tensor *gate_b, *up_b, *down_b;
} ops_experts;

/* router_logits have n_expert columns; selection_bias [n_expert] or NULL. Records two nodes: the
 * choice, and the experts' sum. */
const ops_val *ops_moe(ops *o, const ops_val *x, const ops_val *router_logits,
                       const plan_tensor *selection_bias, const ops_experts *w,
                       const plan_moe *moe);

/* Causal, a filter a column; w ne [n_tap, n_col], b [n_col] or NULL. The slot is a state of
 * (n_tap - 1) * n_col floats. */
const ops_val *ops_conv(ops *o, const ops_val *x, const plan_tensor *w, const plan_tensor *b,
                        int slot);
/* The gated delta rule: q, k of n_k_head * dk columns, v of n_v_head * dv, g (log decay) and beta
 * of n_v_head; d->slot is a state of n_v_head * dk * dv floats. Gives v's width. */
const ops_val *ops_delta(ops *o, const ops_val *q, const ops_val *k, const ops_val *v,
                         const ops_val *g, const ops_val *beta, const plan_delta *d);
/* Only the rows that asked for an output, from here on. */
const ops_val *ops_select(ops *o, const ops_val *x);
/* One row for each sequence that asked for it. */
const ops_val *ops_pool(ops *o, const ops_val *x, plan_pool_kind kind);
/* What the engine hands out as `kind`; logits have n_vocab columns. */
void ops_output(ops *o, const ops_val *x, plan_output_kind kind);

#endif
