/* Options from the environment, with Ollama's meaning; and who has a port that is taken. */
#include "http_rig.h"

#include "http/http_probe.h"
#include "http/serve.h"

static char bad[4096];

static void on_bad(void *user, const char *text)
{
    (void)user;
    strncat(bad, text, sizeof bad - strlen(bad) - 2);
    strcat(bad, "\n");
}

static const char *const names[] = {
    "HOST",      "MODELS",  "KEEP_ALIVE",   "LOAD_TIMEOUT",  "MAX_LOADED_MODELS",
    "MAX_QUEUE", "ORIGINS", "NUM_PARALLEL", "KV_CACHE_TYPE", "CONTEXT_LENGTH",
    "NOPRUNE",   "DEBUG",   "ACTIVATIONS",  "WEIGHTS",       "THREADS",
    "STRICT",    "ENGINE",  "DEVICE",       "ENGINE_STRICT",
};

static int clear(void **state)
{
    (void)state;
    for (size_t i = 0; i < TEST_COUNT(names); i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "CAMA_%s", names[i]);
        unsetenv(name);
        (void)snprintf(name, sizeof name, "OLLAMA_%s", names[i]);
        unsetenv(name);
    }
    bad[0] = '\0';
    return 0;
}

static void defaults(void **state)
{
    (void)state;
    serve_opts o;
    serve_opts_from_env(&o, on_bad, NULL);
    assert_string_equal(o.host, "127.0.0.1:11434");
    assert_null(o.unix_path);
    assert_null(o.models);
    assert_null(o.origins);
    assert_true(o.log_requests);
    assert_false(o.no_prune || o.strict || o.debug || o.pool.strict);
    assert_null(o.engine);
    assert_null(o.device);
    assert_int_equal(o.pool.keep_alive_ns, POOL_KEEP_DEFAULT);
    assert_int_equal(o.pool.load_timeout_ns, 0);
    assert_int_equal(o.pool.max_loaded + o.pool.max_queue + o.pool.n_parallel + o.pool.n_ctx, 0);
    assert_null(o.pool.kv_type);
    assert_string_equal(bad, "");
}

static void values(void **state)
{
    (void)state;
    serve_opts o;
    setenv("OLLAMA_HOST", " \"0.0.0.0:1\" ", 1);
    setenv("OLLAMA_MODELS", "/a", 1);
    setenv("CAMA_MODELS", "/b", 1);
    setenv("OLLAMA_KEEP_ALIVE", "1h30m", 1);
    setenv("OLLAMA_LOAD_TIMEOUT", "0", 1);
    setenv("OLLAMA_MAX_LOADED_MODELS", "2", 1);
    setenv("CAMA_MAX_QUEUE", "64", 1);
    setenv("OLLAMA_NUM_PARALLEL", "'4'", 1);
    setenv("OLLAMA_CONTEXT_LENGTH", "8192", 1);
    setenv("OLLAMA_KV_CACHE_TYPE", "q8_0", 1);
    setenv("OLLAMA_ORIGINS", "http://a", 1);
    setenv("OLLAMA_NOPRUNE", "yes", 1);
    setenv("OLLAMA_DEBUG", "2", 1);
    setenv("CAMA_ACTIVATIONS", "f32", 1);
    setenv("CAMA_WEIGHTS", "mapped", 1);
    setenv("CAMA_THREADS", "3", 1);
    setenv("CAMA_STRICT", "1", 1);
    setenv("CAMA_ENGINE", "mlx", 1);
    setenv("CAMA_DEVICE", "cpu", 1);
    setenv("CAMA_ENGINE_STRICT", "1", 1);
    serve_opts_from_env(&o, on_bad, NULL);
    assert_string_equal(bad, "");
    assert_string_equal(o.host, "0.0.0.0:1");
    assert_string_equal(o.models, "/b");
    assert_int_equal(o.pool.keep_alive_ns, 5400000000000);
    assert_int_equal(o.pool.load_timeout_ns, INT64_MAX);
    assert_int_equal(o.pool.max_loaded, 2);
    assert_int_equal(o.pool.max_queue, 64);
    assert_int_equal(o.pool.n_parallel, 4);
    assert_int_equal(o.pool.n_ctx, 8192);
    assert_string_equal(o.pool.kv_type, "q8_0");
    assert_string_equal(o.origins, "http://a");
    assert_true(o.no_prune && o.debug && o.strict && o.pool.strict);
    assert_string_equal(o.engine, "mlx");
    assert_string_equal(o.device, "cpu");
    setenv("CAMA_ENGINE", "auto", 1);
    serve_opts_from_env(&o, on_bad, NULL);
    assert_null(o.engine); /* which is what nobody's word means */
    assert_string_equal(o.pool.activations, "f32");
    assert_string_equal(o.pool.weights, "mapped");
    assert_int_equal(o.pool.n_thread, 3);
}

static void keep_alive(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ns;
    } cases[] = {
        {"0", 0},
        {"-1", POOL_KEEP_FOREVER},
        {"-1m", POOL_KEEP_FOREVER},
        {"300", 300000000000},
        {"5m", 300000000000},
        {"99999999999999", POOL_KEEP_FOREVER},
        {"abc", POOL_KEEP_DEFAULT},
    };
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        serve_opts o;
        setenv("OLLAMA_KEEP_ALIVE", cases[i].text, 1);
        serve_opts_from_env(&o, on_bad, NULL);
        assert_int_equal(o.pool.keep_alive_ns, cases[i].ns);
    }
    assert_non_null(strstr(bad, "OLLAMA_KEEP_ALIVE: 'abc' is not a duration"));
}

static void bad_values(void **state)
{
    (void)state;
    serve_opts o;
    setenv("OLLAMA_MAX_QUEUE", "-3", 1);
    setenv("OLLAMA_NUM_PARALLEL", "4x", 1);
    setenv("OLLAMA_CONTEXT_LENGTH", "99999999999", 1);
    setenv("OLLAMA_KV_CACHE_TYPE", "q7", 1);
    setenv("OLLAMA_NOPRUNE", "false", 1);
    setenv("CAMA_HOST", "  ", 1);
    setenv("CAMA_ENGINE", "steam", 1);
    setenv("CAMA_DEVICE", "CPU", 1);
    setenv("OLLAMA_HOST", "h", 1);
    serve_opts_from_env(&o, on_bad, NULL);
    assert_int_equal(o.pool.max_queue + o.pool.n_parallel + o.pool.n_ctx, 0);
    assert_null(o.pool.kv_type);
    assert_false(o.no_prune);
    assert_string_equal(o.host, "h");
    assert_non_null(strstr(bad, "OLLAMA_MAX_QUEUE"));
    assert_non_null(strstr(bad, "OLLAMA_NUM_PARALLEL"));
    assert_non_null(strstr(bad, "OLLAMA_CONTEXT_LENGTH"));
    assert_non_null(strstr(bad, "OLLAMA_KV_CACHE_TYPE"));
    assert_null(o.engine);
    assert_null(o.device);
    assert_non_null(strstr(bad, "CAMA_ENGINE: 'steam' is not auto, native or mlx"));
    assert_non_null(strstr(bad, "CAMA_DEVICE: 'CPU' is not auto, cpu or gpu"));
    serve_opts_from_env(&o, NULL, NULL);
}

static void probes(void **state)
{
    (void)state;
    rig r;
    net_host h = {.name = "127.0.0.1"};
    rig_open(&r, NULL);
    h.port = r.port;
    assert_int_equal(http_probe(&h), HTTP_PROBE_OLLAMA);
    rig_close(&r);
    assert_int_equal(http_probe(&h), HTTP_PROBE_NOBODY);
    /* somebody who does not answer */
    int fd = -1;
    bool in_use = false;
    h.port = 0;
    assert_int_equal(net_listen_tcp(&h, &fd, &in_use, NULL), CAMA_OK);
    h.port = net_port(fd);
    const uint64_t start = clock_now_ns();
    assert_int_equal(http_probe(&h), HTTP_PROBE_NOBODY);
    assert_true(clock_now_ns() - start < 2000000000u);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(defaults, clear),
        cmocka_unit_test_setup(values, clear),
        cmocka_unit_test_setup(keep_alive, clear),
        cmocka_unit_test_setup(bad_values, clear),
        cmocka_unit_test(probes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
