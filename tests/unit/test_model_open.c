/* What model_open refuses, and how it says so: tiny models of tests/data with one thing changed. */
#include "test.h"

#include "model/model.h"

/* One change of a file. Keys and tensors are renamed in place, which is as good as taking them
 * away. */
typedef enum change {
    SET_U32,  /* a key's number */
    SET_F32,  /* the same, of a float */
    SET_TEXT, /* a key's text, of the same length */
    SET_AT,   /* the first number of an array */
    LOSE,     /* the key or tensor */
    TURN,     /* a tensor: its first two dimensions change places */
    TYPE,     /* a tensor: its type id */
    ZERO      /* a tensor: its first float */
} change;

typedef struct refusal {
    const char *file;
    change what;
    const char *name;
    double value;
    const char *text; /* SET_TEXT */
    cama_err code;
    const char *says; /* part of the error's text */
} refusal;

#define FORMAT CAMA_ERR_FORMAT
#define UNSUPPORTED CAMA_ERR_UNSUPPORTED

static const refusal refusals[] = {
    {"llama", SET_TEXT, "general.architecture", 0, "lambs", UNSUPPORTED,
     "architecture 'lambs' is not one of: llama, "},
    {"llama", LOSE, "general.architecture", 0, NULL, FORMAT, "'general.architecture' is missing"},
    {"llama", LOSE, "llama.block_count", 0, NULL, FORMAT, "key 'llama.block_count' is missing"},
    {"llama", SET_U32, "llama.block_count", 0, NULL, FORMAT, "block_count' is 0, must be 1 to 512"},
    {"llama", SET_U32, "llama.block_count", 513, NULL, FORMAT, "is 513, must be 1 to 512"},
    {"llama", SET_U32, "llama.block_count", 4, NULL, FORMAT, "tensor 'blk.3.attn_norm.weight' is"},
    {"llama", SET_U32, "llama.block_count", 2, NULL, UNSUPPORTED,
     "tensor 'blk.2.attn_norm.weight'"},
    {"llama", LOSE, "llama.context_length", 0, NULL, FORMAT, "context_length' is missing"},
    {"llama", SET_U32, "llama.context_length", 4294967295.0, NULL, FORMAT, "4294967295, must be"},
    {"llama", LOSE, "llama.embedding_length", 0, NULL, FORMAT, "embedding_length' is missing"},
    {"llama", SET_U32, "llama.embedding_length", 0, NULL, FORMAT, "is 0, must be 1 to 1048576"},
    {"llama", SET_U32, "llama.embedding_length", 48, NULL, FORMAT,
     "tensor 'token_embd.weight' is [32, 64, 1, 1], must be [48, 64, 1]"},
    {"llama", SET_U32, "llama.vocab_size", 63, NULL, FORMAT, "64 rows for 63 tokens"},
    {"llama", LOSE, "llama.attention.head_count", 0, NULL, FORMAT, "head_count' is missing"},
    {"llama", SET_U32, "llama.attention.head_count", 0, NULL, FORMAT, "is 0, must be 1 to 4096"},
    {"llama", SET_U32, "llama.attention.head_count", 3, NULL, FORMAT, "is 3, no multiple of the 2"},
    {"llama", SET_U32, "llama.attention.head_count_kv", 0, NULL, FORMAT, "head_count_kv' is 0"},
    {"llama", SET_U32, "llama.attention.key_length", 1025, NULL, FORMAT, "must be 1 to 1024"},
    {"llama", SET_U32, "llama.attention.key_length", 20, NULL, FORMAT,
     "tensor 'blk.0.attn_q.weight' is [32, 64, 1, 1], must be [32, 80, 1]"},
    {"llama", SET_U32, "llama.feed_forward_length", 0, NULL, FORMAT, "gives layer 0 no columns"},
    {"llama", SET_U32, "llama.rope.dimension_count", 15, NULL, FORMAT, "is 15, must be even"},
    {"llama", SET_U32, "llama.rope.dimension_count", 18, NULL, FORMAT, "is 18, must be 2 to 16"},
    {"llama", SET_F32, "llama.rope.freq_base", 0, NULL, FORMAT, "freq_base' is 0, must be 1 to"},
    {"llama", SET_F32, "llama.rope.freq_base", NAN, NULL, FORMAT, "llama.rope.freq_base"},
    {"llama", SET_F32, "llama.attention.layer_norm_rms_epsilon", -1, NULL, FORMAT,
     "is -1, must be"},
    {"llama", LOSE, "blk.1.attn_q.weight", 0, NULL, FORMAT,
     "tensor 'blk.1.attn_q.weight' is missing"},
    {"llama", LOSE, "token_embd.weight", 0, NULL, FORMAT, "tensor 'token_embd.weight' is missing"},
    {"llama", LOSE, "output.weight", 0, NULL, UNSUPPORTED, "is no part of 'llama'"},
    {"llama", TURN, "blk.2.attn_q.weight", 0, NULL, FORMAT,
     "tensor 'blk.2.attn_q.weight' is [64, 32, 1, 1], must be [32, 64, 1]"},
    {"llama", TYPE, "blk.0.ffn_norm.weight", 26, NULL, UNSUPPORTED, "is I32, a vector must be F32"},
    {"llama", TYPE, "blk.0.ffn_up.weight", 26, NULL, UNSUPPORTED, "is I32, which no weight can be"},
    {"llama-factors", ZERO, "rope_freqs.weight", 0, NULL, FORMAT, "factor 0 is 0, must be above 0"},
    {"llama-long", LOSE, "rope_factors_short.weight", 0, NULL, FORMAT, "factors_short.weight' is"},
    {"llama-yarn", SET_TEXT, "llama.rope.scaling.type", 0, "yawn", UNSUPPORTED, "'yawn', must be"},
    {"llama-moe", SET_U32, "llama.expert_count", 513, NULL, FORMAT, "is 513, must be 0 to 512"},
    {"llama-moe", SET_U32, "llama.expert_used_count", 0, NULL, FORMAT, "is 0, must be 1 to 4"},
    {"llama-moe", SET_U32, "llama.expert_used_count", 5, NULL, FORMAT, "is 5, must be 1 to 4"},
    {"llama-moe", LOSE, "blk.0.ffn_down_exps.weight", 0, NULL, FORMAT, "down_exps.weight' is miss"},
    {"gpt-oss", LOSE, "blk.1.attn_sinks.weight", 0, NULL, FORMAT, "'blk.1.attn_sinks.weight' is"},
    {"qwen3", LOSE, "blk.0.attn_k_norm.weight", 0, NULL, FORMAT, "'blk.0.attn_k_norm.weight' is"},
    {"deepseek2", SET_U32, "deepseek2.attention.kv_lora_rank", 25, NULL, FORMAT,
     "must be 33 and 25"},
    {"deepseek2", SET_U32, "deepseek2.attention.head_count_kv", 2, NULL, FORMAT, "on 2 heads"},
    {"deepseek2", SET_U32, "deepseek2.attention.key_length_mla", 8, NULL, FORMAT, "a head has 8"},
    {"deepseek2", SET_U32, "deepseek2.expert_gating_func", 4, NULL, UNSUPPORTED, "func' is 4"},
    {"deepseek2-groups", SET_U32, "deepseek2.expert_group_count", 4, NULL, FORMAT,
     "is 4, which does not divide 6"},
    {"qwen35", SET_U32, "qwen35.ssm.group_count", 3, NULL, FORMAT, "4 value heads on 3 key heads"},
    {"qwen35", SET_U32, "qwen35.ssm.conv_kernel", 1, NULL, FORMAT, "is 1, must be 2 to 64"},
    {"qwen35", SET_U32, "qwen35.ssm.state_size", 17, NULL, FORMAT, "'blk.0.attn_qkv.weight' is"},
    {"qwen35", SET_AT, "qwen35.rope.dimension_sections", 1, NULL, FORMAT,
     "3 pairs in all, must be 4"},
    {"qwen35", LOSE, "blk.1.ssm_a", 0, NULL, FORMAT, "tensor 'blk.1.ssm_a' is missing"},
    {"nomic-bert", SET_U32, "nomic-bert.pooling_type", 4, NULL, UNSUPPORTED, "rerankers"},
    {"nomic-bert", SET_U32, "nomic-bert.pooling_type", 5, NULL, FORMAT, "is 5, must be 0 to 4"},
    {"nomic-bert", LOSE, "blk.1.layer_output_norm.weight", 0, NULL, FORMAT, "layer_output_norm"},
    {"bert-cls", SET_U32, "bert.context_length", 65, NULL, FORMAT, "'position_embd.weight' is [32"},
};

static uint8_t *read_file(const char *name, size_t *out_n)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/tiny/%s.gguf", TEST_DATA_DIR, name);
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("no '%s'", path);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    *out_n = (size_t)ftell(f);
    rewind(f);
    uint8_t *bytes = malloc(*out_n);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *out_n, f), *out_n);
    (void)fclose(f);
    return bytes;
}

/* Where the length-prefixed name stands; what belongs to it follows. */
static uint8_t *find_name(uint8_t *bytes, size_t n, const char *name)
{
    const uint64_t n_name = strlen(name);
    for (size_t i = 0; i + 8 + n_name < n; i++)
        if (memcmp(bytes + i, &n_name, 8) == 0 && memcmp(bytes + i + 8, name, n_name) == 0)
            return bytes + i + 8;
    fail_msg("no '%s' in the file", name);
    return NULL;
}

static void zero_data(const uint8_t *bytes, size_t n, const char *name)
{
    gguf_file *f;
    assert_int_equal(gguf_open_bytes(bytes, n, &f, NULL), CAMA_OK);
    uint8_t *data = (uint8_t *)(uintptr_t)gguf_find_tensor(f, name)->data;
    memset(data, 0, 4);
    gguf_close(f);
}

static void apply(uint8_t *bytes, size_t n, const refusal *r)
{
    uint8_t *name = find_name(bytes, n, r->name);
    uint8_t *after = name + strlen(r->name);
    const uint32_t u = r->value >= 0 ? (uint32_t)r->value : 0;
    const float x = (float)r->value;
    uint8_t dims[16];
    switch (r->what) {
    case SET_U32:
        memcpy(after + 4, &u, 4);
        break;
    case SET_F32:
        memcpy(after + 4, &x, 4);
        break;
    case SET_TEXT:
        memcpy(after + 12, r->text, strlen(r->text));
        break;
    case SET_AT:
        memcpy(after + 16, &u, 4);
        break;
    case LOSE:
        name[strlen(r->name) - 1] = '_';
        break;
    case TURN:
        memcpy(dims, after + 4, 16);
        memcpy(after + 4, dims + 8, 8);
        memcpy(after + 12, dims, 8);
        break;
    case TYPE:
        memcpy(after + 4 + 8 * (size_t)after[0], &u, 4);
        break;
    case ZERO:
        zero_data(bytes, n, r->name);
        break;
    }
}

static void check(const refusal *r)
{
    size_t n;
    uint8_t *bytes = read_file(r->file, &n);
    gguf_file *f;
    model_desc *m = NULL;
    err_info err = {0};
    apply(bytes, n, r);
    if (gguf_open_bytes(bytes, n, &f, &err))
        fail_msg("%s with another %s: %s", r->file, r->name, err.text);
    const cama_err e = model_open(f, &m, &err);
    if (e != r->code || err.code != e || m || !strstr(err.text, r->says))
        fail_msg("%s with another %s: %d '%s', want %d '%s'", r->file, r->name, (int)e, err.text,
                 (int)r->code, r->says);
    gguf_close(f);
    free(bytes);
}

static void test_refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < TEST_COUNT(refusals); i++)
        check(&refusals[i]);
}

static void test_info(void **state)
{
    (void)state;
    gguf_file *f = NULL;
    model_desc *m = NULL;
    err_info err = {0};
    if (gguf_open(TEST_DATA("tiny/qwen3moe.gguf"), &f, &err) || model_open(f, &m, &err))
        fail_msg("%s", err.text);
    const model_info *i = model_get_info(m);
    assert_string_equal(i->arch, "qwen3moe");
    assert_string_equal(i->name, "qwen3moe");
    assert_string_equal(i->size_label, "");
    assert_string_equal(i->file_type, "F32");
    assert_int_equal(i->n_layer, 2);
    assert_int_equal(i->n_embd, 32);
    assert_int_equal(i->n_head, 4);
    assert_int_equal(i->n_head_kv, 2);
    assert_int_equal(i->n_vocab, 64);
    assert_int_equal(i->n_ctx_train, 512);
    assert_int_equal(i->n_expert, 6);
    assert_int_equal(i->n_expert_used, 3);
    assert_true(i->causal);
    assert_int_equal(i->pooling, PLAN_POOL_NONE);
    assert_int_equal(i->weight_bytes, 4 * i->n_param);
    assert_ptr_equal(model_file(m), f);
    model_close(m);
    gguf_close(f);
}

static void test_info_of_an_encoder(void **state)
{
    (void)state;
    gguf_file *f = NULL;
    model_desc *m = NULL;
    err_info err = {0};
    if (gguf_open(TEST_DATA("tiny/nomic-bert.gguf"), &f, &err) || model_open(f, &m, &err))
        fail_msg("%s", err.text);
    assert_false(model_get_info(m)->causal);
    assert_int_equal(model_get_info(m)->pooling, PLAN_POOL_MEAN);
    model_close(m);
    model_close(NULL);
    gguf_close(f);
}

static void test_arch_names(void **state)
{
    (void)state;
    size_t n = 0;
    while (model_arch_at(n))
        n++;
    assert_true(n >= 20);
    assert_string_equal(model_arch_at(0), "llama");
    assert_null(model_arch_at(n));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_info_of_an_encoder),
        cmocka_unit_test(test_arch_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
