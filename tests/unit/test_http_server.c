/* Requests and replies on real sockets: framing, what a header may not be, streams, uploads,
 * clients that leave. */
#include "http_rig.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_replies),
        cmocka_unit_test(streams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
