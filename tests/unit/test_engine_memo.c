/* Results of self-tests in a file: found by all of their key and nothing less, whatever the file
 * has become in the meantime. */
#include <sys/stat.h>
#include <unistd.h>

#include "engine/mlx/emlx_memo.h"

#include "test.h"

static const emlx_memo_key key = {"q4_k f32", "cama 0.1.0, MLX 0.32.4", "NVIDIA \"H\\100\"",
                                  "nvidia 580.95", 0x1234};

typedef struct dir {
    char name[64], path[256];
} dir;

static int setup(void **state)
{
    static dir d;
    (void)snprintf(d.name, sizeof d.name, "/tmp/cama_memo_XXXXXX");
    assert_non_null(mkdtemp(d.name));
    assert_int_equal(setenv("CAMA_DATA_DIR", d.name, 1), 0);
    assert_true(emlx_memo_path(d.path, sizeof d.path));
    *state = &d;
    return 0;
}

static int teardown(void **state)
{
    const dir *d = *state;
    (void)unlink(d->path); /* not every test writes one */
    assert_int_equal(rmdir(d->name), 0);
    return 0;
}

static void put(buf *out, const emlx_memo_key *k, bool ok, const char *why)
{
    emlx_memo_result r = {.ok = ok, .error = 1.5e-7, .limit = 4e-6};
    (void)snprintf(r.why, sizeof r.why, "%s", why);
    assert_int_equal(emlx_memo_line(k, &r, out), CAMA_OK);
}

static void test_a_line(void **state)
{
    (void)state;
    buf b;
    buf_init(&b, 4096);
    put(&b, &key, false, "weight \"3\"\tis \\wrong");
    assert_string_equal(
        b.data, "{\"kernel\":\"q4_k f32\",\"hash\":\"0000000000001234\","
                "\"build\":\"cama 0.1.0, MLX 0.32.4\",\"device\":\"NVIDIA \\\"H\\\\100\\\"\","
                "\"os\":\"nvidia 580.95\",\"ok\":false,\"error\":1.5e-07,\"limit\":4e-06,"
                "\"why\":\"weight \\\"3\\\" is \\\\wrong\"}\n");
    emlx_memo_result r;
    assert_true(emlx_memo_find(b.data, b.n, &key, &r));
    assert_false(r.ok);
    assert_true(r.error == 1.5e-7 && r.limit == 4e-6);
    assert_string_equal(r.why, "weight \"3\" is \\wrong");
    buf_done(&b);
}

/* Another of anything is another test; of two lines the later one counts. */
static void test_keys(void **state)
{
    (void)state;
    buf b;
    emlx_memo_result r;
    buf_init(&b, 4096);
    emlx_memo_key other[] = {key, key, key, key, key};
    other[0].kernel = "q4_k f16";
    other[1].build = "cama 0.1.0, MLX 0.32.5";
    other[2].device = "NVIDIA H200";
    other[3].os = "nvidia 580.96";
    other[4].hash++;
    put(&b, &key, true, "");
    for (size_t i = 0; i < TEST_COUNT(other); i++)
        assert_false(emlx_memo_find(b.data, b.n, &other[i], &r));
    put(&b, &other[3], false, "a driver that is wrong");
    assert_true(emlx_memo_find(b.data, b.n, &key, &r) && r.ok);
    put(&b, &key, false, "later");
    assert_true(emlx_memo_find(b.data, b.n, &key, &r) && !r.ok);
    assert_string_equal(r.why, "later");
    buf_done(&b);
}

/* Cut at any byte: a line counts when it is whole. */
static void test_cut_lines(void **state)
{
    (void)state;
    buf b;
    emlx_memo_result r;
    buf_init(&b, 4096);
    put(&b, &key, true, "\\");
    for (size_t n = 0; n <= b.n; n++)
        assert_int_equal(emlx_memo_find(b.data, n, &key, &r), n == b.n);
    for (size_t i = 1; i + 1 < b.n; i++) { /* or a byte was taken out */
        char *copy = malloc(b.n);
        assert_non_null(copy);
        memcpy(copy, b.data, b.n);
        memmove(copy + i, copy + i + 1, b.n - i - 1);
        (void)emlx_memo_find(copy, b.n - 1, &key, &r); /* either is fine: it may be a digit */
        free(copy);
    }
    buf_done(&b);
}

static void test_a_file(void **state)
{
    const dir *d = *state;
    buf text, lines;
    emlx_memo_result r;
    err_info err;
    struct stat st;
    buf_init(&text, EMLX_MEMO_MAX_BYTES + 64);
    buf_init(&lines, EMLX_MEMO_MAX_BYTES);
    assert_int_equal(emlx_memo_read(d->path, &text), CAMA_OK); /* there is none */
    assert_int_equal(text.n, 0);
    for (int i = 0; i < 400; i++) { /* more than the file may have: the oldest go */
        emlx_memo_key k = key;
        k.hash = (uint64_t)i;
        buf_clear(&text);
        buf_clear(&lines);
        assert_int_equal(emlx_memo_read(d->path, &text), CAMA_OK);
        put(&lines, &k, true, "");
        assert_int_equal(emlx_memo_write(d->path, &text, &lines, &err), CAMA_OK);
    }
    assert_int_equal(stat(d->path, &st), 0);
    assert_true(st.st_size <= (off_t)EMLX_MEMO_MAX_BYTES && st.st_size > 60000);
    assert_int_equal(st.st_mode & 0777, 0600);
    buf_clear(&text);
    assert_int_equal(emlx_memo_read(d->path, &text), CAMA_OK);
    emlx_memo_key k = key;
    k.hash = 0;
    assert_false(emlx_memo_find(text.data, text.n, &k, &r));
    k.hash = 399;
    assert_true(emlx_memo_find(text.data, text.n, &k, &r));
    buf_done(&text);
    buf_done(&lines);
}

/* What a file ends with that is no whole line would swallow the next one; one that is too large is
 * none. */
static void test_a_damaged_file(void **state)
{
    const dir *d = *state;
    buf text;
    buf_init(&text, EMLX_MEMO_MAX_BYTES + 64);
    FILE *f = fopen(d->path, "w");
    assert_non_null(f);
    assert_true(fputs("{\"kernel\":\"x\"}\n{\"kern", f) >= 0);
    assert_int_equal(fflush(f), 0);
    assert_int_equal(emlx_memo_read(d->path, &text), CAMA_OK);
    assert_string_equal(text.data, "{\"kernel\":\"x\"}\n");
    for (size_t i = 0; i < EMLX_MEMO_MAX_BYTES; i++)
        assert_int_equal(fputc('\n', f), '\n');
    assert_int_equal(fclose(f), 0);
    buf_clear(&text);
    assert_int_equal(emlx_memo_read(d->path, &text), CAMA_OK);
    assert_int_equal(text.n, 0);
    buf_done(&text);
}

static void test_where_it_lies(void **state)
{
    (void)state;
    char path[256];
    buf none, line;
    err_info err;
    buf_init(&none, 10);
    buf_init(&line, 100);
    assert_int_equal(buf_puts(&line, "x\n"), CAMA_OK);
    assert_int_equal(unsetenv("CAMA_DATA_DIR"), 0);
    assert_int_equal(setenv("XDG_DATA_HOME", "/tmp/data", 1), 0);
    assert_true(emlx_memo_path(path, sizeof path));
    assert_string_equal(path, "/tmp/data/cama/mlx-selftest.jsonl");
    assert_false(emlx_memo_path(path, 20));
    assert_int_equal(unsetenv("XDG_DATA_HOME"), 0);
    assert_int_equal(setenv("HOME", "/dev/null/home", 1), 0);
    assert_true(emlx_memo_path(path, sizeof path));
    assert_int_equal(emlx_memo_write(path, &none, &line, &err), CAMA_ERR_IO);
    assert_non_null(strstr(err.text, "/dev/null/home"));
    assert_int_equal(unsetenv("HOME"), 0);
    assert_false(emlx_memo_path(path, sizeof path));
    buf_done(&line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_line),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_cut_lines),
        cmocka_unit_test_setup_teardown(test_a_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_damaged_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_where_it_lies, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
