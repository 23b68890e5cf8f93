#include "test.h"

#include "base/filehead.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SIZE = 1024 * 1024 + 17 };

static char path[] = "/tmp/cama-filehead-XXXXXX";

static uint8_t byte_at(size_t i)
{
    return (uint8_t)(i * 2654435761u >> 13);
}

static int make_file(void **state)
{
    static uint8_t bytes[SIZE];
    (void)state;
    (void)strcpy(path, "/tmp/cama-filehead-XXXXXX");
    const int fd = mkstemp(path);
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = byte_at(i);
    return fd >= 0 && write(fd, bytes, SIZE) == SIZE && close(fd) == 0 ? 0 : -1;
}

static int drop_file(void **state)
{
    (void)state;
    return unlink(path);
}

static void check_bytes(const filehead *h)
{
    size_t bad = 0;
    for (size_t i = 0; i < h->n_have; i++)
        bad += h->bytes[i] != byte_at(i);
    assert_int_equal(bad, 0);
}

static void reads_as_far_as_it_is_asked(void **state)
{
    (void)state;
    filehead h;
    err_info err = {0};
    assert_int_equal(filehead_open(path, SIZE_MAX, &h, &err), CAMA_OK);
    assert_int_equal(h.n_have, 0);
    assert_int_equal(h.n_max, SIZE);
    assert_int_equal(h.n_file, SIZE);
    assert_int_equal(filehead_want(&h, 5, &err), CAMA_OK);
    assert_in_range(h.n_have, 5, SIZE / 2);
    const uint8_t *at = h.bytes;
    check_bytes(&h);
    assert_int_equal(filehead_want(&h, SIZE, &err), CAMA_OK);
    assert_int_equal(h.n_have, SIZE);
    assert_ptr_equal(h.bytes, at);
    filehead_seal(&h);
    check_bytes(&h);
    filehead_close(&h);
}

static void reads_no_more_than_the_limit(void **state)
{
    (void)state;
    filehead h;
    err_info err = {0};
    assert_int_equal(filehead_open(path, 1000, &h, &err), CAMA_OK);
    assert_int_equal(h.n_max, 1000);
    assert_int_equal(h.n_file, SIZE);
    assert_int_equal(filehead_want(&h, 1000, &err), CAMA_OK);
    assert_int_equal(h.n_have, 1000);
    filehead_close(&h);
}

/* What was read stays readable, and what is gone is an error and no signal. */
static void a_file_cut_short_is_an_error(void **state)
{
    (void)state;
    filehead h;
    err_info err = {0};
    assert_int_equal(filehead_open(path, SIZE_MAX, &h, &err), CAMA_OK);
    assert_int_equal(filehead_want(&h, 1, &err), CAMA_OK);
    assert_int_equal(truncate(path, 300000), 0);
    check_bytes(&h);
    assert_int_equal(filehead_want(&h, SIZE, &err), CAMA_ERR_IO);
    assert_non_null(strstr(err.text, "the file was cut to 300000 bytes, it had 1048593"));
    check_bytes(&h);
    filehead_close(&h);
}

static void what_is_no_file_is_refused(void **state)
{
    (void)state;
    filehead h;
    err_info err = {0};
    assert_int_equal(filehead_open("/tmp", 10, &h, &err), CAMA_ERR_IO);
    filehead_close(&h);
    assert_int_equal(filehead_open("/tmp/cama-nothing-here", 10, &h, &err), CAMA_ERR_NOT_FOUND);
    filehead_close(&h);
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(filehead_open(path, 10, &h, &err), CAMA_OK);
    assert_int_equal(h.n_max, 0);
    assert_int_equal(filehead_want(&h, 0, &err), CAMA_OK);
    filehead_close(&h);
    filehead_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reads_as_far_as_it_is_asked, make_file, drop_file),
        cmocka_unit_test_setup_teardown(reads_no_more_than_the_limit, make_file, drop_file),
        cmocka_unit_test_setup_teardown(a_file_cut_short_is_an_error, make_file, drop_file),
        cmocka_unit_test_setup_teardown(what_is_no_file_is_refused, make_file, drop_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
