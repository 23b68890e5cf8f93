/* pool_import.h - a folder of weights made one GGUF, by a process of its own.
 *
 * What is read comes from anybody, so a runner reads it: it is spawned for this alone, gets the
 * files and the output as descriptors, and is gone when this returns. */
#ifndef POOL_POOL_IMPORT_H
#define POOL_POOL_IMPORT_H

#include "pool/pool.h"

#define POOL_IMPORT_MAX_FILE 1100

typedef struct pool_import {
    const char *const *names; /* [n] as in the folder */
    const int *fds;           /* [n] open for reading */
    size_t n;
    int out_fd; /* written from its start */
    /* Bytes of the output; any thread. May be NULL. */
    void (*progress)(void *user, uint64_t done, uint64_t all);
    /* Asked several times a second, by a thread of the pool: false ends it. May be NULL. */
    bool (*goes_on)(void *user);
    void *user;
} pool_import;

/* Blocks. The runner's own error; CAMA_ERR_RUNNER: it died, hung or talked nonsense;
 * CAMA_ERR_CANCELED: goes_on said so, or the pool drains; CAMA_ERR_LIMIT, CAMA_ERR_IO,
 * CAMA_ERR_NOMEM. On failure the output has any bytes. */
cama_err pool_import_run(pool *p, const pool_import *what, err_info *err);

#endif
