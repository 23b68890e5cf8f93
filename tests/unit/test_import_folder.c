/* Folders into GGUFs: each tensor byte for byte against blocks made here by hand, metadata, and
 * what is refused. */
#include "import/import.h"

#include <fcntl.h>

#include "gguf/gguf.h"
#include "hf_folder.h"
#include "quant/blocks.h"
#include "quant/f16.h"

/* The GGUF of a folder; NULL: *err says why not. */
static gguf_file *convert(const hf_folder *f, size_t n_shard, err_info *err)
{
    import_file files[HF_MAX_FILE];
    import_facts facts;
    gguf_file *g = NULL;
    const size_t n = hf_open(f, n_shard, files);
    const int out = hf_file("", 0);
    *err = (err_info){.code = CAMA_OK};
    const cama_err e = import_run(files, n, out, NULL, &facts, err);
    assert_int_equal(e, err->code);
    if (!e && gguf_open_fds(&out, 1, "converted", &g, err))
        fail_msg("%s", err->text);
    (void)close(out); /* the mapping stays */
    hf_close(files, n);
    return g;
}

static gguf_file *must_convert(const hf_folder *f, size_t n_shard)
{
    err_info err;
    gguf_file *g = convert(f, n_shard, &err);
    if (!g)
        fail_msg("%s", err.text);
    return g;
}

/* ---- tensors ---- */

/* Row r of a matrix of llama's Q or K comes from this one. */
static size_t source_row(size_t r, bool turned)
{
    const size_t head = r / HF_HEAD, in = r % HF_HEAD;
    return turned ? head * HF_HEAD + in % 2 * (HF_HEAD / 2) + in / 2 : r;
}

static void check_dense(const gguf_tensor *t, const hf_part *p, bool turned)
{
    const size_t row = t->n_bytes / t->ne[1];
    assert_int_equal(p->n, t->n_bytes);
    for (size_t r = 0; r < t->ne[1]; r++)
        assert_memory_equal(t->data + r * row, p->data + source_row(r, turned) * row, row);
}

static float as_float(quant_type t, const uint8_t *p)
{
    float x;
    quant_dequant(t, p, &x, 1);
    return x;
}

/* Each weight is scale * code + bias of its place in MLX's three tensors. */
static void check_affine(hf_folder *f, const gguf_tensor *t, const hf_part *p, bool turned)
{
    char name[96];
    quant_affine a;
    assert_true(quant_affine_info(t->type, &a));
    const int stem = (int)(strlen(p->name) - strlen(".weight"));
    (void)snprintf(name, sizeof name, "%.*s.scales", stem, p->name);
    const hf_part *scales = hf_find(f, name);
    (void)snprintf(name, sizeof name, "%.*s.biases", stem, p->name);
    const hf_part *biases = hf_find(f, name);
    const size_t n_row = t->ne[1] * t->ne[2], n_in = t->ne[0], n_group = n_in / a.group,
                 size = a.scale_bytes;
    float *row = malloc(n_in * sizeof *row);
    assert_non_null(row);
    for (size_t r = 0; r < n_row; r++) {
        const size_t from = source_row(r, turned);
        quant_dequant(t->type, t->data + r * quant_row_bytes(t->type, n_in), row, n_in);
        for (size_t i = 0; i < n_in; i++) {
            uint32_t code = 0;
            for (uint32_t bit = 0; bit < a.bits; bit++) {
                const size_t at = (from * n_in + i) * a.bits + bit;
                code |= (uint32_t)(p->data[at / 8] >> at % 8 & 1) << bit;
            }
            const size_t g = from * n_group + i / a.group;
            const float product = as_float(a.scale, scales->data + g * size) * (float)code;
            if (row[i] != product + as_float(a.scale, biases->data + g * size))
                fail_msg("%s: row %zu column %zu", p->name, r, i);
        }
    }
    free(row);
}

static void check_vector(const hf_folder *f, const gguf_tensor *t, const hf_part *p, float plus,
                         bool turned)
{
    quant_affine a;
    const quant_type from = quant_affine_info(f->type, &a) ? a.scale : f->type;
    assert_int_equal(t->type, QUANT_F32);
    assert_int_equal(t->ne[0], p->shape[0]);
    for (size_t i = 0; i < t->ne[0]; i++) {
        const size_t at = source_row(i, turned) * quant_table[from].block_bytes;
        const float x = as_float(from, p->data + at);
        const float want = plus != 0 ? x + plus : x;
        assert_memory_equal(t->data + 4 * i, &want, 4);
    }
}

static void check_tensor(hf_folder *f, const gguf_file *g, const char *gguf, const char *hf,
                         bool llama)
{
    const gguf_tensor *t = gguf_find_tensor(g, gguf);
    const hf_part *p = hf_find(f, hf);
    if (!t)
        fail_msg("no tensor '%s'", gguf);
    const bool turned = llama && (strstr(hf, "q_proj") || strstr(hf, "k_proj"));
    const bool gemma = strstr(f->config.data, "Gemma") && strstr(hf, "norm");
    if (p->n_dims == 1)
        check_vector(f, t, p, gemma ? 1.0f : 0, turned);
    else if (quant_affine_info(f->type, NULL))
        check_affine(f, t, p, turned);
    else
        check_dense(t, p, turned);
    if (p->n_dims == 2)
        assert_int_equal(t->type, f->type);
}

/* One projection of all experts of a layer. */
static void check_experts(hf_folder *f, const gguf_file *g, const char *arch, int layer, int which)
{
    static const char *const names[][3] = {
        {"gate", "up", "down"}, {"gate_proj", "up_proj", "down_proj"}, {"w1", "w3", "w2"}};
    const bool mixtral = strstr(arch, "Mixtral") != NULL;
    const char *mlp = mixtral ? "block_sparse_moe" : "mlp";
    char name[96];
    (void)snprintf(name, sizeof name, "blk.%d.ffn_%s_exps.weight", layer, names[0][which]);
    const gguf_tensor *t = gguf_find_tensor(g, name);
    if (!t)
        fail_msg("no tensor '%s'", name);
    assert_true(t->n_dims == 3 && t->ne[2] == HF_EXPERTS && t->type == f->type);
    if (quant_affine_info(f->type, NULL)) {
        (void)snprintf(name, sizeof name, "model.layers.%d.%s.switch_mlp.%s.weight", layer, mlp,
                       names[1][which]);
        check_affine(f, t, hf_find(f, name), false);
        return;
    }
    for (size_t e = 0; e < HF_EXPERTS; e++) {
        (void)snprintf(name, sizeof name, "model.layers.%d.%s.experts.%zu.%s.weight", layer, mlp, e,
                       names[1 + mixtral][which]);
        const hf_part *p = hf_find(f, name);
        assert_int_equal(p->n * HF_EXPERTS, t->n_bytes);
        assert_memory_equal(t->data + e * p->n, p->data, p->n);
    }
}

static void check_moe(hf_folder *f, const gguf_file *g, const char *arch)
{
    for (int layer = 0; layer < HF_LAYERS; layer++) {
        char gguf[64], hf[96];
        (void)snprintf(gguf, sizeof gguf, "blk.%d.ffn_gate_inp.weight", layer);
        (void)snprintf(hf, sizeof hf, "model.layers.%d.%s.gate.weight", layer,
                       strstr(arch, "Mixtral") ? "block_sparse_moe" : "mlp");
        check_tensor(f, g, gguf, hf, false);
        for (int which = 0; which < 3; which++)
            check_experts(f, g, arch, layer, which);
    }
}

static const char *const pairs[][2] = {
    {"ffn_gate.weight", "mlp.gate_proj.weight"},
    {"ffn_up.weight", "mlp.up_proj.weight"},
    {"ffn_down.weight", "mlp.down_proj.weight"},
    {"attn_q.weight", "self_attn.q_proj.weight"},
    {"attn_k.weight", "self_attn.k_proj.weight"},
    {"attn_v.weight", "self_attn.v_proj.weight"},
    {"attn_output.weight", "self_attn.o_proj.weight"},
    {"attn_norm.weight", "input_layernorm.weight"},
    {"ffn_norm.weight", "post_attention_layernorm.weight"},
};
static const char *const qwen2_pairs[][2] = {{"attn_q.bias", "self_attn.q_proj.bias"},
                                             {"attn_k.bias", "self_attn.k_proj.bias"},
                                             {"attn_v.bias", "self_attn.v_proj.bias"}};
static const char *const qk_pairs[][2] = {{"attn_q_norm.weight", "self_attn.q_norm.weight"},
                                          {"attn_k_norm.weight", "self_attn.k_norm.weight"}};
static const char *const gemma_pairs[][2] = {
    {"post_attention_norm.weight", "post_attention_layernorm.weight"},
    {"ffn_norm.weight", "pre_feedforward_layernorm.weight"},
    {"post_ffw_norm.weight", "post_feedforward_layernorm.weight"}};

static void check_pairs(hf_folder *f, const gguf_file *g, const char *const list[][2], size_t n,
                        bool llama)
{
    for (int layer = 0; layer < HF_LAYERS; layer++) {
        for (size_t i = 0; i < n; i++) {
            char gguf[96], hf[96];
            (void)snprintf(gguf, sizeof gguf, "blk.%d.%s", layer, list[i][0]);
            (void)snprintf(hf, sizeof hf, "model.layers.%d.%s", layer, list[i][1]);
            check_tensor(f, g, gguf, hf, llama);
        }
    }
}

static void check_folder(const char *arch, quant_type type, bool tied, const char *gguf_arch)
{
    hf_folder f;
    gguf_str s;
    hf_make(&f, arch, type, tied);
    gguf_file *g = must_convert(&f, 1 + type % 3);
    const bool llama = !strcmp(gguf_arch, "llama");
    const bool gemma = strstr(arch, "Gemma") != NULL;
    assert_int_equal(gguf_get_str(g, "general.architecture", &s, NULL), CAMA_OK);
    assert_true(s.n == strlen(gguf_arch) && !memcmp(s.text, gguf_arch, s.n));
    check_tensor(&f, g, "token_embd.weight", "model.embed_tokens.weight", llama);
    check_tensor(&f, g, "output_norm.weight", "model.norm.weight", llama);
    if (!tied)
        check_tensor(&f, g, "output.weight", "lm_head.weight", llama);
    const size_t skip = hf_is_moe(arch) ? 3 : 0;
    size_t n = TEST_COUNT(pairs) - gemma - skip;
    check_pairs(&f, g, pairs + skip, n, llama);
    if (hf_is_moe(arch)) {
        check_moe(&f, g, arch);
        n += 4;
    }
    if (gemma) {
        check_pairs(&f, g, gemma_pairs, TEST_COUNT(gemma_pairs), llama);
        n += TEST_COUNT(gemma_pairs);
    }
    if (strstr(arch, "Qwen2")) {
        check_pairs(&f, g, qwen2_pairs, TEST_COUNT(qwen2_pairs), llama);
        n += TEST_COUNT(qwen2_pairs);
    }
    if (strstr(arch, "Qwen3") || strstr(arch, "Gemma3")) {
        check_pairs(&f, g, qk_pairs, TEST_COUNT(qk_pairs), llama);
        n += TEST_COUNT(qk_pairs);
    }
    assert_int_equal(gguf_n_tensor(g), n * HF_LAYERS + 2 + !tied);
    gguf_close(g);
    hf_done(&f);
}

static void architectures(void **state)
{
    (void)state;
    static const quant_type types[] = {QUANT_F32, QUANT_F16, QUANT_BF16, QUANT_A4G64_BF16,
                                       QUANT_A8G64_F16};
    static const struct {
        const char *hf, *gguf;
        bool tied;
    } archs[] = {{"LlamaForCausalLM", "llama", false},   {"MistralForCausalLM", "llama", true},
                 {"Qwen2ForCausalLM", "qwen2", false},   {"Qwen3ForCausalLM", "qwen3", true},
                 {"MixtralForCausalLM", "llama", false}, {"Qwen3MoeForCausalLM", "qwen3moe", true},
                 {"Gemma2ForCausalLM", "gemma2", true},  {"Gemma3ForCausalLM", "gemma3", true}};
    for (size_t a = 0; a < TEST_COUNT(archs); a++) {
        for (size_t t = 0; t < TEST_COUNT(types); t++)
            check_folder(archs[a].hf, types[t], archs[a].tied, archs[a].gguf);
    }
}

static void every_affine_form(void **state)
{
    (void)state;
    for (int t = QUANT_A2G32_F32; t <= QUANT_A8G128_BF16; t++)
        check_folder("LlamaForCausalLM", (quant_type)t, true, "llama");
}

/* ---- forms without biases ---- */

static const float fp4[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};

static float code_value(const char *mode, unsigned code)
{
    if (strcmp(mode, "mxfp8") != 0)
        return code & 8 ? -fp4[code & 7] : fp4[code & 7];
    const unsigned exp = code >> 3 & 15, man = code & 7;
    const float mag = exp ? ldexpf((float)(8 + man), (int)exp - 10) : ldexpf((float)man, -9);
    return code & 128 ? -mag : mag;
}

static float scale_value(const char *mode, uint8_t s)
{
    return strcmp(mode, "nvfp4") ? ldexpf(1, s - 127)
           : s >> 3              ? ldexpf((float)(8 + (s & 7)), (s >> 3) - 10)
                                 : ldexpf((float)(s & 7), -9);
}

/* The head in one of these forms, each value computed from MLX's parts by their definition. */
static void check_float_form(const char *mode, quant_type type, unsigned bits, size_t group)
{
    hf_folder f;
    hf_make(&f, "LlamaForCausalLM", QUANT_BF16, false);
    const size_t n = HF_VOCAB * HF_EMBD;
    hf_part *w = hf_find(&f, "lm_head.weight");
    free(w->data);
    w->n = n * bits / 8;
    w->data = malloc(w->n);
    assert_non_null(w->data);
    (void)snprintf(w->dtype, sizeof w->dtype, "U32");
    w->shape[1] = HF_EMBD * bits / 32;
    uint64_t s = 5;
    for (size_t i = 0; i < w->n; i++)
        w->data[i] = (uint8_t)(hf_next(&s) & (bits == 8 ? 0xBF : 0xFF));
    hf_part *p = hf_add(&f, "lm_head.scales", "U8", HF_VOCAB, HF_EMBD / group, n / group);
    for (size_t i = 0; i < p->n; i++)
        p->data[i] = (uint8_t)(strcmp(mode, "nvfp4") ? 120 + hf_next(&s) % 8 : hf_next(&s) % 0x7F);
    f.config.n--; /* the closing brace */
    (void)buf_printf(&f.config,
                     ",\"quantization\":{\"mode\":\"%s\",\"bits\":%u,"
                     "\"group_size\":%zu}}",
                     mode, bits, group);
    gguf_file *g = must_convert(&f, 1);
    const gguf_tensor *t = gguf_find_tensor(g, "output.weight");
    assert_non_null(t);
    assert_int_equal(t->type, type);
    float *got = malloc(n * sizeof *got);
    assert_non_null(got);
    quant_dequant(type, t->data, got, n);
    for (size_t i = 0; i < n; i++) {
        const unsigned code = bits == 8 ? w->data[i] : w->data[i / 2] >> 4 * (i % 2) & 15u;
        const float want = code_value(mode, code) * scale_value(mode, p->data[i / group]);
        if (got[i] != want)
            fail_msg("%s: weight %zu is %.9g, not %.9g", mode, i, got[i], want);
    }
    free(got);
    gguf_close(g);
    hf_done(&f);
}

static void float_forms(void **state)
{
    (void)state;
    check_float_form("mxfp4", QUANT_MXFP4, 4, 32);
    check_float_form("mxfp8", QUANT_MXFP8, 8, 32);
    check_float_form("nvfp4", QUANT_NVFP4, 4, 16);
}

/* ---- metadata ---- */

/* The first occurrence of a text in another. */
static void swap(buf *b, const char *from, const char *to)
{
    char *at = strstr(b->data, from);
    if (!at)
        fail_msg("no '%s' in '%s'", from, b->data);
    buf out;
    buf_init(&out, 1 << 20);
    (void)buf_append(&out, b->data, (size_t)(at - b->data));
    (void)buf_puts(&out, to);
    (void)buf_puts(&out, at + strlen(from));
    assert_int_equal(out.fail, CAMA_OK);
    buf_done(b);
    *b = out;
}

static void text_is(const gguf_file *g, const char *key, const char *want)
{
    gguf_str s = {"", 0};
    assert_int_equal(gguf_get_str(g, key, &s, NULL), CAMA_OK);
    if (s.n != strlen(want) || memcmp(s.text, want, s.n) != 0)
        fail_msg("%s is '%.*s', not '%s'", key, (int)s.n, s.text, want);
}

static void number_is(const gguf_file *g, const char *key, double want)
{
    double v = -1;
    assert_int_equal(gguf_get_f64(g, key, &v, NULL), CAMA_OK);
    TEST_NEAR(v, want, 1e-6 * fabs(want), "%s", key);
}

static void metadata(void **state)
{
    (void)state;
    hf_folder f;
    hf_make(&f, "LlamaForCausalLM", QUANT_A4G64_F16, false);
    gguf_file *g = must_convert(&f, 1);
    static const struct {
        const char *key;
        double v;
    } numbers[] = {
        {"llama.block_count", HF_LAYERS},         {"llama.context_length", 1024},
        {"llama.embedding_length", HF_EMBD},      {"llama.feed_forward_length", HF_FF},
        {"llama.attention.head_count", HF_HEADS}, {"llama.attention.head_count_kv", HF_KV_HEADS},
        {"llama.attention.key_length", HF_HEAD},  {"llama.attention.layer_norm_rms_epsilon", 1e-5},
        {"llama.rope.freq_base", 10000},          {"llama.rope.dimension_count", HF_HEAD},
        {"llama.vocab_size", HF_VOCAB},           {"general.file_type", 0xCA421},
        {"tokenizer.ggml.bos_token_id", 0},       {"tokenizer.ggml.eos_token_id", 1},
        {"tokenizer.ggml.eot_token_id", 0}};
    for (size_t i = 0; i < TEST_COUNT(numbers); i++)
        number_is(g, numbers[i].key, numbers[i].v);
    text_is(g, "tokenizer.ggml.model", "gpt2");
    text_is(g, "tokenizer.ggml.pre", "gpt-2");
    text_is(g, "tokenizer.chat_template", "{{ messages }}");
    const gguf_kv *tokens = gguf_find(g, "tokenizer.ggml.tokens");
    const gguf_kv *merges = gguf_find(g, "tokenizer.ggml.merges");
    assert_true(tokens && tokens->n == HF_VOCAB && merges && merges->n == 2);
    assert_memory_equal(tokens->strings[259].text, "hel", 3);
    assert_memory_equal(tokens->strings[260].text, "[PAD260]", 8);
    assert_memory_equal(merges->strings[1].text, "he l", 4);
    static const uint64_t types[][2] = {{0, 3}, {1, 3}, {2, 1}, {259, 1}, {299, 5}};
    for (size_t i = 0; i < TEST_COUNT(types); i++) {
        uint64_t v = 0;
        assert_int_equal(gguf_get_u64_at(g, "tokenizer.ggml.token_type", types[i][0], &v, NULL),
                         CAMA_OK);
        assert_int_equal(v, types[i][1]);
    }
    gguf_close(g);
    swap(&f.tokenizer, "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}",
         "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"behavior\":\"Removed\","
         "\"invert\":true,\"pattern\":{\"Regex\":\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n"
         "\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|"
         "\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}},{\"type\":\"ByteLevel\","
         "\"add_prefix_space\":false,\"use_regex\":false}]}");
    g = must_convert(&f, 1);
    text_is(g, "tokenizer.ggml.pre", "qwen2");
    gguf_close(g);
    (void)buf_puts(&f.jinja, "{# of its own #}");
    g = must_convert(&f, 1);
    text_is(g, "tokenizer.chat_template", "{# of its own #}");
    gguf_close(g);
    hf_done(&f);
}

/* Llama 3's factors: slow pairs stretched, fast ones not, those between in between. */
static void rope_factors(void **state)
{
    (void)state;
    hf_folder f;
    hf_make(&f, "LlamaForCausalLM", QUANT_BF16, false);
    swap(&f.config, "\"rope_theta\":10000.0",
         "\"rope_theta\":500000.0,\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0,"
         "\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
         "\"original_max_position_embeddings\":256}");
    gguf_file *g = must_convert(&f, 1);
    const gguf_tensor *t = gguf_find_tensor(g, "rope_freqs.weight");
    assert_true(t && t->type == QUANT_F32 && t->ne[0] == HF_HEAD / 2);
    const float *v = (const float *)(const void *)t->data;
    assert_true(v[0] == 1 && v[HF_HEAD / 2 - 1] == 8);
    for (int i = 1; i < HF_HEAD / 2; i++)
        assert_true(v[i] >= v[i - 1]);
    /* pair 3: wave length 2 pi 500000^(3/16) = 73.6, between 64 and 256 */
    const double smooth = (256 / (2 * acos(-1.0) * pow(500000, 3.0 / 16)) - 1) / 3;
    TEST_NEAR(v[3], 1 / ((1 - smooth) / 8 + smooth), 1e-5, "pair 3");
    gguf_close(g);
    swap(&f.config, "llama3", "linear");
    g = must_convert(&f, 1);
    text_is(g, "llama.rope.scaling.type", "linear");
    number_is(g, "llama.rope.scaling.factor", 8);
    gguf_close(g);
    hf_done(&f);
}

/* One tensor of 8 bits in a model of 4, as mixed recipes have it; one not quantised at all. */
static void mixed_bits(void **state)
{
    (void)state;
    hf_folder f;
    hf_folder eight;
    hf_make(&f, "LlamaForCausalLM", QUANT_A4G64_BF16, false);
    hf_make(&eight, "LlamaForCausalLM", QUANT_A8G32_BF16, false);
    static const char *const parts[] = {"lm_head.weight", "lm_head.scales", "lm_head.biases"};
    for (size_t i = 0; i < TEST_COUNT(parts); i++) {
        hf_part *a = hf_find(&f, parts[i]), *b = hf_find(&eight, parts[i]);
        const hf_part kept = *a;
        *a = *b;
        *b = kept;
    }
    err_info err;
    assert_null(convert(&f, 1, &err));
    assert_int_equal(err.code, CAMA_ERR_FORMAT);
    swap(&f.config, "\"mode\":\"affine\"",
         "\"mode\":\"affine\",\"lm_head\":{\"bits\":8,\"group_size\":32}");
    gguf_file *g = must_convert(&f, 1);
    assert_int_equal(gguf_find_tensor(g, "output.weight")->type, QUANT_A8G32_BF16);
    assert_int_equal(gguf_find_tensor(g, "token_embd.weight")->type, QUANT_A4G64_BF16);
    gguf_close(g);
    hf_done(&f);
    hf_done(&eight);
}

static void whatever_the_shards(void **state)
{
    (void)state;
    hf_folder f;
    import_file files[HF_MAX_FILE];
    import_facts facts;
    uint8_t *bytes[2];
    size_t n[2];
    hf_make(&f, "Qwen2ForCausalLM", QUANT_A4G64_F32, false);
    for (size_t i = 0; i < 2; i++) {
        const size_t n_file = hf_open(&f, 1 + 2 * i, files);
        const int out = hf_file("", 0);
        assert_int_equal(import_run(files, n_file, out, NULL, &facts, NULL), CAMA_OK);
        assert_string_equal(facts.arch, "qwen2");
        n[i] = (size_t)lseek(out, 0, SEEK_END);
        bytes[i] = malloc(n[i]);
        assert_non_null(bytes[i]);
        assert_int_equal(pread(out, bytes[i], n[i], 0), (ssize_t)n[i]);
        (void)close(out); /* read */
        hf_close(files, n_file);
    }
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(bytes[0], bytes[1], n[0]);
    free(bytes[0]);
    free(bytes[1]);
    hf_done(&f);
}

/* ---- refusals ---- */

typedef struct refusal {
    char file; /* c: config.json, t: tokenizer.json */
    const char *from, *to;
    cama_err code;
    const char *says;
} refusal;

static void refusals(void **state)
{
    (void)state;
    static const refusal cases[] = {
        {'c', "LlamaForCausalLM", "MambaForCausalLM", CAMA_ERR_UNSUPPORTED,
         "these can: LlamaForCausalLM, MistralForCausalLM, MixtralForCausalLM"},
        {'c', "[\"LlamaForCausalLM\"]", "null", CAMA_ERR_FORMAT, "'architectures' names none"},
        {'c', "\"hidden_size\":128", "\"hidden_size\":\"128\"", CAMA_ERR_FORMAT, "'hidden_size'"},
        {'c', "\"hidden_size\":128", "\"hidden_size\":99999999", CAMA_ERR_FORMAT, "'hidden_size'"},
        {'c', "\"hidden_size\":128", "\"hidden_size\":256", CAMA_ERR_FORMAT,
         "tensor 'model.embed_tokens.weight' is [300, 128]"},
        {'c', "\"num_hidden_layers\":2", "\"num_hidden_layers\":3", CAMA_ERR_FORMAT,
         "'model.layers.2.input_layernorm.weight' is missing"},
        {'c', "\"num_hidden_layers\":2", "\"num_hidden_layers\":1", CAMA_ERR_UNSUPPORTED,
         "'model.layers.1."},
        {'c', "\"num_hidden_layers\":2", "\"num_hidden_layers\":0", CAMA_ERR_FORMAT,
         "missing or 0"},
        {'c', "\"num_key_value_heads\":2", "\"num_key_value_heads\":3", CAMA_ERR_FORMAT, "heads"},
        {'c', "\"head_dim\":32", "\"head_dim\":33", CAMA_ERR_FORMAT, "heads of 33"},
        {'c', "\"vocab_size\":300", "\"vocab_size\":200", CAMA_ERR_FORMAT, "must be [200, 128]"},
        {'c', "\"rope_theta\"", "\"rope_scaling\":{\"type\":\"dynamic\"},\"rope_theta\"",
         CAMA_ERR_UNSUPPORTED, "'dynamic'"},
        {'c', "\"rope_theta\"",
         "\"quantization_config\":{\"quant_method\":\"gptq\"},\"rope_theta\"", CAMA_ERR_UNSUPPORTED,
         "'gptq'"},
        {'c', "{", "{\"x\":[", CAMA_ERR_FORMAT, "config.json"},
        {'t', "\"type\":\"BPE\"", "\"type\":\"Unigram\"", CAMA_ERR_UNSUPPORTED, "'Unigram'"},
        {'t', "\"use_regex\":true", "\"use_regex\":false", CAMA_ERR_UNSUPPORTED,
         "pre_tokenizer is none that is known"},
        {'t', "\"normalizer\":null", "\"normalizer\":{\"type\":\"Lowercase\"}",
         CAMA_ERR_UNSUPPORTED, "'Lowercase'"},
        {'t', "\"hel\":259", "\"hel\":258", CAMA_ERR_FORMAT, "two tokens have id 258"},
        {'t', "\"hel\":259", "\"hel\":300", CAMA_ERR_FORMAT, "has id 300"},
        {'t', "\"hel\":259", "\"hel\":-1", CAMA_ERR_FORMAT, "has id -1"},
        {'t', "\"h e\"", "\"he\"", CAMA_ERR_FORMAT, "merge 0"},
        {'t', "[\"he\",\"l\"]", "[\"he\"]", CAMA_ERR_FORMAT, "merge 1"},
        {'t', "\"merges\"", "\"margins\"", CAMA_ERR_FORMAT, "no list of merges"},
        {'t', "\"vocab\"", "\"ignore_merges\":true,\"vocab\"", CAMA_ERR_UNSUPPORTED,
         "ignore_merges"},
    };
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        hf_folder f;
        err_info err;
        hf_make(&f, "LlamaForCausalLM", QUANT_BF16, false);
        swap(cases[i].file == 'c' ? &f.config : &f.tokenizer, cases[i].from, cases[i].to);
        assert_null(convert(&f, 1, &err));
        if (err.code != cases[i].code || !strstr(err.text, cases[i].says))
            fail_msg("%s -> %s: %d %s", cases[i].from, cases[i].to, (int)err.code, err.text);
        hf_done(&f);
    }
}

/* What tensors can be wrong with. */
static void bad_tensors(void **state)
{
    (void)state;
    static const struct {
        const char *part, *dtype;
        uint64_t shape1;
        const char *rename, *config_from, *config_to, *says;
        cama_err code;
    } cases[] = {
        {"model.norm.weight", "I32", 0, NULL, NULL, NULL, "is I32", CAMA_ERR_UNSUPPORTED},
        {"lm_head.scales", NULL, 0, "lm_head.skales", NULL, NULL, "is U32", CAMA_ERR_UNSUPPORTED},
        {"lm_head.biases", NULL, 0, "lm_head.byes", NULL, NULL, "do not fit", CAMA_ERR_FORMAT},
        {"lm_head.scales", "F32", 1, NULL, NULL, NULL, "do not fit", CAMA_ERR_FORMAT},
        {"model.norm.weight", NULL, 0, "model.norm.width", NULL, NULL,
         "'model.norm.weight' is missing", CAMA_ERR_FORMAT},
        {"model.norm.weight", NULL, 0, "model.extra", NULL, NULL, "is missing", CAMA_ERR_FORMAT},
        {"lm_head.scales", NULL, 0, NULL, "\"bits\":4", "\"bits\":3", "do not fit",
         CAMA_ERR_FORMAT},
        {"lm_head.scales", NULL, 0, NULL, "\"bits\":4", "\"bits\":7", "no form that MLX has",
         CAMA_ERR_UNSUPPORTED},
        {"lm_head.scales", NULL, 0, NULL, "\"mode\":\"affine\"", "\"mode\":\"fp2\"", "'fp2'",
         CAMA_ERR_UNSUPPORTED},
        {"lm_head.scales", NULL, 0, NULL, "\"quantization\"", "\"quantisation\"",
         "config.json has no 'quantization'", CAMA_ERR_FORMAT},
    };
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        hf_folder f;
        err_info err;
        hf_make(&f, "LlamaForCausalLM", QUANT_A4G64_BF16, false);
        hf_part *p = hf_find(&f, cases[i].part);
        if (cases[i].dtype) {
            const size_t old = strcmp(p->dtype, "BF16") ? 4 : 2;
            (void)snprintf(p->dtype, sizeof p->dtype, "%s", cases[i].dtype);
            p->shape[p->n_dims - 1] = p->shape[p->n_dims - 1] * old / 4;
        }
        if (cases[i].rename)
            (void)snprintf(p->name, sizeof p->name, "%s", cases[i].rename);
        if (cases[i].config_from)
            swap(&f.config, cases[i].config_from, cases[i].config_to);
        assert_null(convert(&f, 1, &err));
        if (err.code != cases[i].code || !strstr(err.text, cases[i].says))
            fail_msg("case %zu: %d %s", i, (int)err.code, err.text);
        hf_done(&f);
    }
}

/* Layers of another kind among those with experts; experts of different forms. */
static void odd_experts(void **state)
{
    (void)state;
    hf_folder f;
    err_info err;
    hf_make(&f, "Qwen3MoeForCausalLM", QUANT_BF16, false);
    hf_part *p = hf_find(&f, "model.layers.1.mlp.experts.2.up_proj.weight");
    (void)snprintf(p->dtype, sizeof p->dtype, "F16");
    assert_null(convert(&f, 1, &err));
    assert_int_equal(err.code, CAMA_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "experts.2.up_proj' is F16, that of the first expert BF16"));
    (void)snprintf(p->name, sizeof p->name, "elsewhere");
    assert_null(convert(&f, 1, &err));
    assert_non_null(strstr(err.text, "experts.2.up_proj.weight' is missing"));
    swap(&f.config, "\"mlp_only_layers\":[]", "\"mlp_only_layers\":[1]");
    assert_null(convert(&f, 1, &err));
    assert_int_equal(err.code, CAMA_ERR_UNSUPPORTED);
    hf_done(&f);
    hf_make(&f, "MixtralForCausalLM", QUANT_A8G64_BF16, false);
    hf_find(&f, "model.layers.0.block_sparse_moe.switch_mlp.up_proj.weight")->shape[0] = 2;
    hf_find(&f, "model.layers.0.block_sparse_moe.switch_mlp.up_proj.weight")->shape[1] *= 2;
    assert_null(convert(&f, 1, &err));
    assert_non_null(strstr(err.text, "do not fit config.json"));
    swap(&f.config, "\"num_local_experts\":4", "\"num_local_experts\":0");
    assert_null(convert(&f, 1, &err));
    assert_non_null(strstr(err.text, "'num_experts' is missing or 0"));
    hf_done(&f);
}

static void missing_files(void **state)
{
    (void)state;
    hf_folder f;
    import_file files[HF_MAX_FILE];
    import_facts facts;
    err_info err;
    hf_make(&f, "LlamaForCausalLM", QUANT_F16, false);
    const size_t n = hf_open(&f, 1, files);
    static const struct {
        const char *name, *says;
    } cases[] = {{"model-00003-of-00003.safetensors", "no safetensors file"},
                 {"config.json", "config.json is missing"},
                 {"tokenizer.json", "tokenizer.json is missing"}};
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        import_file some[HF_MAX_FILE];
        size_t n_some = 0;
        const char *last = i == 0 ? files[0].name : cases[i].name;
        for (size_t k = 0; k < n; k++) {
            some[n_some] = files[k];
            if (!strcmp(files[k].name, last)) /* one in a folder within does not count */
                some[n_some].name = "original/config.json";
            n_some++;
        }
        assert_int_equal(import_run(some, n_some, -1, NULL, &facts, &err), CAMA_ERR_NOT_FOUND);
        if (!strstr(err.text, cases[i].says))
            fail_msg("%s: %s", cases[i].name, err.text);
    }
    const int full = open("/dev/full", O_WRONLY);
    if (full >= 0) {
        assert_int_equal(import_run(files, n, full, NULL, &facts, &err), CAMA_ERR_IO);
        assert_non_null(strstr(err.text, "No space left"));
        (void)close(full); /* nothing was kept */
    }
    hf_close(files, n);
    hf_done(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(architectures),       cmocka_unit_test(every_affine_form),
        cmocka_unit_test(float_forms),         cmocka_unit_test(metadata),
        cmocka_unit_test(rope_factors),        cmocka_unit_test(mixed_bits),
        cmocka_unit_test(whatever_the_shards), cmocka_unit_test(refusals),
        cmocka_unit_test(bad_tensors),         cmocka_unit_test(odd_experts),
        cmocka_unit_test(missing_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
