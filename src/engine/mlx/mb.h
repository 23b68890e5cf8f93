/* mb.h - the bridge to MLX: what libcama_mlx exports, and all that it exports.
 *
 * The plugin is C++ inside (src/engine/mlx/bridge) and is opened by a runner with dlopen; the rest
 * of cama is C and sees this table only. One symbol, mb_get, gives the table, so that a plugin of
 * another build is refused by its number and never called with other arguments.
 *
 *     const mb_api *b = mb_get(MB_ABI);
 *     mb *m = b->open("cpu", &opened);          one thread from here on: MLX's streams belong to it
 *     mb_ref x = b->from_host(m, ...);          lazy: nothing is computed yet
 *     mb_ref y = b->binary(m, MB_MUL, x, x);
 *     if (b->read(m, y, out, sizeof out)) ...   computes, waits, copies out
 *     b->reset(m);                              x and y are gone
 *
 * Arrays are numbers. A temporary lives until reset; keep makes one that lives until drop. 0 is no
 * array. The first failure sticks, as in plan/ops.h: the verb gives 0, later ones pass 0 on, and
 * error tells what it was; so a whole step is recorded without a check, and the end looks once. A
 * verb whose optional argument may be absent says so; any other 0 is a failure that was told
 * before.
 *
 * Errors: no exception and no signal leaves the plugin. Out of memory on a CPU is the exception to
 * that: MLX 0.32 does not check malloc there (reference: its allocator), so memory is planned
 * before.
 */
#ifndef ENGINE_MLX_MB_H
#define ENGINE_MLX_MB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MB_ABI 1u
#define MB_MAX_DIM 6
#define MB_MAX_IN 12
#define MB_MAX_OUT 4
#define MB_MAX_TEXT 512

typedef struct mb mb;
typedef uint32_t mb_ref; /* 0: none */

typedef enum mb_dtype {
    MB_F32,
    MB_F16,
    MB_BF16,
    MB_I32,
    MB_U32,
    MB_U8,
    MB_BOOL,
    MB_N_DTYPE
} mb_dtype;

/* Row-major, last dimension contiguous. A dimension may be -1 in reshape only. */
typedef struct mb_shape {
    int32_t n_dim;
    int32_t dim[MB_MAX_DIM];
} mb_shape;

/* Host memory of an array during a host kernel: contiguous. */
typedef struct mb_view {
    void *data;
    mb_dtype dtype;
    mb_shape shape;
} mb_view;

typedef struct mb_opened {
    char error[MB_MAX_TEXT]; /* why open gave NULL */
} mb_opened;

typedef struct mb_info {
    char version[32]; /* of the library that is loaded, "0.32.4" */
    char built[32];   /* the one whose headers the plugin was built with */
    char device[128]; /* "cpu", or the GPU's name */
    char backend[16]; /* "cpu", "metal", "cuda" */
    char os[64]; /* of the device's driver or the system: part of what a self-test is remembered by
                  */
    bool is_gpu;
    uint64_t total_bytes;  /* of the device's memory */
    uint64_t limit_bytes;  /* largest working set that is advised */
    uint64_t buffer_bytes; /* largest single buffer; 0: no limit known */
} mb_info;

typedef struct mb_memory {
    uint64_t active, peak, cache;
} mb_memory;

/* How the weight of a linear is held: y = x W^T. */
typedef enum mb_form {
    MB_DENSE,  /* w [n_out, n_in] (or [n_expert, n_out, n_in]) of a float type */
    MB_AFFINE, /* w u32 [n_out, n_in * bits / 32], scales and biases [n_out, n_in / group] */
    MB_MXFP4,  /* w u32 [n_out, n_in / 8], scales u8 [n_out, n_in / 32] (e8m0) */
    MB_MXFP8,
    MB_NVFP4 /* scales u8 [n_out, n_in / 16] (e4m3) */
} mb_form;

typedef struct mb_weight {
    mb_form form;
    int32_t bits, group; /* AFFINE */
    mb_ref w, scales, biases;
} mb_weight;

typedef enum mb_binary {
    MB_ADD,
    MB_SUB,
    MB_MUL,
    MB_DIV,
    MB_MAX,
    MB_MIN,
    MB_LESS,
    MB_GREATER_EQ,
    MB_EQ,
    MB_AND,
    MB_N_BINARY
} mb_binary;
typedef enum mb_unary {
    MB_NEG,
    MB_EXP,
    MB_LOG,
    MB_LOG1P,
    MB_SQRT,
    MB_RSQRT,
    MB_SIGMOID,
    MB_TANH,
    MB_ERF,
    MB_ABS,
    MB_SQUARE,
    MB_N_UNARY
} mb_unary;
typedef enum mb_reduce { MB_SUM, MB_MEAN, MB_AMAX, MB_LOGSUMEXP, MB_ARGMAX, MB_N_REDUCE } mb_reduce;

/* A node of ours on the CPU: runs on MLX's thread when its inputs are there. in and out are
 * contiguous; nothing may be kept of them. It may write into memory of its own that user points to:
 * nodes of one stream run in the order of their dependence, which is what orders such writes. */
typedef void mb_host_fn(void *user, const mb_view *in, size_t n_in, const mb_view *out,
                        size_t n_out);

/* A node of ours on a GPU: text of one kernel, Metal's or CUDA's by mb_info.backend. */
typedef struct mb_gpu_kernel {
    const char *name;   /* unique for a text: compiled once, then found by it */
    const char *header; /* before the kernel: types, functions */
    const char *source; /* the kernel's body */
    const char *const *in_names;
    size_t n_in;
    const char *const *out_names;
    size_t n_out;
    int32_t grid[3], group[3]; /* threads in all, and of a group */
} mb_gpu_kernel;

typedef struct mb_api {
    uint32_t abi;
    char built[32]; /* MLX version of the headers */

    /* ---- life ---- */
    /* device: "cpu", "gpu", "" (gpu where there is one). NULL: out->error says why; also when the
     * library that is loaded is not of the version the plugin was built with. */
    mb *(*open)(const char *device, mb_opened *out);
    void (*close)(mb *m); /* accepts NULL; waits for what runs */
    void (*info)(mb *m, mb_info *out);
    const char *(*error)(mb *m); /* NULL: none; the bridge's until clear */
    void (*clear)(mb *m);

    /* ---- arrays ---- */
    mb_ref (*from_host)(mb *m, const void *data, mb_shape shape, mb_dtype t); /* copies */
    /* The memory stays the caller's and must outlive the array and all that was made of it; no copy
     * where the backend allows (CPU: always), else as from_host. It is not written to. On a CPU the
     * 8 bytes before `data` must be readable, as they are in a mapped file behind its header and in
     * a block of malloc: MLX looks for the size of a buffer there, and makes no use of it. */
    mb_ref (*from_owned)(mb *m, void *data, mb_shape shape, mb_dtype t);
    mb_ref (*zeros)(mb *m, mb_shape shape, mb_dtype t);
    mb_ref (*scalar)(mb *m, double value, mb_dtype t);
    mb_ref (*keep)(mb *m, mb_ref a);
    void (*drop)(mb *m, mb_ref kept); /* accepts 0 */
    void (*reset)(mb *m);             /* temporaries are gone; the error stays */
    int (*meta)(mb *m, mb_ref a, mb_shape *shape, mb_dtype *t);
    int (*read)(mb *m, mb_ref a, void *out, size_t n_bytes); /* waits; n_bytes must be its size */
    int (*eval)(mb *m, const mb_ref *refs, size_t n, bool wait);

    /* ---- weights ---- */
    mb_ref (*linear)(mb *m, mb_ref x, const mb_weight *w); /* x [..., n_in] -> [..., n_out] */
    /* x [n, n_used or 1, 1, n_in], ids i32/u32 [n, n_used] -> [n, n_used, 1, n_out] */
    mb_ref (*linear_experts)(mb *m, mb_ref x, const mb_weight *w, mb_ref ids);
    mb_ref (*rows)(mb *m, const mb_weight *w, mb_ref ids, mb_dtype t); /* [n] -> [n, n_in] */
    mb_ref (*dequantize)(mb *m, const mb_weight *w, mb_dtype t);       /* all of it */
    mb_ref (*matmul)(mb *m, mb_ref a, mb_ref b);

    /* ---- blocks ---- */
    mb_ref (*rms_norm)(mb *m, mb_ref x, mb_ref w, float eps);             /* w may be 0 */
    mb_ref (*layer_norm)(mb *m, mb_ref x, mb_ref w, mb_ref b, float eps); /* w, b may be 0 */
    /* q [B, n_head, n_q, d], k [B, n_kv_head, n_k, d], v [B, n_kv_head, n_k, dv]; mask bool or
     * additive, broadcast to [B, n_head, n_q, n_k], or 0; sinks [n_head] or 0 */
    mb_ref (*attention)(mb *m, mb_ref q, mb_ref k, mb_ref v, float scale, mb_ref mask,
                        mb_ref sinks);

    /* ---- shape ---- */
    mb_ref (*reshape)(mb *m, mb_ref a, mb_shape shape);
    mb_ref (*transpose)(mb *m, mb_ref a, const int32_t *axes, size_t n);
    mb_ref (*slice)(mb *m, mb_ref a, const int32_t *from, const int32_t *to, size_t n);
    mb_ref (*slice_update)(mb *m, mb_ref a, mb_ref part, const int32_t *from, const int32_t *to,
                           size_t n);
    mb_ref (*concat)(mb *m, const mb_ref *refs, size_t n, int32_t axis);
    mb_ref (*broadcast)(mb *m, mb_ref a, mb_shape shape);
    mb_ref (*contiguous)(mb *m, mb_ref a);
    mb_ref (*cast)(mb *m, mb_ref a, mb_dtype t);
    mb_ref (*take)(mb *m, mb_ref a, mb_ref ids, int32_t axis);
    mb_ref (*take_along)(mb *m, mb_ref a, mb_ref ids, int32_t axis);

    /* ---- math ---- */
    mb_ref (*binary)(mb *m, mb_binary op, mb_ref a, mb_ref b); /* broadcasts */
    mb_ref (*unary)(mb *m, mb_unary op, mb_ref a);
    mb_ref (*reduce)(mb *m, mb_reduce op, mb_ref a, int32_t axis, bool keep_dims);
    mb_ref (*softmax)(mb *m, mb_ref a, int32_t axis); /* precise: in f32 */
    mb_ref (*argsort)(mb *m, mb_ref a, int32_t axis); /* ascending, stable */
    mb_ref (*where)(mb *m, mb_ref cond, mb_ref a, mb_ref b);

    /* ---- nodes of ours ---- */
    /* outs: filled with n_out refs. */
    int (*host_kernel)(mb *m, mb_host_fn *fn, void *user, const mb_ref *in, size_t n_in,
                       const mb_shape *out_shapes, const mb_dtype *out_types, size_t n_out,
                       mb_ref *outs);
    int (*gpu_kernel)(mb *m, const mb_gpu_kernel *k, const mb_ref *in, const mb_shape *out_shapes,
                      const mb_dtype *out_types, mb_ref *outs);

    /* ---- memory ---- */
    void (*memory)(mb *m, mb_memory *out);
    void (*memory_limits)(mb *m, uint64_t memory, uint64_t cache, uint64_t wired); /* 0: as it is */
    void (*cache_clear)(mb *m);
} mb_api;

/* NULL: the plugin has another table. */
typedef const mb_api *mb_get_fn(uint32_t abi);
const mb_api *mb_get(uint32_t abi);

#ifdef __cplusplus
}
#endif

#endif
