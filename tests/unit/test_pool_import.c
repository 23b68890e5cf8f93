/* The pool's side of an import: what it makes of a process that converts, refuses, dies, hangs or
 * talks nonsense. This program is its own runner: IMPORT_DO says how it shall be. */
#include "pool/pool_import.h"

#include "test.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "wire/wire.h"

#define N_FILE 40 /* three frames */

/* ---- the runner ---- */

static void say(wire *w, wire_type t, const char *head)
{
    const wire_out f = {.type = t, .head = head, .n_head = strlen(head)};
    (void)wire_send(w, &f, NULL); /* serve may be gone */
}

/* Copies the first byte of each file into the output, in order. */
static void convert(wire *w)
{
    bool more = true;
    int fds[N_FILE];
    size_t n = 0;
    int out = -1;
    while (more) {
        wire_frame f;
        if (wire_recv(w, &f, NULL) || f.type != WIRE_IMPORT)
            _exit(7);
        more = wire_bool(&f, "more", false);
        const json_value *names = json_get(f.head, "names");
        for (size_t i = 0; i < names->n; i++)
            fds[n++] = f.fds[i];
        if (!more)
            out = f.fds[names->n];
    }
    for (size_t i = 0; i < n; i++) {
        char c = '?';
        if (pread(fds[i], &c, 1, 0) != 1 || write(out, &c, 1) != 1)
            _exit(8);
        say(w, WIRE_PROGRESS, i % 2 ? "{\"done\":1,\"all\":2}" : "{\"done\":9,\"all\":2}");
    }
    say(w, WIRE_DONE, "{\"arch\":\"llama\"}");
}

static int runner_main(void)
{
    const char *how = getenv("IMPORT_DO");
    wire *w = NULL;
    if (!strcmp(how, "never")) /* gone before anything is sent to it */
        _exit(5);
    if (wire_open(WIRE_RUNNER_FD, &(wire_opts){.side = WIRE_RUNNER}, &w, NULL))
        return 9;
    if (!strcmp(how, "version")) {
        say(w, WIRE_HELLO, "{\"version\":99}");
    } else {
        say(w, WIRE_HELLO, "{\"version\":1}");
    }
    if (!strcmp(how, "convert"))
        convert(w);
    else if (!strcmp(how, "refuse"))
        say(w, WIRE_FAIL, "{\"code\":\"ERR_FORMAT\",\"text\":\"config.json is odd\"}");
    else if (!strcmp(how, "odd"))
        say(w, WIRE_READY, "{}");
    else if (!strcmp(how, "garbage"))
        (void)!write(WIRE_RUNNER_FD, "what is this, no frame at all", 29);
    else if (!strcmp(how, "die"))
        (void)raise(SIGKILL);
    else if (!strcmp(how, "leave"))
        _exit(4);
    else
        (void)sleep(1000); /* hang */
    (void)wire_flush(w, 5000);
    return 0;
}

/* ---- the pool ---- */

typedef struct watched {
    atomic_uint n_progress, n_asked;
    unsigned ends_at; /* goes_on is false from this question on; 0: never */
} watched;

static void on_progress(void *user, uint64_t done, uint64_t all)
{
    watched *w = user;
    assert_true(done == 1 && all == 2); /* nonsense is not passed on */
    atomic_fetch_add(&w->n_progress, 1);
}

static bool goes_on(void *user)
{
    watched *w = user;
    const unsigned n = atomic_fetch_add(&w->n_asked, 1) + 1;
    return !w->ends_at || n < w->ends_at;
}

static int temp_file(const char *bytes)
{
    char path[] = "/tmp/test_pool_import_XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)unlink(path);
    assert_int_equal(write(fd, bytes, strlen(bytes)), (ssize_t)strlen(bytes));
    return fd;
}

static cama_err run(pool *p, const char *how, watched *w, char out[N_FILE + 1], err_info *err)
{
    const char *names[N_FILE];
    int fds[N_FILE];
    for (int i = 0; i < N_FILE; i++) {
        const char text[2] = {(char)('A' + i % 26), 0};
        names[i] = "model \"x\".safetensors";
        fds[i] = temp_file(text);
    }
    const int to = temp_file("");
    const pool_import what = {.names = names,
                              .fds = fds,
                              .n = N_FILE,
                              .out_fd = to,
                              .progress = on_progress,
                              .goes_on = goes_on,
                              .user = w};
    (void)setenv("IMPORT_DO", how, 1);
    const cama_err e = pool_import_run(p, &what, err);
    memset(out, 0, N_FILE + 1);
    assert_true(pread(to, out, N_FILE, 0) >= 0);
    for (int i = 0; i < N_FILE; i++)
        (void)close(fds[i]); /* read */
    (void)close(to);         /* looked at */
    return e;
}

static pool *open_pool(uint64_t load_timeout_ns)
{
    pool *p = NULL;
    const pool_opts o = {.load_timeout_ns = load_timeout_ns};
    assert_int_equal(pool_open(&o, &p, NULL), CAMA_OK);
    return p;
}

static void every_end(void **state)
{
    (void)state;
    static const struct {
        const char *how;
        cama_err code;
        const char *says;
    } cases[] = {
        {"refuse", CAMA_ERR_FORMAT, "config.json is odd"},
        {"version", CAMA_ERR_RUNNER, "another version of the wire"},
        {"odd", CAMA_ERR_RUNNER, "the import sent a frame READY"},
        {"garbage", CAMA_ERR_RUNNER, "a frame begins with bytes"},
        {"die", CAMA_ERR_RUNNER, "ended: killed by signal 9"},
        {"leave", CAMA_ERR_RUNNER, "ended: exited with status 4"},
        {"never", CAMA_ERR_RUNNER, "ended: exited with status 5"},
    };
    pool *p = open_pool(0);
    char out[N_FILE + 1];
    err_info err;
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        watched w = {.ends_at = 0};
        const cama_err e = run(p, cases[i].how, &w, out, &err);
        if (e != cases[i].code || e != err.code || !strstr(err.text, cases[i].says))
            fail_msg("%s: %d %s", cases[i].how, (int)e, err.text);
    }
    watched w = {.ends_at = 0};
    assert_int_equal(run(p, "convert", &w, out, &err), CAMA_OK);
    assert_string_equal(out, "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMN");
    assert_int_equal(atomic_load(&w.n_progress), N_FILE / 2);
    pool_close(p);
}

static void the_caller_has_enough(void **state)
{
    (void)state;
    pool *p = open_pool(0);
    char out[N_FILE + 1];
    err_info err;
    watched w = {.ends_at = 3};
    assert_int_equal(run(p, "hang", &w, out, &err), CAMA_ERR_CANCELED);
    assert_int_equal(atomic_load(&w.n_asked), 3);
    pool_close(p);
}

static void silence(void **state)
{
    (void)state;
    pool *p = open_pool(700000000);
    char out[N_FILE + 1];
    err_info err;
    watched w = {.ends_at = 0};
    const uint64_t began_ns = clock_now_ns();
    assert_int_equal(run(p, "hang", &w, out, &err), CAMA_ERR_RUNNER);
    assert_non_null(strstr(err.text, "said nothing for"));
    assert_true(clock_now_ns() - began_ns >= 700000000);
    pool_close(p);
}

static void *drain(void *p)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL); /* early is as good */
    pool_drain(p, 1000);
    return NULL;
}

static void the_pool_drains(void **state)
{
    (void)state;
    pool *p = open_pool(0);
    pthread_t t;
    char out[N_FILE + 1];
    err_info err;
    watched w = {.ends_at = 0};
    assert_int_equal(pthread_create(&t, NULL, drain, p), 0);
    assert_int_equal(run(p, "hang", &w, out, &err), CAMA_ERR_CANCELED);
    (void)pthread_join(t, NULL);
    pool_close(p);
}

static void too_many(void **state)
{
    (void)state;
    pool *p = open_pool(0);
    err_info err;
    assert_int_equal(pool_import_run(p, &(pool_import){.n = 0}, &err), CAMA_ERR_LIMIT);
    assert_int_equal(pool_import_run(p, &(pool_import){.n = POOL_IMPORT_MAX_FILE + 1}, &err),
                     CAMA_ERR_LIMIT);
    pool_close(p);
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "runner"))
        return runner_main();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_end), cmocka_unit_test(the_caller_has_enough),
        cmocka_unit_test(silence),   cmocka_unit_test(the_pool_drains),
        cmocka_unit_test(too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
