/* An engine that fails, and memory that runs out: every job hears its end once, nothing is lost. */
#include "test.h"

#include "fake_engine.h"
#include "fault.h"

typedef struct job {
    int n_done, n_fail;
    err_info err;
    size_t n_text;
    sched_job_id id;
} job;

static stream_flow on_text(void *user, const char *text, size_t n, const stream_prob *probs,
                           size_t n_prob)
{
    (void)probs, (void)n_prob;
    (void)text;
    ((job *)user)->n_text += n;
    return STREAM_GO;
}

static void on_done(void *user, const stream_end *end)
{
    (void)end;
    ((job *)user)->n_done++;
}

static void on_fail(void *user, const err_info *err)
{
    job *j = user;
    j->n_fail++;
    j->err = *err;
}

static cama_err submit(sched *s, job *j, size_t n_prompt, int32_t n_predict, err_info *err)
{
    static int32_t ids[256];
    static const char *const stop[] = {"END", "stop"};
    for (size_t i = 0; i < n_prompt; i++)
        ids[i] = FAKE_FIRST_BYTE + 'a' + (int32_t)(i % 26);
    *j = (job){0};
    const sched_job_def d = {
        .ids = ids,
        .n_id = n_prompt,
        .sample = sample_params_init(),
        .n_predict = n_predict,
        .stop = stop,
        .n_stop = 2,
        .logprobs = n_prompt % 2, /* and a context that is cut, for which ids must grow */
        .n_top_logprob = 3,
        .n_ctx = n_predict > 50 ? 40 : 0,
        .shift = n_predict > 50,
        .sink = {j, on_text, NULL, NULL, on_done, on_fail},
    };
    return sched_submit(s, &d, &j->id, err);
}

static sched *open_sched(uint32_t n_cached)
{
    sched_opts o = fake_sched_opts();
    o.n_cached = n_cached;
    sched *s;
    assert_int_equal(sched_open(&o, &s, NULL), CAMA_OK);
    return s;
}

static void run_all(sched *s)
{
    while (sched_tick(s))
        ;
}

static void test_a_failing_step_ends_its_jobs_and_no_others(void **state)
{
    (void)state;
    for (int fail_collect = 0; fail_collect < 2; fail_collect++) {
        for (int at = 1; at < 12; at++) {
            fake_reset();
            sched *s = open_sched(4);
            job j[3];
            for (int k = 0; k < 3; k++)
                assert_int_equal(submit(s, &j[k], 30, 5, NULL), CAMA_OK);
            if (fail_collect)
                fake.fail_collect = at;
            else
                fake.fail_submit = at;
            run_all(s);
            int n_fail = 0;
            for (int k = 0; k < 3; k++) {
                assert_int_equal(j[k].n_done + j[k].n_fail, 1);
                n_fail += j[k].n_fail;
                if (j[k].n_fail)
                    assert_string_equal(j[k].err.text, "the engine was told to fail");
            }
            const bool met = fail_collect ? !fake.fail_collect : !fake.fail_submit;
            assert_true(met ? n_fail > 0 : n_fail == 0);
            fake.fail_submit = fake.fail_collect = 0;
            job after;
            assert_int_equal(submit(s, &after, 30, 5, NULL), CAMA_OK);
            run_all(s);
            assert_int_equal(after.n_done, 1);
            sched_close(s);
            assert_int_equal(fake_n_alive(), 0);
        }
    }
}

static void test_a_prompt_that_never_fits_fails_with_the_engines_figures(void **state)
{
    (void)state;
    fake_reset();
    fake.capacity = 50;
    sched *s = open_sched(4);
    job big;
    job small;
    assert_int_equal(submit(s, &big, 60, 5, NULL), CAMA_OK);
    assert_int_equal(submit(s, &small, 20, 5, NULL), CAMA_OK);
    run_all(s);
    assert_int_equal(big.n_fail, 1);
    assert_int_equal(big.err.code, CAMA_ERR_LIMIT);
    assert_string_equal(big.err.text, "60 tokens are more than 50");
    assert_int_equal(small.n_done, 1);
    sched_close(s);
    assert_int_equal(fake_n_alive(), 0);
}

static void test_no_sequence_at_all(void **state)
{
    (void)state;
    fake_reset();
    fake.n_seq_max = 0;
    sched *s = open_sched(0);
    job j;
    assert_int_equal(submit(s, &j, 6, 5, NULL), CAMA_OK);
    run_all(s);
    assert_int_equal(j.n_fail, 1);
    assert_int_equal(j.err.code, CAMA_ERR_LIMIT);
    sched_close(s);
}

/* Three jobs from open to close; a refused one is the failure that was made. */
static cama_err whole_life(void *arg, err_info *err)
{
    (void)arg;
    fake_reset();
    sched_opts o = fake_sched_opts();
    o.n_cached = 2;
    sched *s = NULL;
    job j[3];
    cama_err e = sched_open(&o, &s, err);
    for (int k = 0; !e && k < 3; k++) {
        e = submit(s, &j[k], 20 + (size_t)k, k == 1 ? 100 : 5, err);
        if (!e)
            run_all(s);
        if (!e && j[k].n_fail) {
            *err = j[k].err;
            e = j[k].err.code;
        }
    }
    sched_close(s);
    assert_int_equal(fake_n_alive(), 0);
    return e;
}

static void test_memory_runs_out(void **state)
{
    (void)state;
    fault_allow_ok(true); /* a finished sequence that cannot be remembered is forgotten */
    const size_t n = fault_sweep(FAULT_HEAP, whole_life, NULL);
    print_message("%zu allocations were made to fail\n", n);
    assert_true(n > 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_failing_step_ends_its_jobs_and_no_others),
        cmocka_unit_test(test_a_prompt_that_never_fits_fails_with_the_engines_figures),
        cmocka_unit_test(test_no_sequence_at_all),
        cmocka_unit_test(test_memory_runs_out),
    };
    return cmocka_run_group_tests(tests, fake_open_vocab, fake_close_vocab);
}
