/* config.json: what is read of it, and the metadata that it becomes. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "import/import_int.h"

/* LLAMA_FTYPE numbers of dense files; of others, general.file_type is the id of the type that most
 * weights have, which for our own formats no number of llama.cpp's can be. */
#define FTYPE_F32 0
#define FTYPE_F16 1
#define FTYPE_BF16 32
#define FTYPE_MXFP4 38
#define FTYPE_NVFP4 39

/* ---- fields ---- */

static const json_value *field(const json_value *o, const char *key)
{
    const json_value *v = json_get(o, key);
    return v && v->kind != JSON_NULL ? v : NULL;
}

uint64_t import_u64(importer *m, const json_value *o, const char *key, uint64_t max,
                    uint64_t fallback)
{
    const json_value *v = field(o, key);
    if (!v)
        return fallback;
    if (v->kind == JSON_INT && v->integer >= 0 && (uint64_t)v->integer <= max)
        return (uint64_t)v->integer;
    (void)import_fail(m, CAMA_ERR_FORMAT, "config.json: '%s' must be a whole number of 0 to %llu",
                      key, (unsigned long long)max);
    return fallback;
}

double import_f64(importer *m, const json_value *o, const char *key, double fallback)
{
    const json_value *v = field(o, key);
    if (!v)
        return fallback;
    if ((v->kind == JSON_INT || v->kind == JSON_FLOAT) && isfinite(v->number))
        return v->number;
    (void)import_fail(m, CAMA_ERR_FORMAT, "config.json: '%s' must be a number", key);
    return fallback;
}

bool import_bool(const json_value *o, const char *key, bool fallback)
{
    const json_value *v = field(o, key);
    return v && v->kind == JSON_BOOL ? v->boolean : fallback;
}

const char *import_text(const json_value *o, const char *key)
{
    const json_value *v = field(o, key);
    return v && v->kind == JSON_STRING ? v->text : NULL;
}

const char *import_key(const importer *m, const char *name, char out[IMPORT_KEY_BYTES])
{
    (void)snprintf(out, IMPORT_KEY_BYTES, "%s.%s", m->arch->gguf, name); /* ours: it fits */
    return out;
}

/* ---- reading ---- */

static uint64_t want(importer *m, const char *key, uint64_t max)
{
    const uint64_t v = import_u64(m, m->config, key, max, 0);
    if (v == 0)
        (void)import_fail(m, CAMA_ERR_FORMAT, "config.json: '%s' is missing or 0", key);
    return v;
}

static void read_arch(importer *m)
{
    const json_value *list = field(m->config, "architectures");
    if (!list || list->kind != JSON_ARRAY || !list->n || list->items[0]->kind != JSON_STRING)
        (void)import_fail(m, CAMA_ERR_FORMAT, "config.json: 'architectures' names none");
    else
        m->arch = import_arch_find(m, list->items[0]->text);
}

/* Quantised by MLX, or not at all: what others call quantization_config is another thing. */
static void read_quant(importer *m)
{
    m->quant = field(m->config, "quantization");
    const json_value *other = field(m->config, "quantization_config");
    const char *method = import_text(other, "quant_method");
    if (m->quant && m->quant->kind != JSON_OBJECT)
        (void)import_fail(m, CAMA_ERR_FORMAT, "config.json: 'quantization' is no object");
    else if (!m->quant && method)
        (void)import_fail(m, CAMA_ERR_UNSUPPORTED,
                          "weights quantised by '%.40s' cannot be imported: those of MLX, and "
                          "unquantised ones, can",
                          method);
    else if (!m->quant && other && other->kind == JSON_OBJECT && field(other, "bits"))
        m->quant = other; /* MLX writes the same under both names */
}

static void read_sizes(importer *m)
{
    const json_value *c = m->config;
    m->n_layer = (uint32_t)want(m, "num_hidden_layers", IMPORT_MAX_LAYER);
    m->n_head = (uint32_t)want(m, "num_attention_heads", 4096);
    m->n_head_kv = (uint32_t)import_u64(m, c, "num_key_value_heads", 4096, m->n_head);
    m->dims[IMPORT_ONE] = 1;
    m->dims[IMPORT_EMBD] = want(m, "hidden_size", IMPORT_MAX_SIZE);
    m->dims[IMPORT_FF] = want(m, "intermediate_size", IMPORT_MAX_SIZE);
    m->dims[IMPORT_VOCAB] = want(m, "vocab_size", IMPORT_MAX_SIZE);
    if (m->err.code || m->n_head == 0) /* which is an error, too */
        return;
    const uint64_t head = import_u64(m, c, "head_dim", 65536, m->dims[IMPORT_EMBD] / m->n_head);
    if (head < 2 || head % 2 || m->n_head_kv == 0 || m->n_head % m->n_head_kv)
        (void)import_fail(m, CAMA_ERR_FORMAT,
                          "config.json: %u heads of %llu columns over %u of keys and values",
                          m->n_head, (unsigned long long)head, m->n_head_kv);
    m->dims[IMPORT_HEAD] = head;
    m->dims[IMPORT_Q] = head * m->n_head;
    m->dims[IMPORT_KV] = head * m->n_head_kv;
}

/* Every layer's MLP is one of experts, or the architecture's none is. */
static void read_experts(importer *m)
{
    const json_value *c = m->config;
    const json_value *dense = field(c, "mlp_only_layers");
    if (!m->arch->moe)
        return;
    const uint64_t n = import_u64(m, c, "num_local_experts", 65536, 0);
    m->dims[IMPORT_EXPERTS] = n ? n : want(m, "num_experts", 65536);
    m->dims[IMPORT_FF_EXPERT] =
        import_u64(m, c, "moe_intermediate_size", IMPORT_MAX_SIZE, m->dims[IMPORT_FF]);
    if ((dense && dense->kind == JSON_ARRAY && dense->n) ||
        import_u64(m, c, "decoder_sparse_step", 1000, 1) != 1)
        (void)import_fail(m, CAMA_ERR_UNSUPPORTED,
                          "config.json: layers without experts among others with them cannot be "
                          "imported");
}

/* transformers 5 has both under rope_parameters. */
static void read_rope(importer *m)
{
    const json_value *both = field(m->config, "rope_parameters");
    m->rope_scaling = both ? both : field(m->config, "rope_scaling");
    m->rope_base = import_f64(m, m->config, "rope_theta", import_f64(m, both, "rope_theta", 10000));
    if (m->rope_scaling && m->rope_scaling->kind != JSON_OBJECT)
        (void)import_fail(m, CAMA_ERR_FORMAT, "config.json: 'rope_scaling' is no object");
}

void import_config(importer *m)
{
    read_arch(m);
    read_quant(m);
    if (!m->err.code)
        read_sizes(m);
    if (!m->err.code)
        read_experts(m);
    if (!m->err.code)
        read_rope(m);
    /* What transformers takes where config.json does not say. */
    const bool gemma = m->arch && m->arch->norm_plus_1;
    m->is_tied = import_bool(m->config, "tie_word_embeddings", gemma);
}

/* ---- RoPE ---- */

/* Llama 3's stretching of slow frequencies, as a factor for each pair, which divides it. */
static void put_llama3(importer *m)
{
    const json_value *s = m->rope_scaling;
    const double factor = import_f64(m, s, "factor", 8),
                 low = import_f64(m, s, "low_freq_factor", 1);
    const double high = import_f64(m, s, "high_freq_factor", 4);
    const double n_old = import_f64(m, s, "original_max_position_embeddings", 8192);
    const size_t n = (size_t)m->dims[IMPORT_HEAD] / 2;
    float *out = import_take(m, n, sizeof *out);
    if (!(factor > 0) || !(low > 0) || !(high > low) || !(n_old > 0))
        (void)import_fail(m, CAMA_ERR_FORMAT,
                          "config.json: rope_scaling of llama3 has no sense: "
                          "factor %g, low %g, high %g, original %g",
                          factor, low, high, n_old);
    if (m->err.code)
        return;
    for (size_t i = 0; i < n; i++) {
        const double freq = pow(m->rope_base, -2.0 * (double)i / (double)m->dims[IMPORT_HEAD]);
        const double wave = 2 * acos(-1.0) / freq;
        const double smooth = (n_old / wave - low) / (high - low);
        if (wave < n_old / high)
            out[i] = 1;
        else if (wave > n_old / low)
            out[i] = (float)factor;
        else
            out[i] = (float)(1 / ((1 - smooth) / factor + smooth));
    }
    import_add_made(m, "rope_freqs.weight", out, n);
}

static void put_scaling(importer *m, const char *type)
{
    char key[IMPORT_KEY_BYTES];
    const json_value *s = m->rope_scaling;
    gguf_put_text(&m->w, import_key(m, "rope.scaling.type", key), type);
    gguf_put_f32(&m->w, import_key(m, "rope.scaling.factor", key),
                 (float)import_f64(m, s, "factor", 1));
    const uint64_t n_old = import_u64(m, s, "original_max_position_embeddings", INT32_MAX, 0);
    if (n_old)
        gguf_put_u32(&m->w, import_key(m, "rope.scaling.original_context_length", key),
                     (uint32_t)n_old);
}

static void put_rope(importer *m)
{
    char key[IMPORT_KEY_BYTES];
    gguf_put_f32(&m->w, import_key(m, "rope.freq_base", key), (float)m->rope_base);
    gguf_put_u32(&m->w, import_key(m, "rope.dimension_count", key), (uint32_t)m->dims[IMPORT_HEAD]);
    const char *type = import_text(m->rope_scaling, "rope_type");
    if (!type)
        type = import_text(m->rope_scaling, "type");
    if (!type || !strcmp(type, "default"))
        return;
    if (!strcmp(type, "linear") || !strcmp(type, "yarn"))
        put_scaling(m, type);
    else if (!strcmp(type, "llama3"))
        put_llama3(m);
    else
        (void)import_fail(m, CAMA_ERR_UNSUPPORTED,
                          "config.json: rope_scaling of type '%.40s' cannot be imported; linear, "
                          "yarn and llama3 can",
                          type);
}

/* ---- the rest ---- */

/* The type of most weights by bytes. */
static quant_type main_type(const importer *m)
{
    uint64_t bytes[QUANT_N_TYPE] = {0};
    int most = QUANT_F32;
    for (size_t i = 0; i < m->n_tensor; i++) {
        const import_tensor *t = &m->tensors[i];
        if (t->n_dims > 1)
            bytes[t->type] += quant_row_bytes(t->type, t->n_in) * import_n_row(t);
    }
    for (int t = 0; t < QUANT_N_TYPE; t++) {
        if (bytes[t] > bytes[most])
            most = t;
    }
    return (quant_type)most;
}

static uint32_t file_type(quant_type t)
{
    switch (t) {
    case QUANT_F32:
        return FTYPE_F32;
    case QUANT_F16:
        return FTYPE_F16;
    case QUANT_BF16:
        return FTYPE_BF16;
    case QUANT_MXFP4:
        return FTYPE_MXFP4;
    case QUANT_NVFP4:
        return FTYPE_NVFP4;
    default:
        return quant_table[t].gguf_id;
    }
}

/* The last part of what the model was called where it was made; it may be a path of a stranger's
 * machine. */
static void put_name(importer *m)
{
    const char *name = import_text(m->config, "_name_or_path");
    const char *slash = name ? strrchr(name, '/') : NULL;
    const char *last = slash ? slash + 1 : name;
    if (last && *last)
        gguf_put_text(&m->w, "general.name", last);
}

/* How many experts a token goes to, and how their weights add up. */
static void put_experts(importer *m)
{
    char key[IMPORT_KEY_BYTES];
    const uint64_t n_used = want(m, "num_experts_per_tok", m->dims[IMPORT_EXPERTS]);
    const json_value *norm = field(m->config, "norm_topk_prob");
    gguf_put_u32(&m->w, import_key(m, "expert_count", key), (uint32_t)m->dims[IMPORT_EXPERTS]);
    gguf_put_u32(&m->w, import_key(m, "expert_used_count", key), (uint32_t)n_used);
    gguf_put_u32(&m->w, import_key(m, "expert_feed_forward_length", key),
                 (uint32_t)m->dims[IMPORT_FF_EXPERT]);
    if (norm && norm->kind == JSON_BOOL)
        gguf_put_bool(&m->w, import_key(m, "expert_weights_norm", key), norm->boolean);
}

void import_put_config(importer *m)
{
    char key[IMPORT_KEY_BYTES];
    const quant_type most = main_type(m);
    const struct {
        const char *name;
        uint64_t v;
    } sizes[] = {
        {"block_count", m->n_layer},
        {"context_length", import_u64(m, m->config, "max_position_embeddings", INT32_MAX, 2048)},
        {"embedding_length", m->dims[IMPORT_EMBD]},
        {"feed_forward_length", m->dims[IMPORT_FF]},
        {"attention.head_count", m->n_head},
        {"attention.head_count_kv", m->n_head_kv},
        {"attention.key_length", m->dims[IMPORT_HEAD]},
        {"attention.value_length", m->dims[IMPORT_HEAD]},
        {"vocab_size", m->dims[IMPORT_VOCAB]},
    };
    gguf_put_text(&m->w, "general.architecture", m->arch->gguf);
    gguf_put_text(&m->w, "general.type", "model");
    put_name(m);
    gguf_put_u32(&m->w, "general.file_type", file_type(most));
    gguf_put_u32(&m->w, "general.quantization_version", 2);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        gguf_put_u32(&m->w, import_key(m, sizes[i].name, key), (uint32_t)sizes[i].v);
    if (m->dims[IMPORT_EXPERTS])
        put_experts(m);
    gguf_put_f32(&m->w, import_key(m, "attention.layer_norm_rms_epsilon", key),
                 (float)import_f64(m, m->config, "rms_norm_eps", 1e-6));
    put_rope(m);
    if (m->arch->keys)
        m->arch->keys(m);
}
