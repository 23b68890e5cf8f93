/* gguf_write.h - a GGUF (v3) made front to back: metadata, the list of tensors, then their data.
 *
 *     gguf_writer w;
 *     gguf_writer_init(&w);
 *     gguf_put_str(&w, "general.architecture", "llama");
 *     gguf_put_tensor(&w, "output_norm.weight", QUANT_F32, 1, (uint64_t[]){64});
 *     gguf_writer_head(&w, &head, err);      then each tensor's data in the order of the calls, and
 *     gguf_writer_done(&w);                  gguf_padding(bytes) zeros behind each
 *
 * Failures stick (no memory, a name or key past the reader's limits) and are told by
 * gguf_writer_head. Keys must differ: that is the caller's to see to, as the reader refuses it.
 */
#ifndef GGUF_GGUF_WRITE_H
#define GGUF_GGUF_WRITE_H

#include "base/buf.h"
#include "gguf/gguf.h"

#define GGUF_ALIGNMENT 32

typedef struct gguf_writer {
    buf kvs, list;
    uint64_t n_kv, n_tensor;
    uint64_t data_bytes; /* of all tensors, padded */
    err_info fail;       /* code not CAMA_OK: what went wrong first */
} gguf_writer;

void gguf_writer_init(gguf_writer *w);
void gguf_writer_done(gguf_writer *w);

void gguf_put_u32(gguf_writer *w, const char *key, uint32_t v);
void gguf_put_f32(gguf_writer *w, const char *key, float v);
void gguf_put_bool(gguf_writer *w, const char *key, bool v);
void gguf_put_str(gguf_writer *w, const char *key, gguf_str v);
void gguf_put_text(gguf_writer *w, const char *key, const char *v); /* NUL-terminated */
void gguf_put_strs(gguf_writer *w, const char *key, const gguf_str *v, size_t n);
void gguf_put_i32s(gguf_writer *w, const char *key, const int32_t *v, size_t n);
void gguf_put_f32s(gguf_writer *w, const char *key, const float *v, size_t n);

/* ne[0] is a multiple of the type's block (else the failure sticks). Gives the bytes of its data.
 */
uint64_t gguf_put_tensor(gguf_writer *w, const char *name, quant_type t, uint32_t n_dims,
                         const uint64_t *ne);
/* Zeros behind n bytes of data. */
size_t gguf_padding(uint64_t n);

/* Everything before the data, padded, appended to out. */
cama_err gguf_writer_head(const gguf_writer *w, buf *out, err_info *err);

#endif
