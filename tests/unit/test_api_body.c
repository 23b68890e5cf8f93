/* Bodies as Go's encoding/json reads them, and the texts of its errors. */
#include "api_rig.h"

typedef struct body_case {
    const char *path, *body, *error; /* error NULL: anything but 400 */
} body_case;

#define GENERATE "/api/generate"
#define CHAT "/api/chat"
#define IN_GO "json: cannot unmarshal "

static const body_case cases[] = {
    {GENERATE, "", "missing request body"},
    {GENERATE, " \n", "missing request body"},
    {GENERATE, "{\"model\": ", "unexpected EOF"},
    {GENERATE, "{", "unexpected EOF"},
    {GENERATE, "tru", "unexpected EOF"},
    {GENERATE, "\"abc", "unexpected EOF"},
    {GENERATE, "hello", "invalid character 'h' looking for beginning of value"},
    {GENERATE, "{'model':1}",
     "invalid character '\\\\'' looking for beginning of object key string"},
    {GENERATE, "{\"model\":\"x\",}",
     "invalid character '}' looking for beginning of object key string"},
    {GENERATE, "\xef\xbb\xbf{}", "invalid character '\xc3\xaf' looking for beginning of value"},
    {GENERATE, "[]", IN_GO "array into Go value of type api.GenerateRequest"},
    {GENERATE, "\"x\"", IN_GO "string into Go value of type api.GenerateRequest"},
    {GENERATE, "5", IN_GO "number into Go value of type api.GenerateRequest"},
    {GENERATE, "true x", IN_GO "bool into Go value of type api.GenerateRequest"},
    {GENERATE, "null", NULL},
    {GENERATE, "{\"model\":\"m\"} garbage", NULL},
    {GENERATE, "{\"model\":\"nope\",\"model\":\"m\"}", NULL},
    {GENERATE, "{\"MODEL\":\"m\",\"Prompt\":\"\",\"frobnicate\":{}}", NULL},
    {GENERATE, "{\"model\":\"m\",\"MODEL\":null,\"stream\":null,\"options\":null}", NULL},
    {GENERATE, "{\"model\":5}",
     IN_GO "number into Go struct field GenerateRequest.model of type string"},
    {GENERATE, "{\"model\":\"m\",\"prompt\":[\"a\"]}",
     IN_GO "array into Go struct field GenerateRequest.prompt of type string"},
    {GENERATE, "{\"model\":5,\"prompt\":[\"a\"]}",
     IN_GO "number into Go struct field GenerateRequest.model of type string"},
    {GENERATE, "{\"model\":5,\"keep_alive\":\"bad\"}", "time: invalid duration \\\"bad\\\""},
    {GENERATE, "{\"stream\":\"yes\"}",
     IN_GO "string into Go struct field GenerateRequest.stream of type bool"},
    {GENERATE, "{\"options\":[]}",
     IN_GO "array into Go struct field GenerateRequest.options of type map[string]interface {}"},
    {GENERATE, "{\"context\":\"abc\"}",
     IN_GO "string into Go struct field GenerateRequest.context of type []int"},
    {GENERATE, "{\"context\":[1,2.5]}",
     IN_GO "number 2.5 into Go struct field GenerateRequest.context of type int"},
    {GENERATE, "{\"top_logprobs\":99999999999999999999}",
     IN_GO "number 99999999999999999999 into Go struct field GenerateRequest.top_logprobs of type "
           "int"},
    {GENERATE, "{\"keep_alive\":\"300\"}", "time: missing unit in duration \\\"300\\\""},
    {GENERATE, "{\"keep_alive\":true}", "Unsupported type: 'bool'"},
    {GENERATE, "{\"keep_alive\":{}}", "Unsupported type: 'map[string]interface {}'"},
    {GENERATE, "{\"keep_alive\":[]}", "Unsupported type: '[]interface {}'"},
    {GENERATE, "{\"think\":\"very\"}",
     "invalid think value: \\\"very\\\" (must be \\\"high\\\", \\\"medium\\\", \\\"low\\\", "
     "\\\"max\\\", true, or false)"},
    {GENERATE, "{\"think\":1}",
     "think must be a boolean or string (\\\"high\\\", \\\"medium\\\", \\\"low\\\", \\\"max\\\", "
     "true, or false)"},
    {GENERATE, "{\"images\":[\"???\"]}", "illegal base64 data at input byte 0"},
    {GENERATE, "{\"images\":[\"aGVsbG8\"]}", "illegal base64 data at input byte 4"},
    {GENERATE, "{\"images\":[\"aGVsbG8=x\"]}", "illegal base64 data at input byte 8"},
    {CHAT, "{\"messages\":\"hi\"}",
     IN_GO "string into Go struct field ChatRequest.messages of type []api.Message"},
    {CHAT, "{\"messages\":[\"hi\"]}",
     IN_GO "string into Go struct field ChatRequest.messages of type api.Alias"},
    {CHAT, "{\"messages\":[{\"role\":5}]}",
     IN_GO "number into Go struct field ChatRequest.messages.role of type string"},
    {CHAT, "{\"messages\":[{\"content\":[]}]}",
     IN_GO "array into Go struct field ChatRequest.messages.content of type string"},
    {CHAT, "{\"messages\":[{\"tool_calls\":{}}]}",
     IN_GO "object into Go struct field ChatRequest.messages.tool_calls of type []api.ToolCall"},
    {CHAT, "{\"messages\":[{\"tool_calls\":[{\"function\":{\"arguments\":\"{}\"}}]}]}",
     "Value looks like object, but can't find closing '}' symbol"},
    {CHAT, "{\"messages\":[{\"images\":[\"?\"]}]}", "illegal base64 data at input byte 0"},
    {CHAT, "{\"tools\":\"x\"}",
     IN_GO "string into Go struct field ChatRequest.tools of type api.Tools"},
    {CHAT, "{\"tools\":[{\"function\":{\"parameters\":{\"properties\":{\"a\":{\"type\":5}}}}}]}",
     IN_GO "number into Go struct field "
           "ToolFunctionParameters.tools.function.parameters.properties.type of type []string"},
    {"/api/create", "{\"files\":[\"a\"]}",
     IN_GO "array into Go struct field CreateRequest.files of type map[string]string"},
    {"/api/show", "{\"model\":5}",
     IN_GO "number into Go struct field ShowRequest.model of type string"},
    {"/api/embed", "{\"model\":\"m\",\"input\":5}", "invalid input type"},
    {"/api/embed", "{\"model\":\"m\",\"input\":[[1]]}", "invalid input type"},
    {"/v1/chat/completions", "", "EOF"},
    {"/v1/chat/completions", "{\"temperature\":\"hot\"}",
     IN_GO "string into Go struct field ChatCompletionRequest.temperature of type float64"},
    {"/v1/chat/completions", "{\"messages\":[{\"content\":5}]}",
     "invalid message content type: float64"},
};

static void test_bodies(void **state)
{
    (void)state;
    rig_open();
    rig_make("m", NULL);
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        rig_call("POST", cases[i].path, cases[i].body);
        if (!cases[i].error) {
            if (rig.status == 400)
                fail_msg("%s: %s", cases[i].body, rig.body);
            continue;
        }
        if (rig.status != 400 || !strstr(rig.body, cases[i].error))
            fail_msg("%s: %d %s, not %s", cases[i].body, rig.status, rig.body, cases[i].error);
        assert_string_equal(rig.type, API_JSON_UTF8);
    }
    rig_close();
}

/* Neither nesting nor a flood of values takes the server along. */
static void test_bounds(void **state)
{
    (void)state;
    enum { N = 2000 };
    char body[2 * N + 64];
    rig_open();
    int n = snprintf(body, sizeof body, "{\"model\":\"m\",\"x\":");
    memset(body + n, '[', N);
    body[n + N] = '\0';
    rig_call("POST", GENERATE, body);
    assert_int_equal(rig.status, 400);
    rig_has("exceeded max depth");
    rig_close();
}

/* Names of anything in a body come back in errors without breaking the reply. */
static void test_echo(void **state)
{
    (void)state;
    rig_open();
    rig_call("POST", GENERATE, "{\"model\":\"\\u0000<\\ud800\"}");
    assert_true(rig.status == 400 || rig.status == 404);
    rig_call("POST", CHAT, "{\"model\":\"a\\\"b\",\"messages\":[]}");
    assert_int_equal(rig.status, 400);
    rig_has("invalid model name");
    rig_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_echo),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
