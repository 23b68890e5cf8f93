#include "cli/npy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Header and its length field together are a multiple of this, so that the data is aligned. */
#define NPY_ALIGN 64

static cama_err write_header(npy *f, const uint64_t *shape, int n_dim, err_info *err)
{
    char dict[192];
    char dims[64];
    if (n_dim == 1)
        (void)snprintf(dims, sizeof dims, "%llu,", (unsigned long long)shape[0]);
    else
        (void)snprintf(dims, sizeof dims, "%llu, %llu", (unsigned long long)shape[0],
                       (unsigned long long)shape[1]);
    int n = snprintf(dict, sizeof dict, "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }",
                     dims);
    while ((10 + n + 1) % NPY_ALIGN)
        dict[n++] = ' ';
    dict[n++] = '\n';
    const unsigned char head[10] = {
        0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (unsigned char)(n & 0xFF), (unsigned char)(n >> 8)};
    if (fwrite(head, 1, sizeof head, f->file) != sizeof head ||
        fwrite(dict, 1, (size_t)n, f->file) != (size_t)n)
        return err_set(err, CAMA_ERR_IO, "cannot write '%s': %s", f->path, strerror(errno));
    return CAMA_OK;
}

static cama_err open_file(const char *path, npy *f, err_info *err)
{
    const size_t n = strlen(path);
    f->path = malloc(n + 1);
    f->temp = malloc(n + sizeof ".part");
    if (!f->path || !f->temp)
        return err_set(err, CAMA_ERR_NOMEM, "no memory to write '%s'", path);
    memcpy(f->path, path, n + 1);
    memcpy(f->temp, path, n);
    memcpy(f->temp + n, ".part", sizeof ".part");
    f->file = fopen(f->temp, "wb");
    if (!f->file)
        return err_set(err, CAMA_ERR_IO, "cannot write '%s': %s", f->temp, strerror(errno));
    return CAMA_OK;
}

cama_err npy_open(const char *path, const uint64_t *shape, int n_dim, npy *out, err_info *err)
{
    npy f = {.n_want = shape[0] * (n_dim == 2 ? shape[1] : 1)};
    cama_err e = open_file(path, &f, err);
    if (!e)
        e = write_header(&f, shape, n_dim, err);
    if (e)
        npy_drop(&f);
    else
        *out = f;
    return e;
}

cama_err npy_write(npy *f, const float *values, size_t n, err_info *err)
{
    if (fwrite(values, sizeof *values, n, f->file) != n)
        return err_set(err, CAMA_ERR_IO, "cannot write '%s': %s", f->path, strerror(errno));
    f->n_have += n;
    return CAMA_OK;
}

cama_err npy_finish(npy *f, err_info *err)
{
    cama_err e = CAMA_OK;
    if (f->n_have != f->n_want)
        e = err_set(err, CAMA_ERR_INTERNAL, "'%s' has %llu of %llu values", f->path,
                    (unsigned long long)f->n_have, (unsigned long long)f->n_want);
    const bool closed = fclose(f->file) == 0;
    f->file = NULL;
    if (!e && (!closed || rename(f->temp, f->path)))
        e = err_set(err, CAMA_ERR_IO, "cannot write '%s': %s", f->path, strerror(errno));
    if (!e) {
        free(f->temp);
        f->temp = NULL;
    }
    npy_drop(f);
    return e;
}

void npy_drop(npy *f)
{
    if (f->file)
        (void)fclose(f->file); /* the file goes away */
    if (f->temp)
        (void)remove(f->temp);
    free(f->path);
    free(f->temp);
    *f = (npy){0};
}
