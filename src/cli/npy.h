/* npy.h - writes float32 arrays in NumPy's .npy format, version 1.0 (NEP 1), rows as they come.
 *
 * The file is written beside its name and renamed at the end: it is there whole or not at all.
 */
#ifndef CLI_NPY_H
#define CLI_NPY_H

#include <stdio.h>

#include "base/err.h"

typedef struct npy {
    FILE *file;
    char *path, *temp;
    uint64_t n_want, n_have; /* floats */
} npy;

/* shape [n_dim], 1 or 2 dimensions. CAMA_ERR_IO names the path. */
cama_err npy_open(const char *path, const uint64_t *shape, int n_dim, npy *out, err_info *err);
cama_err npy_write(npy *f, const float *values, size_t n, err_info *err);
/* CAMA_ERR_INTERNAL when fewer values came than the shape holds. Closes whatever happens. */
cama_err npy_finish(npy *f, err_info *err);
/* Closes and leaves nothing behind; accepts a finished one. */
void npy_drop(npy *f);

#endif
