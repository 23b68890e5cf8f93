/* gguf.h - the GGUF file format (v2, v3): mapped, checked, never trusted.
 *
 * gguf_open maps the file (and its sibling shards), parses the header with a bounds-checked cursor
 * and enforces every limit before anything is allocated for it. After it returns, every tensor's
 * bytes lie inside the mapping, every string inside the file. gguf_open_head reads instead and has
 * no tensors' bytes. Bytes are used where they lie:
 * strings are not terminated, tensor data is not copied.
 * Life: gguf_open ... gguf_close; all pointers given out die with the file.
 * Threads: immutable once open.
 */
#ifndef GGUF_GGUF_H
#define GGUF_GGUF_H

#include "base/err.h"
#include "base/filemap.h"
#include "quant/quant.h"

/* Limits, checked before anything is taken for what they bound. */
#define GGUF_MAX_META_BYTES (512u << 20) /* everything before the data, of one file */
/* What the index of all shards may take: strings cost up to twice their metadata, the lists of keys
 * and tensors up to 260 MiB. A file that wants more is refused with CAMA_ERR_NOMEM. */
#define GGUF_MAX_INDEX_BYTES ((size_t)3 << 30)
#define GGUF_MAX_STRING_BYTES (1u << 30) /* ggml's; the one above is met first */
#define GGUF_MAX_KEY_BYTES 65535u        /* the spec's */
#define GGUF_MAX_ARRAY (1u << 30)        /* elements; ggml's */
#define GGUF_MAX_KV (1u << 20)
#define GGUF_MAX_TENSOR (1u << 21) /* all shards together */
#define GGUF_MAX_NAME_BYTES 63     /* of a tensor; ggml's */
#define GGUF_MAX_DIMS 4
#define GGUF_MAX_SHARD 1024

typedef struct gguf_file gguf_file; /* opaque: the struct is in gguf.c */

/* Value types of the metadata (spec ids). */
typedef enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_N_TYPE
} gguf_type;

/* Bytes of one value, 0 for strings and arrays; "u8", "string". type < GGUF_N_TYPE. */
size_t gguf_type_bytes(gguf_type type);
const char *gguf_type_name(gguf_type type);

typedef struct gguf_str {
    const char *text; /* not terminated; any bytes */
    size_t n;
} gguf_str;

/* One metadata entry. For arrays elem is the element type and n the count; scalars have n = 1. */
typedef struct gguf_kv {
    gguf_str key;
    gguf_type type;
    gguf_type elem;
    uint64_t n;
    const uint8_t *data;     /* packed little-endian values, at any address: read them with memcpy;
                              * strings: u64 length + bytes, each */
    const gguf_str *strings; /* string arrays and strings: indexed views, else NULL */
} gguf_kv;

typedef struct gguf_tensor {
    gguf_str name;
    quant_type type;
    int n_dims;
    uint64_t ne[4];      /* ne[0] contiguous; missing dimensions are 1 */
    const uint8_t *data; /* aligned to 8 at least; NULL after gguf_open_head */
    uint64_t n_bytes;
} gguf_tensor;

/* CAMA_ERR_NOT_FOUND, CAMA_ERR_IO, CAMA_ERR_FORMAT (malformed), CAMA_ERR_UNSUPPORTED (v1,
 * big-endian, a block format that is gone), CAMA_ERR_LIMIT, CAMA_ERR_NOMEM. A split model is opened
 * by its first shard (CAMA_ERR_ARG for another): NAME-00001-of-0000N.gguf finds its siblings beside
 * it, by that name alone. Their metadata is checked like the first one's, but only the first one's
 * can be seen. */
cama_err gguf_open(const char *path, gguf_file **out, err_info *err);
/* The same from memory that the caller keeps until gguf_close, aligned to 8 (CAMA_ERR_ARG if not);
 * no split files (CAMA_ERR_UNSUPPORTED). */
cama_err gguf_open_bytes(const void *bytes, size_t n, gguf_file **out, err_info *err);
/* The same from descriptors that the caller keeps: one, or all shards of a split model in order
 * (CAMA_ERR_ARG: not as many as the first one says). name: for texts. */
cama_err gguf_open_fds(const int *fds, size_t n_fd, const char *name, gguf_file **out,
                       err_info *err);
/* Metadata and the list of tensors, read into memory and never mapped: for a process that must not
 * end when somebody cuts the file short under it. All checks are made, the data's place in the file
 * among them, but no data is read: tensors have none, and gguf_load and gguf_check_data are
 * CAMA_ERR_ARG. A shard of a split model is opened alone, whichever it is. At most
 * GGUF_MAX_META_BYTES are read; the file is closed when this returns. CAMA_ERR_IO: cut meanwhile.
 */
cama_err gguf_open_head(const char *path, gguf_file **out, err_info *err);
void gguf_close(gguf_file *f);

/* Reads the tensors' data into memory of this process, in huge pages where the system has them;
 * every pointer given out stays good (filemap_load). For weights that will be read for every token
 * and a machine with memory to spare. Others may read metadata meanwhile, but no tensor.
 * CAMA_ERR_IO, CAMA_ERR_NOMEM: the file is still mapped. watch: NULL, or told as the bytes come. */
cama_err gguf_load(gguf_file *f, const filemap_watch *watch, err_info *err);

/* Whether all of it is this process's own memory: loaded, or opened from bytes. */
bool gguf_in_memory(const gguf_file *f);

/* Reads all tensors and refuses, with CAMA_ERR_FORMAT, the first value or scale that is not finite.
 * Slow: about a second for each few hundred megabytes. */
cama_err gguf_check_data(const gguf_file *f, err_info *err);

uint32_t gguf_version(const gguf_file *f);
uint64_t gguf_file_bytes(const gguf_file *f); /* all shards together */
size_t gguf_n_kv(const gguf_file *f);
const gguf_kv *gguf_kv_at(const gguf_file *f, size_t i);
size_t gguf_n_tensor(const gguf_file *f);
const gguf_tensor *gguf_tensor_at(const gguf_file *f, size_t i);
/* NULL when absent. O(1). */
const gguf_kv *gguf_find(const gguf_file *f, const char *key);
const gguf_tensor *gguf_find_tensor(const gguf_file *f, const char *name);

/* Typed look-ups. Absent: CAMA_ERR_NOT_FOUND and *out untouched (err is then not written, so that
 * an optional key costs no formatting). Integers, bools and whole floats coerce into each other;
 * a value that does not fit, is not finite, or has another type, is CAMA_ERR_FORMAT naming key,
 * type and value. */
cama_err gguf_get_u64(const gguf_file *f, const char *key, uint64_t *out, err_info *err);
cama_err gguf_get_i64(const gguf_file *f, const char *key, int64_t *out, err_info *err);
cama_err gguf_get_f64(const gguf_file *f, const char *key, double *out, err_info *err);
cama_err gguf_get_bool(const gguf_file *f, const char *key, bool *out, err_info *err);
cama_err gguf_get_str(const gguf_file *f, const char *key, gguf_str *out, err_info *err);
/* Element i of a numeric array; a scalar answers for every i (per-layer keys may be either).
 * i past an array's end: CAMA_ERR_FORMAT. */
cama_err gguf_get_u64_at(const gguf_file *f, const char *key, uint64_t i, uint64_t *out,
                         err_info *err);
cama_err gguf_get_f64_at(const gguf_file *f, const char *key, uint64_t i, double *out,
                         err_info *err);

#endif
