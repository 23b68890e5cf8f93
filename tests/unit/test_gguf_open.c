#include "gguf/gguf.h"

#include <unistd.h>

#include "gguf_build.h"
#include "test.h"

static const float zeros[256];

static gguf_file *open_bytes(const uint8_t *bytes, size_t n)
{
    gguf_file *f = NULL;
    err_info err = {0};
    if (gguf_open_bytes(bytes, n, &f, &err))
        fail_msg("refused: %s", err.text);
    assert_non_null(f);
    return f;
}

/* Builds, expects a refusal with this code, and each of the texts in its message. */
static void refused(gguf_build *b, cama_err code, const char *text, const char *more)
{
    size_t n;
    uint8_t *bytes = gguf_build_finish(b, &n);
    gguf_file *f = NULL;
    err_info err = {0};
    const cama_err e = gguf_open_bytes(bytes, n, &f, &err);
    if (e != code || err.code != code || !strstr(err.text, text) || !strstr(err.text, more))
        fail_msg("%s: '%s', not %s: '%s' and '%s'", cama_err_text(e), err.text, cama_err_text(code),
                 text, more);
    assert_null(f);
    free(bytes);
}

static gguf_build start(void)
{
    gguf_build b;
    gguf_build_init(&b);
    return b;
}

/* A file with one F32 tensor of 4 x 2, for refusals that need one. */
static gguf_build with_tensor(void)
{
    gguf_build b = start();
    gguf_build_tensor(&b, "a", 0, 2, (uint64_t[]){4, 2}, zeros, 32);
    return b;
}

static void check_metadata(const gguf_file *f)
{
    assert_int_equal(gguf_n_kv(f), 4);
    const gguf_kv *kv = gguf_find(f, "tokens");
    assert_non_null(kv);
    assert_ptr_equal(kv, gguf_kv_at(f, 1));
    assert_int_equal(kv->type, GGUF_ARRAY);
    assert_int_equal(kv->elem, GGUF_STRING);
    assert_int_equal(kv->n, 3);
    assert_memory_equal(kv->strings[0].text, "ab", 2);
    assert_int_equal(kv->strings[1].n, 0);
    assert_memory_equal(kv->strings[2].text, "cde", 3);
    kv = gguf_find(f, "scores");
    assert_int_equal(kv->elem, GGUF_F32);
    assert_int_equal(kv->n, 2);
    assert_null(kv->strings);
    float score;
    memcpy(&score, kv->data + 4, 4);
    assert_true(score == 2.5f);
    assert_null(gguf_find(f, "token"));
    assert_null(gguf_find(f, ""));
}

static void check_tensors(const gguf_file *f)
{
    assert_int_equal(gguf_n_tensor(f), 2);
    const gguf_tensor *t = gguf_find_tensor(f, "blk.0.w");
    assert_non_null(t);
    assert_ptr_equal(t, gguf_tensor_at(f, 1));
    assert_int_equal(t->type, QUANT_Q4_1);
    assert_int_equal(t->n_dims, 2);
    assert_int_equal(t->ne[0], 64);
    assert_int_equal(t->ne[1], 3);
    assert_int_equal(t->ne[2], 1);
    assert_int_equal(t->ne[3], 1);
    assert_int_equal(t->n_bytes, 120);
    for (int i = 0; i < 120; i++)
        assert_int_equal(t->data[i], i);
    t = gguf_find_tensor(f, "norm");
    assert_int_equal(t->n_dims, 1);
    float x;
    memcpy(&x, t->data + 4, 4);
    assert_true(x == 2.0f);
    assert_null(gguf_find_tensor(f, "nor"));
}

static void test_accepts(void **state)
{
    (void)state;
    uint8_t q[120];
    for (int i = 0; i < 120; i++)
        q[i] = (uint8_t)i;
    for (uint32_t version = 2; version <= 3; version++) {
        gguf_build b = start();
        b.version = version;
        gguf_build_str(&b, "general.architecture", "llama");
        gguf_build_strings(&b, "tokens", (const char *[]){"ab", "", "cde"}, 3);
        gguf_build_array(&b, "scores", 6, 2, (float[]){1.0f, 2.5f}, 8);
        gguf_build_array(&b, "nothing", 9 - 1, 0, NULL, 0);
        gguf_build_tensor(&b, "norm", 0, 1, (uint64_t[]){3}, (float[]){1, 2, 3}, 12);
        gguf_build_tensor(&b, "blk.0.w", 3, 2, (uint64_t[]){64, 3}, q, sizeof q);
        size_t n;
        uint8_t *bytes = gguf_build_finish(&b, &n);
        gguf_file *f = open_bytes(bytes, n);
        assert_int_equal(gguf_version(f), version);
        assert_int_equal(gguf_file_bytes(f), n);
        check_metadata(f);
        check_tensors(f);
        gguf_close(f);
        free(bytes);
    }
}

static void test_accepts_nothing_at_all(void **state)
{
    (void)state;
    gguf_build b = start();
    size_t n;
    uint8_t *bytes = gguf_build_finish(&b, &n);
    assert_int_equal(n, 24);
    gguf_file *f = open_bytes(bytes, n);
    assert_int_equal(gguf_n_kv(f), 0);
    assert_int_equal(gguf_n_tensor(f), 0);
    gguf_close(f);
    gguf_close(NULL);
    free(bytes);
}

/* Gaps, any order, an alignment of its own, empty and zero-dimensional tensors. */
static void test_accepts_any_layout(void **state)
{
    (void)state;
    gguf_build b = start();
    b.alignment = 64;
    gguf_build_u32(&b, "general.alignment", 64);
    gguf_build_entry(&b, "late", 0, 1, (uint64_t[]){16}, 256);
    gguf_build_entry(&b, "early", 0, 1, (uint64_t[]){16}, 64);
    gguf_build_entry(&b, "empty", 0, 2, (uint64_t[]){0, 5}, 64);
    gguf_build_entry(&b, "one", 0, 0, NULL, 0);
    (void)buf_append(&b.data, zeros, 256 + 64); /* what fails here is refused below */
    size_t n;
    uint8_t *bytes = gguf_build_finish(&b, &n);
    gguf_file *f = open_bytes(bytes, n);
    const gguf_tensor *late = gguf_find_tensor(f, "late");
    const gguf_tensor *early = gguf_find_tensor(f, "early");
    assert_int_equal(late->data - early->data, 192);
    assert_ptr_equal(late->data + late->n_bytes, bytes + n);
    assert_int_equal(gguf_find_tensor(f, "empty")->n_bytes, 0);
    assert_int_equal(gguf_find_tensor(f, "one")->n_bytes, 4);
    gguf_close(f);
    free(bytes);
}

static void test_every_format_has_its_size(void **state)
{
    (void)state;
    uint8_t *data = calloc(1, 4096);
    for (int t = 0; t < QUANT_N_TYPE; t++) {
        const quant_info *info = &quant_table[t];
        gguf_build b = start();
        gguf_build_tensor(&b, "w", info->gguf_id, 3, (uint64_t[]){2 * info->block_n, 1, 3}, data,
                          6 * info->block_bytes);
        size_t n;
        uint8_t *bytes = gguf_build_finish(&b, &n);
        gguf_file *f = open_bytes(bytes, n);
        assert_int_equal(gguf_tensor_at(f, 0)->type, t);
        assert_int_equal(gguf_tensor_at(f, 0)->n_bytes, 6 * info->block_bytes);
        gguf_close(f);
        free(bytes);
        if (info->block_n > 1) {
            b = start();
            gguf_build_tensor(&b, "w", info->gguf_id, 1, (uint64_t[]){info->block_n + 1}, data,
                              2 * info->block_bytes);
            refused(&b, CAMA_ERR_FORMAT, "'w'", info->name);
        }
    }
    free(data);
}

static void test_refuses_other_files(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        cama_err code;
        const char *text;
    } cases[] = {
        {"", 0, CAMA_ERR_FORMAT, "not a GGUF file: 0 bytes"},
        {"GGUF\3\0\0", 7, CAMA_ERR_FORMAT, "not a GGUF file: 7 bytes"},
        {"PK\3\4zzzzzzzzzzzzzzzzzzzz", 24, CAMA_ERR_FORMAT, "not a GGUF file"},
        {"GGUF\0\0\0\0", 8, CAMA_ERR_FORMAT, "version 0"},
        {"GGUF\1\0\0\0", 8, CAMA_ERR_UNSUPPORTED, "version 1"},
        {"GGUF\4\0\0\0", 8, CAMA_ERR_UNSUPPORTED, "version 4"},
        {"GGUF\0\0\0\3", 8, CAMA_ERR_UNSUPPORTED, "big-endian"},
        {"GGUF\3\0\0\0", 8, CAMA_ERR_FORMAT, "ends at 8"},
        {"GGUF\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20, CAMA_ERR_FORMAT, "ends at 20"},
    };
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        uint8_t *bytes = malloc(cases[i].n + 1);
        memcpy(bytes, cases[i].bytes, cases[i].n);
        gguf_file *f = NULL;
        err_info err = {0};
        assert_int_equal(gguf_open_bytes(bytes, cases[i].n, &f, &err), cases[i].code);
        if (!strstr(err.text, cases[i].text))
            fail_msg("'%s' is not in '%s'", cases[i].text, err.text);
        assert_null(f);
        assert_int_equal(gguf_open_bytes(bytes, cases[i].n, &f, NULL), cases[i].code);
        free(bytes);
    }
    uint64_t word = 0;
    gguf_file *f = NULL;
    err_info err = {0};
    assert_int_equal(gguf_open_bytes((char *)&word + 1, 4, &f, &err), CAMA_ERR_ARG);
    assert_int_equal(gguf_open("/nonexistent/x.gguf", &f, &err), CAMA_ERR_NOT_FOUND);
    assert_int_equal(gguf_open("/", &f, &err), CAMA_ERR_IO);
}

static void test_refuses_counts(void **state)
{
    (void)state;
    gguf_build b = start();
    b.n_tensor = UINT64_MAX;
    refused(&b, CAMA_ERR_FORMAT, "18446744073709551615 tensors", "24 bytes");
    b = start();
    b.n_kv = (uint64_t)1 << 60;
    refused(&b, CAMA_ERR_FORMAT, "1152921504606846976 metadata entries", "24 bytes");
    b = start();
    gguf_build_u32(&b, "k", 1);
    b.n_kv = 2; /* the bytes would do for three, as far as the count goes */
    refused(&b, CAMA_ERR_FORMAT, "metadata entry 1 of 2", "ends at 41");
    b = start();
    gguf_build_entry(&b, "a name long enough for two by count", 0, 0, NULL, 0);
    b.n_tensor = 2;
    refused(&b, CAMA_ERR_FORMAT, "entry 1 of 2 of the tensor list", "ends at 83");

    /* so many that only the named limits stand in the way */
    b = start();
    b.n_tensor = GGUF_MAX_TENSOR + 1;
    (void)buf_reserve(&b.data, (size_t)40 * (GGUF_MAX_TENSOR + 1));
    b.data.n = (size_t)40 * (GGUF_MAX_TENSOR + 1);
    refused(&b, CAMA_ERR_LIMIT, "2097153 tensors", "2097152");
    b = start();
    b.n_kv = GGUF_MAX_KV + 1;
    (void)buf_reserve(&b.data, (size_t)13 * (GGUF_MAX_KV + 1));
    b.data.n = (size_t)13 * (GGUF_MAX_KV + 1);
    refused(&b, CAMA_ERR_LIMIT, "1048577 metadata entries", "1048576");
}

static void test_refuses_metadata(void **state)
{
    (void)state;
    gguf_build b = start();
    gguf_build_u32(&b, "", 1);
    refused(&b, CAMA_ERR_FORMAT, "key of 0 bytes", "65535");
    char *longest = malloc(GGUF_MAX_KEY_BYTES + 2);
    memset(longest, 'k', GGUF_MAX_KEY_BYTES + 1);
    longest[GGUF_MAX_KEY_BYTES + 1] = '\0';
    b = start();
    gguf_build_u32(&b, longest, 1);
    refused(&b, CAMA_ERR_FORMAT, "key of 65536 bytes", "65535");
    free(longest);
    b = start();
    gguf_build_u32(&b, "twice", 1);
    gguf_build_str(&b, "twice", "x");
    refused(&b, CAMA_ERR_FORMAT, "'twice'", "twice");
    b = start();
    gguf_build_raw(&b, "k", 13, zeros, 8);
    refused(&b, CAMA_ERR_FORMAT, "'k'", "value type 13");
    b = start();
    gguf_build_raw(&b, "k", 7, "\2", 1);
    refused(&b, CAMA_ERR_FORMAT, "'k'", "bool 0 is 2");
    b = start();
    gguf_build_array(&b, "k", 7, 3, "\0\1\377", 3);
    refused(&b, CAMA_ERR_FORMAT, "'k'", "bool 2 is 255");
    b = start();
    gguf_build_array(&b, "k", 9, 1, zeros, 12);
    refused(&b, CAMA_ERR_UNSUPPORTED, "'k'", "array of arrays");
    b = start();
    gguf_build_array(&b, "k", 99, 1, zeros, 12);
    refused(&b, CAMA_ERR_FORMAT, "'k'", "value type 99");
    b = start();
    gguf_build_raw(&b, "k", 10, zeros, 7);
    refused(&b, CAMA_ERR_FORMAT, "'k'", "8 bytes are announced");
}

static void test_refuses_long_values(void **state)
{
    (void)state;
    const uint64_t huge[] = {(uint64_t)1 << 63, ((uint64_t)1 << 30) + 1, 1 << 30, 4};
    gguf_build b = start();
    gguf_build_raw(&b, "k", 8, &huge[0], 8);
    refused(&b, CAMA_ERR_LIMIT, "string of 9223372036854775808 bytes", "1073741824");
    b = start();
    gguf_build_raw(&b, "k", 8, &huge[1], 8);
    refused(&b, CAMA_ERR_LIMIT, "string of 1073741825 bytes", "1073741824");
    b = start();
    gguf_build_raw(&b, "k", 8, &huge[2], 8);
    refused(&b, CAMA_ERR_FORMAT, "'k'", "1073741824 bytes are announced");
    b = start();
    gguf_build_raw(&b, "k", 8, &huge[3], 8);
    refused(&b, CAMA_ERR_FORMAT, "'k'",
            "4 bytes are announced at byte 45, but the file ends at 45");
    b = start();
    gguf_build_array(&b, "k", 0, UINT64_MAX, zeros, 8);
    refused(&b, CAMA_ERR_LIMIT, "18446744073709551615 elements", "1073741824");
    b = start();
    gguf_build_array(&b, "k", 12, 1 << 30, zeros, 8);
    refused(&b, CAMA_ERR_FORMAT, "'k'", "8589934592 bytes are announced");
    b = start();
    gguf_build_array(&b, "k", 8, 3, zeros, 16); /* two empty strings */
    refused(&b, CAMA_ERR_FORMAT, "'k'", "24 bytes are announced");
    b = start();
    gguf_build_array(&b, "k", 8, 2, (uint64_t[]){0, 1}, 16);
    refused(&b, CAMA_ERR_FORMAT, "string 1 of 2", "1 bytes are announced");
}

/* A string that fits the file but not the limit of all metadata. The file is sparse. */
static void test_refuses_too_much_metadata(void **state)
{
    (void)state;
    char path[] = "/tmp/cama-gguf-XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)close(fd); /* only its name is wanted */
    gguf_build b = start();
    const uint64_t n = GGUF_MAX_META_BYTES;
    gguf_build_raw(&b, "k", 8, &n, 8);
    gguf_build_write(&b, path);
    assert_int_equal(truncate(path, (off_t)n + 4096), 0);
    gguf_file *f = NULL;
    err_info err = {0};
    assert_int_equal(gguf_open(path, &f, &err), CAMA_ERR_LIMIT);
    assert_non_null(strstr(err.text, "536870912"));
    assert_non_null(strstr(err.text, path));
    assert_int_equal(unlink(path), 0);
}

static void test_refuses_alignment(void **state)
{
    (void)state;
    static const uint32_t bad[] = {0, 1, 4, 12, 33, 0xFFFFFFFF};
    for (size_t i = 0; i < TEST_COUNT(bad); i++) {
        gguf_build b = with_tensor();
        gguf_build_u32(&b, "general.alignment", bad[i]);
        char text[64];
        (void)snprintf(text, sizeof text, "general.alignment is %u", bad[i]);
        refused(&b, CAMA_ERR_FORMAT, text, "power of two");
    }
    gguf_build b = with_tensor();
    gguf_build_u64(&b, "general.alignment", 32);
    refused(&b, CAMA_ERR_FORMAT, "general.alignment", "u64");
    b = with_tensor();
    gguf_build_u32(&b, "general.alignment", 0x80000000u);
    refused(&b, CAMA_ERR_FORMAT, "'a'", "begins at 2147483648");
}

static void test_refuses_shapes(void **state)
{
    (void)state;
    const uint64_t ne[5] = {32, 1, 1, 1, 1};
    gguf_build b = start();
    gguf_build_tensor(&b, "a", 0, 5, ne, zeros, 128);
    refused(&b, CAMA_ERR_FORMAT, "'a': 5 dimensions", "4");
    b = start();
    gguf_build_tensor(&b, "a", 0, 2, (uint64_t[]){32, (uint64_t)1 << 63}, zeros, 128);
    refused(&b, CAMA_ERR_FORMAT, "'a'", "9223372036854775808");
    b = start();
    gguf_build_tensor(&b, "a", 0, 2, (uint64_t[]){(uint64_t)1 << 32, (uint64_t)1 << 31}, zeros,
                      128);
    refused(&b, CAMA_ERR_FORMAT, "'a'", "more than 9223372036854775807 elements");
    b = start();
    gguf_build_tensor(&b, "a", 28, 2, (uint64_t[]){(uint64_t)1 << 31, (uint64_t)1 << 31}, zeros,
                      128);
    refused(&b, CAMA_ERR_FORMAT, "'a'", "address space");
    b = start();
    gguf_build_tensor(&b, "a", 2, 2, (uint64_t[]){33, 2}, zeros, 128);
    refused(&b, CAMA_ERR_FORMAT, "rows of 33 elements", "32 as Q4_0 needs");
}

static void test_refuses_formats(void **state)
{
    (void)state;
    static const struct {
        uint32_t id;
        const char *text;
    } cases[] = {{4, "4 (Q4_2)"},       {5, "5 (Q4_3)"},      {31, "31 (Q4_0_4_4)"},
                 {33, "(Q4_0_8_8)"},    {38, "(IQ4_NL_8_8)"}, {43, "43 is unknown"},
                 {137, "ik_llama.cpp"}, {97, "ik_llama.cpp"}, {UINT32_MAX, "4294967295"}};
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        gguf_build b = start();
        gguf_build_tensor(&b, "blk.0.w", cases[i].id, 1, (uint64_t[]){256}, zeros, 256);
        refused(&b, CAMA_ERR_UNSUPPORTED, "'blk.0.w'", cases[i].text);
    }
}

static void test_refuses_layouts(void **state)
{
    (void)state;
    gguf_build b = with_tensor();
    gguf_build_tensor(&b, "a", 0, 1, (uint64_t[]){4}, zeros, 16);
    refused(&b, CAMA_ERR_FORMAT, "tensor 'a' is there twice", "");
    b = with_tensor();
    gguf_build_entry(&b, "b", 0, 1, (uint64_t[]){4}, 48);
    refused(&b, CAMA_ERR_FORMAT, "'b' is at offset 48", "alignment 32");
    b = with_tensor();
    gguf_build_entry(&b, "b", 0, 1, (uint64_t[]){4}, 32);
    refused(&b, CAMA_ERR_FORMAT, "'b' has 16 bytes from offset 32", "past the file's 160 bytes");
    b = with_tensor();
    gguf_build_entry(&b, "b", 0, 1, (uint64_t[]){4}, UINT64_MAX - 31);
    refused(&b, CAMA_ERR_FORMAT, "'b' has 16 bytes from offset 18446744073709551584", "past");
    b = with_tensor();
    gguf_build_entry(&b, "b", 0, 1, (uint64_t[]){4}, (uint64_t)INT64_MAX - 31);
    refused(&b, CAMA_ERR_FORMAT, "'b' has 16 bytes", "past");
    b = start();
    gguf_build_tensor(&b, "a", 0, 1, (uint64_t[]){24}, zeros, 96);
    gguf_build_entry(&b, "b", 0, 1, (uint64_t[]){8}, 64);
    refused(&b, CAMA_ERR_FORMAT, "'a' ends at offset 96", "past 64 where tensor 'b' begins");
    b = start();
    gguf_build_entry(&b, "late", 0, 1, (uint64_t[]){8}, 32);
    gguf_build_tensor(&b, "all", 0, 1, (uint64_t[]){24}, zeros, 96);
    refused(&b, CAMA_ERR_FORMAT, "'all' ends at offset 96", "'late'");
}

static void test_refuses_names(void **state)
{
    (void)state;
    char name[66];
    memset(name, 'n', sizeof name);
    name[63] = '\0';
    gguf_build b = start();
    gguf_build_tensor(&b, name, 0, 1, (uint64_t[]){4}, zeros, 16);
    size_t n;
    uint8_t *bytes = gguf_build_finish(&b, &n);
    gguf_file *f = open_bytes(bytes, n);
    assert_non_null(gguf_find_tensor(f, name));
    gguf_close(f);
    free(bytes);
    name[63] = 'n';
    name[64] = '\0';
    b = start();
    gguf_build_tensor(&b, name, 0, 1, (uint64_t[]){4}, zeros, 16);
    refused(&b, CAMA_ERR_FORMAT, "a name of 64 bytes", "63");
}

/* What a file says must not reach a terminal as it is. */
static void test_names_are_shown_safely(void **state)
{
    (void)state;
    gguf_build b = start();
    gguf_build_raw(&b, "\x1b[2J\xff\xc3\xa4", 7, "\2", 1);
    refused(&b, CAMA_ERR_FORMAT, "'?[2J\xef\xbf\xbd\xc3\xa4'", "");
    char key[300];
    memset(key, 'k', sizeof key);
    key[299] = '\0';
    b = start();
    gguf_build_raw(&b, key, 7, "\2", 1);
    refused(&b, CAMA_ERR_FORMAT, "kkk...'", "bool");
}

/* Each prefix of a good file is refused, and nothing past its end is read. */
static void test_refuses_every_cut(void **state)
{
    (void)state;
    gguf_build b = start();
    gguf_build_strings(&b, "tokens", (const char *[]){"ab", "cd"}, 2);
    gguf_build_array(&b, "scores", 6, 2, zeros, 8);
    gguf_build_bool(&b, "flag", true);
    gguf_build_tensor(&b, "x", 0, 2, (uint64_t[]){4, 2}, zeros, 32);
    gguf_build_tensor(&b, "y", 8, 1, (uint64_t[]){32}, zeros, 34);
    size_t n;
    uint8_t *bytes = gguf_build_finish(&b, &n);
    for (size_t cut = 0; cut < n; cut++) {
        uint8_t *part = malloc(cut + !cut);
        memcpy(part, bytes, cut);
        gguf_file *f = NULL;
        err_info err = {0};
        assert_int_equal(gguf_open_bytes(part, cut, &f, &err), CAMA_ERR_FORMAT);
        assert_true(err.text[0] != '\0');
        free(part);
    }
    gguf_close(open_bytes(bytes, n));
    free(bytes);
}

static void test_check_data(void **state)
{
    (void)state;
    for (int bad = 0; bad < 2; bad++) {
        uint16_t q8[34] = {0}; /* two blocks; the second one's scale is at 17 */
        q8[17] = bad ? 0x7C00 : 0x7BFF;
        gguf_build b = start();
        gguf_build_tensor(&b, "fine", 0, 1, (uint64_t[]){4}, zeros, 16);
        gguf_build_tensor(&b, "w", 8, 2, (uint64_t[]){32, 2}, q8, sizeof q8);
        size_t n;
        uint8_t *bytes = gguf_build_finish(&b, &n);
        gguf_file *f = open_bytes(bytes, n);
        err_info err = {0};
        assert_int_equal(gguf_check_data(f, &err), bad ? CAMA_ERR_FORMAT : CAMA_OK);
        if (bad)
            assert_non_null(strstr(err.text, "tensor 'w' (Q8_0)"));
        gguf_close(f);
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts),
        cmocka_unit_test(test_accepts_nothing_at_all),
        cmocka_unit_test(test_accepts_any_layout),
        cmocka_unit_test(test_every_format_has_its_size),
        cmocka_unit_test(test_refuses_other_files),
        cmocka_unit_test(test_refuses_counts),
        cmocka_unit_test(test_refuses_metadata),
        cmocka_unit_test(test_refuses_long_values),
        cmocka_unit_test(test_refuses_too_much_metadata),
        cmocka_unit_test(test_refuses_alignment),
        cmocka_unit_test(test_refuses_shapes),
        cmocka_unit_test(test_refuses_formats),
        cmocka_unit_test(test_refuses_layouts),
        cmocka_unit_test(test_refuses_names),
        cmocka_unit_test(test_names_are_shown_safely),
        cmocka_unit_test(test_refuses_every_cut),
        cmocka_unit_test(test_check_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
