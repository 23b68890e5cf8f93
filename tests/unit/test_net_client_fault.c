/* Every allocation of a request fails once. */
#include "net/client.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fault.h"
#include "test.h"

static net_host host;
static int listening;

/* Answers whatever comes, a connection a time, until the socket is shut. It allocates nothing. */
static void *serve(void *user)
{
    static const char reply[] = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 20\r\n\r\n"
                                "{\"a\":1}\n{\"longer\":2}";
    char chunk[4096];
    (void)user;
    for (;;) {
        const int fd = accept(listening, NULL, NULL);
        if (fd < 0)
            return NULL;
        if (recv(fd, chunk, sizeof chunk, 0) > 0)
            (void)send(fd, reply, sizeof reply - 1, MSG_NOSIGNAL);
        (void)shutdown(fd, SHUT_WR);
        while (recv(fd, chunk, sizeof chunk, 0) > 0)
            continue;
        close(fd);
    }
}

static bool on_line(void *user, const char *text, size_t n)
{
    (void)user;
    (void)text;
    return n > 0;
}

static cama_err request(void *arg, err_info *err)
{
    net_client *c;
    net_reply r;
    cama_err e = net_client_open(&host, NULL, &c, err);
    if (e)
        return e;
    e = net_send(c, arg, &r, err);
    buf_done(&r.body);
    net_client_close(c);
    return e;
}

static void lines(void **state)
{
    (void)state;
    net_request q = {.method = "POST",
                     .path = "/api/generate",
                     .body = "{}",
                     .n_body = 2,
                     .accept = "application/x-ndjson",
                     .line = on_line};
    assert_true(fault_sweep(FAULT_HEAP, request, &q) >= 3);
}

static void whole(void **state)
{
    (void)state;
    net_request q = {.method = "GET", .path = "/api/tags"};
    assert_true(fault_sweep(FAULT_HEAP, request, &q) >= 3);
}

static cama_err by_socket(void *arg, err_info *err)
{
    net_client *c;
    (void)arg;
    const cama_err e = net_client_open(NULL, "/nowhere", &c, err);
    if (!e)
        net_client_close(c);
    return e;
}

static void a_unix_socket(void **state)
{
    (void)state;
    assert_true(fault_sweep(FAULT_HEAP, by_socket, NULL) >= 2);
}

int main(void)
{
    pthread_t thread;
    bool in_use;
    (void)signal(SIGPIPE, SIG_IGN);
    if (net_host_parse("127.0.0.1", &host, NULL))
        return 1;
    host.port = 0;
    if (net_listen_tcp(&host, &listening, &in_use, NULL) || fcntl(listening, F_SETFL, 0) ||
        pthread_create(&thread, NULL, serve, NULL))
        return 1;
    host.port = net_port(listening);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines),
        cmocka_unit_test(whole),
        cmocka_unit_test(a_unix_socket),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)shutdown(listening, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(listening);
    return failed;
}
