/* gguf_build.h - GGUF files made in memory, whole ones and broken ones, for tests.
 *
 *     gguf_build b;
 *     gguf_build_init(&b);
 *     gguf_build_str(&b, "general.architecture", "llama");
 *     gguf_build_u32(&b, "llama.block_count", 2);
 *     gguf_build_tensor(&b, "x.weight", 0, 2, (uint64_t[]){32, 4}, values, sizeof values);
 *     size_t n;
 *     uint8_t *bytes = gguf_build_finish(&b, &n);     malloc'd, the caller frees it
 *
 * Keys and tensors are written in the order of the calls. What is wrong is not noticed: ids, counts
 * and offsets go into the file as given. Failed allocations end the test program.
 */
#ifndef GGUF_BUILD_H
#define GGUF_BUILD_H

#include "base/buf.h"

typedef struct gguf_build {
    uint32_t version; /* 3 from init on; the fields may be changed until finish */
    uint64_t n_kv;    /* what the head claims */
    uint64_t n_tensor;
    uint32_t alignment; /* 32; writes no key, see gguf_build_u32 */
    buf kvs;
    buf list;
    buf data;
} gguf_build;

void gguf_build_init(gguf_build *b);

void gguf_build_u32(gguf_build *b, const char *key, uint32_t v);
void gguf_build_u64(gguf_build *b, const char *key, uint64_t v);
void gguf_build_i32(gguf_build *b, const char *key, int32_t v);
void gguf_build_f32(gguf_build *b, const char *key, float v);
void gguf_build_bool(gguf_build *b, const char *key, bool v);
void gguf_build_str(gguf_build *b, const char *key, const char *v);
/* Any type id with any bytes as value. */
void gguf_build_raw(gguf_build *b, const char *key, uint32_t type, const void *value, size_t n);
/* An array that claims n elements, with n_bytes bytes of them. */
void gguf_build_array(gguf_build *b, const char *key, uint32_t elem, uint64_t n, const void *values,
                      size_t n_bytes);
void gguf_build_strings(gguf_build *b, const char *key, const char *const *texts, size_t n);

/* A tensor whose bytes are appended to the data, padded to the alignment before. */
void gguf_build_tensor(gguf_build *b, const char *name, uint32_t gguf_id, uint32_t n_dims,
                       const uint64_t *ne, const void *values, size_t n_bytes);
/* An entry of the list alone, pointing at any offset. */
void gguf_build_entry(gguf_build *b, const char *name, uint32_t gguf_id, uint32_t n_dims,
                      const uint64_t *ne, uint64_t offset);

/* The file; b is done with. gguf_build_write puts it on disk instead. */
uint8_t *gguf_build_finish(gguf_build *b, size_t *out_n);
void gguf_build_write(gguf_build *b, const char *path);

#endif
