#include "test.h"

#include "base/filemap.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SIZE = 3 * 1024 * 1024 + 17 };

static char path[] = "/tmp/cama-filemap-XXXXXX";

static uint8_t byte_at(size_t i)
{
    return (uint8_t)(i * 2654435761u >> 13);
}

static int make_file(void **state)
{
    (void)state;
    const int fd = mkstemp(path);
    uint8_t *bytes = malloc(SIZE);
    if (fd < 0 || !bytes)
        return -1;
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = byte_at(i);
    const bool ok = write(fd, bytes, SIZE) == SIZE;
    free(bytes);
    return close(fd) == 0 && ok ? 0 : -1;
}

static int drop_file(void **state)
{
    (void)state;
    return unlink(path);
}

static void check_bytes(const filemap *m, size_t n)
{
    size_t bad = 0;
    for (size_t i = 0; i < n; i++)
        bad += m->bytes[i] != byte_at(i);
    assert_int_equal(bad, 0);
}

static void loading_keeps_addresses_and_bytes(void **state)
{
    (void)state;
    filemap m = {0};
    assert_int_equal(filemap_open(path, &m, NULL), CAMA_OK);
    assert_int_equal(m.n_bytes, SIZE);
    const uint8_t *before = m.bytes;
    assert_int_equal(filemap_load(&m, 0, NULL, NULL), CAMA_OK);
    assert_ptr_equal(m.bytes, before);
    check_bytes(&m, SIZE);
    filemap_close(&m);
    assert_null(m.bytes);
}

/* A file that lost its end after it was mapped: named, and what is left is still mapped. */
static void a_file_cut_short_is_an_error(void **state)
{
    (void)state;
    filemap m = {0};
    err_info err = {0};
    assert_int_equal(filemap_open(path, &m, NULL), CAMA_OK);
    assert_int_equal(truncate(path, 1 << 20), 0);
    assert_int_equal(filemap_load(&m, 0, NULL, &err), CAMA_ERR_IO);
    assert_non_null(strstr(err.text, "cut to 1048576 bytes, it had 3145745"));
    check_bytes(&m, 1 << 20);
    filemap_close(&m);
}

static void what_is_no_file_is_refused(void **state)
{
    (void)state;
    filemap m = {0};
    err_info err = {0};
    assert_int_equal(filemap_open("/tmp", &m, &err), CAMA_ERR_IO);
    assert_non_null(strstr(err.text, "'/tmp' is not a regular file"));
    assert_int_equal(filemap_open("/nowhere/at/all", &m, &err), CAMA_ERR_NOT_FOUND);
    char pipe_path[sizeof path + 8];
    (void)snprintf(pipe_path, sizeof pipe_path, "%s.pipe", path);
    assert_int_equal(mkfifo(pipe_path, 0600), 0);
    assert_int_equal(filemap_open(pipe_path, &m, &err), CAMA_ERR_IO); /* at once: nobody writes */
    assert_int_equal(unlink(pipe_path), 0);
    filemap_close(&m);
    filemap_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loading_keeps_addresses_and_bytes),
        cmocka_unit_test(a_file_cut_short_is_an_error), /* cuts the file: last of its users */
        cmocka_unit_test(what_is_no_file_is_refused),
    };
    return cmocka_run_group_tests(tests, make_file, drop_file);
}
