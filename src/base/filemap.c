#include "base/filemap.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static cama_err map_descriptor(int fd, const char *path, filemap *out, err_info *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_set(err, CAMA_ERR_IO, "cannot stat '%s': %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return err_set(err, CAMA_ERR_IO, "'%s' is not a regular file", path);
    if ((uint64_t)st.st_size > SIZE_MAX)
        return err_set(err, CAMA_ERR_LIMIT, "'%s' has %lld bytes, past the address space", path,
                       (long long)st.st_size);
    const size_t n = (size_t)st.st_size;
    void *p = NULL;
    if (n) {
        p = mmap(NULL, n, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
            return err_set(err, CAMA_ERR_IO, "cannot map '%s' (%zu bytes): %s", path, n,
                           strerror(errno));
    }
    *out = (filemap){.bytes = p, .n_bytes = n};
    return CAMA_OK;
}

cama_err filemap_open(const char *path, filemap *out, err_info *err)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, errno == ENOENT ? CAMA_ERR_NOT_FOUND : CAMA_ERR_IO,
                       "cannot open '%s': %s", path, strerror(errno));
    const cama_err e = map_descriptor(fd, path, out, err);
    (void)close(fd); /* only read from: nothing can be lost */
    return e;
}

void filemap_close(filemap *m)
{
    if (m->bytes)
        (void)munmap((void *)(uintptr_t)m->bytes, m->n_bytes); /* our own mapping */
    *m = (filemap){0};
}
