/* ref_kv.c - storing keys and values, and attention over pages of them. */
#include "kern/ref/ref.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "quant/f16.h"

/* Element i of a V row or any row of floats. */
static void put_float(quant_type t, void *at, size_t i, float x)
{
    if (t == QUANT_F32)
        ((float *)at)[i] = x;
    else
        ((uint16_t *)at)[i] = t == QUANT_F16 ? f16_from_f32(x) : bf16_from_f32(x);
}

static float get_float(quant_type t, const void *at, size_t i)
{
    if (t == QUANT_F32)
        return ((const float *)at)[i];
    const uint16_t h = ((const uint16_t *)at)[i];
    return t == QUANT_F16 ? f16_to_f32(h) : bf16_to_f32(h);
}

static bool in_blocks(quant_type t)
{
    assert(t == QUANT_F32 || t == QUANT_F16 || t == QUANT_BF16 || t == QUANT_Q8_0 ||
           t == QUANT_Q4_0);
    return t == QUANT_Q8_0 || t == QUANT_Q4_0;
}

/* Quantised K: 32 dims of all tokens of the page lie together, d of each token first. */
static size_t k_piece_bytes(quant_type t)
{
    return KERN_PAGE * quant_table[t].block_bytes;
}

/* One block of the format spread over the page: d, then its bytes, KERN_PAGE apart. */
static void scatter_block(uint8_t *piece, size_t token, const uint8_t *block, size_t n)
{
    memcpy(piece + 2 * token, block, 2);
    for (size_t i = 2; i < n; i++)
        piece[2 * KERN_PAGE + (i - 2) * KERN_PAGE + token] = block[i];
}

static void gather_block(const uint8_t *piece, size_t token, uint8_t *block, size_t n)
{
    memcpy(block, piece + 2 * token, 2);
    for (size_t i = 2; i < n; i++)
        block[i] = piece[2 * KERN_PAGE + (i - 2) * KERN_PAGE + token];
}

static void store_k(quant_type t, void *page, size_t token, const float *x, size_t dim)
{
    if (!in_blocks(t)) {
        for (size_t i = 0; i < dim; i++)
            put_float(t, page, i * KERN_PAGE + token, x[i]);
        return;
    }
    uint8_t block[40];
    uint8_t *piece = page;
    for (size_t i = 0; i < dim; i += KERN_BLOCK, piece += k_piece_bytes(t)) {
        (void)quant_quantize(t, x + i, block, KERN_BLOCK, NULL); /* cannot fail for these types */
        scatter_block(piece, token, block, quant_table[t].block_bytes);
    }
}

static void store_v(quant_type t, void *page, size_t token, const float *x, size_t dim)
{
    if (in_blocks(t)) {
        uint8_t *row = (uint8_t *)page + token * quant_row_bytes(t, dim);
        (void)quant_quantize(t, x, row, dim, NULL); /* cannot fail for these types */
        return;
    }
    for (size_t i = 0; i < dim; i++)
        put_float(t, page, token * dim + i, x[i]);
}

/* Token's key as floats [dim]. */
static void load_k(quant_type t, const void *page, size_t token, size_t dim, float *out)
{
    if (!in_blocks(t)) {
        for (size_t i = 0; i < dim; i++)
            out[i] = get_float(t, page, i * KERN_PAGE + token);
        return;
    }
    uint8_t block[40];
    const uint8_t *piece = page;
    for (size_t i = 0; i < dim; i += KERN_BLOCK, piece += k_piece_bytes(t)) {
        gather_block(piece, token, block, quant_table[t].block_bytes);
        quant_dequant(t, block, out + i, KERN_BLOCK);
    }
}

static void load_v(quant_type t, const void *page, size_t token, size_t dim, float *out)
{
    if (in_blocks(t)) {
        quant_dequant(t, (const uint8_t *)page + token * quant_row_bytes(t, dim), out, dim);
        return;
    }
    for (size_t i = 0; i < dim; i++)
        out[i] = get_float(t, page, token * dim + i);
}

typedef struct span {
    size_t t0, t1; /* tokens of one page that a row sees, page-relative */
} span;

static span visible(const kern_attend *a, size_t page, size_t row)
{
    const int64_t first = (int64_t)((a->page0 + page) * KERN_PAGE);
    int64_t t0 = a->lo[row] - first, t1 = a->hi[row] - first;
    t0 = t0 < 0 ? 0 : t0;
    t1 = t1 > KERN_PAGE ? KERN_PAGE : t1;
    return t0 < t1 ? (span){(size_t)t0, (size_t)t1} : (span){0, 0};
}

/* Scores of the visible tokens; gives the largest. */
static float page_scores(const kern_attend *a, size_t page, span s, const float *q, float *score,
                         float *key)
{
    float max = -INFINITY;
    for (size_t t = s.t0; t < s.t1; t++) {
        load_k(a->k_type, a->k_page[page], t, a->dim_k, key);
        float dot = 0;
        for (size_t i = 0; i < a->dim_k; i++)
            dot = fmaf(q[i], key[i], dot);
        dot *= a->scale;
        score[t] = a->softcap > 0 ? tanhf(dot / a->softcap) * a->softcap : dot;
        max = fmaxf(max, score[t]);
    }
    return max;
}

static void attend_page(const kern_attend *a, size_t page, span s, size_t row, size_t query)
{
    float score[KERN_PAGE];
    float *vec = a->scratch; /* one key or value */
    const float *q = a->q + row * a->q_ld + query % a->n_group * a->dim_k;
    float *o = a->o + query * a->dim_v;
    const float max = fmaxf(a->m[query], page_scores(a, page, s, q, score, vec));
    const float keep = expf(a->m[query] - max);
    float sum = a->l[query] * keep;
    for (size_t i = 0; i < a->dim_v; i++)
        o[i] *= keep;
    for (size_t t = s.t0; t < s.t1; t++) {
        const float p = expf(score[t] - max);
        if (a->v_in_k)
            load_k(a->k_type, a->k_page[page], t, a->dim_k, vec);
        else
            load_v(a->v_type, a->v_page[page], t, a->dim_v, vec);
        sum += p;
        for (size_t i = 0; i < a->dim_v; i++)
            o[i] = fmaf(p, vec[i], o[i]);
    }
    a->m[query] = max;
    a->l[query] = sum;
}

void ref_attend(const kern_attend *a)
{
    for (size_t query = 0; query < a->n_row * a->n_group; query++) {
        const size_t row = query / a->n_group;
        a->m[query] = -INFINITY;
        a->l[query] = 0;
        memset(a->o + query * a->dim_v, 0, a->dim_v * sizeof(float));
        for (size_t page = 0; page < a->n_page; page++) {
            const span s = visible(a, page, row);
            if (s.t0 < s.t1)
                attend_page(a, page, s, row, query);
        }
    }
}

static size_t attend_scratch_bytes(size_t dim_k, size_t dim_v, size_t n_query)
{
    (void)n_query;
    return (dim_k > dim_v ? dim_k : dim_v) * sizeof(float);
}

static void attend_merge(const float *const *o, const float *m, const float *l, size_t n_span,
                         const float *sink, size_t dim_v, float *out)
{
    float max = sink ? *sink : -INFINITY;
    for (size_t s = 0; s < n_span; s++)
        max = fmaxf(max, m[s]);
    memset(out, 0, dim_v * sizeof *out);
    if (max == -INFINITY)
        return;
    float sum = sink ? expf(*sink - max) : 0;
    for (size_t s = 0; s < n_span; s++) {
        const float w = expf(m[s] - max); /* 0 for a span that saw nothing */
        sum += l[s] * w;
        for (size_t i = 0; i < dim_v; i++)
            out[i] = fmaf(o[s][i], w, out[i]);
    }
    for (size_t i = 0; i < dim_v; i++)
        out[i] /= sum;
}

void ref_init_kv(kern_table *k)
{
    k->store_k = store_k;
    k->store_v = store_v;
    k->attend = ref_attend;
    k->attend_scratch_bytes = attend_scratch_bytes;
    k->attend_merge = attend_merge;
}
