/* The text of OLLAMA_HOST, and sockets that listen. */
#include "test.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/host.h"

static void parses(void **state)
{
    (void)state;
    static const struct {
        const char *text, *url;
    } cases[] = {
        {NULL, "http://127.0.0.1:11434"},
        {"", "http://127.0.0.1:11434"},
        {"1.2.3.4", "http://1.2.3.4:11434"},
        {"1.2.3.4:1234", "http://1.2.3.4:1234"},
        {":1234", "http://:1234"},
        {"http://1.2.3.4", "http://1.2.3.4:80"},
        {"https://1.2.3.4", "https://1.2.3.4:443"},
        {"https://1.2.3.4:8443", "https://1.2.3.4:8443"},
        {"example.com", "http://example.com:11434"},
        {"example.com:", "http://example.com:11434"},
        {"example.com:66000", "http://example.com:11434"},
        {"example.com:-1", "http://example.com:11434"},
        {"https://example.com:x", "https://example.com:443"},
        {"[::1]", "http://[::1]:11434"},
        {"[::1]:1337", "http://[::1]:1337"},
        {"::1", "http://[::1]:11434"},
        {"[fe80::1%eth0]:80", "http://[fe80::1%eth0]:80"},
        {"  \"1.2.3.4:80\" ", "http://1.2.3.4:80"},
        {"' 1.2.3.4 '", "http://1.2.3.4:11434"},
        {"http://example.com:80/", "http://example.com:80"},
        {"example.com/ollama/", "http://example.com:11434/ollama"},
        {"http://", "http://127.0.0.1:80"},
        {"0.0.0.0:0", "http://0.0.0.0:0"},
    };
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        net_host h;
        err_info err = {0};
        char url[2 * NET_HOST_BYTES + 32];
        if (net_host_parse(cases[i].text, &h, &err))
            fail_msg("%s: %s", cases[i].text, err.text);
        net_host_url(&h, url);
        assert_string_equal(url, cases[i].url);
    }
}

static void refuses(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "ftp://example.com", "a:b:c",    "a b",    "1.2.3.4\n:80",  "a@b",
        "host/pa th",        "exam[ple", "a:b:80", "unix:///tmp/x",
    };
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        net_host h = {.port = 7};
        err_info err = {0};
        if (net_host_parse(cases[i], &h, &err) != CAMA_ERR_ARG)
            fail_msg("'%s' is taken", cases[i]);
        assert_true(err.text[0]);
        assert_int_equal(h.port, 7);
    }
    char big[2000];
    memset(big, 'a', sizeof big);
    big[sizeof big - 1] = '\0';
    net_host h;
    assert_int_equal(net_host_parse(big, &h, NULL), CAMA_ERR_ARG);
    big[300] = '\0';
    assert_int_equal(net_host_parse(big, &h, NULL), CAMA_ERR_ARG);
}

static int open_at(const char *text)
{
    net_host h;
    err_info err = {0};
    bool in_use = true;
    int fd = -1;
    assert_int_equal(net_host_parse(text, &h, &err), CAMA_OK);
    if (net_listen_tcp(&h, &fd, &in_use, &err))
        fail_msg("%s", err.text);
    assert_false(in_use);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    return fd;
}

static void listens(void **state)
{
    (void)state;
    const int fd = open_at("127.0.0.1:0");
    assert_true(net_is_loopback(fd));
    const uint16_t port = net_port(fd);
    assert_int_not_equal(port, 0);

    net_host h;
    err_info err = {0};
    bool in_use = false;
    int second = -1;
    char want[128];
    assert_int_equal(net_host_parse("127.0.0.1", &h, &err), CAMA_OK);
    h.port = port;
    assert_int_equal(net_listen_tcp(&h, &second, &in_use, &err), CAMA_ERR_IO);
    assert_true(in_use);
    assert_int_equal(second, -1);
    (void)snprintf(want, sizeof want, "listen tcp 127.0.0.1:%u: bind: address already in use",
                   (unsigned)port);
    assert_string_equal(err.text, want);
    close(fd);

    const int local = open_at("localhost:0");
    assert_true(net_is_loopback(local));
    close(local);
    const int any = open_at("0.0.0.0:0");
    assert_false(net_is_loopback(any));
    assert_int_not_equal(net_port(any), 0);
    close(any);

    (void)snprintf(h.name, sizeof h.name, "no-such-host.invalid");
    assert_int_equal(net_listen_tcp(&h, &second, &in_use, &err), CAMA_ERR_IO);
    assert_false(in_use);
}

static void listens_unix(void **state)
{
    (void)state;
    char dir[] = "/tmp/cama_test_XXXXXX";
    char path[64];
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/s", dir);
    err_info err = {0};
    int fd = -1;
    int second = -1;
    if (net_listen_unix(path, &fd, &err))
        fail_msg("%s", err.text);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_false(net_is_loopback(fd));
    assert_int_equal(net_port(fd), 0);
    /* somebody listens there */
    assert_int_equal(net_listen_unix(path, &second, &err), CAMA_ERR_IO);
    assert_non_null(strstr(err.text, "address already in use"));
    close(fd);
    /* the file is still there, but nobody listens */
    assert_int_equal(net_listen_unix(path, &fd, &err), CAMA_OK);
    close(fd);
    unlink(path);
    /* a file that is none of ours stays */
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    close(fd);
    assert_int_equal(net_listen_unix(path, &second, &err), CAMA_ERR_IO);
    assert_int_equal(access(path, F_OK), 0);
    unlink(path);
    assert_int_equal(rmdir(dir), 0);
    char big[300];
    memset(big, 'a', sizeof big);
    big[sizeof big - 1] = '\0';
    assert_int_equal(net_listen_unix(big, &second, &err), CAMA_ERR_ARG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses),
        cmocka_unit_test(refuses),
        cmocka_unit_test(listens),
        cmocka_unit_test(listens_unix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
