/* emlx_kern.h - what the files of nodes of ours share: emlx_kern.c, emlx_attend.c, emlx_experts.c.
 */
#ifndef ENGINE_MLX_EMLX_KERN_H
#define ENGINE_MLX_EMLX_KERN_H

#include "engine/mlx/emlx_int.h"

typedef struct emlx_linear {
    kern_weight w;
    const float *bias;
    kern_form form;
    int32_t id; /* its node */
} emlx_linear;

/* A norm (maybe), linears that read it, then a glu of two of them or a residual (maybe). */
typedef struct emlx_linears {
    engine *e;
    const plan_node *norm; /* or NULL */
    const float *norm_w, *norm_b;
    bool norm_is_read; /* by others too */
    bool has_i8;
    int32_t in;       /* the node that is read */
    int32_t glu, add; /* the glu's node; the residual's; -1 */
    int32_t last;     /* the node whose value comes out, where that is one */
    size_t n_col, n;
    emlx_linear linear[EMLX_MAX_LINEAR];
} emlx_linears;

/* One plan node: run shares it out to threads, or emit does all of it. */
struct emlx_single {
    engine *e;
    int32_t id;
    const plan_node *node;
    workers_fn run;
    mb_ref (*emit)(engine *e, emlx_single *s);
};

static inline const emlx_weight *e_weight(const emlx_single *s, int i)
{
    return s->e->node[s->id].w[i];
}

static inline void *emlx_scratch(const engine *e, int t)
{
    return e->scratch + (size_t)t * (e->scratch_bytes + e->own_acts_bytes);
}

/* Thread t's int8 form of KERN_GEMV_MAX rows of the widest matrix. */
static inline void *emlx_own_acts(const engine *e, int t)
{
    return (uint8_t *)emlx_scratch(e, t) + e->scratch_bytes;
}

void emlx_share(size_t n, int t, int n_thread, size_t *from, size_t *to);
/* Rows [cut[0], cut[1]) of a matrix are thread t's, in whole panels. */
void emlx_cut_rows(const engine *e, size_t n_row, int t, int n_thread, size_t cut[2]);
void emlx_emit_linears(engine *e, emlx_linears *l);
mb_ref emlx_emit_store(engine *e, emlx_single *s);
mb_ref emlx_emit_attend(engine *e, emlx_single *s);
mb_ref emlx_emit_experts(engine *e, emlx_single *s);
size_t emlx_attend_scratch(engine *e); /* bytes for one thread; sets the sizes of attention */

#endif
