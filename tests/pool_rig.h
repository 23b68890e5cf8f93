/* pool_rig.h - a pool over fake runners: models that are scripts, jobs that remember what they
 * heard.
 *
 *     rig_open(&o)                  a pool and a folder for the scripts
 *     seen *s = rig_submit("a", "{\"do\":\"echo\"}")
 *     rig_end(s)                    waits; then s->text, s->failed, s->err ...
 *     rig_close()                   every job must have heard its end, once
 */
#ifndef POOL_RIG_H
#define POOL_RIG_H

#include "test.h"

#include <dirent.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "fake_runner.h"
#include "pool/pool.h"

#define RIG_MS 1000000ll
#define RIG_PATIENCE_S 60 /* sanitizers on a busy machine */

enum { RIG_MAX_SEEN = 2048, RIG_TEXT = 256 };

/* What a sink heard; under rig.lock. */
typedef struct seen {
    pool_job_id id;
    int n_loaded, n_text, n_end, n_late;
    bool failed;
    err_info err;
    char text[RIG_TEXT]; /* the beginning */
    size_t n_bytes;
    char reason[32];
    uint64_t load_ns, queue_ns, end_ns;
    int64_t n_prompt; /* of a FAIL's head */
    bool gives_credit, collects;
    size_t inside; /* calls at this moment: never 2 */
    int n_warning, n_fallback;
    char fallback[256]; /* the text of engine_fallback */
    char engine[16];    /* of the last LOADED */
} seen;

typedef struct pool_rig {
    pool *pool;
    char dir[64];
    pthread_mutex_t lock;
    pthread_cond_t changed;
    seen seen[RIG_MAX_SEEN];
    size_t n_seen;
    char log[16384];
    size_t n_log;
    bool runs_again; /* jobs may be loaded more than once */
} pool_rig;

static pool_rig rig;

static inline void rig_log(void *user, pool_level level, const char *line)
{
    (void)user;
    (void)level;
    (void)pthread_mutex_lock(&rig.lock);
    const size_t n = strlen(line);
    if (rig.n_log + n + 2 < sizeof rig.log) {
        memcpy(rig.log + rig.n_log, line, n);
        rig.n_log += n;
        memcpy(rig.log + rig.n_log, "\n", 2);
        rig.n_log++;
    }
    (void)pthread_mutex_unlock(&rig.lock);
}

static inline bool rig_logged(const char *part)
{
    (void)pthread_mutex_lock(&rig.lock);
    const bool found = strstr(rig.log, part) != NULL;
    (void)pthread_mutex_unlock(&rig.lock);
    return found;
}

static inline void rig_note_text(const pool_event *e, const char *key, char *out, size_t n)
{
    const json_value *v = json_get(e->head, key);
    (void)snprintf(out, n, "%s", v && v->kind == JSON_STRING ? v->text : "");
}

static inline void rig_note_warning(seen *s, const pool_event *e)
{
    char code[32];
    rig_note_text(e, "code", code, sizeof code);
    s->n_warning++;
    if (strcmp(code, "engine_fallback") != 0)
        return;
    s->n_fallback++;
    rig_note_text(e, "text", s->fallback, sizeof s->fallback);
}

static inline void rig_note(seen *s, const pool_event *e)
{
    s->n_late += s->n_end > 0;
    s->n_late += e->head == NULL || e->head->kind != JSON_OBJECT;
    if (e->type == POOL_LOADED) {
        if (s->collects && s->n_loaded) {
            s->n_text = 0;
            s->n_bytes = 0;
            memset(s->text, 0, sizeof s->text);
        }
        s->n_late += s->n_text > 0;
        s->n_loaded++;
        s->load_ns = e->load_ns;
        s->queue_ns = e->queue_ns;
        rig_note_text(e, "engine", s->engine, sizeof s->engine);
    } else if (e->type == POOL_WARNING) {
        rig_note_warning(s, e);
    } else if (e->type == POOL_TEXT) {
        const size_t used = strlen(s->text);
        const size_t n = e->n_data < RIG_TEXT - 1 - used ? e->n_data : RIG_TEXT - 1 - used;
        memcpy(s->text + used, e->data, n);
        s->n_text++;
        s->n_bytes += e->n_data;
    } else if (e->type == POOL_DONE || e->type == POOL_FAIL) {
        const json_value *reason = json_get(e->head, "reason");
        const json_value *n_prompt = json_get(e->head, "n_prompt");
        s->n_end++;
        s->end_ns = clock_now_ns();
        s->failed = e->type == POOL_FAIL;
        if (e->err)
            s->err = *e->err;
        (void)snprintf(s->reason, sizeof s->reason, "%s", reason ? reason->text : "");
        s->n_prompt = n_prompt ? n_prompt->integer : 0;
    }
}

static inline void rig_event(void *user, const pool_event *e)
{
    seen *s = user;
    (void)pthread_mutex_lock(&rig.lock);
    s->n_late += s->inside++ > 0;
    rig_note(s, e);
    const bool give = s->gives_credit && e->type == POOL_TEXT;
    const pool_job_id id = s->id;
    (void)pthread_mutex_unlock(&rig.lock);
    if (give)
        pool_credit(rig.pool, id, e->n_data); /* as a client that reads at once */
    (void)pthread_mutex_lock(&rig.lock);
    s->inside--;
    (void)pthread_cond_broadcast(&rig.changed);
    (void)pthread_mutex_unlock(&rig.lock);
}

static inline void rig_path(const char *key, char out[128])
{
    (void)snprintf(out, 128, "%s/%s", rig.dir, key);
}

/* The model `key` is what the script says. */
static inline void rig_model(const char *key, const char *script)
{
    char path[128];
    rig_path(key, path);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(script, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static inline void rig_open(const pool_opts *opts)
{
    rig.n_seen = 0;
    rig.n_log = 0;
    rig.runs_again = false;
    rig.log[0] = '\0';
    memset(rig.seen, 0, sizeof rig.seen);
    (void)pthread_mutex_init(&rig.lock, NULL);
    (void)pthread_cond_init(&rig.changed, NULL);
    (void)snprintf(rig.dir, sizeof rig.dir, "/tmp/cama_pool_XXXXXX");
    assert_non_null(mkdtemp(rig.dir));
    pool_opts o = opts ? *opts : (pool_opts){.keep_alive_ns = POOL_KEEP_DEFAULT};
    o.log = rig_log;
    if (o.data_dir)
        o.data_dir = rig.dir;
    assert_int_equal(pool_open(&o, &rig.pool, NULL), CAMA_OK);
}

static inline void rig_remove_dir(void)
{
    DIR *d = opendir(rig.dir);
    for (const struct dirent *e; d && (e = readdir(d));) {
        char path[400];
        (void)snprintf(path, sizeof path, "%s/%s", rig.dir, e->d_name);
        (void)unlink(path); /* "." and ".." stay */
    }
    if (d)
        (void)closedir(d);
    (void)rmdir(rig.dir);
}

static inline void rig_check_ends(void)
{
    (void)pthread_mutex_lock(&rig.lock);
    for (size_t i = 0; i < rig.n_seen; i++) {
        if (rig.seen[i].id == 0)
            continue;
        assert_int_equal(rig.seen[i].n_end, 1);
        assert_int_equal(rig.seen[i].n_late, 0);
        assert_true(rig.runs_again || rig.seen[i].n_loaded <= 1);
    }
    (void)pthread_mutex_unlock(&rig.lock);
}

static inline void rig_close(void)
{
    pool_close(rig.pool);
    rig.pool = NULL;
    rig_check_ends();
    rig_remove_dir();
    (void)pthread_cond_destroy(&rig.changed);
    (void)pthread_mutex_destroy(&rig.lock);
}

typedef struct rig_job {
    const char *key, *head;
    int64_t keep_ns;
    uint32_t n_ctx;
    bool gives_credit, collects;
    const char *engine, *device;
} rig_job;

/* NULL: refused, *err says why. */
static inline seen *rig_try(const rig_job *j, err_info *err)
{
    char path[128];
    rig_path(j->key, path);
    const char *const paths[] = {path};
    const pool_model m = {.key = j->key,
                          .name = j->key,
                          .digest = "0123",
                          .paths = paths,
                          .n_path = 1,
                          .engine = j->engine,
                          .device = j->device,
                          .details = "{\"family\":\"fake\"}"};
    (void)pthread_mutex_lock(&rig.lock);
    assert_true(rig.n_seen < RIG_MAX_SEEN);
    seen *s = &rig.seen[rig.n_seen++];
    s->gives_credit = j->gives_credit;
    s->collects = j->collects;
    (void)pthread_mutex_unlock(&rig.lock);
    const pool_job job = {.model = &m,
                          .head = j->head,
                          .n_head = j->head ? strlen(j->head) : 0,
                          .collects = j->collects,
                          .n_ctx = j->n_ctx,
                          .keep_alive_ns = j->keep_ns,
                          .sink = {s, rig_event}};
    if (pool_submit(rig.pool, &job, &s->id, err)) /* known before the sink hears anything */
        return NULL;
    return s;
}

static inline seen *rig_submit(const char *key, const char *head)
{
    err_info err = {0};
    seen *s = rig_try(&(rig_job){.key = key, .head = head, .keep_ns = POOL_KEEP_DEFAULT}, &err);
    if (!s)
        print_error("not taken: %s\n", err.text);
    assert_non_null(s);
    return s;
}

/* Until *count reaches n. */
static inline void rig_wait(const int *count, int n)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += RIG_PATIENCE_S;
    (void)pthread_mutex_lock(&rig.lock);
    int code = 0;
    while (*count < n && !code)
        code = pthread_cond_timedwait(&rig.changed, &rig.lock, &until);
    const int got = *count;
    (void)pthread_mutex_unlock(&rig.lock);
    if (got < n)
        print_error("waited in vain; the log:\n%s", rig.log);
    assert_true(got >= n);
}

static inline void rig_end(seen *s)
{
    rig_wait(&s->n_end, 1);
}

/* Ended well. */
static inline void rig_done(seen *s)
{
    rig_end(s);
    if (s->failed)
        print_error("failed: %s\n", s->err.text);
    assert_false(s->failed);
}

static inline void rig_failed(seen *s, cama_err code, const char *part)
{
    rig_end(s);
    assert_true(s->failed);
    if (s->err.code != code || !strstr(s->err.text, part))
        print_error("code %d: %s\n", (int)s->err.code, s->err.text);
    assert_int_equal(s->err.code, code);
    assert_non_null(strstr(s->err.text, part));
}

static inline void rig_list(char *out, size_t n)
{
    buf b;
    buf_init(&b, n - 1);
    assert_int_equal(pool_list(rig.pool, &b, NULL), CAMA_OK);
    memcpy(out, b.data, b.n + 1);
    buf_done(&b);
}

/* Until ps shows it, or shows it no more. */
static inline void rig_wait_list(const char *part, bool there)
{
    char list[8192];
    for (int i = 0; i < RIG_PATIENCE_S * 100; i++) {
        rig_list(list, sizeof list);
        if ((strstr(list, part) != NULL) == there)
            return;
        fake_sleep_ms(10);
    }
    print_error("'%s' is %s in %s\n", part, there ? "not" : "still", list);
    fail();
}

/* A number in ps behind a field of the model `key`; -999: it is not there. */
static inline long long rig_field(const char *key, const char *field)
{
    char list[8192];
    rig_list(list, sizeof list);
    char mark[64];
    (void)snprintf(mark, sizeof mark, "\"key\":\"%s\"", key);
    const char *at = strstr(list, mark);
    (void)snprintf(mark, sizeof mark, "\"%s\":", field);
    at = at ? strstr(at, mark) : NULL;
    return at ? atoll(at + strlen(mark)) : -999;
}

static inline int rig_n_fd(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (d && readdir(d))
        n++;
    if (d)
        (void)closedir(d);
    return n;
}

#endif
