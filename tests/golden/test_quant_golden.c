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

static void test_dequant(void **state)
{
    (void)state;
    int n_checked = 0;
    for (int t = 0; t < QUANT_N_TYPE; t++) {
        /* ggml has no function for these: test_quant_formats.c checks them by hand */
        if (!quant_table[t].is_weight || t == QUANT_F32 || t == QUANT_F64)
            continue;
        check_format((quant_type)t);
        n_checked++;
    }
    assert_true(n_checked >= 27);
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
        cmocka_unit_test(test_quantize),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
