/* Results of self-tests: a kernel that failed on a device is not tried there again. */
#include "hist/hist_int.h"

static cama_err put_result(hist *h, const hist_selftest *t, err_info *err)
{
    sqlite3_stmt *s = NULL;
    const cama_err e =
        hist_prepare(h, "INSERT OR REPLACE INTO selftest VALUES (?, ?, ?, ?, ?, ?, ?)", &s, err);
    if (e)
        return e;
    hist_bind_text(s, 1, t->kernel);
    hist_bind_text(s, 2, t->build);
    hist_bind_text(s, 3, t->device);
    hist_bind_text(s, 4, t->os);
    (void)sqlite3_bind_int(s, 5, t->ok); /* these two fail for no such index only */
    hist_bind_text(s, 6, t->reason);
    (void)sqlite3_bind_int64(s, 7, t->time_s);
    return hist_run(h, s, "a self-test cannot be noted", err);
}

static cama_err forget_oldest(hist *h, err_info *err)
{
    sqlite3_stmt *s = NULL;
    const cama_err e =
        hist_prepare(h,
                     "DELETE FROM selftest WHERE (kernel, build, device, os) IN (SELECT kernel,"
                     " build, device, os FROM selftest ORDER BY time_s DESC, kernel"
                     " LIMIT -1 OFFSET ?)",
                     &s, err);
    if (e)
        return e;
    (void)sqlite3_bind_int(s, 1, HIST_MAX_SELFTESTS); /* fails for no such index only */
    return hist_run(h, s, "a self-test cannot be noted", err);
}

cama_err hist_selftest_put(hist *h, const hist_selftest *t, err_info *err)
{
    hist_lock(h);
    cama_err e = put_result(h, t, err);
    if (!e)
        e = forget_oldest(h, err);
    hist_unlock(h);
    return e;
}

static cama_err each_row(hist *h, sqlite3_stmt *s, void (*fn)(void *user, const hist_selftest *t),
                         void *user, err_info *err)
{
    int code;
    while ((code = sqlite3_step(s)) == SQLITE_ROW) {
        const hist_selftest t = {.kernel = hist_text(s, 0),
                                 .build = hist_text(s, 1),
                                 .device = hist_text(s, 2),
                                 .os = hist_text(s, 3),
                                 .ok = sqlite3_column_int(s, 4) != 0,
                                 .reason = hist_text(s, 5),
                                 .time_s = sqlite3_column_int64(s, 6)};
        fn(user, &t);
    }
    return code == SQLITE_DONE ? CAMA_OK : hist_error(h->db, "self-tests cannot be read", err);
}

cama_err hist_selftest_each(hist *h, const char *build,
                            void (*fn)(void *user, const hist_selftest *t), void *user,
                            err_info *err)
{
    sqlite3_stmt *s = NULL;
    hist_lock(h);
    cama_err e = hist_prepare(h,
                              "SELECT kernel, build, device, os, ok, reason, time_s FROM selftest"
                              " WHERE build = ?",
                              &s, err);
    if (!e) {
        hist_bind_text(s, 1, build);
        e = each_row(h, s, fn, user, err);
        (void)sqlite3_finalize(s); /* repeats the failure of the step */
    }
    hist_unlock(h);
    return e;
}

cama_err hist_selftest_reset(hist *h, size_t *out_n, err_info *err)
{
    sqlite3_stmt *s = NULL;
    hist_lock(h);
    cama_err e = hist_prepare(h, "DELETE FROM selftest", &s, err);
    if (!e)
        e = hist_run(h, s, "self-tests cannot be forgotten", err);
    if (!e)
        *out_n = (size_t)sqlite3_changes(h->db);
    hist_unlock(h);
    return e;
}
