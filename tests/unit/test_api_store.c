/* The store's endpoints: create, show, tags, ps, copy, delete, blobs, /v1/models. */
#include "api_rig.h"

static int open_rig(void **state)
{
    (void)state;
    rig_open();
    return 0;
}

static int close_rig(void **state)
{
    (void)state;
    rig_close();
    return 0;
}

#define HELLO "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
#define ZERO "sha256:0000000000000000000000000000000000000000000000000000000000000000"

static void test_empty(void **state)
{
    (void)state;
    rig_call("GET", "/", "");
    assert_string_equal(rig.body, "Ollama is running");
    rig_call("GET", "/api/version", "");
    assert_string_equal(rig.body,
                        "{\"version\":\"" API_OLLAMA_VERSION "\",\"cama\":\"" CAMA_VERSION "\"}");
    rig_call("GET", "/api/tags", "");
    assert_string_equal(rig.body, "{\"models\":[]}");
    rig_call("GET", "/api/ps", "");
    assert_string_equal(rig.body, "{\"models\":[]}");
    rig_call("GET", "/v1/models", "");
    assert_string_equal(rig.body, "{\"object\":\"list\",\"data\":null}\n");
    assert_string_equal(rig.type, API_JSON);
}

static void test_blobs(void **state)
{
    (void)state;
    rig_call("HEAD", "/api/blobs/" HELLO, "");
    assert_int_equal(rig.status, 404);
    rig_call("POST", "/api/blobs/" HELLO, "hello");
    assert_int_equal(rig.status, 201);
    assert_string_equal(rig.body, "");
    rig_call("POST", "/api/blobs/" HELLO, "other bytes, not looked at");
    assert_int_equal(rig.status, 200);
    rig_call("HEAD", "/api/blobs/" HELLO, "");
    assert_int_equal(rig.status, 200);
    rig_call("POST", "/api/blobs/" ZERO, "hello");
    assert_int_equal(rig.status, 400);
    rig_has("digest mismatch, expected \\\"" ZERO "\\\", got \\\"" HELLO "\\\"");
    rig_call("POST", "/api/blobs/sha256:xyz", "hello");
    assert_int_equal(rig.status, 400);
    rig_has("invalid digest format");
    /* A body that ends early leaves nothing. */
    const api_out out = {.reply = rig_reply};
    const api_request r = {.method = "POST", .path = "", .param = ZERO};
    api_call *c = api_call_new(&rig.api, &r, &out);
    api_upload *u = NULL;
    api_upload_begin(c, &u);
    assert_non_null(u);
    api_upload_data(u, "hel", 3);
    api_upload_end(u, false);
    api_call_unref(c);
    assert_int_equal(rig.status, 400);
}

static void test_create(void **state)
{
    (void)state;
    rig_make("m:v1", NULL);
    assert_string_equal(rig.body, "{\"status\":\"success\"}");
    assert_string_equal(rig.type, API_JSON);
    rig_call("POST", "/api/create",
             "{\"model\":\"Layered\",\"from\":\"M:v1\",\"system\":\"Be terse.\",\"license\":[\"A\","
             "\"B\"],\"template\":\"{{ .Prompt }}\",\"parameters\":{\"stop\":[\"<x>\",\"y\"],"
             "\"num_ctx\":2048,\"temperature\":0.5},\"messages\":[{\"role\":\"user\",\"content\":"
             "\"Hi\"}],\"requires\":\"1.0.0\",\"info\":{\"capabilities\":[\"tools\"]}}");
    assert_int_equal(rig.status, 200);
    assert_string_equal(rig.type, API_NDJSON);
    rig_has("{\"status\":\"using existing layer sha256:");
    rig_has("{\"status\":\"creating new layer sha256:");
    rig_has("{\"status\":\"writing manifest\"}\n{\"status\":\"success\"}\n");
    assert_int_equal(rig.n_piece, 9);
    /* Parameters of the base stay; a new one of the same name wins. */
    rig_call("POST", "/api/create",
             "{\"model\":\"more\",\"from\":\"layered\",\"parameters\":{\"seed\":7,\"num_ctx\":512},"
             "\"stream\":false}");
    assert_int_equal(rig.status, 200);
    rig_call("POST", "/api/show", "{\"model\":\"more\"}");
    rig_has("PARAMETER num_ctx 512\\nPARAMETER seed 7\\nPARAMETER stop \\u003cx\\u003e\\n"
            "PARAMETER stop y\\nPARAMETER temperature 0.5\\n");
    rig_has("\"parent_model\":\"Layered:latest\"");
}

/* Taken as Ollama takes them, and told. */
static void test_create_warnings(void **state)
{
    (void)state;
    rig_call("POST", "/api/create",
             "{\"model\":\"w\",\"from\":\"m:v1\",\"stream\":false,\"parameters\":{"
             "\"frobnicate\":1,\"mirostat\":2,\"num_ctx\":\"many\",\"use_mmap\":\"no\"}}");
    assert_int_equal(rig.status, 200);
    rig_has("{\"status\":\"success\",\"warnings\":[{\"code\":\"option_unknown\",\"text\":"
            "\"PARAMETER \\\"frobnicate\\\" is not known\"},{\"code\":\"option_ignored\",");
    rig_call("DELETE", "/api/delete", "{\"model\":\"w\"}");
}

static void test_create_errors(void **state)
{
    (void)state;
    static const struct {
        const char *body, *text;
        int status;
    } cases[] = {
        {"{}", "invalid model name", 400},
        {"{\"model\":\"x\"}", "neither 'from' or 'files' was specified", 400},
        {"{\"model\":\"bad name!\",\"from\":\"m:v1\"}", "invalid model name", 400},
        {"{\"model\":\"x\",\"from\":\"bad name!\"}", "invalid model name", 400},
        {"{\"model\":\"x\",\"from\":\"nope\"}", "model 'nope' not found", 404},
        {"{\"model\":\"x\",\"files\":{}}", "unknown type", 400},
        {"{\"model\":\"x\",\"files\":{\"m.txt\":\"" ZERO "\"}}", "unknown type", 400},
        {"{\"model\":\"x\",\"files\":{\"/m.gguf\":\"" ZERO "\"}}", "file path must be relative",
         400},
        {"{\"model\":\"x\",\"files\":{\"a/../m.gguf\":\"" ZERO "\"}}", "file path must be relative",
         400},
        {"{\"model\":\"x\",\"files\":{\"m.gguf\":\"\"}}", "invalid digest format", 400},
        {"{\"model\":\"x\",\"stream\":false,\"files\":{\"m.gguf\":\"sha256:xyz\"}}",
         "invalid digest format", 500},
        {"{\"model\":\"x\",\"stream\":false,\"files\":{\"m.gguf\":\"" ZERO "\"}}",
         "no such file or directory", 500},
        {"{\"model\":\"x\",\"stream\":false,\"files\":{\"m.gguf\":\"" HELLO "\"}}",
         "supplied file was not in GGUF format", 400},
        {"{\"model\":\"x\",\"from\":\"m:v1\",\"template\":\"{{ .Prompt\"}",
         "template error: template: :1: unclosed action", 400},
        {"{\"model\":\"x\",\"from\":\"m:v1\",\"info\":{\"model_family\":5}}",
         "info field \\\"model_family\\\" must be a string", 400},
        {"{\"model\":\"x\",\"from\":\"m:v1\",\"quantize\":\"q99\"}",
         "unsupported quantization type Q99 - supported types are", 500},
        {"{\"model\":\"x\",\"from\":\"m:v1\",\"quantize\":\"q8_0\"}", "quantizing is not supported",
         501},
        {"{\"model\":\"x\",\"from\":\"m:v1\",\"adapters\":{\"a.gguf\":\"" ZERO "\"}}",
         "adapters are not supported", 501},
        {"{\"model\":\"x\",\"from\":\"m:v1\",\"draft_quantize\":\"q8_0\"}",
         "--draft-quantize requires a DRAFT model", 400},
    };
    rig_call("POST", "/api/blobs/" HELLO, "hello"); /* swept by a create that used it */
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        rig_call("POST", "/api/create", cases[i].body);
        if (rig.status != cases[i].status || !strstr(rig.body, cases[i].text))
            fail_msg("%s: %d %s", cases[i].body, rig.status, rig.body);
    }
    rig_call("POST", "/api/show", "{\"model\":\"x\"}");
    assert_int_equal(rig.status, 404);
    rig_has("model 'x:latest' not found");
    /* After the first line the error is one too. */
    rig_call("POST", "/api/create", "{\"model\":\"x\",\"files\":{\"m.gguf\":\"sha256:xyz\"}}");
    assert_int_equal(rig.status, 200);
    assert_string_equal(rig.body, "{\"status\":\"parsing GGUF\"}\n{\"error\":\"invalid digest "
                                  "format\"}\n");
}

static void test_show(void **state)
{
    (void)state;
    rig_call("POST", "/api/show", "{\"name\":\"LAYERED\"}");
    assert_int_equal(rig.status, 200);
    rig_has("{\"license\":\"A\\nB\",\"modelfile\":\"# Modelfile generated by \\\"ollama show\\\"\\n"
            "# To build a new Modelfile based on this, replace FROM with:\\n# FROM Layered:latest"
            "\\n\\nFROM /");
    rig_has("\\nTEMPLATE {{ .Prompt }}\\nSYSTEM Be terse.\\n");
    rig_has(
        "LICENSE A\\nLICENSE B\\nMESSAGE user Hi\\n\",\"parameters\":\"num_ctx                  "
        "      2048\\nstop                           \\\"\\u003cx\\u003e\\\"\\n");
    rig_has("\"system\":\"Be terse.\",\"details\":{");
    rig_has("\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]");
    rig_has("\"model_info\":{\"general.architecture\":\"llama\",\"general.file_type\":0,"
            "\"general.parameter_count\":64,\"llama.attention.layer_norm_rms_epsilon\":0.00001,");
    rig_has("\"tokenizer.ggml.tokens\":null}");
    rig_has("\"tensors\":[{\"name\":\"x.weight\",\"type\":\"F32\",\"shape\":[32,2]}]");
    rig_has("\"capabilities\":[\"completion\",\"tools\"],\"modified_at\":\"");
    rig_has("\"requires\":\"1.0.0\"");
    rig_has("\"engine\":\"auto\",\"device\":\"auto\""); /* not loaded: what will be asked for */
    rig_call(
        "POST", "/api/show",
        "{\"model\":\"m:v1:local\",\"verbose\":true,\"system\":\"S\",\"options\":{\"seed\":1}}");
    rig_has("\"tokenizer.ggml.tokens\":[\"\\u003cs\\u003e\",\"\\\"a\\\"\"]}");
    rig_has("SYSTEM S\\nPARAMETER seed 1\\n");
    rig_has("\"template\":\"{{ .Prompt }}\"");
    rig_make_of("jinja", "{{ messages }}{{ tools }}{{ enable_thinking }}", false, NULL);
    rig_call("POST", "/api/show", "{\"model\":\"jinja\"}");
    rig_has("\"template\":\"{{ messages }}{{ tools }}{{ enable_thinking }}\"");
    rig_has("\"capabilities\":[\"completion\",\"tools\",\"thinking\"]");
    rig_call("POST", "/api/show", "{}");
    rig_has("model is required");
}

static void test_remote_stub(void **state)
{
    (void)state;
    rig_call("POST", "/api/create", "{\"model\":\"r\",\"from\":\"gpt-x:cloud\",\"stream\":false}");
    assert_int_equal(rig.status, 200);
    rig_call("POST", "/api/show", "{\"model\":\"r\"}");
    rig_has(
        "\"remote_model\":\"gpt-x\",\"remote_host\":\"https://ollama.com:443\",\"model_info\":{}"
        ",\"modified_at\"");
    rig_has("\"families\":null");
    rig_call("POST", "/api/generate", "{\"model\":\"r\",\"prompt\":\"x\"}");
    assert_int_equal(rig.status, 403);
    rig_call("GET", "/api/tags", "");
    rig_has("\"model\":\"r:latest\",\"remote_model\":\"gpt-x\",\"remote_host\":");
    rig_call("DELETE", "/api/delete", "{\"model\":\"r\"}");
    assert_int_equal(rig.status, 200);
}

static void test_lists(void **state)
{
    (void)state;
    rig_call("GET", "/api/tags", "");
    assert_string_equal(rig.type, API_JSON_UTF8);
    rig_has("{\"name\":\"m:v1\",\"model\":\"m:v1\",\"modified_at\":\"");
    rig_has("\"details\":{\"parent_model\":\"\",\"format\":\"gguf\",\"family\":\"llama\","
            "\"families\":[\"llama\"],\"parameter_size\":\"64\",\"quantization_level\":\"F32\","
            "\"context_length\":8192,\"embedding_length\":32},\"capabilities\":[\"completion\"]}");
    rig_call("GET", "/v1/models", "");
    rig_has("{\"id\":\"m:v1\",\"object\":\"model\",\"created\":");
    rig_has("\"owned_by\":\"library\"}");
    (void)snprintf(rig.list, sizeof rig.list,
                   "[{\"name\":\"m:v1\",\"digest\":\"sha256:ab\",\"details\":{\"format\":\"gguf\"},"
                   "\"engine\":\"native\",\"device\":\"cpu\",\"n_ctx\":512,\"size\":9,"
                   "\"bytes\":{\"kv\":1},\"remaining_ns\":-1,\"state\":\"ready\",\"running\":2}]");
    rig_call("GET", "/api/ps", "");
    rig_has("{\"models\":[{\"name\":\"m:v1\",\"model\":\"m:v1\",\"size\":9,\"digest\":\"ab\","
            "\"details\":{\"format\":\"gguf\"},\"expires_at\":\"23"); /* for ever: 292 years */
    rig_has("\"size_vram\":0,\"context_length\":512,\"engine\":\"native\",\"device\":\"cpu\","
            "\"state\":\"ready\",\"memory\":{\"kv\":1},\"cama\":{");
}

static void test_copy_and_delete(void **state)
{
    (void)state;
    static const struct {
        const char *body, *text;
        int status;
    } copies[] = {
        {"{}", "source \\\"\\\" is invalid", 400},
        {"{\"source\":\"m:v1\",\"destination\":\"bad name!\"}",
         "destination \\\"bad name!\\\" is invalid", 400},
        {"{\"source\":\"nope\",\"destination\":\"x\"}", "model \\\"nope\\\" not found", 404},
        {"{\"source\":\"m:v1\",\"destination\":\"m:v1\"}", "", 200},
        {"{\"source\":\"m:v1\",\"destination\":\"copy\"}", "", 200},
    };
    for (size_t i = 0; i < TEST_COUNT(copies); i++) {
        rig_call("POST", "/api/copy", copies[i].body);
        assert_int_equal(rig.status, copies[i].status);
        rig_has(copies[i].text);
    }
    rig_call("DELETE", "/api/delete", "{\"name\":\"COPY\"}");
    assert_int_equal(rig.status, 200);
    assert_string_equal(rig.body, "");
    rig_call("DELETE", "/api/delete", "{\"name\":\"copy\"}");
    assert_int_equal(rig.status, 404);
    rig_has("model 'copy' not found");
    rig_call("DELETE", "/api/delete", "{\"model\":\"\"}");
    rig_has("model is required");
    rig_call("DELETE", "/api/delete", "{\"model\":\"bad name!\"}");
    rig_has("name \\\"bad name!\\\" is invalid");
}

/* A blob that vanished or is no GGUF: listed without what it would say, refused when it is run. */
static void test_broken_file(void **state)
{
    (void)state;
    char command[256];
    rig_make("broken", NULL);
    api_cache_free(rig.api.cache);
    rig.api.cache = NULL;
    (void)snprintf(
        command, sizeof command,
        "for f in %s/models/blobs/*; do [ \"$(head -c 4 \"$f\")\" = GGUF ] && echo x >\"$f\"; "
        "done; true",
        rig.dir);
    assert_int_equal(system(command), 0);
    rig_call("GET", "/api/tags", "");
    assert_int_equal(rig.status, 200);
    rig_has("\"name\":\"broken:latest\"");
    rig_call("POST", "/api/show", "{\"model\":\"broken\"}");
    assert_int_equal(rig.status, 200);
    rig_call("POST", "/api/generate", "{\"model\":\"broken\",\"prompt\":\"x\"}");
    assert_int_equal(rig.status, 500);
    rig.api.cache = api_cache_new();
}

/* The cache is bounded and the newest stay. */
static void test_cache(void **state)
{
    (void)state;
    char path[128];
    err_info err;
    (void)snprintf(path, sizeof path, "%s/cached.gguf", rig.dir);
    rig_gguf(path, NULL, false);
    for (int i = 0; i < 3 * API_CACHE_FILES; i++) {
        char digest[STORE_DIGEST_BYTES];
        api_file *f = NULL;
        (void)snprintf(digest, sizeof digest, "sha256:%064d", i);
        assert_int_equal(api_file_open(&rig.api, digest, path, &f, &err), CAMA_OK);
        assert_int_equal(f->n_param, 64);
        api_file_unref(f);
    }
    (void)unlink(path);
    for (int i = 2 * API_CACHE_FILES; i < 3 * API_CACHE_FILES; i++) {
        char digest[STORE_DIGEST_BYTES];
        api_file *f = NULL;
        (void)snprintf(digest, sizeof digest, "sha256:%064d", i);
        assert_int_equal(api_file_open(&rig.api, digest, path, &f, &err), CAMA_OK);
        api_file_unref(f);
    }
    api_file *gone = NULL;
    char first[STORE_DIGEST_BYTES];
    (void)snprintf(first, sizeof first, "sha256:%064d", 0);
    assert_int_not_equal(api_file_open(&rig.api, first, path, &gone, &err), CAMA_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),           cmocka_unit_test(test_blobs),
        cmocka_unit_test(test_create),          cmocka_unit_test(test_create_warnings),
        cmocka_unit_test(test_create_errors),   cmocka_unit_test(test_show),
        cmocka_unit_test(test_remote_stub),     cmocka_unit_test(test_lists),
        cmocka_unit_test(test_copy_and_delete), cmocka_unit_test(test_broken_file),
        cmocka_unit_test(test_cache),
    };
    return cmocka_run_group_tests(tests, open_rig, close_rig);
}
