/* Two engines compared: the same one is equal to the bit, another tier within the limits, and what
 * differs or cannot be compared is said. Until two engines are at hand the native one stands in for
 * both: its plain C against its fastest tier. */
#include "test.h"

#include "cama.h"
#include "json/json.h"
#include "tiny_chat.h"

static char path[64], embed_path[80];

typedef struct outcome {
    cama_err code;
    cama_error err;
    bool equal;
    char *text;
    arena a;
    json_value *report;
} outcome;

static void done(outcome *o)
{
    cama_free(o->text);
    arena_done(&o->a);
}

static void run(const char *file, const cama_verify_opts *opts, outcome *out)
{
    *out = (outcome){.err = {.code = CAMA_OK}};
    arena_init(&out->a, 16 << 20);
    out->code = cama_verify(file, opts, &out->equal, &out->text, &out->err);
    if (!out->code)
        assert_int_equal(json_parse(out->text, strlen(out->text), &out->a, &out->report, &out->err),
                         CAMA_OK);
}

static cama_verify_opts native_twice(void)
{
    cama_verify_opts o;
    cama_verify_opts_init(&o, sizeof o);
    o.engines[0] = o.engines[1] = "native";
    o.n_token = 24;
    o.n_thread = 1;
    return o;
}

static double at(const outcome *o, const char *section, const char *key)
{
    const json_value *v = json_get(json_get(o->report, section), key);
    assert_non_null(v);
    return v->number;
}

static const char *text_at(const outcome *o, const char *key)
{
    const json_value *v = json_get(o->report, key);
    return v ? v->text : "";
}

static void test_the_same_engine_is_equal_to_the_bit(void **state)
{
    (void)state;
    for (int form = CAMA_ACTIVATIONS_INT8; form <= CAMA_ACTIVATIONS_F32; form++) {
        cama_verify_opts o = native_twice();
        outcome out;
        o.activations = (cama_activations)form;
        run(path, &o, &out);
        assert_int_equal(out.code, CAMA_OK);
        assert_true(out.equal);
        assert_string_equal(text_at(&out, "verdict"), "equal");
        assert_true(at(&out, "logits", "max_abs") == 0);
        assert_true(at(&out, "logits", "max_kl") < 1e-12);
        assert_true(at(&out, "logits", "largest") > 0);
        assert_int_equal(at(&out, "greedy", "tokens"), 24);
        assert_int_equal(at(&out, "greedy", "equal"), 24);
        assert_int_equal(at(&out, "greedy", "equal_alone"), 24);
        assert_int_equal(at(&out, "logits", "positions"),
                         json_get(out.report, "prompt_tokens")->number + 23);
        done(&out);
    }
}

static void test_plain_c_and_the_fastest_tier_are_close(void **state)
{
    (void)state;
    cama_verify_opts o = native_twice();
    outcome out;
    o.cpu_tiers[1] = 0;
    run(path, &o, &out);
    assert_int_equal(out.code, CAMA_OK);
    assert_true(out.equal);
    assert_true(at(&out, "logits", "max_diff") < 1e-4);
    assert_int_equal(at(&out, "greedy", "equal"), 24);
    done(&out);
}

/* A limit that nothing meets but equal bits: the verdict and its reason. */
static void test_limits_decide(void **state)
{
    (void)state;
    cama_verify_opts o = native_twice();
    outcome out;
    o.cpu_tiers[1] = 0;
    o.max_diff = 0;
    run(path, &o, &out);
    assert_int_equal(out.code, CAMA_OK);
    if (at(&out, "logits", "max_diff") > 0) { /* a machine whose fastest tier is plain C */
        assert_false(out.equal);
        assert_string_equal(text_at(&out, "verdict"), "different");
        assert_string_equal(text_at(&out, "why"), "logits differ");
    }
    done(&out);
}

static void test_forms_are_told(void **state)
{
    (void)state;
    const cama_verify_opts o = native_twice();
    outcome out;
    run(path, &o, &out);
    const json_value *engines = json_get(out.report, "engines");
    assert_int_equal(engines->n, 2);
    for (size_t i = 0; i < 2; i++) {
        const json_value *forms = json_get(engines->items[i], "forms");
        uint64_t n = 0;
        assert_true(forms->n > 0);
        for (size_t k = 0; k < forms->n; k++) {
            n += (uint64_t)json_get(forms->items[k], "n")->integer;
            assert_true(json_get(forms->items[k], "exact")->boolean);
        }
        assert_true(n > 5);
        assert_true(json_get(engines->items[i], "exact")->boolean);
    }
    done(&out);
}

static void test_vectors(void **state)
{
    (void)state;
    cama_verify_opts o = native_twice();
    outcome out;
    o.cpu_tiers[1] = 0;
    run(embed_path, &o, &out);
    assert_string_equal(out.err.text, "");
    assert_int_equal(out.code, CAMA_OK);
    assert_true(out.equal);
    assert_int_equal(at(&out, "vectors", "texts"), 3);
    assert_true(at(&out, "vectors", "min_cosine") > 0.99999);
    assert_null(json_get(out.report, "greedy"));
    done(&out);
}

static void test_what_cannot_be_compared(void **state)
{
    (void)state;
    const struct {
        const char *file, *engine, *prompt;
        uint32_t n_token;
        cama_err code;
    } cases[] = {
        {"/nowhere.gguf", "native", NULL, 8, CAMA_ERR_IO},
        {path, "steam", NULL, 8, CAMA_ERR_ARG},
        {path, "native", NULL, 0, CAMA_ERR_ARG},
        {path, "native", NULL, 1u << 20, CAMA_ERR_ARG},
    };
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        cama_verify_opts o = native_twice();
        outcome out;
        o.engines[1] = cases[i].engine;
        o.prompt = cases[i].prompt;
        o.n_token = cases[i].n_token;
        run(cases[i].file, &o, &out);
        assert_true(out.code == cases[i].code || (i == 0 && out.code == CAMA_ERR_NOT_FOUND));
        assert_int_equal(out.err.code, out.code);
        assert_null(out.text);
        if (i == 1)
            assert_non_null(strstr(out.err.text, "steam"));
        done(&out);
    }
}

static bool leave_at(void *user, const char *what, uint32_t n_done, uint32_t n_all)
{
    int *left = user;
    assert_non_null(what);
    assert_true(n_done <= n_all);
    return (*left)-- > 0;
}

static void test_it_can_be_left_at_every_step(void **state)
{
    (void)state;
    cama_verify_opts o = native_twice();
    outcome out;
    o.on_step = leave_at;
    for (int n = 0; n < 200; n += 7) {
        int left = n;
        o.user = &left;
        run(path, &o, &out);
        if (out.code) {
            assert_int_equal(out.code, CAMA_ERR_CANCELED);
            assert_null(out.text);
        }
        const bool over = !out.code;
        done(&out);
        if (over)
            return;
    }
    fail_msg("it never ended");
}

static void test_engines_are_told(void **state)
{
    (void)state;
    char *text = NULL;
    cama_error err = {.code = CAMA_OK};
    arena a;
    json_value *list = NULL;
    arena_init(&a, 1 << 20);
    assert_int_equal(cama_engines_json(&text, &err), CAMA_OK);
    assert_int_equal(json_parse(text, strlen(text), &a, &list, &err), CAMA_OK);
    assert_true(list->n >= 2);
    assert_string_equal(json_get(list->items[0], "name")->text, "native");
    assert_true(json_get(list->items[0], "available")->boolean);
    assert_non_null(strstr(json_get(list->items[0], "version")->text, cama_version()));
    cama_free(text);
    arena_done(&a);
}

static void test_a_report_of_the_machine(void **state)
{
    (void)state;
    char *text = NULL;
    cama_error err = {.code = CAMA_OK};
    assert_int_equal(cama_engines_selftest("native", CAMA_DEVICE_ANY, &text, &err), CAMA_OK);
    assert_non_null(strstr(text, cama_version()));
    assert_non_null(strstr(text, "native: available"));
    assert_null(strstr(text, "mlx:"));
    cama_free(text);
    text = NULL;
    assert_int_equal(cama_engines_selftest("steam", CAMA_DEVICE_ANY, &text, &err), CAMA_ERR_ARG);
    assert_non_null(strstr(err.text, "steam"));
    assert_null(text);
}

static int write_models(void **state)
{
    (void)state;
    tiny_chat c;
    size_t n;
    tiny_chat_file(path);
    tiny_chat_begin(&c, "llama", "gpt2");
    gguf_build_u32(&c.b, "llama.pooling_type", 1);
    uint8_t *bytes = tiny_chat_bytes(&c, &n);
    (void)snprintf(embed_path, sizeof embed_path, "%s-embed", path);
    tiny_chat_write(embed_path, bytes, n);
    free(bytes);
    return 0;
}

static int remove_models(void **state)
{
    (void)state;
    return unlink(path) | unlink(embed_path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_same_engine_is_equal_to_the_bit),
        cmocka_unit_test(test_plain_c_and_the_fastest_tier_are_close),
        cmocka_unit_test(test_limits_decide),
        cmocka_unit_test(test_forms_are_told),
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_what_cannot_be_compared),
        cmocka_unit_test(test_it_can_be_left_at_every_step),
        cmocka_unit_test(test_engines_are_told),
        cmocka_unit_test(test_a_report_of_the_machine),
    };
    return cmocka_run_group_tests(tests, write_models, remove_models);
}
