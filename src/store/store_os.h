/* store_os.h - what the store asks of a file system and each system has in its own way. */
#ifndef STORE_STORE_OS_H
#define STORE_STORE_OS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

/* The file's bytes are on the disk, not only in its cache. -1 and errno. */
int store_os_flush(int fd);
/* Makes *fd (a new, empty, locked file at path) share the blocks of the file open as from, where
 * the file system can: nothing is copied. false: not done, *fd is still empty; -1 in *fd: path is
 * gone as well. */
bool store_os_clone(int from, const char *path, int *fd);
int64_t store_os_modified_ns(const struct stat *st);

#endif
