/* Frames there and back: heads, data, descriptors, the queue, the end. */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "wire/wire.h"

typedef struct ends {
    wire *serve, *runner;
} ends;

static ends open_ends(size_t max_queue)
{
    int fd[2];
    err_info err;
    ends x;
    assert_int_equal(wire_pair(fd, &err), CAMA_OK);
    const wire_opts serve = {.side = WIRE_SERVE, .max_queue = max_queue};
    const wire_opts runner = {.side = WIRE_RUNNER, .max_queue = max_queue};
    assert_int_equal(wire_open(fd[0], &serve, &x.serve, &err), CAMA_OK);
    assert_int_equal(wire_open(fd[1], &runner, &x.runner, &err), CAMA_OK);
    return x;
}

static void close_ends(ends *x)
{
    wire_close(x->serve);
    wire_close(x->runner);
}

static wire_out frame(wire_type t, uint64_t job, const char *head, const char *data)
{
    return (wire_out){.type = t,
                      .job = job,
                      .head = head,
                      .n_head = head ? strlen(head) : 0,
                      .data = data,
                      .n_data = data ? strlen(data) : 0};
}

static void heads_and_data(void **state)
{
    (void)state;
    ends x = open_ends(0);
    err_info err;
    wire_out out = frame(WIRE_JOB, UINT64_MAX - 1,
                         "{\"kind\":\"chat\",\"n\":-7,\"on\":true,\"f\":1.5}", "bytes");
    assert_int_equal(wire_send(x.serve, &out, &err), CAMA_OK);
    out = frame(WIRE_PING, 0, NULL, NULL);
    assert_int_equal(wire_send(x.serve, &out, &err), CAMA_OK);
    out = frame(WIRE_TEXT, 3, "{}", "word");
    assert_int_equal(wire_send(x.runner, &out, &err), CAMA_OK);

    wire_frame f;
    assert_int_equal(wire_recv(x.runner, &f, &err), CAMA_OK);
    assert_int_equal(f.type, WIRE_JOB);
    assert_true(f.job == UINT64_MAX - 1);
    assert_string_equal(wire_str(&f, "kind", "?"), "chat");
    assert_string_equal(wire_str(&f, "n", "?"), "?");
    assert_int_equal(wire_int(&f, "n", 1), -7);
    assert_int_equal(wire_int(&f, "f", 1), 1);
    assert_int_equal(wire_int(&f, "none", 4), 4);
    assert_true(wire_bool(&f, "on", false));
    assert_false(wire_bool(&f, "kind", false));
    assert_int_equal(f.n_data, 5);
    assert_memory_equal(f.data, "bytes", 5);
    assert_int_equal((uintptr_t)f.data % 16, 0);
    assert_int_equal(wire_recv(x.runner, &f, &err), CAMA_OK);
    assert_int_equal(f.type, WIRE_PING);
    assert_int_equal(f.head->kind, JSON_OBJECT);
    assert_int_equal(f.head->n, 0);
    assert_int_equal(f.n_data, 0);
    assert_string_equal(f.head_text, "{}");
    assert_int_equal(wire_recv(x.serve, &f, &err), CAMA_OK);
    assert_int_equal(f.type, WIRE_TEXT);
    assert_memory_equal(f.data, "word", 4);
    close_ends(&x);
}

static void what_a_side_may_send(void **state)
{
    (void)state;
    ends x = open_ends(0);
    err_info err;
    wire_out out = frame(WIRE_JOB, 1, NULL, NULL);
    assert_int_equal(wire_send(x.runner, &out, &err), CAMA_ERR_ARG);
    out = frame(WIRE_TEXT, 1, NULL, NULL);
    assert_int_equal(wire_send(x.serve, &out, &err), CAMA_ERR_ARG);
    out.type = WIRE_N_TYPE;
    assert_int_equal(wire_send(x.serve, &out, &err), CAMA_ERR_ARG);
    out = (wire_out){.type = WIRE_TEXT, .data = "", .n_data = (size_t)WIRE_MAX_DATA_UP + 1};
    assert_int_equal(wire_send(x.runner, &out, &err), CAMA_ERR_LIMIT);
    out = (wire_out){.type = WIRE_TEXT, .head = "", .n_head = (size_t)WIRE_MAX_HEAD_UP + 1};
    assert_int_equal(wire_send(x.runner, &out, &err), CAMA_ERR_LIMIT);
    const int fds[WIRE_MAX_FD + 1] = {0};
    out = (wire_out){.type = WIRE_LOAD, .fds = fds, .n_fd = WIRE_MAX_FD + 1};
    assert_int_equal(wire_send(x.serve, &out, &err), CAMA_ERR_LIMIT);
    assert_string_equal(wire_type_name(WIRE_CREDIT), "CREDIT");
    assert_string_equal(wire_type_name(WIRE_NONE), "?");
    assert_string_equal(wire_type_name(WIRE_N_TYPE), "?");
    close_ends(&x);
}

static int file_with(const char *text)
{
    char path[] = "/tmp/cama_wire_XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    return fd;
}

static void descriptors_travel(void **state)
{
    (void)state;
    ends x = open_ends(0);
    err_info err;
    int fds[WIRE_MAX_FD];
    for (int i = 0; i < WIRE_MAX_FD; i++)
        fds[i] = file_with(i ? "other" : "first");
    wire_out out = frame(WIRE_PING, 0, "{\"n\":1}", NULL);
    assert_int_equal(wire_send(x.serve, &out, &err), CAMA_OK);
    out = frame(WIRE_LOAD, 0, "{\"files\":16}", NULL);
    out.fds = fds;
    out.n_fd = WIRE_MAX_FD;
    assert_int_equal(wire_send(x.serve, &out, &err), CAMA_OK);
    for (int i = 0; i < WIRE_MAX_FD; i++)
        (void)close(fds[i]);
    wire_frame f;
    assert_int_equal(wire_recv(x.runner, &f, &err), CAMA_OK);
    assert_int_equal(f.n_fd, 0);
    assert_int_equal(wire_recv(x.runner, &f, &err), CAMA_OK);
    assert_int_equal(f.n_fd, WIRE_MAX_FD);
    for (int i = 0; i < WIRE_MAX_FD; i++) {
        char got[6] = {0};
        assert_int_equal(pread(f.fds[i], got, 5, 0), 5);
        assert_string_equal(got, i ? "other" : "first");
        assert_true(fcntl(f.fds[i], F_GETFD) & FD_CLOEXEC);
        (void)close(f.fds[i]);
    }
    close_ends(&x);
}

/* The frame waits in the queue, the caller closes its file meanwhile. */
static void descriptors_wait_in_the_queue(void **state)
{
    (void)state;
    ends x = open_ends(0);
    err_info err;
    static char large[4 << 20];
    wire_out out = {.type = WIRE_JOB, .data = large, .n_data = sizeof large};
    assert_int_equal(wire_send(x.serve, &out, &err), CAMA_OK);
    const int fd = file_with("first");
    out = (wire_out){.type = WIRE_LOAD, .fds = &fd, .n_fd = 1};
    assert_int_equal(wire_send(x.serve, &out, &err), CAMA_OK);
    (void)close(fd);
    assert_false(wire_flush(x.serve, 10));
    wire_frame f;
    assert_int_equal(wire_recv(x.runner, &f, &err), CAMA_OK);
    assert_int_equal(f.n_data, sizeof large);
    assert_int_equal(wire_recv(x.runner, &f, &err), CAMA_OK);
    assert_int_equal(f.n_fd, 1);
    char got[6] = {0};
    assert_int_equal(pread(f.fds[0], got, 5, 0), 5);
    assert_string_equal(got, "first");
    (void)close(f.fds[0]);
    assert_true(wire_flush(x.serve, 1000));
    close_ends(&x);
}

#define N_STORM 3000

static void *send_storm(void *arg)
{
    wire *w = arg;
    static char data[5000];
    for (uint64_t i = 0; i < N_STORM; i++) {
        const wire_out out = {.type = WIRE_TEXT, .job = i, .data = data, .n_data = i % 5000};
        err_info err;
        if (wire_send(w, &out, &err))
            return (void *)w;
    }
    return NULL;
}

/* Three threads send; the order of each one's frames is kept whether they waited or not. */
static void many_threads_send(void **state)
{
    (void)state;
    ends x = open_ends((size_t)64 << 20);
    pthread_t t[3];
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&t[i], NULL, send_storm, x.runner), 0);
    uint64_t sum = 0;
    for (int i = 0; i < 3 * N_STORM; i++) {
        wire_frame f;
        err_info err;
        assert_int_equal(wire_recv(x.serve, &f, &err), CAMA_OK);
        assert_int_equal(f.n_data, f.job % 5000);
        sum += f.job;
    }
    assert_true(sum == 3ull * N_STORM * (N_STORM - 1) / 2);
    for (int i = 0; i < 3; i++) {
        void *failed;
        assert_int_equal(pthread_join(t[i], &failed), 0);
        assert_null(failed);
    }
    assert_true(wire_flush(x.runner, 1000));
    close_ends(&x);
}

static void a_peer_that_does_not_read(void **state)
{
    (void)state;
    ends x = open_ends((size_t)1 << 20);
    err_info err;
    static char data[10000];
    const wire_out out = {.type = WIRE_TEXT, .job = 1, .data = data, .n_data = sizeof data};
    cama_err e;
    size_t n = 0;
    while (!(e = wire_send(x.runner, &out, &err)))
        assert_true(++n < 1000);
    assert_int_equal(e, CAMA_ERR_LIMIT);
    assert_non_null(strstr(err.text, "that the peer has not read"));
    assert_true(n >= 100);
    wire_frame f; /* what was taken is whole, and then there is room again */
    for (size_t i = 0; i < n; i++)
        assert_int_equal(wire_recv(x.serve, &f, &err), CAMA_OK);
    assert_true(wire_flush(x.runner, 1000));
    assert_int_equal(wire_send(x.runner, &out, &err), CAMA_OK);
    close_ends(&x);
}

static void the_peer_leaves(void **state)
{
    (void)state;
    ends x = open_ends(0);
    err_info err;
    const wire_out out = frame(WIRE_TEXT, 1, NULL, "last words");
    assert_int_equal(wire_send(x.runner, &out, &err), CAMA_OK);
    wire_close(x.runner);
    wire_frame f;
    assert_int_equal(wire_recv(x.serve, &f, &err), CAMA_OK);
    assert_int_equal(wire_recv(x.serve, &f, &err), CAMA_ERR_CANCELED);
    assert_int_equal(wire_recv(x.serve, &f, &err), CAMA_ERR_CANCELED);
    const wire_out ping = frame(WIRE_PING, 0, NULL, NULL);
    assert_int_equal(wire_send(x.serve, &ping, &err), CAMA_ERR_CANCELED);
    assert_true(wire_flush(x.serve, 1000));
    wire_close(x.serve);
}

static void *recv_one(void *arg)
{
    wire_frame f;
    err_info err;
    const cama_err e = wire_recv(arg, &f, &err);
    return (void *)(uintptr_t)e;
}

static void a_shutdown_wakes_the_reader(void **state)
{
    (void)state;
    ends x = open_ends(0);
    pthread_t t[2];
    assert_int_equal(pthread_create(&t[0], NULL, recv_one, x.serve), 0);
    assert_int_equal(pthread_create(&t[1], NULL, recv_one, x.runner), 0);
    (void)usleep(20000);
    wire_shutdown(x.serve);
    wire_shutdown(x.serve);
    for (int i = 0; i < 2; i++) {
        void *e;
        assert_int_equal(pthread_join(t[i], &e), 0);
        assert_int_equal((uintptr_t)e, CAMA_ERR_CANCELED);
    }
    close_ends(&x);
}

/* The thread waits for room when the end is closed. */
static void closing_with_a_full_queue(void **state)
{
    (void)state;
    ends x = open_ends(0);
    err_info err;
    static char data[4 << 20];
    const wire_out out = {.type = WIRE_TEXT, .job = 1, .data = data, .n_data = sizeof data};
    assert_int_equal(wire_send(x.runner, &out, &err), CAMA_OK);
    assert_false(wire_flush(x.runner, 1));
    wire_close(x.runner);
    wire_frame f;
    assert_int_equal(wire_recv(x.serve, &f, &err), CAMA_ERR_FORMAT);
    assert_non_null(strstr(err.text, "left in frame TEXT"));
    wire_close(x.serve);
}

static void errors_as_heads(void **state)
{
    (void)state;
    ends x = open_ends(0);
    for (int code = CAMA_ERR_ARG; code < CAMA_N_ERR; code++) {
        err_info err;
        err_info got;
        buf head;
        buf_init(&head, 4096);
        (void)err_set(&err, (cama_err)code, "with \"quotes\" and \n lines");
        assert_int_equal(wire_put_err(&head, &err), CAMA_OK);
        wire_out out = frame(WIRE_FAIL, 9, head.data, NULL);
        assert_int_equal(wire_send(x.runner, &out, &got), CAMA_OK);
        buf_done(&head);
        wire_frame f;
        assert_int_equal(wire_recv(x.serve, &f, &got), CAMA_OK);
        wire_get_err(f.head, &got);
        assert_int_equal(got.code, code);
        assert_string_equal(got.text, err.text);
    }
    err_info got;
    const json_value none = {.kind = JSON_OBJECT};
    wire_get_err(&none, &got);
    assert_int_equal(got.code, CAMA_ERR_ENGINE);
    assert_string_equal(got.text, cama_err_text(CAMA_ERR_ENGINE));
    json_value nothing = {.kind = JSON_STRING, .text = ""};
    json_member member = {.key = "text", .n_key = 4, .value = &nothing};
    const json_value silent = {.kind = JSON_OBJECT, .n = 1, .members = &member};
    wire_get_err(&silent, &got); /* a client is told something in any case */
    assert_string_equal(got.text, cama_err_text(CAMA_ERR_ENGINE));
    close_ends(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_and_data),
        cmocka_unit_test(what_a_side_may_send),
        cmocka_unit_test(descriptors_travel),
        cmocka_unit_test(descriptors_wait_in_the_queue),
        cmocka_unit_test(many_threads_send),
        cmocka_unit_test(a_peer_that_does_not_read),
        cmocka_unit_test(the_peer_leaves),
        cmocka_unit_test(a_shutdown_wakes_the_reader),
        cmocka_unit_test(closing_with_a_full_queue),
        cmocka_unit_test(errors_as_heads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
