/* nat_int.h - the structs of the native engine.
 *
 * A plan is lowered once, at open, to a list of nat_op. A step runs the whole list inside one
 * workers_run: every thread walks it, and they meet after each op (and inside one where data
 * crosses threads). Values of nodes lie in one scratch region laid out at open; the KV lies in a
 * region a group, page after page, each page holding all layers (slots) of its group:
 *
 *     page p: slot 0 [head 0: K page | V page] [head 1: K | V] ... slot 1 [head 0: K | V] ...
 */
#ifndef ENGINE_NATIVE_NAT_INT_H
#define ENGINE_NATIVE_NAT_INT_H

#include "base/arena.h"
#include "base/workers.h"
#include "engine/rows.h"
#include "kv/kv.h"

#define NAT_ALIGN 64
#define NAT_MAX_LINEAR 4
#define NAT_MAX_LINK 4   /* head-wise nodes before a store or attend: norms and RoPE */
#define NAT_MAX_ROPE 16  /* different RoPE tables of a plan */
#define NAT_MAX_MASK 16  /* different masks */
#define NAT_SPAN_PAGES 4 /* pages whose attention is summed before spans are merged */
#define NAT_QUERIES 64   /* queries that walk a page together */
#define NAT_FEW_ROWS 8   /* up to this many rows, attention stores and attends in one go */
#define NAT_PART_FLOATS (512u * 1024) /* of unmerged spans, one thread's and the shared ones */
#define NAT_MOE_ROWS 128              /* rows that are routed together */

/* What a plan's linear node knows of its weights: the file's bytes, and what they are for. */
typedef struct nat_weight {
    kern_weight k;
    plan_role role;
} nat_weight;

typedef struct nat_value {
    size_t ld;     /* floats from row to row */
    size_t offset; /* floats into scratch */
    engine_domain domain;
    int32_t alias;       /* node whose place it takes over, or -1 */
    int32_t first, last; /* ops between which it lives */
    bool placed;
    bool output; /* handed out: has two places, for alternating steps, and never dies */
} nat_value;

typedef struct nat_linear {
    nat_weight w;
    const float *bias;
    int32_t out; /* node whose value is written */
    kern_form form;
    uint32_t *cut; /* thread t has rows cut[t] .. cut[t + 1) */
} nat_linear;

/* norm (maybe), 1..n linears that read it, then glu of two of them or the residual (maybe). */
typedef struct nat_linears {
    int32_t in;
    const plan_node *norm; /* or NULL */
    const float *norm_w, *norm_b;
    int32_t norm_out;  /* its node */
    bool norm_is_read; /* by others than these linears */
    bool has_i8, has_f32;
    size_t n_col, n;
    nat_linear linear[NAT_MAX_LINEAR];
    int32_t glu; /* node, or -1 */
    int32_t add; /* residual's node, or -1 */
} nat_linears;

typedef enum nat_link_kind { NAT_LINK_RMS, NAT_LINK_L2, NAT_LINK_ROPE } nat_link_kind;

typedef struct nat_link {
    nat_link_kind kind;
    const plan_node *node;
    const float *w;
    int rope; /* table */
} nat_link;

/* What happens to a head's vector between its linear and the KV, or its attention. */
typedef struct nat_chain {
    int32_t src; /* node, -1: nothing to do */
    int n;
    nat_link link[NAT_MAX_LINK];
} nat_chain;

/* Where a slot lies. */
typedef struct nat_place {
    size_t group;  /* of the plan */
    size_t offset; /* of the slot in a page */
    size_t head_bytes, k_bytes;
    size_t n_head, dim_k, dim_v;
    bool v_in_k;
} nat_place;

typedef struct nat_attend {
    const plan_attend *par; /* NULL: only stores */
    bool stores;
    nat_chain q, k, v;
    nat_place at;
    const float *sinks;
    uint32_t need; /* ENGINE_NEED_ bits of what reads its value */
    int mask;
    int32_t q_out, out;
} nat_attend;

/* A stack of matrices, one an expert; gate and up may share a stack. */
typedef struct nat_stack {
    nat_weight w; /* of expert 0; n_row is one expert's */
    size_t step;  /* bytes from expert to expert */
    const float *bias;
    size_t bias_step;
    uint32_t *cut; /* thread t has rows cut[t] .. cut[t + 1) */
} nat_stack;

typedef struct nat_moe {
    const plan_moe *par;
    nat_stack gate, up, down;
    size_t n_in, n_ff, n_out;
    kern_form form_in, form_ff;
} nat_moe;

typedef struct nat_op nat_op;
typedef void nat_op_fn(engine *e, const nat_op *op, int t);

struct nat_op {
    nat_op_fn *run;
    const plan_node *node; /* the last one of those it stands for */
    int32_t id;            /* that node's index */
    engine_domain domain;
    uint32_t need; /* ENGINE_NEED_ bits: for whose sake it runs */
    union {
        nat_linears *lin;
        nat_attend *att;
        nat_moe *moe;
        nat_link link;     /* head-wise primitives */
        const float *w[2]; /* weights of primitives, as floats */
        int state_group;
    } u;
};

typedef struct nat_rope {
    const plan_rope *par;
    float *cos, *sin; /* [n_batch][n_rot / 2], of this step */
} nat_rope;

typedef struct nat_mask {
    plan_mask kind;
    size_t window;
    int32_t *lo, *hi; /* [n_batch], of this step */
} nat_mask;

/* A thread's own memory. */
typedef struct nat_thread {
    float *rows;  /* [KERN_GEMV_MAX][max_col] */
    void *acts;   /* int8 form of them */
    void *kern;   /* scratch of the kernels */
    float *query; /* [NAT_QUERIES][max dim_k] */
    float *head;  /* one key or value */
    float *part;  /* spans before they are merged */
    const float **part_o;
    float *part_m, *part_l;
} nat_thread;

typedef struct nat_kv_group {
    uint8_t *mem; /* pages, or states */
    size_t n_bytes;
    size_t page_bytes;    /* of a page with all slots; of a state with all slots */
    int books;            /* group of the KV books; -1: states */
    uint32_t n_token_seq; /* that one sequence holds in it at most */
} nat_kv_group;

typedef struct nat_moe_mem {
    int32_t *first;   /* [n_expert + 1] into slots */
    int32_t *slot_of; /* [row][n_used] -> slot */
    int32_t *pair_at; /* [slot] -> row * n_used + j */
    size_t *acts_at;  /* [n_expert] bytes */
    size_t *acts_ff_at;
    float *x, *gate, *up, *y; /* [slot][...] */
    uint8_t *acts, *acts_ff;
} nat_moe_mem;

/* Bytes and counts that follow from plan and options alone; nat_lower fills them. */
typedef struct nat_sizes {
    size_t max_col;        /* widest input of a linear */
    size_t max_acts_col;   /* widest in int8 form */
    size_t scratch_floats; /* values, address space */
    size_t scratch_used;   /* of it what a usual step touches */
    size_t out_floats;     /* touched by outputs of a usual step */
    size_t n_page[KV_MAX_GROUP];
    size_t max_dim_k, max_dim_v, max_group;
    size_t max_scratch; /* kern scratch */
    size_t moe_expert, moe_used, moe_in, moe_ff, moe_ff_cols, moe_out;
} nat_sizes;

typedef struct nat_outputs {
    engine_ticket ticket; /* 0: none */
    engine_out *out;      /* [n_batch] */
    size_t n;
    size_t n_touched;  /* rows of logits whose memory is taken */
    engine_cand *cand; /* [max_cand] */
} nat_outputs;

struct engine {
    const model_desc *model;
    engine_opts opts;
    arena plan_arena; /* plan and ops */
    const plan *plan;
    kern_table kern;
    workers *pool;
    kv_cache *kv;
    int n_thread;                  /* that a step uses */
    int n_made;                    /* that there are */
    atomic_uint_fast64_t n_op_run; /* relaxed: a sign of life for other threads, orders nothing */
    char cpu_name[64];
    uint32_t n_seq_max; /* running and cached */

    nat_op *ops;
    size_t n_op;
    nat_value *value; /* [n_node] */
    int32_t *node_op; /* [n_node] */
    nat_rope rope[NAT_MAX_ROPE];
    size_t n_rope;
    nat_mask mask[NAT_MAX_MASK];
    size_t n_mask;
    nat_kv_group *group; /* [plan->n_group] */
    nat_sizes size;
    size_t n_state;      /* states in the pool */
    int32_t out_node[3]; /* by plan_output_kind: node that is handed out, or -1 */
    uint64_t n_pos;      /* rows of the smallest table of positions */
    bool has_axes;       /* positions have several components (M-RoPE), and are not places */
    bool pools;          /* the plan has a POOL node */
    plan_pool_kind pool_kind;

    /* memory */
    float *scratch;
    void *acts;  /* int8 form of a batch, shared */
    float *part; /* shared spans */
    size_t part_floats;
    nat_thread *thread; /* [n_made] */
    uint8_t *fixed;     /* everything below that has no region of its own */
    size_t fixed_bytes;
    size_t n_span_max; /* of a full context */
    float *pooled;     /* [n_seq_max][n_embd] */
    nat_moe_mem moe;
    float **val[2]; /* [n_node], for even and odd steps */

    /* the step */
    engine_step step; /* arrays of [n_batch] */
    kv_need *kv_need; /* [n_batch] */
    int32_t *best;    /* [n_batch] greedy choice of each OUT row */
    int32_t *prev;    /* [n_seq_max] greedy choice of the last output, -1: none */
    const float *embeds;
    float **at; /* val of this step */
    const engine_batch *batch;
    nat_outputs *outs_now;
    size_t max_cand; /* candidates and listed ids of all rows of a step */
    float *lse;      /* [n_batch] logsumexp of each OUT row */
    size_t *n_cand;  /* [n_batch] candidates of each OUT row */
    nat_outputs outputs[2];
    engine_ticket ticket; /* last one given */
    engine_bytes bytes;
};

/* nat_lower.c: plan -> ops, values, sizes. Needs plan, opts, threads and kern of e. */
cama_err nat_lower(engine *e, err_info *err);
/* nat_cut.c: shares n_thread threads' rows of all matrices out; room for one cut, or NULL. */
void nat_cut(engine *e);
uint32_t *nat_take_cut(engine *e);
/* nat_layout.c: places of values. */
cama_err nat_layout(engine *e, err_info *err);
nat_weight nat_weight_of(const plan_tensor *t);

/* nat_mem.c: figures, and the memory itself. */
cama_err nat_plan_bytes(engine *e, engine_bytes *out, err_info *err);
/* More pages may be used, of those that are reserved. */
cama_err nat_raise_kv(engine *e, uint64_t n_kv, err_info *err);
cama_err nat_take_memory(engine *e, err_info *err);
void nat_drop_memory(engine *e);

/* nat_batch.c: rows checked and turned into the step's arrays; kv extended. */
cama_err nat_begin(engine *e, const engine_batch *b, err_info *err);
void nat_rope_tables(engine *e, int t);

/* The ops. */
nat_op_fn nat_run_linears, nat_run_store, nat_run_attend, nat_run_route, nat_run_experts,
    nat_run_conv, nat_run_delta, nat_run_embed, nat_run_norm, nat_run_head_linear, nat_run_slice,
    nat_run_join, nat_run_heads, nat_run_add, nat_run_mul, nat_run_scale, nat_run_act, nat_run_glu,
    nat_run_softcap, nat_run_select, nat_run_pool, nat_run_output;

/* One head's vector through one link, in place. */
void nat_apply(const engine *e, const nat_link *l, size_t row, float *x);

/* Threads share n things evenly: [*from, *to) is thread t's. */
static inline void nat_share(const engine *e, size_t n, int t, size_t *from, size_t *to)
{
    const size_t n_thread = (size_t)e->n_thread;
    *from = n * (size_t)t / n_thread;
    *to = n * ((size_t)t + 1) / n_thread;
}

static inline void nat_meet(engine *e, int t)
{
    if (e->n_thread > 1)
        workers_barrier(e->pool, t);
}

static inline float *nat_row(const engine *e, int32_t node, size_t row)
{
    return e->at[node] + row * e->value[node].ld;
}

/* Columns of a head of a norm; a norm of whole rows has one. */
static inline size_t nat_norm_dim(const plan_node *n)
{
    return n->par.norm.head_dim ? n->par.norm.head_dim : n->n_col;
}

static inline size_t nat_up(size_t n, size_t step)
{
    return (n + step - 1) / step * step;
}

/* The page `page` of a slot, head h: its K part; V lies k_bytes further. */
static inline uint8_t *nat_page(const engine *e, const nat_place *p, int32_t page, size_t h)
{
    const nat_kv_group *g = &e->group[p->group];
    return g->mem + (size_t)page * g->page_bytes + p->offset + h * p->head_bytes;
}

#endif
