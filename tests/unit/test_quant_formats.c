#include "quant/quant.h"

#include <float.h>

#include "quant/blocks.h"
#include "quant/f16.h"
#include "test.h"

static void test_table(void **state)
{
    (void)state;
    for (int t = 0; t < QUANT_N_TYPE; t++) {
        const quant_info *info = &quant_table[t];
        assert_int_equal(quant_from_gguf(info->gguf_id), t);
        assert_int_equal(quant_from_name(info->name), t);
        assert_null(quant_gone_name(info->gguf_id));
        assert_int_equal(quant_row_bytes((quant_type)t, 3 * (size_t)info->block_n),
                         3 * info->block_bytes);
    }
    assert_string_equal(quant_table[QUANT_Q4_K].name, "Q4_K");
    assert_int_equal(quant_table[QUANT_Q4_K].gguf_id, 12);
    assert_int_equal(quant_from_name("q4_k"), QUANT_Q4_K);
    assert_int_equal(quant_from_name("Q4_K_M"), QUANT_N_TYPE);
    assert_int_equal(quant_from_name(""), QUANT_N_TYPE);
    assert_int_equal(quant_from_gguf(43), QUANT_N_TYPE);
    assert_int_equal(quant_from_gguf(UINT32_MAX), QUANT_N_TYPE);
    static const uint32_t gone[] = {4, 5, 31, 32, 33, 36, 37, 38};
    for (size_t i = 0; i < TEST_COUNT(gone); i++) {
        assert_int_equal(quant_from_gguf(gone[i]), QUANT_N_TYPE);
        assert_non_null(quant_gone_name(gone[i]));
    }
    assert_true(quant_table[QUANT_BF16].is_float && quant_table[QUANT_F64].is_float);
    assert_false(quant_table[QUANT_Q8_0].is_float || quant_table[QUANT_I32].is_float);
    assert_false(quant_table[QUANT_I32].is_weight || quant_table[QUANT_Q8_K].is_weight);
}

/* Ids and forms of the private formats say the same. */
static void test_affine(void **state)
{
    (void)state;
    static const uint32_t bits[] = {2, 3, 4, 5, 6, 8};
    static const quant_type scales[] = {QUANT_F32, QUANT_F16, QUANT_BF16};
    char text[QUANT_FORM_TEXT];
    int n = 0;
    for (size_t b = 0; b < TEST_COUNT(bits); b++)
        for (uint32_t group = 32; group <= 128; group *= 2)
            for (size_t s = 0; s < TEST_COUNT(scales); s++, n++) {
                quant_affine a;
                const quant_type t = quant_affine_type(bits[b], group, scales[s]);
                assert_true(t < QUANT_N_TYPE && quant_affine_info(t, &a));
                assert_int_equal(quant_table[t].gguf_id, 0xCA000 + bits[b] * 256 + group / 2 + s);
                assert_true(a.bits == bits[b] && a.group == group && a.scale == scales[s]);
                assert_int_equal(quant_table[t].block_n, group);
                assert_int_equal(quant_table[t].block_bytes, 2 * a.scale_bytes + a.code_bytes);
            }
    assert_int_equal(n, QUANT_A8G128_BF16 - QUANT_A2G32_F32 + 1);
    assert_int_equal(quant_affine_type(7, 64, QUANT_F16), QUANT_N_TYPE);
    assert_int_equal(quant_affine_type(4, 96, QUANT_F16), QUANT_N_TYPE);
    assert_int_equal(quant_affine_type(4, 0, QUANT_F16), QUANT_N_TYPE);
    assert_int_equal(quant_affine_type(4, 64, QUANT_Q8_0), QUANT_N_TYPE);
    assert_false(quant_affine_info(QUANT_MXFP8, NULL) || quant_affine_info(QUANT_Q4_1, NULL));
    assert_int_equal(quant_from_gguf(0xCA423), QUANT_N_TYPE);
    quant_form_text(QUANT_A3G128_F16, text);
    assert_string_equal(text, "affine 3-bit in groups of 128");
    quant_form_text(QUANT_Q4_K, text);
    assert_string_equal(text, "Q4_K");
    /* a scale or bias that is not finite is found, whatever the codes */
    uint8_t block[36] = {0};
    size_t bad;
    assert_true(quant_all_finite(QUANT_A4G64_F16, block, 64, &bad));
    block[3] = 0x7C;
    assert_false(quant_all_finite(QUANT_A4G64_F16, block, 64, &bad));
    block[3] = 0, block[1] = 0x7C; /* infinity times code 0 */
    assert_false(quant_all_finite(QUANT_A4G64_F16, block, 64, &bad));
    assert_true(quant_all_finite(QUANT_MXFP8, block + 2, 32, &bad));
    block[2] = 255;
    assert_false(quant_all_finite(QUANT_MXFP8, block + 2, 32, &bad));
    block[2] = 127, block[9] = 0xFF;
    assert_false(quant_all_finite(QUANT_MXFP8, block + 2, 32, &bad));
}

/* The formats that ggml itself cannot turn into floats. */
static void test_dequant_by_hand(void **state)
{
    (void)state;
    float out[256];
    const float f32[3] = {1.5f, -0.0f, FLT_MIN / 2};
    quant_dequant(QUANT_F32, f32, out, 3);
    TEST_SAME_BITS(out, f32, 3);
    const double f64[2] = {0.1, -3e300};
    quant_dequant(QUANT_F64, f64, out, 2);
    assert_true(out[0] == 0.1f && out[1] == -INFINITY);

    struct quant_Q8_1 a = {.d = f16_from_f32(0.5f), .s = f16_from_f32(99.0f)};
    struct quant_Q8_K b = {.d = 0.25f};
    for (int i = 0; i < 32; i++)
        a.qs[i] = (int8_t)(i * 8 - 128);
    for (int i = 0; i < 256; i++)
        b.qs[i] = (int8_t)(i - 128);
    quant_dequant(QUANT_Q8_1, &a, out, 32);
    for (int i = 0; i < 32; i++)
        assert_true(out[i] == (float)(i * 8 - 128) * 0.5f);
    quant_dequant(QUANT_Q8_K, &b, out, 256);
    for (int i = 0; i < 256; i++)
        assert_true(out[i] == (float)(i - 128) * 0.25f);
}

/* All halves there and back, and the rounding of what lies between them. */
static void test_half(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        const float f = f16_to_f32((uint16_t)h);
        const uint16_t back = f16_from_f32(f);
        if (f == f)
            assert_int_equal(back, h);
        else
            assert_int_equal(back, h | 0x200); /* quiet */
        const float g = bf16_to_f32((uint16_t)h);
        if (g == g)
            assert_int_equal(bf16_from_f32(g), h);
    }
    assert_int_equal(f16_from_f32(65519.996f), 0x7BFF);
    assert_int_equal(f16_from_f32(65520.0f), 0x7C00);
    assert_int_equal(f16_from_f32(0x1p-25f), 0); /* a tie: to even */
    assert_int_equal(f16_from_f32(0x1.000002p-25f), 1);
    assert_int_equal(f16_from_f32(0x1.8p-24f), 2); /* a tie: to even */
    assert_int_equal(f16_from_f32(1.0f + 0x1p-11f), 0x3C00);
    assert_int_equal(f16_from_f32(1.0f + 0x3p-11f), 0x3C02);
    assert_true(bf16_to_f32(bf16_from_f32(NAN)) != bf16_to_f32(bf16_from_f32(NAN)));
}

/* Random rows come back within half a step of the block's scale, or the step itself for the
 * symmetric formats of few bits, whose top code is missing on one side. */
static void test_round_trip(void **state)
{
    (void)state;
    static const struct {
        quant_type t;
        float tol; /* of the largest magnitude 4 */
    } cases[] = {{QUANT_Q4_0, 4.0f / 8},       {QUANT_Q5_0, 4.0f / 16},
                 {QUANT_Q4_1, 8.0f / 15 / 2},  {QUANT_Q5_1, 8.0f / 31 / 2},
                 {QUANT_Q8_0, 4.0f / 127 / 2}, {QUANT_F16, 0x1p-9f / 2},
                 {QUANT_BF16, 0x1p-6f / 2},    {QUANT_F32, 0.0f}};
    float x[512];
    float y[512];
    uint8_t blocks[sizeof x];
    srand(7);
    for (size_t i = 0; i < TEST_COUNT(x); i++)
        x[i] = 8.0f * (float)rand() / (float)RAND_MAX - 4.0f;
    for (size_t k = 0; k < TEST_COUNT(cases); k++) {
        assert_int_equal(quant_quantize(cases[k].t, x, blocks, 512, NULL), CAMA_OK);
        quant_dequant(cases[k].t, blocks, y, 512);
        /* scale and minimum are rounded to halves: 2^-12 of what they reach, 8 and 4 */
        const float scale = quant_table[cases[k].t].is_float ? 0.0f : 12 * 0x1p-12f;
        for (size_t i = 0; i < TEST_COUNT(x); i++)
            TEST_NEAR(y[i], x[i], cases[k].tol + scale, "%s %zu", quant_table[cases[k].t].name, i);
    }
}

static void test_quantize_odd_values(void **state)
{
    (void)state;
    static const quant_type types[] = {QUANT_Q4_0, QUANT_Q4_1, QUANT_Q5_0, QUANT_Q5_1, QUANT_Q8_0};
    static const float odd[] = {NAN,     INFINITY,  -INFINITY,  FLT_MAX, -FLT_MAX,
                                FLT_MIN, 0x1p-149f, -0x1p-149f, 0.0f,    1e6f};
    float x[32];
    float y[32];
    uint8_t block[64];
    size_t bad;
    for (size_t k = 0; k < TEST_COUNT(types); k++)
        for (size_t a = 0; a < TEST_COUNT(odd); a++)
            for (size_t b = 0; b < TEST_COUNT(odd); b++) {
                for (int i = 0; i < 32; i++)
                    x[i] = i % 3 == 0 ? odd[a] : i % 3 == 1 ? odd[b] : 1.0f;
                assert_int_equal(quant_quantize(types[k], x, block, 32, NULL), CAMA_OK);
                assert_true(quant_all_finite(types[k], block, 32, &bad));
            }
    for (int i = 0; i < 32; i++)
        x[i] = i == 5 ? -INFINITY : 0.0f;
    assert_int_equal(quant_quantize(QUANT_Q8_0, x, block, 32, NULL), CAMA_OK);
    quant_dequant(QUANT_Q8_0, block, y, 32);
    assert_true(y[5] == -65504.0f * 127.0f && y[4] == 0.0f);
    x[5] = NAN;
    assert_int_equal(quant_quantize(QUANT_F16, x, block, 32, NULL), CAMA_OK);
    quant_dequant(QUANT_F16, block, y, 32);
    assert_true(y[5] != y[5]);
}

static void test_quantize_refuses(void **state)
{
    (void)state;
    float x[256] = {0};
    uint8_t block[256];
    err_info err = {0};
    assert_int_equal(quant_quantize(QUANT_Q4_K, x, block, 256, &err), CAMA_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "Q4_K"));
}

static void test_all_finite(void **state)
{
    (void)state;
    size_t bad = 99;
    struct quant_Q4_K k[3];
    memset(k, 0, sizeof k);
    assert_true(quant_all_finite(QUANT_Q4_K, k, 768, &bad));
    k[2].dmin = 0x7C00;
    assert_false(quant_all_finite(QUANT_Q4_K, k, 768, &bad));
    assert_int_equal(bad, 512);
    k[1].d = 0x7E01;
    assert_false(quant_all_finite(QUANT_Q4_K, k, 768, &bad));
    assert_int_equal(bad, 256);

    struct quant_MXFP4 m = {.e = 254};
    assert_true(quant_all_finite(QUANT_MXFP4, &m, 32, &bad));
    m.e = 255; /* its codes are all 0: the scale alone is wrong */
    assert_false(quant_all_finite(QUANT_MXFP4, &m, 32, &bad));
    const float f[2] = {1.0f, NAN};
    assert_false(quant_all_finite(QUANT_F32, f, 2, &bad));
    assert_int_equal(bad, 1);
    const int32_t i32[1] = {0x7FC00000};
    assert_true(quant_all_finite(QUANT_I32, i32, 1, &bad));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_affine),
        cmocka_unit_test(test_dequant_by_hand),
        cmocka_unit_test(test_half),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_quantize_odd_values),
        cmocka_unit_test(test_quantize_refuses),
        cmocka_unit_test(test_all_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
