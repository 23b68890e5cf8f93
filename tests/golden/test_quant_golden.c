/* Every format against libggml: blocks to floats bit for bit, and floats to blocks byte for byte,
 * on what tests/golden/make_quant.py wrote. */
#include "quant/quant.h"
#include "quant/blocks.h"
#include "test.h"

/* A whole file of tests/data/quant; the first word is its count. */
static uint8_t *read_data(const char *name, uint32_t *out_n, size_t *out_bytes)
{
    char path[512];
    (void)snprintf(path, sizeof path, TEST_DATA("quant/%s.bin"), name);
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("no %s", path);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    const long n = ftell(f);
    assert_true(n > 4);
    rewind(f);
    assert_int_equal(fread(out_n, 4, 1, f), 1);
    *out_bytes = (size_t)n - 4;
    uint8_t *data = malloc(*out_bytes);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, *out_bytes, f), *out_bytes);
    (void)fclose(f); /* only read from */
    return data;
}

static void check_format(quant_type t)
{
    const quant_info *info = &quant_table[t];
    uint32_t n_block;
    size_t n_bytes;
    uint8_t *data = read_data(info->name, &n_block, &n_bytes);
    const size_t n = (size_t)n_block * info->block_n;
    const size_t block_bytes = quant_row_bytes(t, n);
    assert_int_equal(n_bytes, block_bytes + n * sizeof(float));
    float *got = malloc(n * sizeof *got);
    assert_non_null(got);

    quant_dequant(t, data, got, n);
    for (size_t i = 0; i < n; i++) {
        uint32_t g;
        uint32_t w;
        memcpy(&g, got + i, 4);
        memcpy(&w, data + block_bytes + 4 * i, 4);
        if (g != w)
            fail_msg("%s: weight %zu of block %zu is %#x, not %#x", info->name, i % info->block_n,
                     i / info->block_n, g, w);
    }
    free(got);
    free(data);
}

/* Formats that are cama's own, for what MLX has. */
static bool is_own(quant_type t)
{
    return quant_affine_info(t, NULL) || t == QUANT_MXFP8;
}

static void test_dequant(void **state)
{
    (void)state;
    int n_checked = 0;
    for (int t = 0; t < QUANT_N_TYPE; t++) {
        /* ggml has no function for these: test_quant_formats.c checks them by hand */
        if (!quant_table[t].is_weight || t == QUANT_F32 || t == QUANT_F64 || is_own((quant_type)t))
            continue;
        check_format((quant_type)t);
        n_checked++;
    }
    assert_true(n_checked >= 27);
}

/* One record of affine.bin at p, which has n bytes: what follows it. */
static const uint8_t *check_own(const uint8_t *p, const uint8_t *end)
{
    uint32_t head[2];
    uint8_t blocks[4 * 272], codes[4 * 128], scales[4 * 4], biases[4 * 4];
    float got[4 * 128];
    quant_affine a = {.code_bytes = 32, .scale_bytes = 1};
    assert_true(end - p >= 8);
    memcpy(head, p, sizeof head);
    const quant_type t = quant_from_gguf(head[0]);
    assert_true(t < QUANT_N_TYPE && is_own(t) && head[1] == 4);
    const bool affine = quant_affine_info(t, &a);
    const uint8_t *c = p + 8, *s = c + 4 * a.code_bytes, *b = s + 4 * a.scale_bytes;
    const uint8_t *want = affine ? b + 4 * a.scale_bytes : b;
    const size_t n = 4 * (size_t)quant_table[t].block_n;
    assert_true((size_t)(end - want) >= n * sizeof *got);
    if (affine) {
        quant_affine_pack(t, 4, c, s, b, blocks);
        quant_affine_unpack(t, 4, blocks, codes, scales, biases);
        assert_memory_equal(codes, c, 4 * a.code_bytes);
        assert_memory_equal(scales, s, 4 * a.scale_bytes);
        assert_memory_equal(biases, b, 4 * a.scale_bytes);
    }
    for (size_t i = 0; !affine && i < 4; i++) {
        blocks[33 * i] = s[i];
        memcpy(blocks + 33 * i + 1, c + 32 * i, 32);
    }
    quant_dequant(t, blocks, got, n);
    for (size_t i = 0; i < n; i++) {
        float w;
        memcpy(&w, want + 4 * i, 4);
        if (memcmp(&got[i], &w, 4) != 0 && !(got[i] == 0 && w == 0))
            fail_msg("%s: weight %zu is %.9g, not %.9g", quant_table[t].name, i, got[i], w);
    }
    return want + n * sizeof *got;
}

/* The affine forms and mxfp8: the values that mlx.core.dequantize gives, bit for bit. */
static void test_own_formats(void **state)
{
    (void)state;
    uint32_t first;
    size_t n_bytes;
    int n_checked = 0;
    uint8_t *data = read_data("affine", &first, &n_bytes);
    uint8_t *whole = malloc(n_bytes + 4);
    assert_non_null(whole);
    memcpy(whole, &first, 4); /* no count stands in front */
    memcpy(whole + 4, data, n_bytes);
    const uint8_t *end = whole + n_bytes + 4;
    for (const uint8_t *p = whole; p < end; n_checked++)
        p = check_own(p, end);
    assert_int_equal(n_checked, 55);
    free(whole);
    free(data);
}

static void test_quantize(void **state)
{
    (void)state;
    static const quant_type types[] = {QUANT_F16,  QUANT_BF16, QUANT_Q4_0, QUANT_Q4_1,
                                       QUANT_Q5_0, QUANT_Q5_1, QUANT_Q8_0};
    uint32_t n;
    size_t n_bytes;
    uint8_t *data = read_data("quantize", &n, &n_bytes);
    float *x = malloc(n * sizeof *x);
    uint8_t *got = malloc(n * sizeof *x);
    assert_true(x && got);
    memcpy(x, data, n * sizeof *x);
    const uint8_t *want = data + n * sizeof *x;
    for (size_t i = 0; i < TEST_COUNT(types); i++) {
        const size_t row = quant_row_bytes(types[i], n);
        assert_int_equal(quant_quantize(types[i], x, got, n, NULL), CAMA_OK);
        for (size_t k = 0; k < row; k++)
            if (got[k] != want[k])
                fail_msg("%s: byte %zu of block %zu is %d, not %d", quant_table[types[i]].name,
                         k % quant_table[types[i]].block_bytes,
                         k / quant_table[types[i]].block_bytes, got[k], want[k]);
        want += row;
    }
    assert_ptr_equal(want, data + n_bytes);
    free(got);
    free(x);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dequant),
        cmocka_unit_test(test_own_formats),
        cmocka_unit_test(test_quantize),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
