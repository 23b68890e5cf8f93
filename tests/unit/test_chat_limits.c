/* A template is a program from a file: whatever it does, it ends, with a typed error. */
#include "chat/tmpl.h"
#include "test.h"

typedef struct result {
    cama_err e;
    err_info err;
    size_t n_out;
} result;

static result run(const char *source, const tmpl_limits *limits, size_t max_out)
{
    result r = {0};
    tmpl *t = NULL;
    buf out;
    buf_init(&out, max_out);
    r.e = tmpl_open(source, strlen(source), &t, &r.err);
    if (!r.e)
        r.e = tmpl_render(t, NULL, 0, limits, &out, &r.err);
    r.n_out = out.n;
    buf_done(&out);
    tmpl_close(t);
    return r;
}

static void want(const char *source, cama_err e, const char *text)
{
    static const tmpl_limits limits = {.max_steps = 300000, .max_bytes = 8 << 20};
    const result r = run(source, &limits, 1 << 20);
    if (r.e != e || !strstr(r.err.text, text))
        print_error("%.60s: error %d: %s\n", source, (int)r.e, r.err.text);
    assert_int_equal(r.e, e);
    assert_non_null(strstr(r.err.text, text));
    assert_int_equal(r.n_out, 0);
}

static void test_steps(void **state)
{
    (void)state;
    want("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
         CAMA_ERR_LIMIT, "steps");
    want("{% set l = [1] %}{% for i in l %}{% for j in range(99999) %}{{ l.append(1) }}{% endfor %}"
         "{% endfor %}",
         CAMA_ERR_LIMIT, "");
}

/* Work that one call does counts too. */
static void test_steps_of_searches(void **state)
{
    (void)state;
    static const char *const calls[] = {"b in a",         "a.find(b)",        "a.rfind(b)",
                                        "a.count(b)",     "a.replace(b, '')", "a.split(b)",
                                        "a.rpartition(b)"};
    for (size_t i = 0; i < TEST_COUNT(calls); i++) {
        char source[160];
        (void)snprintf(source, sizeof source,
                       "{%% set a = 'a' * 2000000 %%}{%% set b = 'a' * 1000000 ~ 'b' %%}{{ %s }}",
                       calls[i]);
        want(source, CAMA_ERR_LIMIT, "steps");
    }
}

static void test_depth(void **state)
{
    (void)state;
    want("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", CAMA_ERR_LIMIT, "nested deeper");
    want("{% macro m(x) %}{{ m(x ~ m(x)) }}{% endmacro %}{{ m(1) }}", CAMA_ERR_LIMIT, "deeper");
    want("{% set l = [] %}{% set _ = l.append(l) %}{{ l }}", CAMA_ERR_LIMIT, "nested deeper");
    want("{% set l = [] %}{% set _ = l.append(l) %}{{ l | tojson }}", CAMA_ERR_LIMIT, "deeper");
    want("{% set l = [] %}{% set k = [] %}{% set _ = l.append(k) %}{% set _ = k.append(l) %}"
         "{{ l == k }}",
         CAMA_ERR_LIMIT, "deeper");
    want("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", CAMA_ERR_LIMIT, "deeper");
}

static void test_nesting_of_source(void **state)
{
    (void)state;
    static char text[40000];
    memset(text, '(', 5000);
    memcpy(text, "{{", 2);
    text[5000] = '\0';
    want(text, CAMA_ERR_LIMIT, "brackets");
    for (size_t i = 0; i < 5000; i++)
        memcpy(text + 2 + i * 4, "not ", 5);
    memcpy(text + 20002, "x }}", 5);
    want(text, CAMA_ERR_LIMIT, "nested deeper");
    for (size_t i = 0; i < 5000; i++)
        memcpy(text + 2 + i, "-", 2);
    memcpy(text + 5002, "x }}", 5);
    want(text, CAMA_ERR_LIMIT, "nested deeper");
    text[0] = '\0';
    for (size_t i = 0; i < 1000; i++)
        memcpy(text + i * 12, "{% if true%}", 13);
    want(text, CAMA_ERR_LIMIT, "nested deeper");
    memcpy(text, "{{ 1", 5);
    for (size_t i = 0; i < 5000; i++)
        memcpy(text + 4 + i * 2, "+1", 3);
    memcpy(text + 4 + 10000, " }}", 4);
    want(text, CAMA_ERR_LIMIT, "nested deeper"); /* a tree as deep as the sum is long */
}

static void test_names(void **state)
{
    (void)state;
    buf source;
    buf_init(&source, 1 << 20);
    for (int i = 0; i < 10010; i++)
        assert_int_equal(buf_printf(&source, "{{ a%d }}", i), CAMA_OK);
    want(source.data, CAMA_ERR_LIMIT, "names");
    buf_done(&source);
}

static void test_memory(void **state)
{
    (void)state;
    want("{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}"
         "{% endfor %}",
         CAMA_ERR_LIMIT, "memory");
    want("{{ 'abc' * 1000000000000 }}", CAMA_ERR_LIMIT, "");
    want("{{ [1] * 100000000000 }}", CAMA_ERR_LIMIT, "");
    want("{{ 'a' | center(2000000000) }}", CAMA_ERR_LIMIT, "");
    want("{{ '%2000000000d' % 1 }}", CAMA_ERR_LIMIT, "wider");
    want("{{ '{:2000000000}'.format(1) }}", CAMA_ERR_LIMIT, "wider");
    want("{% for i in range(90000) %}{{ 'abcdefghijklmnop' }}{% endfor %}", CAMA_ERR_LIMIT, "");
}

/* Text that grows in a loop takes a multiple of its length, not its square. */
static void test_growth_is_linear(void **state)
{
    (void)state;
    static const tmpl_limits limits = {.max_bytes = 16 << 20};
    const result r = run("{% set ns = namespace(s='') %}{% for i in range(20000) %}"
                         "{% set ns.s = ns.s + '0123456789' %}{% endfor %}{{ ns.s }}",
                         &limits, 1 << 20);
    if (r.e)
        print_error("%s\n", r.err.text);
    assert_int_equal(r.e, CAMA_OK);
    assert_int_equal(r.n_out, 200000);
}

static void test_errors_name_their_line(void **state)
{
    (void)state;
    want("a\nb\n{{ raise_exception('Roles must alternate') }}", CAMA_ERR_TEMPLATE,
         "line 3: Roles must alternate");
    want("a\n{% if x %}\n", CAMA_ERR_TEMPLATE, "'elif' is missing");
    want("\n\n{{ x.y }}", CAMA_ERR_TEMPLATE, "line 3: 'x' is undefined");
    want("{{ 'abc'|nope }}", CAMA_ERR_TEMPLATE, "No filter named 'nope'");
    want("{% foo %}", CAMA_ERR_TEMPLATE, "unknown tag 'foo'");
}

static void test_uses(void **state)
{
    (void)state;
    tmpl *t = NULL;
    static const char source[] = "{{ a }}{% if tools %}{% endif %}";
    assert_int_equal(tmpl_open(source, sizeof source - 1, &t, NULL), CAMA_OK);
    assert_true(tmpl_uses(t, "tools"));
    assert_false(tmpl_uses(t, "enable_thinking"));
    tmpl_close(t);
    tmpl_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_steps_of_searches),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_nesting_of_source),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_growth_is_linear),
        cmocka_unit_test(test_errors_name_their_line),
        cmocka_unit_test(test_uses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
