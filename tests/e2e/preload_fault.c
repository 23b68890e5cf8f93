/* preload_fault.c - writes below one folder that fail on demand, one by one, or at which the
 * process is killed. The twin of tests/iofault.c for a whole server.
 *
 *     cc -shared -fPIC -o preload_fault.so preload_fault.c
 *     LD_PRELOAD=preload_fault.so FAULT_ROOT=/the/store FAULT_CONTROL=/elsewhere/control cama serve
 *
 * FAULT_CONTROL is a file of struct control, which the test writes and reads while the server runs.
 * Counted are the calls that change something on the disk: open of a file that it may make, write
 * and its kin, fsync, truncate, rename, mkdir, rmdir, unlink, link, symlink; of paths below
 * FAULT_ROOT and of descriptors that were opened there.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OFF, ONCE, ONWARD, KILL_BEFORE, KILL_HALF }; /* KILL_HALF: half of a write is on the disk */

typedef struct control {
    int32_t mode;
    int32_t at; /* 0: the next call */
    int32_t error;
    int32_t seen;
    int32_t met;
    char what[44];    /* the call that was met */
    char kinds[4032]; /* of the calls seen: their first letters */
} control;

static control *state;
static const char *root;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* The runner, which inherits all this, opens no path: it stays out. */
__attribute__((constructor)) static void begin(int argc, char **argv)
{
    const char *path = getenv("FAULT_CONTROL");
    root = getenv("FAULT_ROOT");
    if (!path || !root || argc < 2 || strcmp(argv[1], "serve") != 0)
        return;
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    void *at =
        fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) {
        perror(path);
        _exit(99);
    }
    (void)close(fd);
    state = at;
}

static int below(const char *path)
{
    const size_t n = strlen(root);
    return strncmp(path, root, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

static int below_fd(int fd)
{
    char link[32];
    char path[PATH_MAX];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0)
        return 0;
    path[n] = '\0';
    return below(path);
}

static void die(void)
{
    for (;;)
        (void)kill(getpid(), SIGKILL);
}

/* 0: the call goes through. 1: it fails, errno is set. 2: half of it, then the process dies. */
static int met(const char *what, int is_write)
{
    (void)pthread_mutex_lock(&lock);
    const int first = state->seen == state->at;
    if ((size_t)state->seen < sizeof state->kinds)
        state->kinds[state->seen] = what[0];
    state->seen++;
    const int mode = state->mode;
    if (first) {
        (void)snprintf(state->what, sizeof state->what, "%s", what);
        state->met = 1;
    }
    const int fails = first || (mode == ONWARD && state->met);
    const int error = state->error;
    (void)pthread_mutex_unlock(&lock);
    if (!fails || mode == OFF)
        return 0;
    if (mode == KILL_HALF && is_write)
        return 2;
    if (mode == KILL_BEFORE || mode == KILL_HALF)
        die();
    errno = error;
    return 1;
}

static int met_path(const char *what, const char *path)
{
    return state && state->mode != OFF && below(path) ? met(what, 0) : 0;
}

static int met_fd(const char *what, int fd, int is_write)
{
    return state && state->mode != OFF && below_fd(fd) ? met(what, is_write) : 0;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int open_mode(int flags, va_list args)
{
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(args, int) : 0;
}

/* A full disk would still remove and rename. Here it does neither, so that failures to tidy up are
 * met too. */
#define OPEN(name)                                                                                 \
    int name(const char *path, int flags, ...)                                                     \
    {                                                                                              \
        va_list args;                                                                              \
        va_start(args, flags);                                                                     \
        const int mode = open_mode(flags, args);                                                   \
        va_end(args);                                                                              \
        if ((flags & (O_CREAT | O_TRUNC)) && met_path("open", path))                               \
            return -1;                                                                             \
        return REAL(name)(path, flags, mode);                                                      \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                               \
    int name(int folder, const char *path, int flags, ...)                                         \
    {                                                                                              \
        va_list args;                                                                              \
        va_start(args, flags);                                                                     \
        const int mode = open_mode(flags, args);                                                   \
        va_end(args);                                                                              \
        if ((flags & (O_CREAT | O_TRUNC)) &&                                                       \
            (path[0] == '/' ? met_path("openat", path) : met_fd("openat", folder, 0)))             \
            return -1;                                                                             \
        return REAL(name)(folder, path, flags, mode);                                              \
    }
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int fd, const void *from, size_t n)
{
    const int how = met_fd("write", fd, 1);
    if (how == 1)
        return -1;
    if (how == 2) {
        (void)!REAL(write)(fd, from, n / 2);
        die();
    }
    return REAL(write)(fd, from, n);
}

#define PWRITE(name, offset)                                                                       \
    ssize_t name(int fd, const void *from, size_t n, offset at)                                    \
    {                                                                                              \
        const int how = met_fd("pwrite", fd, 1);                                                   \
        if (how == 1)                                                                              \
            return -1;                                                                             \
        if (how == 2) {                                                                            \
            (void)!REAL(name)(fd, from, n / 2, at);                                                \
            die();                                                                                 \
        }                                                                                          \
        return REAL(name)(fd, from, n, at);                                                        \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t writev(int fd, const struct iovec *list, int n)
{
    const int how = met_fd("writev", fd, 1);
    if (how == 1)
        return -1;
    if (how == 2) {
        (void)!REAL(writev)(fd, list, n / 2);
        die();
    }
    return REAL(writev)(fd, list, n);
}

#define ON_FD(name, params, args)                                                                  \
    int name params                                                                                \
    {                                                                                              \
        return met_fd(#name, fd, 0) ? -1 : REAL(name) args;                                        \
    }
ON_FD(fsync, (int fd), (fd))
ON_FD(fdatasync, (int fd), (fd))
ON_FD(ftruncate, (int fd, off_t n), (fd, n))
ON_FD(ftruncate64, (int fd, off64_t n), (fd, n))

#define ON_PATH(name, params, args)                                                                \
    int name params                                                                                \
    {                                                                                              \
        return met_path(#name, path) ? -1 : REAL(name) args;                                       \
    }
ON_PATH(mkdir, (const char *path, mode_t mode), (path, mode))
ON_PATH(rmdir, (const char *path), (path))
ON_PATH(unlink, (const char *path), (path))
ON_PATH(rename, (const char *from, const char *path), (from, path))
ON_PATH(link, (const char *from, const char *path), (from, path))
ON_PATH(symlink, (const char *target, const char *path), (target, path))
