#include "base/filehead.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Read at once: few reads for a vocabulary of megabytes, little for a file without one. A multiple
 * of every page size there is. */
#define STEP_BYTES ((size_t)256 << 10)

static cama_err reserve(int fd, const char *path, size_t max, filehead *out, err_info *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_set(err, CAMA_ERR_IO, "cannot stat '%s': %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return err_set(err, CAMA_ERR_IO, "'%s' is not a regular file", path);
    const uint64_t n_file = (uint64_t)st.st_size;
    const size_t n = n_file < max ? (size_t)n_file : max;
    void *p = NULL;
    if (n) { /* addresses only: memory is taken as it is read into */
        p = mmap(NULL, n, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            return err_set(err, CAMA_ERR_NOMEM, "no address space for %zu bytes of '%s'", n, path);
    }
    *out = (filehead){.bytes = p, .n_max = n, .n_file = n_file, .fd = fd, .is_open = true};
    return CAMA_OK;
}

cama_err filehead_open(const char *path, size_t max, filehead *out, err_info *err)
{
    *out = (filehead){0};
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not hold us up */
    if (fd < 0)
        return err_set(err, errno == ENOENT ? CAMA_ERR_NOT_FOUND : CAMA_ERR_IO,
                       "cannot open '%s': %s", path, strerror(errno));
    const cama_err e = reserve(fd, path, max, out, err);
    if (e)
        (void)close(fd); /* only read from: nothing can be lost */
    return e;
}

static cama_err read_step(filehead *h, size_t n, err_info *err)
{
    for (size_t done = 0; done < n;) {
        const ssize_t got =
            pread(h->fd, h->bytes + h->n_have + done, n - done, (off_t)(h->n_have + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_set(err, CAMA_ERR_IO, "cannot read the file at %zu of %llu bytes: %s",
                           h->n_have + done, (unsigned long long)h->n_file, strerror(errno));
        if (got == 0)
            return err_set(err, CAMA_ERR_IO, "the file was cut to %zu bytes, it had %llu",
                           h->n_have + done, (unsigned long long)h->n_file);
        done += (size_t)got;
    }
    h->n_have += n;
    return CAMA_OK;
}

cama_err filehead_want(filehead *h, size_t n, err_info *err)
{
    while (h->n_have < n) { /* n_have is a multiple of the step until the end is reached */
        const size_t left = h->n_max - h->n_have;
        const size_t step = left < STEP_BYTES ? left : STEP_BYTES;
        if (mprotect(h->bytes + h->n_have, step, PROT_READ | PROT_WRITE) != 0)
            return err_set(err, CAMA_ERR_NOMEM, "no memory for %zu bytes of a file", step);
        const cama_err e = read_step(h, step, err);
        if (e)
            return e;
    }
    return CAMA_OK;
}

void filehead_seal(filehead *h)
{
    if (h->is_open)
        (void)close(h->fd); /* only read from: nothing can be lost */
    h->is_open = false;
}

void filehead_close(filehead *h)
{
    if (!h)
        return;
    if (h->bytes)
        (void)munmap(h->bytes, h->n_max); /* our own mapping */
    filehead_seal(h);
    *h = (filehead){0};
}
