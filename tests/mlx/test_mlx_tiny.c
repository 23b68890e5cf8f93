/* The MLX engine against libllama on tiny models: every architecture with F32 weights, KV and
 * activations, and every block format; once with nodes of ours on the CPU, once with MLX's own
 * operations as on a GPU; with TEST_MLX_DEVICE=gpu on a GPU, where all is stock. */
#include "tiny_ways.h"

static engine_opts opts(bool stock, uint32_t n_thread)
{
    const char *device = getenv("TEST_MLX_DEVICE");
    engine_opts o = exact_opts(n_thread);
    o.device = device && !strcmp(device, "gpu") ? ENGINE_GPU : ENGINE_CPU;
    o.stock = stock;
    return o;
}

static void architectures_with_kernels(void **state)
{
    (void)state;
    for (size_t i = 0; i < TEST_COUNT(models); i++)
        all_ways(models[i].name, models[i].tolerance, opts(false, 2));
}

static void architectures_with_stock_operations(void **state)
{
    (void)state;
    for (size_t i = 0; i < TEST_COUNT(models); i++)
        all_ways(models[i].name, models[i].tolerance, opts(true, 1));
}

/* Outputs of the whole prompt on the engine under test. */
static rig computed(const char *name, const engine_vt *vt, engine_opts o)
{
    rig r;
    tiny_engine = vt;
    rig_open(&r, TEST_DATA("tiny"), name, o);
    const int32_t seq = new_seq(&r, -1, 0);
    feed(&r, seq, 0, r.w.n_token);
    tiny_engine->seq_free(r.e, seq);
    return r;
}

/* Where libllama takes GELU from a table of halves it is further from both than they are apart. */
static void both_engines_agree(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * TEST_COUNT(models); i++) {
        const char *name = models[i / 2].name;
        rig ours = computed(name, &nat_engine, exact_opts(1));
        const double tolerance = 1e-5 * largest(&ours.w);
        rig theirs = computed(name, &emlx_engine, opts(i % 2, 1));
        const size_t n = (ours.w.kind == POOLED ? 1 : ours.w.n_token) * ours.w.n_out;
        for (size_t k = 0; k < n; k++)
            TEST_NEAR(theirs.got[k], ours.got[k], tolerance, "%s, output %zu", name, k);
        rig_close(&theirs);
        tiny_engine = &nat_engine;
        rig_close(&ours);
        tiny_engine = &emlx_engine;
    }
}

static void formats(bool stock)
{
    for (size_t i = 0; i < TEST_COUNT(formats_of_tiny); i++) {
        double peer;
        double size;
        const double error = format_error(formats_of_tiny[i], opts(stock, 1), &peer, &size);
        TEST_NEAR(error / size, 0, 1e-5, "%s, %s", formats_of_tiny[i], stock ? "stock" : "kernels");
    }
}

static void formats_with_kernels(void **state)
{
    (void)state;
    formats(false);
}

static void formats_with_stock_operations(void **state)
{
    (void)state;
    formats(true);
}

static void formats_with_int8_activations(void **state)
{
    (void)state;
    for (size_t i = 0; i < TEST_COUNT(formats_of_tiny); i++) {
        double peer;
        double size;
        engine_opts o = engine_opts_init();
        o.device = ENGINE_CPU;
        const double error = format_error(formats_of_tiny[i], o, &peer, &size);
        TEST_NEAR(error / peer, 0, 1.5, "%s, int8 activations, to libllama's error",
                  formats_of_tiny[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(architectures_with_kernels),
        cmocka_unit_test(architectures_with_stock_operations),
        cmocka_unit_test(both_engines_agree),
        cmocka_unit_test(formats_with_kernels),
        cmocka_unit_test(formats_with_stock_operations),
        cmocka_unit_test(formats_with_int8_activations),
    };
    tiny_engine = &emlx_engine;
    (void)setenv("CAMA_MLX_PLUGIN", TEST_MLX_PLUGIN, 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
