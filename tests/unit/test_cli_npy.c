/* The .npy writer: the bytes of the format, and files that are whole or absent. */
#include "test.h"

#include <unistd.h>

#include "cli/npy.h"

static char folder[] = "/tmp/cama_npy_XXXXXX";
static char path[64];

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/x.npy", folder);
    return 0;
}

static int drop_folder(void **state)
{
    (void)state;
    remove(path);
    return rmdir(folder); /* fails when a .part was left behind */
}

static void test_bytes(void **state)
{
    (void)state;
    const float values[] = {1, 2, 3, 4, 5, 6};
    const uint64_t shape[] = {2, 3};
    err_info err = {0};
    npy f;
    assert_int_equal(npy_open(path, shape, 2, &f, &err), CAMA_OK);
    assert_int_equal(npy_write(&f, values, 3, &err), CAMA_OK);
    assert_int_equal(npy_write(&f, values + 3, 3, &err), CAMA_OK);
    assert_int_equal(npy_finish(&f, &err), CAMA_OK);

    unsigned char got[512];
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    const size_t n = fread(got, 1, sizeof got, file);
    fclose(file);
    assert_memory_equal(got, "\x93NUMPY\1\0", 8);
    const size_t n_head = 10 + got[8] + 256u * got[9];
    assert_int_equal(n_head % 64, 0);
    assert_int_equal(n, n_head + sizeof values);
    const char dict[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
    assert_memory_equal(got + 10, dict, sizeof dict - 1);
    assert_int_equal(got[n_head - 1], '\n');
    assert_memory_equal(got + n_head, values, sizeof values);
}

static void test_one_dimension(void **state)
{
    (void)state;
    const uint64_t shape[] = {1};
    const float value = 7;
    npy f;
    assert_int_equal(npy_open(path, shape, 1, &f, NULL), CAMA_OK);
    assert_int_equal(npy_write(&f, &value, 1, NULL), CAMA_OK);
    assert_int_equal(npy_finish(&f, NULL), CAMA_OK);
    char got[80] = {0};
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_true(fread(got, 1, sizeof got - 1, file) > 70);
    fclose(file);
    assert_non_null(strstr(got + 10, "'shape': (1,), }"));
}

static void test_half_a_file_is_none(void **state)
{
    (void)state;
    const uint64_t shape[] = {5};
    const float value = 7;
    npy f;
    err_info err = {0};
    remove(path);
    assert_int_equal(npy_open(path, shape, 1, &f, &err), CAMA_OK);
    assert_int_equal(npy_write(&f, &value, 1, &err), CAMA_OK);
    assert_int_equal(npy_finish(&f, &err), CAMA_ERR_INTERNAL);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(npy_open(path, shape, 1, &f, &err), CAMA_OK);
    npy_drop(&f);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(npy_open("/no/such/folder/x.npy", shape, 1, &f, &err), CAMA_ERR_IO);
    assert_non_null(strstr(err.text, "/no/such/folder/x.npy"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_one_dimension),
        cmocka_unit_test(test_half_a_file_is_none),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
