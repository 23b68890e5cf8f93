/* hist.h - what outlives a server: which engine failed on which model.
 *
 * One SQLite file for all servers and commands of a user; it lies in a folder of its own, never in
 * the store of models, which belongs to Ollama as well. Nothing in it is needed to run: a file that
 * is damaged, of a newer cama or cannot be written becomes a warning and a database in memory.
 *
 *     hist_open(path, &h, &err)        CAMA_OK with err.code set: in memory, err says why
 *     hist_engine_failed(h, &f, &err)  mlx died of this model
 *     hist_engine_each(h, digest, fn, user, &err)   what the choice has to avoid
 *     hist_engine_reset(h, NULL, &n, &err)          `cama engines reset`
 *
 * Threads: any, one at a time inside. Calls wait for other processes that write, HIST_BUSY_MS at
 * most, and for the disk: not under a lock that others need soon.
 */
#ifndef HIST_HIST_H
#define HIST_HIST_H

#include "base/err.h"

#define HIST_BUSY_MS 1000
#define HIST_FILE "cama.db"
#define HIST_TEXT_BYTES 512    /* longer texts are cut */
#define HIST_MAX_FAILURES 1024 /* the oldest are forgotten */

typedef struct hist hist; /* opaque: the struct is in hist_int.h */

/* The folder where this system keeps such things: CAMA_DATA_DIR is for the caller to look at.
 * $XDG_DATA_HOME/cama, else ~/.local/share/cama; on macOS ~/Library/Application Support/cama.
 * False: there is no home, or it does not fit. */
bool hist_default_dir(char *out, size_t n);

/* dir NULL: in memory. The folder is made where it is not there, for its owner alone.
 * CAMA_ERR_NOMEM; every other trouble gives CAMA_OK, a database in memory, and err->code with the
 * reason (CAMA_OK: there was no trouble). */
cama_err hist_open(const char *dir, hist **out, err_info *err);
void hist_close(hist *h); /* accepts NULL */

/* ---- engines that failed on a model ---- */

/* build: of what computes, "MLX 0.32.4, cama 0.1.0": another build is another try. Texts of a
 * listing live for the call. */
typedef struct hist_failure {
    const char *engine, *build;
    const char *digest; /* of the model's manifest, hex */
    const char *model;  /* its name at that time */
    const char *reason;
    int64_t time_s; /* Unix */
} hist_failure;

/* A pair (engine and build, digest) that is known already gets the new reason and time. */
cama_err hist_engine_failed(hist *h, const hist_failure *f, err_info *err);
/* Newest first, those of one model or (digest NULL) all. fn must not call hist. */
cama_err hist_engine_each(hist *h, const char *digest,
                          void (*fn)(void *user, const hist_failure *f), void *user, err_info *err);
/* digest NULL: all. */
cama_err hist_engine_reset(hist *h, const char *digest, size_t *out_n, err_info *err);

#endif
