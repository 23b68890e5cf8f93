#include "store/store_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/plat.h"
#include "store/store_os.h"

#define TEMP_TRIES 16
#define RENAME_TRIES 16 /* against another program that removes empty folders meanwhile */
#define LINK_TRIES 3
#define WRITE_BYTES ((size_t)64 << 20) /* one write; some systems refuse more than 2 GiB */
/* Where the file system has no locks. */
#define TEMP_DEAD_AFTER_S 3600

cama_err store_file_error(err_info *err, const char *verb, const char *path)
{
    const int reason = errno;
    return err_set(err, reason == ENOMEM ? CAMA_ERR_NOMEM : CAMA_ERR_IO,
                   "store: cannot %s '%s': %s", verb, path, strerror(reason));
}

static int open_retry(const char *path, int flags)
{
    int fd;
    do
        fd = open(path, flags | O_CLOEXEC, 0644);
    while (fd < 0 && errno == EINTR);
    return fd;
}

cama_err store_file_read_some(int fd, void *to, size_t n, size_t *out_got, const char *path,
                              err_info *err)
{
    ssize_t got;
    do
        got = read(fd, to, n);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return store_file_error(err, "read", path);
    *out_got = (size_t)got;
    return CAMA_OK;
}

/* A file that is being replaced is another file under the same name, so that the size holds; one
 * that shrinks all the same is taken as it comes. */
static cama_err read_whole(int fd, const char *path, char *to, size_t *n, err_info *err)
{
    size_t done = 0;
    while (done < *n) {
        size_t got = 0;
        const cama_err e = store_file_read_some(fd, to + done, *n - done, &got, path, err);
        if (e)
            return e;
        if (got == 0)
            break;
        done += got;
    }
    to[done] = '\0';
    *n = done;
    return CAMA_OK;
}

cama_err store_file_open_read(const char *path, int *out_fd, struct stat *out_st, err_info *err)
{
    const int fd = open_retry(path, O_RDONLY | O_NONBLOCK); /* a pipe must not hold us up */
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return err_set(err, CAMA_ERR_NOT_FOUND, "store: '%s' is not there", path);
    if (fd < 0)
        return store_file_error(err, "open", path);
    cama_err e = CAMA_OK;
    if (fstat(fd, out_st) != 0)
        e = store_file_error(err, "stat", path);
    else if (!S_ISREG(out_st->st_mode))
        e = err_set(err, CAMA_ERR_IO, "store: '%s' is not a regular file", path);
    if (e) {
        (void)close(fd); /* nothing was done with it */
        return e;
    }
    *out_fd = fd;
    return CAMA_OK;
}

cama_err store_file_read(const char *path, size_t max, arena *a, store_text *out, err_info *err)
{
    int fd;
    struct stat st;
    cama_err e = store_file_open_read(path, &fd, &st, err);
    if (e)
        return e;
    size_t n = (size_t)st.st_size;
    char *text = NULL;
    if ((uint64_t)st.st_size > max)
        e = err_set(err, CAMA_ERR_LIMIT, "store: '%s' has %lld bytes, allowed are %zu", path,
                    (long long)st.st_size, max);
    else if (!(text = arena_take(a, n + 1)))
        e = err_set(err, CAMA_ERR_NOMEM, "store: no memory for the %zu bytes of '%s'", n, path);
    else
        e = read_whole(fd, path, text, &n, err);
    (void)close(fd); /* only read from: nothing can be lost */
    if (!e)
        *out = (store_text){text, n, store_os_modified_ns(&st)};
    return e;
}

static int flush_retry(int fd)
{
    int r;
    do
        r = store_os_flush(fd);
    while (r != 0 && errno == EINTR);
    return r;
}

static void folder_of(const char *path, char out[STORE_PATH_BYTES])
{
    const char *slash = strrchr(path, '/');
    const size_t n = slash && slash != path ? (size_t)(slash - path) : 1;
    memcpy(out, path, n); /* of an absolute path: "/" at least */
    out[n] = '\0';
}

/* What a folder names is on the disk too. Some file systems (over a network, in user space) cannot
 * flush a folder and say EINVAL: there is nothing more to be had from them. */
static cama_err flush_folder(const char *path, err_info *err)
{
    const int fd = open_retry(path, O_RDONLY | O_DIRECTORY);
    if (fd < 0 && errno == ENOENT) /* removed by another program: what it named is gone with it */
        return CAMA_OK;
    if (fd < 0)
        return store_file_error(err, "open", path);
    const bool flushed = flush_retry(fd) == 0 || errno == EINVAL || errno == ENOTSUP;
    const cama_err e = flushed ? CAMA_OK : store_file_error(err, "flush", path);
    (void)close(fd); /* only read from: nothing can be lost */
    return e;
}

static cama_err flush_folder_of(const char *path, err_info *err)
{
    char folder[STORE_PATH_BYTES];
    folder_of(path, folder);
    return flush_folder(folder, err);
}

/* *out_missing: the parent is not there either. */
static cama_err make_one(const char *path, bool *out_missing, err_info *err)
{
    *out_missing = false;
    if (mkdir(path, 0755) == 0)
        return flush_folder_of(path, err);
    if (errno == ENOENT) {
        *out_missing = true;
        return CAMA_OK;
    }
    const int reason = errno;
    struct stat st;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) /* EEXIST, or EROFS where it is there */
        return CAMA_OK;
    errno = reason;
    return store_file_error(err, "make the folder", path);
}

/* From the top down. */
static cama_err make_all(const char *path, bool *out_missing, err_info *err)
{
    char part[STORE_PATH_BYTES];
    cama_err e = CAMA_OK;
    for (size_t n = 1; !e; n++) {
        if (path[n] != '/' && path[n] != '\0')
            continue;
        memcpy(part, path, n);
        part[n] = '\0';
        e = make_one(part, out_missing, err);
        if (path[n] == '\0')
            break;
    }
    return e;
}

cama_err store_file_make_folder(const char *path, err_info *err)
{
    bool missing;
    cama_err e = make_one(path, &missing, err);
    for (int i = 0; !e && missing; i++) {
        if (i == RENAME_TRIES)
            return err_set(err, CAMA_ERR_IO,
                           "store: cannot make the folder '%s': its parent is gone", path);
        e = make_all(path, &missing, err);
    }
    return e;
}

cama_err store_file_remove(const char *path, err_info *err)
{
    if (unlink(path) == 0)
        return flush_folder_of(path, err);
    return errno == ENOENT ? CAMA_OK : store_file_error(err, "remove", path);
}

static void temp_name(const char *folder, const char *prefix, char out[STORE_PATH_BYTES])
{
    uint8_t random[STORE_TEMP_RANDOM];
    plat_random(random, sizeof random);
    /* the folders of the store leave room for the longest name: store_int.h */
    int n = snprintf(out, STORE_PATH_BYTES, "%s/%s", folder, prefix);
    for (size_t i = 0; i < sizeof random; i++)
        n += snprintf(out + n, STORE_PATH_BYTES - (size_t)n, "%02x", random[i]);
}

/* A sweep may have met the file between its making and its lock: then it has gone, or goes. */
static bool lock_new(int fd)
{
    struct stat st;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return false;
    return fstat(fd, &st) == 0 && st.st_nlink > 0;
}

cama_err store_temp_open(const char *folder, const char *prefix, store_temp *out, err_info *err)
{
    out->fd = -1;
    const cama_err e = store_file_make_folder(folder, err);
    if (e)
        return e;
    for (int i = 0; i < TEMP_TRIES; i++) {
        temp_name(folder, prefix, out->path);
        const int fd = open_retry(out->path, O_RDWR | O_CREAT | O_EXCL);
        if (fd < 0 && errno != EEXIST)
            return store_file_error(err, "make", out->path);
        if (fd < 0)
            continue;
        if (lock_new(fd)) {
            (void)fchmod(fd, 0644); /* whatever the umask: programs of other users share a store */
            out->fd = fd;
            return CAMA_OK;
        }
        (void)close(fd); /* empty, and not ours any more */
        (void)unlink(out->path);
    }
    return err_set(err, CAMA_ERR_IO, "store: '%s': %d temporary files were taken away", folder,
                   TEMP_TRIES);
}

cama_err store_temp_write(store_temp *t, const void *bytes, size_t n, err_info *err)
{
    const char *from = bytes;
    while (n) {
        const ssize_t put = write(t->fd, from, n < WRITE_BYTES ? n : WRITE_BYTES);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return store_file_error(err, "write", t->path);
        from += put;
        n -= (size_t)put;
    }
    return CAMA_OK;
}

/* Another process may remove the folder while it is empty, in between. */
static cama_err rename_into(const char *from, const char *to, err_info *err)
{
    char folder[STORE_PATH_BYTES];
    folder_of(to, folder);
    for (int i = 0;; i++) {
        const cama_err e = store_file_make_folder(folder, err);
        if (e)
            return e;
        if (rename(from, to) == 0)
            return CAMA_OK;
        if (errno != ENOENT || i == RENAME_TRIES)
            return store_file_error(err, "make", to);
    }
}

cama_err store_temp_commit(store_temp *t, const char *path, err_info *err)
{
    cama_err e = CAMA_OK;
    if (flush_retry(t->fd) != 0)
        e = store_file_error(err, "flush", t->path);
    if (!e)
        e = rename_into(t->path, path, err);
    if (e) {
        store_temp_drop(t);
        return e;
    }
    (void)close(t->fd); /* flushed: nothing can be lost */
    t->fd = -1;
    return flush_folder_of(path, err);
}

void store_temp_drop(store_temp *t)
{
    if (t->fd < 0)
        return;
    (void)unlink(t->path); /* what stays is swept when the store is pruned */
    (void)close(t->fd);
    t->fd = -1;
}

cama_err store_file_link(const char *target, const char *path, err_info *err)
{
    char folder[STORE_PATH_BYTES];
    folder_of(path, folder);
    cama_err e = store_file_make_folder(folder, err);
    if (e)
        return e;
    for (int i = 0; symlink(target, path) != 0; i++) {
        if (errno != EEXIST || i == LINK_TRIES)
            return store_file_error(err, "make the link", path);
        if (unlink(path) != 0 && errno != ENOENT)
            return store_file_error(err, "remove", path);
    }
    return flush_folder(folder, err);
}

static bool is_old(const struct stat *st)
{
    return time(NULL) - st->st_mtime >= TEMP_DEAD_AFTER_S;
}

bool store_temp_sweep(const char *path)
{
    struct stat st;
    if (lstat(path, &st) != 0)
        return false;
    if (!S_ISREG(st.st_mode))
        return false;
    const int fd = open_retry(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return false;
    const bool locked = flock(fd, LOCK_EX | LOCK_NB) == 0;
    const bool dead = locked || (errno != EWOULDBLOCK && is_old(&st));
    const bool removed = dead && unlink(path) == 0; /* before the lock is let go */
    (void)close(fd);
    return removed;
}
