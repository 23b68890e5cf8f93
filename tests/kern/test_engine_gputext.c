/* The kernel text for GPUs, compiled by a C compiler and run over an emulated grid: its values are
 * the format's bit for bit, its sums are within what float additions may round, a row gives the
 * same bits in any company, and no read leaves the arrays. What Metal and CUDA make of the same
 * text is for the self-test on the device to say. */
#include "gpu_variants.h"

#include "engine/mlx/emlx_gpu.h"
#include "quant/blocks.h"

#include "kern_data.h"

/* A product: memory of exact size, so that checks of reads bite. */
typedef struct product {
    size_t n_row, n_in, n_out, row_bytes;
    uint8_t *w;
    float *x, *weights;
    void *x_dev, *y_dev; /* x and y in the variant's type */
    bool is_f16;
} product;

static void product_init(product *p, const variant *v, size_t n_row, size_t n_in, size_t n_out)
{
    *p = (product){.n_row = n_row, .n_in = n_in, .n_out = n_out, .is_f16 = v->is_f16};
    p->row_bytes = quant_row_bytes(v->type, n_in);
    p->w = aligned_alloc(16, (n_out * p->row_bytes + 15) / 16 * 16);
    p->x = calloc(n_row * n_in, sizeof *p->x);
    p->weights = calloc(n_out * n_in, sizeof *p->weights);
    p->x_dev = aligned_alloc(16, n_row * n_in * sizeof(float));
    p->y_dev = malloc(n_row * n_out * sizeof(float) + n_out * n_in * sizeof(float));
    assert_true(p->w && p->x && p->weights && p->x_dev && p->y_dev);
    kern_data_blocks(v->type, p->w, n_out * n_in, (uint32_t)(n_in + n_out));
    kern_data_floats(p->x, n_row * n_in, (uint32_t)n_row);
    quant_dequant(v->type, p->w, p->weights, n_out * n_in);
    for (size_t i = 0; i < n_row * n_in; i++) {
        const uint16_t half = f16_from_f32(p->x[i]);
        if (p->is_f16) {
            p->x[i] = f16_to_f32(half);
            memcpy((uint16_t *)p->x_dev + i, &half, sizeof half);
        } else {
            memcpy((float *)p->x_dev + i, &p->x[i], sizeof(float));
        }
    }
}

static void product_done(product *p)
{
    free(p->w);
    free(p->x);
    free(p->weights);
    free(p->x_dev);
    free(p->y_dev);
}

static float y_at(const product *p, size_t i)
{
    return p->is_f16 ? f16_to_f32(((const uint16_t *)p->y_dev)[i]) : ((const float *)p->y_dev)[i];
}

/* y is filled with NaN before: what is not written never passes. */
static void product_run(const product *p, const variant *v, size_t row, size_t n_row)
{
    const size_t size = p->is_f16 ? 2 : 4;
    memset(p->y_dev, 0xFF, n_row * p->n_out * size);
    const gpu_arrays a = {.x = (const uint8_t *)p->x_dev + row * p->n_in * size,
                          .w = p->w,
                          .y = p->y_dev,
                          .x_shape = {(int)n_row, (int)p->n_in},
                          .w_shape = {(int)p->n_out, (int)p->row_bytes}};
    gpu.w = p->w;
    gpu.w_end = p->w + p->n_out * p->row_bytes;
    gpu.x = a.x;
    gpu.x_end = gpu.x + n_row * p->n_in * size;
    const size_t n_thread = (p->n_out + v->n_out - 1) / v->n_out * 32;
    gpu_run(v->gemv, &a, (unsigned)((n_thread + 127) / 128 * 128));
}

/* A lane adds n_in / 32 products to its sum, each in one rounding, and five sums follow; each
 * rounds by 2^-24 of what is below the sum of all |w x|. f16 rounds once more, by 2^-11 of the
 * result. */
static void check_product(const product *p, const variant *v)
{
    for (size_t i = 0; i < p->n_row * p->n_out; i++) {
        const size_t row = i / p->n_out, out = i % p->n_out;
        double sum = 0, all = 0;
        for (size_t k = 0; k < p->n_in; k++) {
            const double wx =
                (double)p->weights[out * p->n_in + k] * (double)p->x[row * p->n_in + k];
            sum += wx;
            all += fabs(wx);
        }
        double tol = (double)(p->n_in / 32 + 5) * 0x1p-24 * all;
        if (v->is_f16)
            tol += 0x1p-11 * fabs(sum) + 0x1p-25 + 0x1p-11 * tol;
        if (v->is_f16 && fabs(sum) + tol > 65504) { /* past the largest half: infinite, or near */
            assert_true(fabs((double)y_at(p, i)) + tol >= 65504);
            assert_true((y_at(p, i) < 0) == (sum < 0));
            continue;
        }
        TEST_NEAR(y_at(p, i), sum, tol, "%s gemv%u/%u %s: %zu x %zu x %zu, row %zu, column %zu",
                  quant_table[v->type].name, v->n_row, v->n_out, v->is_f16 ? "f16" : "f32",
                  p->n_row, p->n_in, p->n_out, row, out);
    }
}

static void test_products(void **state)
{
    (void)state;
    static const size_t ins[] = {256, 512, 768, 1280, 2304};
    static const size_t outs[] = {1, 2, 3, 5, 33};
    for (size_t i = 0; i < TEST_COUNT(variants); i++) {
        const variant *v = &variants[i];
        for (size_t k = 0; k < TEST_COUNT(ins) * TEST_COUNT(outs); k++) {
            for (size_t n_row = v->n_row / 2 + 1; n_row <= v->n_row; n_row++) {
                product p;
                product_init(&p, v, n_row, ins[k / TEST_COUNT(outs)], outs[k % TEST_COUNT(outs)]);
                product_run(&p, v, 0, n_row);
                check_product(&p, v);
                product_done(&p);
            }
        }
    }
}

/* Every variant of a format, any number of rows: a row's bits are those it has alone. */
static void test_a_row_in_any_company(void **state)
{
    (void)state;
    enum { N_IN = 1536, N_OUT = 9, N_ROW = 8 };
    float alone[N_ROW * N_OUT];
    for (size_t i = 0; i < TEST_COUNT(variants); i++) {
        const variant *v = &variants[i];
        product p;
        product_init(&p, v, N_ROW, N_IN, N_OUT);
        const variant *one = v;
        while (one->n_row != 1 || one->is_f16 != v->is_f16 || one->type != v->type)
            one = one == variants ? &variants[TEST_COUNT(variants) - 1] : one - 1;
        for (size_t row = 0; row < N_ROW; row++) {
            product_run(&p, one, row, 1);
            for (size_t n = 0; n < N_OUT; n++)
                alone[row * N_OUT + n] = y_at(&p, n);
        }
        for (size_t n_row = 1; n_row <= v->n_row; n_row++) {
            product_run(&p, v, N_ROW - n_row, n_row);
            for (size_t n = 0; n < n_row * N_OUT; n++) {
                const float got = y_at(&p, n);
                TEST_SAME_BITS(&got, &alone[(N_ROW - n_row) * N_OUT + n], 1);
            }
        }
        product_done(&p);
    }
}

/* Every value of a scale with every code, and of a minimum: 4096 random blocks have them all, which
 * the sets of seen values say. */
static void test_weights(void **state)
{
    (void)state;
    enum { N_IN = 4096, N_OUT = 257 }; /* an odd number of blocks, and rows at odd places */
    for (size_t i = 0; i < TEST_COUNT(variants); i++) {
        const variant *v = &variants[i];
        if (v->n_row > 1)
            continue;
        product p;
        product_init(&p, v, 1, N_IN, N_OUT);
        const gpu_arrays a = {.w = p.w, .y = p.y_dev, .w_shape = {N_OUT, (int)p.row_bytes}};
        gpu.w = p.w;
        gpu.w_end = p.w + N_OUT * p.row_bytes;
        memset(p.y_dev, 0xFF, (size_t)N_IN * N_OUT * sizeof(float));
        gpu_run(v->rows, &a, (N_IN * N_OUT / 32 + 127) / 128 * 128);
        for (size_t k = 0; k < (size_t)N_IN * N_OUT; k++) {
            const float want = v->is_f16 ? f16_to_f32(f16_from_f32(p.weights[k])) : p.weights[k];
            if (y_at(&p, k) != want) /* zeros of either sign are one value */
                fail_msg("%s weight %zu: %.9g, not %.9g", quant_table[v->type].name, k,
                         (double)y_at(&p, k), (double)want);
        }
        product_done(&p);
    }
}

static void see_q4_k(const struct quant_Q4_K *b, bool *seen, bool *seen_min)
{
    for (int s = 0; s < 8; s++) {
        const uint8_t *k = b->scales;
        const int sc = s < 4 ? k[s] & 63 : (k[s + 4] & 15) | k[s - 4] >> 6 << 4;
        seen_min[s < 4 ? k[s + 4] & 63 : k[s + 4] >> 4 | k[s] >> 6 << 4] = true;
        for (int l = 0; l < 32; l++)
            seen[sc * 16 + (b->qs[32 * (s / 2) + l] >> 4 * (s % 2) & 15)] = true;
    }
}

static void see_q6_k(const struct quant_Q6_K *b, bool *seen)
{
    for (int e = 0; e < 256; e++) {
        const int half = e / 128, quarter = e % 128 / 32, l = e % 32;
        const int low = b->ql[64 * half + 32 * (quarter % 2) + l] >> 4 * (quarter / 2) & 15;
        const int high = b->qh[32 * half + l] >> 2 * quarter & 3;
        seen[(uint8_t)b->scales[e / 16] * 64 + (low | high << 4)] = true;
    }
}

/* The blocks of test_weights do hold all codes. */
static void test_blocks_hold_all_codes(void **state)
{
    (void)state;
    enum { N = 4096 * 257 };
    static bool q4[64 * 16], q4_min[64], q6[256 * 64];
    uint8_t *blocks = malloc(quant_row_bytes(QUANT_Q6_K, N));
    assert_non_null(blocks);
    kern_data_blocks(QUANT_Q4_K, blocks, N, 4096 + 257);
    for (size_t i = 0; i < N / 256; i++)
        see_q4_k((const struct quant_Q4_K *)(const void *)(blocks + 144 * i), q4, q4_min);
    kern_data_blocks(QUANT_Q6_K, blocks, N, 4096 + 257);
    for (size_t i = 0; i < N / 256; i++)
        see_q6_k((const struct quant_Q6_K *)(const void *)(blocks + 210 * i), q6);
    free(blocks);
    for (size_t i = 0; i < TEST_COUNT(q4); i++)
        assert_true(q4[i]);
    for (size_t i = 0; i < TEST_COUNT(q4_min); i++)
        assert_true(q4_min[i]);
    for (size_t i = 0; i < TEST_COUNT(q6); i++)
        assert_true(q6[i]);
}

/* What the engine hands to MLX: every text has been run above, and no two share a name. */
static void test_sources(void **state)
{
    (void)state;
    static const char *const backends[] = {"metal", "cuda"};
    emlx_gpu *g = NULL;
    err_info err;
    assert_int_equal(emlx_gpu_new(NULL, NULL, "cpu", &g, &err), CAMA_ERR_UNSUPPORTED);
    for (size_t b = 0; b < 2; b++) {
        assert_int_equal(emlx_gpu_new(NULL, NULL, backends[b], &g, &err), CAMA_OK);
        for (size_t i = 0; i < EMLX_GPU_N_FORMAT * EMLX_GPU_N_VARIANT; i++) {
            const quant_type t = emlx_gpu_kernel_at(i / EMLX_GPU_N_VARIANT)->type;
            const emlx_gpu_source *s = emlx_gpu_source_at(g, t, i % EMLX_GPU_N_VARIANT);
            bool was_run = s->n_row == 0;
            for (size_t v = 0; v < TEST_COUNT(variants); v++)
                was_run |= variants[v].type == t && variants[v].n_row == s->n_row &&
                           variants[v].n_out == s->n_out && variants[v].is_f16 == s->is_f16;
            assert_true(was_run);
            for (size_t k = 0; k < i; k++) {
                const quant_type o = emlx_gpu_kernel_at(k / EMLX_GPU_N_VARIANT)->type;
                assert_string_not_equal(s->name,
                                        emlx_gpu_source_at(g, o, k % EMLX_GPU_N_VARIANT)->name);
            }
        }
        assert_true(emlx_gpu_hash(g, QUANT_Q4_K, false) != emlx_gpu_hash(g, QUANT_Q6_K, false));
        assert_true(emlx_gpu_hash(g, QUANT_Q4_K, false) != emlx_gpu_hash(g, QUANT_Q4_K, true));
        emlx_gpu_free(g);
    }
    assert_null(emlx_gpu_kernel_for(QUANT_Q4_0));
    emlx_gpu_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weights),  cmocka_unit_test(test_blocks_hold_all_codes),
        cmocka_unit_test(test_products), cmocka_unit_test(test_a_row_in_any_company),
        cmocka_unit_test(test_sources),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
