/* A Go template is a program from a file: whatever it does, it ends, with a typed error. */
#include "chat/gotmpl.h"
#include "test.h"

#include <stdlib.h>

static const char data_text[] =
    "{\"s\":\"0123456789\",\"l\":[1,2,3,4,5,6,7,8,9,10],\"Messages\":[{\"role\":\"user\","
    "\"content\":\"a\"}]}";

static cama_err run(const char *source, size_t n, const tmpl_limits *limits, size_t max_out,
                    err_info *err)
{
    arena a;
    json_value *data = NULL;
    gotmpl *t = NULL;
    buf out;
    arena_init(&a, 1 << 20);
    buf_init(&out, max_out);
    assert_int_equal(json_parse(data_text, sizeof data_text - 1, &a, &data, NULL), CAMA_OK);
    cama_err e = gotmpl_open(source, n, &t, err);
    if (!e)
        e = gotmpl_render(t, data, 0, limits, &out, err);
    if (e)
        assert_int_equal(out.n, 0);
    gotmpl_close(t);
    buf_done(&out);
    arena_done(&a);
    return e;
}

static void want(const char *source, cama_err e, const char *text)
{
    static const tmpl_limits limits = {.max_steps = 300000, .max_bytes = 8 << 20};
    err_info err = {0};
    const cama_err got = run(source, strlen(source), &limits, 1 << 20, &err);
    if (got != e || !strstr(err.text, text))
        print_error("%.60s: error %d: %s\n", source, (int)got, err.text);
    assert_int_equal(got, e);
    assert_non_null(strstr(err.text, text));
}

static void steps(void **state)
{
    (void)state;
    want("{{range 9223372036854775807}}{{end}}", CAMA_ERR_LIMIT, "300000 steps");
    want("{{range $.l}}{{range $.l}}{{range $.l}}{{range $.l}}{{range $.l}}{{range $.l}}x{{end}}"
         "{{end}}{{end}}{{end}}{{end}}{{end}}",
         CAMA_ERR_LIMIT, "steps");
}

static void depth(void **state)
{
    (void)state;
    want("{{define \"a\"}}{{template \"a\" .}}{{end}}{{template \"a\" .}}", CAMA_ERR_LIMIT,
         "nests deeper");
}

static void memory_and_output(void **state)
{
    (void)state;
    want("{{$x := .s}}{{range 40}}{{$x = print $x $x}}{{end}}", CAMA_ERR_LIMIT, "");
    want("{{range 50000}}0123456789012345678901234567890{{end}}", CAMA_ERR_LIMIT, "prompt");
    want("{{printf \"%1000000d%1000000d%1000000d\" 1 1 1}}", CAMA_ERR_LIMIT, "prompt");
    want("{{len (printf \"%999999999d\" 1)}}", CAMA_OK, "");
    want("{{printf \"%.1000000f\" 1.5}}", CAMA_OK, "");
}

/* One text many times: head, body * n, tail. */
static cama_err run_long(const char *head, const char *body, size_t n, const char *tail,
                         err_info *err)
{
    const size_t n_body = strlen(body);
    const size_t n_all = strlen(head) + n * n_body + strlen(tail);
    char *text = malloc(n_all + 1);
    assert_non_null(text);
    char *p = text + strlen(strcpy(text, head));
    for (size_t i = 0; i < n; i++, p += n_body)
        memcpy(p, body, n_body);
    (void)strcpy(p, tail); /* measured above */
    const cama_err e = run(text, n_all, NULL, 64 << 20, err);
    free(text);
    return e;
}

static void nesting_in_the_source(void **state)
{
    (void)state;
    err_info err = {0};
    assert_int_equal(run_long("{{", "(", 100000, "", &err), CAMA_ERR_LIMIT);
    assert_non_null(strstr(err.text, "nested deeper than 200"));
    assert_int_equal(run_long("", "{{if 1}}", 100000, "", &err), CAMA_ERR_LIMIT);
    assert_int_equal(run_long("", "{{define \"a\"}}", 100000, "", &err), CAMA_ERR_TEMPLATE);
    assert_int_equal(run_long("", "{{block \"a\" .}}", 100000, "", &err), CAMA_ERR_LIMIT);
    assert_int_equal(run_long("{{if 0}}", "{{else if 0}}", 150, "{{else}}x{{end}}", &err), CAMA_OK);
    assert_int_equal(run_long("{{", "(", 150, "", &err), CAMA_ERR_TEMPLATE);
}

/* What is long without being deep is taken. */
static void long_sources(void **state)
{
    (void)state;
    err_info err = {0};
    assert_int_equal(run_long("{{if 0}}{{$", ".a", 50000, "}}{{end}}", &err), CAMA_OK);
    assert_int_equal(run_long("{{1", " | print", 5000, "}}", &err), CAMA_OK);
    assert_int_equal(run_long("", "{{.s}}", 100000, "", &err), CAMA_OK);
    assert_int_equal(run_long("{{print", " 1", 100000, "}}", &err), CAMA_OK);
    assert_int_equal(run_long("{{\"", "\\u00e9", 100000, "\"}}", &err), CAMA_OK);
    assert_int_equal(run_long("", "x", (4u << 20) + 1, "", &err), CAMA_ERR_LIMIT);
    assert_non_null(strstr(err.text, "4194304"));
    assert_int_equal(run_long("{{", "1", 5000, "}}", &err), CAMA_ERR_TEMPLATE);
    assert_int_equal(run_long("{{", "a", 100000, "}}", &err), CAMA_ERR_TEMPLATE);
    assert_int_equal(run_long("{{template \"", "a", 100000, "\" .}}", &err), CAMA_ERR_TEMPLATE);
}

/* Each of them is looked for one by one. */
static void many_names(void **state)
{
    (void)state;
    err_info err = {0};
    buf b;
    buf_init(&b, 4u << 20);
    assert_int_equal(run_long("", "{{$x := 1}}", 1000, "", &err), CAMA_ERR_LIMIT);
    assert_non_null(strstr(err.text, "more than 500 variables"));
    assert_int_equal(run_long("", "{{if 1}}{{$x := 1}}{{end}}", 1000, "", &err), CAMA_OK);
    for (int i = 0; i < 2000; i++)
        (void)buf_printf(&b, "{{define \"t%d\"}}x{{end}}", i);
    assert_int_equal(run(b.data, b.n, NULL, 1 << 16, &err), CAMA_ERR_LIMIT);
    assert_non_null(strstr(err.text, "more than 1000 definitions"));
    buf_done(&b);
}

/* Comparing costs steps by the length of what is compared. */
static void long_comparisons(void **state)
{
    (void)state;
    want("{{$x := printf \"%100000d\" 1}}{{$y := printf \"%100000d\" 2}}"
         "{{range 10000}}{{if eq $x $y}}{{end}}{{end}}",
         CAMA_ERR_LIMIT, "steps");
    want("{{$x := printf \"%100000d\" 1}}{{range 10000}}{{if lt $x $x}}{{end}}{{end}}",
         CAMA_ERR_LIMIT, "steps");
}

static void bytes_of_all_kinds(void **state)
{
    static const char nul[] = "{{ \"a\0b\" }}\0{{ print `\0` }}";
    (void)state;
    err_info err = {0};
    assert_int_equal(run(nul, sizeof nul - 1, NULL, 1 << 16, &err), CAMA_OK);
    assert_int_equal(run("{{ \xFF }}", 8, NULL, 1 << 16, &err), CAMA_ERR_TEMPLATE);
    assert_int_equal(run("\xFF{{ \"\xFF\" }}", 10, NULL, 1 << 16, &err), CAMA_OK);
    assert_int_equal(run("", 0, NULL, 1 << 16, &err), CAMA_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps),
        cmocka_unit_test(depth),
        cmocka_unit_test(memory_and_output),
        cmocka_unit_test(nesting_in_the_source),
        cmocka_unit_test(long_sources),
        cmocka_unit_test(many_names),
        cmocka_unit_test(long_comparisons),
        cmocka_unit_test(bytes_of_all_kinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
