#include "base/filemap.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/plat.h"

#define READ_BYTES ((size_t)64 << 20) /* one read; some systems refuse more than 2 GiB */

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
            return err_set(err, errno == ENOMEM ? CAMA_ERR_NOMEM : CAMA_ERR_IO,
                           "cannot map '%s' (%zu bytes): %s", path, n, strerror(errno));
    }
    *out = (filemap){.bytes = p, .n_bytes = n, .fd = fd, .is_open = true};
    return CAMA_OK;
}

cama_err filemap_open(const char *path, filemap *out, err_info *err)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not hold us up */
    if (fd < 0)
        return err_set(err, errno == ENOENT ? CAMA_ERR_NOT_FOUND : CAMA_ERR_IO,
                       "cannot open '%s': %s", path, strerror(errno));
    const cama_err e = map_descriptor(fd, path, out, err);
    if (e)
        (void)close(fd); /* only read from: nothing can be lost */
    return e;
}

cama_err filemap_open_fd(int fd, const char *name, filemap *out, err_info *err)
{
    const int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own < 0)
        return err_set(err, CAMA_ERR_IO, "cannot use '%s': %s", name, strerror(errno));
    const cama_err e = map_descriptor(own, name, out, err);
    if (e)
        (void)close(own); /* only read from: nothing can be lost */
    return e;
}

/* The part of a file that filemap_load reads. */
typedef struct part {
    size_t from, n;
} part;

static cama_err read_part(const filemap *m, part p, const filemap_watch *watch, err_info *err)
{
    uint8_t *to = (uint8_t *)(uintptr_t)m->bytes + p.from;
    for (size_t done = 0; done < p.n;) {
        const size_t left = p.n - done;
        const ssize_t got =
            pread(m->fd, to + done, left < READ_BYTES ? left : READ_BYTES, (off_t)(p.from + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_set(err, CAMA_ERR_IO, "cannot read the file at %zu of %zu bytes: %s",
                           p.from + done, m->n_bytes, strerror(errno));
        if (got == 0)
            return err_set(err, CAMA_ERR_IO, "the file was cut to %zu bytes, it had %zu",
                           p.from + done, m->n_bytes);
        done += (size_t)got;
        if (watch)
            watch->more(watch->user, (size_t)got);
    }
    return CAMA_OK;
}

cama_err filemap_load(filemap *m, size_t from, const filemap_watch *watch, err_info *err)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (!m->bytes || from > m->n_bytes - m->n_bytes % page)
        return CAMA_OK;
    from = (from + page - 1) / page * page;
    if (from >= m->n_bytes)
        return CAMA_OK;
    const part p = {.from = from, .n = m->n_bytes - from};
    void *at = (uint8_t *)(uintptr_t)m->bytes + from;
    /* over the mapping itself: the addresses never belong to anyone else */
    if (mmap(at, p.n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
        MAP_FAILED)
        return err_set(err, CAMA_ERR_NOMEM, "no memory to hold %zu bytes of the file", p.n);
    plat_hint_huge(at, p.n);
    const cama_err e = read_part(m, p, watch, err);
    if (!e) {
        (void)mprotect(at, p.n, PROT_READ); /* a guard against our own bugs, no more */
        return CAMA_OK;
    }
    if (mmap(at, p.n, PROT_READ, MAP_PRIVATE | MAP_FIXED, m->fd, (off_t)from) == MAP_FAILED)
        (void)mprotect(at, p.n, PROT_READ); /* what was read stays, the rest is zeros */
    return e;
}

void filemap_close(filemap *m)
{
    if (!m)
        return;
    if (m->bytes)
        (void)munmap((void *)(uintptr_t)m->bytes, m->n_bytes); /* our own mapping */
    if (m->is_open)
        (void)close(m->fd); /* only read from: nothing can be lost */
    *m = (filemap){0};
}
