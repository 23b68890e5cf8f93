/* A peer that sends what no peer should: every way ends in a typed error that says what. */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire/wire.h"

/* Room for one frame's beginning; what is not set is as a PING from serve has it. */
typedef struct raw {
    uint8_t bytes[64];
    size_t n;
} raw;

static raw header(wire_type t, uint32_t n_head, uint32_t n_data)
{
    raw r = {.n = WIRE_HEADER_BYTES};
    r.bytes[0] = 'C';
    r.bytes[1] = 'W';
    r.bytes[2] = (uint8_t)t;
    r.bytes[3] = WIRE_VERSION;
    for (int i = 0; i < 4; i++) {
        r.bytes[8 + i] = (uint8_t)(n_head >> (8 * i));
        r.bytes[12 + i] = (uint8_t)(n_data >> (8 * i));
    }
    return r;
}

static void add(raw *r, const char *text)
{
    assert_true(r->n + strlen(text) <= sizeof r->bytes);
    memcpy(r->bytes + r->n, text, strlen(text));
    r->n += strlen(text);
}

static wire *reader(int *out_peer)
{
    int fd[2];
    err_info err;
    wire *w = NULL;
    assert_int_equal(wire_pair(fd, &err), CAMA_OK);
    const wire_opts o = {.side = WIRE_RUNNER};
    assert_int_equal(wire_open(fd[0], &o, &w, &err), CAMA_OK);
    *out_peer = fd[1];
    return w;
}

/* The bytes, then the end of the connection: what a runner reads of it. */
static void expect(const raw *r, cama_err want, const char *text)
{
    int peer;
    wire *w = reader(&peer);
    assert_int_equal(write(peer, r->bytes, r->n), (ssize_t)r->n);
    (void)close(peer);
    wire_frame f;
    err_info err;
    assert_int_equal(wire_recv(w, &f, &err), want);
    if (text && !strstr(err.text, text))
        fail_msg("'%s' is not in '%s'", text, err.text);
    if (want) { /* there is no way back into step */
        assert_int_equal(wire_recv(w, &f, &err), want);
        if (text && !strstr(err.text, text))
            fail_msg("'%s' is not in '%s'", text, err.text);
    }
    wire_close(w);
}

static void wrong_headers(void **state)
{
    (void)state;
    raw r = header(WIRE_PING, 0, 0);
    expect(&r, CAMA_OK, NULL);
    r.bytes[1] = 'X';
    expect(&r, CAMA_ERR_FORMAT, "43 58 instead of \"CW\"");
    r = header(WIRE_PING, 0, 0);
    r.bytes[3] = 2;
    expect(&r, CAMA_ERR_FORMAT, "version 2, this side speaks 1");
    r = header(WIRE_NONE, 0, 0);
    expect(&r, CAMA_ERR_FORMAT, "type 0");
    char last[64];
    (void)snprintf(last, sizeof last, "the last one known is %d", WIRE_N_TYPE - 1);
    r = header(WIRE_N_TYPE, 0, 0);
    expect(&r, CAMA_ERR_FORMAT, last);
    r.bytes[2] = 255;
    expect(&r, CAMA_ERR_FORMAT, "type 255");
    r = header(WIRE_TEXT, 0, 0);
    expect(&r, CAMA_ERR_FORMAT, "TEXT from the side that reads it");
    for (int i = 5; i < 8; i++) {
        r = header(WIRE_PING, 0, 0);
        r.bytes[i] = 1;
        expect(&r, CAMA_ERR_FORMAT, "where zeros are");
    }
}

static void past_the_limits(void **state)
{
    (void)state;
    raw r = header(WIRE_JOB, WIRE_MAX_HEAD_DOWN + 1, 0);
    expect(&r, CAMA_ERR_LIMIT, "a head of 67108865 bytes, at most 67108864");
    r = header(WIRE_JOB, 0, WIRE_MAX_DATA_DOWN + 1);
    expect(&r, CAMA_ERR_LIMIT, "268435457 bytes of data, at most 268435456");
    r = header(WIRE_JOB, UINT32_MAX, UINT32_MAX);
    expect(&r, CAMA_ERR_LIMIT, "4294967295");
    r = header(WIRE_LOAD, 0, 0);
    r.bytes[4] = WIRE_MAX_FD + 1;
    expect(&r, CAMA_ERR_LIMIT, "announces 17 descriptors, at most 16");
    r.bytes[4] = WIRE_MAX_FD;
    expect(&r, CAMA_ERR_FORMAT, "announces 16 descriptors, 0 came");
    /* the largest are allowed, and cost nothing before they come */
    r = header(WIRE_JOB, WIRE_MAX_HEAD_DOWN, WIRE_MAX_DATA_DOWN);
    add(&r, "{");
    expect(&r, CAMA_ERR_FORMAT, "left in frame JOB, after 1 of its 335544320 bytes");
}

static void ends_in_the_middle(void **state)
{
    (void)state;
    raw whole = header(WIRE_JOB, 2, 4);
    add(&whole, "{}data");
    for (size_t n = 0; n < whole.n; n++) {
        raw cut = whole;
        cut.n = n;
        expect(&cut, n ? CAMA_ERR_FORMAT : CAMA_ERR_CANCELED,
               n == 0                  ? "has closed"
               : n < WIRE_HEADER_BYTES ? "bytes of a frame's header"
                                       : "left in frame JOB");
    }
    expect(&whole, CAMA_OK, NULL);
}

static void heads_that_are_none(void **state)
{
    (void)state;
    static const char *const bad[] = {"{",        "[]",         "7", "\"x\"", "{}x",
                                      "{\"a\":}", "{\"a\":1,}", " ", "nul"};
    for (size_t i = 0; i < TEST_COUNT(bad); i++) {
        raw r = header(WIRE_JOB, (uint32_t)strlen(bad[i]), 0);
        add(&r, bad[i]);
        expect(&r, CAMA_ERR_FORMAT, "the head of frame JOB");
    }
}

static void deep_and_wide_heads(void **state)
{
    (void)state;
    enum { N = 200000 };
    for (int wide = 0; wide < 2; wide++) {
        int peer;
        wire *w = reader(&peer);
        char *head = malloc(N + 16);
        assert_non_null(head);
        size_t n = (size_t)sprintf(head, "{\"a\":[");
        while (n < N) {
            head[n++] = wide ? '1' : '[';
            head[n++] = wide ? ',' : '[';
        }
        n += (size_t)sprintf(head + n, "1]}");
        const raw r = header(WIRE_JOB, (uint32_t)n, 0);
        assert_int_equal(write(peer, r.bytes, r.n), (ssize_t)r.n);
        for (size_t at = 0; at < n;) {
            const ssize_t got = send(peer, head + at, n - at, MSG_DONTWAIT);
            assert_true(got > 0);
            at += (size_t)got;
        }
        free(head);
        wire_frame f;
        err_info err;
        const cama_err e = wire_recv(w, &f, &err);
        if (wide)
            assert_int_equal(e, CAMA_OK);
        else
            assert_true(e == CAMA_ERR_LIMIT || e == CAMA_ERR_FORMAT);
        wire_close(w);
        (void)close(peer);
    }
}

static int n_open(void)
{
    int n = 0;
    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void send_with_fds(int peer, const void *bytes, size_t n, size_t n_fd)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int) * 64)];
        struct cmsghdr align;
    } space;
    memset(&space, 0, sizeof space);
    struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = n};
    struct msghdr msg = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space.bytes};
    msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fd);
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int) * n_fd);
    for (size_t i = 0; i < n_fd; i++)
        memcpy(CMSG_DATA(c) + i * sizeof(int), &peer, sizeof(int));
    assert_int_equal(sendmsg(peer, &msg, 0), (ssize_t)n);
}

/* Descriptors that were not announced, too many, or sent with every byte: all are closed. */
static void descriptors_nobody_asked_for(void **state)
{
    (void)state;
    static const struct {
        uint8_t announced;
        size_t sent, chunk;
        cama_err want;
    } list[] = {
        {0, 1, 24, CAMA_ERR_FORMAT},  {1, 2, 24, CAMA_ERR_FORMAT}, {16, 17, 24, CAMA_ERR_LIMIT},
        {16, 20, 24, CAMA_ERR_LIMIT}, {2, 60, 24, CAMA_ERR_LIMIT}, {16, 1, 1, CAMA_ERR_LIMIT},
        {16, 2, 3, CAMA_OK},          {4, 4, 24, CAMA_OK},
    };
    const int before = n_open();
    for (size_t i = 0; i < TEST_COUNT(list); i++) {
        int peer;
        wire *w = reader(&peer);
        raw r = header(WIRE_LOAD, 0, 0);
        r.bytes[4] = list[i].announced;
        for (size_t at = 0; at < r.n; at += list[i].chunk)
            send_with_fds(peer, r.bytes + at, list[i].chunk, list[i].sent);
        wire_frame f;
        err_info err;
        assert_int_equal(wire_recv(w, &f, &err), list[i].want);
        if (!list[i].want) {
            assert_int_equal(f.n_fd, list[i].announced);
            for (size_t k = 0; k < f.n_fd; k++)
                (void)close(f.fds[k]);
        }
        wire_close(w);
        (void)close(peer);
        assert_int_equal(n_open(), before);
    }
}

/* This process has no descriptor left for those that come. */
static void no_descriptor_left(void **state)
{
    (void)state;
    int peer;
    wire *w = reader(&peer);
    raw r = header(WIRE_LOAD, 0, 0);
    r.bytes[4] = 4;
    send_with_fds(peer, r.bytes, r.n, 4);
    struct rlimit old;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    const int next = dup(peer);
    (void)close(next);
    const struct rlimit low = {.rlim_cur = (rlim_t)next + 2, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    wire_frame f;
    err_info err;
    const cama_err e = wire_recv(w, &f, &err);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(e, CAMA_ERR_LIMIT);
    wire_close(w);
    (void)close(peer);
}

/* Byte by byte is as good as at once. */
static void slowly(void **state)
{
    (void)state;
    int peer;
    wire *w = reader(&peer);
    raw r = header(WIRE_JOB, 8, 4);
    add(&r, "{\"a\":12}data");
    int fd2 = dup(peer);
    for (size_t i = 0; i < r.n; i++)
        assert_int_equal(send(fd2, r.bytes + i, 1, 0), 1);
    wire_frame f;
    err_info err;
    assert_int_equal(wire_recv(w, &f, &err), CAMA_OK);
    assert_int_equal(wire_int(&f, "a", 0), 12);
    assert_memory_equal(f.data, "data", 4);
    (void)close(fd2);
    (void)close(peer);
    wire_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_headers),       cmocka_unit_test(past_the_limits),
        cmocka_unit_test(ends_in_the_middle),  cmocka_unit_test(heads_that_are_none),
        cmocka_unit_test(deep_and_wide_heads), cmocka_unit_test(descriptors_nobody_asked_for),
        cmocka_unit_test(no_descriptor_left),  cmocka_unit_test(slowly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
