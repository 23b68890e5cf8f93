/* Opening with each allocation failing in turn: CAMA_ERR_NOMEM, nothing kept. */
#include "gguf/gguf.h"

#include <unistd.h>

#include "fault.h"
#include "gguf_build.h"
#include "test.h"

typedef struct image {
    const uint8_t *bytes;
    size_t n;
} image;

static cama_err open_image(void *arg, err_info *err)
{
    const image *im = arg;
    gguf_file *f;
    const cama_err e = gguf_open_bytes(im->bytes, im->n, &f, err);
    if (!e)
        gguf_close(f);
    return e;
}

static cama_err open_path(void *arg, err_info *err)
{
    gguf_file *f;
    const cama_err e = gguf_open(arg, &f, err);
    if (!e)
        gguf_close(f);
    return e;
}

static cama_err open_head(void *arg, err_info *err)
{
    gguf_file *f;
    const cama_err e = gguf_open_head(arg, &f, err);
    if (!e)
        gguf_close(f);
    return e;
}

/* Enough keys, strings and tensors that every table grows past its first block. */
static void fill(gguf_build *b, int first)
{
    static const char *texts[5000];
    for (size_t i = 0; i < TEST_COUNT(texts); i++)
        texts[i] = "token";
    for (int i = 0; i < 3; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "tokens.%d", i);
        gguf_build_strings(b, key, texts, TEST_COUNT(texts));
        gguf_build_str(b, key + 7, "one more");
    }
    for (int i = 0; i < 100; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "t%d", first + i);
        gguf_build_tensor(b, name, 0, 1, (uint64_t[]){1}, "\0\0\0\0", 4);
    }
}

static void test_from_memory(void **state)
{
    (void)state;
    gguf_build b;
    gguf_build_init(&b);
    fill(&b, 0);
    image im;
    uint8_t *bytes = gguf_build_finish(&b, &im.n);
    im.bytes = bytes;
    assert_true(fault_sweep(FAULT_HEAP, open_image, &im) >= 6);
    free(bytes);
}

static void test_shards(void **state)
{
    (void)state;
    char folder[] = "/tmp/cama-fault-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char path[2][64];
    for (uint16_t i = 0; i < 2; i++) {
        (void)snprintf(path[i], sizeof path[i], "%s/m-0000%d-of-00002.gguf", folder, i + 1);
        gguf_build b;
        gguf_build_init(&b);
        gguf_build_raw(&b, "split.no", 2, &i, 2);
        gguf_build_u32(&b, "split.count", 2);
        fill(&b, 100 * i);
        gguf_build_write(&b, path[i]);
    }
    assert_true(fault_sweep(FAULT_HEAP, open_path, path[0]) >= 10);
    assert_true(fault_sweep(FAULT_HEAP | FAULT_MMAP, open_head, path[1]) >= 7);
    assert_int_equal(unlink(path[0]) + unlink(path[1]) + rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_from_memory),
        cmocka_unit_test(test_shards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
