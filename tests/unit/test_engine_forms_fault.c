/* Memory for a repacked tensor is made to fail, one allocation after the other. */
#include "test.h"

#include "engine/mlx/emlx_forms.h"
#include "fault.h"

static cama_err repack(void *arg, err_info *err)
{
    const quant_type t = *(const quant_type *)arg;
    static const uint8_t zeros[4096];
    const emlx_rows rows = {zeros, quant_row_bytes(t, 256), 3, 256};
    emlx_form f;
    emlx_packed p;
    cama_err e = emlx_form_of(t, 256, true, &f);
    assert_int_equal(e, CAMA_OK);
    e = emlx_repack(&f, &rows, &p, err);
    if (!e)
        emlx_packed_done(&p);
    return e;
}

static void test_repack_gives_all_back(void **state)
{
    (void)state;
    quant_type affine = QUANT_Q4_K, block = QUANT_MXFP4, dense = QUANT_Q6_K, halves = QUANT_Q8_0;
    assert_int_equal(fault_sweep(FAULT_HEAP, repack, &affine), 3);
    assert_int_equal(fault_sweep(FAULT_HEAP, repack, &block), 2);
    assert_int_equal(fault_sweep(FAULT_HEAP, repack, &dense), 1);
    fault_allow_ok(true); /* halves in a block that could not be made smaller */
    assert_int_equal(fault_sweep(FAULT_HEAP, repack, &halves), 5);
    fault_allow_ok(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_repack_gives_all_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
