/* panel.inc.h - weight rows unpacked once for many activation rows.
 *
 * A panel is V_N rows. For each 32 columns it holds words [8][rows], then the float
 * scales [n_scale][rows] and minima [n_min][rows]: the order in which a tile kernel reads.
 */

#define PANEL_VEC_BYTES (4 * V_N)

/* How blocks enter the sum, as far as tile kernels differ; the s8 ones went through v_s8. */
typedef enum lane_flavour {
    LANE_PLAIN,
    LANE_MIN,
    LANE_TWO,
    LANE_TWO_MIN,
    LANE_PLAIN_S8,
    LANE_TWO_S8,
    LANE_MIN_S8,
    LANE_N_FLAVOUR
} lane_flavour;

V_INLINE size_t panel_block_bytes(lane_traits t)
{
    return (size_t)(8 + t.n_scale + t.n_min) * PANEL_VEC_BYTES;
}

typedef struct tile_args {
    const uint8_t *panel, *acts;
    size_t n_block;
    int32_t offset; /* what was added to the weights as they lie in the panel */
    float *acc;     /* [width][V_N], added to */
} tile_args;

typedef void tile_fn(const tile_args *t);

/* Where the next block of one row group goes. */
typedef struct panel_ctx {
    uint8_t *at;
    const uint8_t *ahead;
} panel_ctx;

V_INLINE void panel_emit(panel_ctx *ctx, const lane_block *b, lane_traits t)
{
    uint8_t *at = ctx->at;
    ctx->ahead = rows_prefetch(ctx->ahead, t);
    V_UNROLL for (size_t j = 0; j < 8; j++, at += PANEL_VEC_BYTES) v_store_u(at, b->w[j]);
    for (int i = 0; i < t.n_scale; i++, at += PANEL_VEC_BYTES)
        v_store_u(at, (vu)b->scale[i]);
    for (int i = 0; i < t.n_min; i++, at += PANEL_VEC_BYTES)
        v_store_u(at, (vu)b->min[i]);
    ctx->at = at;
}

#define STEP(f) panel_step_##f
#define STEP_CTX panel_ctx
#define EMIT panel_emit
#include "kern/lanes/formats.inc.h"
#undef STEP
#undef STEP_CTX
#undef EMIT

/* n_block blocks of the format, of V_N rows `stride` bytes apart, into the panel; `ahead` is where
 * as many bytes lie that will be wanted next: they are fetched meanwhile. */
typedef void panel_fn(quant_type t, const uint8_t *p, size_t stride, size_t n_block, uint8_t *at,
                      const uint8_t *ahead);

#define FORMAT_BODY "kern/lanes/panel_format.inc.h"
#include "kern/lanes/each_format.inc.h"

/* 32 columns of one row, that of lane r. */
static void panel_put_row(const kern_unpack_info *f, const kern_piece *piece, size_t block,
                          size_t r, uint8_t *at)
{
    const uint32_t flip = f->n_min && !f->is_wide ? 0 : V_S8_FLIP;
    for (size_t j = 0; j < 8; j++, at += PANEL_VEC_BYTES) {
        uint32_t word;
        memcpy(&word, piece->w + KERN_BLOCK * block + 4 * j, 4);
        word ^= flip;
        memcpy(at + 4 * r, &word, 4);
    }
    for (size_t i = 0; i < f->n_scale; i++, at += PANEL_VEC_BYTES)
        memcpy(at + 4 * r, &piece->scale[2 * block + i], 4);
    for (size_t i = 0; i < f->n_min; i++, at += PANEL_VEC_BYTES)
        memcpy(at + 4 * r, &piece->min[2 * block + i], 4);
}

/* Any format, row by row through kern_unpack_table. */
static void panel_any(quant_type t, const uint8_t *p, size_t stride, size_t n_block, uint8_t *at,
                      const uint8_t *ahead)
{
    (void)ahead; /* memory is not what holds this one up */
    const kern_unpack_info *f = &kern_unpack_table[t];
    const size_t per_piece = quant_table[t].block_n / KERN_BLOCK;
    const size_t bytes = panel_block_bytes((lane_traits){.n_scale = f->n_scale, .n_min = f->n_min});
    kern_piece piece;
    for (size_t b = 0; b < n_block; b++, p += quant_table[t].block_bytes) {
        for (size_t r = 0; r < V_N; r++) {
            f->unpack(p + r * stride, &piece);
            for (size_t i = 0; i < per_piece; i++)
                panel_put_row(f, &piece, i, r, at + i * bytes);
        }
        at += per_piece * bytes;
    }
}

typedef struct panel_format {
    panel_fn *fn;
    lane_traits traits;
} panel_format;

static const panel_format panel_formats[QUANT_N_TYPE] = {
    [QUANT_Q4_0] = {panel_Q4_0, LANE_Q4_0},
    [QUANT_Q4_1] = {panel_Q4_1, LANE_Q4_1},
    [QUANT_Q5_0] = {panel_Q5_0, LANE_Q5_0},
    [QUANT_Q5_1] = {panel_Q5_1, LANE_Q5_1},
    [QUANT_Q8_0] = {panel_Q8_0, LANE_Q8_0},
    [QUANT_IQ4_NL] = {panel_IQ4_NL, LANE_IQ4_NL},
    [QUANT_Q4_K] = {panel_Q4_K, LANE_Q4_K},
    [QUANT_Q5_K] = {panel_Q5_K, LANE_Q5_K},
    [QUANT_Q6_K] = {panel_Q6_K, LANE_Q6_K},
    [QUANT_A4G64_F32] = {panel_A4G64_F32, LANE_A4_F32},
    [QUANT_A4G64_F16] = {panel_A4G64_F16, LANE_A4},
    [QUANT_A4G64_BF16] = {panel_A4G64_BF16, LANE_A4},
    [QUANT_A8G64_F32] = {panel_A8G64_F32, LANE_A8_F32},
    [QUANT_A8G64_F16] = {panel_A8G64_F16, LANE_A8},
    [QUANT_A8G64_BF16] = {panel_A8G64_BF16, LANE_A8},
};

/* The format's own unpacker, or the one for all. */
static panel_format panel_format_of(quant_type t)
{
    if (panel_formats[t].fn)
        return panel_formats[t];
    const kern_unpack_info *f = &kern_unpack_table[t];
    const bool s8 = f->n_min == 0 || f->is_wide;
    return (panel_format){panel_any, {f->n_scale, f->n_min, s8 ? V_S8_SHIFT : -1, s8, 0}};
}

static lane_flavour panel_flavour(lane_traits t)
{
    if (t.n_min)
        return t.n_min == 2 ? LANE_TWO_MIN : t.s8 ? LANE_MIN_S8 : LANE_MIN;
    if (t.s8)
        return t.n_scale == 1 ? LANE_PLAIN_S8 : LANE_TWO_S8;
    return t.n_scale == 1 ? LANE_PLAIN : LANE_TWO;
}
