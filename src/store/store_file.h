/* store_file.h - how files get into the store: whole, flushed and renamed, or not at all.
 *
 * Everything that the store does to the disk goes through here and store_os.h, so that a test can
 * make each step fail, or the process end there.
 *
 * A temporary file is locked (flock) by whoever writes it, for as long as it lives; the system lets
 * go when the process ends. So a sweep can tell the dead from the living without guessing by age.
 */
#ifndef STORE_STORE_FILE_H
#define STORE_STORE_FILE_H

#include <sys/stat.h>

#include "base/arena.h"
#include "base/err.h"

#define STORE_MAX_ROOT 1024   /* bytes of the store's own path */
#define STORE_PATH_BYTES 2048 /* root + the longest path below it fits: see store_int.h */
#define STORE_TEMP_RANDOM 16  /* random bytes in the name of a temporary file */

/* CAMA_ERR_IO (NOMEM for ENOMEM) with errno's reason: "store: cannot VERB 'PATH': reason". */
cama_err store_file_error(err_info *err, const char *verb, const char *path);

/* A regular file, for reading. CAMA_ERR_NOT_FOUND, CAMA_ERR_IO. */
cama_err store_file_open_read(const char *path, int *out_fd, struct stat *out_st, err_info *err);
typedef struct store_text {
    const char *text; /* NUL-terminated */
    size_t n;
    int64_t modified_ns; /* since 1970 */
} store_text;

/* A regular file whole, at most max bytes, in the arena. CAMA_ERR_NOT_FOUND, CAMA_ERR_LIMIT,
 * CAMA_ERR_IO. */
cama_err store_file_read(const char *path, size_t max, arena *a, store_text *out, err_info *err);
/* The folder and its parents, each one's entry flushed. */
cama_err store_file_make_folder(const char *path, err_info *err);
/* Not there: CAMA_OK. The folder is flushed. */
cama_err store_file_remove(const char *path, err_info *err);
/* n bytes from fd at most; 0 at its end. path is for the text. */
cama_err store_file_read_some(int fd, void *to, size_t n, size_t *out_got, const char *path,
                              err_info *err);

typedef struct store_temp {
    int fd; /* -1: none */
    char path[STORE_PATH_BYTES];
} store_temp;

/* folder/PREFIX<32 hex digits>, open for writing and locked. The folder is made when absent. */
cama_err store_temp_open(const char *folder, const char *prefix, store_temp *out, err_info *err);
cama_err store_temp_write(store_temp *t, const void *bytes, size_t n, err_info *err);
/* Flushed, renamed to path (its folder is made when absent), the folder flushed. t is gone in any
 * case; on failure path is as it was, or as it should be when only the last step failed. */
cama_err store_temp_commit(store_temp *t, const char *path, err_info *err);
void store_temp_drop(store_temp *t); /* accepts what is gone already */

/* A symbolic link; whatever is there is removed for it. */
cama_err store_file_link(const char *target, const char *path, err_info *err);

/* Removes a temporary file when nobody writes it any more. */
bool store_temp_sweep(const char *path);

#endif
