/* emlx_int.h - the structs of the MLX engine.
 *
 * The plan that native lowers once is walked here in every step: each node, or run of nodes that
 * has a kernel of ours, becomes lazy arrays of MLX through the bridge (mb.h). Two forms of
 * execution:
 *
 *     kernels   on a CPU: nodes of ours in MLX's graph, which run cama's kernels (kern.h) on the
 *               file's own blocks with threads of their own; the rest is MLX's operations
 *     stock     on a GPU, and on a CPU when asked: MLX's operations alone, weights in its forms
 *
 * What a sequence remembers lies with the sequence: pages of 64 tokens that forks share (kernels),
 * or arrays that grow in steps of 256 tokens (stock; they are values, so a fork copies nothing
 * until it writes).
 */
#ifndef ENGINE_MLX_EMLX_INT_H
#define ENGINE_MLX_EMLX_INT_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/workers.h"
#include "engine/mlx/emlx_forms.h"
#include "engine/mlx/emlx_gpu.h"
#include "engine/mlx/mb.h"
#include "engine/rows.h"

#define EMLX_PAGE KERN_PAGE  /* tokens of a page of the kernels' KV */
#define EMLX_STEP_TOKENS 256 /* by which stock arrays grow */
#define EMLX_MAX_ROPE 16     /* different RoPE tables of a plan */
#define EMLX_MAX_MASK 16     /* different masks of a plan */
#define EMLX_MAX_CHECK 4     /* checkpoints of the states of one sequence */
#define EMLX_MAX_LINEAR 4    /* linears of one node of ours */
#define EMLX_SPAN_PAGES 4    /* pages whose attention is summed before spans are merged */

/* ---- emlx_plugin.c ---- */

/* The plugin's table, opened once in a process and never closed: threads of MLX live on. NULL: the
 * reason is in why. */
const mb_api *emlx_plugin(char *why, size_t n);
/* Whether there is a file to open, without opening it. */
bool emlx_plugin_found(char *why, size_t n);

/* emlx_about.c, as engine_vt has them. */
int emlx_probe(const model_desc *m, err_info *why);
void emlx_about(engine_about *out);
cama_err emlx_selftest_all(engine_device d, buf *out, err_info *err);

/* ---- weights ---- */

typedef enum emlx_use {
    EMLX_MATRIX, /* rows that are multiplied or looked up */
    EMLX_FLOATS  /* taken as floats: norms, biases, taps */
} emlx_use;

typedef struct emlx_weight {
    const plan_tensor *t;
    emlx_use use;
    bool is_stock; /* MATRIX that MLX's own operations read */
    bool is_raw;   /* MATRIX that a GPU kernel of ours reads: the file's blocks, in gpu.blocks */
    emlx_gpu_weight gpu;
    emlx_form form; /* of that */
    char text[EMLX_FORM_TEXT];
    mb_weight stock;
    mb_ref array;        /* FLOATS: f32, dimensions of ne reversed; kept */
    const float *floats; /* FLOATS: in the file or in owned */
    float *owned;
    kern_weight kern; /* MATRIX: the file's rows */
    uint64_t n_bytes; /* that it takes here */
} emlx_weight;

/* ---- nodes ---- */

typedef struct emlx_node {
    engine_domain domain;
    emlx_weight *w[PLAN_MAX_WEIGHT];
    int rope, mask; /* tables of the step; -1 */
    mb_ref value;   /* of this step; 0: not computed in it */
    /* with kernels, lowered at open */
    struct emlx_linears *linears; /* a run of nodes begins here */
    struct emlx_single *single;
    bool covered; /* another node's kernel makes its value */
} emlx_node;

/* A rotation that several nodes share, and its cos and sin of this step. */
typedef struct emlx_rope {
    const plan_rope *par;
    float *cos, *sin;        /* [n_batch][n_rot / 2] */
    mb_ref cos_ref, sin_ref; /* [n_row, 1, n_rot / 2]; made when first read */
} emlx_rope;

typedef struct emlx_mask {
    plan_mask kind;
    size_t window;
    int32_t *lo, *hi; /* [n_batch] */
    mb_ref *ref;      /* [n_batch] for each run of the step; made when first read */
} emlx_mask;

/* ---- sequences ---- */

/* One page of one group: all its slots, heads and both of K and V, as nat_int.h draws it. */
typedef struct emlx_page emlx_page;

typedef struct emlx_check {
    int32_t n_token;
    void **state; /* [n_slot] for slots that are states: of kernels, else NULL */
    mb_ref *ref;  /* [n_slot] of stock */
} emlx_check;

typedef struct emlx_seq {
    bool alive;
    int32_t n_token;
    /* kernels */
    emlx_page ***page; /* [n_group] -> [n_page_max] */
    float **state;     /* [n_slot] */
    /* stock */
    mb_ref *k, *v; /* [n_slot]; a state is in k */
    int32_t n_cap; /* tokens that k and v have room for */
    emlx_check check[EMLX_MAX_CHECK];
    size_t n_check;
    mb_ref prev; /* stock on a device: the greedy choice, i32 [1] */
} emlx_seq;

/* Where a slot lies in a page. */
typedef struct emlx_place {
    size_t group, offset, head_bytes, k_bytes;
} emlx_place;

typedef struct emlx_outputs {
    engine_ticket ticket; /* 0: none */
    engine_out *out;      /* [n_batch] */
    size_t n;
    bool is_read;
    mb_ref value[3]; /* kept, by plan_output_kind; 0: nobody asked, or read already */
    float *host[3];  /* what was read */
    size_t cap[3];   /* floats that host has room for */
    engine_cand *cand;
    size_t cap_cand;
    /* of the batch, for who collects */
    engine_row *row;
    size_t *out_row, *seq_row;
    size_t n_row[ENGINE_N_DOMAIN];
    uint32_t n_candidate;
    int32_t *ids;
    size_t n_id, cap_id;
} emlx_outputs;

typedef struct emlx_trial emlx_trial;

struct engine {
    const model_desc *model;
    engine_opts opts;
    arena plan_arena; /* plan, nodes, weights' books */
    const plan *plan;
    const mb_api *b;
    mb *m;
    mb_info info;
    bool kernels;      /* else stock */
    emlx_gpu *gpu;     /* texts of kernels, on a GPU */
    emlx_trial *trial; /* what was found on the device */
    char note[256];    /* of engine_stat */
    uint32_t n_seq_max;

    emlx_node *node; /* [n_node] */
    emlx_weight *weight;
    size_t n_weight;
    emlx_rope rope[EMLX_MAX_ROPE];
    size_t n_rope;
    emlx_mask mask[EMLX_MAX_MASK];
    size_t n_mask;
    int32_t out_node[3];
    uint64_t n_pos;
    bool has_axes, has_state;
    plan_pool_kind pool_kind;

    /* kernels */
    kern_table kern;
    workers *pool;
    int n_made, n_thread;
    char cpu_name[64];
    emlx_place *place;     /* [n_slot] */
    size_t *page_bytes;    /* [n_group] */
    uint64_t *n_page_used; /* [n_group] */
    emlx_page **free_page; /* [n_group] */
    void *acts;            /* int8 form of a batch */
    uint8_t *scratch;      /* n_made pieces of scratch_bytes + own_acts_bytes */
    size_t scratch_bytes, own_acts_bytes;
    size_t n_span_max, n_query_max, n_part_float; /* attention: a thread's room, set at open */
    float *norm_rows, *inner_rows[2];             /* [n_batch] rows between the parts of one node */
    float *expert_rows;
    mb_ref *stored;               /* [n_slot] this step's store, for the attention after it */
    atomic_uint_fast64_t n_moved; /* relaxed: a sign of life for other threads, orders nothing */

    emlx_seq *seq; /* [n_seq_max] */
    int32_t *prev; /* [n_seq_max] greedy choice of the last output; -1: none */
    engine_step step;
    const engine_batch *batch;
    mb_ref *effect; /* values that must be computed although no node reads them */
    size_t n_effect, cap_effect;
    mb_ref token_ids;
    int32_t *row_tmp; /* [n_batch] */
    mb_ref *ref_tmp;  /* [2 * n_batch] */
    bool *mask_tmp;   /* [n_batch][n_ctx]: address space */
    emlx_outputs outputs[2];
    engine_ticket ticket;
    engine_bytes bytes;
    char broken[MB_MAX_TEXT]; /* a step failed inside MLX: what sequences remember is not known */
};

/* emlx_weights.c: every weight of the plan named once, and its figures; then taken. */
cama_err emlx_name_weights(engine *e, err_info *err);
uint64_t emlx_weight_bytes(const engine *e);
/* Kernels tried on the device; after that the forms are final. */
cama_err emlx_try_device(engine *e, err_info *err);
void emlx_choose_forms(engine *e);
cama_err emlx_take_weights(engine *e, err_info *err);
void emlx_drop_weights(engine *e);
size_t emlx_list_forms(const engine *e, engine_form *out, size_t max);

/* emlx_seq.c: sequences and what they remember. */
cama_err emlx_open_seqs(engine *e, err_info *err);
void emlx_close_seqs(engine *e);
uint64_t emlx_token_bytes(const engine *e); /* of KV, one token, all slots */
uint64_t emlx_state_bytes(const engine *e); /* of one sequence */
uint64_t emlx_kv_used(const engine *e);     /* tokens */
uint64_t emlx_kv_room(const engine *e);     /* the most that may be used */
cama_err emlx_seq_fork(engine *e, int32_t from, int32_t n_keep, int32_t *out_seq);
cama_err emlx_seq_rewind(engine *e, int32_t seq, int32_t want, int32_t *out_got);
void emlx_seq_free(engine *e, int32_t seq);
/* Room for the step's rows in every sequence of it; CAMA_ERR_LIMIT, and nothing has changed. */
cama_err emlx_extend(engine *e, err_info *err);
/* After the step was given to MLX: the tokens are there. */
void emlx_settle(engine *e);
/* Head h of a slot in page i of a sequence: its K part; V lies k_bytes further. */
uint8_t *emlx_page_head(const engine *e, int32_t seq, int slot, size_t page, size_t h);

/* emlx_walk.c: the step as a graph; 0 where the bridge's error is set. */
cama_err emlx_prepare_walk(engine *e, err_info *err);
void emlx_walk(engine *e);

/* One node as operations of MLX (emlx_ops.c, emlx_moe.c, emlx_kv.c). */
mb_ref emlx_stock(engine *e, int32_t id);
mb_ref emlx_stock_route(engine *e, int32_t id);
mb_ref emlx_stock_experts(engine *e, int32_t id);
mb_ref emlx_stock_store(engine *e, int32_t id);
mb_ref emlx_stock_attend(engine *e, int32_t id);
mb_ref emlx_stock_conv(engine *e, int32_t id);
mb_ref emlx_stock_delta(engine *e, int32_t id);
mb_ref emlx_act(engine *e, plan_act_fn fn, mb_ref x);

/* emlx_kv.c: arrays of a sequence, stock form. */
void emlx_grow_arrays(engine *e, emlx_seq *seq, int32_t n_cap);
void emlx_zero_states(engine *e, emlx_seq *seq);

/* Nodes of ours (emlx_kern.c). emit: false where nothing was lowered at the node. */
typedef struct emlx_single emlx_single;
cama_err emlx_lower_kernels(engine *e, err_info *err);
bool emlx_emit_kernel(engine *e, int32_t id);
uint64_t emlx_kernel_bytes(engine *e);
cama_err emlx_open_kernels(engine *e, err_info *err);
void emlx_close_kernels(engine *e);

/* x W^T, or rows of W, for a weight in whatever form it is held. */
mb_ref emlx_times(engine *e, const emlx_weight *w, mb_ref x);
mb_ref emlx_table_rows(engine *e, const emlx_weight *w, mb_ref ids);

/* A value that must be computed though nothing reads it. */
void emlx_add_effect(engine *e, mb_ref r);

/* ---- small things that all files use ---- */

static inline const plan_node *emlx_plan_node(const engine *e, int32_t id)
{
    return &e->plan->nodes[id];
}

static inline mb_ref emlx_in(const engine *e, int32_t id, int i)
{
    const int32_t in = e->plan->nodes[id].in[i];
    return in >= 0 ? e->node[in].value : 0;
}

static inline size_t emlx_n_row(const engine *e, int32_t id)
{
    return e->step.n_row[e->node[id].domain];
}

static inline mb_shape emlx_shape1(size_t a)
{
    return (mb_shape){1, {(int32_t)a}};
}

static inline mb_shape emlx_shape2(size_t a, size_t b)
{
    return (mb_shape){2, {(int32_t)a, (int32_t)b}};
}

static inline mb_shape emlx_shape3(size_t a, size_t b, size_t c)
{
    return (mb_shape){3, {(int32_t)a, (int32_t)b, (int32_t)c}};
}

static inline mb_shape emlx_shape4(size_t a, size_t b, size_t c, size_t d)
{
    return (mb_shape){4, {(int32_t)a, (int32_t)b, (int32_t)c, (int32_t)d}};
}

/* [.., from, to) of the last of n_dim dimensions of x. */
mb_ref emlx_columns(engine *e, mb_ref x, size_t from, size_t to);
/* Rows [from, to) of the first dimension. */
mb_ref emlx_row_range(engine *e, mb_ref x, size_t from, size_t to);

static inline mb_ref emlx_number(engine *e, double x)
{
    return e->b->scalar(e->m, x, MB_F32);
}

/* The bridge's word for a device. */
static inline const char *emlx_device_name(engine_device d)
{
    return d == ENGINE_CPU ? "cpu" : d == ENGINE_GPU ? "gpu" : "";
}

/* A text whose pooled vector needs all of its rows at once. */
static inline bool emlx_pools_whole(const engine *e)
{
    return e->pool_kind != PLAN_POOL_NONE && e->pool_kind != PLAN_POOL_LAST;
}

static inline size_t emlx_up(size_t n, size_t step)
{
    return (n + step - 1) / step * step;
}

#endif
