/* The pool with real runners: the program of this build, over a small model that talks noise. */
#include "pool_rig.h"

#include "tiny_chat.h"

#ifndef TEST_CAMA
#define TEST_CAMA "cama"
#endif

enum { N_STREAM = 8, N_RELOAD = 200 };

/* Answers are the same every time: greedy, and the model's noise has no end of its own. */
#define JOB(n)                                                                                     \
    "{\"kind\":\"generate\",\"model\":\"tiny\",\"raw\":true,\"prompt\":\"hello hello\","           \
    "\"options\":{\"temperature\":0,\"num_predict\":" #n "}}"

static pool_opts real_opts(void)
{
    return (pool_opts){
        .exe = TEST_CAMA, .n_ctx = 512, .n_thread = 2, .keep_alive_ns = POOL_KEEP_DEFAULT};
}

static void open_real(const pool_opts *o)
{
    rig_open(o);
    char from[64];
    char to[128];
    tiny_chat_file(from);
    rig_path("tiny", to);
    FILE *in = fopen(from, "rb");
    FILE *out = fopen(to, "wb");
    assert_true(in && out);
    for (int c; (c = fgetc(in)) != EOF;)
        (void)fputc(c, out);
    (void)fclose(in);
    assert_int_equal(fclose(out), 0);
    (void)unlink(from);
}

static void answer(char out[RIG_TEXT])
{
    seen *s = rig_submit("tiny", JOB(40));
    rig_done(s);
    memcpy(out, s->text, RIG_TEXT);
    assert_true(s->n_bytes > 0);
}

static void test_answers_are_the_same_alone_and_together(void **state)
{
    (void)state;
    const pool_opts o = real_opts();
    open_real(&o);
    char want[RIG_TEXT];
    answer(want);
    assert_true(rig_logged("engine native"));
    seen *s[N_STREAM];
    for (int i = 0; i < N_STREAM; i++)
        s[i] = rig_submit("tiny", JOB(40));
    for (int i = 0; i < N_STREAM; i++) {
        rig_done(s[i]);
        assert_string_equal(s[i]->text, want);
        assert_string_equal(s[i]->reason, "length");
    }
    assert_int_equal(rig_field("tiny", "restarts"), 0);
    assert_int_equal(rig_field("tiny", "n_ctx"), 512);
    rig_close();
}

static void test_a_larger_context_reloads_nothing(void **state)
{
    (void)state;
    const pool_opts o = real_opts();
    open_real(&o);
    rig_done(rig_submit("tiny", JOB(4)));
    const long long pid = rig_field("tiny", "pid");
    rig_done(rig_submit("tiny", "{\"kind\":\"generate\",\"model\":\"tiny\",\"raw\":true,"
                                "\"prompt\":\"hello\",\"options\":{\"num_ctx\":16,"
                                "\"num_predict\":4}}"));
    assert_int_equal(rig_field("tiny", "pid"), pid);
    rig_close();
}

/* With so little credit the answer halts after a few tokens: it cannot end before it is disturbed.
 */
static seen *endless(void)
{
    seen *s = rig_try(&(rig_job){.key = "tiny",
                                 .head = "{\"kind\":\"generate\",\"model\":\"tiny\",\"raw\":true,"
                                         "\"prompt\":\"hello hello\",\"credit\":16,"
                                         "\"options\":{\"temperature\":0,\"num_predict\":1000000}}",
                                 .gives_credit = true,
                                 .keep_ns = POOL_KEEP_DEFAULT},
                      NULL);
    assert_non_null(s);
    rig_wait(&s->n_text, 1);
    return s;
}

static void test_a_stream_is_canceled_soon(void **state)
{
    (void)state;
    const pool_opts o = real_opts();
    open_real(&o);
    seen *s = endless();
    const uint64_t start_ns = clock_now_ns();
    pool_cancel(rig.pool, s->id);
    rig_done(s);
    assert_string_equal(s->reason, "canceled");
    assert_true(s->end_ns - start_ns < 1000 * (uint64_t)RIG_MS);
    assert_int_equal(rig_field("tiny", "running"), 0);
    rig_close();
}

static void test_kill_and_stop_in_mid_stream(void **state)
{
    (void)state;
    pool_opts o = real_opts();
    o.hang_timeout_ns = 1500 * (uint64_t)RIG_MS;
    open_real(&o);
    char want[RIG_TEXT];
    char got[RIG_TEXT];
    answer(want);
    static const int signals[] = {SIGKILL, SIGSTOP, SIGABRT};
    static const char *const how[] = {"killed by signal 9", "it did not answer for 1.5 s", ""};
    for (size_t i = 0; i < TEST_COUNT(signals); i++) {
        seen *s = endless();
        seen *t = endless();
        assert_int_equal(kill((pid_t)rig_field("tiny", "pid"), signals[i]), 0);
        rig_failed(s, CAMA_ERR_RUNNER, how[i]);
        rig_failed(t, CAMA_ERR_RUNNER, how[i]);
        answer(got);
        assert_string_equal(got, want);
    }
    rig_close();
}

static void test_loads_and_unloads_leave_nothing_behind(void **state)
{
    (void)state;
    const pool_opts o = real_opts();
    open_real(&o);
    int n_fd = 0;
    for (int i = 0; i < N_RELOAD; i++) {
        rig_done(rig_try(&(rig_job){.key = "tiny", .head = JOB(1), .keep_ns = 0}, NULL));
        if (i == 10) {
            rig_wait_list("\"key\"", false);
            fake_sleep_ms(100);
            n_fd = rig_n_fd();
        }
    }
    rig_wait_list("\"key\"", false);
    fake_sleep_ms(100);
    assert_in_range(rig_n_fd(), n_fd - 1, n_fd + 1);
    rig_close();
}

static void test_what_is_no_model_is_refused(void **state)
{
    (void)state;
    const pool_opts o = real_opts();
    open_real(&o);
    rig_model("tiny", "this is no model");
    seen *s = rig_submit("tiny", JOB(1));
    rig_failed(s, CAMA_ERR_FORMAT, "");
    assert_int_equal(s->n_loaded, 0);
    rig_close();
}

static void test_what_does_not_fit_is_refused_with_figures(void **state)
{
    (void)state;
    pool_opts o = real_opts();
    o.max_bytes = 100000;
    open_real(&o);
    rig_failed(rig_submit("tiny", JOB(1)), CAMA_ERR_NO_FIT, "MB");
    rig_close();
}

int main(void)
{
    if (access(TEST_CAMA, X_OK) != 0) {
        print_message("skipped: the program is not built\n");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_are_the_same_alone_and_together),
        cmocka_unit_test(test_a_larger_context_reloads_nothing),
        cmocka_unit_test(test_a_stream_is_canceled_soon),
        cmocka_unit_test(test_kill_and_stop_in_mid_stream),
        cmocka_unit_test(test_loads_and_unloads_leave_nothing_behind),
        cmocka_unit_test(test_what_is_no_model_is_refused),
        cmocka_unit_test(test_what_does_not_fit_is_refused_with_figures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
