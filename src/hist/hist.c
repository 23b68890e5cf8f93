#include "hist/hist.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "hist/hist_int.h"

#define MAX_PATH_BYTES 4096

/* The schema, a step for each version of it (PRAGMA user_version counts them). What was released is
 * never changed here: a new step is added. */
static const char *const steps[] = {
    "CREATE TABLE engine_failure (engine TEXT NOT NULL, build TEXT NOT NULL, digest TEXT NOT NULL,"
    " model TEXT NOT NULL, reason TEXT NOT NULL, time_s INTEGER NOT NULL,"
    " PRIMARY KEY (engine, build, digest)) WITHOUT ROWID;"};
enum { N_STEP = sizeof steps / sizeof *steps };

void hist_lock(hist *h)
{
    (void)pthread_mutex_lock(&h->lock); /* a plain mutex: cannot fail */
}

void hist_unlock(hist *h)
{
    (void)pthread_mutex_unlock(&h->lock);
}

/* ---- statements ---- */

cama_err hist_error(sqlite3 *db, const char *what, err_info *err)
{
    const bool no_memory = !db || sqlite3_errcode(db) == SQLITE_NOMEM;
    return err_set(err, no_memory ? CAMA_ERR_NOMEM : CAMA_ERR_IO, "database of cama: %s: %s", what,
                   db ? sqlite3_errmsg(db) : "out of memory");
}

cama_err hist_prepare(hist *h, const char *sql, sqlite3_stmt **out, err_info *err)
{
    if (sqlite3_prepare_v2(h->db, sql, -1, out, NULL) != SQLITE_OK)
        return hist_error(h->db, "a statement", err);
    return CAMA_OK;
}

void hist_bind_text(sqlite3_stmt *s, int i, const char *text)
{
    size_t n = text ? strlen(text) : 0;
    if (n > HIST_TEXT_BYTES) {
        n = HIST_TEXT_BYTES;
        while (n && ((unsigned char)text[n] & 0xc0) == 0x80) /* in the middle of a character */
            n--;
    }
    /* A failure leaves NULL, which no column takes: the step that follows reports it. */
    (void)sqlite3_bind_text(s, i, text ? text : "", (int)n, SQLITE_TRANSIENT);
}

cama_err hist_run(hist *h, sqlite3_stmt *s, const char *what, err_info *err)
{
    const int code = sqlite3_step(s);
    const cama_err e =
        code == SQLITE_DONE || code == SQLITE_ROW ? CAMA_OK : hist_error(h->db, what, err);
    (void)sqlite3_finalize(s); /* repeats the failure of the step */
    return e;
}

const char *hist_text(sqlite3_stmt *s, int i)
{
    const unsigned char *text = sqlite3_column_text(s, i);
    return text ? (const char *)text : "";
}

/* ---- opening ---- */

static cama_err execute(sqlite3 *db, const char *sql, const char *what, err_info *err)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? CAMA_OK
                                                                : hist_error(db, what, err);
}

static cama_err read_version(sqlite3 *db, int *out, err_info *err)
{
    sqlite3_stmt *s = NULL;
    if (sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &s, NULL) != SQLITE_OK)
        return hist_error(db, "its version", err);
    const bool have = sqlite3_step(s) == SQLITE_ROW;
    *out = have ? sqlite3_column_int(s, 0) : 0;
    const cama_err e = have ? CAMA_OK : hist_error(db, "its version", err);
    (void)sqlite3_finalize(s); /* repeats the failure of the step */
    return e;
}

/* In one transaction that begins by writing: another process that migrates is waited for, and the
 * version is read behind that. */
static cama_err migrate(sqlite3 *db, err_info *err)
{
    int version = 0;
    cama_err e = execute(db, "BEGIN IMMEDIATE", "it cannot be written", err);
    if (e)
        return e;
    e = read_version(db, &version, err);
    if (!e && (version < 0 || version > N_STEP))
        e = err_set(err, CAMA_ERR_UNSUPPORTED,
                    "database of cama: it is of version %d, this cama knows 0 to %d", version,
                    (int)N_STEP);
    for (int i = version; i < N_STEP && !e; i++)
        e = execute(db, steps[i], "its tables", err);
    char sql[64];
    (void)snprintf(sql, sizeof sql, "PRAGMA user_version = %d", (int)N_STEP);
    if (!e && version < N_STEP)
        e = execute(db, sql, "its version", err);
    if (!e)
        e = execute(db, "COMMIT", "it cannot be written", err);
    if (e)
        (void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL); /* what failed is told already */
    return e;
}

/* Damage is found here, where memory can stand in for the file, rather than when a model has
 * failed. The file is small. */
static cama_err check(sqlite3 *db, err_info *err)
{
    sqlite3_stmt *s = NULL;
    if (sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &s, NULL) != SQLITE_OK)
        return hist_error(db, "it cannot be checked", err);
    cama_err e = CAMA_OK;
    if (sqlite3_step(s) != SQLITE_ROW)
        e = hist_error(db, "it cannot be checked", err);
    else if (strcmp(hist_text(s, 0), "ok") != 0)
        e = err_set(err, CAMA_ERR_FORMAT, "database of cama: it is damaged: %s", hist_text(s, 0));
    (void)sqlite3_finalize(s); /* repeats the failure of the step */
    if (!e)
        e = execute(db,
                    "SELECT engine, build, digest, model, reason, time_s FROM engine_failure"
                    " LIMIT 0",
                    "it has other tables", err);
    return e;
}

/* A write-ahead log lets servers read while another writes; where the file system cannot do that,
 * SQLite keeps what it has. */
static cama_err set_up(sqlite3 *db, err_info *err)
{
    (void)sqlite3_busy_timeout(db, HIST_BUSY_MS);
    (void)sqlite3_exec(db, "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON", NULL, NULL,
                       NULL); /* hardening against a file made by somebody else: no condition */
    (void)sqlite3_exec(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL", NULL, NULL,
                       NULL); /* as above; what is wrong with the file shows below */
    cama_err e = migrate(db, err);
    if (!e)
        e = check(db, err);
    return e;
}

static cama_err open_db(const char *path, sqlite3 **out, err_info *err)
{
    sqlite3 *db = NULL;
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    cama_err e = CAMA_OK;
    if (sqlite3_open_v2(path, &db, flags, NULL) != SQLITE_OK)
        e = hist_error(db, "it cannot be opened", err);
    if (!e)
        e = set_up(db, err);
    if (e) {
        (void)sqlite3_close(db); /* has no statement open */
        return e;
    }
    *out = db;
    return CAMA_OK;
}

/* Each part of the path that is not there, for its owner alone. */
static cama_err make_folders(char *path, err_info *err)
{
    for (char *c = path + 1;; c++) {
        if (*c && *c != '/')
            continue;
        const char kept = *c;
        *c = '\0';
        const bool failed = mkdir(path, 0700) != 0 && errno != EEXIST;
        const int code = errno;
        struct stat st;
        if (failed && stat(path, &st) != 0) /* a folder of others is there and cannot be made */
            return err_set(err, CAMA_ERR_IO, "database of cama: folder '%s' cannot be made: %s",
                           path, strerror(code));
        *c = kept;
        if (!kept)
            return CAMA_OK;
    }
}

static cama_err open_in(const char *dir, sqlite3 **out, err_info *err)
{
    char path[MAX_PATH_BYTES];
    const int n = snprintf(path, sizeof path, "%s", dir);
    if (n < 1 || (size_t)n + sizeof "/" HIST_FILE > sizeof path)
        return err_set(err, CAMA_ERR_LIMIT, "database of cama: a folder's name of %d bytes", n);
    cama_err e = make_folders(path, err);
    if (e)
        return e;
    (void)snprintf(path + n, sizeof path - (size_t)n, "/%s", HIST_FILE); /* fits */
    err_info why;
    e = open_db(path, out, &why);
    return e ? err_set(err, e, "%s (%s)", why.text, path) : CAMA_OK;
}

cama_err hist_open(const char *dir, hist **out, err_info *err)
{
    err_info why = {.code = CAMA_OK};
    hist *h = calloc(1, sizeof *h);
    if (!h)
        return err_set(err, CAMA_ERR_NOMEM, "database of cama: no memory to open it");
    h->have_lock = pthread_mutex_init(&h->lock, NULL) == 0;
    cama_err e = h->have_lock ? CAMA_OK : err_set(err, CAMA_ERR_NOMEM, "database of cama: no lock");
    const bool in_file = !e && dir && open_in(dir, &h->db, &why) == CAMA_OK;
    if (!e && !in_file)
        e = open_db(":memory:", &h->db, err);
    if (e) {
        hist_close(h);
        return e;
    }
    if (err)
        *err = why;
    *out = h;
    return CAMA_OK;
}

void hist_close(hist *h)
{
    if (!h)
        return;
    (void)sqlite3_close(h->db); /* accepts NULL; has no statement open */
    if (h->have_lock)
        (void)pthread_mutex_destroy(&h->lock);
    free(h);
}

/* ---- where ---- */

static bool is_written(int n, size_t size)
{
    return n > 0 && (size_t)n < size;
}

bool hist_default_dir(char *out, size_t n)
{
    const char *data = hist_os_variable ? getenv(hist_os_variable) : NULL;
    if (data && data[0] == '/') /* the specification: a relative one is ignored */
        return is_written(snprintf(out, n, "%s/cama", data), n);
    const char *home = getenv("HOME");
    if (!home || home[0] != '/')
        return false;
    return is_written(snprintf(out, n, "%s/%s/cama", home, hist_os_folder), n);
}
