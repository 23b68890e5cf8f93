/* Events on one thread, the client on another: it takes, leaves, and both let go of the call. */
#include "api_rig.h"

enum { ROUNDS = 200, PIECES = 20 };

static void *play(void *arg)
{
    (void)arg;
    rig_loaded();
    for (int i = 0; i < PIECES; i++)
        rig_text(POOL_TEXT, "some text of an answer");
    rig_done();
    return NULL;
}

static int n_written;

static void on_begin(void *user, int status, const char *type, const api_header *headers,
                     size_t n_header)
{
    (void)user;
    (void)status;
    (void)type;
    (void)headers;
    (void)n_header;
}

static void on_piece(void *user, const char *bytes, size_t n)
{
    (void)user;
    (void)bytes;
    (void)n;
    n_written++; /* the events' thread alone */
}

static void on_end(void *user)
{
    (void)user;
}

static void test_client_and_events(void **state)
{
    (void)state;
    static const char body[] = "{\"model\":\"m\",\"prompt\":\"x\"}";
    const api_out out = {.begin = on_begin, .piece = on_piece, .end = on_end};
    rig_open();
    rig_make("m", NULL);
    rig.script = RIG_HANG;
    for (int i = 0; i < ROUNDS; i++) {
        const api_request r = {
            .method = "POST", .path = "", .param = "", .body = body, .n_body = sizeof body - 1};
        api_call *c = api_call_new(&rig.api, &r, &out);
        assert_non_null(c);
        n_written = 0;
        api_generate(c);
        pthread_t t;
        assert_int_equal(pthread_create(&t, NULL, play, NULL), 0);
        for (int k = 0; k < i % 8; k++)
            api_call_taken(c, 50);
        if (i % 2)
            api_call_gone(c);
        api_call_unref(c);
        assert_int_equal(pthread_join(t, NULL), 0);
        assert_true(i % 2 || n_written == PIECES + 1);
    }
    rig_close();
}

static void *open_files(void *arg)
{
    const char *path = arg;
    for (int i = 0; i < 300; i++) {
        char digest[STORE_DIGEST_BYTES];
        api_file *f = NULL;
        (void)snprintf(digest, sizeof digest, "sha256:%064d", i % 70);
        if (api_file_open(&rig.api, digest, path, &f, NULL))
            return arg;
        api_file_unref(f);
    }
    return NULL;
}

static void test_cache(void **state)
{
    (void)state;
    char path[128];
    pthread_t t[4];
    rig_open();
    (void)snprintf(path, sizeof path, "%s/cached.gguf", rig.dir);
    rig_gguf(path, "{{ messages }}", false);
    for (size_t i = 0; i < TEST_COUNT(t); i++)
        assert_int_equal(pthread_create(&t[i], NULL, open_files, path), 0);
    for (size_t i = 0; i < TEST_COUNT(t); i++) {
        void *failed = path;
        assert_int_equal(pthread_join(t[i], &failed), 0);
        assert_null(failed);
    }
    rig_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_client_and_events),
        cmocka_unit_test(test_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
