/* Text of a model becomes content, reasoning and calls; however it is cut, the same ones. */
#include "chat/answer.h"
#include "test.h"

#define MAX_TEXT 8192

/* What came out, joined: reasoning, content, and the calls as "name(arguments) ". */
typedef struct heard {
    char think[MAX_TEXT];
    char content[MAX_TEXT];
    char calls[MAX_TEXT];
    uint32_t n_call;
    bool content_after_call;
} heard;

static void join(char *to, const char *text, size_t n)
{
    const size_t at = strlen(to);
    assert_true(at + n < MAX_TEXT);
    memcpy(to + at, text, n);
    to[at + n] = '\0';
}

static void hear_call(heard *h, const char *text, size_t n)
{
    arena a;
    buf b;
    json_value *v = NULL;
    arena_init(&a, 1 << 20);
    buf_init(&b, MAX_TEXT);
    assert_int_equal(json_parse(text, n, &a, &v, NULL), CAMA_OK);
    assert_int_equal(v->n, 1);
    const json_value *f = json_get(v->items[0], "function");
    const char *id = json_get(v->items[0], "id")->text;
    assert_int_equal(strlen(id), 13);
    assert_memory_equal(id, "call_", 5);
    assert_int_equal(strspn(id + 5, "abcdefghijklmnopqrstuvwxyz0123456789"), 8);
    assert_int_equal(json_get(f, "index")->integer, h->n_call);
    h->n_call++;
    (void)buf_printf(&b, "%s(", json_get(f, "name")->text);
    (void)json_write(json_get(f, "arguments"), &b);
    (void)buf_puts(&b, ") ");
    join(h->calls, b.data, b.n);
    buf_done(&b);
    arena_done(&a);
}

static void hear(void *user, answer_kind kind, const char *text, size_t n)
{
    heard *h = user;
    assert_true(n > 0);
    if (kind == ANSWER_THINK) {
        assert_string_equal(h->content, "");
        join(h->think, text, n);
    } else if (kind == ANSWER_CONTENT) {
        h->content_after_call = h->n_call > 0;
        join(h->content, text, n);
    } else {
        hear_call(h, text, n);
    }
}

static const char tools_text[] =
    "[{\"function\":{\"name\":\"get\"}},{\"function\":{\"name\":\"get_weather\"}},"
    "{\"function\":{\"name\":\"add\"}},{\"function\":{}},{\"type\":\"function\"}]";

typedef struct setting {
    bool thinks;
    bool in_think;
    const char *tag;
} setting;

/* Cuts at the bits of mask; NULL text of a piece never happens. */
static void say(setting s, const char *text, size_t n, uint64_t seed, heard *h)
{
    arena a;
    json_value *tools = NULL;
    answer *x = NULL;
    arena_init(&a, 1 << 20);
    assert_int_equal(json_parse(tools_text, sizeof tools_text - 1, &a, &tools, NULL), CAMA_OK);
    memset(h, 0, sizeof *h);
    const answer_opts o = {.think_open = s.thinks ? "<think>" : NULL,
                           .think_close = s.thinks ? "</think>" : NULL,
                           .in_think = s.in_think,
                           .call_tag = s.tag,
                           .tools = tools,
                           .event = hear,
                           .user = h};
    assert_int_equal(answer_open(&o, &x, NULL), CAMA_OK);
    for (size_t i = 0; i < n;) {
        size_t step = n - i;
        if (seed) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            step = 1 + (seed >> 33) % 7;
            step = step < n - i ? step : n - i;
        }
        assert_int_equal(answer_feed(x, text + i, step, NULL), CAMA_OK);
        i += step;
    }
    assert_int_equal(answer_end(x, NULL), CAMA_OK);
    answer_close(x);
    arena_done(&a);
}

static void check(setting s, const char *text, const char *think, const char *content,
                  const char *calls)
{
    heard h;
    for (uint64_t seed = 0; seed < 40; seed++) {
        say(s, text, strlen(text), seed, &h);
        assert_string_equal(h.think, think);
        assert_string_equal(h.content, content);
        assert_string_equal(h.calls, calls);
    }
}

static const setting plain = {false, false, NULL};
static const setting thinks = {true, false, NULL};
static const setting tagged = {false, false, "<tool_call>"};
static const setting bare = {false, false, "{"};
static const setting list = {false, false, "["};

static void text_passes(void **state)
{
    (void)state;
    check(plain, "", "", "", "");
    check(plain, " <think>a</think> {\"name\":1}", "", " <think>a</think> {\"name\":1}", "");
}

static void thinking_is_split(void **state)
{
    (void)state;
    check(thinks, "<think>Hm</think>Hi", "Hm", "Hi", "");
    check(thinks, " \n<think>\n Hm \n</think>\n\n Hi \n", "Hm \n", "Hi \n", "");
    check(thinks, "Hi <think>no</think>", "", "Hi <think>no</think>", "");
    check(thinks, "  <thin", "", "  <thin", "");
    check(thinks, "<think>open </thi", "open </thi", "", "");
    check(thinks, "<think></think>", "", "", "");
    check(thinks, "<think>a<b</t</think>\xE3\x80\x80x", "a<b</t", "x", "");
    check(thinks, "<think>a</think>b</think>c", "a", "b</think>c", "");
    check((setting){true, true, NULL}, "\nstill</think>done", "still", "done", "");
}

static void tagged_calls(void **state)
{
    (void)state;
    check(tagged,
          "Hi <tool_call>{\"name\": \"get_weather\", \"arguments\": {\"c\":\"}\\\"{\"}}"
          "</tool_call>",
          "", "Hi ", "get_weather({\"c\":\"}\\\"{\"}) ");
    check(tagged,
          "<tool_call>\n{\"name\":\"add\",\"parameters\":{\"a\":1}}\n</tool_call>\n"
          "<tool_call>{\"name\":\"get\",\"arguments\":\"{\\\"b\\\":2}\"}</tool_call>",
          "", "", "add({\"a\":1}) get({\"b\":2}) ");
    check(tagged,
          "<tool_call>[{\"name\":\"add\",\"arguments\":{}},{\"name\":\"get\","
          "\"arguments\":{}}]",
          "", "", "add({}) get({}) ");
    check(tagged, "<tool_call>get_weather {\"city\":\"Oslo\"}", "", "",
          "get_weather({\"city\":\"Oslo\"}) ");
    check(tagged, "a <tool_cal", "", "a <tool_cal", "");
    check(tagged, "a < b <tool", "", "a < b <tool", "");
}

/* What is behind a tag and is no call is not lost. */
static void no_call_is_content(void **state)
{
    (void)state;
    check(tagged, "<tool_call>{\"name\":\"nope\",\"arguments\":{}}", "",
          "<tool_call>{\"name\":\"nope\",\"arguments\":{}}", "");
    check(tagged, "x<tool_call>{\"name\":\"add\",", "", "x<tool_call>{\"name\":\"add\",", "");
    check(tagged, "<tool_call>{name: add}", "", "<tool_call>{name: add}", "");
    check(tagged, "<tool_call>{\"name\":\"add\"}", "", "<tool_call>{\"name\":\"add\"}", "");
}

static void bare_calls(void **state)
{
    (void)state;
    check(bare, "\n {\"name\":\"get_weather\",\"arguments\":{\"city\":\"Oslo\"}}", "", "\n ",
          "get_weather({\"city\":\"Oslo\"}) ");
    check(bare, "So: {\"name\":\"add\",\"arguments\":{}}", "",
          "So: {\"name\":\"add\",\"arguments\":{}}", "");
    check(bare, "{\"a\":1} and {\"name\":\"add\",\"arguments\":{}}", "",
          "{\"a\":1} and {\"name\":\"add\",\"arguments\":{}}", "");
    check(bare, "  ", "", "  ", "");
    check(bare, "{\"name\":\"add\"", "", "{\"name\":\"add\"", "");
    check(list, "[{\"name\":\"add\",\"arguments\":{\"x\":[1]}}]", "", "", "add({\"x\":[1]}) ");
    check(list, "[1, 2] is a list", "", "[1, 2] is a list", "");
    check(list, "{\"name\":\"add\",\"arguments\":{}}", "", "{\"name\":\"add\",\"arguments\":{}}",
          "");
}

static void thinking_then_a_call(void **state)
{
    (void)state;
    check((setting){true, false, "{"},
          "<think>{\"name\":\"add\"}</think>\n{\"name\":\"add\",\"arguments\":{}}",
          "{\"name\":\"add\"}", "", "add({}) ");
}

/* Random texts of pieces that matter, each cut in many ways. */
static void cuts_do_not_matter(void **state)
{
    static const char *const parts[] = {"<think>",
                                        "</think>",
                                        "<tool_call>",
                                        "</tool_call>",
                                        "{",
                                        "}",
                                        "[",
                                        "]",
                                        "\"",
                                        "\\",
                                        "{\"name\":\"add\",\"arguments\":{\"a\":1}}",
                                        "get_weather",
                                        "get",
                                        " ",
                                        "\n",
                                        "x",
                                        "\xE3\x80\x80",
                                        "\xE3",
                                        "<",
                                        "{}",
                                        "\"name\"",
                                        ":"};
    static const char *const tags[] = {NULL, "<tool_call>", "{", "["};
    static heard whole;
    static heard cut;
    uint64_t r = 42;
    (void)state;
    for (int round = 0; round < 4000; round++) {
        char text[1024] = "";
        size_t n = 0;
        r = r * 6364136223846793005u + 1442695040888963407u;
        const setting s = {(r >> 40) & 1, (r >> 41) & 1, tags[(r >> 42) & 3]};
        for (int i = (int)((r >> 50) % 16); i >= 0; i--) {
            r = r * 6364136223846793005u + 1442695040888963407u;
            const char *part = parts[(r >> 33) % (sizeof parts / sizeof *parts)];
            memcpy(text + n, part, strlen(part));
            n += strlen(part);
        }
        say(s, text, n, 0, &whole);
        for (uint64_t seed = 1; seed < 6; seed++) {
            say(s, text, n, seed + r, &cut);
            assert_string_equal(cut.think, whole.think);
            assert_string_equal(cut.content, whole.content);
            assert_string_equal(cut.calls, whole.calls);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_passes),        cmocka_unit_test(thinking_is_split),
        cmocka_unit_test(tagged_calls),       cmocka_unit_test(no_call_is_content),
        cmocka_unit_test(bare_calls),         cmocka_unit_test(thinking_then_a_call),
        cmocka_unit_test(cuts_do_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
