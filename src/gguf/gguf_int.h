/* gguf_int.h - what the files of this room share.
 *
 * The road of a file: gguf.c maps it, or reads its head as far as is asked for; gguf_read.c walks
 * magic, counts and metadata; gguf_tensor.c walks the tensor list and checks the layout of the
 * data; gguf_split.c does the same for the other shards of a split model and joins the lists;
 * gguf_get.c answers look-ups.
 */
#ifndef GGUF_GGUF_INT_H
#define GGUF_GGUF_INT_H

#include "base/arena.h"
#include "base/filehead.h"
#include "base/strmap.h"
#include "gguf/gguf.h"

/* What one file says before its data begins. */
typedef struct gguf_header {
    uint32_t version;
    size_t n_kv;
    gguf_kv *kvs;
    strmap keys; /* key -> index in kvs */
    size_t n_tensor;
    gguf_tensor *tensors;
} gguf_header;

struct gguf_file {
    arena file_arena; /* kvs, tensors, string indices, maps */
    gguf_header head; /* of the first shard; tensors are those of all shards */
    strmap names;     /* tensor name -> index in head.tensors */
    filemap *maps;    /* [n_map]; none when opened from bytes */
    size_t n_map;
    filehead front; /* of gguf_open_head; else all zeros */
    bool is_head;   /* the tensors have no data */
    bool is_loaded; /* none of the maps is a file's any more */
    uint64_t n_bytes;
};

/* A place in untrusted bytes. Every read asks first whether enough of them are left. */
typedef struct gguf_cursor {
    const uint8_t *bytes;
    size_t n; /* where reading must stop: n_file, or GGUF_MAX_META_BYTES */
    size_t n_file;
    size_t at;      /* <= n */
    filehead *feed; /* NULL: all bytes are there; else they come from it when they are asked for */
} gguf_cursor;

/* Each moves on by what it read. CAMA_ERR_FORMAT past the file's end, CAMA_ERR_LIMIT past the
 * metadata's; *out is then untouched. */
cama_err gguf_read_u32(gguf_cursor *c, uint32_t *out, err_info *err);
cama_err gguf_read_u64(gguf_cursor *c, uint64_t *out, err_info *err);
cama_err gguf_read_str(gguf_cursor *c, gguf_str *out, err_info *err);

/* Names from files are any bytes. This gives them a form fit for a terminal: at most 72 bytes of
 * UTF-8 without control characters, cut with "...". */
typedef struct gguf_shown {
    char text[80];
} gguf_shown;
gguf_shown gguf_show(gguf_str s);

/* Everything before the data, and where each tensor's data lies. *out is written on success only;
 * its arrays are the arena's, its map is the caller's to free. */
cama_err gguf_read_header(const uint8_t *bytes, size_t n, arena *a, gguf_header *out,
                          err_info *err);
/* The same of a file's head; the tensors have no data. */
cama_err gguf_read_head(filehead *from, arena *a, gguf_header *out, err_info *err);
/* The tensor list at c, and its data behind it. Reads general.alignment from h. */
cama_err gguf_read_tensors(gguf_cursor *c, arena *a, gguf_header *h, err_info *err);

/* Where the other shards are: beside path, or behind descriptors (fds not NULL), or nowhere. */
typedef struct gguf_source {
    const char *path; /* with fds: a name for texts */
    const int *fds;
    size_t n_fd;
} gguf_source;

/* Opens the other shards of f, if it says there are any. */
cama_err gguf_read_shards(gguf_file *f, const gguf_source *from, err_info *err);

const gguf_kv *gguf_find_in(const gguf_header *h, const char *key);
/* CAMA_ERR_FORMAT when kv is no integer in 0..2^64-1. */
cama_err gguf_kv_u64(const gguf_kv *kv, uint64_t *out, err_info *err);

#endif
