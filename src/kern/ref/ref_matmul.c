/* ref_matmul.c - weights times activations, in the order of additions that kern.h lays down. */
#include "kern/ref/ref.h"

#include <assert.h>
#include <math.h>

#include "kern/unpack.h"
#include "quant/f16.h"

typedef struct ref_block {
    float d;
    int32_t sum[2]; /* of q, each 16 columns */
    int8_t q[KERN_BLOCK];
} ref_block;

static size_t acts_bytes(size_t n_row, size_t n_col)
{
    return n_row * (n_col / KERN_BLOCK) * sizeof(ref_block);
}

static void quantize_block(const float *x, ref_block *out)
{
    float amax = 0;
    for (size_t i = 0; i < KERN_BLOCK; i++)
        amax = fmaxf(amax, fabsf(x[i]));
    const float inv = amax > 0 ? 127.0f / amax : 0;
    out->d = amax / 127.0f;
    out->sum[0] = out->sum[1] = 0;
    for (size_t i = 0; i < KERN_BLOCK; i++) {
        const float q = rintf(x[i] * inv);
        out->q[i] = (int8_t)fmaxf(-127, fminf(127, q)); /* NaN becomes 127: d tells the tale */
        out->sum[i / KERN_GROUP] += out->q[i];
    }
}

static void acts_quantize(kern_acts *a, const float *x, size_t ld, size_t row0, size_t row1)
{
    const size_t n_block = a->n_col / KERN_BLOCK;
    ref_block *blocks = a->mem;
    for (size_t r = row0; r < row1; r++)
        for (size_t b = 0; b < n_block; b++)
            quantize_block(x + r * ld + b * KERN_BLOCK, &blocks[r * n_block + b]);
}

static void store_out(const kern_out *out, size_t a_row, size_t w_row, float acc)
{
    float *y = &out->y[a_row * out->ld + w_row];
    if (out->bias)
        acc += out->bias[w_row];
    *y = out->add ? acc + *y : acc;
}

static int32_t dot_group(const int8_t *w, const int8_t *q)
{
    int32_t sum = 0;
    for (size_t i = 0; i < KERN_GROUP; i++)
        sum += w[i] * q[i];
    return sum;
}

/* The terms of one block of 32 columns; groups 0 and 1 of it in scale and min. */
static float add_block(const kern_unpack_info *f, const int8_t *w, const float *scale,
                       const float *min, const ref_block *a, float acc)
{
    const int32_t s0 = dot_group(w, a->q), s1 = dot_group(w + KERN_GROUP, a->q + KERN_GROUP);
    if (f->n_scale == 1) {
        acc = fmaf((float)(s0 + s1), scale[0] * a->d, acc);
    } else {
        acc = fmaf((float)s0, scale[0] * a->d, acc);
        acc = fmaf((float)s1, scale[1] * a->d, acc);
    }
    if (f->n_min == 1)
        acc = fmaf(min[0], a->d * (float)(a->sum[0] + a->sum[1]), acc);
    if (f->n_min == 2) {
        acc = fmaf(min[0], a->d * (float)a->sum[0], acc);
        acc = fmaf(min[1], a->d * (float)a->sum[1], acc);
    }
    return acc;
}

/* Every row of a against one weight row; acc has room for a->n_row. Pieces are unpacked once. */
static void row_i8(const kern_weight *w, const kern_acts *a, size_t row, const kern_out *out)
{
    const kern_unpack_info *f = &kern_unpack_table[w->type];
    const quant_info *info = &quant_table[w->type];
    const size_t n_block = w->n_col / KERN_BLOCK, per_piece = info->block_n / KERN_BLOCK;
    const uint8_t *bytes = w->rows + row * w->row_bytes;
    const ref_block *acts = a->mem;
    for (size_t r = 0; r < a->n_row; r++) {
        float acc = 0;
        kern_piece piece;
        for (size_t b = 0; b < n_block; b++) {
            const size_t in = b % per_piece;
            if (in == 0)
                f->unpack(bytes + b / per_piece * info->block_bytes, &piece);
            acc = add_block(f, piece.w + in * KERN_BLOCK, piece.scale + 2 * in, piece.min + 2 * in,
                            &acts[r * n_block + b], acc);
        }
        store_out(out, r, row, acc);
    }
}

static void matmul_i8(const kern_weight *w, const kern_acts *a, size_t row0, size_t row1,
                      const kern_out *out, void *scratch)
{
    (void)scratch; /* one piece at a time lies on the stack */
    assert(a->form == KERN_I8 && w->n_col == a->n_col);
    for (size_t r = row0; r < row1; r++)
        row_i8(w, a, r, out);
}

/* KERN_I8 activations do not go with this format: kern_form_for says so. */
static void matmul_refused(const kern_weight *w, const kern_acts *a, size_t row0, size_t row1,
                           const kern_out *out, void *scratch)
{
    (void)w, (void)a, (void)row0, (void)row1, (void)out, (void)scratch;
    assert(!"a format without int8 kernels");
}

/* Lane i takes columns i, i + 16, ...; then lanes i and i + 8, i and i + 4, ... are added. */
static float dot_f32(const float *w, const float *x, size_t n)
{
    float lane[KERN_F32_LANES] = {0};
    for (size_t i = 0; i < n; i++)
        lane[i % KERN_F32_LANES] = fmaf(w[i], x[i], lane[i % KERN_F32_LANES]);
    for (size_t half = KERN_F32_LANES / 2; half > 0; half /= 2)
        for (size_t i = 0; i < half; i++)
            lane[i] += lane[i + half];
    return lane[0];
}

static void matmul_f32(const kern_weight *w, const kern_acts *a, size_t row0, size_t row1,
                       const kern_out *out, void *scratch)
{
    assert(a->form == KERN_F32 && w->n_col == a->n_col);
    float *row = scratch;
    for (size_t r = row0; r < row1; r++) {
        quant_dequant(w->type, w->rows + r * w->row_bytes, row, w->n_col);
        for (size_t i = 0; i < a->n_row; i++)
            store_out(out, i, r, dot_f32(row, a->x + i * a->ld, w->n_col));
    }
}

static size_t scratch_bytes(size_t n_col)
{
    return n_col * sizeof(float);
}

void ref_init_matmul(kern_table *k)
{
    k->acts_bytes = acts_bytes;
    k->acts_quantize = acts_quantize;
    k->scratch_bytes = scratch_bytes;
    for (size_t t = 0; t < QUANT_N_TYPE; t++) {
        k->gemv[t] = k->gemm[t] = kern_unpack_table[t].unpack ? matmul_i8 : matmul_refused;
        k->gemv_f32[t] = k->gemm_f32[t] = matmul_f32;
    }
}
