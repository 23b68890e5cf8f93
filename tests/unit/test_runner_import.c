/* Imported models on the native engine: the logits of the same weights in a GGUF made by hand, and
 * those of the dequantised ones; forms that it refuses. */
#include "engine_rig.h"

#include "gguf_build.h"
#include "hf_folder.h"
#include "runner/load.h"

#define N_TOKEN 40

static gguf_file *import(const hf_folder *f)
{
    import_file files[HF_MAX_FILE];
    import_facts facts;
    err_info err;
    gguf_file *g = NULL;
    const size_t n = hf_open(f, 2, files);
    const int out = hf_file("", 0);
    if (import_run(files, n, out, NULL, &facts, &err) ||
        gguf_open_fds(&out, 1, "converted", &g, &err))
        fail_msg("%s", err.text);
    (void)close(out); /* the mapping stays */
    hf_close(files, n);
    return g;
}

/* Logits of N_TOKEN tokens; g becomes the rig's and is closed. */
static float *logits_of(gguf_file *g, kern_form form)
{
    static rig r;
    engine_opts o = rig_opts();
    o.activations = form;
    rig_state = 1; /* the same tokens each time */
    rig_open_model(&r, g);
    rig_open_engine(&r, &o);
    float *out = rig_new_logits(&r, N_TOKEN);
    rig_feed(&r, rig_new_seq(&r, -1, 0), 0, 0, N_TOKEN, 16, out);
    rig_engine->close(r.e);
    rig_close_model(&r);
    return out;
}

static void same_logits(gguf_file *a, gguf_file *b, kern_form form)
{
    float *got = logits_of(a, form), *want = logits_of(b, form);
    double most = 0;
    for (size_t i = 0; i < (size_t)N_TOKEN * HF_VOCAB; i++)
        most = fmax(most, fabs((double)want[i]));
    assert_true(most > 0.1); /* they say something */
    TEST_SAME_BITS(got, want, (size_t)N_TOKEN * HF_VOCAB);
    free(got);
    free(want);
}

/* ---- a GGUF by hand ---- */

static void put(gguf_build *b, const hf_part *p, const char *name, bool turned)
{
    const size_t n_row = p->n_dims == 2 ? (size_t)p->shape[0] : 1, row = p->n / n_row;
    uint8_t *bytes = malloc(p->n);
    assert_non_null(bytes);
    for (size_t h = 0; turned && h < n_row / HF_HEAD; h++) { /* halves become neighbours */
        for (size_t i = 0; i < HF_HEAD / 2; i++) {
            const uint8_t *from = p->data + (h * HF_HEAD + i) * row;
            memcpy(bytes + (h * HF_HEAD + 2 * i) * row, from, row);
            memcpy(bytes + (h * HF_HEAD + 2 * i + 1) * row, from + HF_HEAD / 2 * row, row);
        }
    }
    if (!turned)
        memcpy(bytes, p->data, p->n);
    const uint64_t ne[2] = {p->shape[p->n_dims - 1], p->shape[0]};
    gguf_build_tensor(b, name, quant_table[QUANT_F32].gguf_id, p->n_dims, ne, bytes, p->n);
    free(bytes);
}

static void put_layer(gguf_build *b, hf_folder *f, int layer)
{
    static const char *const names[][2] = {
        {"attn_norm", "input_layernorm"},    {"attn_q", "self_attn.q_proj"},
        {"attn_k", "self_attn.k_proj"},      {"attn_v", "self_attn.v_proj"},
        {"attn_output", "self_attn.o_proj"}, {"ffn_norm", "post_attention_layernorm"},
        {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
        {"ffn_down", "mlp.down_proj"}};
    for (size_t i = 0; i < TEST_COUNT(names); i++) {
        char to[64], from[96];
        (void)snprintf(to, sizeof to, "blk.%d.%s.weight", layer, names[i][0]);
        (void)snprintf(from, sizeof from, "model.layers.%d.%s.weight", layer, names[i][1]);
        put(b, hf_find(f, from), to, i == 1 || i == 2);
    }
}

static gguf_file *by_hand(hf_folder *f, uint8_t **out_bytes)
{
    gguf_build b;
    gguf_file *g = NULL;
    err_info err;
    gguf_build_init(&b);
    gguf_build_str(&b, "general.architecture", "llama");
    gguf_build_u32(&b, "llama.context_length", 1024);
    gguf_build_u32(&b, "llama.embedding_length", HF_EMBD);
    gguf_build_u32(&b, "llama.block_count", HF_LAYERS);
    gguf_build_u32(&b, "llama.feed_forward_length", HF_FF);
    gguf_build_u32(&b, "llama.attention.head_count", HF_HEADS);
    gguf_build_u32(&b, "llama.attention.head_count_kv", HF_KV_HEADS);
    gguf_build_f32(&b, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    put(&b, hf_find(f, "model.embed_tokens.weight"), "token_embd.weight", false);
    put(&b, hf_find(f, "model.norm.weight"), "output_norm.weight", false);
    put(&b, hf_find(f, "lm_head.weight"), "output.weight", false);
    for (int i = 0; i < HF_LAYERS; i++)
        put_layer(&b, f, i);
    size_t n;
    *out_bytes = gguf_build_finish(&b, &n);
    if (gguf_open_bytes(*out_bytes, n, &g, &err))
        fail_msg("%s", err.text);
    return g;
}

static void as_a_gguf_made_by_hand(void **state)
{
    (void)state;
    hf_folder f;
    uint8_t *bytes;
    hf_make(&f, "LlamaForCausalLM", QUANT_F32, false);
    same_logits(import(&f), by_hand(&f, &bytes), KERN_F32);
    free(bytes);
    hf_done(&f);
}

/* ---- quantised against dequantised ---- */

/* Bytes of a value of the metadata. */
static size_t value_bytes(const gguf_kv *kv)
{
    if (!kv->strings)
        return (size_t)kv->n * gguf_type_bytes(kv->type == GGUF_ARRAY ? kv->elem : kv->type);
    size_t n = 0;
    for (uint64_t i = 0; i < kv->n; i++)
        n += 8 + kv->strings[i].n;
    return n;
}

/* The same file with every tensor as f32. */
static gguf_file *flat(const gguf_file *g, uint8_t **out_bytes)
{
    gguf_build b;
    gguf_file *out = NULL;
    err_info err;
    char name[128];
    gguf_build_init(&b);
    for (size_t i = 0; i < gguf_n_kv(g); i++) {
        const gguf_kv *kv = gguf_kv_at(g, i);
        (void)snprintf(name, sizeof name, "%.*s", (int)kv->key.n, kv->key.text);
        if (kv->type == GGUF_ARRAY)
            gguf_build_array(&b, name, kv->elem, kv->n, kv->data, value_bytes(kv));
        else
            gguf_build_raw(&b, name, kv->type, kv->data, value_bytes(kv));
    }
    for (size_t i = 0; i < gguf_n_tensor(g); i++) {
        const gguf_tensor *t = gguf_tensor_at(g, i);
        const size_t n = (size_t)(t->ne[0] * t->ne[1] * t->ne[2]);
        float *x = malloc(n * sizeof *x);
        assert_non_null(x);
        quant_dequant(t->type, t->data, x, n);
        (void)snprintf(name, sizeof name, "%.*s", (int)t->name.n, t->name.text);
        gguf_build_tensor(&b, name, quant_table[QUANT_F32].gguf_id, (uint32_t)t->n_dims, t->ne, x,
                          n * sizeof *x);
        free(x);
    }
    size_t n;
    *out_bytes = gguf_build_finish(&b, &n);
    if (gguf_open_bytes(*out_bytes, n, &out, &err))
        fail_msg("%s", err.text);
    return out;
}

static const char *const archs[] = {"LlamaForCausalLM",   "Qwen2ForCausalLM",  "Qwen3ForCausalLM",
                                    "Gemma2ForCausalLM",  "Gemma3ForCausalLM", "MixtralForCausalLM",
                                    "Qwen3MoeForCausalLM"};
static const quant_type native_types[] = {QUANT_A4G64_F32, QUANT_A4G64_F16, QUANT_A4G64_BF16,
                                          QUANT_A8G64_F32, QUANT_A8G64_F16, QUANT_A8G64_BF16,
                                          QUANT_F16,       QUANT_BF16};

/* With f32 activations a kernel sees nothing but the values, in the same order. */
static void as_the_dequantised(void **state)
{
    (void)state;
    for (size_t a = 0; a < TEST_COUNT(archs); a++) {
        for (size_t t = 0; t < TEST_COUNT(native_types); t++) {
            hf_folder f;
            uint8_t *bytes;
            hf_make(&f, archs[a], native_types[t], a == 2);
            gguf_file *g = import(&f);
            gguf_file *plain = flat(g, &bytes);
            same_logits(g, plain, KERN_F32);
            free(bytes);
            hf_done(&f);
        }
    }
}

/* int8 activations: whatever shares the step, however the text was cut, on any tier. */
static void int8_in_every_way(void **state)
{
    (void)state;
    static rig r;
    for (size_t t = 0; t < 6; t++) {
        hf_folder f;
        hf_make(&f, "LlamaForCausalLM", native_types[t], false);
        rig_open_model(&r, import(&f));
        rig_check(&r, rig_opts(), RIG_SHORT, t == 1 ? RIG_REUSE : 0);
        rig_close_model(&r);
        hf_done(&f);
    }
}

/* ---- what native does not take ---- */

static void refused_by_name(void **state)
{
    (void)state;
    static const struct {
        quant_type type;
        const char *says;
    } cases[] = {{QUANT_A6G32_F16,
                  "affine 6-bit in groups of 32 (tensor 'token_embd.weight') runs on the mlx"},
                 {QUANT_A4G32_BF16, "affine 4-bit in groups of 32"},
                 {QUANT_A8G128_F32, "affine 8-bit in groups of 128"},
                 {QUANT_A2G64_F16, "affine 2-bit in groups of 64"}};
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        hf_folder f;
        model_desc *m = NULL;
        engine_bytes planned;
        err_info err;
        const engine_opts o = rig_opts();
        hf_make(&f, "LlamaForCausalLM", cases[i].type, false);
        gguf_file *g = import(&f);
        if (model_open(g, &m, &err))
            fail_msg("%s", err.text);
        assert_int_equal(nat_engine.probe(m, &err), 0);
        assert_non_null(strstr(err.text, cases[i].says));
        assert_int_equal(nat_engine.plan(m, &o, &planned, &err), CAMA_ERR_UNSUPPORTED);
        assert_non_null(strstr(err.text, cases[i].says));
        model_close(m);
        gguf_close(g);
        hf_done(&f);
    }
}

/* ---- the vocabulary ---- */

static void vocabulary(void **state)
{
    (void)state;
    hf_folder f;
    tok_vocab *v = NULL;
    tok_ids ids;
    buf text;
    err_info err;
    hf_make(&f, "LlamaForCausalLM", QUANT_BF16, false);
    gguf_file *g = import(&f);
    if (load_vocab(g, &v, &err))
        fail_msg("%s", err.text);
    tok_ids_init(&ids, 100);
    buf_init(&text, 1000);
    assert_int_equal(tok_encode(v, "hello<|im_end|>", 15, (tok_flags){true, true}, &ids, &err),
                     CAMA_OK);
    assert_int_equal(ids.n, 4); /* hel, l, o, the end; no BOS */
    assert_int_equal(ids.id[0], 259);
    assert_int_equal(ids.id[3], 1);
    assert_true(tok_is_eog(v, 1) && tok_is_eog(v, 0));
    assert_int_equal(tok_decode(v, ids.id, ids.n, false, &text, &err), CAMA_OK);
    assert_string_equal(text.data, "hello");
    tok_ids_done(&ids);
    buf_done(&text);
    tok_close(v);
    gguf_close(g);
    hf_done(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_a_gguf_made_by_hand),
        cmocka_unit_test(as_the_dequantised),
        cmocka_unit_test(int8_in_every_way),
        cmocka_unit_test(refused_by_name),
        cmocka_unit_test(vocabulary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
