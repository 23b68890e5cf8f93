/* Many clients at once that abort, reset, pipeline and leave at random: every request is accounted
 * for at the end. And a thousand streams side by side. */
#include "http_rig.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOWER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SLOWER 1
#endif
#endif
#ifndef SLOWER
#define SLOWER 0
#endif

#define CHURN_MS (SLOWER ? 4000 : 3000)
#define CHURN_THREADS 8
#define STREAMS 1000

static rig shared;
static atomic_int n_done;

static uint32_t rnd(uint32_t *state, uint32_t n)
{
    *state = *state * 1664525u + 1013904223u;
    return (*state >> 8) % n;
}

static const char *const requests[] = {
    "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET /nope HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET /api/big HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
    "POST /api/stream HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\n30 100 1",
    "POST /api/stream HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12\r\n\r\n3000 4000 0 ",
    "POST /api/wait HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
    "POST /api/blobs/new HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\nabcdef",
    "POST /api/blobs/new HTTP/1.1\r\nHost: localhost\r\nContent-Length: 600000\r\n\r\nabcdef",
    "POST /api/blobs/have HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\nabcdef",
    "POST /api/blobs/c HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    "3\r\nabc\r\n0\r\n\r\n",
    "POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "OPTIONS /api/chat HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\r\n",
    "POST /api/chat HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
    "Content-Length: 5\r\n\r\nhello",
    "GET / HTTP/1.0\r\n\r\n",
    "garbage\r\n\r\n",
};

/* One connection: a few requests, perhaps cut, perhaps read, then gone in one of four ways. */
static void churn_once(uint32_t *state)
{
    const struct linger reset = {1, 0};
    char bytes[4096];
    const int fd = rig_connect(&shared);
    const uint32_t n = 1 + rnd(state, 3);
    bool ok = true;
    for (uint32_t i = 0; i < n && ok; i++) {
        const char *text = requests[rnd(state, TEST_COUNT(requests))];
        size_t len = strlen(text);
        if (rnd(state, 5) == 0)
            len = rnd(state, (uint32_t)len);
        ok = rig_send_bytes(fd, text, len);
        if (rnd(state, 3) == 0)
            rig_sleep_us(rnd(state, 3000));
    }
    if (rnd(state, 2) == 0) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        for (uint32_t i = rnd(state, 20); i > 0 && poll(&p, 1, 20) == 1; i--)
            if (recv(fd, bytes, sizeof bytes, 0) <= 0)
                break;
    }
    const uint32_t way = rnd(state, 4);
    if (way == 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    if (way == 1) {
        (void)shutdown(fd, SHUT_WR);
        rig_sleep_us(rnd(state, 2000));
    }
    close(fd);
    atomic_fetch_add(&n_done, 1);
}

static void *churn_main(void *arg)
{
    uint32_t state = (uint32_t)(uintptr_t)arg * 7919u + 1;
    const uint64_t end = clock_now_ns() + (uint64_t)CHURN_MS * 1000000;
    while (clock_now_ns() < end)
        churn_once(&state);
    return NULL;
}

static void churn(void **state)
{
    (void)state;
    pthread_t t[CHURN_THREADS];
    rig_open(&shared, NULL);
    for (uintptr_t i = 0; i < CHURN_THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, churn_main, (void *)i), 0);
    for (size_t i = 0; i < CHURN_THREADS; i++)
        pthread_join(t[i], NULL);
    /* it still answers */
    rig_reply a;
    rig_ask(&shared, requests[0], &a);
    assert_string_equal(a.body, "Ollama is running");
    free(a.body);
    rig_close(&shared); /* checks that no call is left */
    print_message("%d connections\n", atomic_load(&n_done));
}

/* The server ends in the middle of it all. */
static void churn_to_the_end(void **state)
{
    (void)state;
    for (int round = 0; round < 5; round++) {
        int fd[60];
        uint32_t rnd_state = (uint32_t)round + 77;
        rig_open(&shared, NULL);
        for (size_t i = 0; i < TEST_COUNT(fd); i++) {
            const char *text = requests[rnd(&rnd_state, TEST_COUNT(requests))];
            fd[i] = rig_connect(&shared);
            (void)rig_send(fd[i], text);
        }
        rig_stop(&shared, (uint32_t)round * 20);
        for (size_t i = 0; i < TEST_COUNT(fd); i++)
            close(fd[i]);
    }
}

/* All streams are whole, and their lines are in order. */
static void many_streams(void **state)
{
    (void)state;
    static const char ask[] =
        "POST /api/stream HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n20 115 10 ";
    static int fd[STREAMS];
    const int n = SLOWER ? STREAMS / 4 : STREAMS;
    rig_open(&shared, NULL);
    for (int i = 0; i < n; i++) {
        fd[i] = rig_connect(&shared);
        assert_true(rig_send(fd[i], ask));
    }
    for (int i = 0; i < n; i++) {
        rig_reply a;
        if (!rig_read(fd[i], false, &a))
            fail_msg("stream %d is cut", i);
        assert_int_equal(a.n_chunk, 20);
        for (int line = 0; line < 20; line++) {
            char want[16];
            const int n_want = snprintf(want, sizeof want, "%d", line);
            assert_int_equal(a.chunk[line], 115);
            assert_memory_equal(a.body + line * 115, want, n_want);
        }
        free(a.body);
        close(fd[i]);
    }
    assert_int_equal(atomic_load(&rig_s.n_gone), 0);
    rig_close(&shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(churn),
        cmocka_unit_test(churn_to_the_end),
        cmocka_unit_test(many_streams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
