/* Allocations fail one by one: opening says so and leaves nothing behind; a request that meets one
 * is answered or cut, and the next one works. */
#include "http_rig.h"

#include "fault.h"

static cama_err open_once(void *arg, err_info *err)
{
    http_opts o = rig_opts();
    net_host host = {.name = "127.0.0.1"};
    bool in_use = false;
    http *h = NULL;
    (void)arg;
    o.origins = "http://a.example,http://b.example:*";
    o.max_connections = 64;
    cama_err e = net_listen_tcp(&host, &o.tcp_fd, &in_use, err);
    if (e)
        return e;
    const int fd = o.tcp_fd;
    e = http_open(&o, &h, err);
    if (e) {
        assert_int_equal(close(fd), 0); /* it is still the caller's */
        return e;
    }
    http_stop(h, 0);
    http_close(h);
    return CAMA_OK;
}

static void opens(void **state)
{
    (void)state;
    assert_true(fault_sweep(FAULT_HEAP | FAULT_THREAD, open_once, NULL) > 20);
}

/* A client that allocates nothing. Gives the status, 0: cut. */
static int ask(const rig *r, const char *text)
{
    char bytes[16384];
    size_t n = 0;
    int status = 0;
    const int fd = rig_connect(r);
    (void)rig_send(fd, text);
    for (;;) {
        const ssize_t got = recv(fd, bytes + n, n < sizeof bytes - 1 ? sizeof bytes - 1 - n : 0, 0);
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    close(fd);
    bytes[n] = '\0';
    if (sscanf(bytes, "HTTP/1.1 %d", &status) != 1)
        return 0;
    return status;
}

#define END "Host: localhost\r\nConnection: close\r\n"

static void requests(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int status;
    } cases[] = {
        {"GET / HTTP/1.1\r\n" END "\r\n", 200},
        {"GET //a HTTP/1.1\r\n" END "\r\n", 307},
        {"GET /nope HTTP/1.1\r\nOrigin: http://localhost\r\n" END "\r\n", 404},
        {"OPTIONS /nope HTTP/1.1\r\nOrigin: http://localhost\r\n" END "\r\n", 204},
        {"POST /api/chat HTTP/1.1\r\n" END "Content-Length: 3\r\n\r\nabc", 200},
        {"POST /api/stream HTTP/1.1\r\n" END "Content-Length: 8\r\n\r\n5 100 0 ", 200},
        {"POST /api/blobs/new HTTP/1.1\r\n" END "Content-Length: 3\r\n\r\nabc", 201},
    };
    rig r;
    size_t n_failed = 0;
    rig_open(&r, NULL);
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        for (size_t k = 0; k < 200; k++) {
            fault_arm(FAULT_HEAP, k);
            const int status = ask(&r, cases[i].text);
            /* until the server is done with it, too */
            const uint64_t end = clock_now_ns() + 5000000000u;
            while (atomic_load(&rig_s.n_call) > 0 && clock_now_ns() < end)
                rig_sleep_us(200);
            if (!fault_disarm()) {
                assert_int_equal(status, cases[i].status);
                break;
            }
            n_failed++;
            if (status != 0 && status != cases[i].status && status < 400)
                fail_msg("%s: %d with failure %zu", cases[i].text, status, k);
            assert_int_equal(ask(&r, cases[i].text), cases[i].status);
        }
    }
    print_message("%zu failures\n", n_failed);
    assert_true(n_failed > 40);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens),
        cmocka_unit_test(requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
