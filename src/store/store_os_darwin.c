#include "store/store_os.h"

#include <fcntl.h>
#include <sys/clonefile.h>
#include <sys/file.h>
#include <unistd.h>

int store_os_flush(int fd)
{
    /* fsync only reaches the drive's own cache; not every file system knows the stronger one */
    return fcntl(fd, F_FULLFSYNC) == 0 ? 0 : fsync(fd);
}

/* A clone is a new file: path is removed for it, and comes back empty when it cannot be made. */
bool store_os_clone(int from, const char *path, int *fd)
{
    (void)close(*fd); /* empty: nothing can be lost */
    *fd = -1;
    (void)unlink(path);
    const bool cloned = fclonefileat(from, AT_FDCWD, path, 0) == 0;
    const int flags = O_RDWR | O_NOFOLLOW | O_CLOEXEC | (cloned ? 0 : O_CREAT | O_EXCL);
    *fd = open(path, flags, 0644);
    if (*fd < 0)
        return false;
    (void)flock(*fd, LOCK_EX | LOCK_NB); /* where there are no locks, age decides */
    if (cloned)
        (void)fchmod(*fd, 0644); /* a clone has the mode of what it was made from */
    return cloned;
}

int64_t store_os_modified_ns(const struct stat *st)
{
    return (int64_t)st->st_mtimespec.tv_sec * 1000000000 + st->st_mtimespec.tv_nsec;
}
