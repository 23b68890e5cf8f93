/* An engine that fails on a model: one more try, then the other one, told to whoever asks. */
#include "pool_rig.h"

static const char stopped[] = "model runner has unexpectedly stopped";
static const char died_twice[] =
    "mlx failed on this model (killed by signal 9 (Killed), twice): native runs it";

static void open_rig(pool_opts o)
{
    o.keep_alive_ns = POOL_KEEP_DEFAULT;
    rig_open(&o);
    rig.runs_again = true;
}

static seen *ask(const char *engine, const char *head)
{
    err_info err = {0};
    seen *s = rig_try(
        &(rig_job){.key = "a", .head = head, .keep_ns = POOL_KEEP_DEFAULT, .engine = engine}, &err);
    assert_non_null(s);
    return s;
}

static void engines(char *out, size_t n)
{
    buf b;
    buf_init(&b, n - 1);
    assert_int_equal(pool_engines(rig.pool, 30000, &b, NULL), CAMA_OK);
    memcpy(out, b.data, b.n + 1);
    buf_done(&b);
}

/* What is remembered: the text of the list, from "failures" on. */
static const char *remembered(void)
{
    static char all[8192];
    engines(all, sizeof all);
    const char *at = strstr(all, "\"failures\":");
    assert_non_null(at);
    return at;
}

static void has(const char *text, const char *part)
{
    if (!strstr(text, part))
        print_error("no '%s' in %s\n", part, text);
    assert_non_null(strstr(text, part));
}

static void ps_has(const char *part)
{
    char list[8192];
    rig_list(list, sizeof list);
    has(list, part);
}

static void fell_back(seen *s, const char *text)
{
    rig_done(s);
    assert_string_equal(s->text, "hello");
    assert_string_equal(s->engine, "native");
    assert_int_equal(s->n_fallback, 1);
    assert_string_equal(s->fallback, text);
}

static void unload(void)
{
    assert_true(pool_unload(rig.pool, "a"));
    rig_wait_list("\"key\"", false);
}

static void test_a_job_that_kills_one_engine_runs_on_the_other(void **state)
{
    (void)state;
    open_rig((pool_opts){.data_dir = "here"});
    rig_model("a", "auto mlx");
    seen *s = ask(NULL, "{\"do\":\"echo\",\"mlx\":\"die\"}");
    fell_back(s, died_twice);
    assert_int_equal(s->n_loaded, 3); /* once, once more, on the other one */
    ps_has("\"engine\":\"native\"");
    ps_has("\"engine_version\":\"native 1\"");
    ps_has("\"fallback\":\"mlx failed on this model (killed by signal 9 (Killed), twice): native "
           "runs it\"");
    ps_has("\"exact\":true,\"forms\":[{\"role\":\"Q\"}]");
    has(remembered(), "\"failures\":[{\"engine\":\"mlx\",\"build\":\"mlx 1\",\"digest\":\"0123\","
                      "\"model\":\"a\",\"reason\":\"killed by signal 9 (Killed)\",\"time\":\"2");
    seen *next = ask(NULL, "{\"do\":\"echo\"}"); /* on a runner that stands in */
    fell_back(next, died_twice);
    assert_int_equal(next->n_loaded, 1);
    assert_true(rig_logged("a: mlx failed on it and is tried once more"));
    rig_close();
}

static void test_it_is_remembered_until_it_is_reset(void **state)
{
    (void)state;
    open_rig((pool_opts){.data_dir = "here"});
    rig_model("a", "auto mlx");
    fell_back(ask(NULL, "{\"do\":\"echo\",\"mlx\":\"die\"}"), died_twice);
    unload();
    pool_close(rig.pool); /* another server, later */
    const pool_opts o = {.keep_alive_ns = POOL_KEEP_DEFAULT, .data_dir = rig.dir, .log = rig_log};
    assert_int_equal(pool_open(&o, &rig.pool, NULL), CAMA_OK);
    seen *s = ask(NULL, "{\"do\":\"echo\",\"mlx\":\"die\"}");
    rig_done(s);
    assert_string_equal(s->engine, "native");
    assert_int_equal(s->n_loaded, 1);
    assert_int_equal(s->n_warning, 0); /* a choice, and not a failure */
    ps_has("\"why\":\"mlx failed on this model on 2");
    ps_has("\"fallback\":\"\"");
    unload();
    size_t n = 0;
    assert_int_equal(pool_engines_reset(rig.pool, "4567", &n, NULL), CAMA_OK);
    assert_int_equal(n, 0);
    assert_int_equal(pool_engines_reset(rig.pool, "0123", &n, NULL), CAMA_OK);
    assert_int_equal(n, 1);
    has(remembered(), "\"failures\":[]");
    s = ask(NULL, "{\"do\":\"echo\"}");
    rig_done(s);
    assert_string_equal(s->engine, "mlx");
    rig_close();
}

static void test_one_more_try_is_enough(void **state)
{
    (void)state;
    open_rig((pool_opts){.max_loaded = 0});
    rig_model("a", "auto mlx");
    char once[128];
    rig_path("once", once);
    assert_int_equal(setenv("FAKE_ONCE", once, 1), 0);
    for (int i = 0; i < 3; i++) { /* a job that ends well in between: it is not counted on */
        rig_model("once", "");
        seen *s = ask(NULL, "{\"do\":\"once\"}");
        rig_done(s);
        assert_string_equal(s->engine, "mlx");
        assert_int_equal(s->n_loaded, i ? 2 : 2);
        assert_int_equal(s->n_warning, 0);
    }
    assert_int_equal(unsetenv("FAKE_ONCE"), 0);
    has(remembered(), "\"failures\":[]");
    rig_close();
}

/* Who has said something fails as ever; who has not, and who waits, is none the wiser. */
static void test_only_silent_jobs_run_again(void **state)
{
    (void)state;
    open_rig((pool_opts){.max_loaded = 0});
    rig_model("a", "auto mlx");
    seen *talking = ask(NULL, "{\"do\":\"wait\"}");
    rig_wait(&talking->n_text, 1);
    seen *killer = ask(NULL, "{\"do\":\"echo\",\"mlx\":\"die\"}");
    seen *bystander = ask(NULL, "{\"do\":\"echo\"}");
    rig_failed(talking, CAMA_ERR_RUNNER, stopped);
    rig_done(bystander);
    fell_back(killer, died_twice);
    rig_close();
}

/* Nobody has seen what it said: it is taken back. */
static void test_who_collects_runs_again_after_text(void **state)
{
    (void)state;
    open_rig((pool_opts){.max_loaded = 0});
    rig_model("a", "auto mlx");
    seen *s = rig_try(&(rig_job){.key = "a",
                                 .head = "{\"do\":\"echo\",\"mlx\":\"talkdie\"}",
                                 .keep_ns = POOL_KEEP_DEFAULT,
                                 .collects = true},
                      NULL);
    assert_non_null(s);
    fell_back(s, died_twice);
    seen *t = ask("mlx", "{\"do\":\"echo\",\"mlx\":\"talkdie\"}"); /* on native by now */
    rig_done(t);
    rig_close();

    open_rig((pool_opts){.max_loaded = 0});
    rig_model("a", "auto mlx");
    s = ask(NULL, "{\"do\":\"echo\",\"mlx\":\"talkdie\"}");
    rig_failed(s, CAMA_ERR_RUNNER, "killed by signal 9");
    assert_string_equal(s->text, "I think");
    rig_close();
}

static void test_warnings_are_told_once(void **state)
{
    (void)state;
    open_rig((pool_opts){.max_loaded = 0});
    rig_model("a", "auto mlx");
    seen *s = ask(NULL, "{\"do\":\"warn\",\"mlx\":\"warndie\"}");
    fell_back(s, died_twice);
    assert_int_equal(s->n_warning, 2); /* its own and the fallback's */
    rig_close();
}

static void test_how_an_engine_fails_to_load(void **state)
{
    (void)state;
    static const struct {
        const char *script, *text, *reason;
    } cases[] = {
        {"mlx.load die", died_twice, "killed by signal 9 (Killed)"},
        {"mlx.look die", died_twice, "killed by signal 9 (Killed)"},
        {"mlx.plan die", died_twice, "killed by signal 9 (Killed)"},
        {"mlx.load silent",
         "mlx failed on this model (loading made no progress for 0.3 s, twice): native runs it",
         "no progress"},
        {"mlx.load engine", "mlx failed on this model (no stream, twice): native runs it",
         "no stream"},
        {"mlx.load cannot", "mlx cannot run this model (no such op): native runs it", "no such op"},
        {"mlx.plan cannot", "mlx cannot run this model (no such op): native runs it", "no such op"},
        {"mlx.load nofit", "mlx cannot run this model (9 of 8 bytes): native runs it", NULL},
    };
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        open_rig((pool_opts){.load_timeout_ns = 300 * RIG_MS});
        char script[64];
        (void)snprintf(script, sizeof script, "auto mlx look 1 %s", cases[i].script);
        rig_model("a", script);
        seen *s = ask(NULL, "{\"do\":\"echo\"}");
        seen *t = ask(NULL, "{\"do\":\"echo\"}");
        fell_back(s, cases[i].text);
        fell_back(t, cases[i].text);
        assert_int_equal(s->n_loaded, 1);
        has(remembered(), cases[i].reason ? cases[i].reason : "\"failures\":[]");
        rig_close();
    }
}

static void test_a_stopped_one_is_no_other(void **state)
{
    (void)state;
    open_rig((pool_opts){.hang_timeout_ns = 400 * RIG_MS});
    rig_model("a", "auto mlx");
    fell_back(
        ask(NULL, "{\"do\":\"echo\",\"mlx\":\"stop\"}"),
        "mlx failed on this model (it did not answer for 0.4 s and was killed, twice): native "
        "runs it");
    rig_close();
}

static void test_an_engine_that_says_it_failed(void **state)
{
    (void)state;
    open_rig((pool_opts){.max_loaded = 0});
    rig_model("a", "auto mlx");
    fell_back(ask(NULL, "{\"do\":\"echo\",\"mlx\":\"broken\"}"),
              "mlx failed on this model (NaN everywhere, twice): native runs it");
    seen *s = ask(NULL, "{\"do\":\"fail\"}"); /* the request's own fault */
    rig_failed(s, CAMA_ERR_CONTEXT, "9 of 8");
    assert_int_equal(s->n_loaded, 1);
    rig_close();
}

static void test_an_engine_that_was_asked_for(void **state)
{
    (void)state;
    open_rig((pool_opts){.max_loaded = 0});
    rig_model("a", "auto native mlx.load engine");
    fell_back(ask("mlx", "{\"do\":\"echo\"}"),
              "mlx failed on this model (no stream, twice): native runs it");
    rig_close();

    open_rig((pool_opts){.max_loaded = 0}); /* memory is no reason to take another than was asked */
    rig_model("a", "auto native mlx.load nofit");
    seen *s = ask("mlx", "{\"do\":\"echo\"}");
    rig_failed(s, CAMA_ERR_NO_FIT, "9 of 8");
    assert_int_equal(s->n_warning, 0);
    rig_close();

    open_rig((pool_opts){.max_loaded = 0}); /* the other way round */
    rig_model("a", "");
    s = ask("native", "{\"do\":\"echo\",\"native\":\"die\"}");
    rig_done(s);
    assert_string_equal(s->engine, "mlx");
    assert_string_equal(
        s->fallback,
        "native failed on this model (killed by signal 9 (Killed), twice): mlx runs it");
    rig_close();
}

static void test_strict_is_an_error(void **state)
{
    (void)state;
    static const char *const named[] = {NULL, "mlx"};
    for (size_t i = 0; i < TEST_COUNT(named); i++) {
        open_rig((pool_opts){.strict = true});
        rig_model("a", "auto mlx");
        seen *s = ask(named[i], "{\"do\":\"echo\",\"mlx\":\"die\"}");
        rig_failed(s, CAMA_ERR_ENGINE,
                   "engine mlx failed on this model and no other one may take it "
                   "(CAMA_ENGINE_STRICT): killed by signal 9 (Killed)");
        assert_int_equal(s->n_loaded, 2); /* it was tried once more */
        assert_int_equal(s->n_warning, 0);
        rig_model("a", "auto mlx mlx.load cannot");
        s = ask(named[i], "{\"do\":\"echo\"}");
        rig_failed(s, CAMA_ERR_ENGINE, "no such op");
        rig_model("a", "auto mlx mlx.load nofit");
        s = ask(named[i], "{\"do\":\"echo\"}");
        rig_failed(s, CAMA_ERR_NO_FIT, "9 of 8");
        rig_close();
    }
}

/* A kernel that failed its self-test: the engine does without it, and says so. */
static void test_an_engine_with_a_note(void **state)
{
    (void)state;
    open_rig((pool_opts){.max_loaded = 0});
    rig_model("a", "auto mlx mlx.note q4_k");
    seen *s = ask(NULL, "{\"do\":\"echo\"}");
    rig_done(s);
    assert_string_equal(s->engine, "mlx");
    assert_int_equal(s->n_warning, 1);
    assert_int_equal(s->n_fallback, 0);
    ps_has("\"note\":\"q4_k\"");
    char once[128];
    rig_path("once", once);
    rig_model("once", "");
    assert_int_equal(setenv("FAKE_ONCE", once, 1), 0);
    unload();
    s = ask(NULL, "{\"do\":\"once\"}"); /* the second try says nothing new */
    rig_done(s);
    assert_int_equal(s->n_loaded, 2);
    assert_int_equal(s->n_warning, 1);
    assert_int_equal(unsetenv("FAKE_ONCE"), 0);
    rig_close();

    open_rig((pool_opts){.strict = true});
    rig_model("a", "auto mlx mlx.note q4_k");
    s = ask(NULL, "{\"do\":\"echo\"}");
    rig_failed(s, CAMA_ERR_ENGINE,
               "engine mlx does not run this model as it should (CAMA_ENGINE_STRICT): q4_k");
    assert_int_equal(s->n_loaded, 0);
    rig_close();
}

static void test_both_fail(void **state)
{
    (void)state;
    open_rig((pool_opts){.max_loaded = 0});
    rig_model("a", "auto mlx");
    seen *s = ask(NULL, "{\"do\":\"die\"}");
    rig_failed(s, CAMA_ERR_RUNNER, stopped);
    rig_failed(s, CAMA_ERR_RUNNER, "killed by signal 9 (Killed)");
    assert_int_equal(s->n_loaded, 3);
    has(remembered(), "\"failures\":[]"); /* it may be the job */
    rig_close();

    open_rig((pool_opts){.max_loaded = 0}); /* the reason of the one that was tried last */
    rig_model("a", "auto mlx load cannot");
    s = ask(NULL, "{\"do\":\"echo\"}");
    rig_failed(s, CAMA_ERR_UNSUPPORTED, "no such op");
    has(remembered(), "\"failures\":[]"); /* nobody could: it is the model */
    rig_close();

    open_rig((pool_opts){.max_loaded = 0}); /* the other one is none: as if there were no other */
    rig_model("a", "mlx.plan cannot");
    s = ask("native", "{\"do\":\"die\"}");
    rig_failed(s, CAMA_ERR_RUNNER, "killed by signal 9 (Killed)");
    assert_int_equal(s->n_loaded, 2);
    rig_close();
}

static void test_where_there_is_no_other_all_is_as_ever(void **state)
{
    (void)state;
    open_rig((pool_opts){.max_loaded = 0});
    rig_model("a", "auto native alone 1");
    seen *s = ask(NULL, "{\"do\":\"echo\",\"native\":\"die\"}");
    rig_failed(s, CAMA_ERR_RUNNER, "killed by signal 9 (Killed)");
    assert_int_equal(s->n_loaded, 1);
    s = ask(NULL, "{\"do\":\"echo\",\"native\":\"broken\"}");
    rig_failed(s, CAMA_ERR_ENGINE, "NaN everywhere");
    rig_close();
}

/* An idle process that somebody ends has not failed on its model. */
static void test_an_idle_death_is_nobodys_fault(void **state)
{
    (void)state;
    open_rig((pool_opts){.max_loaded = 0});
    rig_model("a", "auto mlx");
    for (int i = 0; i < 4; i++) {
        seen *s = ask(NULL, "{\"do\":\"echo\"}");
        rig_done(s);
        assert_string_equal(s->engine, "mlx");
        (void)kill((pid_t)rig_field("a", "pid"), SIGKILL);
        rig_wait_list("\"key\"", false);
    }
    rig_close();
}

static void test_a_canceled_job_is_not_run_again(void **state)
{
    (void)state;
    open_rig((pool_opts){.hang_timeout_ns = 400 * RIG_MS});
    rig_model("a", "auto mlx");
    seen *s = ask(NULL, "{\"do\":\"echo\",\"mlx\":\"deaf\"}");
    rig_wait(&s->n_loaded, 1);
    pool_cancel(rig.pool, s->id);
    rig_end(s);
    assert_true(s->failed);
    assert_int_equal(s->n_loaded, 1);
    rig_close();
}

/* Killers, talkers and those who leave, all at once: each hears one end, and the model works on. */
static void test_a_crowd_while_engines_die(void **state)
{
    (void)state;
    enum { N_ROUND = 6, N_JOB = 40 };
    open_rig((pool_opts){.max_loaded = 2});
    rig_model("a", "auto mlx");
    for (int round = 0; round < N_ROUND; round++) {
        seen *s[N_JOB];
        for (int i = 0; i < N_JOB; i++) {
            s[i] = ask(NULL, i % 9 == 4   ? "{\"do\":\"echo\",\"mlx\":\"die\"}"
                             : i % 9 == 7 ? "{\"do\":\"echo\",\"n\":50}"
                                          : "{\"do\":\"echo\"}");
            if (i % 5 == 3)
                pool_cancel(rig.pool, s[i]->id);
            if (i % 16 == 8) {
                size_t n = 0;
                assert_int_equal(pool_engines_reset(rig.pool, NULL, &n, NULL), CAMA_OK);
            }
        }
        for (int i = 0; i < N_JOB; i++) {
            rig_end(s[i]);
            if (s[i]->failed)
                assert_true(s[i]->err.code == CAMA_ERR_CANCELED ||
                            s[i]->err.code == CAMA_ERR_RUNNER);
        }
        (void)pool_unload(rig.pool, "a");
        rig_wait_list("\"key\"", false);
    }
    rig_close();
}

static void test_which_engines_there_are(void **state)
{
    (void)state;
    char all[8192];
    open_rig((pool_opts){.max_loaded = 0});
    rig_model("a", "auto mlx");
    rig_done(ask(NULL, "{\"do\":\"echo\"}"));
    buf b;
    buf_init(&b, sizeof all - 1);
    assert_int_equal(pool_engines(rig.pool, 0, &b, NULL), CAMA_OK); /* does not wait */
    has(b.data, "{\"engines\":[],\"failures\":[],\"state\":\"asking\"}");
    buf_done(&b);
    engines(all, sizeof all);
    has(all, "{\"engines\":[{\"name\":\"native\",\"available\":true,\"version\":\"native 1\","
             "\"why\":\"\",\"in_use\":0},{\"name\":\"mlx\",\"available\":true,\"version\":\"mlx 1\""
             ",\"why\":\"\",\"in_use\":1}],\"failures\":[],\"state\":\"known\"}");
    rig_close();

    static const struct {
        const char *how, *why;
    } cases[] = {{"die", "the process that looked for it was killed by signal 9 (Killed)"},
                 {"exit", "the process that looked for it exited with status 7"}};
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        open_rig((pool_opts){.max_loaded = 0});
        assert_int_equal(setenv("FAKE_ABOUT", cases[i].how, 1), 0);
        engines(all, sizeof all);
        has(all, "{\"name\":\"native\",\"available\":true");
        has(all, "{\"name\":\"mlx\",\"available\":false,\"why\":\"");
        has(all, cases[i].why);
        assert_int_equal(unsetenv("FAKE_ABOUT"), 0);
        engines(all, sizeof all); /* believed for a while */
        has(all, cases[i].why);
        rig_model("a", "auto mlx"); /* until a runner says otherwise */
        rig_done(ask(NULL, "{\"do\":\"echo\"}"));
        engines(all, sizeof all);
        has(all, "{\"name\":\"mlx\",\"available\":true");
        rig_close();
    }
}

static void test_closing_while_engines_are_asked_for(void **state)
{
    (void)state;
    const int n_fd = rig_n_fd();
    for (int i = 0; i < 20; i++) {
        open_rig((pool_opts){.max_loaded = 0});
        buf b;
        buf_init(&b, 8192);
        assert_int_equal(pool_engines(rig.pool, (uint32_t)i % 3, &b, NULL), CAMA_OK);
        buf_done(&b);
        rig_close();
    }
    assert_int_equal(rig_n_fd(), n_fd);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "runner") == 0)
        return fake_runner_main();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_job_that_kills_one_engine_runs_on_the_other),
        cmocka_unit_test(test_it_is_remembered_until_it_is_reset),
        cmocka_unit_test(test_one_more_try_is_enough),
        cmocka_unit_test(test_only_silent_jobs_run_again),
        cmocka_unit_test(test_who_collects_runs_again_after_text),
        cmocka_unit_test(test_warnings_are_told_once),
        cmocka_unit_test(test_how_an_engine_fails_to_load),
        cmocka_unit_test(test_a_stopped_one_is_no_other),
        cmocka_unit_test(test_an_engine_that_says_it_failed),
        cmocka_unit_test(test_an_engine_that_was_asked_for),
        cmocka_unit_test(test_strict_is_an_error),
        cmocka_unit_test(test_an_engine_with_a_note),
        cmocka_unit_test(test_both_fail),
        cmocka_unit_test(test_where_there_is_no_other_all_is_as_ever),
        cmocka_unit_test(test_an_idle_death_is_nobodys_fault),
        cmocka_unit_test(test_a_canceled_job_is_not_run_again),
        cmocka_unit_test(test_a_crowd_while_engines_die),
        cmocka_unit_test(test_which_engines_there_are),
        cmocka_unit_test(test_closing_while_engines_are_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
