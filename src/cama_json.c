/* cama_json.c - what a file says, as JSON: metadata, tensors and the model's figures. */
#include "cama_int.h"

#include <stdlib.h>
#include <string.h>

/* Elements of a metadata array that are written without CAMA_JSON_ALL_VALUES. */
#define MAX_SHOWN 16
#define JSON_MEMORY ((size_t)4 << 30)

static json_value *text_value(arena *a, const char *text)
{
    return json_new_string(a, text, strlen(text));
}

static bool put_text(arena *a, json_value *o, const char *key, const char *text)
{
    return json_put(a, o, key, text_value(a, text));
}

static bool put_int(arena *a, json_value *o, const char *key, uint64_t n)
{
    return json_put(a, o, key, json_new_int(a, (int64_t)n));
}

/* Element i of packed little-endian values; files are read on little-endian machines only. */
static json_value *number_value(arena *a, gguf_type type, const uint8_t *data, uint64_t i)
{
    union {
        uint8_t u8;
        int8_t i8;
        uint16_t u16;
        int16_t i16;
        uint32_t u32;
        int32_t i32;
        uint64_t u64;
        int64_t i64;
        float f32;
        double f64;
    } v;
    const size_t bytes = gguf_type_bytes(type);
    memcpy(&v, data + i * bytes, bytes);
    switch (type) {
    case GGUF_U8:
        return json_new_int(a, v.u8);
    case GGUF_I8:
        return json_new_int(a, v.i8);
    case GGUF_U16:
        return json_new_int(a, v.u16);
    case GGUF_I16:
        return json_new_int(a, v.i16);
    case GGUF_U32:
        return json_new_int(a, v.u32);
    case GGUF_I32:
        return json_new_int(a, v.i32);
    case GGUF_F32:
        return json_new_float(a, (double)v.f32);
    case GGUF_BOOL:
        return json_new_bool(a, v.u8 != 0);
    case GGUF_U64:
        return v.u64 > INT64_MAX ? json_new_float(a, (double)v.u64)
                                 : json_new_int(a, (int64_t)v.u64);
    case GGUF_I64:
        return json_new_int(a, v.i64);
    case GGUF_F64:
        return json_new_float(a, v.f64);
    default:
        return json_new_null(a);
    }
}

static json_value *element(arena *a, const gguf_kv *kv, gguf_type type, uint64_t i)
{
    if (type == GGUF_STRING)
        return json_new_string(a, kv->strings[i].text, kv->strings[i].n);
    return number_value(a, type, kv->data, i);
}

/* Long arrays are named by type and length, and the reader asks for them if they are wanted. */
static json_value *array_value(arena *a, const gguf_kv *kv, bool all)
{
    if ((!all && kv->n > MAX_SHOWN) || kv->elem == GGUF_ARRAY) {
        json_value *o = json_new_object(a);
        if (!put_text(a, o, "array_of", gguf_type_name(kv->elem)) ||
            !put_int(a, o, "length", kv->n))
            return NULL;
        return o;
    }
    json_value *list = json_new_array(a);
    for (uint64_t i = 0; i < kv->n; i++) {
        if (!json_append(a, list, element(a, kv, kv->elem, i)))
            return NULL;
    }
    return list;
}

static json_value *metadata(arena *a, const gguf_file *f, bool all)
{
    json_value *o = json_new_object(a);
    for (size_t i = 0; i < gguf_n_kv(f); i++) {
        const gguf_kv *kv = gguf_kv_at(f, i);
        const char *key = arena_copy(a, kv->key.text, kv->key.n);
        json_value *v =
            kv->type == GGUF_ARRAY ? array_value(a, kv, all) : element(a, kv, kv->type, 0);
        if (!key || !json_put(a, o, key, v))
            return NULL;
    }
    return o;
}

static json_value *tensor(arena *a, const gguf_tensor *t)
{
    json_value *o = json_new_object(a);
    json_value *shape = json_new_array(a);
    for (int d = 0; d < t->n_dims; d++) {
        if (!json_append(a, shape, json_new_int(a, (int64_t)t->ne[d])))
            return NULL;
    }
    if (!json_put(a, o, "name", json_new_string(a, t->name.text, t->name.n)) ||
        !put_text(a, o, "type", quant_table[t->type].name) || !json_put(a, o, "shape", shape) ||
        !put_int(a, o, "bytes", t->n_bytes))
        return NULL;
    return o;
}

static json_value *tensors(arena *a, const gguf_file *f)
{
    json_value *list = json_new_array(a);
    for (size_t i = 0; i < gguf_n_tensor(f); i++) {
        if (!json_append(a, list, tensor(a, gguf_tensor_at(f, i))))
            return NULL;
    }
    return list;
}

static bool put_figures(arena *a, json_value *o, const cama_info *i)
{
    return put_int(a, o, "parameters", i->n_param) && put_int(a, o, "layers", i->n_layer) &&
           put_int(a, o, "embedding_length", i->n_embd) && put_int(a, o, "heads", i->n_head) &&
           put_int(a, o, "kv_heads", i->n_head_kv) && put_int(a, o, "vocabulary", i->n_vocab) &&
           put_int(a, o, "context_length", i->n_ctx_train) &&
           put_int(a, o, "experts", i->n_expert) &&
           put_int(a, o, "experts_used", i->n_expert_used) &&
           put_text(a, o, "weight_type", i->weight_type) &&
           put_int(a, o, "weight_bytes", i->weight_bytes) &&
           put_text(a, o, "pooling", i->pooling) &&
           json_put(a, o, "can_generate", json_new_bool(a, i->can_generate));
}

static bool put_engine(arena *a, json_value *o, const cama_model *m, const cama_info *i)
{
    return put_text(a, o, "engine", i->engine) && put_text(a, o, "device", i->device) &&
           put_text(a, o, "engine_version", i->engine_version) &&
           put_text(a, o, "why", i->engine_why) && put_text(a, o, "note", i->engine_note) &&
           json_put(a, o, "is_gpu", json_new_bool(a, i->is_gpu)) &&
           json_put(a, o, "exact", json_new_bool(a, i->exact)) &&
           json_put(a, o, "forms", cama_forms_value(a, m)) &&
           put_text(a, o, "activations", i->activations) && put_text(a, o, "kv_type", i->kv_type) &&
           put_text(a, o, "weights", i->weights) && put_int(a, o, "n_ctx", i->n_ctx) &&
           put_int(a, o, "n_seq", i->n_seq) && put_int(a, o, "n_batch", i->n_batch) &&
           put_int(a, o, "kv_bytes", i->kv_bytes) &&
           put_int(a, o, "scratch_bytes", i->scratch_bytes) &&
           put_int(a, o, "total_bytes", i->total_bytes) &&
           put_int(a, o, "available_bytes", i->available_bytes);
}

static json_value *describe(arena *a, const cama_model *m, uint32_t flags)
{
    cama_info i;
    cama_model_info(m, &i, sizeof i);
    json_value *o = json_new_object(a);
    bool ok = put_text(a, o, "format", "gguf") && put_int(a, o, "version", gguf_version(m->file)) &&
              put_int(a, o, "file_bytes", i.file_bytes) &&
              put_int(a, o, "tensor_count", gguf_n_tensor(m->file)) &&
              put_text(a, o, "architecture", i.arch) && put_text(a, o, "name", i.name) &&
              json_put(a, o, "has_template", json_new_bool(a, i.has_template));
    ok = ok && (!m->desc || put_figures(a, o, &i));
    ok = ok && (!m->engine || put_engine(a, o, m, &i));
    ok =
        ok && json_put(a, o, "metadata", metadata(a, m->file, (flags & CAMA_JSON_ALL_VALUES) != 0));
    if (ok && (flags & CAMA_JSON_TENSORS))
        ok = json_put(a, o, "tensors", tensors(a, m->file));
    return ok ? o : NULL;
}

cama_err cama_model_json(const cama_model *m, uint32_t flags, char **out_text, cama_error *err)
{
    arena a;
    arena_init(&a, JSON_MEMORY);
    const json_value *o = describe(&a, m, flags);
    buf b;
    buf_init(&b, CAMA_MAX_OUTPUT);
    cama_err e = o ? json_write(o, &b) : CAMA_ERR_NOMEM;
    if (e) {
        buf_done(&b);
        (void)err_set(err, e, "the description of the model: %s", cama_err_text(e));
    } else {
        e = cama_hand_out(&b, out_text, NULL, "the description of the model", err);
    }
    arena_done(&a);
    return e;
}
