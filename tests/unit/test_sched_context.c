/* What a server asks of jobs: contexts of their own, cut when they are full; probabilities;
 * threads; fair shares of a step. */
#include "test.h"

#include <pthread.h>

#include "sched_rig.h"

static const char long_prompt[] =
    "a prompt that is longer than a step of the smallest batch below, so that it is read in chunks";

static job one, two, many[4];

/* ---- a full context ---- */

/* The slow obvious way: the best token behind these ids, all computed anew. */
static int32_t best_after(const int32_t *ids, size_t n)
{
    static fake_seq q;
    static float logits[FAKE_N_VOCAB];
    q.n = n;
    memcpy(q.id, ids, n * sizeof *ids);
    fake_logits(&q, logits);
    int32_t best = 0;
    for (int32_t i = 1; i < FAKE_N_VOCAB; i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}

/* What a greedy answer in a context of n_ctx must be; gives the number of cuts. */
static size_t expect(const job *j, size_t n_ctx, size_t n_keep, int32_t *out, size_t n_out)
{
    int32_t ids[FAKE_MAX_CTX];
    size_t n = j->def.n_id;
    size_t n_cut = 0;
    memcpy(ids, j->ids, n * sizeof *ids);
    for (size_t i = 0; i < n_out; i++) {
        out[i] = best_after(ids, n);
        ids[n++] = out[i];
        if (n <= n_ctx || i + 1 == n_out)
            continue;
        const size_t n_drop = (n_ctx - n_keep) / 2 ? (n_ctx - n_keep) / 2 : 1;
        memmove(ids + n_keep, ids + n_keep + n_drop, (n - n_keep - n_drop) * sizeof *ids);
        n -= n_drop;
        n_cut++;
    }
    return n_cut;
}

static void check_shifted(const job *j, size_t n_ctx, size_t n_keep)
{
    int32_t want[FAKE_MAX_CTX];
    const size_t n = (size_t)j->def.n_predict;
    const size_t n_cut = expect(j, n_ctx, n_keep, want, n);
    assert_int_equal(j->n_done, 1);
    assert_int_equal(j->end.reason, STREAM_LENGTH);
    assert_false(j->end.context_full);
    assert_int_equal(j->end.n_token, n);
    assert_int_equal(j->end.n_shift, n_cut);
    assert_int_equal(j->end.n_id, j->def.n_id + n); /* what was dropped, too */
    assert_memory_equal(j->all, j->ids, j->def.n_id * sizeof *j->ids);
    assert_memory_equal(j->all + j->def.n_id, want, n * sizeof *want);
}

static void init_shifted(job *j, int k, uint32_t n_ctx, uint32_t n_keep)
{
    init_job(j, k, "shift ", 200);
    j->def.sample.temperature = 0;
    j->def.sample.repeat_penalty = 1;
    j->def.sample.top_k = 40;
    j->def.n_ctx = n_ctx;
    j->def.shift = true;
    j->def.n_keep = n_keep;
}

static void test_a_cut_context_goes_on_as_a_prompt_would(void **state)
{
    (void)state;
    static const struct {
        uint32_t n_ctx, n_keep, kept;
    } ways[] = {{32, 4, 4}, {32, 0, 0}, {33, 7, 7}, {40, 1000, 36}, {64, 60, 60}, {7, 100, 3}};
    for (size_t i = 0; i < TEST_COUNT(ways); i++) {
        for (int ahead = 0; ahead < 2; ahead++) {
            fake_reset();
            fake.resume_step = i % 2 ? 1 : 16; /* the rewind may go back further than asked */
            sched_opts o = fake_sched_opts();
            o.ahead = ahead;
            o.n_cached = 2;
            o.n_batch = i % 3 ? 64 : 8;
            sched *s = open_sched(&o);
            init_shifted(&one, 0, ways[i].n_ctx, ways[i].n_keep);
            submit(s, &one);
            run_all(s);
            check_shifted(&one, ways[i].n_ctx, ways[i].kept);
            submit(s, &one); /* what the cache kept of the first is only what it held at its end */
            run_all(s);
            assert_int_equal(one.n_done, 2);
            close_sched(s);
        }
    }
}

static void test_cut_contexts_beside_others_and_without_room(void **state)
{
    (void)state;
    for (size_t capacity = 50; capacity < 200; capacity += 25) {
        fake_reset();
        fake.capacity = capacity;
        const sched_opts o = fake_sched_opts();
        sched *s = open_sched(&o);
        for (int k = 0; k < 4; k++) {
            init_shifted(&many[k], k, 24 + 4 * (uint32_t)k, 4);
            submit(s, &many[k]);
        }
        run_all(s);
        sched_stat stat;
        sched_get_stat(s, &stat);
        assert_true(stat.n_preempted > 0 || capacity > 60);
        for (int k = 0; k < 4; k++)
            check_shifted(&many[k], 24 + 4 * (size_t)k, 4);
        close_sched(s);
    }
}

static void test_an_answer_without_end_outgrows_its_context(void **state)
{
    (void)state;
    fake_reset();
    const sched_opts o = fake_sched_opts();
    sched *s = open_sched(&o);
    init_shifted(&one, 0, 16, 4);
    one.def.n_predict = -1;
    submit(s, &one);
    for (int i = 0; i < 500; i++)
        assert_true(sched_tick(s));
    sched_cancel(s, one.id);
    run_all(s);
    assert_int_equal(one.end.reason, STREAM_CANCELED);
    assert_true(one.end.n_token > 400);
    assert_true(one.end.n_shift > 60);
    assert_int_equal(one.end.n_id, one.def.n_id + one.end.n_token);
    assert_true(one.end.n_id - one.end.n_dropped <= 17);
    close_sched(s);
}

static void test_a_context_of_its_own(void **state)
{
    (void)state;
    fake_reset();
    const sched_opts o = fake_sched_opts();
    sched *s = open_sched(&o);
    err_info err;
    init_job(&one, 0, "small ", -1);
    one.def.n_ctx = 20;
    submit(s, &one);
    run_all(s);
    assert_true(one.end.context_full);
    assert_int_equal(one.end.n_id, 21);
    assert_int_equal(one.end.n_shift, 0);
    init_job(&two, 0, "small ", 100); /* the others' is the loop's */
    submit(s, &two);
    run_all(s);
    assert_false(two.end.context_full);
    assert_memory_equal(one.text, two.text, one.n_text);
    init_job(&one, 0, long_prompt, 1);
    one.def.n_ctx = 20;
    assert_int_equal(sched_submit(s, &one.def, &one.id, &err), CAMA_ERR_CONTEXT);
    assert_string_equal(err.text, "the prompt has 94 tokens, the context holds 20");
    one.def.n_ctx = 257;
    assert_int_equal(sched_submit(s, &one.def, &one.id, &err), CAMA_ERR_ARG);
    assert_string_equal(err.text, "a context of 257 tokens, the engine holds 256");
    close_sched(s);
}

/* ---- probabilities ---- */

/* Each told number is the token's in a softmax over all logits, whatever the sampler did. */
static void check_probs(const job *j, size_t n_top)
{
    static fake_seq q;
    static float logits[FAKE_N_VOCAB];
    assert_int_equal(j->n_told, j->end.n_token);
    assert_int_equal(j->n_top, n_top);
    for (size_t i = 0; i < j->n_told; i++) {
        q.n = j->def.n_id + i;
        memcpy(q.id, j->all, q.n * sizeof *q.id);
        fake_logits(&q, logits);
        double sum = 0;
        for (int k = 0; k < FAKE_N_VOCAB; k++)
            sum += exp((double)logits[k]);
        assert_int_equal(j->told[i], j->all[q.n]);
        assert_true(fabs((double)j->logprob[i] - ((double)logits[j->told[i]] - log(sum))) < 1e-4);
        for (size_t k = 0; k < n_top; k++) {
            size_t n_better = 0;
            for (int v = 0; v < FAKE_N_VOCAB; v++)
                n_better += logits[v] > logits[j->top[i][k].id];
            assert_int_equal(n_better, k);
            assert_true(fabs((double)j->top[i][k].logprob -
                             ((double)logits[j->top[i][k].id] - log(sum))) < 1e-4);
        }
    }
}

static void test_probabilities_are_those_of_the_whole_vocabulary(void **state)
{
    (void)state;
    for (int k = 0; k < 10; k++) { /* greedy and drawn; candidates, whole logits, penalties */
        fake_reset();
        const sched_opts o = fake_sched_opts();
        sched *s = open_sched(&o);
        for (int i = 0; i < 4; i++) {
            init_job(&many[i], k + i, "prob ", 20);
            many[i].def.logprobs = i != 3;
            many[i].def.n_top_logprob = (uint32_t)(i % 2) * 4;
            if (i == 2)
                many[i].def.sample.top_k = 1; /* fewer candidates than are told */
            submit(s, &many[i]);
        }
        run_all(s);
        check_probs(&many[0], 0);
        check_probs(&many[1], 4);
        check_probs(&many[2], 0);
        assert_int_equal(many[3].n_told, 0);
        init_job(&one, k + 1, "prob ", 20); /* asking changes nothing */
        submit(s, &one);
        run_all(s);
        assert_string_equal(one.text, many[1].text);
        init_job(&one, k, "prob ", 3);
        one.def.sample.top_k = 1;
        one.def.logprobs = true;
        one.def.n_top_logprob = 4;
        submit(s, &one);
        run_all(s);
        check_probs(&one, 4);
        err_info err;
        one.def.n_top_logprob = 21;
        assert_int_equal(sched_submit(s, &one.def, &one.id, &err), CAMA_ERR_ARG);
        assert_string_equal(err.text, "21 alternatives to each token, at most 20");
        close_sched(s);
    }
}

/* ---- shares of a step ---- */

static void test_answers_go_on_while_a_prompt_is_read(void **state)
{
    (void)state;
    fake_reset();
    sched_opts o = fake_sched_opts();
    o.n_chunk = 8;
    sched *s = open_sched(&o);
    sched_stat stat;
    init_job(&one, 0, "x", 100);
    submit(s, &one);
    (void)sched_tick(s);
    assert_int_equal(one.n_text, 1);
    init_job(&two, 1, long_prompt, 5); /* 94 tokens */
    submit(s, &two);
    for (size_t i = 1; i <= 11; i++) {
        const size_t n_row = fake.n_row;
        (void)sched_tick(s);
        sched_get_stat(s, &stat);
        assert_int_equal(one.n_text, 1 + i);
        assert_int_equal(two.n_text, 0);
        assert_int_equal(fake.n_row - n_row, 9);
        assert_int_equal(stat.n_prefill, 94 - 8 * i);
        assert_int_equal(stat.kv_used, 2 + i + 8 * i);
        assert_int_equal(stat.kv_limit, fake.capacity);
    }
    (void)sched_tick(s);
    assert_int_equal(two.n_text, 1);
    run_all(s);
    close_sched(s);
}

static void test_a_whole_text_is_not_kept_out_by_answers(void **state)
{
    (void)state;
    fake_reset();
    sched_opts o = fake_sched_opts();
    o.pooled = true;
    sched *s = open_sched(&o);
    init_job(&one, 0, "x", 100);
    submit(s, &one);
    (void)sched_tick(s);
    init_job(&two, 0, long_prompt, 0);
    two.def.kind = SCHED_EMBED;
    two.def.n_id = 64; /* as much as a step holds */
    submit(s, &two);
    (void)sched_tick(s);
    assert_int_equal(two.n_done, 0);
    (void)sched_tick(s);
    assert_int_equal(two.n_done, 1);
    (void)sched_tick(s);
    assert_int_equal(one.n_text, 3); /* one step of four went to the other */
    sched_cancel(s, one.id);
    run_all(s);
    close_sched(s);
}

static void test_a_stalled_reader_makes_room_for_others(void **state)
{
    (void)state;
    fake_reset();
    const sched_opts o = fake_sched_opts();
    sched *s = open_sched(&o);
    init_job(&two, 0, long_prompt, 30);
    submit(s, &two);
    run_all(s);
    close_sched(s);
    for (int ahead = 0; ahead < 2; ahead++) {
        fake_reset();
        fake.capacity = 150;
        sched_opts oa = o;
        oa.ahead = ahead;
        s = open_sched(&oa);
        init_job(&one, 0, long_prompt, 30); /* 94 tokens, and then its reader goes for a walk */
        one.flow = STREAM_PAUSE;
        submit(s, &one);
        run_all(s);
        assert_int_equal(one.n_text, 1);
        for (int k = 0; k < 3; k++) {
            init_job(&many[k], k, "others ", 40);
            submit(s, &many[k]);
        }
        run_all(s); /* ends: nothing spins for the one that is away */
        for (int k = 0; k < 3; k++)
            assert_int_equal(many[k].n_done, 1);
        assert_int_equal(one.n_text, 1); /* nothing was told past the pause */
        sched_stat stat;
        sched_get_stat(s, &stat);
        assert_int_equal(stat.n_preempted, 1);
        assert_int_equal(stat.n_waiting, 1);
        init_job(&many[3], 3, "later ", 5); /* and who comes later passes it */
        submit(s, &many[3]);
        run_all(s);
        assert_int_equal(many[3].n_done, 1);
        one.ready = true;
        one.flow = STREAM_GO;
        run_all(s);
        assert_string_equal(one.text, two.text);
        close_sched(s);
    }
}

static void test_want_of_room_does_not_read_prompts_for_ever(void **state)
{
    (void)state;
    static job j[8];
    size_t n_least = 0;
    fake_reset();
    fake.capacity = 480; /* five prompts, but not their answers */
    const sched_opts o = fake_sched_opts();
    sched *s = open_sched(&o);
    for (int k = 0; k < 8; k++) {
        init_job(&j[k], k, long_prompt, 16);
        n_least += j[k].def.n_id + 16;
        submit(s, &j[k]);
    }
    run_all(s);
    for (int k = 0; k < 8; k++)
        assert_int_equal(j[k].n_done, 1);
    print_message("%zu rows, %zu at least\n", fake.n_row, n_least);
    assert_true(fake.n_row < n_least + n_least / 3);
    close_sched(s);
}

static void test_prompts_take_of_a_window_what_it_holds(void **state)
{
    (void)state;
    fake_reset();
    fake.window = 24;
    fake.window_capacity = 4 * 24;
    sched_opts o = fake_sched_opts();
    o.n_chunk = 8;
    sched *s = open_sched(&o);
    sched_stat stat;
    for (int k = 0; k < 4; k++) {
        init_job(&many[k], k, long_prompt, 5);
        submit(s, &many[k]);
    }
    (void)sched_tick(s);
    sched_get_stat(s, &stat);
    assert_int_equal(stat.n_running, 4);
    run_all(s);
    fake.window_capacity = 3 * 24 + 23;
    for (int k = 0; k < 4; k++)
        submit(s, &many[k]);
    (void)sched_tick(s);
    sched_get_stat(s, &stat);
    assert_int_equal(stat.n_running, 3);
    run_all(s);
    close_sched(s);
}

static void test_a_cancelled_job_is_gone_before_the_next_step(void **state)
{
    (void)state;
    fake_reset();
    sched_opts o = fake_sched_opts();
    o.n_chunk = 8;
    sched *s = open_sched(&o);
    for (int k = 0; k < 4; k++) {
        init_job(&many[k], k, long_prompt, 5);
        submit(s, &many[k]);
    }
    (void)sched_tick(s);
    assert_int_equal(fake.n_alive_then, 4);
    sched_cancel(s, many[0].id);
    sched_cancel(s, many[2].id);
    (void)sched_tick(s);
    assert_int_equal(fake.n_alive_then, 2);
    assert_int_equal(many[0].n_done + many[2].n_done, 2);
    run_all(s);
    close_sched(s);
}

/* ---- threads and memory ---- */

static void run_with_threads(sched *s, uint32_t a, uint32_t b)
{
    init_job(&one, 0, "a", 4);
    init_job(&two, 1, "b", 4);
    one.def.n_thread = a;
    two.def.n_thread = b;
    submit(s, &one);
    submit(s, &two);
    run_all(s);
}

static void test_a_step_has_the_threads_of_its_jobs(void **state)
{
    (void)state;
    fake_reset();
    const sched_opts o = fake_sched_opts();
    sched *s = open_sched(&o);
    run_with_threads(s, 0, 0);
    assert_int_equal(fake.n_set, 0); /* nobody asked */
    run_with_threads(s, 2, 3);
    assert_int_equal(fake.n_thread, 3);
    assert_true(fake.spin_ns == ENGINE_SPIN_DEFAULT);
    assert_int_equal(fake.n_set, 1);
    run_with_threads(s, 2, 0);
    assert_int_equal(fake.n_thread, 0);
    sched_set_threads(s, 2, 700);
    run_with_threads(s, 3, 0);
    assert_int_equal(fake.n_thread, 2);
    assert_true(fake.spin_ns == 700);
    run_with_threads(s, 1, 1);
    assert_int_equal(fake.n_thread, 1);
    sched_set_threads(s, 0, 0);
    run_with_threads(s, 9, 8);
    assert_int_equal(fake.n_thread, 9);
    assert_true(fake.spin_ns == 0);
    close_sched(s);
}

static void *engine_thread(void *arg)
{
    sched_run(arg);
    return NULL;
}

static void test_the_budget_grows_between_steps(void **state)
{
    (void)state;
    fake_reset();
    fake.capacity = 100;
    fake.capacity_max = 300;
    const sched_opts o = fake_sched_opts();
    sched *s = open_sched(&o);
    pthread_t t;
    err_info err;
    assert_int_equal(pthread_create(&t, NULL, engine_thread, s), 0);
    init_job(&one, 0, long_prompt, 100);
    submit(s, &one);
    assert_int_equal(sched_grow(s, 200, &err), CAMA_OK);
    assert_int_equal(sched_grow(s, 301, &err), CAMA_ERR_NO_FIT);
    assert_string_equal(err.text, "301 tokens are more than 300");
    assert_int_equal(sched_grow(s, 301, NULL), CAMA_ERR_NO_FIT);
    sched_stat stat = {0};
    while (stat.n_running || stat.n_waiting || !stat.n_step) {
        sched_get_stat(s, &stat);
        assert_true(stat.progress >= stat.n_step);
    }
    assert_int_equal(stat.kv_limit, 200);
    sched_stop(s);
    assert_int_equal(pthread_join(t, NULL), 0);
    assert_int_equal(one.n_done, 1); /* 94 and 100 tokens: it would not have fitted */
    assert_int_equal(sched_grow(s, 250, &err), CAMA_ERR_CANCELED);
    close_sched(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_cut_context_goes_on_as_a_prompt_would),
        cmocka_unit_test(test_cut_contexts_beside_others_and_without_room),
        cmocka_unit_test(test_an_answer_without_end_outgrows_its_context),
        cmocka_unit_test(test_a_context_of_its_own),
        cmocka_unit_test(test_probabilities_are_those_of_the_whole_vocabulary),
        cmocka_unit_test(test_answers_go_on_while_a_prompt_is_read),
        cmocka_unit_test(test_a_whole_text_is_not_kept_out_by_answers),
        cmocka_unit_test(test_a_stalled_reader_makes_room_for_others),
        cmocka_unit_test(test_want_of_room_does_not_read_prompts_for_ever),
        cmocka_unit_test(test_prompts_take_of_a_window_what_it_holds),
        cmocka_unit_test(test_a_cancelled_job_is_gone_before_the_next_step),
        cmocka_unit_test(test_a_step_has_the_threads_of_its_jobs),
        cmocka_unit_test(test_the_budget_grows_between_steps),
    };
    return cmocka_run_group_tests(tests, fake_open_vocab, fake_close_vocab);
}
