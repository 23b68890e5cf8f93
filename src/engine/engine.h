/* engine.h - the contract between the scheduler and whatever computes.
 *
 * plan    bytes per pool before anything is loaded, or a typed refusal with figures
 * submit  a batch of rows -> a ticket; an engine may run it later, or a step ahead
 * collect a ticket -> outputs, the engine's memory until the next collect
 *
 * A row is one token of one sequence. Rows of a sequence are adjacent and ascending in position;
 * several sequences share a batch. The same row gives the same bits whatever shares its batch
 * (tier and activation form being equal). One thread, the engine thread, calls everything here.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "kern/kern.h"
#include "model/model.h"

typedef struct engine engine; /* each engine's own */
typedef uint64_t engine_ticket;

#define ENGINE_MAX_SEQ 4096
#define ENGINE_SPIN_DEFAULT UINT64_MAX /* of set_threads: as at open */

typedef enum engine_device { ENGINE_ANY_DEVICE, ENGINE_CPU, ENGINE_GPU } engine_device;

typedef struct engine_opts {
    uint32_t n_ctx; /* tokens of one sequence; 0: the model's own, at most 4096 */
    uint32_t n_seq; /* sequences that may run together; >= 1 */
    uint32_t
        n_ctx_rope; /* context for which a model with two sets of RoPE factors is read; 0: n_ctx */
    uint64_t n_kv;  /* tokens that all of them may hold together; 0: n_seq times n_ctx */
    uint64_t n_kv_max; /* what grow may raise that to; address space, no memory; 0: n_kv */
    uint32_t n_batch;  /* most rows of a submit (prefill chunk + decode rows); 0: 512 */
    uint32_t n_thread; /* 0: plat_n_cpu */
    quant_type k_type; /* KV cache: F16 (what engine_opts_init gives), F32, BF16, Q8_0, Q4_0 */
    quant_type v_type;
    kern_form activations; /* KERN_I8 (default) or KERN_F32 */
    uint32_t cpu;          /* kernel tiers allowed; UINT32_MAX: what the machine has */
    uint64_t max_bytes;    /* memory that may be taken; 0: plat_memory_available */
    engine_device device;
    bool stock; /* mlx: its own operations even where a kernel of ours would be taken (tests) */
} engine_opts;

engine_opts engine_opts_init(void);

typedef struct engine_bytes {
    uint64_t weights; /* mapped file */
    uint64_t kv;
    uint64_t scratch;
    uint64_t total;
    uint64_t available;  /* what was compared with */
    uint32_t n_ctx;      /* that was planned */
    uint32_t n_ctx_fits; /* the largest that would fit; 0: not even the weights */
    uint64_t n_kv;       /* tokens of all sequences that were planned */
    uint64_t n_kv_fits;  /* the most that would fit */
} engine_bytes;

typedef enum engine_source { ENGINE_TOKEN, ENGINE_PREV, ENGINE_EMBED } engine_source;

/* Output flags of a row. */
#define ENGINE_LOGITS 0x1u     /* all n_vocab */
#define ENGINE_CANDIDATES 0x2u /* n_candidate best, raw logits of listed ids, logsumexp */
#define ENGINE_HIDDEN 0x4u     /* n_embd, after the final norm */
#define ENGINE_POOLED 0x8u     /* one vector a sequence, on its last row */

typedef struct engine_row {
    int32_t seq;
    engine_source source;
    int32_t id; /* TOKEN: itself; EMBED: index of an embedding row; PREV: what greedy chose last */
    int32_t pos[4];      /* text: all equal */
    int32_t visible_end; /* first index not visible: pos + 1 when causal, or the span's end */
    int32_t adapter;     /* adapter set, 0: none (CAMA_ERR_UNSUPPORTED: the engine has none) */
    uint32_t flags;
} engine_row;

typedef struct engine_batch {
    const engine_row *rows;
    size_t n_row;
    const float *embeds; /* [n_embed][n_embd], for ENGINE_EMBED rows */
    size_t n_embed;
    uint32_t n_candidate; /* for ENGINE_CANDIDATES */
    const int32_t *ids;   /* extra ids whose raw logits are wanted in every CANDIDATES row */
    size_t n_id;
} engine_batch;

typedef struct engine_cand {
    int32_t id;
    float logit;
} engine_cand;

typedef struct engine_out {
    size_t row; /* index in the batch */
    int32_t seq;
    const float *logits;     /* or NULL */
    const engine_cand *cand; /* best first (ties: lower id), then those of ids */
    size_t n_cand;           /* without the listed ids */
    float logsumexp;         /* over the whole vocabulary */
    const float *hidden;
    const float *pooled;
} engine_out;

typedef struct engine_outs {
    const engine_out *out; /* in row order, rows with flags only */
    size_t n;
} engine_outs;

#define ENGINE_MAX_ROOM 32

/* What one group of layers still has room for. */
typedef struct engine_room {
    uint64_t n_token_free; /* in free pages */
    uint32_t n_token_seq;  /* the most that one sequence ever holds here: windows forget */
} engine_room;

typedef struct engine_stat {
    engine_bytes bytes;
    uint32_t n_seq_alive;
    uint64_t n_token_free;    /* tokens that fit into free pages of the fullest group */
    uint64_t n_kv, n_kv_used; /* tokens: the budget, and in pages that are taken */
    uint32_t page_tokens;     /* room is given out in pages of so many; 0: singly */
    uint32_t n_seq_room;      /* sequences that can be alive and grow; 0: any number */
    size_t n_room;            /* 0: n_token_free says it all */
    engine_room room[ENGINE_MAX_ROOM];
    char device[96];         /* "cpu: AMD EPYC, 2 threads, avx512-vnni" */
    const char *activations; /* "int8", "f16" or "f32" */
    char version[48];        /* of what computes: cama's own, or "MLX 0.32.4" */
    bool is_gpu;
    bool is_ahead;  /* submit returns before the step is computed: a second one may follow */
    char note[256]; /* what the engine does otherwise than it would: a kernel that failed its test;
                       "": nothing */
} engine_stat;

/* How tensors of one role and type are held: for `show`, and for who compares engines. */
typedef struct engine_form {
    plan_role role;
    quant_type type;  /* in the file */
    const char *form; /* "file blocks", "affine 4-bit g32 f16", "dense f32" */
    bool exact;       /* the values are those of the file */
    uint32_t n_tensor;
    uint64_t n_bytes; /* that it takes in this form */
} engine_form;

#define ENGINE_MAX_FORM 128

/* What an engine is, without a model. */
typedef struct engine_about {
    bool available;
    char why[256];    /* not available: the reason; else "" or what one should know */
    char version[48]; /* as of engine_stat */
    char device[128];
    char backend[16]; /* "cpu", "metal", "cuda" */
    bool is_gpu;
    uint64_t memory_bytes; /* of the device */
} engine_about;

typedef struct engine_vt {
    const char *name;
    /* 0: cannot run it, and why; higher fits better. */
    int (*probe)(const model_desc *m, err_info *why);
    /* CAMA_ERR_NO_FIT with figures and the largest context that would fit; *out is filled too. */
    cama_err (*plan)(const model_desc *m, const engine_opts *o, engine_bytes *out, err_info *err);
    cama_err (*open)(const model_desc *m, const engine_opts *o, engine **out, err_info *err);
    void (*close)(engine *e); /* accepts NULL */
    /* A sequence sharing the first n_keep tokens of `from` (-1: empty). CAMA_ERR_LIMIT: none is
     * free. */
    cama_err (*seq_fork)(engine *e, int32_t from, int32_t n_keep, int32_t *out_seq);
    /* Back to `want` tokens; *out_got <= want is the last position that can be restored (recurrent
     * state, windows): the caller feeds the rest again. */
    cama_err (*seq_rewind)(engine *e, int32_t seq, int32_t want, int32_t *out_got);
    void (*seq_free)(engine *e, int32_t seq);
    /* CAMA_ERR_ARG: a row breaks the rules above; CAMA_ERR_CONTEXT: past n_ctx; CAMA_ERR_LIMIT: no
     * free KV page (nothing was changed: free a sequence and submit again). */
    cama_err (*submit)(engine *e, const engine_batch *b, engine_ticket *out, err_info *err);
    /* CAMA_ERR_ARG: no outputs of that step are kept. */
    cama_err (*collect)(engine *e, engine_ticket t, engine_outs *out, err_info *err);
    void (*stat)(const engine *e, engine_stat *out);

    /* The rest may be NULL: the engine cannot. */

    /* Raises the tokens that all sequences may hold together to n_kv; less than now changes
     * nothing. CAMA_ERR_LIMIT: past n_kv_max; CAMA_ERR_NO_FIT, with figures: the memory is not
     * there now. */
    cama_err (*grow)(engine *e, uint64_t n_kv, err_info *err);
    /* Between steps. n_thread: 0 or more than at open: as many as at open; the same bits whatever
     * it is. spin_ns: how long an idle thread spins before it sleeps; 0: at once. */
    void (*set_threads)(engine *e, uint32_t n_thread, uint64_t spin_ns);
    /* Any thread: a number that grows while a step is computed, to tell a long one from a dead one.
     */
    uint64_t (*progress)(const engine *e);
    /* Fills out with at most max entries, by role and type; gives how many there are. */
    size_t (*forms)(const engine *e, engine_form *out, size_t max);
    /* May open a library and a device: only in a process that may die of it. Never NULL. */
    void (*about)(engine_about *out);
    /* Runs the kernels of ours on the device against the reference and appends a report of lines.
     * CAMA_ERR_UNSUPPORTED: the engine is not available; CAMA_ERR_ENGINE: a kernel failed. */
    cama_err (*selftest)(engine_device d, buf *out, err_info *err);
} engine_vt;

extern const engine_vt nat_engine;  /* engine/native */
extern const engine_vt emlx_engine; /* engine/mlx */
/* NULL past the end: every engine. */
const engine_vt *engine_at(size_t i);

/* For forms of vt: fn fills form, exact and n_bytes of one tensor; tensors of the plan are told
 * once each and summed by role and type. */
typedef void engine_form_fn(const void *user, const plan_tensor *t, engine_form *out);
size_t engine_list_forms(const plan *p, engine_form_fn *fn, const void *user, engine_form *out,
                         size_t max);

#endif
