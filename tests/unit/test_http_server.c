/* Requests and replies on real sockets: framing, what a header may not be, streams, uploads,
 * clients that leave. */
#include "http_rig.h"

#include <sys/un.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: localhost\r\n\r\n"

static void whole_replies(void **state)
{
    (void)state;
    rig r;
    rig_reply a;
    rig_open(&r, NULL);
    rig_ask(&r, GET("/"), &a);
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body, "Ollama is running");
    assert_string_equal(rig_header(&a, "Content-Type"), "text/plain; charset=utf-8");
    assert_string_equal(rig_header(&a, "Content-Length"), "17");
    assert_non_null(rig_header(&a, "Date"));
    assert_null(rig_header(&a, "Server"));
    assert_null(rig_header(&a, "Connection"));
    free(a.body);
    rig_ask(&r, GET("/api/ps"), &a);
    assert_string_equal(rig_header(&a, "Cama-Engine"), "native");
    free(a.body);
    /* Go's rule: 2048 bytes have a length, more are chunked */
    rig_ask(&r, GET("/api/brim"), &a);
    assert_true(a.has_length && !a.chunked && a.n_body == 2048);
    free(a.body);
    rig_ask(&r, GET("/api/big"), &a);
    assert_true(!a.has_length && a.chunked && a.n_body == 5000 && a.n_chunk == 1);
    assert_int_equal(a.body[4999], 'a' + 4999 % 26);
    free(a.body);
    rig_close(&r);
}

static void streams(void **state)
{
    (void)state;
    rig r;
    rig_reply a;
    rig_open(&r, NULL);
    rig_ask(&r, "POST /api/stream HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\n20 100 1",
            &a);
    assert_int_equal(a.status, 200);
    assert_string_equal(rig_header(&a, "Content-Type"), "application/x-ndjson");
    assert_string_equal(rig_header(&a, "Cama-Engine"), "native");
    assert_true(a.whole && a.chunked);
    assert_int_equal(a.n_chunk, 20);
    for (size_t i = 0; i < a.n_chunk; i++)
        assert_int_equal(a.chunk[i], 100);
    assert_int_equal(a.n_body, 2000);
    assert_int_equal(atomic_load(&rig_s.taken), 2000);
    free(a.body);
    rig_close(&r);
}

/* A HEAD says what a GET would; where Go tells no length, nor do we. */
static void heads(void **state)
{
    (void)state;
    rig r;
    rig_reply a;
    rig_open(&r, NULL);
    rig_ask(&r, "HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n", &a);
    assert_int_equal(a.status, 200);
    assert_string_equal(rig_header(&a, "Content-Length"), "17");
    free(a.body);
    rig_ask(&r, "HEAD /api/big HTTP/1.1\r\nHost: localhost\r\n\r\n", &a);
    assert_true(a.status == 200 && !a.has_length && !a.chunked);
    free(a.body);
    rig_ask(&r, "HEAD /api/blobs/have HTTP/1.1\r\nHost: localhost\r\n\r\n", &a);
    assert_true(a.status == 200 && !a.has_length && !a.chunked);
    free(a.body);
    rig_ask(&r, "HEAD /api/blobs/not HTTP/1.1\r\nHost: localhost\r\n\r\n", &a);
    assert_true(a.status == 404 && a.has_length);
    free(a.body);
    rig_ask(&r, "HEAD /api/ps HTTP/1.1\r\nHost: localhost\r\n\r\n", &a);
    assert_int_equal(a.status, 405);
    assert_string_equal(rig_header(&a, "Allow"), "GET");
    assert_string_equal(rig_header(&a, "Content-Length"), "22");
    free(a.body);
    rig_close(&r);
}

#define FROM(origin) "\r\nHost: 127.0.0.1\r\nOrigin: " origin "\r\n\r\n"

/* What an Ollama answered to these, but for the port that is none. */
static void doors(void **state)
{
    (void)state;
    static const struct {
        const char *request;
        int status;
        const char *body;
        const char *headers[8]; /* name, value, ..; value NULL: must be absent */
    } cases[] = {
        {GET("/nope"), 404, "404 page not found", {"Content-Type", "text/plain"}},
        {GET("/API/VERSION"), 404, "404 page not found", {"Content-Length", "18"}},
        {"FOO /api/version HTTP/1.1\r\nHost: a.local\r\n\r\n",
         405,
         "405 method not allowed",
         {"Allow", "HEAD, GET", "Content-Type", "text/plain"}},
        {GET("/api/blobs/x"), 405, "405 method not allowed", {"Allow", "HEAD, POST"}},
        {GET("/api/version/"),
         301,
         "<a href=\"/api/version\">Moved Permanently</a>.\n\n",
         {"Location", "/api/version", "Content-Type", "text/html; charset=utf-8"}},
        {GET("//api/version"),
         307,
         "<a href=\"/api/version\">Temporary Redirect</a>.\n\n",
         {"Location", "/api/version"}},
        {"POST /api/chat/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
         307,
         "",
         {"Location", "/api/chat", "Content-Type", NULL, "Content-Length", "0"}},
        {GET("/v1/models/"), 301, "<a href=\"/v1/models\">Moved Permanently</a>.\n\n", {NULL}},
        {"GET /api/version HTTP/1.1\r\nHost: evil.example\r\n\r\n",
         403,
         "",
         {"Content-Type", NULL, "Content-Length", "0", "Allow", NULL}},
        {"GET /nope HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403, "", {NULL}},
        {"GET /api/version HTTP/1.1\r\nHost:\r\n\r\n", 200, "{\"version\":\"0.32.7\"}", {NULL}},
        {"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 403, "", {NULL}},
        {"OPTIONS /api/version HTTP/1.1\r\nHost: localhost\r\n\r\n",
         204,
         "",
         {"Allow", "HEAD, GET", "Access-Control-Allow-Methods", NULL, "Content-Length", NULL}},
        {"OPTIONS /api/generate HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
         405,
         "405 method not allowed",
         {"Allow", "POST"}},
        {"GET /api/version HTTP/1.1" FROM("http://localhost:3000"),
         200,
         "{\"version\":\"0.32.7\"}",
         {"Access-Control-Allow-Origin", "http://localhost:3000", "Vary", "Origin",
          "Access-Control-Allow-Methods", NULL}},
        {"GET /nope HTTP/1.1" FROM("http://localhost:3000"),
         404,
         "404 page not found",
         {"Access-Control-Allow-Origin", "http://localhost:3000", "Vary", "Origin"}},
        {"GET /api/version HTTP/1.1" FROM("http://127.0.0.1"),
         200,
         "{\"version\":\"0.32.7\"}",
         {"Access-Control-Allow-Origin", NULL, "Vary", NULL}},
        {"GET /api/version HTTP/1.1" FROM("http://evil.example"),
         403,
         "",
         {"Content-Length", "0", "Access-Control-Allow-Origin", NULL}},
        {"GET /api/version HTTP/1.1" FROM("http://localhost:evil.example"), 403, "", {NULL}},
        {"GET /api/version HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://evil.example\r\n\r\n",
         403,
         "",
         {NULL}},
        {"OPTIONS /api/chat HTTP/1.1" FROM("http://evil.example"), 403, "", {"Allow", "POST"}},
        {"OPTIONS /api/chat HTTP/1.1" FROM("app://obsidian.md"),
         204,
         "",
         {"Access-Control-Allow-Methods", "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS", "Allow", "POST",
          "Access-Control-Max-Age", "43200", "Access-Control-Allow-Origin", "app://obsidian.md"}},
        {"OPTIONS /nope HTTP/1.1" FROM("http://localhost:3000"),
         204,
         "",
         {"Allow", NULL, "Access-Control-Max-Age", "43200"}},
        {"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
         400,
         "{\"error\":\"missing request body\"}",
         {NULL}},
        {"POST /nope HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
         404,
         "404 page not found",
         {"Connection", NULL}}, /* its body is read, so that the connection can go on */
        {"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
         "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: x\r\n\r\n",
         200,
         "5 495",
         {NULL}},
    };
    rig r;
    rig_open(&r, NULL);
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        rig_reply a;
        rig_ask(&r, cases[i].request, &a);
        if (a.status != cases[i].status || strcmp(a.body, cases[i].body) != 0)
            fail_msg("%s: %d '%s'", cases[i].request, a.status, a.body);
        for (size_t k = 0; k + 1 < 8 && cases[i].headers[k]; k += 2) {
            const char *want = cases[i].headers[k + 1];
            const char *got = rig_header(&a, cases[i].headers[k]);
            if ((got == NULL) != (want == NULL) || (got && strcmp(got, want) != 0))
                fail_msg("%s: %s is %s", cases[i].request, cases[i].headers[k],
                         got ? got : "absent");
        }
        free(a.body);
    }
    rig_close(&r);
}

/* Requests that another server could read differently end in 400 and a closed connection. */
static void smuggling(void **state)
{
    (void)state;
#define CHAT "POST /api/chat HTTP/1.1\r\nHost: localhost\r\n"
    static const char *const cases[] = {
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.local\r\nHost: b.local\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET /% HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET nope HTTP/1.1\r\nHost: localhost\r\n\r\n",
        CHAT "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        CHAT "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        CHAT "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        CHAT "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        CHAT "Content-Length: 3, 3\r\n\r\nabc",
        CHAT "Content-Length: +3\r\n\r\nabc",
        CHAT "Content-Length: 0x3\r\n\r\nabc",
        CHAT "Content-Length: -1\r\n\r\nabc",
        CHAT "Transfer-Encoding: gzip\r\n\r\nabc",
        CHAT "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        CHAT "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        CHAT "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        CHAT "X: a\rb\r\nContent-Length: 0\r\n\r\n",
        CHAT "Content-Length : 3\r\n\r\nabc",
        CHAT "Transfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n",
        CHAT "Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
        "POST /api/chat HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    };
#undef CHAT
    rig r;
    rig_open(&r, NULL);
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        rig_reply a;
        const int fd = rig_connect(&r);
        assert_true(rig_send(fd, cases[i]));
        if (!rig_read(fd, false, &a) || a.status != 400)
            fail_msg("%s: %d", cases[i], a.status);
        /* MHD's own errors come with their header twice (0.9.75): to the end, whatever it is */
        char rest[4096] = "";
        while (recv(fd, rest, sizeof rest - 1, 0) > 0)
            assert_null(strstr(rest, "200 OK"));
        if (!rig_is_closed(fd, 2000))
            fail_msg("%s: still open", cases[i]);
        free(a.body);
        close(fd);
    }
    /* a NUL in a value ends it in MHD's eyes: nothing behind it is a header */
    static const char nul[] =
        "POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\0 0\r\n\r\nabc";
    rig_reply a;
    const int fd = rig_connect(&r);
    assert_true(rig_send_bytes(fd, nul, sizeof nul - 1));
    assert_true(rig_read(fd, false, &a));
    assert_true(a.status == 400 || !strcmp(a.body, "3 294"));
    free(a.body);
    close(fd);
    /* HTTP/1.0 needs no Host */
    rig_ask(&r, "GET / HTTP/1.0\r\n\r\n", &a);
    assert_int_equal(a.status, 200);
    free(a.body);
    rig_close(&r);
}

static void header_limit(void **state)
{
    (void)state;
    rig r;
    rig_reply a;
    static char text[70000];
    rig_open(&r, NULL);
    size_t n = (size_t)snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: localhost\r\nX: ");
    memset(text + n, 'a', 60000);
    (void)snprintf(text + n + 60000, sizeof text - n - 60000, "\r\n\r\n");
    int fd = rig_connect(&r);
    (void)rig_send(fd, text); /* it may be cut in the middle */
    if (rig_read(fd, false, &a))
        assert_int_equal(a.status, 431);
    free(a.body);
    close(fd);
    n = (size_t)snprintf(text, sizeof text, "GET /");
    memset(text + n, 'a', 12000);
    (void)snprintf(text + n + 12000, sizeof text - n - 12000,
                   " HTTP/1.1\r\nHost: localhost\r\n\r\n");
    fd = rig_connect(&r);
    assert_true(rig_send(fd, text));
    assert_true(rig_read(fd, false, &a));
    assert_int_equal(a.status, 400);
    free(a.body);
    close(fd);
    rig_close(&r);
}

/* Several requests in one write are answered in their order. */
static void pipelining(void **state)
{
    (void)state;
    rig r;
    rig_reply a;
    rig_open(&r, NULL);
    const int fd = rig_connect(&r);
    assert_true(rig_send(fd, GET("/") "POST /api/chat HTTP/1.1\r\nHost: localhost\r\n"
                                      "Content-Length: 3\r\n\r\nabc" GET("/nope") GET("/api/big")
                                          GET("/api/version")));
    static const int want[] = {200, 200, 404, 200, 200};
    for (size_t i = 0; i < TEST_COUNT(want); i++) {
        assert_true(rig_read(fd, false, &a));
        assert_int_equal(a.status, want[i]);
        if (i == 4)
            assert_string_equal(a.body, "{\"version\":\"0.32.7\"}");
        free(a.body);
    }
    close(fd);
    rig_close(&r);
}

/* ---- limits of bodies ---- */

static void too_large(void **state)
{
    (void)state;
    rig r;
    rig_reply a;
    char text[256];
    rig_open(&r, NULL);
    /* who waits for a word is told before the body */
    (void)snprintf(text, sizeof text,
                   "POST /api/chat HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
                   "Content-Length: %u\r\n\r\n",
                   API_MAX_BODY + 1);
    rig_ask(&r, text, &a);
    assert_int_equal(a.status, 413);
    assert_string_equal(a.body, "{\"error\":\"request body too large\"}");
    free(a.body);
    /* and so is who says that it will be endless */
    rig_ask(&r, "POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n",
            &a);
    assert_int_equal(a.status, 413);
    free(a.body);
    rig_close(&r);
}

static void expect_100(void **state)
{
    (void)state;
    rig r;
    rig_reply a;
    rig_open(&r, NULL);
    const int fd = rig_connect(&r);
    static const char *const paths[] = {"/api/chat", "/api/blobs/new"};
    for (size_t i = 0; i < 2; i++) {
        char text[256];
        (void)snprintf(text, sizeof text,
                       "POST %s HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
                       "Content-Length: 3\r\n\r\n",
                       paths[i]);
        assert_true(rig_send(fd, text));
        assert_true(rig_read(fd, false, &a));
        assert_int_equal(a.status, 100);
        free(a.body);
        assert_true(rig_send(fd, "abc"));
        assert_true(rig_read(fd, false, &a));
        assert_int_equal(a.status, i ? 201 : 200);
        free(a.body);
    }
    /* what is there already is not sent */
    assert_true(rig_send(fd, "POST /api/blobs/have HTTP/1.1\r\nHost: localhost\r\n"
                             "Expect: 100-continue\r\nContent-Length: 1000000\r\n\r\n"));
    assert_true(rig_read(fd, false, &a));
    assert_int_equal(a.status, 200);
    free(a.body);
    close(fd);
    rig_close(&r);
}

/* ---- uploads ---- */

#define MIB ((size_t)1 << 20)

static size_t resident(void)
{
    size_t pages = 0;
    size_t rss = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f)
        return 0;
    if (fscanf(f, "%zu %zu", &pages, &rss) != 2)
        rss = 0;
    (void)fclose(f);
    return rss * (size_t)sysconf(_SC_PAGESIZE);
}

static void upload_large(void **state)
{
    (void)state;
    rig r;
    rig_reply a;
    char text[256];
    char *block = calloc(1, MIB);
    rig_open(&r, NULL);
    atomic_store(&rig_s.upload_us, 20); /* a disk that is slower than the socket */
    const int fd = rig_connect(&r);
    (void)snprintf(text, sizeof text,
                   "POST /api/blobs/new HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n",
                   256 * MIB);
    assert_true(rig_send(fd, text));
    const size_t before = resident();
    size_t most = 0;
    for (int i = 0; i < 256; i++) {
        assert_true(rig_send_bytes(fd, block, MIB));
        if (resident() > most)
            most = resident();
    }
    assert_true(rig_read(fd, false, &a));
    assert_int_equal(a.status, 201);
    assert_string_equal(a.body, "268435456");
    /* what may wait, and room for an allocator (a sanitizer keeps what is freed for a while) */
#if defined(__SANITIZE_ADDRESS__) || defined(__has_feature)
    (void)before;
#else
    assert_true(most < before + 24 * MIB);
#endif
    print_message("resident: %zu KiB before, %zu KiB at most\n", before >> 10, most >> 10);
    free(a.body);
    /* the connection goes on, and a body that nobody wants is dropped */
    (void)snprintf(
        text, sizeof text,
        "POST /api/blobs/have HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n", 4 * MIB);
    assert_true(rig_send(fd, text));
    for (int i = 0; i < 4; i++)
        assert_true(rig_send_bytes(fd, block, MIB));
    assert_true(rig_read(fd, false, &a));
    assert_int_equal(a.status, 200);
    free(a.body);
    assert_true(rig_send(fd, GET("/")));
    assert_true(rig_read(fd, false, &a));
    free(a.body);
    /* chunked, and empty */
    assert_true(rig_send(fd, "POST /api/blobs/c HTTP/1.1\r\nHost: localhost\r\n"
                             "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"));
    assert_true(rig_read(fd, false, &a));
    assert_string_equal(a.body, "5");
    free(a.body);
    assert_true(rig_send(fd, "POST /api/blobs/e HTTP/1.1\r\nHost: localhost\r\n"
                             "Content-Length: 0\r\n\r\n"));
    assert_true(rig_read(fd, false, &a));
    assert_string_equal(a.body, "0");
    free(a.body);
    close(fd);
    free(block);
    assert_int_equal(atomic_load(&rig_s.n_upload_end), 3);
    assert_int_equal(atomic_load(&rig_s.n_upload_cut), 0);
    rig_close(&r);
}

static void upload_cut(void **state)
{
    (void)state;
    rig r;
    char *block = calloc(1, MIB);
    rig_open(&r, NULL);
    for (int i = 0; i < 6; i++) {
        const int fd = rig_connect(&r);
        assert_true(rig_send(fd, "POST /api/blobs/new HTTP/1.1\r\nHost: localhost\r\n"
                                 "Content-Length: 100000000\r\n\r\n"));
        if (i % 3)
            assert_true(rig_send_bytes(fd, block, i % 3 == 1 ? 1000 : MIB));
        while (i >= 3 && atomic_load(&rig_s.n_call) == 0) /* its dialect is at work */
            rig_sleep_us(500);
        close(fd);
        const uint64_t limit = clock_now_ns() + 5000000000u;
        while (i >= 3 && atomic_load(&rig_s.n_call) > 0 && clock_now_ns() < limit)
            rig_sleep_us(500);
    }
    /* those whose end came before their dialect was asked have nothing to end */
    const uint64_t end = clock_now_ns() + 5000000000u;
    while (atomic_load(&rig_s.n_call) > 0 && clock_now_ns() < end)
        rig_sleep_us(1000);
    assert_int_equal(atomic_load(&rig_s.n_call), 0);
    assert_true(atomic_load(&rig_s.n_upload_cut) >= 3);
    assert_int_equal(atomic_load(&rig_s.n_upload_end), 0);
    free(block);
    rig_close(&r);
}

/* ---- clients that leave, or do not read ---- */

#define POST(path, body, n)                                                                        \
    "POST " path " HTTP/1.1\r\nHost: localhost\r\nContent-Length: " n "\r\n\r\n" body

static void leaves_before_first_byte(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    uint64_t worst = 0;
    for (int i = 0; i < 20; i++) {
        const int fd = rig_connect(&r);
        const struct linger reset = {1, 0};
        assert_true(rig_send(fd, POST("/api/wait", "{}", "2")));
        assert_true(rig_until(&rig_s.n_run, 1, 10000));
        assert_int_equal(atomic_load(&rig_s.n_gone), i);
        if (i % 3 == 1)
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        const uint64_t left = clock_now_ns();
        if (i % 3 == 2)
            shutdown(fd, SHUT_WR); /* half-closed counts, as it does for Go */
        else
            close(fd);
        if (!rig_until(&rig_s.n_gone, i + 1, 3000))
            fail_msg("client %d is not missed", i);
        const uint64_t ns = atomic_load(&rig_s.gone_ns) - left;
        worst = ns > worst ? ns : worst;
        if (i % 3 == 2)
            close(fd);
        assert_true(rig_until(&rig_s.n_run, 0, 10000));
    }
    print_message("noticed after at most %llu us\n", (unsigned long long)worst / 1000);
    rig_close(&r);
}

static void leaves_in_stream(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    for (int i = 0; i < 6; i++) {
        char some[400];
        const int fd = rig_connect(&r);
        assert_true(rig_send(fd, POST("/api/stream", "100000 100 2", "12")));
        assert_true(recv(fd, some, sizeof some, 0) > 0);
        close(fd);
        if (!rig_until(&rig_s.n_gone, i + 1, 3000))
            fail_msg("client %d is not missed", i);
    }
    rig_close(&r);
}

/* One that does not read holds its own job back and nobody else's. */
static void does_not_read(void **state)
{
    (void)state;
    rig r;
    rig_reply a;
    rig_open(&r, NULL);
    const int slow = rig_connect(&r);
    assert_true(rig_send(slow, POST("/api/stream", "100000 1000 0", "13")));
    rig_sleep_us(100000);
    for (int i = 0; i < 5; i++) {
        rig_ask(&r, POST("/api/stream", "50 100 1", "8"), &a);
        assert_int_equal(a.n_chunk, 50);
        free(a.body);
    }
    assert_true(atomic_load(&rig_s.max_owed) <= RIG_CREDIT);
    close(slow);
    assert_true(rig_until(&rig_s.n_gone, 1, 3000));
    /* a dialect that does not wait for credit: its client is dropped */
    const int drop = rig_connect(&r);
    assert_true(rig_send(drop, POST("/api/stream", "100000 1000 0 1", "15")));
    assert_true(rig_until(&rig_s.n_gone, 2, 10000));
    close(drop);
    rig_close(&r);
}

/* ---- slow clients ---- */

/* A byte now and then keeps nothing open. */
static bool drip(int fd, const char *text, uint32_t every_ms, uint32_t limit_ms, uint32_t *out_ms)
{
    const uint64_t start = clock_now_ns();
    for (;;) {
        const uint64_t ms = (clock_now_ns() - start) / 1000000;
        *out_ms = (uint32_t)ms;
        if (ms > limit_ms)
            return false;
        if (!rig_send_bytes(fd, *text ? text : "a", 1) || rig_is_closed(fd, (int)every_ms))
            return true;
        text += *text != '\0';
    }
}

static void slow_loris(void **state)
{
    (void)state;
    rig r;
    rig_reply a;
    http_opts o = rig_opts();
    o.header_ms = 400;
    o.idle_ms = 1000;
    o.body_window_ms = 400;
    rig_open(&r, &o);
    uint32_t ms = 0;
    int fd = rig_connect(&r);
    assert_true(drip(fd, "GET / HTTP/1.1\r\nHost: localhost\r\nX: ", 20, 5000, &ms));
    print_message("header: cut after %u ms\n", ms);
    assert_true(ms >= 350);
    close(fd);
    fd = rig_connect(&r);
    assert_true(rig_send(fd, POST("/api/chat", "", "100000")));
    assert_true(drip(fd, "", 20, 5000, &ms));
    print_message("body: cut after %u ms\n", ms);
    assert_true(ms >= 350);
    close(fd);
    fd = rig_connect(&r);
    assert_true(rig_send(fd, POST("/api/blobs/new", "", "100000")));
    assert_true(drip(fd, "", 20, 5000, &ms));
    close(fd);
    /* between requests */
    fd = rig_connect(&r);
    assert_true(rig_send(fd, GET("/")));
    assert_true(rig_read(fd, false, &a));
    free(a.body);
    assert_true(drip(fd, "GET / HTTP/1.1\r\nHost: localhost\r\nX: ", 50, 9000, &ms));
    close(fd);
    /* one that says nothing at all */
    fd = rig_connect(&r);
    assert_true(rig_is_closed(fd, 5000));
    close(fd);
    /* while a job thinks, nothing is too slow */
    fd = rig_connect(&r);
    assert_true(rig_send(fd, POST("/api/stream", "3 100 1500", "10")));
    assert_true(rig_read(fd, false, &a));
    assert_int_equal(a.n_chunk, 3);
    free(a.body);
    close(fd);
    rig_close(&r);
}

/* Connections that ask for nothing cannot keep others out. */
static void crowd(void **state)
{
    (void)state;
    rig r;
    rig_reply a;
    http_opts o = rig_opts();
    int fd[30];
    o.max_connections = 10;
    rig_open(&r, &o);
    const int busy = rig_connect(&r);
    assert_true(rig_send(busy, POST("/api/stream", "40 100 100", "10")));
    assert_true(rig_until(&rig_s.n_run, 1, 10000));
    for (size_t i = 0; i < TEST_COUNT(fd); i++)
        fd[i] = rig_connect(&r);
    const uint64_t start = clock_now_ns();
    const int last = rig_connect(&r);
    assert_true(rig_send(last, GET("/")));
    assert_true(rig_read(last, false, &a));
    assert_string_equal(a.body, "Ollama is running");
    free(a.body);
    close(last);
    print_message("answered in a crowd after %llu ms\n",
                  (unsigned long long)(clock_now_ns() - start) / 1000000);
    for (size_t i = 0; i < TEST_COUNT(fd); i++)
        close(fd[i]);
    assert_true(rig_read(busy, false, &a)); /* who was at work was left alone */
    assert_int_equal(a.n_chunk, 40);
    free(a.body);
    close(busy);
    rig_close(&r);
}

/* A disk that is slow is not a slow client. */
static void slow_disk(void **state)
{
    (void)state;
    rig r;
    rig_reply a;
    http_opts o = rig_opts();
    o.body_window_ms = 200;
    rig_open(&r, &o);
    atomic_store(&rig_s.upload_us, 20000);
    char *block = calloc(1, 6 * MIB);
    const int fd = rig_connect(&r);
    assert_true(rig_send(fd, POST("/api/blobs/new", "", "6291456")));
    assert_true(rig_send_bytes(fd, block, 6 * MIB));
    assert_true(rig_read(fd, false, &a));
    assert_string_equal(a.body, "6291456");
    free(a.body);
    free(block);
    close(fd);
    rig_close(&r);
}

/* ---- the end ---- */

typedef struct ask_later {
    const rig *r;
    const char *text;
    rig_reply a;
} ask_later;

static void *ask_main(void *arg)
{
    ask_later *q = arg;
    const int fd = rig_connect(q->r);
    (void)rig_send(fd, q->text);
    (void)rig_read(fd, false, &q->a);
    close(fd);
    return NULL;
}

static void drains(void **state)
{
    (void)state;
    rig r;
    rig_reply a;
    rig_open(&r, NULL);
    const int idle = rig_connect(&r);
    assert_true(rig_send(idle, GET("/")));
    assert_true(rig_read(idle, false, &a));
    free(a.body);
    ask_later q[4];
    pthread_t t[4];
    for (int i = 0; i < 4; i++) {
        q[i] = (ask_later){.r = &r, .text = POST("/api/stream", "40 100 10", "9")};
        assert_int_equal(pthread_create(&t[i], NULL, ask_main, &q[i]), 0);
    }
    assert_true(rig_until(&rig_s.n_run, 4, 10000));
    const uint64_t start = clock_now_ns();
    rig_stop(&r, 10000);
    print_message("drained in %llu ms\n", (unsigned long long)(clock_now_ns() - start) / 1000000);
    for (int i = 0; i < 4; i++) {
        pthread_join(t[i], NULL);
        assert_true(q[i].a.whole); /* to their end */
        assert_int_equal(q[i].a.n_chunk, 40);
        free(q[i].a.body);
    }
    assert_true(rig_is_closed(idle, 1000));
    close(idle);
    assert_int_equal(atomic_load(&rig_s.n_gone), 0);
}

static void drain_ends(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    int fd[3];
    static const char *const text[] = {
        POST("/api/wait", "{}", "2"),
        POST("/api/stream", "100000 100 5", "12"),
        POST("/api/blobs/new", "abc", "100"),
    };
    for (int i = 0; i < 3; i++) {
        fd[i] = rig_connect(&r);
        assert_true(rig_send(fd[i], text[i]));
    }
    assert_true(rig_until(&rig_s.n_call, 3, 10000));
    rig_sleep_us(50000);
    const uint64_t start = clock_now_ns();
    rig_stop(&r, 200);
    const uint64_t ms = (clock_now_ns() - start) / 1000000;
    assert_true(ms >= 190 && ms < 3000);
    assert_int_equal(atomic_load(&rig_s.n_gone), 3);
    assert_int_equal(atomic_load(&rig_s.n_upload_cut), 1);
    for (int i = 0; i < 3; i++)
        close(fd[i]);
}

static atomic_int n_line;

static void on_log(void *user, pool_level level, const char *line)
{
    (void)user;
    assert_int_equal(level, POOL_INFO);
    assert_null(strchr(line, '\x1b'));
    assert_null(strchr(line, '\n'));
    if (strstr(line, "] 200 |") && strstr(line, "127.0.0.1 | POST") &&
        strstr(line, "\"/api/chat?x=?[2J\""))
        atomic_fetch_add(&n_line, 1);
}

static void logs(void **state)
{
    (void)state;
    rig r;
    rig_reply a;
    http_opts o = rig_opts();
    o.log = on_log;
    o.log_requests = true;
    rig_open(&r, &o);
    rig_ask(&r,
            "POST /api/chat?x=\x1b[2J HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\na",
            &a);
    assert_int_equal(a.status, 200);
    free(a.body);
    rig_close(&r);
    assert_int_equal(atomic_load(&n_line), 1);
}

/* Who reaches a unix socket, or an address that all may reach, is not kept out by Host. */
static void other_sockets(void **state)
{
    (void)state;
    static const char ask[] = "GET /api/version HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    rig r = {0};
    rig_reply a;
    http_opts o = rig_opts();
    char dir[] = "/tmp/cama_test_XXXXXX";
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    assert_non_null(mkdtemp(dir));
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/s", dir);
    assert_int_equal(net_listen_unix(address.sun_path, &o.unix_fd, NULL), CAMA_OK);
    rig_open(&r, &o);
    rig_ask(&r, ask, &a);
    assert_int_equal(a.status, 403);
    free(a.body);
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_true(rig_send(fd, ask));
    assert_true(rig_read(fd, false, &a));
    assert_int_equal(a.status, 200);
    free(a.body);
    /* its client is watched as well */
    assert_true(rig_send(fd, POST("/api/wait", "{}", "2")));
    assert_true(rig_until(&rig_s.n_run, 1, 10000));
    close(fd);
    assert_true(rig_until(&rig_s.n_gone, 1, 3000));
    rig_close(&r);
    assert_int_equal(unlink(address.sun_path), 0);
    assert_int_equal(rmdir(dir), 0);

    net_host h = {.name = "0.0.0.0"};
    bool in_use = false;
    o = rig_opts();
    assert_int_equal(net_listen_tcp(&h, &o.tcp_fd, &in_use, NULL), CAMA_OK);
    r.port = net_port(o.tcp_fd);
    assert_int_equal(http_open(&o, &r.h, NULL), CAMA_OK);
    rig_ask(&r, ask, &a);
    assert_int_equal(a.status, 200);
    free(a.body);
    rig_close(&r);
}

static void bad_origins(void **state)
{
    (void)state;
    http_opts o = rig_opts();
    http *h = NULL;
    err_info err = {0};
    o.origins = "http://*.a.*";
    assert_int_equal(http_open(&o, &h, &err), CAMA_ERR_ARG);
    assert_null(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_replies),
        cmocka_unit_test(streams),
        cmocka_unit_test(heads),
        cmocka_unit_test(doors),
        cmocka_unit_test(smuggling),
        cmocka_unit_test(header_limit),
        cmocka_unit_test(pipelining),
        cmocka_unit_test(too_large),
        cmocka_unit_test(expect_100),
        cmocka_unit_test(upload_large),
        cmocka_unit_test(upload_cut),
        cmocka_unit_test(leaves_before_first_byte),
        cmocka_unit_test(leaves_in_stream),
        cmocka_unit_test(does_not_read),
        cmocka_unit_test(slow_loris),
        cmocka_unit_test(crowd),
        cmocka_unit_test(slow_disk),
        cmocka_unit_test(drains),
        cmocka_unit_test(drain_ends),
        cmocka_unit_test(logs),
        cmocka_unit_test(other_sockets),
        cmocka_unit_test(bad_origins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
