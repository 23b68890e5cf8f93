/* Engines that failed on a model. */
#include <stddef.h>

#include "hist/hist_int.h"

/* Past the limit the oldest go: a list that nobody reads to its end helps nobody. */
static cama_err forget_oldest(hist *h, err_info *err)
{
    sqlite3_stmt *s = NULL;
    const cama_err e =
        hist_prepare(h,
                     "DELETE FROM engine_failure WHERE (engine, build, digest) IN (SELECT engine,"
                     " build, digest FROM engine_failure ORDER BY time_s DESC, digest"
                     " LIMIT -1 OFFSET ?)",
                     &s, err);
    if (e)
        return e;
    (void)sqlite3_bind_int(s, 1, HIST_MAX_FAILURES); /* fails for no such index only */
    return hist_run(h, s, "a failure cannot be noted", err);
}

static cama_err put_failure(hist *h, const hist_failure *f, err_info *err)
{
    sqlite3_stmt *s = NULL;
    const cama_err e =
        hist_prepare(h, "INSERT OR REPLACE INTO engine_failure VALUES (?, ?, ?, ?, ?, ?)", &s, err);
    if (e)
        return e;
    hist_bind_text(s, 1, f->engine);
    hist_bind_text(s, 2, f->build);
    hist_bind_text(s, 3, f->digest);
    hist_bind_text(s, 4, f->model);
    hist_bind_text(s, 5, f->reason);
    (void)sqlite3_bind_int64(s, 6, f->time_s); /* fails for no such index only */
    return hist_run(h, s, "a failure cannot be noted", err);
}

cama_err hist_engine_failed(hist *h, const hist_failure *f, err_info *err)
{
    hist_lock(h);
    cama_err e = put_failure(h, f, err);
    if (!e)
        e = forget_oldest(h, err);
    hist_unlock(h);
    return e;
}

static cama_err each_row(hist *h, sqlite3_stmt *s, void (*fn)(void *user, const hist_failure *f),
                         void *user, err_info *err)
{
    int code;
    while ((code = sqlite3_step(s)) == SQLITE_ROW) {
        const hist_failure f = {.engine = hist_text(s, 0),
                                .build = hist_text(s, 1),
                                .digest = hist_text(s, 2),
                                .model = hist_text(s, 3),
                                .reason = hist_text(s, 4),
                                .time_s = sqlite3_column_int64(s, 5)};
        fn(user, &f);
    }
    return code == SQLITE_DONE ? CAMA_OK : hist_error(h->db, "failures cannot be read", err);
}

cama_err hist_engine_each(hist *h, const char *digest,
                          void (*fn)(void *user, const hist_failure *f), void *user, err_info *err)
{
    sqlite3_stmt *s = NULL;
    hist_lock(h);
    cama_err e = hist_prepare(h,
                              "SELECT engine, build, digest, model, reason, time_s FROM"
                              " engine_failure WHERE ?1 = '' OR digest = ?1"
                              " ORDER BY time_s DESC, digest, engine, build",
                              &s, err);
    if (!e) {
        hist_bind_text(s, 1, digest);
        e = each_row(h, s, fn, user, err);
        (void)sqlite3_finalize(s); /* repeats the failure of the step */
    }
    hist_unlock(h);
    return e;
}

cama_err hist_engine_reset(hist *h, const char *digest, size_t *out_n, err_info *err)
{
    sqlite3_stmt *s = NULL;
    hist_lock(h);
    cama_err e =
        hist_prepare(h, "DELETE FROM engine_failure WHERE ?1 = '' OR digest = ?1", &s, err);
    if (!e) {
        hist_bind_text(s, 1, digest);
        e = hist_run(h, s, "failures cannot be forgotten", err);
    }
    if (!e)
        *out_n = (size_t)sqlite3_changes(h->db);
    hist_unlock(h);
    return e;
}
