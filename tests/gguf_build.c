#include "gguf_build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BYTES ((size_t)1 << 30)

static void must(bool ok, const char *what)
{
    if (!ok) {
        (void)fprintf(stderr, "gguf_build: cannot %s\n", what); /* the test ends here anyway */
        abort();
    }
}

static void put(buf *b, const void *bytes, size_t n)
{
    must(n == 0 || buf_append(b, bytes, n) == CAMA_OK, "append");
}

static void put_u32(buf *b, uint32_t v)
{
    put(b, &v, sizeof v);
}

static void put_u64(buf *b, uint64_t v)
{
    put(b, &v, sizeof v);
}

static void put_str(buf *b, const char *text)
{
    put_u64(b, strlen(text));
    put(b, text, strlen(text));
}

static void pad(buf *b, uint32_t alignment)
{
    while (b->n % alignment)
        put(b, "", 1);
}

void gguf_build_init(gguf_build *b)
{
    *b = (gguf_build){.version = 3, .alignment = 32};
    buf_init(&b->kvs, MAX_BYTES);
    buf_init(&b->list, MAX_BYTES);
    buf_init(&b->data, MAX_BYTES);
}

void gguf_build_raw(gguf_build *b, const char *key, uint32_t type, const void *value, size_t n)
{
    b->n_kv++;
    put_str(&b->kvs, key);
    put_u32(&b->kvs, type);
    put(&b->kvs, value, n);
}

void gguf_build_u32(gguf_build *b, const char *key, uint32_t v)
{
    gguf_build_raw(b, key, 4, &v, sizeof v);
}

void gguf_build_u64(gguf_build *b, const char *key, uint64_t v)
{
    gguf_build_raw(b, key, 10, &v, sizeof v);
}

void gguf_build_i32(gguf_build *b, const char *key, int32_t v)
{
    gguf_build_raw(b, key, 5, &v, sizeof v);
}

void gguf_build_f32(gguf_build *b, const char *key, float v)
{
    gguf_build_raw(b, key, 6, &v, sizeof v);
}

void gguf_build_bool(gguf_build *b, const char *key, bool v)
{
    const uint8_t byte = v;
    gguf_build_raw(b, key, 7, &byte, 1);
}

void gguf_build_str(gguf_build *b, const char *key, const char *v)
{
    gguf_build_raw(b, key, 8, NULL, 0);
    put_str(&b->kvs, v);
}

void gguf_build_array(gguf_build *b, const char *key, uint32_t elem, uint64_t n, const void *values,
                      size_t n_bytes)
{
    gguf_build_raw(b, key, 9, &elem, sizeof elem);
    put_u64(&b->kvs, n);
    put(&b->kvs, values, n_bytes);
}

void gguf_build_strings(gguf_build *b, const char *key, const char *const *texts, size_t n)
{
    gguf_build_array(b, key, 8, n, NULL, 0);
    for (size_t i = 0; i < n; i++)
        put_str(&b->kvs, texts[i]);
}

void gguf_build_entry(gguf_build *b, const char *name, uint32_t gguf_id, uint32_t n_dims,
                      const uint64_t *ne, uint64_t offset)
{
    b->n_tensor++;
    put_str(&b->list, name);
    put_u32(&b->list, n_dims);
    put(&b->list, ne, n_dims * sizeof *ne);
    put_u32(&b->list, gguf_id);
    put_u64(&b->list, offset);
}

void gguf_build_tensor(gguf_build *b, const char *name, uint32_t gguf_id, uint32_t n_dims,
                       const uint64_t *ne, const void *values, size_t n_bytes)
{
    pad(&b->data, b->alignment);
    gguf_build_entry(b, name, gguf_id, n_dims, ne, b->data.n);
    put(&b->data, values, n_bytes);
}

uint8_t *gguf_build_finish(gguf_build *b, size_t *out_n)
{
    buf all;
    buf_init(&all, MAX_BYTES);
    put(&all, "GGUF", 4);
    put_u32(&all, b->version);
    put_u64(&all, b->n_tensor);
    put_u64(&all, b->n_kv);
    put(&all, b->kvs.data, b->kvs.n);
    put(&all, b->list.data, b->list.n);
    if (b->data.n) {
        pad(&all, b->alignment);
        put(&all, b->data.data, b->data.n);
    }
    buf_done(&b->kvs);
    buf_done(&b->list);
    buf_done(&b->data);

    /* exactly as many bytes as there are, so that the sanitizer sees a read past the end */
    uint8_t *bytes = malloc(all.n);
    must(bytes != NULL, "take memory");
    memcpy(bytes, all.data, all.n);
    *out_n = all.n;
    buf_done(&all);
    return bytes;
}

void gguf_build_write(gguf_build *b, const char *path)
{
    size_t n;
    uint8_t *bytes = gguf_build_finish(b, &n);
    FILE *f = fopen(path, "wb");
    must(f && fwrite(bytes, 1, n, f) == n && fclose(f) == 0, "write the file");
    free(bytes);
}
