/* The loop on the native engine with its own threads, and jobs that other threads submit, cancel
 * and read: for ThreadSanitizer, and because a race would change a token. */
#include "test.h"

#include <pthread.h>
#include <stdatomic.h>

#include "sched/sched.h"
#include "tiny_llama.h"

enum { N_THREAD = 4, N_EACH = 6, N_JOB = N_THREAD * N_EACH, N_CTX = 128, N_PREDICT = 20 };

static uint8_t *bytes;
static gguf_file *file;
static model_desc *model;
static tok_vocab *vocab;

typedef struct job {
    int32_t prompt[64];
    size_t n_prompt;
    int32_t ids[N_CTX + 1];
    size_t n_id;
    sched_job_id id;
    stream_reason reason;
    cama_err code;
    atomic_int n_end; /* released by the engine thread behind the rest */
} job;

static stream_flow on_text(void *user, const char *text, size_t n, const stream_prob *probs,
                           size_t n_prob)
{
    (void)probs, (void)n_prob;
    (void)user;
    (void)text;
    (void)n;
    return STREAM_GO;
}

static void on_done(void *user, const stream_end *end)
{
    job *j = user;
    j->n_id = end->n_id;
    j->reason = end->reason;
    memcpy(j->ids, end->ids, end->n_id * sizeof *j->ids);
    atomic_fetch_add(&j->n_end, 1);
}

static void on_fail(void *user, const err_info *err)
{
    job *j = user;
    j->code = err->code;
    atomic_fetch_add(&j->n_end, 1);
}

static cama_err submit(sched *s, job *j, int k)
{
    memset(j, 0, sizeof *j);
    atomic_init(&j->n_end, 0);
    j->n_prompt = (size_t)(3 + k * 11 % 60);
    for (size_t i = 0; i < j->n_prompt; i++)
        j->prompt[i] = (int32_t)((i * 7 + (i > 20 ? (size_t)k * 13 : 0)) % TINY_VOCAB);
    sched_job_def d = {
        .ids = j->prompt,
        .n_id = j->n_prompt,
        .sample = sample_params_init(),
        .n_predict = N_PREDICT,
        .ignore_eog = true,
        .sink = {j, on_text, NULL, NULL, on_done, on_fail},
    };
    d.sample.temperature = k % 2 ? 0.9f : 0;
    d.sample.seed = k;
    d.n_thread = (uint32_t)(k % 4);
    return sched_submit(s, &d, &j->id, NULL);
}

static engine *open_native(uint32_t n_seq)
{
    engine *e = NULL;
    err_info err = {0};
    engine_opts o = engine_opts_init();
    o.n_ctx = N_CTX;
    o.n_seq = n_seq;
    o.n_kv_max = (uint64_t)N_CTX * (N_JOB + n_seq);
    o.n_batch = 32;
    o.n_thread = 3;
    if (nat_engine.open(model, &o, &e, &err))
        fail_msg("%s", err.text);
    return e;
}

static sched *open_sched(engine *e)
{
    const sched_opts o = {
        .vt = &nat_engine,
        .engine = e,
        .vocab = vocab,
        .n_vocab = TINY_VOCAB,
        .n_embd = TINY_EMBD,
        .n_ctx = N_CTX,
        .n_batch = 32,
        .n_cached = 6,
        .causal = true,
    };
    sched *s = NULL;
    assert_int_equal(sched_open(&o, &s, NULL), CAMA_OK);
    return s;
}

static job alone[N_JOB];
static job now[N_JOB];

static void answer_alone(void)
{
    engine *e = open_native(1);
    for (int k = 0; k < N_JOB; k++) {
        sched *s = open_sched(e);
        assert_int_equal(submit(s, &alone[k], k), CAMA_OK);
        while (sched_tick(s))
            ;
        assert_int_equal(alone[k].n_id, alone[k].n_prompt + N_PREDICT);
        sched_close(s);
    }
    nat_engine.close(e);
}

/* ---- threads ---- */

typedef struct client {
    sched *s;
    int first;
    int cancel_every; /* 0: none */
    pthread_t thread;
    int n_refused;
} client;

static void pause_ms(void)
{
    const struct timespec ms = {0, 1000000};
    (void)nanosleep(&ms, NULL);
}

static void *run_client(void *arg)
{
    client *c = arg;
    uint64_t progress = 0;
    for (int k = c->first; k < c->first + N_EACH; k++) {
        c->n_refused += submit(c->s, &now[k], k) != CAMA_OK;
        pause_ms();
        if (c->cancel_every && k % c->cancel_every == 0)
            sched_cancel(c->s, now[k].id);
        sched_stat stat;
        sched_get_stat(c->s, &stat);
        c->n_refused += stat.progress < progress; /* never falls */
        progress = stat.progress;
        if (c->cancel_every)
            continue;
        sched_set_threads(c->s, (uint32_t)k % 4, (uint64_t)(k % 3) * 1000);
        c->n_refused += sched_grow(c->s, (uint64_t)N_CTX * (1 + (uint64_t)k), NULL) != CAMA_OK;
    }
    for (int k = c->first; k < c->first + N_EACH; k++)
        while (!atomic_load(&now[k].n_end))
            pause_ms();
    return NULL;
}

static void *run_engine(void *arg)
{
    sched_run(arg);
    return NULL;
}

static void check_threads(uint32_t n_seq, int cancel_every)
{
    engine *e = open_native(n_seq);
    sched *s = open_sched(e);
    client c[N_THREAD];
    pthread_t engine_thread;
    assert_int_equal(pthread_create(&engine_thread, NULL, run_engine, s), 0);
    for (int i = 0; i < N_THREAD; i++) {
        c[i] = (client){.s = s, .first = i * N_EACH, .cancel_every = cancel_every};
        assert_int_equal(pthread_create(&c[i].thread, NULL, run_client, &c[i]), 0);
    }
    for (int i = 0; i < N_THREAD; i++) {
        assert_int_equal(pthread_join(c[i].thread, NULL), 0);
        assert_int_equal(c[i].n_refused, 0);
    }
    sched_stop(s);
    assert_int_equal(pthread_join(engine_thread, NULL), 0);
    for (int k = 0; k < N_JOB; k++) {
        assert_int_equal(atomic_load(&now[k].n_end), 1);
        assert_int_equal(now[k].code, CAMA_OK);
        if (now[k].reason == STREAM_CANCELED)
            assert_true(cancel_every && k % cancel_every == 0);
        else
            assert_int_equal(now[k].n_id, alone[k].n_id);
        assert_memory_equal(now[k].ids, alone[k].ids, now[k].n_id * sizeof now[k].ids[0]);
    }
    sched_close(s);
    engine_stat stat;
    nat_engine.stat(e, &stat);
    assert_int_equal(stat.n_seq_alive, 0);
    nat_engine.close(e);
}

static void test_room_for_all(void **state)
{
    (void)state;
    check_threads(N_JOB, 0);
}

static void test_room_for_one(void **state)
{
    (void)state;
    check_threads(1, 0);
}

static void test_some_are_canceled(void **state)
{
    (void)state;
    check_threads(4, 3);
    check_threads(1, 2);
}

/* The loop is closed while jobs wait and run: each hears so. */
static void test_closing_tells_all(void **state)
{
    (void)state;
    engine *e = open_native(2);
    sched *s = open_sched(e);
    for (int k = 0; k < N_JOB; k++)
        assert_int_equal(submit(s, &now[k], k), CAMA_OK);
    for (int i = 0; i < 10; i++)
        (void)sched_tick(s);
    sched_close(s);
    for (int k = 0; k < N_JOB; k++) {
        assert_int_equal(atomic_load(&now[k].n_end), 1);
        assert_true(now[k].code == CAMA_OK || now[k].code == CAMA_ERR_CANCELED);
    }
    engine_stat stat;
    nat_engine.stat(e, &stat);
    assert_int_equal(stat.n_seq_alive, 0);
    nat_engine.close(e);
}

static int open_all(void **state)
{
    (void)state;
    size_t n;
    tok_vocab_def d = tok_vocab_def_init();
    d.model = (tok_str){"no_vocab", 8};
    d.n_token = TINY_VOCAB;
    bytes = tiny_llama(&n);
    if (gguf_open_bytes(bytes, n, &file, NULL) || model_open(file, &model, NULL) ||
        tok_open(&d, &vocab, NULL))
        return -1;
    answer_alone();
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    tok_close(vocab);
    model_close(model);
    gguf_close(file);
    free(bytes);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_room_for_all),
        cmocka_unit_test(test_room_for_one),
        cmocka_unit_test(test_some_are_canceled),
        cmocka_unit_test(test_closing_tells_all),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
