/* What the server believes that a runner can load is what it can load. */
#include "test.h"

#include "model/model.h"
#include "wire/archs.h"

static void the_names_are_those_of_the_models(void **state)
{
    (void)state;
    size_t n = 0;
    for (; model_arch_at(n) && wire_arch_at(n); n++)
        assert_string_equal(wire_arch_at(n), model_arch_at(n));
    assert_null(model_arch_at(n)); /* else src/wire/archs.def lacks the last ones */
    assert_null(wire_arch_at(n));
    assert_true(n > 10);
    assert_true(wire_has_arch("llama") && wire_has_arch(model_arch_at(n - 1)));
    assert_false(wire_has_arch("") || wire_has_arch("llam") || wire_has_arch("clip"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_names_are_those_of_the_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
