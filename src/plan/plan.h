/* plan.h - a forward pass, recorded once, with the number of rows left open.
 *
 * A plan is a list of primitive nodes in the order they were recorded (a node reads only earlier
 * ones), and over it a list of steps: runs of nodes that a fusion pass found to belong together.
 * Every step decomposes into its nodes, so an engine lowers the steps it has a kernel for and
 * walks the nodes of the others. A value is the output of a node: rows of n_col floats, one row
 * for each row of the batch (after SELECT: for each row that asked for an output).
 *
 *     step          its nodes
 *     PRIM          0 embed
 *     NORM_LINEAR   1 norm, 2 linear Q, 3 linear K, 4 linear V
 *     ROPE_STORE    5 rope of Q, 6 rope of K, 7 store
 *     ATTEND        8 attend
 *     LINEAR_ADD    9 linear O, 10 add
 *
 * Everything lives in the arena given to ops_open and is immutable after ops_finish; tensors' bytes
 * are the model file's. Engine-neutral: no thread, device or memory layout is named here.
 */
#ifndef PLAN_PLAN_H
#define PLAN_PLAN_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "quant/quant.h"

#define PLAN_MAX_IN 6
#define PLAN_MAX_WEIGHT 8

/* What a weight is for. Fusion, LoRA, sharding, exactness reports and dumps key on it. */
/* clang-format off */
#define PLAN_ROLES(X)                                                                        \
    X(EMBED) X(NORM) X(Q) X(K) X(V) X(QKV) X(O) X(GATE) X(UP) X(GATE_UP) X(DOWN) X(ROUTER)   \
    X(EXPERT_GATE) X(EXPERT_UP) X(EXPERT_DOWN) X(SHARED_GATE) X(SHARED_UP) X(SHARED_DOWN)    \
    X(Q_A) X(Q_B) X(KV_A) X(K_B) X(V_B)                                                      \
    X(SSM_IN) X(SSM_OUT) X(SSM_GATE) X(SSM_PARAM) X(CONV) X(HEAD) X(POOL) X(OTHER)
/* clang-format on */

typedef enum plan_role {
#define X(name) PLAN_ROLE_##name,
    PLAN_ROLES(X)
#undef X
        PLAN_N_ROLE
} plan_role;

const char *plan_role_name(plan_role r); /* "EXPERT_GATE" */

/* A tensor of the model file: ne[0] contiguous, rows of quant_row_bytes(type, ne[0]). */
typedef struct plan_tensor {
    const char *name; /* NUL-terminated */
    quant_type type;
    plan_role role;
    uint64_t ne[4];
    const uint8_t *data;
    uint64_t n_bytes;
} plan_tensor;

/* y = W x (+ b): what ops_linear takes. w ne = [n_in, n_out]; b [n_out] f32 or NULL. */
typedef struct plan_linear {
    const plan_tensor *w;
    const plan_tensor *b;
} plan_linear;

typedef enum plan_op {
    PLAN_EMBED,       /* w[0] table; par.embed */
    PLAN_RMS_NORM,    /* in x; w[0] weight or none; par.norm: per run of head_dim columns */
    PLAN_LAYER_NORM,  /* in x; w[0] weight, w[1] bias or none */
    PLAN_L2_NORM,     /* in x; par.norm */
    PLAN_LINEAR,      /* in x; w[0], bias w[1] or none */
    PLAN_HEAD_LINEAR, /* in x [n_head * n_in]; w[0] ne [n_in, n_out, n_head] */
    PLAN_SLICE,       /* in x; par.slice: columns from..from+n of each of n_head runs of head_dim */
    PLAN_JOIN,     /* in a, b; par.slice.n_head: per head [a_h | b_h]; b of one head is repeated */
    PLAN_ROPE,     /* in x; par.rope */
    PLAN_KV_STORE, /* in k, v (v none when the slot keeps V inside K); par.attend.slot; no value */
    PLAN_ATTEND,   /* in q; par.attend; w[0] sinks or none */
    PLAN_ADD,      /* in a, b (b may be a weight row: w[0] [n_col]) */
    PLAN_MUL,      /* in a, b: b's width divides a's: each b value scales a run; or w[0] [n_col] */
    PLAN_SCALE,    /* in x; par.scale */
    PLAN_ACT,      /* in x; par.act */
    PLAN_GLU,      /* in gate, up; par.act: act(gate) * up */
    PLAN_SOFTCAP,  /* in x; par.scale is the cap */
    PLAN_ROUTE,   /* in router logits; w[0] selection bias or none; par.moe; value: n_used ids, then
                     n_used weights (as floats) */
    PLAN_EXPERTS, /* in x, route; w[0..2] gate, up, down stacks, w[3..5] their biases or none;
                     par.moe */
    PLAN_CONV,    /* in x; w[0] ne [n_tap, n_col], w[1] bias or none; par.state.slot */
    PLAN_DELTA,   /* in q, k, v, g, beta; par.delta */
    PLAN_SELECT,  /* in x: keeps the rows that asked for an output */
    PLAN_POOL,    /* in x: one row a sequence; par.pool */
    PLAN_OUTPUT,  /* in x; par.output: what the engine hands out */
    PLAN_N_OP
} plan_op;

const char *plan_op_name(plan_op op);

typedef enum plan_act_fn {
    PLAN_SILU,
    PLAN_GELU_TANH,
    PLAN_GELU_ERF,
    PLAN_RELU2,
    PLAN_SIGMOID,
    PLAN_TANH,
    PLAN_SOFTPLUS
} plan_act_fn;
typedef enum plan_embed_kind {
    PLAN_EMBED_TOKEN,
    PLAN_EMBED_POSITION,
    PLAN_EMBED_ROW0
} plan_embed_kind;
typedef enum plan_output_kind {
    PLAN_OUT_LOGITS,
    PLAN_OUT_HIDDEN,
    PLAN_OUT_POOLED
} plan_output_kind;
typedef enum plan_pool_kind {
    PLAN_POOL_NONE,
    PLAN_POOL_MEAN,
    PLAN_POOL_CLS,
    PLAN_POOL_LAST,
    PLAN_POOL_RANK
} plan_pool_kind;

/* Rotary embedding with every scaling (linear, YaRN, llama3 factors, longrope) already folded in:
 * angle of pair i = pos[axis(i)] * inv_freq[i]; cos and sin are multiplied by mscale. */
typedef struct plan_rope {
    size_t head_dim;        /* columns of a head in x */
    size_t from;            /* first rotated column of a head */
    size_t n_rot;           /* rotated columns, even */
    bool neox;              /* pairs (i, i + n_rot/2), else (2i, 2i + 1) */
    const double *inv_freq; /* [n_rot / 2] */
    float mscale;
    int32_t sections[4]; /* M-RoPE: pairs for each position axis; all 0: axis 0 */
    bool interleaved;    /* IM-RoPE */
} plan_rope;

typedef enum plan_mask {
    PLAN_CAUSAL,
    PLAN_FULL,
    PLAN_WINDOW,
    PLAN_WINDOW_SYM,
    PLAN_CHUNK
} plan_mask;

typedef struct plan_attend {
    int slot; /* a place in the KV, not a layer number: two layers may share one */
    size_t n_head, n_kv_head, dim_k, dim_v;
    float scale, softcap;
    plan_mask mask;
    size_t window; /* PLAN_WINDOW: visible iff 0 <= i - j < window; SYM: |i-j| <= window/2; CHUNK */
} plan_attend;

typedef enum plan_gate { PLAN_GATE_SOFTMAX, PLAN_GATE_SIGMOID, PLAN_GATE_SOFTMAX_WEIGHT } plan_gate;

typedef struct plan_moe {
    size_t n_expert, n_used;
    size_t n_group, n_group_used; /* group-limited routing; 0: none */
    plan_gate gating;
    bool normalise;     /* chosen weights sum to 1 */
    bool weight_before; /* weight applied to the expert's input (llama4) */
    float scale;        /* times every weight; 1 when none */
    plan_act_fn act;
    bool oai_glu;       /* gpt-oss clamp form */
    bool gate_up_fused; /* w[1] absent: w[0] holds [gate; up] */
} plan_moe;

typedef struct plan_delta {
    int slot;
    size_t n_k_head, n_v_head, dk, dv;
    bool tiled; /* v head h reads k head h % n_k_head; else h / (n_v_head / n_k_head) */
} plan_delta;

typedef struct plan_node {
    plan_op op;
    int32_t in[PLAN_MAX_IN]; /* node indices, -1: none */
    const plan_tensor *w[PLAN_MAX_WEIGHT];
    size_t n_col;     /* width of the value; 0: no value */
    int32_t layer;    /* -1 outside the blocks */
    const char *name; /* "attn_norm", "Qcur": with the layer, the name of a dump */
    union {
        struct {
            plan_embed_kind kind;
        } embed;
        struct {
            size_t head_dim;
            float eps;
        } norm;
        struct {
            size_t n_head, head_dim, from, n;
        } slice;
        plan_rope rope;
        plan_attend attend;
        struct {
            float value;
        } scale;
        struct {
            plan_act_fn fn;
        } act;
        plan_moe moe;
        struct {
            int slot;
        } state;
        plan_delta delta;
        struct {
            plan_pool_kind kind;
        } pool;
        struct {
            plan_output_kind kind;
        } output;
    } par;
} plan_node;

typedef enum plan_step_kind {
    PLAN_STEP_PRIM,        /* one node */
    PLAN_STEP_NORM_LINEAR, /* norm, then 1..n linears that read it (QKV, router, SSM inputs) */
    PLAN_STEP_ROPE_STORE,  /* head norms and RoPE of q and k, then the KV store */
    PLAN_STEP_ATTEND,
    PLAN_STEP_LINEAR_ADD, /* linear + residual (O, DOWN) */
    PLAN_STEP_NORM_GLU,   /* norm, gate and up linears, glu */
    PLAN_STEP_HEAD,       /* select, final norm, head linear, output */
    PLAN_N_STEP_KIND
} plan_step_kind;

/* Places [first, first + n) of node_order, which names the nodes in the order of execution. */
typedef struct plan_step {
    plan_step_kind kind;
    int32_t first, n;
} plan_step;

/* Where attention and recurrence remember. Slots of one shape form a group with one page table. */
typedef enum plan_kv_kind { PLAN_KV_FULL, PLAN_KV_WINDOW, PLAN_KV_STATE } plan_kv_kind;

typedef struct plan_kv_slot {
    plan_kv_kind kind;
    size_t n_kv_head, dim_k, dim_v; /* FULL, WINDOW */
    bool v_in_k;                    /* MLA: V is the first dim_v of K; nothing stored for V */
    size_t window;                  /* WINDOW: pages behind it may be freed */
    size_t n_state;                 /* STATE: floats of one sequence */
    int group, index;               /* filled by ops_finish: its group, and its place there */
} plan_kv_slot;

typedef struct plan_kv_group {
    plan_kv_slot shape; /* group and index are of no meaning here */
    int n_slot;
} plan_kv_group;

typedef struct plan {
    const plan_node *nodes;
    size_t n_node;
    const int32_t *node_order; /* [n_node] */
    const plan_step *steps;
    size_t n_step;
    const plan_kv_slot *slots;
    size_t n_slot;
    const plan_kv_group *groups;
    size_t n_group;
    size_t n_vocab, n_embd;
    bool causal; /* false: rows see visible_end of their row (embedding models) */
} plan;

/* Text of the plan, a line a step, for `cama show --plan`, tests and golden files. */
cama_err plan_print(const plan *p, buf *out);

#endif
