/* Which engine a runner takes, and why; and what it says of engines when it gets no model. MLX is
 * switched off: it could not take any model, and says so. */
#include "runner_rig.h"

#include <stdlib.h>

static char model[64]; /* one for all tests */

static int make_model(void **state)
{
    (void)state;
    tiny_chat_file(model);
    return setenv("CAMA_MLX_PLUGIN", "none", 1);
}

static int drop_model(void **state)
{
    (void)state;
    return unlink(model);
}

static void begin(rig *g, const char *more, wire_frame *f)
{
    rig_begin(g);
    rig_expect(g, WIRE_HELLO, f);
    rig_send_load(g, model, more);
}

static void test_the_one_that_fits(void **state)
{
    (void)state;
    rig g;
    wire_frame f;
    begin(&g, "", &f);
    rig_expect(&g, WIRE_PLAN, &f);
    assert_string_equal(wire_str(&f, "engine", ""), "native");
    assert_string_equal(wire_str(&f, "engine_version", ""), "cama " CAMA_VERSION);
    assert_string_equal(wire_str(&f, "build", ""), "cama " CAMA_VERSION);
    assert_false(wire_bool(&f, "is_gpu", true));
    rig_has(wire_str(&f, "why", ""), "fits best; mlx: ");
    rig_has(wire_str(&f, "why", ""), "CAMA_MLX_PLUGIN=none");
    rig_has(f.head_text, "\"others\":[]"); /* it was looked at */
    rig_send(&g, WIRE_START, 0, "{}");
    rig_expect(&g, WIRE_READY, &f);
    rig_has(f.head_text, "\"forms\":[{\"role\":\"EMBED\"");
    assert_true(wire_bool(&f, "exact", false));
    assert_string_equal(wire_str(&f, "note", "?"), "");
    assert_string_equal(wire_str(&f, "engine_version", ""), "cama " CAMA_VERSION);
    rig_quit(&g);
}

static void test_a_name_and_a_reason(void **state)
{
    (void)state;
    rig g;
    wire_frame f;
    begin(&g, ",\"engine\":\"native\",\"why\":\"mlx failed: native runs it\"", &f);
    rig_expect(&g, WIRE_PLAN, &f);
    assert_string_equal(wire_str(&f, "why", ""), "mlx failed: native runs it");
    rig_has(f.head_text, "\"others\":[\"mlx\"]"); /* nobody knows: it was not looked at */
    rig_quit(&g);
}

static void test_what_is_to_be_avoided(void **state)
{
    (void)state;
    static const struct {
        const char *avoid, *why;
    } cases[] = {
        {"{\"engine\":\"mlx\",\"build\":\"\",\"why\":\"mlx failed once\"}", "mlx failed once"},
        {"{\"engine\":\"mlx\",\"build\":\"other\",\"why\":\"x\"}", "fits best; mlx: "},
        /* nothing else is left: it is taken all the same */
        {"{\"engine\":\"native\",\"build\":\"\",\"why\":\"x\"}", "fits best"},
        {"{\"engine\":\"native\",\"build\":\"cama " CAMA_VERSION "\",\"why\":\"x\"}", "fits best"},
        {"1,null,{},{\"engine\":5}", "fits best"},
    };
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        rig g;
        wire_frame f;
        char more[256];
        (void)snprintf(more, sizeof more, ",\"avoid\":[%s]", cases[i].avoid);
        begin(&g, more, &f);
        rig_expect(&g, WIRE_PLAN, &f);
        assert_string_equal(wire_str(&f, "engine", ""), "native");
        rig_has(wire_str(&f, "why", ""), cases[i].why);
        rig_quit(&g);
    }
}

static void refuses(const char *more, const char *code, const char *text, const char *engine_name)
{
    rig g;
    wire_frame f;
    begin(&g, more, &f);
    rig_expect(&g, WIRE_REFUSE, &f);
    assert_string_equal(wire_str(&f, "code", ""), code);
    rig_has(wire_str(&f, "text", ""), text);
    assert_string_equal(wire_str(&f, "engine", "?"), engine_name);
    rig_ended(&g, "exited with status 1");
}

static void test_refusals_name_the_engine_at_fault(void **state)
{
    (void)state;
    refuses(",\"engine\":\"mlx\"", "ERR_UNSUPPORTED", "CAMA_MLX_PLUGIN=none", "mlx");
    refuses(",\"engine\":\"native\",\"device\":\"gpu\"", "ERR_UNSUPPORTED",
            "native: it computes on the CPU here", "native");
    refuses(",\"device\":\"gpu\"", "ERR_UNSUPPORTED",
            "native: it computes on the CPU here; mlx:", "");
    refuses(",\"device\":\"tpu\"", "ERR_ARG", "device 'tpu' is neither cpu nor gpu", "");
    refuses(",\"max_bytes\":1000", "ERR_NO_FIT", "it does not fit", "native");
}

static void test_a_device(void **state)
{
    (void)state;
    static const char *const names[] = {"cpu", "auto", ""};
    for (size_t i = 0; i < TEST_COUNT(names); i++) {
        rig g;
        wire_frame f;
        char more[64];
        (void)snprintf(more, sizeof more, ",\"engine\":\"auto\",\"device\":\"%s\"", names[i]);
        begin(&g, more, &f);
        rig_expect(&g, WIRE_PLAN, &f);
        assert_string_equal(wire_str(&f, "engine", ""), "native");
        rig_quit(&g);
    }
}

static void about(const char *head, bool with_native)
{
    rig g;
    wire_frame f;
    rig_begin(&g);
    rig_expect(&g, WIRE_HELLO, &f);
    rig_send(&g, WIRE_ENGINES, 0, head);
    rig_expect(&g, WIRE_ABOUT, &f);
    assert_int_equal(strstr(f.head_text, "{\"name\":\"native\",\"available\":true,\"why\":\"\","
                                         "\"version\":\"cama " CAMA_VERSION "\"") != NULL,
                     with_native);
    rig_has(f.head_text, "{\"name\":\"mlx\",\"available\":false,\"why\":\"CAMA_MLX_PLUGIN=none");
    rig_ended(&g, "exited with status 0");
}

static void test_which_engines_there_are(void **state)
{
    (void)state;
    about("{}", true);
    about("{\"skip\":[\"native\"]}", false);
    about("{\"skip\":\"native\"}", true); /* no list */
    about("{\"skip\":[7,null,[]]}", true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_one_that_fits),
        cmocka_unit_test(test_a_name_and_a_reason),
        cmocka_unit_test(test_what_is_to_be_avoided),
        cmocka_unit_test(test_refusals_name_the_engine_at_fault),
        cmocka_unit_test(test_a_device),
        cmocka_unit_test(test_which_engines_there_are),
    };
    return cmocka_run_group_tests(tests, make_model, drop_model);
}
