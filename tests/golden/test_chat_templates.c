/* 55 chat templates times a matrix of messages, tools and flags, and the feature snippets: all
 * equal to Python's jinja2 (tests/golden/make_templates.py). An error must be an error. */
#include "chat/tmpl.h"
#include "test.h"

#include <dirent.h>
#include <time.h>

#define NOW_S 1753000000
#define MAX_CASES 512

/* The file and a terminating NUL; the caller frees. */
static char *read_file(const char *path, size_t *out_n)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        print_error("cannot open %s\n", path);
        fail();
    }
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    const long n = ftell(f);
    rewind(f);
    char *text = malloc((size_t)n + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, (size_t)n, f), n);
    text[n] = '\0';
    fclose(f);
    *out_n = (size_t)n;
    return text;
}

static json_value *read_json(arena *a, const char *text, size_t n)
{
    json_value *v = NULL;
    err_info err = {0};
    if (json_parse(text, n, a, &v, &err)) {
        print_error("%s: %.80s\n", err.text, text);
        fail();
    }
    return v;
}

static size_t bytes_of(const char *text, long n_cp)
{
    size_t i = 0;
    for (long k = 0; k < n_cp; k++) {
        i++;
        while (((unsigned char)text[i] & 0xC0) == 0x80)
            i++;
    }
    return i;
}

/* Where two texts part, for a failure that can be read. */
static void show_difference(const char *what, const char *got, const char *want)
{
    size_t i = 0;
    while (got[i] && got[i] == want[i])
        i++;
    const size_t from = i > 40 ? i - 40 : 0;
    print_error("%s differs at byte %zu:\n  got  ...%.120s\n  want ...%.120s\n", what, i,
                got + from, want + from);
}

/* One render against what was wanted (NULL: an error). */
static bool check(const tmpl *t, const json_value *vars, const char *want, const char *what)
{
    buf out;
    buf_init(&out, 1 << 24);
    err_info err = {0};
    const cama_err e = tmpl_render(t, vars, NOW_S, NULL, &out, &err);
    bool same = true;
    if (e && want) {
        print_error("%s: %s\n", what, err.text);
        same = false;
    } else if (!e && !want) {
        print_error("%s: no error, but: %.80s\n", what, out.data ? out.data : "");
        same = false;
    } else if (e && e != CAMA_ERR_TEMPLATE) {
        print_error("%s: error %d: %s\n", what, (int)e, err.text);
        same = false;
    } else if (want && strcmp(out.data ? out.data : "", want) != 0) {
        show_difference(what, out.data ? out.data : "", want);
        same = false;
    }
    buf_done(&out);
    return same;
}

/* The prompt a golden line stands for, in the arena; NULL: an error. */
static const char *golden_text(arena *a, const char *mark, char *const *seen)
{
    if (*mark == '!')
        return NULL;
    char *end;
    const long base = strtol(mark + 1, &end, 10);
    if (*mark == '@')
        return seen[base];
    const long n_cp = strtol(end, &end, 10);
    const json_value *tail = read_json(a, end, strlen(end));
    const size_t head = n_cp ? bytes_of(seen[base], n_cp) : 0;
    char *text = arena_take(a, head + tail->n + 1);
    assert_non_null(text);
    if (head)
        memcpy(text, seen[base], head);
    memcpy(text + head, tail->text, tail->n);
    return text;
}

static int check_template(const char *name, const json_value *cases)
{
    char path[512];
    char what[600];
    size_t n;
    arena a;
    arena_init(&a, 1 << 28);
    (void)snprintf(path, sizeof path, "%s/%s.jinja", TEST_DATA("templates"), name);
    char *source = read_file(path, &n);
    tmpl *t = NULL;
    err_info err = {0};
    if (tmpl_open(source, n, &t, &err)) {
        print_error("%s: %s\n", name, err.text);
        fail();
    }
    free(source);
    (void)snprintf(path, sizeof path, "%s/%s.golden", TEST_DATA("templates"), name);
    char *golden = read_file(path, &n);
    char *seen[MAX_CASES] = {0};
    int bad = 0;
    size_t i = 0;
    for (char *line = strtok(golden, "\n"); line; line = strtok(NULL, "\n"), i++) {
        assert_true(i < cases->n && i < MAX_CASES);
        const json_value *c = cases->items[i];
        const char *mark = strchr(line, ' ') + 1;
        const char *want = golden_text(&a, mark, seen);
        seen[i] = (char *)(uintptr_t)want;
        (void)snprintf(what, sizeof what, "%s %s", name, json_get(c, "name")->text);
        bad += !check(t, json_get(c, "vars"), want, what);
    }
    assert_int_equal(i, cases->n);
    free(golden);
    tmpl_close(t);
    arena_done(&a);
    return bad;
}

static void test_templates(void **state)
{
    (void)state;
    size_t n;
    arena a;
    arena_init(&a, 1 << 24);
    char *text = read_file(TEST_DATA("templates/cases.json"), &n);
    const json_value *cases = read_json(&a, text, n);
    DIR *d = opendir(TEST_DATA("templates"));
    assert_non_null(d);
    int bad = 0;
    int n_template = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        const size_t len = strlen(e->d_name);
        if (len < 6 || strcmp(e->d_name + len - 6, ".jinja") != 0)
            continue;
        char name[300];
        (void)snprintf(name, sizeof name, "%.*s", (int)(len - 6), e->d_name);
        bad += check_template(name, cases);
        n_template++;
    }
    closedir(d);
    print_message("%d templates x %zu cases\n", n_template, cases->n);
    assert_int_equal(n_template, 55);
    assert_int_equal(bad, 0);
    free(text);
    arena_done(&a);
}

static bool check_snippet(char *line, const json_value *vars)
{
    arena a;
    arena_init(&a, 1 << 22);
    char *tab = strchr(line, '\t');
    assert_non_null(tab);
    const json_value *source = read_json(&a, line + 1, (size_t)(tab - line) - 1);
    const json_value *want = read_json(&a, tab + 1, strlen(tab + 1));
    tmpl *t = NULL;
    err_info err = {0};
    bool same;
    if (tmpl_open(source->text, source->n, &t, &err)) {
        same = *line == '!' && err.code == CAMA_ERR_TEMPLATE;
        if (!same)
            print_error("%s: %s\n", source->text, err.text);
    } else {
        same = check(t, vars, *line == '!' ? NULL : want->text, source->text);
    }
    tmpl_close(t);
    arena_done(&a);
    return same;
}

static void test_snippets(void **state)
{
    (void)state;
    size_t n;
    arena a;
    arena_init(&a, 1 << 22);
    char *text = read_file(TEST_DATA("templates/snippets.json"), &n);
    const json_value *vars = read_json(&a, text, n);
    free(text);
    text = read_file(TEST_DATA("templates/snippets.golden"), &n);
    int bad = 0;
    int n_snippet = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"), n_snippet++)
        bad += !check_snippet(line, vars);
    print_message("%d snippets\n", n_snippet);
    assert_true(n_snippet > 300);
    assert_int_equal(bad, 0);
    free(text);
    arena_done(&a);
}

int main(void)
{
    (void)setenv("TZ", "UTC", 1); /* the goldens were made there */
    tzset();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_templates),
        cmocka_unit_test(test_snippets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
