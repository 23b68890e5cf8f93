/* Go templates as Ollama uses them: what the captured exchanges show, names and tags. */
#include "chat/gotmpl.h"
#include "test.h"

#define CHATML                                                                                     \
    "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}"           \
    "<|im_start|>assistant\n"
#define FULL                                                                                       \
    "{{- if .Suffix }}<fim>{{ .Prompt }}<hole>{{ .Suffix }}<mid>{{ else }}"                        \
    "{{- if .Tools }}<|im_start|>system\nTools: {{ range .Tools }}{{ . }}{{ end }}<|im_end|>\n"    \
    "{{ end }}{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ if .ToolCalls }}<tool_call>"       \
    "{{ range .ToolCalls }}{\"name\": \"{{ .Function.Name }}\", \"arguments\": "                   \
    "{{ .Function.Arguments }}}{{ end }}</tool_call>{{ else }}{{ .Content }}{{ end }}"             \
    "<|im_end|>\n{{ end }}<|im_start|>assistant\n{{ end }}"
#define THINK                                                                                      \
    "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ if .Thinking }}<think>{{ .Thinking }}"      \
    "</think>{{ end }}{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n"                  \
    "{{ if .Think }}<think>{{ end }}"

static gotmpl *open_text(const char *source)
{
    gotmpl *t = NULL;
    err_info err = {0};
    if (gotmpl_open(source, strlen(source), &t, &err)) {
        print_error("%s\n", err.text);
        fail();
    }
    return t;
}

static json_value *read_json(arena *a, const char *text)
{
    json_value *v = NULL;
    assert_int_equal(json_parse(text, strlen(text), a, &v, NULL), CAMA_OK);
    return v;
}

typedef struct asked {
    const char *messages;
    const char *tools;
    gochat_request q;
} asked;

static void check_chat(const char *source, asked q, const char *want)
{
    arena a;
    buf out;
    err_info err = {0};
    arena_init(&a, 1 << 26);
    buf_init(&out, 1 << 20);
    gotmpl *t = open_text(source);
    if (q.messages)
        q.q.messages = read_json(&a, q.messages);
    if (q.tools)
        q.q.tools = read_json(&a, q.tools);
    const cama_err e = gochat_render(t, &q.q, &out, &err);
    if (e)
        print_error("%s\n", err.text);
    assert_int_equal(e, CAMA_OK);
    assert_string_equal(out.data ? out.data : "", want);
    gotmpl_close(t);
    buf_done(&out);
    arena_done(&a);
}

static void open_error(const char *source, const char *want)
{
    gotmpl *t = NULL;
    err_info err = {0};
    assert_int_equal(gotmpl_open(source, strlen(source), &t, &err), CAMA_ERR_TEMPLATE);
    assert_string_equal(err.text, want);
    assert_null(t);
}

/* The prompts that Ollama 0.32.7 showed with _debug_render_only. */
static void as_ollama_renders(void **state)
{
    (void)state;
    check_chat(CHATML,
               (asked){.messages = "[{\"role\":\"user\",\"content\":\"Why?\"},"
                                   "{\"role\":\"assistant\",\"content\":\"The sky is\"}]"},
               "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\nThe sky is<|im_end|>\n"
               "<|im_start|>assistant\n");
    check_chat(
        FULL,
        (asked){.messages = "[{\"role\":\"user\",\"content\":\"Weather?\"},{\"role\":"
                            "\"assistant\",\"content\":\"\",\"tool_calls\":[{\"function\":"
                            "{\"name\":\"get_weather\",\"arguments\":{\"city\":\"Oslo\",\"a\":1}}}]"
                            "},{\"role\":\"tool\",\"tool_name\":\"get_weather\",\"content\":"
                            "\"12 C\"}]"},
        "<|im_start|>user\nWeather?<|im_end|>\n<|im_start|>assistant\n<tool_call>{\"name\": "
        "\"get_weather\", \"arguments\": {\"a\":1,\"city\":\"Oslo\"}}</tool_call><|im_end|>\n"
        "<|im_start|>tool\n12 C<|im_end|>\n<|im_start|>assistant\n");
    check_chat(
        FULL,
        (asked){.messages = "[{\"role\":\"user\",\"content\":\"Why?\"}]",
                .tools = "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":"
                         "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":"
                         "{\"b\":{\"type\":[\"string\",\"null\"],\"default\":\"x\",\"pattern\":"
                         "\"^x\"},\"a\":{\"type\":\"integer\",\"minimum\":1,\"enum\":[1,2]},"
                         "\"c\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}},\"d\":"
                         "{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"null\"}]}},\"required\":"
                         "[\"a\"]}}}]"},
        "<|im_start|>system\nTools: {\"type\":\"function\",\"function\":{\"name\":\"f\","
        "\"description\":\"\",\"parameters\":{\"type\":\"object\",\"required\":[\"a\"],"
        "\"properties\":{\"a\":{\"type\":\"integer\",\"enum\":[1,2]},\"b\":{\"type\":[\"string\","
        "\"null\"]},\"c\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}},\"d\":{\"anyOf\":"
        "[{\"type\":\"string\"},{\"type\":\"null\"}]}}}}}<|im_end|>\n<|im_start|>user\nWhy?"
        "<|im_end|>\n<|im_start|>assistant\n");
    check_chat(THINK,
               (asked){.messages = "[{\"role\":\"user\",\"content\":\"Why?\"}]", .q = {.think = 1}},
               "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n<think>");
}

static void fills_in_the_middle(void **state)
{
    (void)state;
    check_chat(FULL, (asked){.q = {.prompt = "def f(", .suffix = "return 1"}},
               "<fim>def f(<hole>return 1<mid>");
}

/* A template without .Messages runs once for each turn, and the last one ends at .Response. */
static void legacy_turns(void **state)
{
    (void)state;
    const char *chat = "[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":"
                       "\"a\"},{\"role\":\"assistant\",\"content\":\"b\"},{\"role\":\"user\","
                       "\"content\":\"c\"}]";
    check_chat("T:{{ .System }}|{{ .Prompt }}|{{ .Response }}<end>", (asked){.messages = chat},
               "T:S|a|b<end>T:|c|");
    check_chat("{{ if .System }}<{{ .System }}>{{ end }}Q {{ .Prompt }} A ",
               (asked){.messages = chat}, "<S>Q a A bQ c A ");
    check_chat("{{ .Nope }}", (asked){.messages = "[{\"role\":\"user\",\"content\":\"a\"}]"},
               "<no value>");
    check_chat("{{ if .Prompt }}P{{ .Response }}x{{ else }}E{{ end }}y", (asked){.messages = chat},
               "PbxyP");
}

static void messages_are_collated(void **state)
{
    (void)state;
    const char *chat = "[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":"
                       "\"a\"},{\"role\":\"user\",\"content\":\"b\"},{\"role\":\"tool\","
                       "\"content\":\"1\"},{\"role\":\"tool\",\"content\":\"2\"},{\"role\":"
                       "\"system\",\"content\":\"T\"}]";
    check_chat("{{ .System }}{{ range .Messages }}[{{ .Role }}:{{ .Content }}]{{ end }}",
               (asked){.messages = chat},
               "S\n\nT[system:S][user:a\n\nb][tool:1][tool:2][system:T]");
}

/* A run of many messages is written once, not again for each of them. */
static void a_long_run(void **state)
{
    enum { N_MESSAGE = 20000 };
    (void)state;
    buf chat;
    buf want;
    buf_init(&chat, 1 << 24);
    buf_init(&want, 1 << 24);
    for (int i = 0; i < N_MESSAGE; i++) {
        (void)buf_printf(&chat, "%s{\"role\":\"user\",\"content\":\"%d\"}", i ? "," : "[", i);
        (void)buf_printf(&want, "%s%d", i ? "\n\n" : "", i);
    }
    (void)buf_puts(&chat, "]");
    check_chat("{{ range .Messages }}{{ .Content }}{{ end }}", (asked){.messages = chat.data},
               want.data);
    buf_done(&chat);
    buf_done(&want);
}

static void images_are_marked(void **state)
{
    (void)state;
    check_chat("{{ range .Messages }}{{ .Content }};{{ len .Images }} {{ end }}",
               (asked){.messages = "[{\"role\":\"user\",\"content\":\"see\",\"images\":[\"\","
                                   "\"\"]},{\"role\":\"assistant\",\"content\":\"x\"},{\"role\":"
                                   "\"user\",\"content\":\"a [img] b\",\"images\":2}]"},
               "[img-0][img-1]see;2 x;0 [img-3]a [img-2] b;2 ");
}

static void errors_are_those_of_go(void **state)
{
    (void)state;
    open_error("{{ .Prompt", "template: :1: unclosed action");
    open_error("{{ nope }}", "template: :1: function \"nope\" not defined");
    open_error("{{ range }}", "template: :1: missing value for range");
    open_error("a\n{{ if .A }}\n", "template: :3: unexpected EOF");
    open_error("{{ template \"x\" }}", "undefined template specified");
    gotmpl *t = open_text("{{ range .Messages }}{{ .Nope }}{{ end }}");
    arena a;
    buf out;
    err_info err = {0};
    arena_init(&a, 1 << 16);
    buf_init(&out, 1 << 16);
    const gochat_request q = {.messages = read_json(&a, "[{\"role\":\"user\"}]")};
    assert_int_equal(gochat_render(t, &q, &out, &err), CAMA_ERR_TEMPLATE);
    assert_string_equal(err.text,
                        "template: :1:24: executing \"\" at <.Nope>: can't evaluate field "
                        "Nope in type *template.templateMessage");
    assert_int_equal(out.n, 0);
    gotmpl_close(t);
    buf_done(&out);
    arena_done(&a);
}

static void names_and_tags(void **state)
{
    (void)state;
    gochat_tags tags;
    gotmpl *t = open_text(FULL);
    assert_true(gotmpl_uses(t, "suffix"));
    assert_true(gotmpl_uses(t, "tools"));
    assert_true(gotmpl_uses(t, "messages"));
    assert_false(gotmpl_uses(t, "thinking"));
    gotmpl_tags(t, &tags);
    assert_string_equal(tags.call, "<tool_call>");
    assert_string_equal(tags.think_open, "");
    gotmpl_close(t);
    t = open_text(THINK);
    assert_true(gotmpl_uses(t, "thinking"));
    gotmpl_tags(t, &tags);
    assert_string_equal(tags.call, "{");
    assert_string_equal(tags.think_open, "<think>");
    assert_string_equal(tags.think_close, "</think>");
    gotmpl_close(t);
}

/* Tags in a template as current models have it: conditions around them, calls in an else. */
static void tags_in_branches(void **state)
{
    static const char source[] =
        "{{- range $i, $_ := .Messages }}{{- $last := eq (len (slice $.Messages $i)) 1 -}}"
        "{{- if eq .Role \"user\" }}<|user|>{{ .Content }}\n"
        "{{- else if eq .Role \"assistant\" }}<|assistant|>\n"
        "{{ if and $.IsThinkSet (and .Thinking (or $last true)) -}}\n<think>{{ .Thinking }}"
        "</think>\n{{ end -}}\n{{ if .Content }}{{ .Content }}{{ else if .ToolCalls }}\r\n"
        " [CALLS] {{ range .ToolCalls }}{\"name\": \"{{ .Function.Name }}\"}{{ end }}{{ end }}"
        "<|end|>{{ end }}{{ end }}";
    (void)state;
    gochat_tags tags;
    gotmpl *t = open_text(source);
    gotmpl_tags(t, &tags);
    assert_string_equal(tags.think_open, "<think>");
    assert_string_equal(tags.think_close, "</think>");
    assert_string_equal(tags.call, "[CALLS]");
    gotmpl_close(t);
    check_chat(source,
               (asked){.messages = "[{\"role\":\"user\",\"content\":\"a\"},{\"role\":"
                                   "\"assistant\",\"content\":\"b\",\"thinking\":\"t\"}]",
                       .q = {.think = 1}},
               "<|user|>a<|assistant|>\n<think>t</think>\nb<|end|>");
    t = open_text("{{ .Thinking }}{{ range .Other }}<a>{{ .Thinking }}</a>{{ end }}");
    gotmpl_tags(t, &tags); /* not in a range over .Messages */
    assert_string_equal(tags.think_open, "");
    gotmpl_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_ollama_renders),
        cmocka_unit_test(fills_in_the_middle),
        cmocka_unit_test(legacy_turns),
        cmocka_unit_test(messages_are_collated),
        cmocka_unit_test(a_long_run),
        cmocka_unit_test(images_are_marked),
        cmocka_unit_test(errors_are_those_of_go),
        cmocka_unit_test(names_and_tags),
        cmocka_unit_test(tags_in_branches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
