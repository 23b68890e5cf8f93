/* Origins, hosts, header fields and paths, without a server. */
#include "test.h"

#include "http/http_access.h"
#include "http/http_head.h"
#include "http/http_route.h"

static void origins(void **state)
{
    (void)state;
    http_origins o;
    err_info err = {0};
    static const char *const allowed[] = {
        "http://localhost",  "https://localhost",    "http://localhost:3000", "https://127.0.0.1:1",
        "http://127.0.0.1",  "http://0.0.0.0:65535", "app://obsidian.md",     "file://",
        "tauri://localhost", "vscode-webview://abc", "vscode-file://x",
    };
    static const char *const denied[] = {
        "http://evil.example",
        "null",
        "chrome-extension://abcdef",
        "http://localhost.evil.example",
        "http://localhost:evil.example",
        "http://localhost:",
        "http://localhost:80x",
        "http://localhost:123456",
        "http://localhost:80/",
        "http://localhost:80@evil.example",
        "HTTP://LOCALHOST",
        "localhost",
        "http://",
        "ftp://localhost",
    };
    assert_int_equal(http_origins_init(&o, NULL, &err), CAMA_OK);
    for (size_t i = 0; i < TEST_COUNT(allowed); i++)
        if (!http_origin_allowed(&o, allowed[i]))
            fail_msg("%s is refused", allowed[i]);
    for (size_t i = 0; i < TEST_COUNT(denied); i++)
        if (http_origin_allowed(&o, denied[i]))
            fail_msg("%s is allowed", denied[i]);
    assert_int_equal(http_cors_check(&o, NULL, "localhost"), HTTP_CORS_NONE);
    assert_int_equal(http_cors_check(&o, "", "localhost"), HTTP_CORS_NONE);
    assert_int_equal(http_cors_check(&o, "http://box:1", "box:1"), HTTP_CORS_NONE);
    assert_int_equal(http_cors_check(&o, "https://box:1", "box:1"), HTTP_CORS_NONE);
    assert_int_equal(http_cors_check(&o, "http://box:1", "box:2"), HTTP_CORS_DENY);
    assert_int_equal(http_cors_check(&o, "http://localhost:1", "box:2"), HTTP_CORS_ALLOW);
    http_origins_done(&o);
}

static void more_origins(void **state)
{
    (void)state;
    http_origins o;
    err_info err = {0};
    assert_int_equal(http_origins_init(&o,
                                       " http://a.example , chrome-extension://*,"
                                       "http://*.b.example,,http://10.0.0.1:*",
                                       &err),
                     CAMA_OK);
    assert_true(http_origin_allowed(&o, "http://a.example"));
    assert_false(http_origin_allowed(&o, "http://a.example.evil"));
    assert_true(http_origin_allowed(&o, "chrome-extension://abcdef"));
    assert_true(http_origin_allowed(&o, "http://x.b.example"));
    assert_false(http_origin_allowed(&o, "http://x.b.example.evil"));
    assert_false(http_origin_allowed(&o, ".b.example"));
    assert_true(http_origin_allowed(&o, "http://10.0.0.1:8080"));
    assert_false(http_origin_allowed(&o, "http://10.0.0.1:8080.evil"));
    assert_false(o.all);
    http_origins_done(&o);

    assert_int_equal(http_origins_init(&o, "*", &err), CAMA_OK);
    assert_true(o.all && http_origin_allowed(&o, "http://anything"));
    http_origins_done(&o);

    assert_int_equal(http_origins_init(&o, "http://*.a.*", &err), CAMA_ERR_ARG);
    assert_non_null(strstr(err.text, "http://*.a.*"));
    assert_int_equal(http_origins_init(&o, "**", &err), CAMA_ERR_ARG);
    char many[2000] = "";
    for (int i = 0; i < 70; i++)
        strcat(many, "http://a.example,");
    assert_int_equal(http_origins_init(&o, many, &err), CAMA_ERR_LIMIT);
}

static void hosts(void **state)
{
    (void)state;
    static const struct {
        const char *host;
        http_host want;
    } cases[] = {
        {"", HTTP_HOST_NAME},
        {"localhost", HTTP_HOST_NAME},
        {"localhost:9", HTTP_HOST_NAME},
        {"LOCALHOST", HTTP_HOST_NAME},
        {"a.localhost", HTTP_HOST_NAME},
        {"box.local", HTTP_HOST_NAME},
        {"x.internal:80", HTTP_HOST_NAME},
        {"MyBox:1", HTTP_HOST_NAME},
        {"127.0.0.1:21434", HTTP_HOST_ADDRESS},
        {"127.9.9.9", HTTP_HOST_ADDRESS},
        {"[::1]:21434", HTTP_HOST_ADDRESS},
        {"[::1]", HTTP_HOST_ADDRESS},
        {"::1", HTTP_HOST_ADDRESS},
        {"0.0.0.0", HTTP_HOST_ADDRESS},
        {"192.168.1.2", HTTP_HOST_ADDRESS},
        {"10.1.2.3:80", HTTP_HOST_ADDRESS},
        {"172.16.0.1", HTTP_HOST_ADDRESS},
        {"172.31.0.1", HTTP_HOST_ADDRESS},
        {"[fd00::1]", HTTP_HOST_ADDRESS},
        {"[::ffff:127.0.0.1]:80", HTTP_HOST_ADDRESS},
        {"172.32.0.1", HTTP_HOST_DENY},
        {"8.8.8.8", HTTP_HOST_DENY},
        {"[2001:4860:4860::8888]", HTTP_HOST_DENY},
        {"evil.example", HTTP_HOST_DENY},
        {"evil.example:21434", HTTP_HOST_DENY},
        {"localhost.evil.example", HTTP_HOST_DENY},
        {"evillocalhost", HTTP_HOST_DENY},
        {"127.0.0.1.evil.example", HTTP_HOST_DENY},
        {"[::1", HTTP_HOST_DENY},
        {"[::1]evil", HTTP_HOST_DENY},
        {"[::1]:80x", HTTP_HOST_DENY},
        {"mybox.evil", HTTP_HOST_DENY},
    };
    for (size_t i = 0; i < TEST_COUNT(cases); i++)
        if (http_host_check(cases[i].host, "mybox") != cases[i].want)
            fail_msg("'%s': not %d", cases[i].host, (int)cases[i].want);
    char big[1000];
    memset(big, 'a', sizeof big);
    big[sizeof big - 1] = '\0';
    assert_int_equal(http_host_check(big, "mybox"), HTTP_HOST_DENY);
    assert_int_equal(http_host_check("x", ""), HTTP_HOST_DENY);
}

typedef struct field {
    const char *name, *value;
} field;

static void heads(void **state)
{
    (void)state;
    static const struct {
        const char *wrong; /* NULL: fine */
        bool old;
        field fields[4];
    } cases[] = {
        {NULL, false, {{"Host", "a"}}},
        {NULL, false, {{"hOST", ""}}},
        {NULL, true, {{NULL, NULL}}},
        {"missing required Host header", false, {{NULL, NULL}}},
        {"too many Host headers", false, {{"Host", "a"}, {"host", "a"}}},
        {"malformed Host header", false, {{"Host", "a b"}}},
        {"malformed Host header", false, {{"Host", "a/b"}}},
        {NULL, false, {{"Host", "a"}, {"Content-Length", "12"}}},
        {"more than one Content-Length",
         false,
         {{"Host", "a"}, {"Content-Length", "12"}, {"content-length", "12"}}},
        {"bad Content-Length", false, {{"Host", "a"}, {"Content-Length", "+1"}}},
        {"bad Content-Length", false, {{"Host", "a"}, {"Content-Length", "1, 1"}}},
        {"bad Content-Length", false, {{"Host", "a"}, {"Content-Length", ""}}},
        {"bad Content-Length", false, {{"Host", "a"}, {"Content-Length", "0x10"}}},
        {"bad Content-Length", false, {{"Host", "a"}, {"Content-Length", "99999999999999999999"}}},
        {NULL, false, {{"Host", "a"}, {"Transfer-Encoding", "chunked"}}},
        {NULL, false, {{"Host", "a"}, {"Transfer-Encoding", "Chunked"}}},
        {"unsupported transfer encoding", false, {{"Host", "a"}, {"Transfer-Encoding", "gzip"}}},
        {"unsupported transfer encoding",
         false,
         {{"Host", "a"}, {"Transfer-Encoding", "gzip, chunked"}}},
        {"unsupported transfer encoding", true, {{"Transfer-Encoding", "chunked"}}},
        {"more than one Transfer-Encoding",
         false,
         {{"Host", "a"}, {"Transfer-Encoding", "chunked"}, {"Transfer-Encoding", "chunked"}}},
        {"Content-Length and Transfer-Encoding",
         false,
         {{"Host", "a"}, {"Content-Length", "3"}, {"Transfer-Encoding", "chunked"}}},
        {"Content-Length and Transfer-Encoding",
         false,
         {{"Host", "a"}, {"Transfer-Encoding", "chunked"}, {"Content-Length", "3"}}},
        {"invalid header name", false, {{"Host ", "a"}}},
        {"invalid header name", false, {{"", "a"}}},
        {"invalid header name", false, {{"Content-Length\t", "3"}, {"Host", "a"}}},
        {"invalid header value", false, {{"Host", "a"}, {"X", "a\rb"}}},
        {"invalid header value", false, {{"Host", "a"}, {"X", "a\nb"}}},
        {"too many Origin headers",
         false,
         {{"Host", "a"}, {"Origin", "http://a"}, {"Origin", "http://b"}}},
    };
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        http_head h = {0};
        for (size_t f = 0; f < 4 && cases[i].fields[f].name; f++)
            http_head_add(&h, cases[i].fields[f].name, strlen(cases[i].fields[f].name),
                          cases[i].fields[f].value, strlen(cases[i].fields[f].value));
        http_head_end(&h, cases[i].old);
        if ((h.wrong == NULL) != (cases[i].wrong == NULL) ||
            (h.wrong && strcmp(h.wrong, cases[i].wrong) != 0))
            fail_msg("case %zu: '%s', not '%s'", i, h.wrong ? h.wrong : "fine",
                     cases[i].wrong ? cases[i].wrong : "fine");
    }
    http_head h = {0};
    http_head_add(&h, "X", 1, "a\0b", 3);
    assert_string_equal(h.wrong, "invalid header value");
}

static const api_route table[] = {
    {"GET", "/", NULL, API_HEAD, ""},
    {"GET", "/api/version", NULL, API_HEAD, ""},
    {"GET", "/api/ps", NULL, 0, ""},
    {"POST", "/api/chat", NULL, 0, ""},
    {"HEAD", "/api/blobs/:digest", NULL, 0, ""},
    {"POST", "/api/blobs/:digest", NULL, API_UPLOAD, ""},
    {"GET", "/v1/models", NULL, 0, ""},
    {"GET", "/v1/models/:name/x", NULL, 0, ""},
};

static void routes(void **state)
{
    (void)state;
    static const struct {
        const char *method, *target;
        http_match want;
        const char *text; /* param, allow or location */
        int status;
    } cases[] = {
        {"GET", "/", HTTP_FOUND, "", 0},
        {"HEAD", "/", HTTP_FOUND, "", 0},
        {"GET", "/api/version?x=1", HTTP_FOUND, "", 0},
        {"GET", "http://host:80/api/version", HTTP_FOUND, "", 0},
        {"GET", "http://host", HTTP_FOUND, "", 0},
        {"GET", "/%61pi/version", HTTP_FOUND, "", 0},
        {"GET", "/api%2Fversion", HTTP_FOUND, "", 0},
        {"POST", "/api/blobs/sha256:ab", HTTP_FOUND, "sha256:ab", 0},
        {"POST", "/api/blobs/a%20b", HTTP_FOUND, "a b", 0},
        {"GET", "/v1/models/n/x", HTTP_FOUND, "n", 0},
        {"GET", "/API/VERSION", HTTP_NO_PATH, "", 0},
        {"POST", "/api/blobs/", HTTP_NO_PATH, "", 0},
        {"POST", "/api/blobs/a%2Fb", HTTP_NO_PATH, "", 0},
        {"POST", "/api/version/", HTTP_NO_PATH, "", 0},
        {"GET", "/nope", HTTP_NO_PATH, "", 0},
        {"POST", "/", HTTP_NO_METHOD, "HEAD, GET", 0},
        {"FOO", "/api/version", HTTP_NO_METHOD, "HEAD, GET", 0},
        {"HEAD", "/api/ps", HTTP_NO_METHOD, "GET", 0},
        {"GET", "/api/chat", HTTP_NO_METHOD, "POST", 0},
        {"GET", "/api/blobs/x", HTTP_NO_METHOD, "HEAD, POST", 0},
        {"GET", "/api/version/", HTTP_REDIRECT, "/api/version", 301},
        {"HEAD", "/api/version/", HTTP_REDIRECT, "/api/version", 307},
        {"POST", "/api/chat/?a=b", HTTP_REDIRECT, "/api/chat?a=b", 307},
        {"POST", "/api/blobs/x/", HTTP_REDIRECT, "/api/blobs/x", 307},
        {"GET", "//api/version", HTTP_REDIRECT, "/api/version", 307},
        {"POST", "//nope", HTTP_REDIRECT, "/nope", 307},
        {"GET", "/api/../api/./version?q", HTTP_REDIRECT, "/api/version?q", 307},
        {"GET", "/../..", HTTP_REDIRECT, "/", 307},
        {"GET", "//evil.example/%0d%0aX:%20y", HTTP_REDIRECT, "/evil.example/%0D%0AX:%20y", 307},
        {"GET", "/a/%2e%2e/b/", HTTP_REDIRECT, "/b/", 307},
    };
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        http_target t;
        static http_routing r;
        err_info err = {0};
        if (http_target_parse(cases[i].target, &t, &err))
            fail_msg("%s: %s", cases[i].target, err.text);
        http_route_find(table, TEST_COUNT(table), cases[i].method, &t, &r);
        const char *text = r.match == HTTP_FOUND       ? r.param
                           : r.match == HTTP_NO_METHOD ? r.allow
                           : r.match == HTTP_REDIRECT  ? r.location
                                                       : "";
        if (r.match != cases[i].want || strcmp(text, cases[i].text) != 0 ||
            (r.match == HTTP_REDIRECT && r.status != cases[i].status))
            fail_msg("%s %s: %d '%s' %d", cases[i].method, cases[i].target, (int)r.match, text,
                     r.status);
    }
    static const char *const bad[] = {"",     "x",     "*",      "/%",         "/%2",
                                      "/%zz", "/a%00", "http:/", "host/x?y=1", "ftp://a/b"};
    for (size_t i = 0; i < TEST_COUNT(bad); i++) {
        http_target t;
        if (http_target_parse(bad[i], &t, NULL) != CAMA_ERR_FORMAT)
            fail_msg("'%s' is taken", bad[i]);
    }
    static char big[HTTP_MAX_PATH + 10];
    http_target t;
    memset(big, 'a', sizeof big - 1);
    big[0] = '/';
    assert_int_equal(http_target_parse(big, &t, NULL), CAMA_ERR_LIMIT);
    big[1] = '?';
    assert_int_equal(http_target_parse(big, &t, NULL), CAMA_ERR_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(origins), cmocka_unit_test(more_origins), cmocka_unit_test(hosts),
        cmocka_unit_test(heads),   cmocka_unit_test(routes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
