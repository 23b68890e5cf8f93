/* Files that are cut, damaged or foreign: opening them names what is wrong, and nothing breaks. */
#include "test.h"

#include "cama.h"
#include "tiny_chat.h"

static char path[64];
static uint8_t *whole;
static size_t n_whole, n_header;

static uint32_t random_state = 7;

static uint32_t rnd(uint32_t n)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % n;
}

/* A failure is typed and has words; a model that opens must work, or fail typed. */
static cama_err open_bytes(const uint8_t *bytes, size_t n, cama_error *err)
{
    tiny_chat_write(path, bytes, n);
    cama_model_opts o;
    cama_model_opts_init(&o, sizeof o);
    o.n_ctx = 64;
    o.n_batch = 32;
    o.n_thread = 1;
    o.max_bytes = 64u << 20; /* a damaged number must not make this machine's memory the limit */
    cama_model *m = NULL;
    *err = (cama_error){.code = CAMA_OK};
    const cama_err e = cama_model_open(path, &o, &m, err);
    assert_int_equal(err->code, e);
    assert_true((m != NULL) == !e);
    assert_true(!e || err->text[0]);
    if (m) {
        cama_gen_opts g;
        cama_gen_opts_init(&g, sizeof g);
        g.messages = "[{\"role\":\"user\",\"content\":\"hello\"}]";
        g.n_predict = 2;
        (void)cama_generate(m, &g, NULL, err);
    }
    cama_model_close(m);
    return e;
}

static void test_cut_at_every_byte(void **state)
{
    (void)state;
    cama_error err;
    for (size_t n = 0; n < n_whole; n += n < n_header + 64 ? 1 : 977) {
        const cama_err e = open_bytes(whole, n, &err);
        if (e != CAMA_ERR_FORMAT)
            fail_msg("cut to %zu bytes: %d, %s", n, (int)e, err.text);
    }
    if (open_bytes(whole, n_whole, &err))
        fail_msg("%s", err.text);
}

static void test_damaged_headers(void **state)
{
    (void)state;
    uint8_t *bytes = malloc(n_whole);
    assert_non_null(bytes);
    size_t n_open = 0;
    for (int round = 0; round < 4000; round++) {
        cama_error err;
        memcpy(bytes, whole, n_whole);
        for (uint32_t k = 0; k <= rnd(4); k++) {
            const size_t at = rnd((uint32_t)n_header);
            static const uint8_t edge[] = {0, 1, 0x7F, 0x80, 0xFF};
            bytes[at] = rnd(2) ? (uint8_t)(bytes[at] ^ 1u << rnd(8)) : edge[rnd(sizeof edge)];
        }
        n_open += open_bytes(bytes, n_whole, &err) == CAMA_OK;
    }
    print_message("%zu of 4000 damaged files can be opened\n", n_open);
    free(bytes);
}

/* Weights that are any bytes: not a number is an answer's error, or an answer of some kind. */
static void test_damaged_weights(void **state)
{
    (void)state;
    uint8_t *bytes = malloc(n_whole);
    assert_non_null(bytes);
    for (int round = 0; round < 60; round++) {
        cama_error err;
        memcpy(bytes, whole, n_whole);
        for (uint32_t k = 0; k < 1u << (round % 12); k++)
            bytes[n_header + rnd((uint32_t)(n_whole - n_header))] = (uint8_t)rnd(256);
        if (open_bytes(bytes, n_whole, &err))
            fail_msg("%s", err.text);
    }
    free(bytes);
}

/* ---- what is unknown is named ---- */

static void refused(tiny_chat *c, cama_err want, const char *name)
{
    size_t n;
    cama_error err;
    uint8_t *bytes = tiny_chat_bytes(c, &n);
    const cama_err e = open_bytes(bytes, n, &err);
    if (e != want || !strstr(err.text, name))
        fail_msg("want %d and '%s', got %d: %s", (int)want, name, (int)e, err.text);
    free(bytes);
}

static void test_unknown_things_are_named(void **state)
{
    (void)state;
    tiny_chat c;
    tiny_chat_begin(&c, "llamazing", "gpt2");
    refused(&c, CAMA_ERR_UNSUPPORTED, "llamazing");
    tiny_chat_begin(&c, "llama", "runes");
    refused(&c, CAMA_ERR_UNSUPPORTED, "runes");
    tiny_chat_begin(&c, "llama", "gpt2");
    gguf_build_entry(&c.b, "odd.weight", 199, 1, (uint64_t[]){32}, 0);
    refused(&c, CAMA_ERR_UNSUPPORTED, "odd.weight");
    tiny_chat_begin(&c, "llama", "gpt2");
    c.b.version = 7;
    refused(&c, CAMA_ERR_UNSUPPORTED, "7");
}

static cama_err chat(const char *source, cama_error *err)
{
    tiny_chat c;
    size_t n;
    tiny_chat_begin(&c, "llama", "gpt2");
    if (source)
        gguf_build_str(&c.b, "tokenizer.chat_template", source);
    uint8_t *bytes = tiny_chat_bytes(&c, &n);
    tiny_chat_write(path, bytes, n);
    free(bytes);
    cama_model_opts o;
    cama_model_opts_init(&o, sizeof o);
    o.mode = CAMA_OPEN_VOCAB;
    cama_model *m = NULL;
    char *prompt = NULL;
    assert_int_equal(cama_model_open(path, &o, &m, err), CAMA_OK);
    const cama_err e =
        cama_chat_prompt(m, "[{\"role\":\"user\",\"content\":\"hello\"}]", &prompt, err);
    assert_true((prompt != NULL) == !e);
    cama_free(prompt);
    cama_model_close(m);
    return e;
}

static void test_templates_say_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *source;
        cama_err want;
        const char *text;
    } list[] = {
        {NULL, CAMA_ERR_NOT_FOUND, "tokenizer.chat_template"},
        {"{% for m in messages %}x", CAMA_ERR_TEMPLATE, "1"},
        {"a\n\n{{ m | }}", CAMA_ERR_TEMPLATE, "3"},
        {"{{ messages | frobnicate }}", CAMA_ERR_TEMPLATE, "frobnicate"},
        {"{{ raise_exception('only bees may speak') }}", CAMA_ERR_TEMPLATE, "only bees may speak"},
        {"{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}",
         CAMA_ERR_TEMPLATE, "more than"},
        {"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", CAMA_ERR_TEMPLATE, "deep"},
    };
    for (size_t i = 0; i < TEST_COUNT(list); i++) {
        cama_error err = {.code = CAMA_OK};
        const cama_err e = chat(list[i].source, &err);
        if (e != list[i].want || !strstr(err.text, list[i].text) || !err.text[0])
            fail_msg("template %zu: want %d and '%s', got %d: %s", i, (int)list[i].want,
                     list[i].text, (int)e, err.text);
    }
}

/* ---- what does not fit ---- */

static cama_err open_within(uint32_t n_ctx, uint64_t max_bytes, cama_model **out, cama_error *err)
{
    cama_model_opts o;
    cama_model_opts_init(&o, sizeof o);
    o.n_ctx = n_ctx;
    o.n_batch = 32;
    o.n_thread = 1;
    o.max_bytes = max_bytes;
    *out = NULL;
    return cama_model_open(path, &o, out, err);
}

/* The refusal's last number is the largest context, which opens and is filled; one more is refused.
 */
static void test_the_largest_context_opens(void **state)
{
    (void)state;
    tiny_chat_write(path, whole, n_whole);
    cama_model *m;
    cama_error err;
    assert_int_equal(open_within(1024, 0, &m, &err), CAMA_OK);
    cama_info all;
    cama_model_info(m, &all, sizeof all);
    cama_model_close(m);
    static int32_t ids[1024];
    for (uint64_t share = 1; share < 8; share++) {
        const uint64_t max = all.total_bytes - all.kv_bytes * share / 8;
        assert_int_equal(open_within(1024, max, &m, &err), CAMA_ERR_NO_FIT);
        assert_null(m);
        assert_non_null(strstr(err.text, "MB"));
        const char *number = strrchr(err.text, ' ');
        assert_non_null(number);
        const uint32_t n_ctx = (uint32_t)strtoul(number, NULL, 10);
        assert_true(n_ctx > 0 && n_ctx < 1024);
        assert_int_equal(open_within(n_ctx + 1, max, &m, &err), CAMA_ERR_NO_FIT);
        if (open_within(n_ctx, max, &m, &err))
            fail_msg("%u: %s", n_ctx, err.text);
        cama_ctx *c;
        assert_int_equal(cama_ctx_open(m, &c, &err), CAMA_OK);
        assert_int_equal(cama_eval(c, ids, n_ctx, NULL, NULL, &err), CAMA_OK);
        assert_int_equal(cama_eval(c, ids, 1, NULL, NULL, &err), CAMA_ERR_CONTEXT);
        cama_ctx_close(c);
        cama_model_close(m);
    }
    assert_int_equal(open_within(1024, 1000, &m, &err), CAMA_ERR_NO_FIT);
}

static int make_files(void **state)
{
    (void)state;
    tiny_chat c;
    tiny_chat_file(path);
    tiny_chat_begin(&c, "llama", "gpt2");
    gguf_build_str(&c.b, "tokenizer.chat_template", tiny_chat_template);
    tiny_llama_tensors(&c.b, c.n_vocab);
    const size_t n_data = c.b.data.n;
    whole = gguf_build_finish(&c.b, &n_whole);
    n_header = n_whole - n_data;
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    free(whole);
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cut_at_every_byte),
        cmocka_unit_test(test_damaged_headers),
        cmocka_unit_test(test_damaged_weights),
        cmocka_unit_test(test_unknown_things_are_named),
        cmocka_unit_test(test_templates_say_what_is_wrong),
        cmocka_unit_test(test_the_largest_context_opens),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
