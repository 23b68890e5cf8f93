/* Memory that runs out anywhere while two engines are compared, or engines are told of: a typed
 * error, no leak, no output; and a comparison that is whole says what it always says. */
#include "test.h"

#include "cama.h"
#include "fault.h"
#include "tiny_chat.h"

static char path[64], embed_path[80];

static cama_err compare(void *arg, err_info *err)
{
    cama_verify_opts o;
    bool equal = false;
    char *report = NULL;
    cama_verify_opts_init(&o, sizeof o);
    o.engines[0] = o.engines[1] = "native";
    o.n_token = 2;
    o.n_thread = 1;
    o.prompt = "hello";
    const cama_err e = cama_verify(arg, &o, &equal, &report, err);
    assert_true(!e == (report != NULL));
    assert_true(!e == equal);
    if (report)
        assert_non_null(strstr(report, "\"verdict\":\"equal\""));
    cama_free(report);
    return e;
}

static cama_err tell(void *arg, err_info *err)
{
    (void)arg;
    char *text = NULL;
    cama_err e = cama_engines_json(&text, err);
    assert_true(!e == (text != NULL));
    cama_free(text);
    text = NULL;
    if (!e)
        e = cama_engines_selftest("native", CAMA_DEVICE_CPU, &text, err);
    assert_true(!e == (text != NULL));
    cama_free(text);
    return e;
}

static void sweep(cama_err (*call)(void *arg, err_info *err), void *arg, size_t at_least)
{
    const size_t n = fault_sweep(FAULT_HEAP, call, arg);
    print_message("%zu made to fail\n", n);
    assert_true(n >= at_least);
}

static void test_answers(void **state)
{
    (void)state;
    fault_allow_ok(true); /* PCRE2's compiler can be done without */
    sweep(compare, path, 100);
}

static void test_vectors(void **state)
{
    (void)state;
    fault_allow_ok(true);
    sweep(compare, embed_path, 100);
}

static void test_engines(void **state)
{
    (void)state;
    setenv("CAMA_MLX_PLUGIN", "none", 1); /* what a library takes for itself is its own affair */
    fault_allow_ok(false);
    sweep(tell, NULL, 5);
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
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_engines),
    };
    return cmocka_run_group_tests(tests, write_models, remove_models);
}
