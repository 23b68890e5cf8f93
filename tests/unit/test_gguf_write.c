/* What is written is what is read. */
#include "gguf/gguf_write.h"

#include "test.h"

static void round_trip(void **state)
{
    (void)state;
    gguf_writer w;
    gguf_file *g = NULL;
    err_info err;
    buf out;
    static const char zeros[64];
    static const float x[3] = {1, 2, 3};
    uint8_t blocks[2 * 36];
    memset(blocks, 7, sizeof blocks);
    const gguf_str texts[] = {{"a", 1}, {"", 0}, {"b\0c", 3}};
    gguf_writer_init(&w);
    gguf_put_text(&w, "general.architecture", "llama");
    gguf_put_u32(&w, "u32", UINT32_MAX);
    gguf_put_f32(&w, "f32", 0.5f);
    gguf_put_bool(&w, "bool", true);
    gguf_put_str(&w, "str", texts[2]);
    gguf_put_strs(&w, "strs", texts, 3);
    gguf_put_i32s(&w, "i32s", (const int32_t[]){-1, 5}, 2);
    gguf_put_f32s(&w, "f32s", x, 3);
    gguf_put_strs(&w, "none", texts, 0);
    assert_int_equal(gguf_put_tensor(&w, "vector", QUANT_F32, 1, (const uint64_t[]){3}), 12);
    assert_int_equal(gguf_put_tensor(&w, "matrix", QUANT_A4G64_F16, 2, (const uint64_t[]){64, 2}),
                     72);
    assert_int_equal(gguf_padding(12), 20);
    assert_int_equal(gguf_padding(64), 0);
    buf_init(&out, 1 << 20);
    assert_int_equal(gguf_writer_head(&w, &out, &err), CAMA_OK);
    assert_int_equal(out.n % GGUF_ALIGNMENT, 0);
    (void)buf_append(&out, x, 12);
    (void)buf_append(&out, zeros, 20);
    (void)buf_append(&out, blocks, sizeof blocks);
    (void)buf_append(&out, zeros, gguf_padding(sizeof blocks));
    assert_int_equal(w.data_bytes, 32 + 96);
    if (gguf_open_bytes(out.data, out.n, &g, &err))
        fail_msg("%s", err.text);
    uint64_t u = 0;
    double f = 0;
    bool b = false;
    gguf_str s;
    assert_int_equal(gguf_n_kv(g), 9);
    assert_int_equal(gguf_get_u64(g, "u32", &u, NULL), CAMA_OK);
    assert_int_equal(u, UINT32_MAX);
    assert_int_equal(gguf_get_f64(g, "f32", &f, NULL), CAMA_OK);
    assert_true(f == 0.5);
    assert_int_equal(gguf_get_bool(g, "bool", &b, NULL), CAMA_OK);
    assert_true(b);
    assert_int_equal(gguf_get_str(g, "str", &s, NULL), CAMA_OK);
    assert_true(s.n == 3 && !memcmp(s.text, "b\0c", 3));
    const gguf_kv *strs = gguf_find(g, "strs"), *none = gguf_find(g, "none");
    assert_true(strs && strs->n == 3 && strs->strings[2].n == 3 && none && none->n == 0);
    assert_int_equal(gguf_get_f64_at(g, "i32s", 0, &f, NULL), CAMA_OK);
    assert_true(f == -1);
    assert_int_equal(gguf_get_f64_at(g, "f32s", 2, &f, NULL), CAMA_OK);
    assert_true(f == 3);
    const gguf_tensor *v = gguf_find_tensor(g, "vector"), *m = gguf_find_tensor(g, "matrix");
    assert_true(v && v->n_dims == 1 && v->ne[0] == 3 && !memcmp(v->data, x, 12));
    assert_true(m && m->type == QUANT_A4G64_F16 && m->ne[1] == 2 && m->data[71] == 7);
    gguf_close(g);
    gguf_writer_done(&w);
    buf_done(&out);
}

/* The first failure stays and is told in the end. */
static void failures(void **state)
{
    (void)state;
    char name[100];
    memset(name, 'n', sizeof name);
    name[64] = '\0';
    static const struct {
        quant_type type;
        uint32_t n_dims;
        uint64_t ne[2];
        bool long_name;
        cama_err code;
    } cases[] = {{QUANT_F32, 1, {1, 1}, true, CAMA_ERR_LIMIT},
                 {QUANT_Q4_0, 2, {33, 1}, false, CAMA_ERR_FORMAT},
                 {QUANT_F32, 2, {UINT64_MAX / 2, 3}, false, CAMA_ERR_FORMAT},
                 {QUANT_F32, 2, {INT64_MAX / 4, 1}, false, CAMA_OK},
                 {QUANT_F32, 0, {1, 1}, false, CAMA_ERR_FORMAT},
                 {QUANT_F32, 5, {1, 1}, false, CAMA_ERR_FORMAT}};
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        gguf_writer w;
        buf out;
        err_info err = {.code = CAMA_OK};
        buf_init(&out, 1 << 20);
        gguf_writer_init(&w);
        (void)gguf_put_tensor(&w, cases[i].long_name ? name : "x", cases[i].type, cases[i].n_dims,
                              cases[i].ne);
        (void)gguf_put_tensor(&w, "fine", QUANT_F32, 1, (const uint64_t[]){1});
        const cama_err e = gguf_writer_head(&w, &out, &err);
        if (e != cases[i].code)
            fail_msg("case %zu: %d %s", i, (int)e, err.text);
        gguf_writer_done(&w);
        buf_done(&out);
    }
    gguf_writer w;
    buf out;
    err_info err;
    char *key = malloc(70000);
    assert_non_null(key);
    memset(key, 'k', 69999);
    key[69999] = '\0';
    gguf_writer_init(&w);
    gguf_put_bool(&w, key, true);
    buf_init(&out, 100);
    assert_int_equal(gguf_writer_head(&w, &out, &err), CAMA_ERR_LIMIT);
    gguf_writer_done(&w);
    gguf_writer_init(&w); /* more than the caller has room for */
    gguf_put_text(&w, "text", key);
    assert_int_equal(gguf_writer_head(&w, &out, &err), CAMA_ERR_LIMIT);
    gguf_writer_done(&w);
    buf_done(&out);
    free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
