/* attend.inc.h - attention over pages, tokens in lanes for the scores and dims in lanes for the
 * values. A page is walked once for all queries; ATTEND_QUERIES of them share each load. What a
 * query gets does not depend on its company: only queries that see the same tokens share a pass
 * over the values, and every other operation is a query's own. */

#define ATTEND_STRIP 4 /* vectors of tokens, or dims, at a time */

typedef enum page_kind { PAGE_F32, PAGE_F16, PAGE_BF16 } page_kind;

/* One page as the kernels read it: quantised ones were made floats. */
typedef struct page_view {
    page_kind k_kind, v_kind;
    const void *k, *v; /* k [dim_k][KERN_PAGE], v [KERN_PAGE][dim_v] */
} page_view;

typedef struct page_span {
    size_t t0, t1; /* tokens of the page that a query sees; t0 == t1: none */
} page_span;

V_INLINE vf page_load(page_kind kind, const void *p, size_t i)
{
    if (kind == PAGE_F32)
        return v_load((const float *)p + i);
    const uint16_t *half = (const uint16_t *)p + i;
    return kind == PAGE_F16 ? v_load_f16(half) : v_load_bf16(half);
}

/* ---- quantised pages ---- */

/* 32 dims of K: f16 d [64], then int8 [32][64] or nibbles [16][64]. */
static void k_piece_to_f32(bool q4, const uint8_t *piece, float *out)
{
    const uint8_t *q = piece + 2 * KERN_PAGE;
    for (size_t t = 0; t < KERN_PAGE; t += V_N) {
        const vf d = v_load_f16((const uint16_t *)(const void *)piece + t);
        for (size_t i = 0; i < (q4 ? KERN_BLOCK / 2 : KERN_BLOCK); i++) {
            const uint8_t *at = q + i * KERN_PAGE + t;
            float *to = out + i * KERN_PAGE + t;
            if (q4) {
                const vi both = v_load_u8(at);
                v_store(to, d * v_float((both & 15) - 8));
                v_store(to + KERN_BLOCK / 2 * KERN_PAGE, d * v_float((both >> 4) - 8));
            } else {
                v_store(to, d * v_load_s8((const int8_t *)at));
            }
        }
    }
}

static void k_page_to_f32(quant_type t, const uint8_t *page, size_t dim, float *out)
{
    const size_t piece = KERN_PAGE * quant_table[t].block_bytes;
    for (size_t i = 0; i < dim; i += KERN_BLOCK, page += piece)
        k_piece_to_f32(t == QUANT_Q4_0, page, out + i * KERN_PAGE);
}

/* One GGUF block of a V row. */
V_INLINE void v_block_to_f32(bool q4, const uint8_t *block, float *out)
{
    uint16_t bits;
    memcpy(&bits, block, 2);
    const vf d = v_set(f16_to_f32(bits));
    for (size_t i = 0; i < (q4 ? 16 : 32); i += V_N) {
        if (q4) {
            const vi both = v_load_u8(block + 2 + i);
            v_store(out + i, d * v_float((both & 15) - 8));
            v_store(out + i + 16, d * v_float((both >> 4) - 8));
        } else {
            v_store(out + i, d * v_load_s8((const int8_t *)block + 2 + i));
        }
    }
}

static void v_page_to_f32(quant_type t, const uint8_t *page, size_t dim, size_t n_token, float *out)
{
    const size_t n_block = n_token * dim / KERN_BLOCK, bytes = quant_table[t].block_bytes;
    for (size_t b = 0; b < n_block; b++)
        v_block_to_f32(t == QUANT_Q4_0, page + b * bytes, out + b * KERN_BLOCK);
}

static page_kind page_kind_of(quant_type t)
{
    return t == QUANT_F16 ? PAGE_F16 : t == QUANT_BF16 ? PAGE_BF16 : PAGE_F32;
}

static bool page_is_quantised(quant_type t)
{
    return t == QUANT_Q8_0 || t == QUANT_Q4_0;
}

/* n_token: tokens that anybody sees; V rows past them may hold anything. */
static page_view page_open(const kern_attend *a, size_t page, size_t n_token)
{
    float *k_room = a->scratch, *v_room = k_room + a->dim_k * KERN_PAGE;
    page_view p = {page_kind_of(a->k_type), page_kind_of(a->v_type), a->k_page[page],
                   a->v_in_k ? NULL : a->v_page[page]};
    if (page_is_quantised(a->k_type)) {
        k_page_to_f32(a->k_type, p.k, a->dim_k, k_room);
        p.k = k_room;
    }
    if (!a->v_in_k && page_is_quantised(a->v_type)) {
        v_page_to_f32(a->v_type, p.v, a->dim_v, n_token, v_room);
        p.v = v_room;
    }
    return p;
}

/* ---- scores ---- */

/* score[c][t] of n queries (constant): the dot product over dims in their order. */
V_INLINE void scores_of(page_kind kind, const void *k, size_t dim, const float *const *q, size_t n,
                        float score[ATTEND_QUERIES][KERN_PAGE])
{
    for (size_t t = 0; t < KERN_PAGE; t += ATTEND_STRIP * V_N) {
        vf acc[ATTEND_QUERIES][ATTEND_STRIP];
        V_UNROLL for (size_t j = 0; j < n * ATTEND_STRIP; j++)
            acc[j / ATTEND_STRIP][j % ATTEND_STRIP] = (vf){0};
        for (size_t i = 0; i < dim; i++) {
            vf key[ATTEND_STRIP];
            V_UNROLL for (size_t s = 0; s < ATTEND_STRIP; s++) key[s] =
                page_load(kind, k, i * KERN_PAGE + t + s * V_N);
            V_UNROLL for (size_t c = 0; c < n; c++)
            {
                const vf x = v_set(q[c][i]);
                V_UNROLL for (size_t s = 0; s < ATTEND_STRIP; s++) acc[c][s] =
                    v_fma(x, key[s], acc[c][s]);
            }
        }
        V_UNROLL for (size_t j = 0; j < n * ATTEND_STRIP; j++)
            v_store(&score[j / ATTEND_STRIP][t + j % ATTEND_STRIP * V_N],
                    acc[j / ATTEND_STRIP][j % ATTEND_STRIP]);
    }
}

/* ---- values ---- */

/* o[c] += sum of p[c][t] * v[t] for dims [i, i + n_vec * V_N). */
V_INLINE void values_strip(page_kind kind, const void *v, size_t dim, size_t i, page_span s,
                           const float p[ATTEND_QUERIES][KERN_PAGE], float *const *o, size_t n,
                           size_t n_vec)
{
    vf acc[ATTEND_QUERIES][ATTEND_STRIP];
    V_UNROLL for (size_t j = 0; j < n * n_vec; j++) acc[j / n_vec][j % n_vec] =
        v_load(o[j / n_vec] + i + j % n_vec * V_N);
    for (size_t t = s.t0; t < s.t1; t++) {
        vf val[ATTEND_STRIP];
        V_UNROLL for (size_t k = 0; k < n_vec; k++) val[k] =
            page_load(kind, v, t * dim + i + k * V_N);
        V_UNROLL for (size_t c = 0; c < n; c++)
        {
            const vf x = v_set(p[c][t]);
            V_UNROLL for (size_t k = 0; k < n_vec; k++) acc[c][k] = v_fma(x, val[k], acc[c][k]);
        }
    }
    V_UNROLL for (size_t j = 0; j < n * n_vec; j++)
        v_store(o[j / n_vec] + i + j % n_vec * V_N, acc[j / n_vec][j % n_vec]);
}

V_INLINE void values_of(page_kind kind, const void *v, size_t dim, page_span s,
                        const float p[ATTEND_QUERIES][KERN_PAGE], float *const *o, size_t n)
{
    size_t i = 0;
    for (; i + ATTEND_STRIP * V_N <= dim; i += ATTEND_STRIP * V_N)
        values_strip(kind, v, dim, i, s, p, o, n, ATTEND_STRIP);
    for (; i < dim; i += V_N)
        values_strip(kind, v, dim, i, s, p, o, n, 1);
}

/* V inside K (MLA): tokens are in lanes, so each dim is a sum over lanes. What lies behind the
 * tokens that the query sees may be anything: it is masked, not multiplied by 0. */
static void values_in_k(page_kind kind, const void *k, size_t dim, page_span s,
                        const float p[KERN_PAGE], float *o)
{
    float seen[KERN_PAGE];
    for (size_t t = 0; t < KERN_PAGE; t++)
        seen[t] = t >= s.t0 && t < s.t1 ? 1.0f : 0.0f;
    for (size_t i = 0; i < dim; i++) {
        vf acc = {0};
        for (size_t t = 0; t < KERN_PAGE; t += V_N) {
            const vi mask = (vi)(v_load(seen + t) > 0.5f);
            const vf key = v_select(mask, page_load(kind, k, i * KERN_PAGE + t), (vf){0});
            acc = v_fma(v_load(p + t), key, acc);
        }
        o[i] += v_sum(acc);
    }
}

/* ---- instances: kinds of page and numbers of queries ---- */

typedef void scores_fn(const void *k, size_t dim, const float *const *q,
                       float score[ATTEND_QUERIES][KERN_PAGE]);
typedef void values_fn(const void *v, size_t dim, page_span s,
                       const float p[ATTEND_QUERIES][KERN_PAGE], float *const *o);

#define ATTEND_N 1
#include "kern/lanes/attend_n.inc.h"
#define ATTEND_N 2
#include "kern/lanes/attend_n.inc.h"
#if ATTEND_QUERIES == 4
#define ATTEND_N 3
#include "kern/lanes/attend_n.inc.h"
#define ATTEND_N 4
#include "kern/lanes/attend_n.inc.h"
#endif

static scores_fn *const attend_scores[ATTEND_QUERIES + 1][3] = {
    {NULL, NULL, NULL},
    {scores_f32_1, scores_f16_1, scores_bf16_1},
    {scores_f32_2, scores_f16_2, scores_bf16_2},
#if ATTEND_QUERIES == 4
    {scores_f32_3, scores_f16_3, scores_bf16_3},
    {scores_f32_4, scores_f16_4, scores_bf16_4},
#endif
};
static values_fn *const attend_values[ATTEND_QUERIES + 1][3] = {
    {NULL, NULL, NULL},
    {values_f32_1, values_f16_1, values_bf16_1},
    {values_f32_2, values_f16_2, values_bf16_2},
#if ATTEND_QUERIES == 4
    {values_f32_3, values_f16_3, values_bf16_3},
    {values_f32_4, values_f16_4, values_bf16_4},
#endif
};

/* ---- softmax, and the walk ---- */

static page_span span_of(const kern_attend *a, size_t page, size_t row)
{
    const int64_t first = (int64_t)((a->page0 + page) * KERN_PAGE);
    int64_t t0 = a->lo[row] - first, t1 = a->hi[row] - first;
    t0 = t0 < 0 ? 0 : t0;
    t1 = t1 > KERN_PAGE ? KERN_PAGE : t1;
    return t0 < t1 ? (page_span){(size_t)t0, (size_t)t1} : (page_span){0, 0};
}

/* score becomes exp(score - m) for the tokens of s and 0 elsewhere; m, l and o are carried over. */
static void soften(const kern_attend *a, page_span s, size_t query, float score[KERN_PAGE])
{
    vf max = v_set(a->m[query]);
    for (size_t t = 0; t < KERN_PAGE; t += V_N) {
        vf x = v_load(score + t) * a->scale;
        if (a->softcap > 0)
            x = v_tanh(x / a->softcap) * a->softcap;
        v_store(score + t, x);
    }
    for (size_t t = 0; t < KERN_PAGE; t++)
        if (t < s.t0 || t >= s.t1)
            score[t] = -INFINITY;
    for (size_t t = 0; t < KERN_PAGE; t += V_N)
        max = v_max(v_load(score + t), max);
    const vf m = v_set(v_largest(max));
    const float keep = v_first(v_exp(v_set(a->m[query]) - m));
    vf sum = {0};
    for (size_t t = 0; t < KERN_PAGE; t += V_N) {
        const vf p = v_exp(v_load(score + t) - m);
        v_store(score + t, p);
        sum += p;
    }
    float *o = a->o + query * a->dim_v;
    for (size_t i = 0; i < a->dim_v; i += V_N)
        v_store(o + i, v_load(o + i) * keep);
    a->l[query] = a->l[query] * keep + v_sum(sum);
    a->m[query] = v_first(m);
}

/* Queries [q0, q0 + n), which all see the tokens of s. */
static void attend_chunk(const kern_attend *a, const page_view *p, page_span s, size_t q0, size_t n)
{
    float score[ATTEND_QUERIES][KERN_PAGE];
    const float *q[ATTEND_QUERIES] = {0};
    float *o[ATTEND_QUERIES] = {0};
    for (size_t c = 0; c < n; c++) {
        const size_t row = (q0 + c) / a->n_group, g = (q0 + c) % a->n_group;
        q[c] = a->q + row * a->q_ld + g * a->dim_k;
        o[c] = a->o + (q0 + c) * a->dim_v;
    }
    attend_scores[n][p->k_kind](p->k, a->dim_k, q, score);
    for (size_t c = 0; c < n; c++)
        soften(a, s, q0 + c, score[c]);
    if (!a->v_in_k) {
        attend_values[n][p->v_kind](p->v, a->dim_v, s, (const float(*)[KERN_PAGE])score, o);
        return;
    }
    for (size_t c = 0; c < n; c++)
        values_in_k(p->k_kind, p->k, a->dim_v, s, score[c], o[c]);
}

/* How many queries from q0 on see the same tokens of the page, at most ATTEND_QUERIES. */
static size_t chunk_of(const kern_attend *a, size_t page, size_t q0, page_span s)
{
    const size_t n_query = a->n_row * a->n_group;
    size_t n = 1;
    while (n < ATTEND_QUERIES && q0 + n < n_query) {
        const page_span next = span_of(a, page, (q0 + n) / a->n_group);
        if (next.t0 != s.t0 || next.t1 != s.t1)
            break;
        n++;
    }
    return n;
}

static void attend_one_page(const kern_attend *a, size_t page)
{
    size_t n_token = 0;
    for (size_t row = 0; row < a->n_row; row++) {
        const page_span s = span_of(a, page, row);
        n_token = s.t1 > n_token ? s.t1 : n_token;
    }
    if (n_token == 0)
        return;
    const page_view view = page_open(a, page, n_token);
    for (size_t q0 = 0; q0 < a->n_row * a->n_group;) {
        const page_span s = span_of(a, page, q0 / a->n_group);
        const size_t n = chunk_of(a, page, q0, s);
        if (s.t0 < s.t1)
            attend_chunk(a, &view, s, q0, n);
        q0 += n;
    }
}

static void lane_attend(const kern_attend *a)
{
    if (a->dim_v % V_N) { /* heads of odd sizes stay with the reference */
        ref_attend(a);
        return;
    }
    for (size_t query = 0; query < a->n_row * a->n_group; query++) {
        a->m[query] = -INFINITY;
        a->l[query] = 0;
    }
    memset(a->o, 0, a->n_row * a->n_group * a->dim_v * sizeof(float));
    for (size_t page = 0; page < a->n_page; page++)
        attend_one_page(a, page);
}

static size_t lane_attend_scratch_bytes(size_t dim_k, size_t dim_v, size_t n_query)
{
    (void)n_query;
    return (dim_k + dim_v) * KERN_PAGE * sizeof(float);
}

static void lane_init_attend(kern_table *k)
{
    k->attend = lane_attend;
    k->attend_scratch_bytes = lane_attend_scratch_bytes;
}
