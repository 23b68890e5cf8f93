/* safet.h - safetensors: a JSON index in front of raw tensors, in one file or several shards.
 *
 *     u64 n | n bytes of JSON | data        "name": {"dtype", "shape", "data_offsets": [begin,
 * end]}
 *
 * Indices are read and checked at open: sizes against shapes, places against the file's end and
 * each other. Data is read through descriptors when it is asked for; nothing is mapped, so that a
 * file cut short meanwhile is an error and no fault.
 * Threads: immutable once open.
 */
#ifndef SAFET_SAFET_H
#define SAFET_SAFET_H

#include "base/err.h"

/* Limits. The first is the format's own reference's; a header of so many tensors has 30 MB. */
#define SAFET_MAX_HEADER_BYTES (64u << 20)
#define SAFET_MAX_SHARD 1024
#define SAFET_MAX_TENSOR (1u << 18) /* of all shards */
#define SAFET_MAX_NAME_BYTES 512
#define SAFET_MAX_DIMS 8

typedef struct safet_file safet_file; /* opaque: the struct is in safet.c */

/* name in the file, bytes of one element */
#define SAFET_TYPES(X)                                                                             \
    X(BOOL, 1)                                                                                     \
    X(U8, 1)                                                                                       \
    X(I8, 1)                                                                                       \
    X(F8_E4M3, 1)                                                                                  \
    X(F8_E5M2, 1)                                                                                  \
    X(F8_E8M0, 1)                                                                                  \
    X(I16, 2)                                                                                      \
    X(U16, 2)                                                                                      \
    X(F16, 2)                                                                                      \
    X(BF16, 2)                                                                                     \
    X(I32, 4)                                                                                      \
    X(U32, 4)                                                                                      \
    X(F32, 4)                                                                                      \
    X(F64, 8)                                                                                      \
    X(I64, 8)                                                                                      \
    X(U64, 8)

typedef enum safet_type {
#define X(name, bytes) SAFET_##name,
    SAFET_TYPES(X)
#undef X
        SAFET_N_TYPE
} safet_type;

const char *safet_type_name(safet_type t);
size_t safet_type_bytes(safet_type t);

typedef struct safet_tensor {
    const char *name; /* NUL-terminated UTF-8 */
    safet_type type;
    uint32_t n_dims;
    uint64_t shape[SAFET_MAX_DIMS]; /* as in the file: the last one is contiguous */
    uint64_t n_bytes;
    uint32_t shard;
    uint64_t at; /* its first byte in that file */
} safet_tensor;

/* A file, open for reading. */
typedef struct safet_source {
    int fd;
    const char *name; /* for texts; must live as long as the safet_file, and so must fd */
} safet_source;

/* All shards of a model, in any order. CAMA_ERR_FORMAT (malformed, or one name twice),
 * CAMA_ERR_UNSUPPORTED (a type that is not in the list), CAMA_ERR_LIMIT, CAMA_ERR_IO,
 * CAMA_ERR_NOMEM; the text names file and tensor. */
cama_err safet_open(const safet_source *sources, size_t n, safet_file **out, err_info *err);
void safet_close(safet_file *f); /* accepts NULL */

size_t safet_n_tensor(const safet_file *f);
const safet_tensor *safet_tensor_at(const safet_file *f, size_t i); /* in the order of the files */
const safet_tensor *safet_find(const safet_file *f, const char *name); /* NULL: absent */

/* n bytes of the tensor from byte `from` on, which lie in it (CAMA_ERR_ARG). CAMA_ERR_IO: they
 * cannot be read, or the file was cut short. */
cama_err safet_read(const safet_file *f, const safet_tensor *t, uint64_t from, void *out, size_t n,
                    err_info *err);

#endif
