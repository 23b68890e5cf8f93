/* Inference through each dialect: the job that a request becomes, and the reply that events become.
 */
#include "api_rig.h"

#define GENERATE "/api/generate"
#define CHAT "/api/chat"
#define V1 "/v1/chat/completions"
#define HI "\"messages\":[{\"role\":\"USER\",\"content\":\"Hi\"}]"

static int open_rig(void **state)
{
    (void)state;
    rig_open();
    rig_make("m", NULL);
    rig_make("go", ",\"template\":\"{{ .Prompt }}{{ .Suffix }}{{ range .Messages }}{{ .Thinking }}"
                   "{{ .Content }}{{ end }}{{ if .Tools }}{{ .Tools }}{{ end }}\","
                   "\"system\":\"Be terse.\",\"parameters\":{\"temperature\":0.5,\"stop\":[\"x\"]},"
                   "\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]");
    rig_make_of("e", NULL, true, NULL);
    return 0;
}

static int close_rig(void **state)
{
    (void)state;
    rig_close();
    return 0;
}

/* ---- replies ---- */

static void test_generate_stream(void **state)
{
    (void)state;
    rig_call("POST", GENERATE, "{\"model\":\"m\",\"prompt\":\"Hi\"}");
    assert_int_equal(rig.status, 200);
    assert_string_equal(rig.type, API_NDJSON);
    assert_string_equal(rig.engine, "native; device=cpu");
    assert_int_equal(rig.n_piece, 3); /* a chunk a line */
    rig_has("{\"model\":\"m\",\"created_at\":\"20");
    rig_has("\",\"response\":\"Hel\",\"done\":false}\n");
    rig_has("\"response\":\"lo \\u003cb\\u003e\",\"done\":false}\n");
    rig_has("\"response\":\"\",\"done\":true,\"done_reason\":\"length\",\"context\":[1,2,3],"
            "\"total_duration\":");
    rig_has("\"prompt_eval_count\":5,\"prompt_eval_duration\":3000,\"eval_count\":2,"
            "\"eval_duration\":4000,\"engine\":\"native\",\"device\":\"cpu\",\"cama\":{");
    assert_int_equal(rig.n_end, 1);
}

static void test_generate_whole(void **state)
{
    (void)state;
    rig_call("POST", GENERATE, "{\"model\":\"M\",\"prompt\":\"Hi\",\"stream\":false}");
    assert_int_equal(rig.status, 200);
    assert_string_equal(rig.type, API_JSON_UTF8);
    assert_string_equal(rig.engine, "native; device=cpu");
    rig_has("{\"model\":\"M\",");
    rig_has("\"response\":\"Hello \\u003cb\\u003e\",\"done\":true,\"done_reason\":\"length\"");
    assert_int_equal(rig.body[rig.n_body - 1], '}');
    assert_int_equal(rig.credit, strlen("Hello <b>")); /* what is kept is granted at once */
    rig.script = RIG_THINK;
    rig_call("POST", GENERATE, "{\"model\":\"go\",\"prompt\":\"Hi\",\"stream\":false}");
    rig_has("\"response\":\"Yes\",\"thinking\":\"Hm\",\"done\":true");
    rig.script = RIG_LOGPROBS;
    rig_call("POST", GENERATE,
             "{\"model\":\"m\",\"prompt\":\"Hi\",\"stream\":false,\"logprobs\":true}");
    rig_has("\"logprobs\":[{\"token\":\"a\",\"logprob\":-0.5,\"bytes\":[97]}]");
    rig_head_has("\"logprobs\":true,\"top_logprobs\":0");
    rig.script = RIG_WARN;
    rig_call("POST", GENERATE, "{\"model\":\"m\",\"prompt\":\"Hi\",\"stream\":false}");
    rig_has("\"warnings\":[{\"code\":\"context_truncated\",\"text\":\"2 messages dropped\","
            "\"n_dropped\":2}]");
    rig.script = RIG_HELLO;
}

static void test_load_and_unload(void **state)
{
    (void)state;
    rig_call("POST", GENERATE, "{\"model\":\"m\",\"keep_alive\":\"90s\"}");
    assert_true(rig.load_only);
    assert_int_equal(rig.keep_ns, 90 * 1000000000ll);
    assert_string_equal(rig.type, API_JSON_UTF8); /* one object, whatever stream says */
    rig_has("\"response\":\"\",\"done\":true,\"done_reason\":\"load\"}");
    rig_call("POST", GENERATE, "{\"model\":\"m\",\"keep_alive\":0}");
    assert_int_equal(rig.n_unload, 9); /* on any engine, on any device */
    assert_int_equal(rig.n_submit, 0);
    rig_has("\"done_reason\":\"unload\"}");
    rig_call("POST", CHAT, "{\"model\":\"m\"}");
    rig_has("\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,"
            "\"done_reason\":\"load\"}");
    rig_call("POST", CHAT, "{\"model\":\"m\",\"messages\":[],\"keep_alive\":0}");
    rig_has("\"done_reason\":\"unload\"}");
    rig_call("POST", GENERATE, "{\"model\":\"m\",\"prompt\":\"x\",\"keep_alive\":-1}");
    assert_true(rig.keep_ns == POOL_KEEP_FOREVER);
    rig_call("POST", GENERATE, "{\"model\":\"m\",\"prompt\":\"x\",\"keep_alive\":2.5}");
    assert_int_equal(rig.keep_ns, 2500000000ll);
    rig_call("POST", GENERATE, "{\"model\":\"m\",\"prompt\":\"x\"}");
    assert_true(rig.keep_ns == POOL_KEEP_DEFAULT);
}

static void test_chat(void **state)
{
    (void)state;
    rig_call("POST", CHAT, "{\"model\":\"m\"," HI "}");
    assert_string_equal(rig.type, API_NDJSON);
    rig_has("\"message\":{\"role\":\"assistant\",\"content\":\"Hel\"},\"done\":false}\n");
    rig_has("\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,"
            "\"done_reason\":\"length\",\"total_duration\":");
    rig.script = RIG_CALLS;
    rig_call("POST", CHAT, "{\"model\":\"m\"," HI "}");
    assert_int_equal(rig.n_piece, 2);
    rig_has("\"content\":\"\",\"tool_calls\":[{\"id\":\"call_ab\",\"function\":{\"index\":0,"
            "\"name\":\"f\",\"arguments\":{\"z\":1,\"a\":\"\\u003c\"}}}]},\"done\":false}\n");
    rig_call("POST", CHAT, "{\"model\":\"m\",\"stream\":false," HI "}");
    rig_has("\"content\":\"\",\"tool_calls\":[{\"id\":\"call_ab\"");
    rig.script = RIG_THINK;
    rig_call("POST", CHAT, "{\"model\":\"go\"," HI "}");
    rig_has("\"message\":{\"role\":\"assistant\",\"content\":\"\",\"thinking\":\"Hm\"},\"done\"");
    rig.script = RIG_HELLO;
}

static void test_v1(void **state)
{
    (void)state;
    rig_call("POST", V1, "{\"model\":\"m\"," HI "}");
    assert_string_equal(rig.type, API_JSON);
    rig_has("{\"id\":\"chatcmpl-");
    rig_has("\"object\":\"chat.completion\",\"created\":");
    rig_has("\"system_fingerprint\":\"fp_ollama\",\"choices\":[{\"index\":0,\"message\":{\"role\":"
            "\"assistant\",\"content\":\"Hello \\u003cb\\u003e\"},\"finish_reason\":\"length\"}],"
            "\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2,\"total_tokens\":7}");
    assert_int_equal(rig.body[rig.n_body - 1], '\n');
    rig_head_has("\"temperature\":1,");
    rig_head_has("\"top_p\":1,");
    rig_call("POST", V1,
             "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true}," HI
             "}");
    assert_string_equal(rig.type, API_SSE);
    assert_int_equal(rig.n_piece, 3);
    rig_has("\"delta\":{\"role\":\"assistant\",\"content\":\"Hel\"},\"finish_reason\":null}]}\n\n");
    rig_has("\"delta\":{\"content\":\"lo \\u003cb\\u003e\"},\"finish_reason\":null}]}\n\n");
    rig_has("\"delta\":{},\"finish_reason\":\"length\"}]");
    rig_has("\"choices\":[],\"usage\":{\"prompt_tokens\":5,");
    rig_has("data: [DONE]\n\n");
    rig.script = RIG_CALLS;
    rig_call("POST", V1, "{\"model\":\"m\"," HI "}");
    rig_has("\"tool_calls\":[{\"id\":\"call_ab\",\"index\":0,\"type\":\"function\",\"function\":{"
            "\"name\":\"f\",\"arguments\":\"{\\\"z\\\":1,\\\"a\\\":\\\"\\\\u003c\\\"}\"}}]},");
    rig.script = RIG_THINK;
    rig_call("POST", V1, "{\"model\":\"go\",\"stream\":true," HI "}");
    rig_has("\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"reasoning\":\"Hm\"}");
    rig.script = RIG_HELLO;
}

static void test_embed(void **state)
{
    (void)state;
    rig.script = RIG_VECTORS;
    rig_call("POST", "/api/embed", "{\"model\":\"e\",\"input\":[\"a\",\"b\"],\"dimensions\":2}");
    assert_int_equal(rig.status, 200);
    rig_has("{\"model\":\"e\",\"embeddings\":[[0.5,-1e-9],[0.5,-1e-9]],\"total_duration\":");
    rig_has("\"prompt_eval_count\":5");
    rig_head_has("\"kind\":\"embed\"");
    rig_head_has("\"inputs\":[\"a\",\"b\"],\"truncate\":true,\"dimensions\":2,\"normalize\":true}");
    rig_call("POST", "/api/embeddings", "{\"model\":\"e\",\"prompt\":\"a\"}");
    rig_has("{\"embedding\":[0.5,-9.999999717180685e-10]}");
    rig_call("POST", "/api/embed", "{\"model\":\"e\",\"input\":[\"a\",\"b\",\"c\"]}");
    assert_int_equal(rig.status, 500); /* the runner left one out */
    rig.script = RIG_HELLO;
    rig_call("POST", "/api/embed", "{\"model\":\"e\",\"input\":\"\"}");
    assert_string_equal(rig.body, "{\"model\":\"e\",\"embeddings\":[]}");
    rig_call("POST", "/api/embed", "{\"model\":\"m\",\"input\":\"x\"}");
    assert_int_equal(rig.status, 501);
    rig.script = RIG_FAIL;
    (void)err_set(&rig.fail, CAMA_ERR_CONTEXT, "9 > 8");
    rig_call("POST", "/api/embed", "{\"model\":\"e\",\"input\":\"x\",\"truncate\":false}");
    assert_int_equal(rig.status, 400);
    rig_has("the input length exceeds the context length");
    rig.script = RIG_HELLO;
}

/* ---- jobs ---- */

static void test_heads(void **state)
{
    (void)state;
    rig_call(
        "POST", CHAT,
        "{\"model\":\"go\"," HI ",\"think\":\"high\",\"truncate\":false,\"shift\":false,"
        "\"tools\":[{\"type\":\"function\",\"function\":{\"parameters\":{\"properties\":{"
        "\"b\":{\"pattern\":\"x\",\"type\":\"string\"}},\"type\":\"object\",\"required\":[\"b\"],"
        "\"additionalProperties\":false},\"name\":\"f\"}}]}");
    assert_int_equal(rig.status, 200);
    rig_head_has("{\"kind\":\"chat\",\"model\":\"go:latest\",\"template\":\"{{ .Prompt }}");
    rig_head_has("\"messages\":[{\"role\":\"system\",\"content\":\"Be terse.\"},{\"role\":\"user\","
                 "\"content\":\"a\"},{\"role\":\"user\",\"content\":\"Hi\"}]");
    rig_head_has(
        "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":"
        "\"\",\"parameters\":{\"type\":\"object\",\"required\":[\"b\"],\"properties\":{"
        "\"b\":{\"type\":\"string\",\"pattern\":\"x\"}},\"additionalProperties\":false}}}]");
    rig_head_has("\"think\":\"high\",\"truncate\":false,\"shift\":false}");
    rig_head_has("\"temperature\":0.5,");
    rig_head_has("\"stop\":[\"x\"]");
    rig_call("POST", GENERATE,
             "{\"model\":\"go\",\"prompt\":\"p\",\"system\":\"S\",\"context\":[4,5],"
             "\"options\":{\"temperature\":0,\"num_ctx\":512.9,\"num_predict\":0}}");
    rig_head_has("\"messages\":[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\","
                 "\"content\":\"p\"}],\"think\":true,");
    rig_head_has("\"want_context\":true,\"n_context\":2}");
    rig_head_has("\"num_ctx\":512,");
    rig_head_has("\"num_predict\":0,");
    rig_head_has("\"temperature\":0,");
    assert_int_equal(rig.n_ctx, 512);
    assert_int_equal(rig.n_ids, 2);
    assert_int_equal(rig.ids[1], 5);
    rig_call("POST", GENERATE, "{\"model\":\"m\",\"prompt\":\"a\\u0000b\",\"raw\":true}");
    rig_head_has("\"raw\":true,\"prompt\":\"a\\u0000b\",\"truncate\":true");
    assert_null(strstr(rig.head, "want_context"));
    assert_null(strstr(rig.body, "\"context\""));
    rig_call("POST", GENERATE, "{\"model\":\"go\",\"prompt\":\"p\",\"suffix\":\"s\"}");
    rig_head_has("\"prompt\":\"p\",\"suffix\":\"s\"");
    rig_call("POST", GENERATE,
             "{\"model\":\"m\",\"prompt\":\"p\",\"template\":\"T {{ .Prompt }}\"}");
    rig_head_has("\"template\":\"T {{ .Prompt }}\"");
    assert_string_equal(rig.details,
                        "{\"parent_model\":\"\",\"format\":\"gguf\",\"family\":\"llama\","
                        "\"families\":[\"llama\"],\"parameter_size\":\"64\","
                        "\"quantization_level\":\"F32\"}");
}

static void test_debug_render(void **state)
{
    (void)state;
    rig_call("POST", GENERATE, "{\"model\":\"m\",\"prompt\":\"p\",\"_debug_render_only\":true}");
    rig_head_has("\"render_only\":true");
    assert_string_equal(rig.type, API_JSON_UTF8);
    rig_has("\"response\":\"\",\"done\":false,\"_debug_info\":{\"rendered_template\":\"Hello "
            "\\u003cb\\u003e\"}}");
    rig_call("POST", CHAT, "{\"model\":\"m\"," HI ",\"_debug_render_only\":true}");
    rig_has("\"message\":{\"role\":\"\",\"content\":\"\"},\"done\":false,\"_debug_info\":{");
}

static void test_options(void **state)
{
    (void)state;
    static const struct {
        const char *options, *text;
        int status;
    } cases[] = {
        {"{\"num_ctx\":\"big\"}", "option \\\"num_ctx\\\" must be of type integer", 500},
        {"{\"temperature\":\"hot\"}", "option \\\"temperature\\\" must be of type float32", 500},
        {"{\"use_mmap\":\"yes\"}", "option \\\"use_mmap\\\" must be of type boolean", 500},
        {"{\"stop\":\"x\"}", "option \\\"stop\\\" must be of type array", 500},
        {"{\"stop\":[1]}", "option \\\"stop\\\" must be of an array of strings", 500},
        {"{\"frobnicate\":3}", "\"code\":\"option_unknown\"", 200},
        {"{\"Temperature\":0}", "\"code\":\"option_unknown\"", 200},
        {"{\"mirostat\":2}", "\"code\":\"option_ignored\"", 200},
        {"{\"num_gpu\":20}", "\"code\":\"option_ignored\"", 200},
        {"{\"num_ctx\":1000000}", "\"code\":\"num_ctx_reduced\"", 200},
        {"{\"num_ctx\":1e300,\"seed\":-1e300}", "\"code\":\"num_ctx_reduced\"", 200},
    };
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        char body[256];
        (void)snprintf(body, sizeof body,
                       "{\"model\":\"m\",\"prompt\":\"p\",\"stream\":false,\"options\":%s}",
                       cases[i].options);
        rig.api.strict = false;
        rig_call("POST", GENERATE, body);
        assert_int_equal(rig.status, cases[i].status);
        rig_has(cases[i].text);
        rig.api.strict = true; /* what would have been a warning ends it */
        rig_call("POST", GENERATE, body);
        assert_int_equal(rig.status, cases[i].status == 200 ? 400 : cases[i].status);
    }
    rig_call("POST", GENERATE,
             "{\"model\":\"m\",\"prompt\":\"p\",\"options\":{\"num_gpu\":0,"
             "\"num_ctx\":null,\"num_batch\":512}}");
    assert_int_equal(rig.status, 200);
    assert_null(strstr(rig.body, "warnings"));
    rig_head_has("\"truncate\":false,\"shift\":false");
    rig.script = RIG_WARN;
    rig_call("POST", GENERATE, "{\"model\":\"m\",\"prompt\":\"p\"}");
    assert_int_equal(rig.status, 400);
    rig_has("2 messages dropped");
    assert_int_equal(rig.n_begin, 1); /* from inside the stream */
    rig.script = RIG_HELLO;
    rig.api.strict = false;
}

/* ---- refusals ---- */

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *path, *body, *text;
        int status;
    } cases[] = {
        {GENERATE, "{\"model\":\"\",\"prompt\":\"x\"}", "model '' not found", 404},
        {GENERATE, "{\"model\":\"nope\",\"prompt\":\"x\"}", "model 'nope' not found", 404},
        {GENERATE, "{\"model\":\"bad name!\"}", "invalid model name", 400},
        {GENERATE, "{\"model\":\"x:cloud:local\"}",
         "use either :local or :cloud, not both: \\\"x:cloud:local\\\"", 400},
        {GENERATE, "{\"model\":\"gpt-oss:120b-cloud\"}", "ollama cloud is disabled", 403},
        {GENERATE, "{\"model\":\"e\"}", "\\\"e\\\" does not support generate", 400},
        {GENERATE, "{\"model\":\"m\",\"prompt\":\"x\",\"suffix\":\"y\"}",
         "registry.ollama.ai/library/m:latest does not support insert", 400},
        {GENERATE, "{\"model\":\"m\",\"prompt\":\"x\",\"think\":true}",
         "\\\"m\\\" does not support thinking", 400},
        {GENERATE, "{\"model\":\"m\",\"prompt\":\"x\",\"raw\":true,\"system\":\"s\"}",
         "raw mode does not support template, system, or context", 400},
        {GENERATE, "{\"model\":\"m\",\"prompt\":\"x\",\"template\":\"{{ .Prompt\"}",
         "template: :1: unclosed action", 500},
        {GENERATE, "{\"model\":\"m\",\"prompt\":\"x\",\"top_logprobs\":21}",
         "top_logprobs must be between 0 and 20", 400},
        {GENERATE, "{\"model\":\"m\",\"prompt\":\"x\",\"format\":\"xml\"}",
         "invalid format: \\\"\\\\\\\"xml\\\\\\\"\\\"; expected \\\"json\\\"", 500},
        {GENERATE, "{\"model\":\"m\",\"prompt\":\"x\",\"format\":\"json\"}",
         "format is not supported", 501},
        {GENERATE, "{\"model\":\"m\",\"prompt\":\"x\",\"images\":[\"aGVsbG8=\"]}",
         "image input is not supported", 400},
        {CHAT, "{\"model\":\"\"," HI "}", "model is required", 400},
        {CHAT, "{\"model\":\"e\"," HI "}", "\\\"e\\\" does not support chat", 400},
        {CHAT, "{\"model\":\"m\"," HI ",\"tools\":[{}]}",
         "registry.ollama.ai/library/m:latest does not support tools", 400},
        {CHAT, "{\"model\":\"m\",\"messages\":[{\"images\":[\"aGVsbG8=\"]}]}",
         "image input is not supported", 400},
        {"/api/embed", "{\"model\":\"nope\"}", "model \\\"nope\\\" not found, try pulling it first",
         404},
        {V1, "{\"model\":\"m\",\"messages\":[]}", "[] is too short - 'messages'", 400},
        {V1, "{" HI "}", "model is required", 400},
        {V1, "{\"model\":\"nope\"," HI "}", "\"type\":\"not_found_error\"", 404},
        {V1, "{\"model\":\"m\",\"messages\":[{\"content\":null}]}",
         "invalid message content type: \\u003cnil\\u003e", 400},
        {V1, "{\"model\":\"m\",\"messages\":[{\"content\":[{\"type\":\"zzz\"}]}]}",
         "invalid message format", 400},
        {V1,
         "{\"model\":\"m\",\"messages\":[{\"content\":[{\"type\":\"image_url\","
         "\"image_url\":{\"url\":\"http://x\"}}]}]}",
         "image URLs are not currently supported", 400},
        {V1,
         "{\"model\":\"m\",\"messages\":[{\"tool_calls\":[{\"function\":{\"arguments\":\"{\"}}]"
         "}]}",
         "invalid tool call arguments", 400},
        {V1, "{\"model\":\"m\"," HI ",\"reasoning_effort\":\"zzz\"}",
         "invalid reasoning value: \\\"zzz\\\"", 400},
    };
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        rig_call("POST", cases[i].path, cases[i].body);
        if (rig.status != cases[i].status || !strstr(rig.body, cases[i].text))
            fail_msg("%s: %d %s", cases[i].body, rig.status, rig.body);
        assert_int_equal(rig.n_submit, 0);
    }
}

static void test_job_errors(void **state)
{
    (void)state;
    rig.script = RIG_BUSY;
    rig_call("POST", GENERATE, "{\"model\":\"m\",\"prompt\":\"x\"}");
    assert_int_equal(rig.status, 503);
    rig_has("server busy, please try again.  maximum pending requests exceeded");
    rig.script = RIG_FAIL;
    (void)err_set(&rig.fail, CAMA_ERR_NO_FIT, "needs 9 of 8");
    rig_call("POST", GENERATE, "{\"model\":\"m\",\"prompt\":\"x\"}");
    assert_int_equal(rig.status, 507);
    assert_string_equal(rig.type, API_JSON_UTF8);
    rig.script = RIG_FAIL_LATE; /* loaded, nothing sent: a status of its own, as from a stream */
    (void)err_set(&rig.fail, CAMA_ERR_CONTEXT, "610 > 128");
    rig_call("POST", GENERATE, "{\"model\":\"m\",\"prompt\":\"x\",\"shift\":false}");
    assert_int_equal(rig.status, 400);
    assert_string_equal(rig.type, API_JSON);
    rig_has("the prompt is longer than the context length currently available");
    assert_int_not_equal(rig.body[rig.n_body - 1], '\n');
    rig_call("POST", V1, "{\"model\":\"m\",\"stream\":true," HI "}");
    assert_int_equal(rig.status, 400);
    assert_string_equal(rig.type, API_JSON);
    rig.script = RIG_FAIL_PART;
    (void)err_set(&rig.fail, CAMA_ERR_RUNNER, "model runner has unexpectedly stopped");
    rig_call("POST", GENERATE, "{\"model\":\"m\",\"prompt\":\"x\"}");
    assert_int_equal(rig.status, 200);
    assert_int_equal(rig.n_piece, 2);
    rig_has("\n{\"error\":\"model runner has unexpectedly stopped\"}\n");
    rig_call("POST", GENERATE, "{\"model\":\"m\",\"prompt\":\"x\",\"stream\":false}");
    assert_int_equal(rig.status, 500);
    rig_call("POST", V1, "{\"model\":\"m\",\"stream\":true," HI "}");
    rig_has("\n\ndata: {\"error\":{\"message\":\"model runner");
    rig.script = RIG_HELLO;
}

/* ---- the client ---- */

static void test_client_leaves(void **state)
{
    (void)state;
    rig.script = RIG_HANG;
    static const char body[] = "{\"model\":\"m\",\"prompt\":\"x\"}";
    api_call *c = rig_send("POST", GENERATE, body, sizeof body - 1);
    rig_loaded();
    rig_text(POOL_TEXT, "Hel");
    assert_int_equal(rig.n_piece, 1);
    api_call_gone(c);
    assert_int_equal(rig.n_cancel, 1);
    rig_text(POOL_TEXT, "lo"); /* on its way already */
    (void)err_set(&rig.fail, CAMA_ERR_CANCELED, "canceled");
    rig_event(POOL_FAIL, "{}", NULL, 0);
    assert_int_equal(rig.n_piece, 1); /* nothing is written to who has left */
    assert_int_equal(rig.n_end, 0);
    api_call_unref(c);
    rig.script = RIG_HELLO;
}

/* The job is granted as much text as the client took of what was made of it. */
static void test_credit(void **state)
{
    (void)state;
    rig.script = RIG_HANG;
    static const char body[] = "{\"model\":\"m\",\"prompt\":\"x\"}";
    api_call *c = rig_send("POST", GENERATE, body, sizeof body - 1);
    char text[1001];
    memset(text, 'a', 1000);
    text[1000] = '\0';
    rig_loaded();
    rig_text(POOL_TEXT, text);
    rig_text(POOL_TEXT, text);
    assert_int_equal(rig.credit, 0);
    const size_t all = rig.n_body;
    api_call_taken(c, all / 2);
    assert_in_range(rig.credit, 900, 1000);
    api_call_taken(c, all - all / 2);
    assert_int_equal(rig.credit, 2000);
    api_call_taken(c, 100); /* more than was sent: the door counts chunks' frames */
    assert_int_equal(rig.credit, 2000);
    rig_done();
    api_call_unref(c);
    rig.script = RIG_HELLO;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generate_stream),
        cmocka_unit_test(test_generate_whole),
        cmocka_unit_test(test_load_and_unload),
        cmocka_unit_test(test_chat),
        cmocka_unit_test(test_v1),
        cmocka_unit_test(test_embed),
        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_debug_render),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_job_errors),
        cmocka_unit_test(test_client_leaves),
        cmocka_unit_test(test_credit),
    };
    return cmocka_run_group_tests(tests, open_rig, close_rig);
}
