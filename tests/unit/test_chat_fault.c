/* Every allocation on the way from a template's source to a prompt fails once. */
#include "chat/chat.h"
#include "fault.h"
#include "test.h"

static const char source[] =
    "{%- macro show(m, more='x') %}[{{ m.role }}]{{ m.content | trim }}{{ varargs }}{% endmacro %}"
    "{%- set ns = namespace(n=0, text='') %}"
    "{% for m in messages if m.role != 'none' %}{{ show(m, 'y', 1) }}{% set ns.n = ns.n + 1 %}"
    "{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}"
    "{% set ns.text = ns.text ~ m.content * 40 %}"
    "{% for c in m.tool_calls or [] %}{{ c.function.name }}{{ c.function.arguments | "
    "tojson(indent=2) "
    "}}{% endfor %}{% endfor %}"
    "{% set caught %}{{ messages | map(attribute='role') | list }}{% endset %}{{ caught | upper }}"
    "{% filter replace('a', 'b') %}{{ ns.text[:10][::-1] }}{{ '%5.1f' % 2.5 }}{% endfilter %}"
    "{{ '{:>4}'.format(ns.n) }}{{ messages | tojson }}{{ [3, 1, 2] | sort | join(',') }}"
    "{{ '{\"a\": [1, 2]}' | from_json }}{{ 'a b c'.split() | groupby(0) }}";

static const char messages[] =
    "[{\"role\":\"system\",\"content\":\"Sé\"},{\"role\":\"user\",\"content\":[{\"type\":\"text\","
    "\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]},{\"role\":\"assistant\",\"content\":null,"
    "\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"k\\\": 1}\"}}]}]";

static cama_err open_template(void *arg, err_info *err)
{
    tmpl *t = NULL;
    (void)arg;
    const cama_err e = tmpl_open(source, sizeof source - 1, &t, err);
    tmpl_close(t);
    return e;
}

static cama_err render(void *arg, err_info *err)
{
    const chat_request *q = arg;
    tmpl *t = NULL;
    uint32_t adapted = 0;
    buf out;
    buf_init(&out, 1 << 16);
    cama_err e = tmpl_open(source, sizeof source - 1, &t, err);
    if (!e)
        e = chat_render(t, q, &out, &adapted, err);
    if (e)
        assert_int_equal(out.n, 0);
    buf_done(&out);
    tmpl_close(t);
    return e;
}

static void test_open(void **state)
{
    (void)state;
    assert_true(fault_sweep(FAULT_HEAP, open_template, NULL) >= 3);
}

static void test_render_probed(void **state)
{
    (void)state;
    arena a;
    arena_init(&a, 1 << 20);
    json_value *list = NULL;
    err_info err = {0};
    assert_int_equal(json_parse(messages, sizeof messages - 1, &a, &list, &err), CAMA_OK);
    chat_request q = {.bos = "<s>", .messages = list, .now_s = 1};
    assert_true(fault_sweep(FAULT_HEAP, render, &q) > 100);
    const chat_message two[] = {{"system", "S"}, {"user", "U"}};
    q = (chat_request){.msgs = two, .n_msg = 2};
    assert_true(fault_sweep(FAULT_HEAP, render, &q) > 100);
    arena_done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_render_probed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
