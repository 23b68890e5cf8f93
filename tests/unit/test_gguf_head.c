/* A file's head, read and not mapped. */
#include "gguf/gguf_int.h"

#include <unistd.h>

#include "gguf_build.h"
#include "test.h"

static char path[] = "/tmp/cama-head-XXXXXX";

static int make_path(void **state)
{
    (void)state;
    const int fd = mkstemp(path);
    return fd >= 0 && close(fd) == 0 ? 0 : -1;
}

static int drop_path(void **state)
{
    (void)state;
    return unlink(path);
}

/* A vocabulary of more bytes than are read at once, and more data than metadata. */
static void write_large(void)
{
    static const char *texts[60000];
    static const uint8_t zeros[4 << 20];
    for (size_t i = 0; i < TEST_COUNT(texts); i++)
        texts[i] = i % 2 ? "token" : "another token";
    gguf_build b;
    gguf_build_init(&b);
    gguf_build_str(&b, "general.architecture", "llama");
    gguf_build_strings(&b, "tokens", texts, TEST_COUNT(texts));
    gguf_build_u32(&b, "last", 7);
    gguf_build_tensor(&b, "w", 0, 2, (uint64_t[]){1 << 10, 1 << 10}, zeros, sizeof zeros);
    gguf_build_write(&b, path);
}

static void says_what_the_mapped_file_says(void **state)
{
    (void)state;
    write_large();
    gguf_file *all = NULL;
    gguf_file *head = NULL;
    err_info err = {0};
    assert_int_equal(gguf_open(path, &all, &err), CAMA_OK);
    assert_int_equal(gguf_open_head(path, &head, &err), CAMA_OK);
    assert_int_equal(gguf_file_bytes(head), gguf_file_bytes(all));
    assert_int_equal(gguf_n_kv(head), gguf_n_kv(all));
    const gguf_kv *kv = gguf_find(head, "tokens");
    assert_non_null(kv);
    assert_int_equal(kv->n, 60000);
    assert_memory_equal(kv->strings[59999].text, "token", 5);
    uint64_t last = 0;
    assert_int_equal(gguf_get_u64(head, "last", &last, &err), CAMA_OK);
    assert_int_equal(last, 7);
    const gguf_tensor *t = gguf_find_tensor(head, "w");
    assert_non_null(t);
    assert_int_equal(t->ne[1], 1 << 10);
    assert_int_equal(t->n_bytes, gguf_find_tensor(all, "w")->n_bytes);
    gguf_close(head);
    gguf_close(all);
}

static void no_data_is_read(void **state)
{
    (void)state;
    write_large();
    gguf_file *f = NULL;
    err_info err = {0};
    assert_int_equal(gguf_open_head(path, &f, &err), CAMA_OK);
    assert_in_range(f->front.n_have, 1000000, 2 << 20); /* of 5 MiB and more */
    assert_false(f->front.is_open);
    assert_null(gguf_tensor_at(f, 0)->data);
    assert_false(gguf_in_memory(f));
    assert_int_equal(gguf_load(f, NULL, &err), CAMA_ERR_ARG);
    assert_int_equal(gguf_check_data(f, &err), CAMA_ERR_ARG);
    gguf_close(f);
}

/* What the process has is its own: the file may go away under it. */
static void a_file_cut_under_it_does_no_harm(void **state)
{
    (void)state;
    write_large();
    gguf_file *f = NULL;
    err_info err = {0};
    assert_int_equal(gguf_open_head(path, &f, &err), CAMA_OK);
    assert_int_equal(truncate(path, 10), 0);
    const gguf_kv *kv = gguf_find(f, "tokens");
    for (uint64_t i = 0; i < kv->n; i++)
        assert_memory_equal(kv->strings[i].text, i % 2 ? "token" : "another token", 5);
    gguf_close(f);
}

static void refused(off_t n, cama_err code, const char *text)
{
    gguf_file *f = NULL;
    err_info err = {0};
    assert_int_equal(truncate(path, n), 0);
    assert_int_equal(gguf_open_head(path, &f, &err), code);
    if (!strstr(err.text, text))
        fail_msg("%s", err.text);
    assert_null(f);
}

static void cut_files_are_refused(void **state)
{
    (void)state;
    write_large();
    refused(5000000, CAMA_ERR_FORMAT, "tensor 'w' has 4194304 bytes");
    refused(500000, CAMA_ERR_FORMAT, "but the file ends at 500000");
    refused(23, CAMA_ERR_FORMAT, "cannot be in a file of 23 bytes");
    refused(7, CAMA_ERR_FORMAT, "not a GGUF file: 7 bytes");
    refused(0, CAMA_ERR_FORMAT, "not a GGUF file: 0 bytes");
}

static void a_shard_is_opened_alone(void **state)
{
    (void)state;
    gguf_build b;
    gguf_build_init(&b);
    gguf_build_raw(&b, "split.no", 2, &(uint16_t){1}, 2);
    gguf_build_raw(&b, "split.count", 2, &(uint16_t){3}, 2);
    gguf_build_tensor(&b, "w", 0, 1, (uint64_t[]){1}, "\0\0\0\0", 4);
    gguf_build_write(&b, path);
    gguf_file *f = NULL;
    err_info err = {0};
    assert_int_equal(gguf_open_head(path, &f, &err), CAMA_OK);
    assert_int_equal(gguf_n_tensor(f), 1);
    gguf_close(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_what_the_mapped_file_says),   cmocka_unit_test(no_data_is_read),
        cmocka_unit_test(a_file_cut_under_it_does_no_harm), cmocka_unit_test(cut_files_are_refused),
        cmocka_unit_test(a_shard_is_opened_alone),
    };
    return cmocka_run_group_tests(tests, make_path, drop_path);
}
