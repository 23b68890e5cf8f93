/* What chat_probe finds in the templates of real models, and that a plain conversation survives
 * chat_render in each of them. */
#include "chat/chat.h"
#include "test.h"

#include <dirent.h>

static tmpl *open_file(const char *name)
{
    static char source[1 << 16];
    char path[512];
    tmpl *t = NULL;
    err_info err = {0};
    (void)snprintf(path, sizeof path, "%s/%s", TEST_DATA("templates"), name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    const size_t n = fread(source, 1, sizeof source, f);
    fclose(f);
    if (tmpl_open(source, n, &t, &err)) {
        print_error("%s: %s\n", name, err.text);
        fail();
    }
    return t;
}

/* These cannot take it, in jinja2 either. */
static bool is_exception(const char *name)
{
    static const char *const names[] = {
        "fireworks-ai-llama-3-firefunction-v2.jinja", /* wants a variable named functions */
        "MiroThinker.jinja", /* assigns to what is no namespace once the assistant has spoken */
    };
    for (size_t i = 0; i < TEST_COUNT(names); i++) {
        if (strcmp(name, names[i]) == 0)
            return true;
    }
    return false;
}

static void check_conversation(const char *name)
{
    tmpl *t = open_file(name);
    const chat_message msgs[] = {{"system", "systemmark"},
                                 {"user", "firstmark"},
                                 {"assistant", "assistantmark"},
                                 {"user", "lastmark"}};
    const chat_request q = {
        .bos = "<s>", .eos = "</s>", .msgs = msgs, .n_msg = 4, .add_generation_prompt = true};
    uint32_t adapted = 0;
    err_info err = {0};
    buf out;
    buf_init(&out, 1 << 20);
    const cama_err e = chat_render(t, &q, &out, &adapted, &err);
    if (e)
        print_error("%s: %s\n", name, err.text);
    assert_int_equal(e, CAMA_OK);
    for (size_t i = 0; i < 4; i++) {
        if (!strstr(out.data, msgs[i].content))
            print_error("%s: lost %s\n", name, msgs[i].content);
        assert_non_null(strstr(out.data, msgs[i].content));
    }
    buf_done(&out);
    tmpl_close(t);
}

static void test_conversation_survives(void **state)
{
    (void)state;
    DIR *d = opendir(TEST_DATA("templates"));
    assert_non_null(d);
    int n = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        const size_t len = strlen(e->d_name);
        if (len < 6 || strcmp(e->d_name + len - 6, ".jinja") != 0 || is_exception(e->d_name))
            continue;
        check_conversation(e->d_name);
        n++;
    }
    closedir(d);
    assert_int_equal(n, 53);
}

static chat_caps probe(const char *name)
{
    chat_caps caps;
    err_info err = {0};
    tmpl *t = open_file(name);
    if (chat_probe(t, &caps, &err)) {
        print_error("%s: %s\n", name, err.text);
        fail();
    }
    tmpl_close(t);
    return caps;
}

/* Each fact can be read in the template. */
static void test_known_caps(void **state)
{
    (void)state;
    chat_caps c = probe("google-gemma-2-2b-it.jinja"); /* raises on a system message */
    assert_true(c.string_content && !c.system_role && !c.tools && !c.tool_calls);
    c = probe("meta-llama-Llama-3.1-8B-Instruct.jinja"); /* "only supports single tool-calls" */
    assert_true(c.tools && c.tool_calls && c.object_args && !c.string_args && !c.parallel_calls);
    c = probe("deepseek-ai-DeepSeek-R1-Distill-Llama-8B.jinja"); /* calls if content is none */
    assert_true(c.tool_calls && c.null_calls && c.string_args && !c.object_args && !c.tools);
    c = probe("NousResearch-Hermes-3-Llama-3.1-8B-tool_use.jinja"); /* iterates over tools */
    assert_true(c.no_tools_unset && c.tools && c.tool_calls && c.tool_role);
    c = probe("Qwen-Qwen3-0.6B.jinja");
    assert_true(c.thinking && c.tools && c.object_args && c.reasoning && c.parallel_calls);
    assert_false(c.typed_content || c.no_tools_unset);
    c = probe("Qwen3.5-4B.jinja"); /* renders lists of parts */
    assert_true(c.typed_content && c.string_content && c.thinking);
    c = probe("microsoft-Phi-3.5-mini-instruct.jinja");
    assert_true(c.system_role && !c.tools && !c.tool_calls && !c.tool_role && !c.thinking);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conversation_survives),
        cmocka_unit_test(test_known_caps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
