#include "iofault.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_FD 1024

/* The linker's names: __wrap_x is called for x, __real_x is x itself. */
int __real_open(const char *path, int flags, ...);
ssize_t __real_read(int fd, void *to, size_t n);
ssize_t __real_write(int fd, const void *from, size_t n);
int __real_fsync(int fd);
int __real_rename(const char *from, const char *to);
int __real_mkdir(const char *path, mode_t mode);
int __real_rmdir(const char *path);
int __real_unlink(const char *path);
int __real_symlink(const char *target, const char *path);
int __real_stat(const char *path, struct stat *st);
int __real_lstat(const char *path, struct stat *st);
int __real_fstat(int fd, struct stat *st);
int __real_flock(int fd, int how);
DIR *__real_opendir(const char *path);
struct dirent *__real_readdir(DIR *d);

int __wrap_open(const char *path, int flags, ...);
ssize_t __wrap_read(int fd, void *to, size_t n);
ssize_t __wrap_write(int fd, const void *from, size_t n);
int __wrap_fsync(int fd);
int __wrap_rename(const char *from, const char *to);
int __wrap_mkdir(const char *path, mode_t mode);
int __wrap_rmdir(const char *path);
int __wrap_unlink(const char *path);
int __wrap_symlink(const char *target, const char *path);
int __wrap_stat(const char *path, struct stat *st);
int __wrap_lstat(const char *path, struct stat *st);
int __wrap_fstat(int fd, struct stat *st);
int __wrap_flock(int fd, int how);
int __wrap_ioctl(int fd, unsigned long request, ...);
DIR *__wrap_opendir(const char *path);
struct dirent *__wrap_readdir(DIR *d);

static struct {
    bool armed, met;
    iofault_mode mode;
    size_t seen, at;
    int error;
    bool dirty[MAX_FD]; /* written and not flushed */
    size_t unflushed;
    bool folder_unflushed;
    bool can_clone;
} state;

/* Whether this operation must fail; errno is then set. */
static bool must_fail(bool writes)
{
    if (!state.armed)
        return false;
    const bool first = state.seen++ == state.at;
    state.met = state.met || first;
    if (first && state.mode == IOFAULT_EXIT)
        _exit(IOFAULT_STATUS);
    if (!first && !(state.mode == IOFAULT_ONWARD && state.met && writes))
        return false;
    errno = state.error;
    return true;
}

static void set_dirty(int fd, bool dirty)
{
    if (fd >= 0 && fd < MAX_FD)
        state.dirty[fd] = dirty;
}

int __wrap_open(const char *path, int flags, ...)
{
    int mode = 0;
    if (flags & O_CREAT) {
        va_list args;
        va_start(args, flags);
        mode = va_arg(args, int);
        va_end(args);
    }
    if (must_fail((flags & O_CREAT) != 0))
        return -1;
    const int fd = __real_open(path, flags, mode);
    set_dirty(fd, false);
    return fd;
}

ssize_t __wrap_read(int fd, void *to, size_t n)
{
    return must_fail(false) ? -1 : __real_read(fd, to, n);
}

ssize_t __wrap_write(int fd, const void *from, size_t n)
{
    if (state.armed && state.mode == IOFAULT_EXIT && state.seen == state.at)
        (void)!__real_write(fd, from, n / 2);
    if (must_fail(true))
        return -1;
    set_dirty(fd, true);
    return __real_write(fd, from, n);
}

int __wrap_fsync(int fd)
{
    struct stat st;
    if (must_fail(true))
        return -1;
    set_dirty(fd, false);
    if (__real_fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
        state.folder_unflushed = false;
    return __real_fsync(fd);
}

int __wrap_rename(const char *from, const char *to)
{
    if (must_fail(true))
        return -1;
    for (int fd = 0; fd < MAX_FD; fd++)
        state.unflushed += state.dirty[fd];
    state.folder_unflushed = true;
    return __real_rename(from, to);
}

int __wrap_mkdir(const char *path, mode_t mode)
{
    if (must_fail(true))
        return -1;
    const int r = __real_mkdir(path, mode);
    state.folder_unflushed = state.folder_unflushed || r == 0;
    return r;
}

int __wrap_rmdir(const char *path)
{
    return must_fail(true) ? -1 : __real_rmdir(path);
}

int __wrap_unlink(const char *path)
{
    return must_fail(false) ? -1 : __real_unlink(path); /* works on a full disk */
}

int __wrap_symlink(const char *target, const char *path)
{
    return must_fail(true) ? -1 : __real_symlink(target, path);
}

int __wrap_stat(const char *path, struct stat *st)
{
    return must_fail(false) ? -1 : __real_stat(path, st);
}

int __wrap_lstat(const char *path, struct stat *st)
{
    return must_fail(false) ? -1 : __real_lstat(path, st);
}

int __wrap_fstat(int fd, struct stat *st)
{
    return must_fail(false) ? -1 : __real_fstat(fd, st);
}

int __wrap_flock(int fd, int how)
{
    return must_fail(false) ? -1 : __real_flock(fd, how);
}

static int clone_by_copy(int from, int to)
{
    char bytes[65536];
    off_t at = 0;
    for (;;) {
        const ssize_t got = pread(from, bytes, sizeof bytes, at);
        if (got <= 0)
            return (int)got;
        if (pwrite(to, bytes, (size_t)got, at) != got)
            return -1;
        at += got;
    }
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
    va_list args;
    va_start(args, request);
    const int from = va_arg(args, int); /* FICLONE is the only one that our code asks for */
    va_end(args);
    if (must_fail(true))
        return -1;
    if (!state.can_clone) {
        errno = EOPNOTSUPP;
        return -1;
    }
    set_dirty(fd, true);
    return clone_by_copy(from, fd);
}

DIR *__wrap_opendir(const char *path)
{
    return must_fail(false) ? NULL : __real_opendir(path);
}

struct dirent *__wrap_readdir(DIR *d)
{
    return must_fail(false) ? NULL : __real_readdir(d);
}

void iofault_arm(iofault_mode mode, size_t k, int error)
{
    state.mode = mode;
    state.at = k;
    state.error = error;
    state.seen = 0;
    state.met = false;
    for (int fd = 0; fd < MAX_FD; fd++)
        state.dirty[fd] = false;
    state.unflushed = 0;
    state.folder_unflushed = false;
    state.armed = true;
}

bool iofault_disarm(void)
{
    state.armed = false;
    return state.met;
}

size_t iofault_unflushed(void)
{
    return state.unflushed;
}

bool iofault_folder_unflushed(void)
{
    return state.folder_unflushed;
}

void iofault_can_clone(bool can)
{
    state.can_clone = can;
}
