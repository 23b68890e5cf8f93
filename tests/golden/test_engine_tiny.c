/* The native engine against libllama on tiny models: every architecture with F32 weights, KV and
 * activations, and every block format with both forms of activations. */
#include "tiny_ways.h"

static void architectures(void **state)
{
    (void)state;
    for (size_t i = 0; i < TEST_COUNT(models); i++)
        all_ways(models[i].name, models[i].tolerance, exact_opts(1));
}

static void architectures_on_reference_kernels(void **state)
{
    (void)state;
    for (size_t i = 0; i < TEST_COUNT(models); i++) {
        engine_opts o = exact_opts(2);
        o.cpu = 0;
        all_ways(models[i].name, models[i].tolerance, o);
    }
}

static void formats_with_f32_activations(void **state)
{
    (void)state;
    for (size_t i = 0; i < TEST_COUNT(formats_of_tiny); i++) {
        double peer;
        double size;
        const double error = format_error(formats_of_tiny[i], exact_opts(1), &peer, &size);
        TEST_NEAR(error / size, 0, 1e-5, "%s, f32 activations", formats_of_tiny[i]);
    }
}

static void formats_with_int8_activations(void **state)
{
    (void)state;
    for (size_t i = 0; i < TEST_COUNT(formats_of_tiny); i++) {
        double peer;
        double size;
        const double error = format_error(formats_of_tiny[i], engine_opts_init(), &peer, &size);
        TEST_NEAR(error / peer, 0, 1.5, "%s, int8 activations, to libllama's error",
                  formats_of_tiny[i]);
    }
}

int main(void)
{
    tiny_engine = &nat_engine;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(architectures),
        cmocka_unit_test(architectures_on_reference_kernels),
        cmocka_unit_test(formats_with_f32_activations),
        cmocka_unit_test(formats_with_int8_activations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
