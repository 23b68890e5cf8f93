/* What the bridge's table promises beside numbers: opening and refusing, sticky errors, the life of
 * references, memory, types. The real library is behind it. */
#include <limits.h>

#include "mlx_rig.h"
#include "quant/f16.h"

/* ---- life ---- */

static void test_info(void **state)
{
    rig *r = *state;
    mb_info i;
    r->b->info(r->m, &i);
    assert_string_equal(i.built, r->b->built);
    assert_string_equal(i.version, i.built); /* a release: no word behind the numbers */
    assert_string_equal(i.backend, "cpu");
    assert_string_equal(i.device, "cpu");
    assert_false(i.is_gpu);
    assert_true(strlen(i.os) > 3);
    assert_true(i.total_bytes > 1 << 28 && i.limit_bytes > 0 && i.limit_bytes <= i.total_bytes);
}

static void test_open_refuses(void **state)
{
    rig *r = *state;
    mb_opened why = {.error = ""};
    assert_null(r->b->open("abacus", &why));
    assert_string_equal(why.error, "device 'abacus' is none of cpu, gpu");
    why.error[0] = 0;
    mb *gpu = r->b->open("gpu", &why);
    if (!gpu) /* the PyPI library for CPUs, say */
        assert_non_null(strstr(why.error, "GPU"));
    r->b->close(gpu);
    r->b->close(NULL);
}

static void test_version_mismatch(void **state)
{
    rig *r = *state;
    mb_info i;
    mb_opened why = {.error = ""};
    const mb_api *wrong = rig_load(TEST_MLX_WRONG);
    assert_string_equal(wrong->built, "0.1.2");
    assert_null(wrong->open("cpu", &why));
    r->b->info(r->m, &i);
    assert_non_null(strstr(why.error, "0.1.2"));
    assert_non_null(strstr(why.error, i.version));
}

static void test_sticky_error(void **state)
{
    rig *r = *state;
    float x[6], got[6];
    const mb_ref a = rig_floats(r, rig_shape(2, 2, 3, 0, 0), x);
    assert_null(r->b->error(r->m));
    const mb_ref bad = r->b->reshape(r->m, a, rig_shape(1, 7, 0, 0, 0));
    assert_int_equal(bad, 0);
    /* The first one stays, and nothing works any more. */
    assert_int_equal(r->b->matmul(r->m, a, a), 0);
    assert_int_equal(r->b->binary(r->m, MB_ADD, bad, a), 0);
    assert_int_equal(r->b->read(r->m, a, got, sizeof got), -1);
    rig_check_failed(r, "reshape", "size 6");
    rig_read(r->b, r->m, a, got, sizeof got);
    TEST_SAME_BITS(got, x, 6);
    /* A reference of 0 after the error was cleared is an error of its own. */
    assert_int_equal(r->b->unary(r->m, MB_EXP, bad), 0);
    rig_check_failed(r, "unary", "no array");
    assert_int_equal(r->b->matmul(r->m, a, a), 0);
    rig_check_failed(r, "matmul", "");
    r->b->reset(r->m);
    assert_int_equal(r->b->unary(r->m, MB_EXP, a), 0);
    rig_check_failed(r, "unary", "reset");
}

/* What a file or a caller could say, in the text of an error: copied, never a format. */
static void test_error_text(void **state)
{
    rig *r = *state;
    mb_opened why = {.error = ""};
    char name[2000];
    memset(name, '%', sizeof name);
    name[1] = 'n';
    name[3] = 's';
    name[sizeof name - 1] = 0;
    assert_null(r->b->open(name, &why));
    assert_non_null(strstr(why.error, "%n%s%%"));
    assert_true(strlen(why.error) < sizeof why.error);
}

static void test_bad_arguments(void **state)
{
    rig *r = *state;
    const mb_api *b = r->b;
    float x[6];
    const mb_ref a = rig_floats(r, rig_shape(2, 2, 3, 0, 0), x);
    const int32_t from[] = {0, 1}, to[] = {2, 4}, back[] = {0, 0};

    assert_int_equal(b->slice(r->m, a, from, to, 2), 0);
    rig_check_failed(r, "slice", "bounds 1 to 4 in dimension 1 of 3");
    assert_int_equal(b->slice(r->m, a, from, back, 2), 0);
    rig_check_failed(r, "slice", "bounds 1 to 0");
    assert_int_equal(b->slice(r->m, a, from, to, 1), 0);
    rig_check_failed(r, "slice", "1 bounds for 2 dimensions");
    assert_int_equal(b->zeros(r->m, rig_shape(7, 1, 1, 1, 1), MB_F32), 0);
    rig_check_failed(r, "zeros", "7 dimensions, at most 6");
    assert_int_equal(b->zeros(r->m, rig_shape(1, -1, 0, 0, 0), MB_F32), 0);
    rig_check_failed(r, "zeros", "dimension 0 is -1");
    assert_int_equal(b->zeros(r->m, rig_shape(3, INT_MAX, INT_MAX, INT_MAX, 0), MB_F32), 0);
    rig_check_failed(r, "zeros", "larger than any memory");
    assert_int_equal(b->zeros(r->m, rig_shape(1, 1, 0, 0, 0), MB_N_DTYPE), 0);
    rig_check_failed(r, "zeros", "type 7");
    assert_int_equal(b->binary(r->m, MB_N_BINARY, a, a), 0);
    rig_check_failed(r, "binary", "none of mb.h's");
    assert_int_equal(b->unary(r->m, MB_N_UNARY, a), 0);
    rig_check_failed(r, "unary", "none of mb.h's");
    assert_int_equal(b->reduce(r->m, MB_N_REDUCE, a, 0, false), 0);
    rig_check_failed(r, "reduce", "none of mb.h's");
    assert_int_equal(b->reduce(r->m, MB_SUM, a, 2, false), 0);
    rig_check_failed(r, "reduce", "");
    assert_int_equal(b->read(r->m, a, x, 20), -1);
    rig_check_failed(r, "read", "room for 20 bytes, and the array has 24");
    assert_int_equal(b->cast(r->m, 12345, MB_F32), 0);
    rig_check_failed(r, "cast", "array 12345");
    assert_int_equal(b->scalar(r->m, NAN, MB_I32), 0);
    rig_check_failed(r, "scalar", "no integer");
    mb_weight w = {.form = (mb_form)77, .w = a};
    assert_int_equal(b->linear(r->m, a, &w), 0);
    rig_check_failed(r, "linear", "form 77");
    b->reset(r->m);
}

/* ---- arrays ---- */

static void test_keep_drop_reset(void **state)
{
    rig *r = *state;
    const mb_api *b = r->b;
    float x[4], got[4];
    mb_ref kept[3];
    for (int i = 0; i < 3; i++) {
        kept[i] = b->keep(r->m, rig_floats(r, rig_shape(1, 4, 0, 0, 0), x));
        assert_true(kept[i] & 0x80000000u);
    }
    b->reset(r->m);
    rig_read(b, r->m, kept[2], got, sizeof got);
    TEST_SAME_BITS(got, x, 4);
    const mb_ref sum = b->binary(r->m, MB_ADD, kept[2], kept[2]); /* outlives what it is made of */
    b->drop(r->m, kept[2]);
    assert_int_equal(b->unary(r->m, MB_NEG, kept[2]), 0);
    rig_check_failed(r, "unary", "dropped");
    rig_read(b, r->m, sum, got, sizeof got);
    for (int i = 0; i < 4; i++)
        assert_true(got[i] == 2 * x[i]);
    b->drop(r->m, kept[2]); /* twice, nothing, a temporary, one that never was */
    b->drop(r->m, 0);
    b->drop(r->m, sum);
    b->drop(r->m, 0x80000000u | 999);
    assert_int_equal(b->keep(r->m, sum), kept[2]); /* its place is used again */
    b->drop(r->m, kept[2]);

    assert_int_equal(b->keep(r->m, 9999), 0); /* a failure does not keep anything from going */
    b->drop(r->m, kept[0]);
    b->drop(r->m, kept[1]);
    rig_check_failed(r, "keep", "9999");
    b->reset(r->m);
}

static void test_memory_of_kept(void **state)
{
    rig *r = *state;
    const mb_api *b = r->b;
    mb_memory before, with, after;
    b->cache_clear(r->m);
    b->memory(r->m, &before);
    const mb_ref big = b->keep(r->m, b->zeros(r->m, rig_shape(1, 1 << 20, 0, 0, 0), MB_F32));
    assert_int_equal(b->eval(r->m, &big, 1, true), 0);
    b->reset(r->m);
    b->memory(r->m, &with);
    assert_true(with.active >= before.active + (4 << 20));
    assert_true(with.peak >= with.active);
    b->drop(r->m, big);
    b->memory(r->m, &after);
    assert_true(after.active < before.active + (1 << 20));
    b->cache_clear(r->m);
    b->memory(r->m, &after);
    assert_int_equal(after.cache, 0);
    mb_info was, is;
    b->info(r->m, &was);
    b->memory_limits(r->m, 1u << 30, 1u << 20, 0);
    b->memory_limits(r->m, 0, 0, 0);
    b->info(r->m, &is); /* what one engine is held to is no limit of the device */
    assert_true(is.limit_bytes == was.limit_bytes && was.limit_bytes > 1u << 30);
    rig_good(b, r->m);
}

static void test_types(void **state)
{
    rig *r = *state;
    const mb_api *b = r->b;
    static const float values[4] = {0.5f, -2.0f, 3.1415927f, 65504.0f};
    const mb_shape four = rig_shape(1, 4, 0, 0, 0);
    const mb_ref f = b->from_host(r->m, values, four, MB_F32);
    uint16_t half[4];
    float back[4];
    rig_read(b, r->m, b->cast(r->m, f, MB_F16), half, sizeof half);
    for (int i = 0; i < 4; i++)
        assert_int_equal(half[i], f16_from_f32(values[i]));
    const mb_ref h = b->from_host(r->m, half, four, MB_F16);
    rig_check_shape(r, h, four, MB_F16);
    rig_read(b, r->m, b->cast(r->m, h, MB_F32), back, sizeof back);
    for (int i = 0; i < 4; i++)
        assert_true(back[i] == f16_to_f32(half[i]));
    rig_read(b, r->m, b->cast(r->m, f, MB_BF16), half, sizeof half);
    for (int i = 0; i < 4; i++)
        assert_int_equal(half[i], bf16_from_f32(values[i]));

    static const int32_t ints[4] = {0, -7, INT_MAX, INT_MIN};
    static const uint32_t words[4] = {0, 7, UINT32_MAX, 1u << 31};
    static const uint8_t bytes[4] = {0, 1, 127, 255};
    int32_t ints_back[4];
    uint32_t words_back[4];
    uint8_t bytes_back[4];
    rig_read(b, r->m, b->from_host(r->m, ints, four, MB_I32), ints_back, 16);
    rig_read(b, r->m, b->from_host(r->m, words, four, MB_U32), words_back, 16);
    rig_read(b, r->m, b->from_host(r->m, bytes, four, MB_U8), bytes_back, 4);
    TEST_SAME_BITS(ints_back, ints, 4);
    TEST_SAME_BITS(words_back, words, 4);
    TEST_SAME_BITS(bytes_back, bytes, 4);
    rig_read(b, r->m, b->cast(r->m, b->from_host(r->m, words, four, MB_U32), MB_BOOL), bytes_back,
             4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(bytes_back[i], words[i] != 0);

    rig_read(b, r->m, b->scalar(r->m, 1.5, MB_F32), back, 4);
    assert_true(back[0] == 1.5f);
    rig_read(b, r->m, b->scalar(r->m, 4294967295.0, MB_U32), words_back, 4);
    assert_int_equal(words_back[0], UINT32_MAX);
    rig_read(b, r->m, b->scalar(r->m, -3, MB_I32), ints_back, 4);
    assert_int_equal(ints_back[0], -3);
    rig_check_shape(r, b->scalar(r->m, 1, MB_BF16), rig_shape(0, 0, 0, 0, 0), MB_BF16);
    b->reset(r->m);
}

/* No copy: what the owner writes before the evaluation is what is read. */
static void test_from_owned(void **state)
{
    rig *r = *state;
    const mb_api *b = r->b;
    float mine[8], got[8];
    memset(mine, 0, sizeof mine);
    const mb_ref a = b->from_owned(r->m, mine, rig_shape(2, 2, 4, 0, 0), MB_F32);
    const mb_ref twice = b->binary(r->m, MB_ADD, a, a);
    for (int i = 0; i < 8; i++)
        mine[i] = (float)i;
    rig_read(b, r->m, twice, got, sizeof got);
    for (int i = 0; i < 8; i++)
        assert_true(got[i] == (float)(2 * i) && mine[i] == (float)i); /* and never written to */
    b->reset(r->m);
}

static void test_empty_arrays(void **state)
{
    rig *r = *state;
    const mb_api *b = r->b;
    float none[1] = {1};
    const mb_ref a = b->from_host(r->m, NULL, rig_shape(2, 0, 3, 0, 0), MB_F32);
    rig_read(b, r->m, a, none, 0);
    rig_read(b, r->m, b->binary(r->m, MB_ADD, a, a), none, 0);
    float x[3], got[3];
    const mb_ref parts[2] = {a, rig_floats(r, rig_shape(2, 1, 3, 0, 0), x)};
    rig_read(b, r->m, b->concat(r->m, parts, 2, 0), got, sizeof got);
    TEST_SAME_BITS(got, x, 3);
    b->reset(r->m);
}

static void test_eval_ahead(void **state)
{
    rig *r = *state;
    const mb_api *b = r->b;
    float x[4], got[4];
    const mb_ref a = rig_floats(r, rig_shape(1, 4, 0, 0, 0), x);
    mb_ref next = a;
    for (int i = 0; i < 50; i++) { /* a step is sent off before the one before it is read */
        next = b->binary(r->m, MB_ADD, next, a);
        assert_int_equal(b->eval(r->m, &next, 1, false), 0);
    }
    rig_read(b, r->m, next, got, sizeof got);
    for (int i = 0; i < 4; i++)
        TEST_NEAR(got[i], 51 * (double)x[i], 51 * FLT_EPSILON * 51 * fabs(x[i]), "sum %d", i);
    b->reset(r->m);
}

/* What fails only when it is computed: reported at the wait, and the stream works afterwards. */
static void test_failure_in_eval(void **state)
{
    rig *r = *state;
    const mb_api *b = r->b;
    static const uint32_t words[16] = {0};
    static const float ones[8] = {0};
    float x[64], got[2];
    const mb_weight w = {.form = MB_AFFINE,
                         .bits = 4,
                         .group = 16, /* passes when the graph is built */
                         .w = b->from_host(r->m, words, rig_shape(2, 2, 8, 0, 0), MB_U32),
                         .scales = b->from_host(r->m, ones, rig_shape(2, 2, 4, 0, 0), MB_F32),
                         .biases = b->from_host(r->m, ones, rig_shape(2, 2, 4, 0, 0), MB_F32)};
    const mb_ref a = rig_floats(r, rig_shape(2, 1, 64, 0, 0), x);
    const mb_ref y = b->linear(r->m, a, &w);
    if (y)
        assert_int_equal(b->read(r->m, y, got, sizeof got), -1);
    assert_non_null(b->error(r->m));
    b->clear(r->m);
    rig_read(b, r->m, b->unary(r->m, MB_NEG, a), x, sizeof x);
    b->reset(r->m);
}

/* Two in one process, as `cama verify` may have them. */
static void test_two_at_once(void **state)
{
    rig *r = *state;
    mb *other = rig_open(r->b);
    float x = 0, y = 0;
    const mb_ref a = r->b->scalar(r->m, 2, MB_F32), c = r->b->scalar(other, 3, MB_F32);
    assert_int_equal(r->b->reshape(other, c, rig_shape(1, 2, 0, 0, 0)), 0);
    assert_non_null(r->b->error(other));
    rig_good(r->b, r->m);
    r->b->clear(other);
    rig_read(r->b, r->m, a, &x, sizeof x);
    rig_read(r->b, other, c, &y, sizeof y);
    assert_true(x == 2 && y == 3);
    r->b->close(other);
    rig_read(r->b, r->m, r->b->unary(r->m, MB_SQUARE, a), &x, sizeof x);
    assert_true(x == 4);
    r->b->reset(r->m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_open_refuses),
        cmocka_unit_test(test_version_mismatch),
        cmocka_unit_test(test_sticky_error),
        cmocka_unit_test(test_error_text),
        cmocka_unit_test(test_bad_arguments),
        cmocka_unit_test(test_keep_drop_reset),
        cmocka_unit_test(test_memory_of_kept),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_from_owned),
        cmocka_unit_test(test_empty_arrays),
        cmocka_unit_test(test_eval_ahead),
        cmocka_unit_test(test_failure_in_eval),
        cmocka_unit_test(test_two_at_once),
    };
    return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}
