/* filemap.h - a file's bytes, mapped read-only.
 *
 * The mapping is private: a later truncation by others still makes reads past the new end fault,
 * so callers check every offset against n_bytes once, at open. */
#ifndef BASE_FILEMAP_H
#define BASE_FILEMAP_H

#include "base/err.h"

typedef struct filemap {
    const uint8_t *bytes; /* NULL for an empty file */
    size_t n_bytes;
    int fd; /* for filemap_load, while is_open */
    bool is_open;
} filemap;

/* CAMA_ERR_NOT_FOUND, CAMA_ERR_IO (not a regular file, cannot be read or mapped), CAMA_ERR_NOMEM
 * (no address space). */
cama_err filemap_open(const char *path, filemap *out, err_info *err);
/* The same of a file that the caller has open; it keeps its descriptor. name: for texts. */
cama_err filemap_open_fd(int fd, const char *name, filemap *out, err_info *err);
void filemap_close(filemap *m); /* accepts NULL and a map that filemap_open failed on */

/* Told now and then while a file is read: n more bytes are there. */
typedef struct filemap_watch {
    void (*more)(void *user, size_t n);
    void *user;
} filemap_watch;

/* Reads the file from byte `from` on (rounded up to a whole page) into memory of this process, at
 * the addresses where it was mapped: pointers into it stay good. Huge pages stand behind it where
 * the system has them, so that reading it all again and again misses no translation. Costs as many
 * bytes of memory and one pass over the file. No other thread may read those bytes meanwhile.
 * CAMA_ERR_IO (file cut short), CAMA_ERR_NOMEM: still mapped. watch may be NULL. */
cama_err filemap_load(filemap *m, size_t from, const filemap_watch *watch, err_info *err);

#endif
