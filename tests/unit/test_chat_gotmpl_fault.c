/* Every allocation on the way from a Go template's source to a prompt, and from the text of a model
 * to its events, fails once. */
#include "chat/answer.h"
#include "chat/gotmpl.h"
#include "fault.h"
#include "test.h"

static const char source[] =
    "{{define \"a\"}}{{$y := .}}{{$y}}{{end}}{{- /* c */ -}}{{$x := 1}}{{$z := \"a\\n\"}}"
    "{{range $i, $m := .Messages}}{{if eq .Role \"user\" \"x\"}}{{.Content | printf \"%5s|%q\" | "
    "html}}"
    "{{else if and .ToolCalls (not $.Nope)}}{{range .ToolCalls}}{{.Function.Arguments}}"
    "{{json .}}{{end}}{{else}}{{template \"a\" .Content}}{{end}}{{end}}"
    "{{range .Tools}}{{.}}{{range $k, $v := .Function.Parameters.Properties}}{{$k}}"
    "{{$v | toTypeScriptType}}{{$v.ToTypeScriptType}}{{end}}{{end}}"
    "{{currentDate}}{{print 1.5 `raw` (index .Messages 0).Role}}{{slice .System 0 1}}"
    "{{println .Messages 1i | js | urlquery}}{{printf \"%8.3f %#x %U %x\" 2.5 255 64 \"s\"}}";
static const char legacy[] =
    "{{if .System}}{{.System}}{{end}}{{with .Prompt}}{{.}}{{end}}{{printf \"%s\" .Response}}x";
static const char chat[] =
    "[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":\"u\",\"images\":2},"
    "{\"role\":\"user\",\"content\":\"v\"},{\"role\":\"assistant\",\"tool_calls\":[{\"function\":"
    "{\"name\":\"f\",\"arguments\":{\"k\":[1,{\"a\":null}]}}}]},{\"role\":\"system\",\"content\":"
    "\"T\"}]";
static const char tools[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"required\":[\"a\"],"
    "\"$defs\":{\"q\":[1]},\"properties\":{\"a\":{\"type\":\"string\",\"enum\":[1],\"properties\":"
    "{\"b\":{}}},\"b\":{\"anyOf\":[{\"type\":[\"null\",\"x\"]}]}}}}}]";

typedef struct attempt {
    const char *source;
    gochat_request q;
} attempt;

static cama_err render(void *arg, err_info *err)
{
    const attempt *a = arg;
    gotmpl *t = NULL;
    buf out;
    gochat_tags tags;
    buf_init(&out, 1 << 20);
    cama_err e = gotmpl_open(a->source, strlen(a->source), &t, err);
    if (!e) {
        gotmpl_tags(t, &tags);
        e = gochat_render(t, &a->q, &out, err);
    }
    if (e)
        assert_int_equal(out.n, 0);
    buf_done(&out);
    gotmpl_close(t);
    return e;
}

static cama_err render_plain(void *arg, err_info *err)
{
    gotmpl *t = NULL;
    buf out;
    buf_init(&out, 1 << 20);
    cama_err e = gotmpl_open("{{.}}{{range .}}{{json .}}{{end}}", 33, &t, err);
    if (!e)
        e = gotmpl_render(t, arg, 0, NULL, &out, err);
    buf_done(&out);
    gotmpl_close(t);
    return e;
}

/* An error's text takes memory too, but the error is told whatever there is. */
static cama_err refuse(void *arg, err_info *err)
{
    gotmpl *t = NULL;
    const cama_err e = gotmpl_open(arg, strlen(arg), &t, err);
    gotmpl_close(t);
    return e == CAMA_ERR_TEMPLATE ? CAMA_OK : e;
}

static void hear(void *user, answer_kind kind, const char *text, size_t n)
{
    (void)kind; /* all are counted */
    (void)text;
    *(size_t *)user += n;
}

static cama_err listen_to(void *arg, err_info *err)
{
    static const char text[] =
        " <think> a </think> b <tool_call>{\"name\":\"f\",\"arguments\":\"{}\"}"
        "{\"name\":\"f\",\"parameters\":{\"a\":[1]}}";
    size_t n = 0;
    answer *a = NULL;
    const answer_opts o = {.think_open = "<think>",
                           .think_close = "</think>",
                           .call_tag = "<tool_call>",
                           .tools = arg,
                           .event = hear,
                           .user = &n};
    cama_err e = answer_open(&o, &a, err);
    for (size_t i = 0; i < sizeof text - 1 && !e; i++)
        e = answer_feed(a, text + i, 1, err);
    if (!e)
        e = answer_end(a, err);
    answer_close(a);
    return e;
}

static json_value *read_json(arena *a, const char *text)
{
    json_value *v = NULL;
    assert_int_equal(json_parse(text, strlen(text), a, &v, NULL), CAMA_OK);
    return v;
}

static void test_render(void **state)
{
    arena a;
    (void)state;
    arena_init(&a, 1 << 20);
    attempt x = {source,
                 {.messages = read_json(&a, chat), .tools = read_json(&a, tools), .think = 1}};
    assert_true(fault_sweep(FAULT_HEAP, render, &x) > 20);
    x.source = legacy;
    assert_true(fault_sweep(FAULT_HEAP, render, &x) > 8);
    x.q.suffix = "s";
    x.q.prompt = "p";
    assert_true(fault_sweep(FAULT_HEAP, render, &x) > 4);
    assert_true(fault_sweep(FAULT_HEAP, render_plain, read_json(&a, tools)) > 4);
    arena_done(&a);
}

static void test_refuse(void **state)
{
    (void)state;
    fault_allow_ok(true);
    assert_true(fault_sweep(FAULT_HEAP, refuse, "{{ if nope }}") >= 2);
    assert_true(fault_sweep(FAULT_HEAP, refuse, "{{ \"a\".b }}") >= 2);
    assert_true(fault_sweep(FAULT_HEAP, refuse, "{{ .x 1a }}") >= 2);
    fault_allow_ok(false);
}

static void test_answer(void **state)
{
    arena a;
    (void)state;
    arena_init(&a, 1 << 20);
    assert_true(fault_sweep(FAULT_HEAP, listen_to, read_json(&a, tools)) > 8);
    arena_done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_render),
        cmocka_unit_test(test_refuse),
        cmocka_unit_test(test_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
