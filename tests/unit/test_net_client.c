/* The HTTP client against a server of a few lines: whole, in lines, cut, endless, slow, canceled.
 */
#include "net/client.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "test.h"

/* What the server says to one request, and what it was asked. */
typedef struct talk {
    const char *reply[4]; /* pieces, sent one after the other */
    unsigned pause_ms;    /* between them */
    const char *endless;  /* sent until the client leaves; NULL: nothing */
    int fd;               /* listening */
    char asked[8192];
    size_t n_asked;
    pthread_t thread;
} talk;

static void sleep_ms(unsigned ms)
{
    (void)nanosleep(&(struct timespec){ms / 1000, (long)(ms % 1000) * 1000000}, NULL);
}

/* Whether the request is whole: its head, and as much body as it says. */
static bool is_whole(const talk *t)
{
    const char *end = strstr(t->asked, "\r\n\r\n");
    const char *length = strstr(t->asked, "Content-Length: ");
    if (!end)
        return false;
    const size_t n_body = length ? (size_t)atol(length + 16) : 0;
    return t->n_asked >= (size_t)(end + 4 - t->asked) + n_body;
}

static void *serve_one(void *user)
{
    talk *t = user;
    const int fd = accept(t->fd, NULL, NULL);
    while (!is_whole(t)) {
        const ssize_t n = recv(fd, t->asked + t->n_asked, sizeof t->asked - 1 - t->n_asked, 0);
        if (n <= 0)
            break;
        t->n_asked += (size_t)n;
        t->asked[t->n_asked] = '\0';
    }
    for (size_t i = 0; i < 4 && t->reply[i]; i++) {
        if (i)
            sleep_ms(t->pause_ms);
        (void)send(fd, t->reply[i], strlen(t->reply[i]), MSG_NOSIGNAL);
    }
    while (t->endless && send(fd, t->endless, strlen(t->endless), MSG_NOSIGNAL) > 0)
        continue;
    close(fd);
    return NULL;
}

static net_client *start(talk *t)
{
    net_host h;
    net_client *c;
    err_info err;
    bool in_use;
    assert_int_equal(net_host_parse("127.0.0.1:0", &h, &err), CAMA_OK);
    h.port = 0;
    assert_int_equal(net_listen_tcp(&h, &t->fd, &in_use, &err), CAMA_OK);
    h.port = net_port(t->fd);
    assert_int_equal(fcntl(t->fd, F_SETFL, 0), 0); /* accept may wait */
    assert_int_equal(pthread_create(&t->thread, NULL, serve_one, t), 0);
    assert_int_equal(net_client_open(&h, NULL, &c, &err), CAMA_OK);
    return c;
}

static void stop(talk *t, net_client *c)
{
    net_client_close(c);
    pthread_join(t->thread, NULL);
    close(t->fd);
}

typedef struct lines {
    char text[4096];
    size_t n, n_max;
    bool cancel;
} lines;

static bool on_line(void *user, const char *text, size_t n)
{
    lines *l = user;
    (void)snprintf(l->text + strlen(l->text), sizeof l->text - strlen(l->text), "[%.*s]", (int)n,
                   text);
    return ++l->n < l->n_max || !l->n_max;
}

static bool on_cancel(void *user)
{
    lines *l = user;
    return l->cancel;
}

#define HEAD                                                                                       \
    "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"

static void test_a_whole_reply(void **state)
{
    (void)state;
    talk t = {.reply = {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "{}"}, .pause_ms = 20};
    net_client *c = start(&t);
    net_reply r;
    err_info err;
    const net_request q = {
        .method = "POST", .path = "/api/show", .body = "{\"model\":\"x\"}", .n_body = 13};
    assert_int_equal(net_send(c, &q, &r, &err), CAMA_OK);
    assert_int_equal(r.status, 200);
    assert_string_equal(r.body.data, "{}");
    assert_non_null(strstr(t.asked, "POST /api/show HTTP/1.1\r\n"));
    assert_non_null(strstr(t.asked, "Content-Type: application/json\r\n"));
    assert_non_null(strstr(t.asked, "\r\n\r\n{\"model\":\"x\"}"));
    assert_null(strstr(t.asked, "Expect:"));
    buf_done(&r.body);
    stop(&t, c);
}

static void test_lines_come_whole_however_they_are_cut(void **state)
{
    (void)state;
    talk t = {.reply = {HEAD "4\r\n{\"a\"\r\n", "9\r\n:1}\n\n{\"b\"\r\n",
                        "5\r\n:2}\r\n\r\n2\r\n{}\r\n", "0\r\n\r\n"},
              .pause_ms = 20};
    net_client *c = start(&t);
    net_reply r;
    err_info err;
    lines l = {0};
    const net_request q = {.method = "GET",
                           .path = "/x",
                           .accept = "application/x-ndjson",
                           .line = on_line,
                           .user = &l};
    assert_int_equal(net_send(c, &q, &r, &err), CAMA_OK);
    assert_string_equal(l.text, "[{\"a\":1}][{\"b\":2}][{}]"); /* an empty line is none */
    assert_int_equal(r.body.n, 0);
    assert_non_null(strstr(t.asked, "Accept: application/x-ndjson\r\n"));
    buf_done(&r.body);
    stop(&t, c);
}

static void test_the_body_of_an_error_is_no_line(void **state)
{
    (void)state;
    talk t = {.reply = {"HTTP/1.1 404 Not Found\r\nContent-Length: 13\r\n\r\n{\"error\":\"x\"}"}};
    net_client *c = start(&t);
    net_reply r;
    err_info err;
    lines l = {0};
    const net_request q = {.method = "GET", .path = "/x", .line = on_line, .user = &l};
    assert_int_equal(net_send(c, &q, &r, &err), CAMA_OK);
    assert_int_equal(r.status, 404);
    assert_string_equal(r.body.data, "{\"error\":\"x\"}");
    assert_int_equal(l.n, 0);
    buf_done(&r.body);
    stop(&t, c);
}

static void test_a_cut_reply_is_an_error(void **state)
{
    (void)state;
    static const char *const replies[][2] = {
        {HEAD "4\r\n{}\n{\r\n", NULL},
        {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", NULL},
        {"HTTP/1.1 200 OK\r\nContent-", NULL},
        {NULL, NULL},
    };
    for (size_t i = 0; i < sizeof replies / sizeof replies[0]; i++) {
        talk t = {.reply = {replies[i][0]}};
        net_client *c = start(&t);
        net_reply r;
        err_info err;
        lines l = {0};
        const net_request q = {.method = "GET", .path = "/x", .line = on_line, .user = &l};
        assert_int_equal(net_send(c, &q, &r, &err), CAMA_ERR_IO);
        assert_non_null(strstr(err.text, "127.0.0.1"));
        buf_done(&r.body);
        stop(&t, c);
    }
}

static void test_an_endless_line_ends_at_the_limit(void **state)
{
    (void)state;
    talk t = {.reply = {"HTTP/1.1 200 OK\r\n\r\n"}, .endless = "0123456789abcdef0123456789abcdef"};
    net_client *c = start(&t);
    net_reply r;
    err_info err;
    lines l = {0};
    const net_request q = {
        .method = "GET", .path = "/x", .line = on_line, .user = &l, .max_body = 10000};
    assert_int_equal(net_send(c, &q, &r, &err), CAMA_ERR_LIMIT);
    assert_non_null(strstr(err.text, "10000"));
    assert_int_equal(l.n, 0);
    buf_done(&r.body);
    stop(&t, c);
}

static void test_a_large_body_ends_at_the_limit(void **state)
{
    (void)state;
    talk t = {.reply = {"HTTP/1.1 200 OK\r\n\r\n"}, .endless = "0123456789abcdef\n"};
    net_client *c = start(&t);
    net_reply r;
    err_info err;
    const net_request q = {.method = "GET", .path = "/x", .max_body = 10000};
    assert_int_equal(net_send(c, &q, &r, &err), CAMA_ERR_LIMIT);
    assert_true(r.body.n <= 10000);
    buf_done(&r.body);
    stop(&t, c);
}

static void test_giving_up(void **state)
{
    (void)state;
    talk t = {.reply = {"HTTP/1.1 200 OK\r\n\r\n"}, .endless = "line\n"};
    net_client *c = start(&t);
    net_reply r;
    err_info err;
    lines l = {.n_max = 3};
    const net_request q = {.method = "GET", .path = "/x", .line = on_line, .user = &l};
    assert_int_equal(net_send(c, &q, &r, &err), CAMA_ERR_CANCELED);
    assert_int_equal(l.n, 3);
    buf_done(&r.body);
    stop(&t, c);
}

static void test_canceling_a_silent_server(void **state)
{
    (void)state;
    talk t = {.reply = {"", HEAD}, .pause_ms = 1500};
    net_client *c = start(&t);
    net_reply r;
    err_info err;
    lines l = {.cancel = true};
    const uint64_t before = clock_now_ns();
    const net_request q = {
        .method = "GET", .path = "/x", .line = on_line, .canceled = on_cancel, .user = &l};
    assert_int_equal(net_send(c, &q, &r, &err), CAMA_ERR_CANCELED);
    assert_true(clock_now_ns() - before < 1000000000u);
    buf_done(&r.body);
    stop(&t, c);
}

static void test_nobody_listens(void **state)
{
    (void)state;
    net_host h;
    net_client *c;
    net_reply r;
    err_info err;
    const net_request q = {.method = "GET", .path = "/"};
    assert_int_equal(net_host_parse("127.0.0.1:1", &h, &err), CAMA_OK);
    assert_int_equal(net_client_open(&h, NULL, &c, &err), CAMA_OK);
    assert_int_equal(net_send(c, &q, &r, &err), CAMA_ERR_NOT_FOUND);
    buf_done(&r.body);
    net_client_close(c);
    assert_int_equal(net_client_open(NULL, "/nowhere/socket", &c, &err), CAMA_OK);
    assert_int_equal(net_send(c, &q, &r, &err), CAMA_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "/nowhere/socket"));
    buf_done(&r.body);
    net_client_close(c);
}

typedef struct progress {
    uint64_t done, all, stop_at;
} progress;

static bool on_uploaded(void *user, uint64_t done, uint64_t all)
{
    progress *p = user;
    p->done = done;
    p->all = all;
    return !p->stop_at || done < p->stop_at;
}

static void test_a_file_is_sent(void **state)
{
    (void)state;
    char path[] = "/tmp/test_net_client_XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "some bytes", 10), 10);
    close(fd);
    talk t = {.reply = {"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"}};
    net_client *c = start(&t);
    net_reply r;
    err_info err;
    progress p = {0};
    net_request q = {.method = "POST",
                     .path = "/api/blobs/sha256:0",
                     .upload_path = path,
                     .uploaded = on_uploaded,
                     .user = &p};
    assert_int_equal(net_send(c, &q, &r, &err), CAMA_OK);
    assert_int_equal(r.status, 201);
    assert_int_equal(p.done, 10);
    assert_int_equal(p.all, 10);
    assert_non_null(strstr(t.asked, "\r\n\r\nsome bytes"));
    buf_done(&r.body);
    stop(&t, c);
    unlink(path);

    talk none = {.reply = {NULL}};
    c = start(&none);
    assert_int_equal(net_send(c, &q, &r, &err), CAMA_ERR_IO); /* before anything is sent */
    assert_non_null(strstr(err.text, path));
    buf_done(&r.body);
    /* The thread still waits for somebody. */
    q = (net_request){.method = "GET", .path = "/"};
    (void)net_send(c, &q, &r, &err);
    buf_done(&r.body);
    stop(&none, c);
}

static void test_a_redirect_to_another_scheme_is_refused(void **state)
{
    (void)state;
    static const char *const targets[] = {"file:///etc/hostname", "https://127.0.0.1:1/"};
    for (size_t i = 0; i < 2; i++) {
        char reply[256];
        (void)snprintf(reply, sizeof reply,
                       "HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n",
                       targets[i]);
        talk t = {.reply = {reply}};
        net_client *c = start(&t);
        net_reply r;
        err_info err;
        const net_request q = {.method = "GET", .path = "/x"};
        assert_int_equal(net_send(c, &q, &r, &err), CAMA_ERR_IO);
        buf_done(&r.body);
        stop(&t, c);
    }
}

int main(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_whole_reply),
        cmocka_unit_test(test_lines_come_whole_however_they_are_cut),
        cmocka_unit_test(test_the_body_of_an_error_is_no_line),
        cmocka_unit_test(test_a_cut_reply_is_an_error),
        cmocka_unit_test(test_an_endless_line_ends_at_the_limit),
        cmocka_unit_test(test_a_large_body_ends_at_the_limit),
        cmocka_unit_test(test_giving_up),
        cmocka_unit_test(test_canceling_a_silent_server),
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_a_file_is_sent),
        cmocka_unit_test(test_a_redirect_to_another_scheme_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
