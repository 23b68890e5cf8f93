#include "gguf/gguf.h"

#include <fcntl.h>
#include <unistd.h>

#include "gguf_build.h"
#include "test.h"

/* What a shard says; the fields are those of a good one until a test changes them. */
typedef struct shard {
    uint16_t no;
    uint16_t count;
    bool without_no;
    int32_t total; /* split.tensors.count, if > 0 */
    const char *tensor;
    float value;
} shard;

static char folder[] = "/tmp/cama-split-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int drop_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

static void path_of(char out[128], int no, int count)
{
    (void)snprintf(out, 128, "%s/m-%05d-of-%05d.gguf", folder, no, count);
}

static void write_shard(const char *path, const shard *s)
{
    gguf_build b;
    gguf_build_init(&b);
    if (s->no == 0)
        gguf_build_str(&b, "general.architecture", "llama");
    else
        gguf_build_str(&b, "only.here", "x");
    if (!s->without_no)
        gguf_build_raw(&b, "split.no", 2, &s->no, 2);
    gguf_build_raw(&b, "split.count", 2, &s->count, 2);
    if (s->total)
        gguf_build_i32(&b, "split.tensors.count", s->total);
    if (s->tensor)
        gguf_build_tensor(&b, s->tensor, 0, 1, (uint64_t[]){1}, &s->value, 4);
    gguf_build_write(&b, path);
}

static void good_shards(shard s[3])
{
    s[0] = (shard){.no = 0, .count = 3, .total = 2}; /* metadata only */
    s[1] = (shard){.no = 1, .count = 3, .total = 2, .tensor = "a", .value = 1.0f};
    s[2] = (shard){.no = 2, .count = 3, .total = 2, .tensor = "b", .value = 2.0f};
}

/* Writes the shards under the names of a model in 3, opens number `open`, removes them. */
static cama_err open_shards(const shard s[3], int open, gguf_file **out, err_info *err)
{
    char path[128];
    for (int i = 0; i < 3; i++) {
        path_of(path, i + 1, 3);
        write_shard(path, &s[i]);
    }
    path_of(path, open, 3);
    const cama_err e = gguf_open(path, out, err);
    for (int i = 0; i < 3; i++) {
        path_of(path, i + 1, 3);
        assert_int_equal(unlink(path), 0);
    }
    return e;
}

static void refused(const shard s[3], int open, cama_err code, const char *text)
{
    gguf_file *f = NULL;
    err_info err = {0};
    const cama_err e = open_shards(s, open, &f, &err);
    if (e != code || !strstr(err.text, text))
        fail_msg("%s: '%s' lacks '%s'", cama_err_text(e), err.text, text);
    assert_null(f);
}

static void test_joins(void **state)
{
    (void)state;
    shard s[3];
    good_shards(s);
    gguf_file *f = NULL;
    err_info err = {0};
    if (open_shards(s, 1, &f, &err))
        fail_msg("%s", err.text);
    assert_int_equal(gguf_n_tensor(f), 2);
    float v;
    memcpy(&v, gguf_find_tensor(f, "a")->data, 4);
    assert_true(v == 1.0f);
    memcpy(&v, gguf_find_tensor(f, "b")->data, 4);
    assert_true(v == 2.0f);
    assert_non_null(gguf_find(f, "general.architecture"));
    assert_null(gguf_find(f, "only.here"));
    assert_true(gguf_file_bytes(f) > 300);
    assert_int_equal(gguf_check_data(f, NULL), CAMA_OK);
    gguf_close(f);
}

/* Opened by the caller, in order; the names do not matter then. */
static void test_from_descriptors(void **state)
{
    (void)state;
    shard s[3];
    int fds[3];
    char path[128];
    good_shards(s);
    for (int i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof path, "%s/any-name-%d", folder, i);
        write_shard(path, &s[i]);
        fds[i] = open(path, O_RDONLY);
        assert_true(fds[i] >= 0);
        assert_int_equal(unlink(path), 0);
    }
    gguf_file *f = NULL;
    err_info err = {0};
    if (gguf_open_fds(fds, 3, "split", &f, &err))
        fail_msg("%s", err.text);
    assert_int_equal(gguf_n_tensor(f), 2);
    float v;
    memcpy(&v, gguf_find_tensor(f, "b")->data, 4);
    assert_true(v == 2.0f);
    gguf_close(f);
    f = NULL;
    assert_int_equal(gguf_open_fds(fds, 2, "split", &f, &err), CAMA_ERR_ARG);
    assert_non_null(strstr(err.text, "a model of 3 shards in 2 files"));
    assert_int_equal(gguf_open_fds(fds, 0, "split", &f, &err), CAMA_ERR_ARG);
    const int wrong[3] = {fds[0], fds[2], fds[1]};
    assert_int_equal(gguf_open_fds(wrong, 3, "split", &f, &err), CAMA_ERR_FORMAT);
    assert_non_null(strstr(err.text, "shard 2 of 3, 'split'"));
    const int closed[3] = {fds[0], 987654, fds[2]};
    assert_int_equal(gguf_open_fds(closed, 3, "split", &f, &err), CAMA_ERR_IO);
    for (int i = 0; i < 3; i++)
        assert_int_equal(close(fds[i]), 0); /* they stayed the caller's */
    assert_null(f);
}

static void test_refuses(void **state)
{
    (void)state;
    shard s[3];
    good_shards(s);
    refused(s, 2, CAMA_ERR_ARG, "this is shard 2 of 3: open the one that ends in -00001-of-00003");
    s[2].tensor = "a";
    refused(s, 1, CAMA_ERR_FORMAT, "tensor 'a' is there twice");
    good_shards(s);
    s[2].no = 1;
    refused(s, 1, CAMA_ERR_FORMAT, "split.no is 1, not 2");
    good_shards(s);
    s[1].count = 4;
    refused(s, 1, CAMA_ERR_FORMAT, "split.count is 4, the first shard has 3");
    good_shards(s);
    s[1].without_no = true;
    refused(s, 1, CAMA_ERR_FORMAT, "a shard of 3 without split.no");
    good_shards(s);
    s[0].total = 3;
    refused(s, 1, CAMA_ERR_FORMAT, "split.tensors.count is 3, the 3 shards have 2");
    good_shards(s);
    s[0].count = 2;
    refused(s, 1, CAMA_ERR_ARG, "-00001-of-00002.gguf");
    good_shards(s);
    s[0].count = 5000;
    refused(s, 1, CAMA_ERR_LIMIT, "split.count is 5000, the limit is 1024");
}

static void test_missing_and_broken(void **state)
{
    (void)state;
    shard s[3];
    good_shards(s);
    char first[128];
    char second[128];
    path_of(first, 1, 3);
    path_of(second, 2, 3);
    write_shard(first, &s[0]);
    gguf_file *f = NULL;
    err_info err = {0};
    assert_int_equal(gguf_open(first, &f, &err), CAMA_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, second));
    FILE *other = fopen(second, "wb");
    assert_non_null(other);
    assert_true(fputs("GGUF, but not really", other) >= 0);
    assert_int_equal(fclose(other), 0);
    assert_int_equal(gguf_open(first, &f, &err), CAMA_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "shard 2 of 3"));
    assert_int_equal(unlink(first), 0);
    assert_int_equal(unlink(second), 0);

    char named[160];
    (void)snprintf(named, sizeof named, "%s/x.gguf", folder);
    write_shard(named, &s[0]);
    assert_int_equal(gguf_open(named, &f, &err), CAMA_ERR_ARG);
    assert_non_null(strstr(err.text, "must be named to end in -00001-of-00003.gguf"));
    s[0].count = 1; /* a model in one shard may have any name */
    write_shard(named, &s[0]);
    assert_int_equal(gguf_open(named, &f, &err), CAMA_OK);
    gguf_close(f);
    assert_int_equal(unlink(named), 0);
}

static void test_not_from_memory(void **state)
{
    (void)state;
    gguf_build b;
    gguf_build_init(&b);
    gguf_build_u32(&b, "split.count", 3);
    size_t n;
    uint8_t *bytes = gguf_build_finish(&b, &n);
    gguf_file *f = NULL;
    err_info err = {0};
    assert_int_equal(gguf_open_bytes(bytes, n, &f, &err), CAMA_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "shard 1 of 3 in memory"));
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_joins),           cmocka_unit_test(test_from_descriptors),
        cmocka_unit_test(test_refuses),         cmocka_unit_test(test_missing_and_broken),
        cmocka_unit_test(test_not_from_memory),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
