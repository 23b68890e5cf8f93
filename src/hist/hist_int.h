/* hist_int.h - the database behind hist.h.
 *
 * hist.c           opening, what falls back to memory, migrations
 * hist_engine.c    engines that failed
 * hist_os_*.c      the folder
 */
#ifndef HIST_HIST_INT_H
#define HIST_HIST_INT_H

#include <pthread.h>
#include <sqlite3.h>

#include "hist/hist.h"

struct hist {
    sqlite3 *db;
    pthread_mutex_t lock; /* guards db: a call is several statements */
    bool have_lock;
};

void hist_lock(hist *h);
void hist_unlock(hist *h);

/* What SQLite said of the last call on db: CAMA_ERR_NOMEM, else CAMA_ERR_IO. */
cama_err hist_error(sqlite3 *db, const char *what, err_info *err);

/* A statement; its texts are bound with hist_bind_text. */
cama_err hist_prepare(hist *h, const char *sql, sqlite3_stmt **out, err_info *err);
/* Parameter i (from 1): a copy, cut to HIST_TEXT_BYTES at a whole character; NULL is "". */
void hist_bind_text(sqlite3_stmt *s, int i, const char *text);
/* Runs s, which gives no rows, to its end, and frees it. */
cama_err hist_run(hist *h, sqlite3_stmt *s, const char *what, err_info *err);
/* Column i, never NULL; SQLite's until the next step. */
const char *hist_text(sqlite3_stmt *s, int i);

/* The folder below the user's home where such files go: ".local/share" and an environment variable
 * that says otherwise, or NULL. */
extern const char hist_os_folder[];
extern const char *const hist_os_variable;

#endif
