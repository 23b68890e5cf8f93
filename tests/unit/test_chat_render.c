#include "chat/chat.h"
#include "test.h"

static tmpl *open_text(const char *source)
{
    tmpl *t = NULL;
    err_info err = {0};
    if (tmpl_open(source, strlen(source), &t, &err)) {
        print_error("%s\n", err.text);
        fail();
    }
    return t;
}

/* Messages and tools as JSON; the prompt must be want (NULL: refused), the bits too. */
static void check(const char *source, const char *messages, const char *want, uint32_t bits)
{
    tmpl *t = open_text(source);
    arena a;
    arena_init(&a, 1 << 20);
    json_value *list = NULL;
    assert_int_equal(json_parse(messages, strlen(messages), &a, &list, NULL), CAMA_OK);
    buf out;
    buf_init(&out, 1 << 16);
    uint32_t adapted = 0;
    err_info err = {0};
    const chat_request q = {
        .bos = "<s>", .eos = "</s>", .messages = list, .add_generation_prompt = true};
    const cama_err e = chat_render(t, &q, &out, &adapted, &err);
    if (e && want)
        print_error("%s\n", err.text);
    assert_int_equal(e != CAMA_OK, want == NULL);
    if (want) {
        assert_string_equal(out.data, want);
        assert_int_equal(adapted, bits);
    }
    buf_done(&out);
    arena_done(&a);
    tmpl_close(t);
}

#define PLAIN "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
#define NO_SYSTEM                                                                                  \
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"         \
    "{% endif %}[{{ m.role }}]{{ m.content }}{% endfor %}"
#define TYPED                                                                                      \
    "{% for m in messages %}[{{ m.role }}]{% for p in m.content %}{{ p.text }}{% endfor %}"        \
    "{% endfor %}"
#define CALLS(args)                                                                                \
    "{% for m in messages %}[{{ m.role }}]{{ m.content or '' }}"                                   \
    "{% for c in m.tool_calls or [] %}<{{ c.function.name }} {{ " args " }}>{% endfor %}"          \
    "{% endfor %}"

static void test_plain(void **state)
{
    (void)state;
    check(PLAIN, "[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":\"U\"}]",
          "[system]S[user]U", 0);
    check("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}{{ add_generation_prompt }}",
          "[{\"role\":\"user\",\"content\":\"U\"}]", "<s>U</s>True", 0);
}

static void test_system_merged(void **state)
{
    (void)state;
    check(NO_SYSTEM,
          "[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":\"U\"},"
          "{\"role\":\"user\",\"content\":\"V\"}]",
          "[user]S\n\nU[user]V", CHAT_SYSTEM_MERGED);
    check(NO_SYSTEM, "[{\"role\":\"system\",\"content\":\"S\"}]", "[user]S", CHAT_SYSTEM_MERGED);
    check(NO_SYSTEM, "[{\"role\":\"user\",\"content\":\"U\"}]", "[user]U", 0);
}

static void test_content_forms(void **state)
{
    (void)state;
    check(PLAIN,
          "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
          "{\"type\":\"text\",\"text\":\"b\"}]}]",
          "[user]a\nb", CHAT_PARTS_JOINED);
    check(PLAIN, "[{\"role\":\"user\",\"content\":[{\"type\":\"image\"}]}]", NULL, 0);
    check(TYPED, "[{\"role\":\"user\",\"content\":\"a\"}]", "[user]a", CHAT_TEXT_WRAPPED);
    check(PLAIN, "[{\"role\":\"user\",\"content\":null}]", "[user]", CHAT_NULL_EMPTIED);
}

#define ONE_CALL(args)                                                                             \
    "[{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"function\":{\"name\":\"f\","     \
    "\"arguments\":" args "}}]}]"

static void test_arguments(void **state)
{
    (void)state;
    check(CALLS("c.function.arguments | tojson"), ONE_CALL("\"{\\\"a\\\": 1}\""),
          "[assistant]<f {\"a\": 1}>", CHAT_ARGS_PARSED);
    check(CALLS("c.function.arguments | tojson"), ONE_CALL("{\"a\":1}"),
          "[assistant]<f {\"a\": 1}>", 0);
    check(CALLS("c.function.arguments"), ONE_CALL("{\"a\":1}"), "[assistant]<f {\"a\":1}>",
          CHAT_ARGS_PRINTED);
    check(CALLS("c.function.arguments"), ONE_CALL("\"{\\\"a\\\": 1}\""),
          "[assistant]<f {\"a\": 1}>", 0);
    check(PLAIN, ONE_CALL("{\"a\":1}"), "[assistant]", CHAT_TOOLS_IGNORED);
}

static void test_null_and_tools(void **state)
{
    (void)state;
    /* calls beside null content only, as DeepSeek R1's template */
    check("{% for m in messages %}[{{ m.role }}]{% if m.content is none %}"
          "{% for c in m.tool_calls %}<{{ c.function.arguments }}>{% endfor %}{% else %}"
          "{{ m.content }}{% endif %}{% endfor %}",
          ONE_CALL("\"{}\""), "[assistant]<{}>", CHAT_EMPTY_NULLED);
    /* none for tools is refused: the variable is left out */
    check("{% for t in tools %}{{ t }}{% endfor %}{{ messages[0].content }}",
          "[{\"role\":\"user\",\"content\":\"U\"}]", "U", 0);
    check("{{ tools }}{{ messages[0].content }}", "[{\"role\":\"user\",\"content\":\"U\"}]",
          "NoneU", 0);
}

static void test_struct_messages(void **state)
{
    (void)state;
    tmpl *t = open_text("{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}"
                        "{% if enable_thinking is defined %}{{ enable_thinking }}{% endif %}"
                        "{{ strftime_now('%Y') }}{{ more }}");
    const chat_message msgs[] = {{"system", "S"}, {"user", "ü"}};
    arena a;
    arena_init(&a, 4096);
    json_value *extra = json_new_object(&a);
    assert_true(json_put(&a, extra, "more", json_new_int(&a, 5)));
    chat_caps caps;
    assert_int_equal(chat_probe(t, &caps, NULL), CAMA_OK);
    assert_true(caps.thinking && caps.system_role && caps.string_content);
    assert_false(caps.typed_content || caps.tools || caps.tool_calls);
    chat_request q = {.caps = &caps, .msgs = msgs, .n_msg = 2, .extra = extra, .now_s = 1000000000};
    uint32_t adapted = 99;
    buf out;
    buf_init(&out, 4096);
    assert_int_equal(chat_render(t, &q, &out, &adapted, NULL), CAMA_OK);
    assert_string_equal(out.data, "system:S;user:ü;20015");
    assert_int_equal(adapted, 0);
    buf_clear(&out);
    q.think = CHAT_THINK_OFF;
    assert_int_equal(chat_render(t, &q, &out, &adapted, NULL), CAMA_OK);
    assert_string_equal(out.data, "system:S;user:ü;False20015");
    buf_done(&out);
    arena_done(&a);
    tmpl_close(t);
}

static void test_refusing_template(void **state)
{
    (void)state;
    tmpl *t = open_text("{{ raise_exception('never') }}");
    chat_caps caps;
    err_info err;
    assert_int_equal(chat_probe(t, &caps, &err), CAMA_ERR_TEMPLATE);
    assert_non_null(strstr(err.text, "never"));
    tmpl_close(t);
    t = open_text(
        "{% if messages[0].content == 'bad' %}{{ raise_exception('Bad word') }}{% endif %}"
        "{{ messages[0].content }}");
    const chat_message msg = {"user", "bad"};
    const chat_request q = {.msgs = &msg, .n_msg = 1};
    uint32_t adapted;
    buf out;
    buf_init(&out, 4096);
    assert_int_equal(chat_render(t, &q, &out, &adapted, &err), CAMA_ERR_TEMPLATE);
    assert_non_null(strstr(err.text, "Bad word"));
    assert_int_equal(out.n, 0);
    buf_done(&out);
    tmpl_close(t);
}

static void test_adapted_texts(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < CHAT_N_ADAPTED; i++)
        assert_true(strlen(chat_adapted_text(1u << i)) > 10);
    assert_string_equal(chat_adapted_text(0), "");
    assert_string_equal(chat_adapted_text(1u << CHAT_N_ADAPTED), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_system_merged),
        cmocka_unit_test(test_content_forms),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_null_and_tools),
        cmocka_unit_test(test_struct_messages),
        cmocka_unit_test(test_refusing_template),
        cmocka_unit_test(test_adapted_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
