/* Every operation of the bridge against plain C in double: shapes, math, blocks, weights. */
#include "mlx_rig.h"

/* ---- shape ---- */

/* Row-major [2, 3, 4]. */
static size_t at(size_t i, size_t j, size_t k)
{
    return (i * 3 + j) * 4 + k;
}

static void test_shapes(void **state)
{
    rig *r = *state;
    const mb_api *b = r->b;
    float x[24], got[48];
    const mb_ref a = rig_floats(r, rig_shape(3, 2, 3, 4, 0), x);
    rig_check_shape(r, b->reshape(r->m, a, rig_shape(2, 6, -1, 0, 0)), rig_shape(2, 6, 4, 0, 0),
                    MB_F32);

    static const int32_t axes[] = {2, 0, 1};
    const mb_ref t = b->transpose(r->m, a, axes, 3);
    rig_check_shape(r, t, rig_shape(3, 4, 2, 3, 0), MB_F32);
    rig_read(b, r->m, t, got, sizeof x); /* not contiguous: gathered by read */
    for (size_t i = 0; i < 2; i++)
        for (size_t j = 0; j < 3; j++)
            for (size_t k = 0; k < 4; k++)
                assert_true(got[(k * 2 + i) * 3 + j] == x[at(i, j, k)]);
    rig_read(b, r->m, b->contiguous(r->m, t), got + 24, sizeof x);
    TEST_SAME_BITS(got, got + 24, 24);

    static const int32_t from[] = {0, 1, 2}, to[] = {2, 3, 3};
    rig_read(b, r->m, b->slice(r->m, a, from, to, 3), got, 4 * sizeof *got);
    for (size_t i = 0; i < 4; i++)
        assert_true(got[i] == x[at(i / 2, 1 + i % 2, 2)]);

    float part[4];
    const mb_ref p = rig_floats(r, rig_shape(3, 2, 2, 1, 0), part);
    rig_read(b, r->m, b->slice_update(r->m, a, p, from, to, 3), got, sizeof x);
    for (size_t i = 0; i < 24; i++) {
        const bool is_new = i % 4 == 2 && i / 4 % 3 >= 1;
        assert_true(got[i] == (is_new ? part[i / 12 * 2 + i / 4 % 3 - 1] : x[i]));
    }
    const mb_ref both[] = {a, a};
    rig_read(b, r->m, b->concat(r->m, both, 2, 1), got, 2 * sizeof x);
    for (size_t i = 0; i < 48; i++)
        assert_true(got[i] == x[i / 24 * 12 + i % 12]);
    float row[4];
    const mb_ref wide =
        b->broadcast(r->m, rig_floats(r, rig_shape(1, 4, 0, 0, 0), row), rig_shape(3, 2, 3, 4, 0));
    rig_read(b, r->m, wide, got, sizeof x);
    for (size_t i = 0; i < 24; i++)
        assert_true(got[i] == row[i % 4]);
    b->reset(r->m);
}

static void test_takes(void **state)
{
    rig *r = *state;
    const mb_api *b = r->b;
    float x[24], got[48];
    const mb_ref a = rig_floats(r, rig_shape(3, 2, 3, 4, 0), x);
    static const int32_t ids[] = {2, 0, 2, 1};
    rig_read(b, r->m, b->take(r->m, a, rig_indices(r, rig_shape(1, 4, 0, 0, 0), ids), 1), got,
             32 * sizeof *got);
    for (size_t i = 0; i < 32; i++)
        assert_true(got[i] == x[at(i / 16, (size_t)ids[i / 4 % 4], i % 4)]);
    static const int32_t along[] = {3, 0, 1, 1, 2, 0, 3, 3, 0, 2, 1, 0};
    rig_read(b, r->m, b->take_along(r->m, a, rig_indices(r, rig_shape(3, 2, 3, 2, 0), along), 2),
             got, 12 * sizeof *got);
    for (size_t i = 0; i < 12; i++)
        assert_true(got[i] == x[i / 2 * 4 + (size_t)along[i]]);
    b->reset(r->m);
}

/* ---- math ---- */

static double binary(mb_binary op, double x, double y)
{
    switch (op) {
    case MB_ADD:
        return x + y;
    case MB_SUB:
        return x - y;
    case MB_MUL:
        return x * y;
    case MB_DIV:
        return x / y;
    case MB_MAX:
        return fmax(x, y);
    case MB_MIN:
        return fmin(x, y);
    case MB_LESS:
        return x < y;
    case MB_GREATER_EQ:
        return x >= y;
    case MB_EQ:
        return x == y;
    case MB_AND:
        return x != 0 && y != 0;
    case MB_N_BINARY:
        break;
    }
    return NAN;
}

static void test_binary(void **state)
{
    rig *r = *state;
    const mb_api *b = r->b;
    float x[12], y[4], got[12];
    rig_floats(r, rig_shape(2, 3, 4, 0, 0), x);
    rig_floats(r, rig_shape(1, 4, 0, 0, 0), y);
    x[0] = x[5] = 0;
    x[6] = y[2];
    const mb_ref a = b->from_host(r->m, x, rig_shape(2, 3, 4, 0, 0), MB_F32);
    const mb_ref c = b->from_host(r->m, y, rig_shape(1, 4, 0, 0, 0), MB_F32);
    for (int op = 0; op < MB_N_BINARY; op++) {
        const mb_ref out = b->binary(r->m, (mb_binary)op, a, c);
        rig_check_shape(r, out, rig_shape(2, 3, 4, 0, 0), op < MB_LESS ? MB_F32 : MB_BOOL);
        rig_read(b, r->m, b->cast(r->m, out, MB_F32), got, sizeof got);
        for (size_t i = 0; i < 12; i++) {
            const double want = binary((mb_binary)op, x[i], y[i % 4]);
            TEST_NEAR(got[i], want, rig_tol(want), "binary %d at %zu", op, i);
        }
    }
    b->reset(r->m);
}

static double unary(mb_unary op, double x)
{
    switch (op) {
    case MB_NEG:
        return -x;
    case MB_EXP:
        return exp(x);
    case MB_LOG:
        return log(x);
    case MB_LOG1P:
        return log1p(x);
    case MB_SQRT:
        return sqrt(x);
    case MB_RSQRT:
        return 1 / sqrt(x);
    case MB_SIGMOID:
        return 1 / (1 + exp(-x));
    case MB_TANH:
        return tanh(x);
    case MB_ERF:
        return erf(x);
    case MB_ABS:
        return fabs(x);
    case MB_SQUARE:
        return x * x;
    case MB_N_UNARY:
        break;
    }
    return NAN;
}

static void test_unary(void **state)
{
    rig *r = *state;
    const mb_api *b = r->b;
    float x[12], got[12];
    rig_floats(r, rig_shape(1, 12, 0, 0, 0), x);
    for (int op = 0; op < MB_N_UNARY; op++) {
        const bool is_root = op == MB_LOG || op == MB_LOG1P || op == MB_SQRT || op == MB_RSQRT;
        for (size_t i = 0; i < 12; i++)
            x[i] = is_root ? fabsf(x[i]) + 0.01f : x[i] - 0.5f;
        const mb_ref a = b->from_host(r->m, x, rig_shape(1, 12, 0, 0, 0), MB_F32);
        rig_read(b, r->m, b->unary(r->m, (mb_unary)op, a), got, sizeof got);
        for (size_t i = 0; i < 12; i++) {
            const double want = unary((mb_unary)op, x[i]);
            TEST_NEAR(got[i], want, rig_tol(want), "unary %d of %g", op, (double)x[i]);
        }
    }
    b->reset(r->m);
}

static void test_reduce(void **state)
{
    rig *r = *state;
    const mb_api *b = r->b;
    float x[24], got[6];
    const mb_ref a = rig_floats(r, rig_shape(3, 2, 3, 4, 0), x);
    for (int op = 0; op < MB_N_REDUCE; op++) {
        const mb_ref out = b->reduce(r->m, (mb_reduce)op, a, -1, true);
        rig_check_shape(r, out, rig_shape(3, 2, 3, 1, 0), op == MB_ARGMAX ? MB_U32 : MB_F32);
        rig_check_shape(r, b->reduce(r->m, (mb_reduce)op, a, 0, false), rig_shape(2, 3, 4, 0, 0),
                        op == MB_ARGMAX ? MB_U32 : MB_F32);
        rig_read(b, r->m, b->cast(r->m, out, MB_F32), got, sizeof got);
        for (size_t i = 0; i < 6; i++) {
            double sum = 0, most = -INFINITY, exps = 0, arg = 0;
            for (size_t k = 0; k < 4; k++) {
                const double v = x[4 * i + k];
                sum += v;
                exps += exp(v);
                arg = v > most ? (double)k : arg;
                most = fmax(most, v);
            }
            const double want[] = {sum, sum / 4, most, log(exps), arg};
            TEST_NEAR(got[i], want[op], rig_tol(4), "reduce %d at %zu", op, i);
        }
    }
    b->reset(r->m);
}

static void test_softmax_sort_where(void **state)
{
    rig *r = *state;
    const mb_api *b = r->b;
    float x[12], got[12];
    const mb_ref a = rig_floats(r, rig_shape(2, 3, 4, 0, 0), x);
    rig_read(b, r->m, b->softmax(r->m, a, 1), got, sizeof got);
    for (size_t i = 0; i < 12; i++) {
        double sum = 0;
        for (size_t k = 0; k < 4; k++)
            sum += exp((double)x[i / 4 * 4 + k]);
        TEST_NEAR(got[i], exp((double)x[i]) / sum, rig_tol(1), "softmax at %zu", i);
    }
    /* Precise: halves are worked out in f32. */
    const mb_ref half = b->cast(r->m, a, MB_F16);
    rig_check_shape(r, b->softmax(r->m, half, 1), rig_shape(2, 3, 4, 0, 0), MB_F16);

    static const float ties[] = {3, 1, 3, 1, 2, 1};
    static const uint32_t order[] = {1, 3, 5, 4, 0, 2};
    uint32_t ids[6];
    const mb_ref t = b->from_host(r->m, ties, rig_shape(1, 6, 0, 0, 0), MB_F32);
    const mb_ref sorted = b->argsort(r->m, t, 0);
    rig_check_shape(r, sorted, rig_shape(1, 6, 0, 0, 0), MB_U32);
    rig_read(b, r->m, sorted, ids, sizeof ids);
    TEST_SAME_BITS(ids, order, 6);

    const mb_ref zero = b->scalar(r->m, 0, MB_F32);
    const mb_ref relu = b->where(r->m, b->binary(r->m, MB_LESS, a, zero), zero, a);
    rig_read(b, r->m, relu, got, sizeof got);
    for (size_t i = 0; i < 12; i++)
        assert_true(got[i] == fmaxf(x[i], 0));
    b->reset(r->m);
}

/* ---- blocks ---- */

static void test_norms(void **state)
{
    rig *r = *state;
    const mb_api *b = r->b;
    enum { N = 3, D = 32 };
    float x[N * D], w[D], c[D], got[N * D];
    const mb_ref a = rig_floats(r, rig_shape(2, N, D, 0, 0), x);
    const mb_ref wr = rig_floats(r, rig_shape(1, D, 0, 0, 0), w);
    const mb_ref cr = rig_floats(r, rig_shape(1, D, 0, 0, 0), c);
    const float eps = 1e-3f;
    for (int kind = 0; kind < 5; kind++) { /* rms, rms weighted, layer, weighted, and biased */
        const bool is_layer = kind >= 2, has_w = kind == 1 || kind >= 3, has_c = kind == 4;
        const mb_ref out = is_layer ? b->layer_norm(r->m, a, has_w ? wr : 0, has_c ? cr : 0, eps)
                                    : b->rms_norm(r->m, a, has_w ? wr : 0, eps);
        rig_read(b, r->m, out, got, sizeof got);
        for (size_t i = 0; i < N * D; i++) {
            const float *row = x + i / D * D;
            double mean = 0, square = 0;
            for (size_t k = 0; k < D && is_layer; k++)
                mean += (double)row[k] / D;
            for (size_t k = 0; k < D; k++)
                square += ((double)row[k] - mean) * ((double)row[k] - mean) / D;
            double want = (x[i] - mean) / sqrt(square + (double)eps);
            want = want * (has_w ? (double)w[i % D] : 1) + (has_c ? (double)c[i % D] : 0);
            TEST_NEAR(got[i], want, D * rig_tol(4), "norm %d at %zu", kind, i);
        }
    }
    b->reset(r->m);
}

enum { HEADS = 4, KV_HEADS = 2, N_Q = 3, N_K = 5, DIM = 8, DIM_V = 6 };

typedef struct attend {
    float q[HEADS * N_Q * DIM], k[KV_HEADS * N_K * DIM], v[KV_HEADS * N_K * DIM_V];
    float mask[N_Q * N_K], sinks[HEADS];
} attend;

/* Row i of head h: a sink is a score without a value. */
static void attend_row(const attend *t, size_t h, size_t i, bool has_mask, bool has_sinks,
                       double scale, double out[DIM_V])
{
    double score[N_K], most = has_sinks ? (double)t->sinks[h] : -INFINITY;
    const size_t kv = h / (HEADS / KV_HEADS);
    for (size_t j = 0; j < N_K; j++) {
        score[j] = has_mask ? (double)t->mask[i * N_K + j] : 0;
        for (size_t d = 0; d < DIM; d++)
            score[j] += scale * t->q[(h * N_Q + i) * DIM + d] * t->k[(kv * N_K + j) * DIM + d];
        most = fmax(most, score[j]);
    }
    double sum = has_sinks ? exp((double)t->sinks[h] - most) : 0;
    memset(out, 0, DIM_V * sizeof *out);
    for (size_t j = 0; j < N_K; j++)
        sum += exp(score[j] - most);
    for (size_t j = 0; j < N_K; j++)
        for (size_t d = 0; d < DIM_V; d++)
            out[d] += exp(score[j] - most) / sum * t->v[(kv * N_K + j) * DIM_V + d];
}

static void test_attention(void **state)
{
    rig *r = *state;
    const mb_api *b = r->b;
    static attend t;
    static float got[HEADS * N_Q * DIM_V];
    const mb_ref q = rig_floats(r, rig_shape(4, 1, HEADS, N_Q, DIM), t.q);
    const mb_ref k = rig_floats(r, rig_shape(4, 1, KV_HEADS, N_K, DIM), t.k);
    const mb_ref v = rig_floats(r, rig_shape(4, 1, KV_HEADS, N_K, DIM_V), t.v);
    const mb_ref sinks = rig_floats(r, rig_shape(1, HEADS, 0, 0, 0), t.sinks);
    uint8_t seen[N_Q * N_K];
    for (size_t i = 0; i < N_Q * N_K; i++) {
        seen[i] = i % N_K <= i / N_K + 2;
        t.mask[i] = seen[i] ? 0 : -INFINITY;
    }
    const mb_shape mask_shape = rig_shape(4, 1, 1, N_Q, N_K);
    const mb_ref masks[] = {0, b->from_host(r->m, t.mask, mask_shape, MB_F32),
                            b->from_host(r->m, seen, mask_shape, MB_BOOL)};
    for (size_t kind = 0; kind < 6; kind++) {
        const bool has_sinks = kind >= 3;
        const float scale = 0.25f;
        const mb_ref out =
            b->attention(r->m, q, k, v, scale, masks[kind % 3], has_sinks ? sinks : 0);
        rig_read(b, r->m, out, got, sizeof got);
        for (size_t row = 0; row < HEADS * N_Q; row++) {
            double want[DIM_V];
            attend_row(&t, row / N_Q, row % N_Q, kind % 3 != 0, has_sinks, (double)scale, want);
            for (size_t d = 0; d < DIM_V; d++)
                TEST_NEAR(got[row * DIM_V + d], want[d], N_K * rig_tol(4), "attention %zu row %zu",
                          kind, row);
        }
    }
    b->reset(r->m);
}

/* ---- weights ---- */

enum { N_OUT = 6, N_IN = 64, N_EXPERT = 3, N_TOKEN = 2, N_USED = 2 };

/* A random affine weight of 4 bits in groups of 32, [n_row, N_IN], and its values. */
static mb_weight affine(rig *r, int32_t n_expert, float *values)
{
    enum { GROUPS = N_IN / 32, WORDS = N_IN / 8 };
    static uint32_t w[N_EXPERT * N_OUT * WORDS];
    static float s[N_EXPERT * N_OUT * GROUPS], c[N_EXPERT * N_OUT * GROUPS];
    const int32_t n_row = n_expert * N_OUT;
    for (int32_t i = 0; i < n_row * WORDS; i++)
        w[i] = rig_random(&r->random);
    for (int32_t i = 0; i < n_row * GROUPS; i++) {
        s[i] = rig_float(&r->random) / 8;
        c[i] = rig_float(&r->random);
    }
    for (int32_t i = 0; i < n_row * N_IN; i++) {
        const float code = (float)(w[i / 8] >> 4 * (i % 8) & 15);
        values[i] = s[i / 32] * code + c[i / 32];
    }
    const int32_t n_dim = n_expert > 1 ? 3 : 2;
    const mb_shape ws =
        n_dim == 3 ? rig_shape(3, n_expert, N_OUT, WORDS, 0) : rig_shape(2, N_OUT, WORDS, 0, 0);
    const mb_shape ss =
        n_dim == 3 ? rig_shape(3, n_expert, N_OUT, GROUPS, 0) : rig_shape(2, N_OUT, GROUPS, 0, 0);
    return (mb_weight){.form = MB_AFFINE,
                       .bits = 4,
                       .group = 32,
                       .w = r->b->from_host(r->m, w, ws, MB_U32),
                       .scales = r->b->from_host(r->m, s, ss, MB_F32),
                       .biases = r->b->from_host(r->m, c, ss, MB_F32)};
}

static mb_weight dense(rig *r, int32_t n_expert, float *values)
{
    const mb_shape shape =
        n_expert > 1 ? rig_shape(3, n_expert, N_OUT, N_IN, 0) : rig_shape(2, N_OUT, N_IN, 0, 0);
    return (mb_weight){.form = MB_DENSE, .w = rig_floats(r, shape, values)};
}

static double dot(const float *x, const float *y, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)y[i];
    return sum;
}

static void test_linear(void **state)
{
    rig *r = *state;
    const mb_api *b = r->b;
    float x[N_TOKEN * N_IN], w[N_OUT * N_IN], got[N_OUT * N_IN], y[N_TOKEN * N_OUT];
    const mb_ref a = rig_floats(r, rig_shape(2, N_TOKEN, N_IN, 0, 0), x);
    for (int kind = 0; kind < 2; kind++) {
        const mb_weight weight = kind ? affine(r, 1, w) : dense(r, 1, w);
        rig_read(b, r->m, b->linear(r->m, a, &weight), y, sizeof y);
        for (size_t i = 0; i < N_TOKEN * N_OUT; i++)
            TEST_NEAR(y[i], dot(x + i / N_OUT * N_IN, w + i % N_OUT * N_IN, N_IN),
                      N_IN * rig_tol(4), "linear %d at %zu", kind, i);
        rig_read(b, r->m, b->dequantize(r->m, &weight, MB_F32), got, sizeof got);
        for (size_t i = 0; i < N_OUT * N_IN; i++)
            TEST_NEAR(got[i], w[i], rig_tol(2), "dequantize %d at %zu", kind, i);
        static const int32_t ids[] = {4, 0, 4};
        const mb_ref which = rig_indices(r, rig_shape(1, 3, 0, 0, 0), ids);
        rig_read(b, r->m, b->rows(r->m, &weight, which, MB_F32), got, 3 * N_IN * sizeof *got);
        for (size_t i = 0; i < 3 * N_IN; i++)
            TEST_NEAR(got[i], w[(size_t)ids[i / N_IN] * N_IN + i % N_IN], rig_tol(2), "row %zu", i);
        rig_check_shape(r, b->rows(r->m, &weight, which, MB_F16), rig_shape(2, 3, N_IN, 0, 0),
                        MB_F16);
    }
    b->reset(r->m);
}

static void test_linear_experts(void **state)
{
    rig *r = *state;
    const mb_api *b = r->b;
    static float x[N_TOKEN * N_USED * N_IN], w[N_EXPERT * N_OUT * N_IN];
    float y[N_TOKEN * N_USED * N_OUT];
    static const int32_t ids[N_TOKEN * N_USED] = {2, 0, 1, 2};
    const mb_ref chosen = rig_indices(r, rig_shape(2, N_TOKEN, N_USED, 0, 0), ids);
    for (int kind = 0; kind < 4; kind++) { /* dense or affine; one x a token or one an expert */
        const int32_t n_x = kind / 2 ? N_USED : 1;
        const mb_ref a = rig_floats(r, rig_shape(4, N_TOKEN, n_x, 1, N_IN), x);
        const mb_weight weight = kind % 2 ? affine(r, N_EXPERT, w) : dense(r, N_EXPERT, w);
        const mb_ref out = b->linear_experts(r->m, a, &weight, chosen);
        rig_check_shape(r, out, rig_shape(4, N_TOKEN, N_USED, 1, N_OUT), MB_F32);
        rig_read(b, r->m, out, y, sizeof y);
        for (size_t i = 0; i < N_TOKEN * N_USED * N_OUT; i++) {
            const size_t pair = i / N_OUT, row = n_x == 1 ? pair / N_USED : pair;
            const float *of = w + ((size_t)ids[pair] * N_OUT + i % N_OUT) * N_IN;
            TEST_NEAR(y[i], dot(x + row * N_IN, of, N_IN), N_IN * rig_tol(4), "experts %d at %zu",
                      kind, i);
        }
    }
    b->reset(r->m);
}

static void test_matmul(void **state)
{
    rig *r = *state;
    float x[2 * 3 * 4], y[4 * 5], got[2 * 3 * 5];
    const mb_ref a = rig_floats(r, rig_shape(3, 2, 3, 4, 0), x);
    const mb_ref c = rig_floats(r, rig_shape(2, 4, 5, 0, 0), y);
    rig_read(r->b, r->m, r->b->matmul(r->m, a, c), got, sizeof got);
    for (size_t i = 0; i < TEST_COUNT(got); i++) {
        double want = 0;
        for (size_t k = 0; k < 4; k++)
            want += (double)x[i / 5 * 4 + k] * (double)y[k * 5 + i % 5];
        TEST_NEAR(got[i], want, 4 * rig_tol(4), "matmul at %zu", i);
    }
    r->b->reset(r->m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes), cmocka_unit_test(test_takes),
        cmocka_unit_test(test_binary), cmocka_unit_test(test_unary),
        cmocka_unit_test(test_reduce), cmocka_unit_test(test_softmax_sort_where),
        cmocka_unit_test(test_norms),  cmocka_unit_test(test_attention),
        cmocka_unit_test(test_linear), cmocka_unit_test(test_linear_experts),
        cmocka_unit_test(test_matmul),
    };
    return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}
