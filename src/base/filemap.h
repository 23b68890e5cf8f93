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
} filemap;

/* CAMA_ERR_NOT_FOUND, CAMA_ERR_IO (not a regular file, cannot be read or mapped). */
cama_err filemap_open(const char *path, filemap *out, err_info *err);
void filemap_close(filemap *m); /* accepts a zeroed map */

#endif
