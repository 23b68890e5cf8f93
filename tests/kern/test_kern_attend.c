/* Storing keys and values and attending to them: the reference against plain arithmetic in double,
 * every tier against the reference, and the bits of a query in any company. */
#include "test.h"

#include <float.h>

#include "kern/kern.h"

#include "kern_data.h"
#include "kern_guard.h"

#define MAX_TOKENS 200
#define MAX_DIM 160
#define MAX_PAGES 4
#define MAX_QUERIES 20

typedef struct shape {
    size_t dim_k, dim_v;
    bool v_in_k;
    size_t n_row, n_group, n_token;
    int32_t window; /* 0: none */
    float softcap;
} shape;

static const shape shapes[] = {
    {64, 64, false, 1, 4, 200, 0, 0},   {64, 64, false, 5, 3, 130, 0, 0},
    {128, 128, false, 9, 1, 70, 0, 0},  {96, 96, false, 2, 8, 65, 0, 30},
    {32, 32, false, 4, 2, 64, 20, 0},   {96, 64, true, 2, 4, 100, 0, 0},
    {160, 128, true, 3, 2, 129, 50, 0}, {64, 32, false, 3, 1, 3, 0, 0},
};

typedef struct cache {
    shape s;
    quant_type type;
    guard k[MAX_PAGES], v[MAX_PAGES], scratch;
    const void *k_page[MAX_PAGES], *v_page[MAX_PAGES];
    size_t n_page;
    float key[MAX_TOKENS][MAX_DIM], value[MAX_TOKENS][MAX_DIM];
    float q[MAX_QUERIES * MAX_DIM];
    int32_t lo[MAX_QUERIES], hi[MAX_QUERIES];
} cache;

typedef struct result {
    float m[MAX_QUERIES], l[MAX_QUERIES], o[MAX_QUERIES * MAX_DIM];
} result;

static void cache_open(cache *c, const kern_table *k, const shape *s, quant_type type)
{
    *c = (cache){.s = *s, .type = type};
    c->n_page = (s->n_token + KERN_PAGE - 1) / KERN_PAGE;
    kern_data_floats(&c->key[0][0], MAX_TOKENS * MAX_DIM, 1);
    kern_data_floats(&c->value[0][0], MAX_TOKENS * MAX_DIM, 2);
    kern_data_floats(c->q, MAX_QUERIES * MAX_DIM, 3);
    for (size_t p = 0; p < c->n_page; p++) { /* what is not stored is NaN, whatever the type */
        const size_t kb = kern_page_bytes(type, s->dim_k), vb = kern_page_bytes(type, s->dim_v);
        c->k[p] = guard_new(kb, 64);
        c->v[p] = guard_new(vb, 64);
        memset(c->k[p].p, 0xFF, kb);
        memset(c->v[p].p, 0xFF, vb);
        c->k_page[p] = c->k[p].p;
        c->v_page[p] = c->v[p].p;
    }
    for (size_t t = 0; t < s->n_token; t++) {
        k->store_k(type, c->k[t / KERN_PAGE].p, t % KERN_PAGE, c->key[t], s->dim_k);
        k->store_v(type, c->v[t / KERN_PAGE].p, t % KERN_PAGE, c->value[t], s->dim_v);
    }
    for (size_t r = 0; r < s->n_row; r++) { /* the last rows of the sequence, causal */
        c->hi[r] = (int32_t)(s->n_token - s->n_row + r + 1);
        c->lo[r] = s->window && c->hi[r] > s->window ? c->hi[r] - s->window : 0;
    }
    c->scratch = guard_new(k->attend_scratch_bytes(s->dim_k, s->dim_v, s->n_row * s->n_group), 64);
}

static void cache_close(cache *c)
{
    for (size_t p = 0; p < c->n_page; p++) {
        guard_free(&c->k[p]);
        guard_free(&c->v[p]);
    }
    guard_free(&c->scratch);
}

/* Rows [row0, row0 + n_row) of the shape; group_step queries of each, from group0 on. */
static void attend(const kern_table *k, cache *c, size_t row0, size_t n_row, result *out)
{
    const shape *s = &c->s;
    const size_t q_ld = s->n_group * s->dim_k;
    k->attend(&(kern_attend){.k_type = c->type,
                             .v_type = c->type,
                             .dim_k = s->dim_k,
                             .dim_v = s->dim_v,
                             .v_in_k = s->v_in_k,
                             .n_row = n_row,
                             .n_group = s->n_group,
                             .q = c->q + row0 * q_ld,
                             .q_ld = q_ld,
                             .k_page = c->k_page,
                             .v_page = c->v_page,
                             .page0 = 0,
                             .n_page = c->n_page,
                             .lo = c->lo + row0,
                             .hi = c->hi + row0,
                             .scale = 0.125f,
                             .softcap = s->softcap,
                             .m = out->m,
                             .l = out->l,
                             .o = out->o,
                             .scratch = c->scratch.p});
}

/* What F32 pages must give, to the last digit that float can hold. */
static double exact(const cache *c, size_t query, size_t i)
{
    const shape *s = &c->s;
    const size_t row = query / s->n_group;
    double score[MAX_TOKENS], max = -INFINITY, sum = 0, out = 0;
    for (int32_t t = c->lo[row]; t < c->hi[row]; t++) {
        double dot = 0;
        for (size_t d = 0; d < s->dim_k; d++)
            dot += (double)c->q[query * s->dim_k + d] * c->key[t][d];
        score[t] = dot * 0.125;
        if (s->softcap > 0)
            score[t] = tanh(score[t] / s->softcap) * s->softcap;
        max = fmax(max, score[t]);
    }
    for (int32_t t = c->lo[row]; t < c->hi[row]; t++) {
        const double p = exp(score[t] - max);
        sum += p;
        out += p * (double)(s->v_in_k ? c->key[t][i] : c->value[t][i]);
    }
    return out / sum;
}

static void reference_is_softmax(void **state)
{
    (void)state;
    static cache c;
    static result r;
    kern_table k;
    kern_init(&k, 0);
    for (size_t i = 0; i < TEST_COUNT(shapes); i++) {
        cache_open(&c, &k, &shapes[i], QUANT_F32);
        attend(&k, &c, 0, c.s.n_row, &r);
        for (size_t q = 0; q < c.s.n_row * c.s.n_group; q++) {
            float out[MAX_DIM];
            const float *o = r.o + q * c.s.dim_v;
            k.attend_merge(&o, &r.m[q], &r.l[q], 1, NULL, c.s.dim_v, out);
            for (size_t d = 0; d < c.s.dim_v; d++)
                TEST_NEAR(out[d], exact(&c, q, d), 3e-5, "shape %zu query %zu dim %zu", i, q, d);
        }
        cache_close(&c);
    }
}

static const quant_type types[] = {QUANT_F32, QUANT_F16, QUANT_BF16, QUANT_Q8_0, QUANT_Q4_0};

/* Pages stored by the tier, then attended to by both. */
static void near_reference(const kern_table *k, const kern_table *ref, const shape *s, quant_type t)
{
    static cache c;
    static result got, want;
    cache_open(&c, k, s, t);
    attend(k, &c, 0, s->n_row, &got);
    attend(ref, &c, 0, s->n_row, &want);
    /* scores up to 8 * dim * |q||k|/8: their rounding is an absolute error of the exponent */
    const double rel = (double)(s->dim_k + s->n_token) * FLT_EPSILON * 16;
    for (size_t q = 0; q < s->n_row * s->n_group; q++) {
        TEST_NEAR(got.m[q], want.m[q], rel * (fabs(want.m[q]) + 1), "%s m", k->tier);
        TEST_NEAR(got.l[q], want.l[q], rel * want.l[q], "%s l", k->tier);
        for (size_t i = 0; i < s->dim_v; i++)
            TEST_NEAR(got.o[q * s->dim_v + i], want.o[q * s->dim_v + i], rel * want.l[q] * 8,
                      "%s %s query %zu dim %zu", k->tier, quant_table[t].name, q, i);
    }
    cache_close(&c);
}

/* A row alone has the bits that it has among the others. */
static void same_bits(const kern_table *k, const shape *s, quant_type t)
{
    static cache c;
    static result all, one;
    cache_open(&c, k, s, t);
    attend(k, &c, 0, s->n_row, &all);
    for (size_t r = 0; r < s->n_row; r++) {
        attend(k, &c, r, 1, &one);
        TEST_SAME_BITS(one.m, all.m + r * s->n_group, s->n_group);
        TEST_SAME_BITS(one.l, all.l + r * s->n_group, s->n_group);
        TEST_SAME_BITS(one.o, all.o + r * s->n_group * s->dim_v, s->n_group * s->dim_v);
    }
    cache_close(&c);
}

static void every_tier(void **state)
{
    (void)state;
    uint32_t tiers[8];
    kern_table ref;
    const size_t n = kern_tiers(tiers);
    kern_init(&ref, 0);
    for (size_t i = 0; i < n; i++) {
        kern_table k;
        kern_init(&k, tiers[i]);
        for (size_t t = 0; t < TEST_COUNT(types); t++)
            for (size_t s = 0; s < TEST_COUNT(shapes); s++) {
                near_reference(&k, &ref, &shapes[s], types[t]);
                same_bits(&k, &shapes[s], types[t]);
            }
    }
}

/* Pages in two spans, merged, are the pages in one; a sink takes its share. */
static void spans_merge(void **state)
{
    (void)state;
    float o[2][4] = {{2, 4, 6, 8}, {1, 1, 1, 1}}, out[4];
    const float *rows[2] = {o[0], o[1]};
    const float m[2] = {1, 3}, l[2] = {2, 0.5f}, sink = 2;
    kern_table k;
    kern_init(&k, kern_cpu_detect());
    const double w0 = exp(1 - 3), ws = exp(2 - 3);
    k.attend_merge(rows, m, l, 2, NULL, 4, out);
    for (int i = 0; i < 4; i++)
        TEST_NEAR(out[i], (o[0][i] * w0 + 1) / (2 * w0 + 0.5), 1e-6, "merge %d", i);
    k.attend_merge(rows, m, l, 2, &sink, 4, out);
    for (int i = 0; i < 4; i++)
        TEST_NEAR(out[i], (o[0][i] * w0 + 1) / (2 * w0 + 0.5 + ws), 1e-6, "sink %d", i);
    const float none[2] = {-INFINITY, -INFINITY}, zero[2] = {0, 0};
    k.attend_merge(rows, none, zero, 2, NULL, 4, out);
    for (int i = 0; i < 4; i++)
        assert_true(out[i] == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference_is_softmax),
        cmocka_unit_test(every_tier),
        cmocka_unit_test(spans_merge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
