#include "gguf/gguf_write.h"

#include <assert.h>
#include <string.h>

#include "base/ckd.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are written as they lie");

void gguf_writer_init(gguf_writer *w)
{
    *w = (gguf_writer){0};
    buf_init(&w->kvs, GGUF_MAX_META_BYTES);
    buf_init(&w->list, GGUF_MAX_META_BYTES);
}

void gguf_writer_done(gguf_writer *w)
{
    buf_done(&w->kvs);
    buf_done(&w->list);
}

static void fail(gguf_writer *w, cama_err code, const char *name, const char *what)
{
    if (!w->fail.code)
        (void)err_set(&w->fail, code, "gguf: '%.80s' %s", name, what);
}

/* Failures of a buffer stick there; gguf_writer_head looks. */
static void put(buf *b, const void *bytes, size_t n)
{
    (void)buf_append(b, bytes, n);
}

static void put_string(buf *b, const char *text, size_t n)
{
    const uint64_t n64 = n;
    put(b, &n64, sizeof n64);
    put(b, text, n);
}

static void put_head(gguf_writer *w, const char *key, uint32_t type)
{
    const size_t n = strlen(key);
    if (n > GGUF_MAX_KEY_BYTES)
        fail(w, CAMA_ERR_LIMIT, key, "is too long for a key");
    w->n_kv++;
    put_string(&w->kvs, key, n);
    put(&w->kvs, &type, sizeof type);
}

static void put_array_head(gguf_writer *w, const char *key, uint32_t elem, uint64_t n)
{
    put_head(w, key, GGUF_ARRAY);
    put(&w->kvs, &elem, sizeof elem);
    put(&w->kvs, &n, sizeof n);
}

void gguf_put_u32(gguf_writer *w, const char *key, uint32_t v)
{
    put_head(w, key, GGUF_U32);
    put(&w->kvs, &v, sizeof v);
}

void gguf_put_f32(gguf_writer *w, const char *key, float v)
{
    put_head(w, key, GGUF_F32);
    put(&w->kvs, &v, sizeof v);
}

void gguf_put_bool(gguf_writer *w, const char *key, bool v)
{
    put_head(w, key, GGUF_BOOL);
    (void)buf_putc(&w->kvs, v ? 1 : 0);
}

void gguf_put_str(gguf_writer *w, const char *key, gguf_str v)
{
    put_head(w, key, GGUF_STRING);
    put_string(&w->kvs, v.text, v.n);
}

void gguf_put_text(gguf_writer *w, const char *key, const char *v)
{
    gguf_put_str(w, key, (gguf_str){v, strlen(v)});
}

void gguf_put_strs(gguf_writer *w, const char *key, const gguf_str *v, size_t n)
{
    put_array_head(w, key, GGUF_STRING, n);
    for (size_t i = 0; i < n; i++)
        put_string(&w->kvs, v[i].text, v[i].n);
}

void gguf_put_i32s(gguf_writer *w, const char *key, const int32_t *v, size_t n)
{
    put_array_head(w, key, GGUF_I32, n);
    put(&w->kvs, v, n * sizeof *v);
}

void gguf_put_f32s(gguf_writer *w, const char *key, const float *v, size_t n)
{
    put_array_head(w, key, GGUF_F32, n);
    put(&w->kvs, v, n * sizeof *v);
}

size_t gguf_padding(uint64_t n)
{
    return (size_t)((GGUF_ALIGNMENT - n % GGUF_ALIGNMENT) % GGUF_ALIGNMENT);
}

/* False: not whole blocks, or past the address space. */
static bool find_bytes(quant_type t, uint32_t n_dims, const uint64_t *ne, uint64_t *out)
{
    const quant_info *info = &quant_table[t];
    if (n_dims < 1 || n_dims > GGUF_MAX_DIMS || ne[0] % info->block_n)
        return false;
    uint64_t n = ne[0] / info->block_n;
    bool over = ckd_mul(&n, n, (uint64_t)info->block_bytes);
    for (uint32_t i = 1; i < n_dims; i++)
        over = over || ckd_mul(&n, n, ne[i]);
    *out = n;
    return !over && n <= INT64_MAX;
}

uint64_t gguf_put_tensor(gguf_writer *w, const char *name, quant_type t, uint32_t n_dims,
                         const uint64_t *ne)
{
    const size_t n_name = strlen(name);
    uint64_t bytes = 0;
    uint64_t end = 0;
    if (n_name > GGUF_MAX_NAME_BYTES || w->n_tensor == GGUF_MAX_TENSOR)
        fail(w, CAMA_ERR_LIMIT, name, "is one tensor too many, or its name is too long");
    if (!find_bytes(t, n_dims, ne, &bytes) || ckd_add(&end, w->data_bytes, bytes) ||
        ckd_add(&end, end, gguf_padding(bytes))) {
        fail(w, CAMA_ERR_FORMAT, name, "has rows that are no whole blocks, or too many");
        return 0;
    }
    const uint32_t id = quant_table[t].gguf_id;
    put_string(&w->list, name, n_name);
    put(&w->list, &n_dims, sizeof n_dims);
    put(&w->list, ne, n_dims * sizeof *ne);
    put(&w->list, &id, sizeof id);
    put(&w->list, &w->data_bytes, sizeof w->data_bytes);
    w->n_tensor++;
    w->data_bytes = end;
    return bytes;
}

cama_err gguf_writer_head(const gguf_writer *w, buf *out, err_info *err)
{
    static const char zeros[GGUF_ALIGNMENT];
    const uint32_t version = 3;
    if (w->fail.code)
        return err_set(err, w->fail.code, "%s", w->fail.text);
    cama_err e = buf_error(&w->kvs, "the metadata", err);
    if (!e)
        e = buf_error(&w->list, "the list of tensors", err);
    if (e)
        return e;
    const size_t start = out->n;
    put(out, "GGUF", 4);
    put(out, &version, sizeof version);
    put(out, &w->n_tensor, sizeof w->n_tensor);
    put(out, &w->n_kv, sizeof w->n_kv);
    put(out, w->kvs.data, w->kvs.n);
    put(out, w->list.data, w->list.n);
    put(out, zeros, gguf_padding(out->n - start));
    return buf_error(out, "the head of the file", err);
}
