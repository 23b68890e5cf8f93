/* Manifests and configs as a real Ollama wrote them: what it named by digest, we name alike. */
#include "store/store.h"

#include "test.h"

#include "store/store_hash.h"
#include "store/store_manifest.h"

#define MODEL_DIGEST "sha256:941f309b54caaad6747569ba43712bcde44a2be3bae16c3282ff499c37c54af5"
#define MODEL_BYTES 98362432
#define TEMPLATE                                                                                   \
    "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}"           \
    "<|im_start|>assistant\n"

/* The digest that Ollama 0.32.7 gave a model made with these fields in its config; from: the layers
 * that came from another model name it, the params are written anew. */
static const struct known_model {
    const char *config;
    bool no_layers;
    const char *from;
    uint64_t config_bytes;
    const char *digest;
} known[] = {
    {"{\"remote_host\":\"https://ollama.com:443\",\"remote_model\":\"gpt-x\"}", true, NULL, 189,
     "sha256:486a3565a0cbcd2c0dad8dbad0a64982847ac279918d65767621a205b59e5e34"},
    {"{\"os\":\"other\"}", false, NULL, 152,
     "sha256:fd5f44c0b5aff6453726119fc560d73a8a995a55b4a49804bc24b1969ecf1794"},
    {"{\"rootfs\":{}}", false, "smollm2:135m", 152,
     "sha256:2865bb29cd64d7c3f0afb98cc3f6f55b65244ebb29f4ba7a14ecba7def2e520c"},
    {"{\"capabilities\":[\"embedding\"]}", false, "smollm2:135m", 181,
     "sha256:5a520a3eccd5f6f18becce140e8b99cd4701b6dec2bf9827e9bde2a16b4be81b"},
    {"{\"capabilities\":[\"completion\",\"tools\"]}", false, "smollm2:135m", 190,
     "sha256:c1b69871cd5b7d47a5e9173a61b98b33ebe4727c63c41bf1a9d0b056dc50bc6d"},
    {"{\"parser\":\"nope\",\"renderer\":\"nope\"}", false, "smollm2:135m", 186,
     "sha256:ad215991f39bbcef08fc1d83f2a54441e166f04c9fbe1a072a25c6996408ef78"},
    {"{\"requires\":\"99.0.0\"}", false, "smollm2:135m", 172,
     "sha256:f33f1c3d6310ea113232f37bf63bfea4ea300554362b139fc38542c72e381169"},
};

static json_value *parse(arena *a, const char *text)
{
    json_value *v;
    err_info err = {0};
    if (json_parse(text, strlen(text), a, &v, &err))
        fail_msg("%s: %s", text, err.text);
    return v;
}

static json_value *config_of(arena *a, const struct known_model *k)
{
    json_value *config = parse(a, k->config);
    const json_value *more =
        parse(a, "{\"file_type\":\"Q4_1\",\"model_type\":\"134.52M\",\"model_families\":"
                 "[\"llama\"],\"model_family\":\"llama\",\"model_format\":\"gguf\"}");
    for (size_t i = 0; i < more->n && !k->no_layers; i++)
        assert_true(json_put(a, config, more->members[i].key, more->members[i].value));
    return config;
}

static void digest_of(const buf *b, char out[STORE_DIGEST_BYTES])
{
    assert_int_equal(store_hash_bytes(b->data, b->n, out, NULL), CAMA_OK);
}

static void write_params(arena *a, buf *out)
{
    const json_value *params = parse(a, "{\"stop\":[\"<|im_start|>\",\"<|im_end|>\"]}");
    assert_int_equal(store_json_write(params, true, out), CAMA_OK);
    assert_int_equal(buf_putc(out, '\n'), CAMA_OK);
}

static void check_known(const struct known_model *k)
{
    arena a;
    arena_init(&a, 1 << 20);
    buf config;
    buf params;
    buf manifest;
    buf_init(&config, 4096);
    buf_init(&params, 4096);
    buf_init(&manifest, 4096);
    char config_digest[STORE_DIGEST_BYTES];
    char template_digest[STORE_DIGEST_BYTES];
    char params_digest[STORE_DIGEST_BYTES];
    char got[STORE_DIGEST_BYTES];
    err_info err = {0};

    assert_int_equal(store_config_encode(config_of(&a, k), &config, &err), CAMA_OK);
    assert_int_equal(config.n, k->config_bytes);
    digest_of(&config, config_digest);
    write_params(&a, &params);
    digest_of(&params, params_digest);
    assert_int_equal(store_hash_bytes(TEMPLATE, strlen(TEMPLATE), template_digest, NULL), 0);
    const store_layer entry = {
        .media_type = STORE_MEDIA_CONFIG, .digest = config_digest, .size = config.n};
    const store_layer layers[] = {
        {STORE_MEDIA_PREFIX "model", "model", MODEL_DIGEST, MODEL_BYTES, k->from, NULL},
        {STORE_MEDIA_PREFIX "template", "template", template_digest, strlen(TEMPLATE), k->from,
         NULL},
        {STORE_MEDIA_PREFIX "params", "params", params_digest, params.n, NULL, NULL},
    };
    assert_int_equal(store_manifest_encode(&entry, layers, k->no_layers ? 0 : 3, &manifest, &err),
                     CAMA_OK);
    digest_of(&manifest, got);
    assert_string_equal(got, k->digest);
    buf_done(&config);
    buf_done(&params);
    buf_done(&manifest);
    arena_done(&a);
}

static void test_known(void **state)
{
    (void)state;
    for (size_t i = 0; i < TEST_COUNT(known); i++)
        check_known(&known[i]);
}

/* ---- Go's JSON ---- */

static void check_json(const char *in, bool sort, const char *want)
{
    arena a;
    buf b;
    arena_init(&a, 1 << 16);
    buf_init(&b, 4096);
    assert_int_equal(store_json_write(parse(&a, in), sort, &b), CAMA_OK);
    assert_string_equal(b.data, want);
    buf_done(&b);
    arena_done(&a);
}

static void test_json(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"\"a<b>&'\\\"\\\\/\"", "\"a\\u003cb\\u003e\\u0026'\\\"\\\\/\""},
        {"\"\\u0000\\b\\f\\n\\r\\t\\u000b\\u001f\\u007f\"",
         "\"\\u0000\\b\\f\\n\\r\\t\\u000b\\u001f\x7f\""},
        {"\"\\u2028\\u2029\\u2030\"", "\"\\u2028\\u2029\xE2\x80\xB0\""},
        {"\"\\ud800\"", "\"\xEF\xBF\xBD\""},
        {"[0,-0,0.0,-0.0,1,-7,1.0,1.50,1e3,0.1]", "[0,-0,0,-0,1,-7,1,1.5,1000,0.1]"},
        {"[1e20,1e21,123456789012345680000,1.5e300]",
         "[100000000000000000000,1e+21,123456789012345680000,1.5e+300]"},
        {"[0.000001,0.0000001,1.25e-7,1e-10,-2.5e-5]", "[0.000001,1e-7,1.25e-7,1e-10,-0.000025]"},
        {"[9007199254740993,4096,0.30000000000000004]",
         "[9007199254740992,4096,0.30000000000000004]"},
        {"[null,true,false,{},[],[[]]]", "[null,true,false,{},[],[[]]]"},
    };
    for (size_t i = 0; i < TEST_COUNT(cases); i++)
        check_json(cases[i][0], false, cases[i][1]);
    check_json("{\"b\":1,\"a\":{\"d\":1,\"c\":2},\"B\":0}", true,
               "{\"B\":0,\"a\":{\"c\":2,\"d\":1},\"b\":1}");
    check_json("{\"b\":1,\"a\":2}", false, "{\"b\":1,\"a\":2}");
}

static void test_broken_utf8(void **state)
{
    (void)state;
    buf b;
    buf_init(&b, 64);
    assert_int_equal(store_json_write_string("a\xFF\xEF\xBF\xBD", 5, &b), CAMA_OK);
    assert_string_equal(b.data, "\"a\\ufffd\xEF\xBF\xBD\"");
    buf_done(&b);
}

static void test_config_kinds(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "{\"model_format\":1}",
        "{\"model_families\":\"llama\"}",
        "{\"model_families\":[1]}",
        "{\"context_length\":1.5}",
        "{\"draft\":[]}",
        "{\"requires\":{}}",
        "[]",
    };
    arena a;
    buf b;
    err_info err;
    arena_init(&a, 1 << 16);
    for (size_t i = 0; i < TEST_COUNT(bad); i++) {
        const json_value *config;
        buf_init(&b, 4096);
        assert_int_equal(store_config_encode(parse(&a, bad[i]), &b, &err), CAMA_ERR_ARG);
        assert_int_equal(store_config_parse(bad[i], strlen(bad[i]), &a, &config, &err),
                         CAMA_ERR_FORMAT);
        buf_done(&b);
    }
    arena_done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_broken_utf8),
        cmocka_unit_test(test_config_kinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
