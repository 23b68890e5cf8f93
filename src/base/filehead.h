/* filehead.h - the first bytes of a file, read into memory as far as they are asked for.
 *
 * Nothing is mapped: whatever others do to the file, reading these bytes cannot fault. For those
 * who must not end with the files that they look at. Addresses stay good while more is read. */
#ifndef BASE_FILEHEAD_H
#define BASE_FILEHEAD_H

#include "base/err.h"

typedef struct filehead {
    uint8_t *bytes; /* [n_have]; behind them are addresses that nobody may touch yet */
    size_t n_have;
    size_t n_max;    /* what may be asked for: the file's length at open, or the caller's limit */
    uint64_t n_file; /* the file's length at open */
    int fd;          /* while is_open */
    bool is_open;
} filehead;

/* Reads nothing yet. max: the most that will be asked for. CAMA_ERR_NOT_FOUND, CAMA_ERR_IO (not a
 * regular file, cannot be read), CAMA_ERR_NOMEM (no address space). */
cama_err filehead_open(const char *path, size_t max, filehead *out, err_info *err);
/* The first n bytes are there when it returns, n <= n_max. CAMA_ERR_IO (also: the file was cut
 * short meanwhile), CAMA_ERR_NOMEM; what was there stays. */
cama_err filehead_want(filehead *h, size_t n, err_info *err);
/* No more will be asked for: the file is closed, the bytes stay. */
void filehead_seal(filehead *h);
void filehead_close(filehead *h); /* accepts NULL and one that filehead_open failed on */

#endif
