/* Runners that die, hang, refuse or talk nonsense: their jobs end at once, the next one works. */
#include "pool_rig.h"

#include <sys/wait.h>

static const char stopped[] =
    "model runner has unexpectedly stopped, this may be due to resource limitations or an internal "
    "error, check ollama server logs for details: ";

/* The whole text: Ollama's, then how it ended. */
static void failed_as(seen *s, const char *how)
{
    char text[512];
    (void)snprintf(text, sizeof text, "%s%s", stopped, how);
    rig_failed(s, CAMA_ERR_RUNNER, text);
}

static pool_opts quick(long hang_ms, long load_ms)
{
    return (pool_opts){.hang_timeout_ns = (uint64_t)(hang_ms * RIG_MS),
                       .load_timeout_ns = (uint64_t)(load_ms * RIG_MS),
                       .keep_alive_ns = POOL_KEEP_DEFAULT};
}

static void works(const char *key)
{
    rig_done(rig_submit(key, "{\"do\":\"echo\"}"));
}

static void test_how_a_runner_ends_in_a_job(void **state)
{
    (void)state;
    static const struct {
        const char *job, *how;
    } cases[] = {
        {"{\"do\":\"die\"}", "killed by signal 9 (Killed)"},
        {"{\"do\":\"exit\"}", "exited with status 7"},
        {"{\"do\":\"garbage\"}", ""},
        {"{\"do\":\"badutf8\"}", "a frame TEXT whose 2 bytes are no UTF-8"},
        {"{\"do\":\"odd\"}", "a frame VECTOR of 3 bytes"},
        {"{\"do\":\"stranger\"}", "a frame TEXT of job"},
        {"{\"do\":\"spill\"}", ""},
    };
    rig_open(NULL);
    rig_model("a", "");
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        seen *w = rig_submit("a", "{\"do\":\"wait\"}");
        rig_wait(&w->n_text, 1);
        const uint64_t start_ns = clock_now_ns();
        seen *s = rig_submit("a", cases[i].job);
        failed_as(s, cases[i].how);
        failed_as(w, cases[i].how); /* the innocent too: the model is gone */
        assert_true(s->end_ns - start_ns < 30000 * (uint64_t)RIG_MS);
        works("a");
        assert_true(rig_field("a", "restarts") > 0);
    }
    assert_true(rig_logged("runner of a ended with 2 jobs: killed by signal 9 (Killed)"));
    rig_close();
}

static void test_how_a_runner_ends_in_its_load(void **state)
{
    (void)state;
    static const struct {
        const char *script, *how;
    } cases[] = {
        {"plan die", "killed by signal 9 (Killed)"},
        {"load die", "killed by signal 9 (Killed)"},
        {"plan garbage", ""},
        {"load garbage", ""},
        {"plan silent", "loading made no progress for 0.3 s"},
        {"load silent", "loading made no progress for 0.3 s"},
        {"plan fd", "a frame PLAN with a descriptor"},
    };
    const pool_opts o = quick(30000, 300);
    rig_open(&o);
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        rig_model("a", cases[i].script);
        seen *s[3];
        const uint64_t start_ns = clock_now_ns();
        for (int k = 0; k < 3; k++)
            s[k] = rig_submit("a", k ? "{\"do\":\"none\"}" : NULL);
        for (int k = 0; k < 3; k++) {
            failed_as(s[k], cases[i].how);
            assert_int_equal(s[k]->n_loaded, 0);
            assert_true(s[k]->end_ns - start_ns < 5000 * (uint64_t)RIG_MS);
        }
        rig_model("a", "");
        works("a");
        assert_true(pool_unload(rig.pool, "a"));
        rig_wait_list("\"key\"", false);
    }
    assert_true(rig_logged("runner of a ended before it was loaded, 3 jobs waited: killed by"));
    rig_close();
}

static void test_a_long_load_that_moves_is_left_alone(void **state)
{
    (void)state;
    const pool_opts o = quick(30000, 1500);
    rig_open(&o);
    rig_model("a", "load_ms 3000 progress 1");
    works("a");
    rig_close();
}

static void test_a_second_ready_is_garbage(void **state)
{
    (void)state;
    rig_open(NULL);
    rig_model("a", "load twice");
    seen *s = rig_submit("a", "{\"do\":\"wait\"}");
    failed_as(s, "a frame READY before it was told to load");
    rig_close();
}

static void test_how_a_runner_fails_to_say_hello(void **state)
{
    (void)state;
    static const struct {
        const char *hello, *how;
    } cases[] = {
        {"exit", "exited with status 9"},
        {"garbage", ""},
        {"version", "a frame HELLO of another version of the wire"},
        {"early", "a frame READY before it was told to load"},
        {"silent", "it said nothing for 4.0 s after its start"},
    };
    const pool_opts o = quick(30000, 4000);
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        assert_int_equal(setenv("FAKE_HELLO", cases[i].hello, 1), 0);
        rig_open(&o);
        rig_model("a", "");
        failed_as(rig_submit("a", "{}"), cases[i].how);
        rig_close();
    }
    assert_int_equal(unsetenv("FAKE_HELLO"), 0);
}

static void test_a_program_that_is_none(void **state)
{
    (void)state;
    const pool_opts o = {.exe = "/nonexistent/cama", .keep_alive_ns = POOL_KEEP_DEFAULT};
    rig_open(&o);
    rig_model("a", "");
    rig_failed(rig_submit("a", "{}"), CAMA_ERR_IO, "/nonexistent/cama");
    rig_close();
}

static void test_a_refusal_is_told_to_all_who_waited(void **state)
{
    (void)state;
    static const char *const scripts[] = {"plan refuse", "load refuse"};
    rig_open(NULL);
    for (size_t i = 0; i < TEST_COUNT(scripts); i++) {
        rig_model("a", scripts[i]);
        seen *s[3];
        for (int k = 0; k < 3; k++)
            s[k] = rig_submit("a", "{}");
        for (int k = 0; k < 3; k++)
            rig_failed(s[k], CAMA_ERR_UNSUPPORTED, "no such tensors");
    }
    rig_model("a", "");
    works("a");
    assert_int_equal(rig_field("a", "restarts"), 0); /* a refusal is no fault */
    rig_close();
}

static void test_a_hang_is_seen_and_ended(void **state)
{
    (void)state;
    static const struct {
        const char *job, *how;
    } cases[] = {
        {"{\"do\":\"stop\"}", "it did not answer for 0.8 s and was killed"},
        {"{\"do\":\"deaf\"}", "it did not answer for 0.8 s and was killed"},
        {"{\"do\":\"stuck\"}", "its engine made no step for 0.8 s and it was killed"},
    };
    const pool_opts o = quick(800, 30000);
    rig_open(&o);
    rig_model("a", "");
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        failed_as(rig_submit("a", cases[i].job), cases[i].how);
        works("a");
    }
    rig_model("b", "plan stop");
    failed_as(rig_submit("b", "{}"), "it did not answer for 0.8 s and was killed");
    rig_model("b", "load stop");
    failed_as(rig_submit("b", NULL), "it did not answer for 0.8 s and was killed");
    rig_model("b", "");
    works("b");
    rig_close();
}

static void test_a_long_job_that_moves_is_left_alone(void **state)
{
    (void)state;
    const pool_opts o = quick(800, 30000);
    rig_open(&o);
    rig_model("a", "");
    seen *w = rig_submit("a", "{\"do\":\"wait\"}");
    rig_wait(&w->n_text, 1);
    fake_sleep_ms(2000);
    assert_int_equal(w->n_end, 0);
    pool_cancel(rig.pool, w->id);
    rig_done(w);
    rig_close();
}

static void test_a_reader_that_stops_is_no_hang(void **state)
{
    (void)state;
    const pool_opts o = quick(800, 30000);
    rig_open(&o);
    rig_model("a", "");
    seen *s = rig_submit("a", "{\"do\":\"flood\",\"n\":300000}");
    rig_wait(&s->n_text, WIRE_CREDIT_BYTES / FAKE_PIECE);
    fake_sleep_ms(2500);
    assert_int_equal(s->n_bytes, WIRE_CREDIT_BYTES);
    pool_credit(rig.pool, s->id, WIRE_CREDIT_BYTES);
    rig_done(s);
    assert_int_equal(s->n_bytes, 300000);
    assert_int_equal(rig_field("a", "restarts"), 0);
    rig_close();
}

static void test_a_cancel_that_is_not_heard_ends_the_runner(void **state)
{
    (void)state;
    const pool_opts o = quick(800, 30000);
    rig_open(&o);
    rig_model("a", "");
    seen *s = rig_submit("a", "{\"do\":\"stubborn\"}");
    rig_wait(&s->n_text, 1);
    pool_cancel(rig.pool, s->id);
    failed_as(s, "it did not end a canceled job within 0.8 s and was killed");
    works("a");
    rig_close();
}

static void test_a_runner_killed_while_idle_is_replaced(void **state)
{
    (void)state;
    rig_open(NULL);
    rig_model("a", "");
    works("a");
    const long long pid = rig_field("a", "pid");
    assert_int_equal(kill((pid_t)pid, SIGKILL), 0);
    rig_wait_list("\"key\"", false);
    works("a");
    assert_int_equal(rig_field("a", "restarts"), 1);
    rig_close();
}

static void test_no_crash_loop(void **state)
{
    (void)state;
    rig_open(NULL);
    rig_model("a", "load die");
    rig_model("b", "");
    for (int i = 0; i < 3; i++)
        failed_as(rig_submit("a", "{}"), "killed by signal 9 (Killed)");
    seen *s = rig_submit("a", "{}");
    assert_int_equal(s->n_end, 1); /* at once */
    failed_as(s, "killed by signal 9 (Killed); it failed 3 times in a row and is tried again in ");
    works("b");
    assert_true(rig_logged("runner of a failed 3 times without a finished job: not started again "
                           "for 30 s"));
    rig_close();
}

/* Whole frames without sense: every job ends, once, and the pool lives on. */
static void test_nonsense(void **state)
{
    (void)state;
    assert_int_equal(setenv("FAKE_HELLO", "random", 1), 0);
    pool_opts o = quick(300, 300);
    o.max_loaded = 2;
    rig_open(&o);
    char key[16];
    seen *s[150];
    for (int i = 0; i < 150; i++) { /* many keys: each may fail three times before it backs off */
        (void)snprintf(key, sizeof key, "k%d", i / 3);
        rig_model(key, "");
        s[i] = rig_submit(key, i % 3 ? "{\"do\":\"echo\",\"n\":4}" : "{\"do\":\"wait\"}");
        if (i % 3 == 0 && i >= 30)
            pool_cancel(rig.pool, s[i - 30]->id);
    }
    for (int i = 0; i < 150; i += 3)
        pool_cancel(rig.pool, s[i]->id);
    for (int i = 0; i < 150; i++)
        rig_end(s[i]);
    char list[8192];
    rig_list(list, sizeof list);
    rig_close();
    assert_int_equal(unsetenv("FAKE_HELLO"), 0);
}

static void test_a_finished_job_ends_the_count(void **state)
{
    (void)state;
    rig_open(NULL);
    rig_model("a", "");
    for (int i = 0; i < 8; i++) {
        failed_as(rig_submit("a", "{\"do\":\"die\"}"), "killed by signal 9 (Killed)");
        works("a");
    }
    assert_int_equal(rig_field("a", "restarts"), 8);
    rig_close();
}

static void test_closing_with_jobs_everywhere(void **state)
{
    (void)state;
    const pool_opts o = {.max_loaded = 1, .keep_alive_ns = POOL_KEEP_DEFAULT};
    rig_open(&o);
    rig_model("a", "");
    rig_model("b", "");
    rig_model("c", "plan silent");
    seen *s[4];
    s[0] = rig_submit("a", "{\"do\":\"wait\"}");
    rig_wait(&s[0]->n_text, 1);
    s[1] = rig_submit("b", "{}");
    s[2] = rig_submit("c", "{}");
    s[3] = rig_submit("a", "{\"do\":\"deaf\"}");
    const uint64_t start_ns = clock_now_ns();
    pool_close(rig.pool);
    assert_true(clock_now_ns() - start_ns < 5000 * (uint64_t)RIG_MS);
    for (int i = 0; i < 4; i++)
        rig_failed(s[i], CAMA_ERR_CANCELED, "the server is shutting down");
    rig.pool = NULL;
    rig_close();
}

#ifdef __linux__
/* The state letter of a process; 0: there is none. */
static char process_state(pid_t pid)
{
    char path[64];
    char text[512];
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "r");
    if (!f)
        return 0;
    const size_t n = fread(text, 1, sizeof text - 1, f);
    (void)fclose(f);
    text[n] = '\0';
    const char *at = strrchr(text, ')');
    return at && at[1] == ' ' ? at[2] : 0;
}

static void serve_until_killed(int fd, const char *job)
{
    const pool_opts o = quick(1000, 30000);
    rig_open(&o);
    rig_model("a", "");
    seen *s = rig_submit("a", job);
    while (rig_field("a", "running") != 1)
        fake_sleep_ms(1);
    (void)s;
    fake_sleep_ms(50);
    const pid_t pid = (pid_t)rig_field("a", "pid");
    rig_remove_dir();
    if (write(fd, &pid, sizeof pid) != (ssize_t)sizeof pid)
        _exit(1);
    for (;;)
        (void)pause();
}

/* A process with a pool whose runner works on that job. */
static void start_server(const char *job, pid_t *out_server, pid_t *out_runner)
{
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    *out_server = fork();
    if (*out_server == 0)
        serve_until_killed(fd[1], job);
    assert_true(*out_server > 0);
    assert_int_equal(read(fd[0], out_runner, sizeof *out_runner), sizeof *out_runner);
    assert_int_not_equal(process_state(*out_runner), 0);
    (void)close(fd[0]);
    (void)close(fd[1]);
}

static void test_a_pool_that_was_stopped_blames_nobody(void **state)
{
    (void)state;
    pid_t server = 0;
    pid_t runner = 0;
    start_server("{\"do\":\"wait\"}", &server, &runner);
    assert_int_equal(kill(server, SIGSTOP), 0);
    fake_sleep_ms(3000);
    assert_int_equal(kill(server, SIGCONT), 0);
    fake_sleep_ms(1500);
    const char c = process_state(runner);
    assert_int_equal(kill(server, SIGKILL), 0);
    assert_int_equal(waitpid(server, NULL, 0), server);
    assert_true(c != 0 && c != 'Z');
}

static void test_no_orphan_after_kill_9(void **state)
{
    (void)state;
    pid_t server = 0;
    pid_t runner = 0;
    start_server("{\"do\":\"deaf\"}", &server, &runner); /* not even end-of-file reaches it */
    assert_int_equal(kill(server, SIGKILL), 0);
    assert_int_equal(waitpid(server, NULL, 0), server);
    char c = 'R';
    for (int i = 0; i < 100 && (c = process_state(runner)) && c != 'Z'; i++)
        fake_sleep_ms(10);
    assert_true(c == 0 || c == 'Z');
}
#endif

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "runner") == 0)
        return fake_runner_main();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_how_a_runner_ends_in_a_job),
        cmocka_unit_test(test_how_a_runner_ends_in_its_load),
        cmocka_unit_test(test_a_long_load_that_moves_is_left_alone),
        cmocka_unit_test(test_a_second_ready_is_garbage),
        cmocka_unit_test(test_how_a_runner_fails_to_say_hello),
        cmocka_unit_test(test_a_program_that_is_none),
        cmocka_unit_test(test_a_refusal_is_told_to_all_who_waited),
        cmocka_unit_test(test_a_hang_is_seen_and_ended),
        cmocka_unit_test(test_a_long_job_that_moves_is_left_alone),
        cmocka_unit_test(test_a_reader_that_stops_is_no_hang),
        cmocka_unit_test(test_a_cancel_that_is_not_heard_ends_the_runner),
        cmocka_unit_test(test_a_runner_killed_while_idle_is_replaced),
        cmocka_unit_test(test_no_crash_loop),
        cmocka_unit_test(test_nonsense),
        cmocka_unit_test(test_a_finished_job_ends_the_count),
        cmocka_unit_test(test_closing_with_jobs_everywhere),
#ifdef __linux__ /* elsewhere a child that reads nothing is not killed with its parent */
        cmocka_unit_test(test_a_pool_that_was_stopped_blames_nobody),
        cmocka_unit_test(test_no_orphan_after_kill_9),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
