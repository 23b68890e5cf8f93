/* hf_folder.h - a folder in Hugging Face or MLX layout made in memory, for tests of the import: a
 * tiny llama (or its like) with a vocabulary. Its functions are static: one test program includes
 * it once.
 *
 *     hf_folder f;
 *     hf_make(&f, "LlamaForCausalLM", QUANT_BF16, false);   or F32, F16, an affine type
 *     hf_find(&f, "model.norm.weight")->...           change what a test wants to be otherwise
 *     const size_t n = hf_open(&f, 2, files);         two shards; files[0 .. n)
 *     hf_close(files, n); hf_done(&f);
 */
#ifndef HF_FOLDER_H
#define HF_FOLDER_H

#include "test.h"

#include <unistd.h>

#include "base/buf.h"
#include "import/import.h"
#include "quant/quant.h"

#define HF_EMBD 128
#define HF_FF 256
#define HF_HEADS 4
#define HF_KV_HEADS 2
#define HF_HEAD 32
#define HF_LAYERS 2
#define HF_EXPERTS 4
#define HF_FF_EXPERT 64
#define HF_VOCAB 300
#define HF_MAX_PART 128
#define HF_MAX_FILE 16

typedef struct hf_part {
    char name[96];
    char dtype[8];
    uint32_t n_dims;
    uint64_t shape[3];
    uint8_t *data;
    size_t n;
} hf_part;

typedef struct hf_folder {
    hf_part parts[HF_MAX_PART];
    size_t n_part;
    buf config, tokenizer, tokenizer_config, generation, jinja; /* n = 0: no such file */
    quant_type type; /* of the matrices: F32, F16, BF16 or an affine one */
} hf_folder;

/* Numbers that hang on a name alone. */
static inline uint32_t hf_next(uint64_t *s)
{
    *s = *s * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*s >> 33);
}

static inline uint64_t hf_seed(const char *name)
{
    uint64_t s = 14695981039346656037u;
    for (; *name; name++)
        s = (s ^ (uint8_t)*name) * 1099511628211u;
    return s;
}

static inline hf_part *hf_add(hf_folder *f, const char *name, const char *dtype, uint64_t n_out,
                              uint64_t n_in, size_t n_bytes)
{
    assert_true(f->n_part < HF_MAX_PART);
    hf_part *p = &f->parts[f->n_part++];
    *p = (hf_part){.n_dims = n_out ? 2 : 1, .shape = {n_out ? n_out : n_in, n_in}, .n = n_bytes};
    (void)snprintf(p->name, sizeof p->name, "%s", name);
    (void)snprintf(p->dtype, sizeof p->dtype, "%s", dtype);
    p->data = calloc(1, n_bytes + 1);
    assert_non_null(p->data);
    return p;
}

static inline hf_part *hf_find(hf_folder *f, const char *name)
{
    for (size_t i = 0; i < f->n_part; i++) {
        if (!strcmp(f->parts[i].name, name))
            return &f->parts[i];
    }
    fail_msg("no part '%s'", name);
    return NULL;
}

/* n floats of the type, around `centre`. */
static inline void hf_floats(quant_type t, const char *name, float centre, float width, size_t n,
                             uint8_t *out)
{
    uint64_t s = hf_seed(name);
    for (size_t i = 0; i < n; i++) {
        const float x = centre + width * ((float)hf_next(&s) * 0x1p-30f - 1);
        assert_int_equal(quant_quantize(t, &x, out + i * quant_table[t].block_bytes, 1, NULL),
                         CAMA_OK);
    }
}

/* A matrix, or with n_out 0 a vector, which is a float's in any case. */
static inline void hf_tensor(hf_folder *f, const char *name, uint64_t n_out, uint64_t n_in,
                             float centre)
{
    char full[96];
    quant_affine a;
    const size_t n = (size_t)(n_in * (n_out ? n_out : 1));
    const bool affine = quant_affine_info(f->type, &a) && n_out;
    quant_type t = f->type;
    if (quant_affine_info(t, &a))
        t = a.scale;
    const size_t size = quant_table[t].block_bytes;
    if (!affine) {
        hf_part *p = hf_add(f, name, quant_table[t].name, n_out, n_in, n * size);
        hf_floats(t, name, centre, n_out ? 0.15f : 0.2f, n, p->data);
        return;
    }
    hf_part *w = hf_add(f, name, "U32", n_out, n_in * a.bits / 32, n * a.bits / 8);
    uint64_t s = hf_seed(name);
    for (size_t i = 0; i < w->n; i++)
        w->data[i] = (uint8_t)(hf_next(&s) >> 5);
    const size_t n_group = n / a.group;
    const float step = 0.3f / (float)(1 << a.bits);
    const int stem = (int)(strlen(name) - strlen(".weight"));
    (void)snprintf(full, sizeof full, "%.*s.scales", stem, name);
    hf_part *p = hf_add(f, full, quant_table[t].name, n_out, n_in / a.group, n_group * size);
    hf_floats(t, full, step, step / 2, n_group, p->data);
    (void)snprintf(full, sizeof full, "%.*s.biases", stem, name);
    p = hf_add(f, full, quant_table[t].name, n_out, n_in / a.group, n_group * size);
    hf_floats(t, full, -0.15f, 0.02f, n_group, p->data);
}

static inline bool hf_is_moe(const char *arch)
{
    return strstr(arch, "Moe") || strstr(arch, "Mixtral");
}

/* One projection of all experts: in one tensor as MLX has it when they are quantised, else in one
 * for each, as transformers has it. */
static inline void hf_experts(hf_folder *f, const char *arch, int layer, int which)
{
    static const char *const names[][3] = {{"gate_proj", "up_proj", "down_proj"},
                                           {"w1", "w3", "w2"}};
    const bool mixtral = strstr(arch, "Mixtral") != NULL;
    const char *mlp = mixtral ? "block_sparse_moe" : "mlp";
    const uint64_t ff = mixtral ? HF_FF : HF_FF_EXPERT;
    const uint64_t n_out = which == 2 ? HF_EMBD : ff, n_in = which == 2 ? ff : HF_EMBD;
    char name[96];
    if (!quant_affine_info(f->type, NULL)) {
        for (int e = 0; e < HF_EXPERTS; e++) {
            (void)snprintf(name, sizeof name, "model.layers.%d.%s.experts.%d.%s.weight", layer, mlp,
                           e, names[mixtral][which]);
            hf_tensor(f, name, n_out, n_in, 0);
        }
        return;
    }
    const size_t first = f->n_part;
    (void)snprintf(name, sizeof name, "model.layers.%d.%s.switch_mlp.%s.weight", layer, mlp,
                   names[0][which]);
    hf_tensor(f, name, HF_EXPERTS * n_out, n_in, 0);
    for (size_t i = first; i < f->n_part; i++) {
        hf_part *p = &f->parts[i];
        p->n_dims = 3;
        p->shape[2] = p->shape[1];
        p->shape[1] = n_out;
        p->shape[0] = HF_EXPERTS;
    }
}

static inline void hf_layer(hf_folder *f, const char *arch, int layer)
{
    static const struct {
        const char *name;
        uint64_t n_out, n_in;
    } list[] = {{"self_attn.q_proj.weight", HF_HEADS * HF_HEAD, HF_EMBD},
                {"self_attn.k_proj.weight", HF_KV_HEADS * HF_HEAD, HF_EMBD},
                {"self_attn.v_proj.weight", HF_KV_HEADS * HF_HEAD, HF_EMBD},
                {"self_attn.o_proj.weight", HF_EMBD, HF_HEADS * HF_HEAD},
                {"mlp.gate_proj.weight", HF_FF, HF_EMBD},
                {"mlp.up_proj.weight", HF_FF, HF_EMBD},
                {"mlp.down_proj.weight", HF_EMBD, HF_FF},
                {"input_layernorm.weight", 0, HF_EMBD},
                {"post_attention_layernorm.weight", 0, HF_EMBD},
                {"pre_feedforward_layernorm.weight", 0, HF_EMBD}, /* of Gemma, like the next */
                {"post_feedforward_layernorm.weight", 0, HF_EMBD},
                {"self_attn.q_norm.weight", 0, HF_HEAD}, /* of Qwen 3 and Gemma 3 */
                {"self_attn.k_norm.weight", 0, HF_HEAD},
                {"self_attn.q_proj.bias", 0, HF_HEADS * HF_HEAD}, /* of Qwen 2 */
                {"self_attn.k_proj.bias", 0, HF_KV_HEADS * HF_HEAD},
                {"self_attn.v_proj.bias", 0, HF_KV_HEADS * HF_HEAD}};
    const bool gemma = strstr(arch, "Gemma") != NULL;
    const bool qk = strstr(arch, "Qwen3") || strstr(arch, "Gemma3");
    for (size_t i = 0; i < TEST_COUNT(list); i++) {
        char name[96];
        const bool mlp = i >= 4 && i < 7;
        const bool wanted = (i < 9 && !(mlp && hf_is_moe(arch))) || (i < 11 && gemma) ||
                            (i >= 11 && i < 13 && qk) || (i >= 13 && strstr(arch, "Qwen2"));
        if (!wanted)
            continue;
        (void)snprintf(name, sizeof name, "model.layers.%d.%s", layer, list[i].name);
        const bool norm = i >= 7 && i < 13;
        hf_tensor(f, name, list[i].n_out, list[i].n_in, norm && !gemma ? 1 : 0);
    }
    if (hf_is_moe(arch)) {
        char name[96];
        (void)snprintf(name, sizeof name, "model.layers.%d.%s.gate.weight", layer,
                       strstr(arch, "Mixtral") ? "block_sparse_moe" : "mlp");
        hf_tensor(f, name, HF_EXPERTS, HF_EMBD, 0);
        for (int which = 0; which < 3; which++)
            hf_experts(f, arch, layer, which);
    }
}

static inline void hf_put_config(hf_folder *f, const char *arch, bool tied)
{
    quant_affine a;
    (void)buf_printf(&f->config,
                     "{\"architectures\":[\"%s\"],\"hidden_size\":%d,\"intermediate_size\":%d,"
                     "\"num_hidden_layers\":%d,\"num_attention_heads\":%d,"
                     "\"num_key_value_heads\":%d,\"head_dim\":%d,\"vocab_size\":%d,"
                     "\"max_position_embeddings\":1024,\"rms_norm_eps\":1e-05,"
                     "\"tie_word_embeddings\":%s,\"rope_theta\":10000.0",
                     arch, HF_EMBD, HF_FF, HF_LAYERS, HF_HEADS, HF_KV_HEADS, HF_HEAD, HF_VOCAB,
                     tied ? "true" : "false");
    if (strstr(arch, "Mixtral"))
        (void)buf_printf(&f->config, ",\"num_local_experts\":%d,\"num_experts_per_tok\":2",
                         HF_EXPERTS);
    else if (hf_is_moe(arch))
        (void)buf_printf(&f->config,
                         ",\"num_experts\":%d,\"num_experts_per_tok\":2,\"norm_topk_prob\":true,"
                         "\"moe_intermediate_size\":%d,\"mlp_only_layers\":[]",
                         HF_EXPERTS, HF_FF_EXPERT);
    if (quant_affine_info(f->type, &a))
        (void)buf_printf(&f->config,
                         ",\"quantization\":{\"group_size\":%u,\"bits\":%u,\"mode\":\"affine\"}",
                         a.group, a.bits);
    (void)buf_putc(&f->config, '}');
}

/* Bytes as GPT-2 writes them, two merges and two control tokens: 260 in all. */
static inline void hf_put_tokenizer(hf_folder *f)
{
    buf *b = &f->tokenizer;
    int n_moved = 0;
    (void)buf_puts(b, "{\"added_tokens\":[{\"id\":0,\"content\":\"<|endoftext|>\",\"special\":true}"
                      ",{\"id\":1,\"content\":\"<|im_end|>\",\"special\":true}],"
                      "\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\","
                      "\"add_prefix_space\":false,\"use_regex\":true},\"post_processor\":null,"
                      "\"model\":{\"type\":\"BPE\",\"vocab\":{");
    for (int i = 0; i < 256; i++) {
        const bool plain = (i > 32 && i < 127) || (i > 160 && i != 173);
        char text[3] = {(char)i, 0, 0};
        const unsigned c = plain ? (unsigned)i : 256u + (unsigned)n_moved++;
        if (c > 127) {
            text[0] = (char)(0xC0 | c >> 6);
            text[1] = (char)(0x80 | (c & 63));
        }
        (void)buf_printf(b, "%s\"%s%s\":%d", i ? "," : "", c == '"' || c == '\\' ? "\\" : "", text,
                         i + 2);
    }
    (void)buf_puts(b, ",\"he\":258,\"hel\":259},\"merges\":[\"h e\",[\"he\",\"l\"]]}}");
    (void)buf_puts(&f->tokenizer_config, "{\"eos_token\":{\"content\":\"<|im_end|>\"},"
                                         "\"bos_token\":\"<|endoftext|>\","
                                         "\"chat_template\":\"{{ messages }}\"}");
    (void)buf_puts(&f->generation, "{\"eos_token_id\":[1,0]}");
}

/* type: how matrices are stored; vectors are floats of that type, or of the scales'. */
static inline void hf_make(hf_folder *f, const char *arch, quant_type type, bool tied)
{
    *f = (hf_folder){.type = type};
    buf *const texts[] = {&f->config, &f->tokenizer, &f->tokenizer_config, &f->generation,
                          &f->jinja};
    for (size_t i = 0; i < TEST_COUNT(texts); i++)
        buf_init(texts[i], 1 << 20);
    hf_tensor(f, "model.embed_tokens.weight", HF_VOCAB, HF_EMBD, 0);
    for (int i = 0; i < HF_LAYERS; i++)
        hf_layer(f, arch, i);
    hf_tensor(f, "model.norm.weight", 0, HF_EMBD, strstr(arch, "Gemma") ? 0 : 1);
    if (!tied)
        hf_tensor(f, "lm_head.weight", HF_VOCAB, HF_EMBD, 0);
    hf_put_config(f, arch, tied);
    hf_put_tokenizer(f);
}

static inline void hf_done(hf_folder *f)
{
    for (size_t i = 0; i < f->n_part; i++)
        free(f->parts[i].data);
    buf *const texts[] = {&f->config, &f->tokenizer, &f->tokenizer_config, &f->generation,
                          &f->jinja};
    for (size_t i = 0; i < TEST_COUNT(texts); i++)
        buf_done(texts[i]);
}

static inline int hf_file(const void *bytes, size_t n)
{
    char path[] = "/tmp/hf_folder_XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)unlink(path);
    for (size_t at = 0; at < n;) {
        const ssize_t put = write(fd, (const char *)bytes + at, n - at);
        assert_true(put > 0);
        at += (size_t)put;
    }
    return fd;
}

/* Every n_shard-th part from `first` on, as a safetensors file. */
static inline int hf_shard(const hf_folder *f, size_t first, size_t n_shard)
{
    buf head, data;
    buf_init(&head, 1 << 28);
    buf_init(&data, 1 << 28);
    (void)buf_append(&head, "\0\0\0\0\0\0\0\0", 8);
    (void)buf_puts(&head, "{\"__metadata__\":{\"format\":\"mlx\"}");
    for (size_t i = first; i < f->n_part; i += n_shard) {
        const hf_part *p = &f->parts[i];
        (void)buf_printf(&head, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[%llu", p->name, p->dtype,
                         (unsigned long long)p->shape[0]);
        for (uint32_t k = 1; k < p->n_dims; k++)
            (void)buf_printf(&head, ",%llu", (unsigned long long)p->shape[k]);
        (void)buf_printf(&head, "],\"data_offsets\":[%zu,%zu]}", data.n, data.n + p->n);
        (void)buf_append(&data, p->data, p->n);
    }
    (void)buf_putc(&head, '}');
    const uint64_t n = head.n - 8;
    memcpy(head.data, &n, 8);
    (void)buf_append(&head, data.data ? data.data : "", data.n);
    assert_true(!head.fail && !data.fail);
    const int fd = hf_file(head.data, head.n);
    buf_done(&head);
    buf_done(&data);
    return fd;
}

static inline size_t hf_open(const hf_folder *f, size_t n_shard, import_file files[HF_MAX_FILE])
{
    static const char *const shards[] = {"model-00001-of-00003.safetensors",
                                         "model-00002-of-00003.safetensors",
                                         "model-00003-of-00003.safetensors"};
    const struct {
        const char *name;
        const buf *text;
    } texts[] = {{"config.json", &f->config},
                 {"tokenizer.json", &f->tokenizer},
                 {"tokenizer_config.json", &f->tokenizer_config},
                 {"generation_config.json", &f->generation},
                 {"chat_template.jinja", &f->jinja}};
    size_t n = 0;
    for (size_t i = 0; i < n_shard; i++)
        files[n++] = (import_file){shards[n_shard - 1 - i], hf_shard(f, i, n_shard)};
    for (size_t i = 0; i < TEST_COUNT(texts); i++) {
        if (texts[i].text->n)
            files[n++] =
                (import_file){texts[i].name, hf_file(texts[i].text->data, texts[i].text->n)};
    }
    return n;
}

static inline void hf_close(const import_file *files, size_t n)
{
    for (size_t i = 0; i < n; i++)
        (void)close(files[i].fd); /* only read */
}

#endif
