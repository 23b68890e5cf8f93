/* The whole server over an empty store: it listens, answers, says who has its port, and leaves
 * nothing behind. */
#include "http_rig.h"

#include <dirent.h>
#include <sys/un.h>

#include "http/serve.h"

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof dir, "/tmp/cama_test_XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static void remove_tree(const char *path)
{
    DIR *d = opendir(path);
    for (const struct dirent *i = d ? readdir(d) : NULL; i; i = readdir(d)) {
        char below[512];
        if (!strcmp(i->d_name, ".") || !strcmp(i->d_name, ".."))
            continue;
        (void)snprintf(below, sizeof below, "%s/%s", path, i->d_name);
        remove_tree(below);
    }
    if (d)
        (void)closedir(d);
    assert_int_equal(remove(path), 0);
}

static int remove_dir(void **state)
{
    (void)state;
    remove_tree(dir);
    return 0;
}

static serve_opts opts(const char *host)
{
    serve_opts o = {.host = host, .models = dir, .no_prune = false};
    o.pool.keep_alive_ns = POOL_KEEP_DEFAULT;
    return o;
}

static void ask(int fd, const char *text, int status, const char *body)
{
    rig_reply a;
    assert_true(rig_send(fd, text));
    assert_true(rig_read(fd, false, &a));
    assert_int_equal(a.status, status);
    if (!strstr(a.body, body))
        fail_msg("%s: %s", text, a.body);
    free(a.body);
}

static void answers(void **state)
{
    (void)state;
    const serve_opts o = opts("127.0.0.1:0");
    serve *s = NULL;
    err_info err = {0};
    if (serve_open(&o, &s, &err))
        fail_msg("%s", err.text);
    const rig r = {.port = serve_port(s)};
    assert_int_not_equal(r.port, 0);
    const int fd = rig_connect(&r);
    ask(fd, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 200, "Ollama is running");
    ask(fd, "GET /api/version HTTP/1.1\r\nHost: localhost\r\n\r\n", 200, "\"" API_OLLAMA_VERSION);
    ask(fd, "GET /api/tags HTTP/1.1\r\nHost: localhost\r\n\r\n", 200, "{\"models\":[]}");
    ask(fd, "GET /api/ps HTTP/1.1\r\nHost: localhost\r\n\r\n", 200, "{\"models\":[]}");
    ask(fd,
        "POST /api/show HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16\r\n\r\n"
        "{\"model\":\"nope\"}",
        404, "not found");
    close(fd);

    /* the port is taken */
    char host[32];
    char want[128];
    (void)snprintf(host, sizeof host, "127.0.0.1:%u", (unsigned)r.port);
    const serve_opts taken = opts(host);
    serve *second = NULL;
    assert_int_equal(serve_open(&taken, &second, &err), CAMA_ERR_IO);
    assert_null(second);
    (void)snprintf(want, sizeof want, "listen tcp %s: bind: address already in use (a cama", host);
    if (strncmp(err.text, want, strlen(want)) != 0)
        fail_msg("%s", err.text);
    assert_non_null(strstr(err.text, "CAMA_HOST"));
    serve_close(s, 1000);
    serve_close(NULL, 0);
}

static void unix_only(void **state)
{
    (void)state;
    serve_opts o = opts(NULL);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    serve *s = NULL;
    err_info err = {0};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/s", dir);
    o.unix_path = address.sun_path;
    if (serve_open(&o, &s, &err))
        fail_msg("%s", err.text);
    assert_int_equal(serve_port(s), 0);
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    ask(fd, "GET / HTTP/1.1\r\nHost: any.example\r\n\r\n", 200, "Ollama is running");
    close(fd);
    serve_close(s, 1000);
    assert_int_not_equal(access(address.sun_path, F_OK), 0);
}

static void refuses(void **state)
{
    (void)state;
    serve *s = NULL;
    err_info err = {0};
    serve_opts o = opts("127.0.0.1:0");
    o.origins = "http://*.a.*";
    assert_int_equal(serve_open(&o, &s, &err), CAMA_ERR_ARG);
    assert_non_null(strstr(err.text, "http://*.a.*"));
    o = opts("ftp://x");
    assert_int_equal(serve_open(&o, &s, &err), CAMA_ERR_ARG);
    o = opts("127.0.0.1:0");
    o.models = "/proc/nope/models";
    assert_int_equal(serve_open(&o, &s, &err), CAMA_ERR_IO);
    assert_null(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(answers, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(unix_only, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(refuses, make_dir, remove_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
