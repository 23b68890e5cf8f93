/* Nodes of ours in MLX's graph: what they are given, when they run, what they may write. */
#include "mlx_rig.h"
#include "quant/f16.h"

/* out 0 = in 0 in its order, out 1 = [number of dimensions, last dimension, type] */
static void copy_node(void *user, const mb_view *in, size_t n_in, const mb_view *out, size_t n_out)
{
    size_t n = sizeof(float);
    *(int *)user += 1;
    assert_int_equal(n_in, 1);
    assert_int_equal(n_out, 2);
    for (int32_t i = 0; i < in->shape.n_dim; i++)
        n *= (size_t)in->shape.dim[i];
    memcpy(out[0].data, in->data, n);
    int32_t *about = out[1].data;
    about[0] = in->shape.n_dim;
    about[1] = in->shape.dim[in->shape.n_dim - 1];
    about[2] = in->dtype;
}

/* Row-major [2, 3, 4]. */
static size_t at(size_t i, size_t j, size_t k)
{
    return (i * 3 + j) * 4 + k;
}

static void test_host_kernel(void **state)
{
    rig *r = *state;
    const mb_api *b = r->b;
    float x[24], got[24];
    int32_t about[3];
    int n_run = 0;
    const mb_ref a = rig_floats(r, rig_shape(3, 2, 3, 4, 0), x);
    static const int32_t axes[] = {2, 1, 0};
    /* Lazy, and not contiguous: the node must see its elements in order all the same. */
    const mb_ref lazy = b->transpose(r->m, b->unary(r->m, MB_NEG, a), axes, 3);
    const mb_shape shapes[] = {{3, {4, 3, 2}}, {1, {3}}};
    const mb_dtype types[] = {MB_F32, MB_I32};
    mb_ref outs[2];
    assert_int_equal(b->host_kernel(r->m, copy_node, &n_run, &lazy, 1, shapes, types, 2, outs), 0);
    assert_int_equal(n_run, 0);
    const mb_ref twice = b->binary(r->m, MB_ADD, outs[0], outs[0]); /* and others may use its own */
    rig_read(b, r->m, twice, got, sizeof got);
    for (size_t k = 0; k < 4; k++)
        for (size_t j = 0; j < 3; j++)
            for (size_t i = 0; i < 2; i++)
                assert_true(got[(k * 3 + j) * 2 + i] == -2 * x[at(i, j, k)]);
    rig_read(b, r->m, outs[1], about, sizeof about);
    assert_int_equal(about[0], 3);
    assert_int_equal(about[1], 2);
    assert_int_equal(about[2], MB_F32);
    assert_int_equal(n_run, 1);

    /* A broadcast has strides of 0, a slice an offset. */
    static const int32_t from[] = {1, 2, 0}, to[] = {2, 3, 4};
    const mb_shape wide[] = {{3, {2, 3, 4}}, {1, {3}}};
    const mb_ref row = b->broadcast(r->m, b->slice(r->m, a, from, to, 3), wide[0]);
    assert_int_equal(b->host_kernel(r->m, copy_node, &n_run, &row, 1, wide, types, 2, outs), 0);
    rig_read(b, r->m, outs[0], got, sizeof got);
    for (size_t i = 0; i < 24; i++)
        assert_true(got[i] == x[at(1, 2, i % 4)]);
    b->reset(r->m);
}

/* A store of the user's own: each node appends what it was given, and its output is nothing but a
 * mark by which later ones depend on it. */
typedef struct store {
    int n, value[64];
} store;

static void store_node(void *user, const mb_view *in, size_t n_in, const mb_view *out, size_t n_out)
{
    store *s = user;
    assert_true(n_in >= 1 && n_out == 1);
    s->value[s->n++] = *(const int32_t *)in[0].data;
    *(int32_t *)out[0].data = s->n;
}

static void test_host_kernels_in_order(void **state)
{
    rig *r = *state;
    const mb_api *b = r->b;
    store s = {.n = 0};
    const mb_shape one = rig_shape(1, 1, 0, 0, 0);
    const mb_dtype i32 = MB_I32;
    mb_ref in[2] = {0, 0};
    for (int i = 0; i < 40; i++) {
        const int32_t value = i / 2; /* two equal nodes in a row are two nodes all the same */
        in[0] = b->from_host(r->m, &value, one, MB_I32);
        assert_int_equal(b->host_kernel(r->m, store_node, &s, in, i ? 2 : 1, &one, &i32, 1, &in[1]),
                         0);
    }
    int32_t last = 0;
    rig_read(b, r->m, in[1], &last, sizeof last);
    assert_int_equal(last, 40);
    for (int i = 0; i < 40; i++)
        assert_int_equal(s.value[i], i / 2);

    /* Sent off, and every reference to it gone before it has run. */
    s.n = 0;
    mb_ref mark = in[1];
    in[0] = b->scalar(r->m, 5, MB_I32);
    in[1] = mark;
    assert_int_equal(b->host_kernel(r->m, store_node, &s, in, 2, &one, &i32, 1, &mark), 0);
    assert_int_equal(b->eval(r->m, &mark, 1, false), 0);
    b->reset(r->m);
    const mb_ref fence = b->unary(r->m, MB_ABS, b->scalar(r->m, -1, MB_F32));
    assert_int_equal(b->eval(r->m, &fence, 1, true), 0);
    assert_int_equal(s.n, 1);
    assert_int_equal(s.value[0], 5);
    b->reset(r->m);
}

/* Halves and bytes as they are, and no dimension at all. */
static void bits_node(void *user, const mb_view *in, size_t n_in, const mb_view *out, size_t n_out)
{
    uint32_t *sum = out[0].data;
    (void)user;
    (void)n_out;
    *sum = 0;
    for (size_t i = 0; i < n_in; i++) {
        uint16_t h = 0;
        memcpy(&h, in[i].data, in[i].dtype == MB_U8 || in[i].dtype == MB_BOOL ? 1 : 2);
        assert_int_equal(in[i].shape.n_dim, 0);
        *sum = *sum * 3 + h;
    }
}

static void test_host_kernel_types(void **state)
{
    rig *r = *state;
    const mb_api *b = r->b;
    const mb_ref in[] = {b->scalar(r->m, 1.5, MB_F16), b->scalar(r->m, 1.5, MB_BF16),
                         b->scalar(r->m, 200, MB_U8), b->scalar(r->m, 1, MB_BOOL)};
    const mb_shape none = rig_shape(0, 0, 0, 0, 0);
    const mb_dtype u32 = MB_U32;
    mb_ref out = 0;
    uint32_t got = 0;
    assert_int_equal(b->host_kernel(r->m, bits_node, NULL, in, 4, &none, &u32, 1, &out), 0);
    rig_read(b, r->m, out, &got, sizeof got);
    assert_int_equal(got, ((f16_from_f32(1.5f) * 3u + bf16_from_f32(1.5f)) * 3u + 200) * 3u + 1);

    mb_ref many[MB_MAX_IN + 1], outs[MB_MAX_OUT];
    for (size_t i = 0; i < TEST_COUNT(many); i++)
        many[i] = in[0];
    assert_int_equal(
        b->host_kernel(r->m, bits_node, NULL, many, MB_MAX_IN + 1, &none, &u32, 1, outs), -1);
    rig_check_failed(r, "host_kernel", "13 arrays, at most 12");
    assert_int_equal(b->host_kernel(r->m, bits_node, NULL, many, 1, &none, &u32, 0, outs), -1);
    rig_check_failed(r, "host_kernel", "0 outputs, 1 to 4");
    const mb_shape deep = rig_shape(7, 0, 0, 0, 0);
    outs[0] = 77;
    assert_int_equal(b->host_kernel(r->m, bits_node, NULL, many, 1, &deep, &u32, 1, outs), -1);
    assert_int_equal(outs[0], 0);
    rig_check_failed(r, "host_kernel", "7 dimensions");
    b->reset(r->m);
}

static void test_gpu_kernel_needs_a_gpu(void **state)
{
    rig *r = *state;
    static const char *const names[] = {"x", "y"};
    const mb_gpu_kernel k = {.name = "copy",
                             .source = "y[0] = x[0];",
                             .in_names = names,
                             .n_in = 1,
                             .out_names = names + 1,
                             .n_out = 1,
                             .grid = {1, 1, 1},
                             .group = {1, 1, 1}};
    const mb_ref x = r->b->scalar(r->m, 1, MB_F32);
    const mb_shape none = rig_shape(0, 0, 0, 0, 0);
    const mb_dtype f32 = MB_F32;
    mb_ref y = 5;
    assert_int_equal(r->b->gpu_kernel(r->m, &k, &x, &none, &f32, &y), -1);
    assert_int_equal(y, 0);
    rig_check_failed(r, "gpu_kernel", "no GPU");
    r->b->reset(r->m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_host_kernel),
        cmocka_unit_test(test_host_kernels_in_order),
        cmocka_unit_test(test_host_kernel_types),
        cmocka_unit_test(test_gpu_kernel_needs_a_gpu),
    };
    return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}
