/* Memory that is refused, one allocation after the other, under every kind of request: each ends in
 * one answer, 507 or the right one, and nothing leaks. */
#include "api_rig.h"
#include "fault.h"

typedef struct attempt {
    const char *method, *path, *body;
    rig_script script;
    int status; /* when all goes well */
} attempt;

static cama_err send_once(void *arg, err_info *err)
{
    const attempt *a = arg;
    rig.script = a->script;
    api_call *c = rig_send(a->method, a->path, a->body, strlen(a->body));
    if (!c)
        return err_set(err, CAMA_ERR_NOMEM, "no call");
    api_call_unref(c);
    const int answers = rig.n_reply + rig.n_begin;
    assert_int_equal(answers, 1);
    assert_int_equal(rig.n_begin, rig.n_end);
    return CAMA_OK; /* a reply with 507, or without what could not be read, is an answer */
}

static int open_rig(void **state)
{
    (void)state;
    rig_open();
    rig_make("m", ",\"system\":\"s\",\"parameters\":{\"seed\":1},\"license\":\"L\","
                  "\"template\":\"{{ .Prompt }}{{ .Tools }}{{ .Response }}\"");
    rig_make_of("e", "{{ messages }}", true, NULL);
    return 0;
}

static int close_rig(void **state)
{
    (void)state;
    rig_close();
    return 0;
}

static void sweep(const attempt *a)
{
    attempt copy = *a;
    fault_allow_ok(true);
    const size_t n = fault_sweep(FAULT_HEAP, send_once, &copy);
    fault_allow_ok(false);
    assert_true(n >= 2);
    assert_int_equal(send_once(&copy, NULL), CAMA_OK); /* as if nothing had happened */
    assert_int_equal(rig.status, a->status);
}

#define MESSAGES "\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]"

static void test_inference(void **state)
{
    (void)state;
    static const attempt attempts[] = {
        {"POST", "/api/generate", "{\"model\":\"m\",\"prompt\":\"x\",\"options\":{\"y\":1}}",
         RIG_WARN, 200},
        {"POST", "/api/generate", "{\"model\":\"m\",\"prompt\":\"x\",\"stream\":false}", RIG_THINK,
         200},
        {"POST", "/api/generate", "{\"model\":\"m\"}", RIG_HELLO, 200},
        {"POST", "/api/generate",
         "{\"model\":\"m\",\"prompt\":\"x\",\"options\":{\"engine\":\"mlx\",\"device\":\"cpu\"}}",
         RIG_HELLO, 200},
        {"POST", "/api/generate", "{\"model\":\"m\",\"keep_alive\":0}", RIG_HELLO, 200},
        {"POST", "/api/chat", "{\"model\":\"m\"," MESSAGES "}", RIG_CALLS, 200},
        {"POST", "/api/chat", "{\"model\":\"m\",\"stream\":false," MESSAGES "}", RIG_CALLS, 200},
        {"POST", "/v1/chat/completions", "{\"model\":\"m\",\"stop\":\"x\"," MESSAGES "}", RIG_CALLS,
         200},
        {"POST", "/v1/chat/completions", "{\"model\":\"m\",\"stream\":true," MESSAGES "}",
         RIG_FAIL_PART, 200},
        {"POST", "/api/embed", "{\"model\":\"e\",\"input\":[\"a\",\"b\"]}", RIG_VECTORS, 200},
        {"POST", "/api/embeddings", "{\"model\":\"e\",\"prompt\":\"a\"}", RIG_VECTORS, 200},
        {"POST", "/api/generate", "{\"model\":\"m\",\"prompt\":\"x\"}", RIG_BUSY, 503},
    };
    (void)err_set(&rig.fail, CAMA_ERR_RUNNER, "gone");
    for (size_t i = 0; i < TEST_COUNT(attempts); i++)
        sweep(&attempts[i]);
}

static void test_store(void **state)
{
    (void)state;
    static const attempt attempts[] = {
        {"GET", "/api/tags", "", RIG_HELLO, 200},
        {"GET", "/api/ps", "", RIG_HELLO, 200},
        {"GET", "/v1/models", "", RIG_HELLO, 200},
        {"GET", "/api/engines", "", RIG_HELLO, 200},
        {"DELETE", "/api/engines", "{\"model\":\"m\"}", RIG_HELLO, 200},
        {"POST", "/api/show", "{\"model\":\"m\",\"verbose\":true}", RIG_HELLO, 200},
        {"POST", "/api/create",
         "{\"model\":\"x\",\"from\":\"m\",\"system\":\"t\",\"parameters\":{\"seed\":2}}", RIG_HELLO,
         200},
        {"POST", "/api/copy", "{\"source\":\"m\",\"destination\":\"y\"}", RIG_HELLO, 200},
        {"POST",
         "/api/blobs/sha256:"
         "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
         "hello", RIG_HELLO, 200},
        {"DELETE", "/api/delete", "{\"model\":\"nope\"}", RIG_HELLO, 404},
    };
    for (size_t i = 0; i < TEST_COUNT(attempts); i++)
        sweep(&attempts[i]);
}

/* The facts of a file are read again and again where nothing may be remembered. */
static void test_without_cache(void **state)
{
    (void)state;
    static const attempt show = {"POST", "/api/show", "{\"model\":\"e\"}", RIG_HELLO, 200};
    api_cache *cache = rig.api.cache;
    rig.api.cache = NULL;
    sweep(&show);
    rig.api.cache = cache;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inference),
        cmocka_unit_test(test_store),
        cmocka_unit_test(test_without_cache),
    };
    return cmocka_run_group_tests(tests, open_rig, close_rig);
}
