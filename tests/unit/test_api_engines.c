/* Engines as requests see them: who chooses, what a choice does to the runner's key, what replies
 * say of the one that ran, and the endpoint that lists them. */
#include "api_rig.h"

#define GENERATE "/api/generate"
#define CHAT "/api/chat"

static int open_rig(void **state)
{
    (void)state;
    rig_open();
    rig_make("m", NULL);
    rig_make("mlx", ",\"parameters\":{\"engine\":\"mlx\",\"device\":\"gpu\"}");
    rig_make("steam", ",\"parameters\":{\"engine\":\"steam\"}");
    rig_make_of("e", NULL, true, NULL);
    return 0;
}

static int close_rig(void **state)
{
    (void)state;
    rig_close();
    return 0;
}

static void ask(const char *model, const char *options)
{
    char body[512];
    (void)snprintf(body, sizeof body,
                   "{\"model\":\"%s\",\"prompt\":\"Hi\",\"stream\":false,\"options\":{%s}}", model,
                   options);
    rig_call("POST", GENERATE, body);
}

/* ---- who chooses ---- */

static void test_request_then_model_then_server_then_nobody(void **state)
{
    (void)state;
    const struct {
        const char *model, *options, *engine, *device, *want_engine, *want_device;
    } cases[] = {
        {"m", "", NULL, NULL, "", ""},
        {"m", "", "native", "cpu", "native", "cpu"},
        {"mlx", "", "native", "cpu", "mlx", "gpu"},
        {"mlx", "\"engine\":\"native\"", NULL, NULL, "native", "gpu"},
        {"mlx", "\"engine\":\"auto\",\"device\":\"auto\"", "native", "cpu", "", ""},
        {"mlx", "\"engine\":null", NULL, NULL, "mlx", "gpu"},
        {"m", "\"engine\":\"mlx\",\"device\":\"cpu\"", NULL, NULL, "mlx", "cpu"},
    };
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        rig.api.engine = cases[i].engine;
        rig.api.device = cases[i].device;
        ask(cases[i].model, cases[i].options);
        assert_int_equal(rig.status, 200);
        assert_string_equal(rig.want_engine, cases[i].want_engine);
        assert_string_equal(rig.want_device, cases[i].want_device);
        assert_null(strstr(rig.head, "\"engine\"")); /* the runner has no use for it */
        assert_null(strstr(rig.body, "\"warnings\""));
    }
    rig.api.engine = rig.api.device = NULL;
}

static void test_every_dialect_passes_it_on(void **state)
{
    (void)state;
    static const struct {
        const char *path, *body;
    } cases[] = {
        {GENERATE, "{\"model\":\"mlx\",\"prompt\":\"Hi\"}"},
        {GENERATE, "{\"model\":\"mlx\"}"},
        {CHAT, "{\"model\":\"mlx\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}"},
        {CHAT, "{\"model\":\"mlx\"}"},
        {"/v1/chat/completions",
         "{\"model\":\"mlx\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}"},
    };
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        rig.want_engine[0] = '\0';
        rig_call("POST", cases[i].path, cases[i].body);
        assert_string_equal(rig.want_engine, "mlx");
    }
    rig_call("POST", "/api/embed",
             "{\"model\":\"e\",\"input\":\"x\",\"options\":{\"engine\":\"native\"}}");
    assert_string_equal(rig.want_engine, "native");
}

static void test_names_that_there_are_not(void **state)
{
    (void)state;
    ask("m", "\"engine\":\"steam\"");
    assert_int_equal(rig.status, 400);
    assert_int_equal(rig.n_submit, 0);
    rig_has("option \\\"engine\\\" is \\\"steam\\\", must be one of auto, native, mlx");
    ask("m", "\"device\":\"tpu\"");
    assert_int_equal(rig.status, 400);
    rig_has("option \\\"device\\\" is \\\"tpu\\\", must be one of auto, cpu, gpu");
    ask("m", "\"engine\":\"Native\""); /* case counts, as in all options */
    assert_int_equal(rig.status, 400);
    ask("m", "\"engine\":\"nativ\"");
    assert_int_equal(rig.status, 400);
    ask("m", "\"engine\":7");
    assert_int_equal(rig.status, 500); /* as Ollama has it for types */
    rig_has("option \\\"engine\\\" must be of type string");
    ask("steam", "");
    assert_int_equal(rig.status, 400);
    rig_has("PARAMETER \\\"engine\\\" is \\\"steam\\\"");
    ask("steam", "\"engine\":\"native\""); /* the request's word stands first */
    assert_int_equal(rig.status, 200);
}

/* Ollama's create takes any parameter, and so do we: it is said at once, and again when it is used.
 */
static void test_a_model_made_with_a_word_that_is_none(void **state)
{
    (void)state;
    rig_call(
        "POST", "/api/create",
        "{\"model\":\"odd\",\"from\":\"m\",\"stream\":false,\"parameters\":{\"engine\":\"coal\"}}");
    assert_int_equal(rig.status, 200);
    rig_has("PARAMETER \\\"engine\\\" is \\\"coal\\\", must be one of auto, native, mlx");
    ask("odd", "");
    assert_int_equal(rig.status, 400);
    rig_call(
        "POST", "/api/create",
        "{\"model\":\"even\",\"from\":\"m\",\"stream\":false,\"parameters\":{\"engine\":\"mlx\"}}");
    assert_null(strstr(rig.body, "must be one of"));
}

/* Equal keys share a runner: what was asked for is part of it, auto is what nobody says. */
static void test_keys(void **state)
{
    (void)state;
    char plain[256];
    ask("m", "");
    (void)snprintf(plain, sizeof plain, "%s", rig.key);
    ask("m", "\"engine\":\"auto\"");
    assert_string_equal(rig.key, plain);
    ask("m", "\"engine\":\"mlx\"");
    assert_string_not_equal(rig.key, plain);
    assert_int_equal(strncmp(rig.key, plain, strlen(plain)), 0);
    char mlx[256];
    (void)snprintf(mlx, sizeof mlx, "%s", rig.key);
    ask("m", "\"engine\":\"mlx\",\"device\":\"cpu\"");
    assert_string_not_equal(rig.key, mlx);
    assert_string_not_equal(rig.key, plain);
}

/* ---- what replies say ---- */

#define READY(engine, version, device, gpu, exact, why)                                            \
    "{\"engine\":\"" engine "\",\"engine_version\":\"" version "\",\"device\":\"" device           \
    "\",\"is_gpu\":" gpu ",\"exact\":" exact ",\"why\":\"" why "\"}"

static void hang(const char *body)
{
    rig.script = RIG_HANG;
    rig.call = rig_send("POST", GENERATE, body, strlen(body));
    rig.script = RIG_HELLO;
}

static void test_the_last_record_names_engine_and_reason(void **state)
{
    (void)state;
    hang("{\"model\":\"m\",\"prompt\":\"Hi\",\"stream\":false}");
    rig_event(POOL_LOADED, READY("mlx", "MLX 0.32.4", "gpu: H200", "true", "false", "asked for"),
              NULL, 0);
    rig_done();
    api_call_unref(rig.call);
    rig_has("\"engine\":\"mlx\",\"engine_version\":\"MLX 0.32.4\",\"device\":\"gpu: H200\","
            "\"exact\":false,");
    rig_has("\"why\":\"asked for\"");
    assert_string_equal(rig.engine, "mlx; device=gpu; version=\"MLX 0.32.4\"");
}

/* A runner that died before it said anything: only the one that stood in counts. */
static void test_a_second_loaded_replaces_the_first(void **state)
{
    (void)state;
    hang("{\"model\":\"m\",\"prompt\":\"Hi\",\"stream\":false}");
    rig_event(POOL_LOADED, READY("mlx", "MLX 0.32.4", "gpu: H200", "true", "false", "asked for"),
              NULL, 0);
    rig_event(POOL_LOADED, READY("native", "cama 0.1.0", "cpu: x", "false", "true", "stands in"),
              NULL, 0);
    rig_event(POOL_WARNING,
              "{\"code\":\"engine_fallback\",\"text\":\"mlx died\",\"from\":\"mlx\","
              "\"to\":\"native\",\"reason\":\"died\"}",
              NULL, 0);
    rig_done();
    api_call_unref(rig.call);
    rig_has("\"engine\":\"native\",\"engine_version\":\"cama 0.1.0\",\"device\":\"cpu: x\","
            "\"exact\":true,\"warnings\":[{\"code\":\"engine_fallback\",");
    rig_has("\"why\":\"stands in\"");
    assert_null(strstr(rig.body, "H200"));
    assert_string_equal(rig.engine, "native; device=cpu; version=\"cama 0.1.0\"");
}

/* What comes up the wire ends no header. */
static void test_a_header_holds_what_a_header_may(void **state)
{
    (void)state;
    hang("{\"model\":\"m\",\"prompt\":\"Hi\",\"stream\":false}");
    rig_event(POOL_LOADED, READY("native", "a\\r\\nX: \\\"b\\\\c\\u00e9", "d", "false", "true", ""),
              NULL, 0);
    rig_done();
    api_call_unref(rig.call);
    assert_string_equal(rig.engine, "native; device=cpu; version=\"aX: bc\"");
    hang("{\"model\":\"m\",\"prompt\":\"Hi\",\"stream\":false}");
    rig_event(POOL_LOADED, READY("na\\r\\ntive", "1", "d", "false", "true", ""), NULL, 0);
    rig_done();
    api_call_unref(rig.call);
    assert_string_equal(rig.engine, "");
}

static void test_ps_and_show(void **state)
{
    (void)state;
    ask("m", "\"engine\":\"mlx\"");
    (void)snprintf(rig.list, sizeof rig.list,
                   "[{\"name\":\"m:latest\",\"key\":\"%s\",\"engine\":\"mlx\",\"engine_version\":"
                   "\"MLX 1\",\"device\":\"gpu: x\",\"is_gpu\":true,\"exact\":true,\"why\":\"asked "
                   "for\",\"note\":\"\",\"fallback\":\"\",\"size\":77,\"forms\":[{\"role\":\"Q\","
                   "\"type\":\"Q4_K\",\"form\":\"affine\",\"exact\":true,\"n\":3,\"bytes\":9}]}]",
                   rig.key);
    rig_call("GET", "/api/ps", "");
    rig_has("\"size_vram\":77,");
    rig_has("\"engine\":\"mlx\",\"engine_version\":\"MLX 1\",\"device\":\"gpu: x\",\"why\":"
            "\"asked for\",\"exact\":true,");
    assert_null(strstr(rig.body, "\"fallback\""));
    rig_call("POST", "/api/show", "{\"model\":\"m\"}");
    rig_has("\"engine\":\"mlx\",\"engine_version\":\"MLX 1\"");
    rig_has("\"forms\":[{\"role\":\"Q\",\"type\":\"Q4_K\",\"form\":\"affine\",\"exact\":true,");
    (void)snprintf(rig.list, sizeof rig.list, "[]");
    rig_call("POST", "/api/show", "{\"model\":\"mlx\"}");
    rig_has("\"engine\":\"mlx\",\"device\":\"gpu\",\"types\":[{\"type\":\"F32\",\"n\":1,"
            "\"bytes\":256}]");
    assert_null(strstr(rig.body, "\"forms\""));
    rig_call("POST", "/api/show", "{\"model\":\"m\"}");
    rig_has("\"engine\":\"auto\",\"device\":\"auto\",");
}

/* ---- the list ---- */

static void test_engines(void **state)
{
    (void)state;
    rig.api.engine = "native";
    rig_call("GET", "/api/engines", "");
    assert_int_equal(rig.status, 200);
    rig_has("{\"engines\":[{\"name\":\"native\",\"available\":true}],\"failures\":[],"
            "\"state\":\"known\",\"default\":{\"engine\":\"native\",\"device\":\"auto\"},"
            "\"parity\":[{\"feature\":");
    rig.api.engine = NULL;
    /* Every word of the table is "yes", or says why not or what not. */
    arena a;
    json_value *v = NULL;
    arena_init(&a, 1 << 20);
    assert_int_equal(json_parse(rig.body, rig.n_body, &a, &v, NULL), CAMA_OK);
    const json_value *list = json_get(v, "parity");
    assert_true(list->n >= 10);
    for (size_t i = 0; i < 2 * list->n; i++) {
        const char *text = json_get(list->items[i / 2], i % 2 ? "mlx" : "native")->text;
        if (strcmp(text, "yes") != 0 && strncmp(text, "no: ", 4) != 0 &&
            strncmp(text, "part: ", 6) != 0)
            fail_msg("'%s' is neither yes, no nor part", text);
    }
    arena_done(&a);
}

static void test_reset(void **state)
{
    (void)state;
    rig_call("DELETE", "/api/engines", "");
    assert_int_equal(rig.status, 200);
    assert_string_equal(rig.body, "{\"forgotten\":3}");
    assert_string_equal(rig.reset, "all");
    rig_call("DELETE", "/api/engines", "{\"model\":\"m\"}");
    assert_int_equal(rig.status, 200);
    assert_int_equal(strncmp(rig.reset, "sha256:", 7), 0);
    rig.reset[0] = '\0';
    rig_call("DELETE", "/api/engines", "{\"model\":\"nosuch\"}");
    assert_int_equal(rig.status, 404);
    assert_string_equal(rig.reset, "");
    rig_call("DELETE", "/api/engines", "{\"model\":7}");
    assert_int_equal(rig.status, 400);
    rig_call("DELETE", "/api/engines", "{\"model\":\"a/b/c/d/e\"}");
    assert_int_equal(rig.status, 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_then_model_then_server_then_nobody),
        cmocka_unit_test(test_every_dialect_passes_it_on),
        cmocka_unit_test(test_names_that_there_are_not),
        cmocka_unit_test(test_a_model_made_with_a_word_that_is_none),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_the_last_record_names_engine_and_reason),
        cmocka_unit_test(test_a_second_loaded_replaces_the_first),
        cmocka_unit_test(test_a_header_holds_what_a_header_may),
        cmocka_unit_test(test_ps_and_show),
        cmocka_unit_test(test_engines),
        cmocka_unit_test(test_reset),
    };
    return cmocka_run_group_tests(tests, open_rig, close_rig);
}
