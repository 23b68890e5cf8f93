#include "test.h"

#include "base/ckd.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/filemap.h"
#include "base/utf8.h"

#include <unistd.h>

static void every_code_has_a_text_and_a_status(void **state)
{
    (void)state;
    for (int e = 0; e < CAMA_N_ERR; e++) {
        assert_true(strlen(cama_err_text((cama_err)e)) > 3);
        assert_in_range(cama_err_status((cama_err)e), 200, 599);
    }
    assert_string_equal(cama_err_text(CAMA_ERR_NOMEM), "out of memory");
    assert_int_equal(cama_err_status(CAMA_ERR_NOT_FOUND), 404);
    assert_string_equal(cama_err_text((cama_err)CAMA_N_ERR), "unknown error");
    assert_string_equal(cama_err_text((cama_err)-1), "unknown error");
    assert_int_equal(cama_err_status((cama_err)1000), 500);
}

static void texts_are_set_and_wrapped(void **state)
{
    (void)state;
    err_info err;
    assert_int_equal(err_set(NULL, CAMA_ERR_IO, "nobody listens"), CAMA_ERR_IO);
    assert_int_equal(err_wrap(NULL, CAMA_ERR_IO, "nobody listens"), CAMA_ERR_IO);
    assert_int_equal(err_set(&err, CAMA_ERR_LIMIT, "%d past %s", 9, "8"), CAMA_ERR_LIMIT);
    assert_int_equal(err_wrap(&err, CAMA_ERR_LIMIT, "file '%s'", "x"), CAMA_ERR_LIMIT);
    assert_string_equal(err.text, "file 'x': 9 past 8");
    assert_int_equal(err.code, CAMA_ERR_LIMIT);
}

/* Whatever the offset at which the text is cut, it stays valid UTF-8 and fills what it can. */
static void long_texts_are_cut_at_a_character(void **state)
{
    (void)state;
    char text[700];
    for (size_t shift = 0; shift < 4; shift++) {
        memset(text, 'x', shift);
        text[shift] = '\0';
        for (size_t i = shift; i + 5 < sizeof text; i += 4)
            memcpy(text + i, "\xF0\x9F\x98\x80", 5);
        err_info err;
        (void)err_set(&err, CAMA_ERR_IO, "%s", text); /* the code is not the matter here */
        const size_t n = strlen(err.text);
        assert_true(utf8_valid(err.text, n));
        assert_in_range(n, ERR_TEXT_BYTES - 4, ERR_TEXT_BYTES - 1);
        (void)err_wrap(&err, CAMA_ERR_IO, "h\xC3\xA9");
        assert_true(utf8_valid(err.text, strlen(err.text)));
        assert_memory_equal(err.text, "h\xC3\xA9: ", 5);
    }
}

ERR_PRINTF(2, 3)
static cama_err told(err_info *err, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    const cama_err e = err_vset(err, CAMA_ERR_FORMAT, fmt, args);
    va_end(args);
    return e;
}

/* A function with arguments of its own loses no half character on the way. */
static void texts_are_set_from_a_list(void **state)
{
    (void)state;
    err_info err;
    char text[ERR_TEXT_BYTES + 8];
    for (size_t i = 0; i + 3 < sizeof text; i += 3)
        memcpy(text + i, "\xE2\x82\xAC", 4);
    assert_int_equal(told(NULL, "nobody listens"), CAMA_ERR_FORMAT);
    assert_int_equal(told(&err, "%d past %s", 9, "8"), CAMA_ERR_FORMAT);
    assert_string_equal(err.text, "9 past 8");
    assert_int_equal(told(&err, "x%s", text), CAMA_ERR_FORMAT);
    assert_true(utf8_valid(err.text, strlen(err.text)));
    assert_in_range(strlen(err.text), ERR_TEXT_BYTES - 4, ERR_TEXT_BYTES - 1);
}

static void checked_arithmetic(void **state)
{
    (void)state;
    size_t z;
    uint32_t u;
    int64_t i;
    assert_false(ckd_add(&z, SIZE_MAX - 1, (size_t)1));
    assert_int_equal(z, SIZE_MAX);
    assert_true(ckd_add(&z, SIZE_MAX, (size_t)1));
    assert_true(ckd_mul(&z, SIZE_MAX / 2 + 1, (size_t)2));
    assert_true(ckd_sub(&z, (size_t)1, (size_t)2));
    assert_true(
        ckd_add(&u, UINT64_C(1) << 32, 0)); /* the result's type decides, not the operands' */
    assert_false(ckd_mul(&i, INT64_C(1) << 31, INT64_C(-1)));
    assert_int_equal(i, -(INT64_C(1) << 31));
}

static void the_clock_goes_forward(void **state)
{
    (void)state;
    uint64_t last = clock_now_ns();
    for (int i = 0; i < 1000; i++) {
        const uint64_t now = clock_now_ns();
        assert_true(now >= last);
        last = now;
    }
}

/* A tensor may be named after an escape sequence; a terminal must not obey it. */
static void texts_cannot_steer_a_terminal(void **state)
{
    (void)state;
    err_info err = {0};
    (void)err_set(&err, CAMA_ERR_FORMAT, "tensor '%s'", "a\x1B[2Jb\x7F\xC2\x9B\xFF\xE4\xB8");
    assert_string_equal(err.text, "tensor 'a?[2Jb?\?\?\?\?\?'");
    (void)err_set(&err, CAMA_ERR_FORMAT, "%s", "line\n\t\xE4\xB8\xAD\xEF\xBF\xBD");
    assert_string_equal(err.text, "line\n\t\xE4\xB8\xAD\xEF\xBF\xBD");
}

static void files_are_mapped_or_refused(void **state)
{
    (void)state;
    filemap m = {0};
    err_info err;
    char path[] = "/tmp/cama-test-XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(filemap_open(path, &m, &err), CAMA_OK); /* empty */
    assert_null(m.bytes);
    filemap_close(&m);
    assert_int_equal(write(fd, "hello", 5), 5);
    assert_int_equal(filemap_open(path, &m, &err), CAMA_OK);
    assert_int_equal(m.n_bytes, 5);
    assert_memory_equal(m.bytes, "hello", 5);
    filemap_close(&m);
    filemap_close(&m);
    (void)close(fd);
    (void)unlink(path);
    assert_int_equal(filemap_open(path, &m, &err), CAMA_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, path));
    assert_int_equal(filemap_open("/tmp", &m, &err), CAMA_ERR_IO);
    assert_non_null(strstr(err.text, "not a regular file"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_a_text_and_a_status),
        cmocka_unit_test(texts_are_set_and_wrapped),
        cmocka_unit_test(long_texts_are_cut_at_a_character),
        cmocka_unit_test(texts_are_set_from_a_list),
        cmocka_unit_test(texts_cannot_steer_a_terminal),
        cmocka_unit_test(checked_arithmetic),
        cmocka_unit_test(the_clock_goes_forward),
        cmocka_unit_test(files_are_mapped_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
