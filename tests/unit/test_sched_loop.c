/* The loop: answers do not depend on neighbours, chunks, cached prefixes or a lack of room. */
#include "test.h"

#include <pthread.h>

#include "sched_rig.h"

#define N_JOB 8
static job alone[N_JOB];
static job together[N_JOB];
static job one, two;

/* What each job answers when nothing else runs. */
static void answer_alone(const char *prompt, int32_t n_predict)
{
    fake_reset();
    const sched_opts o = fake_sched_opts();
    for (int k = 0; k < N_JOB; k++) {
        sched *s = open_sched(&o);
        init_job(&alone[k], k, prompt, n_predict);
        submit(s, &alone[k]);
        run_all(s);
        close_sched(s);
        assert_int_equal(alone[k].n_done, 1);
    }
}

static void answer_together(const sched_opts *o, const char *prompt, int32_t n_predict,
                            sched_stat *stat)
{
    sched *s = open_sched(o);
    for (int k = 0; k < N_JOB; k++) {
        init_job(&together[k], k, prompt, n_predict);
        submit(s, &together[k]);
    }
    run_all(s);
    sched_get_stat(s, stat);
    close_sched(s);
    for (int k = 0; k < N_JOB; k++) {
        assert_int_equal(together[k].n_done, 1);
        assert_int_equal(together[k].n_fail, 0);
        assert_string_equal(together[k].text, alone[k].text);
        assert_int_equal(together[k].end.n_token, alone[k].end.n_token);
        assert_int_equal(together[k].end.n_prompt, strlen(together[k].prompt));
    }
}

static const char long_prompt[] =
    "a prompt that is longer than a step of the smallest batch below, so that it is read in chunks";

static void test_the_same_alone_and_together(void **state)
{
    (void)state;
    answer_alone(long_prompt, 40);
    assert_int_equal(alone[0].end.n_token, 40);
    assert_string_not_equal(alone[0].text, alone[2].text);
    for (uint32_t n_batch = 8; n_batch <= 512; n_batch *= 4) {
        for (int ahead = 0; ahead < 2; ahead++) {
            sched_opts o = fake_sched_opts();
            sched_stat stat;
            fake_reset();
            o.n_batch = n_batch;
            o.ahead = ahead;
            answer_together(&o, long_prompt, 40, &stat);
            assert_int_equal(stat.n_row, fake.n_row);
            assert_true(stat.n_step < 8 * 40); /* they share steps */
        }
    }
}

static void test_too_little_room_for_all(void **state)
{
    (void)state;
    answer_alone("short ", 60);
    for (size_t capacity = 70; capacity < 400; capacity += 33) {
        sched_opts o = fake_sched_opts();
        sched_stat stat;
        fake_reset();
        fake.capacity = capacity;
        o.n_cached = capacity % 2 ? 4 : 0;
        answer_together(&o, "short ", 60, &stat);
        if (capacity == 70)
            assert_true(stat.n_preempted > 0);
    }
    sched_opts o = fake_sched_opts();
    sched_stat stat;
    fake_reset();
    fake.n_seq_max = 3;
    o.n_cached = 2;
    answer_together(&o, "short ", 60, &stat);
}

static void test_prefix_reuse(void **state)
{
    (void)state;
    answer_alone(long_prompt, 20);
    for (int32_t resume_step = 1; resume_step <= 16; resume_step += 15) {
        fake_reset();
        fake.resume_step = resume_step;
        sched_opts o = fake_sched_opts();
        o.n_cached = 4;
        sched *s = open_sched(&o);
        for (int k = 0; k < N_JOB; k++) {
            job *j = &together[k];
            init_job(j, k, long_prompt, 20);
            j->def.no_reuse = k == 5;
            submit(s, j);
            run_all(s);
            assert_string_equal(j->text, alone[k].text);
            const size_t shared = sizeof long_prompt - 1;
            const size_t want = k == 0 || k == 5 ? 0 : shared - shared % (size_t)resume_step;
            assert_int_equal(j->end.n_cached, want);
        }
        sched_stat stat;
        sched_get_stat(s, &stat);
        assert_int_equal(stat.n_cached, 4);
        close_sched(s);
    }
}

static void test_the_same_prompt_again_computes_one_row(void **state)
{
    (void)state;
    fake_reset();
    sched_opts o = fake_sched_opts();
    o.n_cached = 4;
    sched *s = open_sched(&o);
    job *j = &together[0];
    init_job(j, 0, "again", 1);
    submit(s, j);
    run_all(s);
    const size_t n_row = fake.n_row;
    init_job(j, 0, "again", 1);
    submit(s, j);
    run_all(s);
    assert_int_equal(j->end.n_cached, 5);
    assert_int_equal(fake.n_row - n_row, 1);
    close_sched(s);
}

static void test_how_answers_end(void **state)
{
    (void)state;
    fake_reset();
    const sched_opts o = fake_sched_opts();
    sched *s = open_sched(&o);
    job *j = &together[0];

    init_job(j, 0, "x", 0); /* nothing is to be said: the prompt is read, that is all */
    submit(s, j);
    run_all(s);
    assert_int_equal(j->end.reason, STREAM_LENGTH);
    assert_int_equal(j->n_text, 0);
    assert_int_equal(fake.n_row, 2);

    init_job(j, 0, "x", -1);
    submit(s, j);
    run_all(s);
    assert_int_equal(j->end.reason, STREAM_LENGTH);
    assert_true(j->end.context_full);
    assert_int_equal(j->end.n_id, o.n_ctx + 1);
    assert_int_equal(j->end.n_token, o.n_ctx - 1);

    const char *const stop[] = {(const char[]){j->text[3], j->text[4], '\0'}};
    char want[4] = {j->text[0], j->text[1], j->text[2]};
    init_job(j, 0, "x", -1);
    j->def.stop = stop;
    j->def.n_stop = 1;
    submit(s, j);
    run_all(s);
    assert_int_equal(j->end.reason, STREAM_STOP);
    assert_int_equal(j->end.stop_index, 0);
    assert_string_equal(j->text, want);

    fake.eog_after = 10;
    init_job(j, 0, "x", -1);
    submit(s, j);
    run_all(s);
    assert_int_equal(j->end.reason, STREAM_STOP);
    assert_int_equal(j->end.stop_index, -1);
    assert_int_equal(j->n_text, 8);
    assert_int_equal(j->end.n_token, 9); /* the ending one counts */
    close_sched(s);
}

static void test_cancel(void **state)
{
    (void)state;
    fake_reset();
    sched_opts o = fake_sched_opts();
    o.n_running = 2;
    sched *s = open_sched(&o);
    for (int k = 0; k < 4; k++) {
        init_job(&together[k], k, long_prompt, -1);
        submit(s, &together[k]);
    }
    sched_tick(s);
    sched_cancel(s, together[3].id); /* waiting */
    sched_cancel(s, together[1].id); /* reading its prompt */
    sched_cancel(s, 12345);          /* nobody */
    sched_tick(s);
    assert_int_equal(together[3].end.reason, STREAM_CANCELED);
    assert_int_equal(together[1].end.reason, STREAM_CANCELED);
    for (int i = 0; i < 20; i++)
        sched_tick(s);
    assert_true(together[0].n_text > 0);
    sched_cancel(s, together[0].id); /* answering */
    together[2].flow = STREAM_CLOSE; /* its reader goes away */
    run_all(s);
    assert_int_equal(together[0].end.reason, STREAM_CANCELED);
    assert_int_equal(together[2].end.reason, STREAM_CANCELED);
    assert_int_equal(together[2].n_done, 1);
    close_sched(s);
}

static void test_a_full_sink_pauses_its_own_job(void **state)
{
    (void)state;
    answer_alone("pause ", 30);
    fake_reset();
    const sched_opts o = fake_sched_opts();
    sched *s = open_sched(&o);
    for (int k = 0; k < 2; k++) {
        init_job(&together[k], k, "pause ", 30);
        submit(s, &together[k]);
    }
    together[0].flow = STREAM_PAUSE;
    run_all(s); /* ends when only the paused one is left */
    assert_int_equal(together[1].n_done, 1);
    assert_int_equal(together[0].n_done, 0);
    assert_int_equal(together[0].n_text, 1);
    assert_false(sched_tick(s));
    together[0].ready = true;
    run_all(s);
    assert_int_equal(together[0].n_done, 1);
    assert_string_equal(together[0].text, alone[0].text);
    close_sched(s);
}

static void test_refusals(void **state)
{
    (void)state;
    fake_reset();
    sched_opts o = fake_sched_opts();
    o.n_queue = 2;
    sched *s = open_sched(&o);
    job *j = &together[0];
    err_info err;
    init_job(j, 0, long_prompt, 1);
    j->def.n_id = 0;
    assert_int_equal(sched_submit(s, &j->def, &j->id, &err), CAMA_ERR_ARG);
    static int32_t many[300];
    j->def.ids = many;
    j->def.n_id = 257;
    assert_int_equal(sched_submit(s, &j->def, &j->id, &err), CAMA_ERR_CONTEXT);
    assert_string_equal(err.text, "the prompt has 257 tokens, the context holds 256");
    many[7] = FAKE_N_VOCAB;
    j->def.n_id = 8;
    assert_int_equal(sched_submit(s, &j->def, &j->id, &err), CAMA_ERR_ARG);
    assert_string_equal(err.text, "token 7 of the prompt is 259, the vocabulary has 259");
    many[7] = 0;
    j->def.sample.top_p = 2;
    assert_int_equal(sched_submit(s, &j->def, &j->id, &err), CAMA_ERR_ARG);
    j->def.sample.top_p = 1;
    submit(s, j);
    submit(s, j);
    assert_int_equal(sched_submit(s, &j->def, &j->id, &err), CAMA_ERR_BUSY);
    assert_string_equal(err.text, "2 jobs are waiting, the queue holds no more");
    run_all(s);
    assert_int_equal(j->n_done, 2);
    assert_int_equal(j->n_fail, 0);
    submit(s, j);
    close_sched(s); /* what is left hears of it */
    assert_int_equal(j->n_fail, 1);
    assert_int_equal(j->err.code, CAMA_ERR_CANCELED);
}

static void test_embedding(void **state)
{
    (void)state;
    fake_reset();
    sched_opts o = fake_sched_opts();
    for (int pooled = 0; pooled < 2; pooled++) {
        o.pooled = pooled;
        o.causal = !pooled;
        sched *s = open_sched(&o);
        for (int k = 0; k < 2; k++) {
            init_job(&together[k], 0, pooled ? "embed" : long_prompt, -1);
            together[k].def.kind = SCHED_EMBED;
            submit(s, &together[k]);
        }
        run_all(s);
        assert_int_equal(together[0].n_done, 1);
        assert_int_equal(together[0].end.n_token, 0);
        assert_true(together[0].vector[0] != 0 || together[0].vector[1] != 0);
        assert_memory_equal(together[0].vector, together[1].vector, sizeof together[0].vector);
        close_sched(s);
    }
    sched *s = open_sched(&o);
    err_info err;
    init_job(&together[0], 0, long_prompt, -1);
    together[0].def.kind = SCHED_EMBED;
    assert_int_equal(sched_submit(s, &together[0].def, &together[0].id, &err), CAMA_ERR_CONTEXT);
    assert_non_null(strstr(err.text, "64"));
    together[0].def.kind = SCHED_GENERATE;
    together[0].def.n_id = 5;
    assert_int_equal(sched_submit(s, &together[0].def, &together[0].id, &err),
                     CAMA_ERR_UNSUPPORTED);
    close_sched(s);
}

/* ---- threads ---- */

static void *engine_thread(void *arg)
{
    sched_run(arg);
    return NULL;
}

typedef struct submitter {
    sched *s;
    int first;
} submitter;

static void *submit_thread(void *arg)
{
    const submitter *t = arg;
    for (int k = t->first; k < t->first + 2; k++)
        submit(t->s, &together[k]);
    sched_cancel(t->s, 1u << 30);
    return NULL;
}

static void test_jobs_from_other_threads(void **state)
{
    (void)state;
    answer_alone("threads ", 30);
    fake_reset();
    const sched_opts o = fake_sched_opts();
    sched *s = open_sched(&o);
    pthread_t engine_id;
    pthread_t ids[4];
    submitter t[4];
    for (int k = 0; k < N_JOB; k++)
        init_job(&together[k], k, "threads ", 30);
    assert_int_equal(pthread_create(&engine_id, NULL, engine_thread, s), 0);
    for (int i = 0; i < 4; i++) {
        t[i] = (submitter){s, 2 * i};
        assert_int_equal(pthread_create(&ids[i], NULL, submit_thread, &t[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(ids[i], NULL);
    sched_stat stat = {.n_waiting = 1};
    while (stat.n_waiting || stat.n_running || stat.n_row < 8) {
        struct timespec ms = {0, 1000000};
        nanosleep(&ms, NULL);
        sched_get_stat(s, &stat);
    }
    sched_stop(s);
    pthread_join(engine_id, NULL);
    run_all(s);
    for (int k = 0; k < N_JOB; k++)
        assert_string_equal(together[k].text, alone[k].text);
    close_sched(s);
}

/* A greedy job, ahead or not, that ends at eog_after tokens or never. */
static void answer_greedily(bool ahead, int eog_after, job *j)
{
    fake_reset();
    fake.eog_after = eog_after;
    sched_opts o = fake_sched_opts();
    o.n_cached = 2;
    o.ahead = ahead;
    sched *s = open_sched(&o);
    init_job(j, 0, "greedy ", 40);
    j->def.sample.repeat_penalty = 1;
    submit(s, j);
    run_all(s);
    assert_true(ahead ? fake.n_prev > 0 : fake.n_prev == 0);
    const size_t n_row = fake.n_row;
    submit(s, j); /* what the first left in the cache is right, whatever was planned past its end */
    run_all(s);
    assert_int_equal(j->n_done, 2);
    assert_true(fake.n_row - n_row < n_row);
    close_sched(s);
}

static void test_greedy_answers_are_planned_ahead(void **state)
{
    (void)state;
    for (int eog_after = 0; eog_after < 40; eog_after += 13) {
        answer_greedily(false, eog_after, &one);
        answer_greedily(true, eog_after, &two);
        assert_string_equal(two.text, one.text);
        assert_int_equal(two.end.n_token, one.end.n_token);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_same_alone_and_together),
        cmocka_unit_test(test_too_little_room_for_all),
        cmocka_unit_test(test_prefix_reuse),
        cmocka_unit_test(test_the_same_prompt_again_computes_one_row),
        cmocka_unit_test(test_how_answers_end),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_a_full_sink_pauses_its_own_job),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_embedding),
        cmocka_unit_test(test_jobs_from_other_threads),
        cmocka_unit_test(test_greedy_answers_are_planned_ahead),
    };
    return cmocka_run_group_tests(tests, fake_open_vocab, fake_close_vocab);
}
