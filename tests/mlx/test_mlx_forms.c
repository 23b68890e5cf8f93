/* Every form that emlx_forms claims, against the real library: what MLX makes of a repacked tensor
 * is what quant_dequant makes of the tensor, with a difference of 0; and its products with
 * activations are those of the values, within what sums in f32 may lose. */
#include "engine/mlx/emlx_forms.h"
#include "mlx_rig.h"
#include "quant/f16.h"

enum { N_ROW = 64, N_COL = 1024, N_X = 3 };

/* Random bytes, until all weights are finite and none is larger than `limit`. */
static void random_block(rig *r, quant_type t, float limit, uint8_t *out)
{
    const quant_info *q = &quant_table[t];
    float w[256];
    for (bool is_fit = false; !is_fit;) {
        size_t bad;
        for (size_t i = 0; i < q->block_bytes; i++)
            out[i] = (uint8_t)rig_random(&r->random);
        is_fit = quant_all_finite(t, out, q->block_n, &bad) &&
                 !(t == QUANT_NVFP4 && memchr(out, 0xFF, 4)); /* a test of its own */
        if (is_fit)
            quant_dequant(t, out, w, q->block_n);
        for (size_t i = 0; is_fit && i < q->block_n; i++)
            is_fit = fabsf(w[i]) <= limit;
    }
}

static uint8_t *random_tensor(rig *r, quant_type t, float limit)
{
    const quant_info *q = &quant_table[t];
    const size_t n_block = (size_t)N_ROW * N_COL / q->block_n;
    uint8_t *blocks = malloc(n_block * q->block_bytes);
    assert_non_null(blocks);
    for (size_t i = 0; i < n_block; i++) {
        _Alignas(8) uint8_t block[512];
        random_block(r, t, limit, block);
        memcpy(blocks + i * q->block_bytes, block, q->block_bytes);
    }
    return blocks;
}

static mb_weight to_mlx(rig *r, const emlx_form *f, const emlx_packed *p)
{
    const mb_shape w = {2, {(int32_t)p->n_row, (int32_t)p->n_word}};
    const mb_shape s = {2, {(int32_t)p->n_row, (int32_t)p->n_scale}};
    mb_weight out = {.form = f->form, .bits = f->bits, .group = f->group};
    out.w = r->b->from_host(r->m, p->w, w, p->w_type);
    if (p->scales)
        out.scales = r->b->from_host(r->m, p->scales, s, p->scale_type);
    if (p->biases)
        out.biases = r->b->from_host(r->m, p->biases, s, p->scale_type);
    return out;
}

static double bias_at(const emlx_packed *p, size_t row, size_t col)
{
    const size_t i = row * p->n_scale + col / (N_COL / (p->n_scale ? p->n_scale : 1));
    uint16_t h;
    if (!p->biases)
        return 0;
    memcpy(&h, (const uint8_t *)p->biases + 2 * i, sizeof h);
    return p->scale_type == MB_F16 ? f16_to_f32(h) : ((const float *)p->biases)[i];
}

/* MLX adds n products in f32; a weight is scale * code + bias before, whose terms may be larger
 * than it: |scale * code| <= |weight| + |bias|. */
static void check_product(rig *r, const mb_weight *w, const emlx_packed *p, const float *want,
                          const char *name)
{
    static float x[N_X * N_COL], got[N_X * N_ROW];
    for (size_t i = 0; i < N_X * N_COL; i++)
        x[i] = rig_float(&r->random);
    const mb_ref ref = r->b->from_host(r->m, x, rig_shape(2, N_X, N_COL, 0, 0), MB_F32);
    rig_read(r->b, r->m, r->b->linear(r->m, ref, w), got, sizeof got);
    for (size_t i = 0; i < N_X * N_ROW; i++) {
        const size_t row = i % N_ROW;
        double sum = 0, size = 0;
        for (size_t c = 0; c < N_COL; c++) {
            const double xc = x[i / N_ROW * N_COL + c], wc = want[row * N_COL + c];
            sum += xc * wc;
            size += fabs(xc) * (fabs(wc) + 2 * fabs(bias_at(p, row, c)));
        }
        TEST_NEAR(got[i], sum, (N_COL + 4) * (double)FLT_EPSILON * size, "%s, product %zu", name,
                  i);
    }
}

static void check_type(rig *r, quant_type t, bool allow_f16, float limit)
{
    static float want[N_ROW * N_COL], got[N_ROW * N_COL];
    const char *name = quant_table[t].name;
    err_info err = {0};
    emlx_form f;
    emlx_packed p;
    uint8_t *blocks = random_tensor(r, t, limit);
    const emlx_rows rows = {blocks, quant_row_bytes(t, N_COL), N_ROW, N_COL};
    quant_dequant(t, blocks, want, N_ROW * N_COL);

    assert_int_equal(emlx_form_of(t, N_COL, allow_f16, &f), CAMA_OK);
    assert_int_equal(emlx_repack(&f, &rows, &p, &err), CAMA_OK);
    if (limit < 200 && f.scale_type == MB_F16 && !quant_affine_info(t, NULL))
        assert_int_equal(p.scale_type, MB_F16); /* it fits, so it must have been taken */
    const mb_weight w = to_mlx(r, &f, &p);
    rig_read(r->b, r->m, r->b->dequantize(r->m, &w, MB_F32), got, sizeof got);
    for (size_t i = 0; i < N_ROW * N_COL; i++)
        TEST_NEAR(got[i], want[i], 0, "%s%s, weight %zu", name, allow_f16 ? " f16" : "", i);
    if (limit < 200)
        check_product(r, &w, &p, want, name);
    emlx_packed_done(&p);
    free(blocks);
    r->b->reset(r->m);
}

static void test_every_form_is_exact(void **state)
{
    rig *r = *state;
    for (int t = 0; t < QUANT_N_TYPE; t++) {
        emlx_form f;
        if (!quant_table[t].is_weight) {
            assert_int_equal(emlx_form_of((quant_type)t, N_COL, true, &f), CAMA_ERR_UNSUPPORTED);
            continue;
        }
        check_type(r, (quant_type)t, false, 100);
        check_type(r, (quant_type)t, true, 100);
        check_type(r, (quant_type)t, true, FLT_MAX); /* halves overflow: f32 must be chosen */
    }
}

static void test_scale_that_mlx_has_not(void **state)
{
    (void)state;
    uint8_t blocks[2][36] = {{0}};
    const emlx_rows rows = {blocks, 36, 2, 64};
    emlx_form f;
    emlx_packed p;
    err_info err;
    assert_int_equal(emlx_form_of(QUANT_NVFP4, 64, false, &f), CAMA_OK);
    blocks[1][2] = 0xFF;
    assert_int_equal(emlx_repack(&f, &rows, &p, &err), CAMA_ERR_UNSUPPORTED);
    assert_string_equal(err.text, "row 1: the scale 0xFF of weight 32 is none of MLX's nvfp4");
    blocks[1][2] = 0xFE;
    assert_int_equal(emlx_repack(&f, &rows, &p, &err), CAMA_OK);
    emlx_packed_done(&p);
}

/* What a caller may get wrong, and sizes that no memory has. */
static void test_rows_are_checked(void **state)
{
    (void)state;
    uint8_t blocks[2 * 18] = {0};
    emlx_form f;
    emlx_packed p;
    err_info err;
    assert_int_equal(emlx_form_of(QUANT_Q4_0, 64, false, &f), CAMA_OK);
    assert_int_equal(emlx_repack(&f, &(emlx_rows){blocks, 35, 1, 64}, &p, &err), CAMA_ERR_FORMAT);
    assert_int_equal(emlx_repack(&f, &(emlx_rows){blocks, 36, 1, 65}, &p, &err), CAMA_ERR_FORMAT);
    assert_int_equal(emlx_repack(&f, &(emlx_rows){blocks, 36, 1, 96}, &p, &err), CAMA_ERR_FORMAT);
    assert_int_equal(emlx_repack(&f, &(emlx_rows){blocks, 36, UINT64_MAX / 2, 64}, &p, &err),
                     CAMA_ERR_NOMEM);
    assert_int_equal(emlx_form_bytes(&f, UINT64_MAX / 2, 64), UINT64_MAX);
    assert_int_equal(emlx_form_bytes(&f, 10, 64), 10 * (32 + 2 * 2 * 4));
    assert_int_equal(emlx_repack(&f, &(emlx_rows){blocks, 36, 0, 64}, &p, &err), CAMA_OK);
    emlx_packed_done(&p);
}

/* Rows packed by two, in any order, are those packed at once. */
static void test_rows_in_parts(void **state)
{
    rig *r = *state;
    uint8_t *blocks = random_tensor(r, QUANT_Q5_1, 100);
    const emlx_rows rows = {blocks, quant_row_bytes(QUANT_Q5_1, N_COL), N_ROW, N_COL};
    emlx_form f;
    emlx_packed whole, parts;
    assert_int_equal(emlx_form_of(QUANT_Q5_1, N_COL, true, &f), CAMA_OK);
    assert_int_equal(emlx_repack(&f, &rows, &whole, NULL), CAMA_OK);
    assert_int_equal(emlx_packed_init(&f, &rows, &parts, NULL), CAMA_OK);
    emlx_pack_rows(&f, &rows, 21, N_ROW, &parts);
    emlx_pack_rows(&f, &rows, 0, 21, &parts);
    emlx_packed_finish(&f, &parts);
    assert_int_equal(parts.scale_type, MB_F16);
    assert_memory_equal(whole.w, parts.w, N_ROW * whole.n_word * 4);
    assert_memory_equal(whole.scales, parts.scales, N_ROW * whole.n_scale * 2);
    assert_memory_equal(whole.biases, parts.biases, N_ROW * whole.n_scale * 2);
    emlx_packed_done(&whole);
    emlx_packed_done(&parts);
    free(blocks);
}

/* docs/engines.md has the line of every type but the affine ones, which it describes. */
static void test_table_of_the_docs(void **state)
{
    (void)state;
    static char text[1 << 20], want[QUANT_N_TYPE * EMLX_FORM_LINE];
    FILE *f = fopen(TEST_DATA_DIR "/../../docs/engines.md", "r");
    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    assert_int_equal(fclose(f), 0);
    size_t n = 0;
    for (int t = 0; t < QUANT_N_TYPE; t++) {
        char line[EMLX_FORM_LINE];
        emlx_form_line((quant_type)t, line);
        if (line[0] && !quant_affine_info((quant_type)t, NULL))
            n += (size_t)snprintf(want + n, sizeof want - n, "%s\n", line);
    }
    const char *from = strstr(text, "|---|---|---|---|---|---|\n");
    const char *end = strstr(text, "<!-- end of forms -->");
    assert_true(from && end && from < end);
    from = strchr(from, '\n') + 1;
    if ((size_t)(end - from) != n || memcmp(from, want, n) != 0)
        print_error("docs/engines.md should have:\n%s", want);
    assert_int_equal((size_t)(end - from), n);
    assert_memory_equal(from, want, n);
}

/* The affine types keep their bits and groups. */
static void test_affine_keeps_its_codes(void **state)
{
    (void)state;
    for (int t = 0; t < QUANT_N_TYPE; t++) {
        quant_affine a;
        emlx_form f;
        if (!quant_affine_info((quant_type)t, &a))
            continue;
        assert_int_equal(emlx_form_of((quant_type)t, 256, true, &f), CAMA_OK);
        assert_int_equal(f.form, MB_AFFINE);
        assert_int_equal(f.bits, a.bits);
        assert_int_equal(f.group, a.group);
        assert_int_equal(f.scale_type, a.scale == QUANT_F32 ? MB_F32 : MB_F16);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_form_is_exact), cmocka_unit_test(test_scale_that_mlx_has_not),
        cmocka_unit_test(test_rows_are_checked),    cmocka_unit_test(test_rows_in_parts),
        cmocka_unit_test(test_table_of_the_docs),   cmocka_unit_test(test_affine_keeps_its_codes),
    };
    return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}
