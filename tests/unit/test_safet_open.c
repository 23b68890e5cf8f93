/* Headers of safetensors: good ones, and each thing that can be wrong with one. */
#include "safet/safet.h"

#include <unistd.h>

#include "test.h"

static int make_file(const char *header, size_t n_claimed, size_t n_data)
{
    char path[] = "/tmp/test_safet_XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)unlink(path);
    const uint64_t n = n_claimed == SIZE_MAX ? strlen(header) : n_claimed;
    assert_int_equal(write(fd, &n, 8), 8);
    assert_int_equal(write(fd, header, strlen(header)), (ssize_t)strlen(header));
    for (size_t i = 0; i < n_data; i++)
        assert_int_equal(write(fd, &(uint8_t){(uint8_t)i}, 1), 1);
    return fd;
}

static cama_err open_text(const char *header, size_t n_claimed, size_t n_data, err_info *err)
{
    safet_file *f = NULL;
    const int fd = make_file(header, n_claimed, n_data);
    const cama_err e = safet_open(&(safet_source){fd, "m.safetensors"}, 1, &f, err);
    safet_close(f);
    (void)close(fd); /* read */
    return e;
}

static void good(void **state)
{
    (void)state;
    safet_file *f = NULL;
    err_info err;
    uint8_t bytes[16];
    const int a =
        make_file("{\"__metadata__\":{\"format\":\"pt\"},"
                  "\"x\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,8]},"
                  "\"y\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[8,10]},"
                  "\"none\":{\"dtype\":\"U8\",\"shape\":[0,5],\"data_offsets\":[10,10]}}   ",
                  SIZE_MAX, 10);
    const int b = make_file("{\"z\":{\"dtype\":\"U32\",\"shape\":[1,2],\"data_offsets\":[4,12]}}",
                            SIZE_MAX, 12);
    const safet_source sources[] = {{a, "a"}, {b, "b"}};
    if (safet_open(sources, 2, &f, &err))
        fail_msg("%s", err.text);
    assert_int_equal(safet_n_tensor(f), 4);
    assert_string_equal(safet_tensor_at(f, 0)->name, "x");
    const safet_tensor *x = safet_find(f, "x"), *y = safet_find(f, "y"), *z = safet_find(f, "z");
    assert_true(x && y && z && !safet_find(f, "w") && !safet_find(f, "__metadata__"));
    assert_true(x->type == SAFET_F32 && x->n_dims == 2 && x->shape[0] == 2 && x->n_bytes == 8);
    assert_true(y->type == SAFET_BF16 && y->n_dims == 0 && y->n_bytes == 2);
    assert_true(z->shard == 1 && z->n_bytes == 8);
    assert_int_equal(safet_read(f, x, 2, bytes, 6, &err), CAMA_OK);
    assert_true(bytes[0] == 2 && bytes[5] == 7);
    assert_int_equal(safet_read(f, y, 0, bytes, 2, &err), CAMA_OK);
    assert_true(bytes[0] == 8 && bytes[1] == 9);
    assert_int_equal(safet_read(f, z, 0, bytes, 8, &err), CAMA_OK);
    assert_true(bytes[0] == 4);
    assert_int_equal(safet_read(f, z, 1, bytes, 8, &err), CAMA_ERR_ARG);
    assert_int_equal(safet_read(f, z, UINT64_MAX, bytes, 2, &err), CAMA_ERR_ARG);
    assert_int_equal(ftruncate(a, 40), 0); /* somebody else cuts it short */
    assert_int_equal(safet_read(f, x, 0, bytes, 8, &err), CAMA_ERR_IO);
    assert_non_null(strstr(err.text, "cut short"));
    safet_close(f);
    (void)close(a), (void)close(b); /* read */
}

static void bad(void **state)
{
    (void)state;
#define X(type, shape, offsets)                                                                    \
    "{\"x\":{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
    static const struct {
        const char *header;
        size_t n_claimed;
        cama_err code;
        const char *says;
    } cases[] = {
        {"", 1000, CAMA_ERR_FORMAT, "a header of 1000 bytes"},
        {"{}", (size_t)1 << 40, CAMA_ERR_LIMIT, "is it a safetensors file?"},
        {"{\"x\":", SIZE_MAX, CAMA_ERR_FORMAT, "m.safetensors"},
        {"{}x", SIZE_MAX, CAMA_ERR_FORMAT, "m.safetensors"},
        {"[]", SIZE_MAX, CAMA_ERR_FORMAT, "no object"},
        {"{\"x\":1}", SIZE_MAX, CAMA_ERR_FORMAT, "tensor 'x': its entry is no object"},
        {"{\"x\":{}}", SIZE_MAX, CAMA_ERR_FORMAT, "no dtype"},
        {"{\"\":{}}", SIZE_MAX, CAMA_ERR_LIMIT, "name has 0 bytes"},
        {X("F31", "[1]", "[0,4]"), SIZE_MAX, CAMA_ERR_UNSUPPORTED, "'F31'"},
        {X("F32", "1", "[0,4]"), SIZE_MAX, CAMA_ERR_FORMAT, "no shape"},
        {X("F32", "[-1]", "[0,4]"), SIZE_MAX, CAMA_ERR_FORMAT, "dimension 0"},
        {X("F32", "[1.5]", "[0,4]"), SIZE_MAX, CAMA_ERR_FORMAT, "dimension 0"},
        {X("F32", "[4611686018427387904,4]", "[0,4]"), SIZE_MAX, CAMA_ERR_FORMAT, "dimension"},
        {X("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), SIZE_MAX, CAMA_ERR_LIMIT, "9 dimensions"},
        {X("F32", "[2]", "[0,4]"), SIZE_MAX, CAMA_ERR_FORMAT, "hold 4 bytes, its shape 8"},
        {X("F32", "[1]", "[4,0]"), SIZE_MAX, CAMA_ERR_FORMAT, "no data_offsets"},
        {X("F32", "[1]", "[0]"), SIZE_MAX, CAMA_ERR_FORMAT, "no data_offsets"},
        {X("F32", "[1]", "[14,18]"), SIZE_MAX, CAMA_ERR_FORMAT, "ends at 18, past the 16"},
        {"{\"x\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]},"
         "\"y\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[7,15]}}",
         SIZE_MAX, CAMA_ERR_FORMAT, "'x' and 'y' overlap"},
    };
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        err_info err;
        const cama_err e = open_text(cases[i].header, cases[i].n_claimed, 16, &err);
        if (e != cases[i].code || !strstr(err.text, cases[i].says))
            fail_msg("%s: %d %s", cases[i].header, (int)e, err.text);
    }
}

static void twice(void **state)
{
    (void)state;
    safet_file *f = NULL;
    err_info err;
    const int fd = make_file(X("U8", "[1]", "[0,1]"), SIZE_MAX, 1);
    const safet_source sources[] = {{fd, "a"}, {fd, "b"}};
    assert_int_equal(safet_open(sources, 2, &f, &err), CAMA_ERR_FORMAT);
    assert_string_equal(err.text, "b: tensor 'x': it is there twice");
    assert_int_equal(safet_open(sources, 0, &f, &err), CAMA_ERR_LIMIT);
    (void)close(fd); /* read */
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(safet_open(&(safet_source){ends[0], "p"}, 1, &f, &err), CAMA_ERR_IO);
    (void)close(ends[0]), (void)close(ends[1]); /* a pipe */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good),
        cmocka_unit_test(bad),
        cmocka_unit_test(twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
