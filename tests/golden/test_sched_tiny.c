/* The loop on the native engine and tiny models of several shapes: the tokens of a job are the same
 * alone, together with seven others, in small steps, and behind cached prefixes. */
#include "test.h"

#include "sched/sched.h"

enum { N_JOB = 8, N_CTX = 64, N_PREDICT = 16, MAX_PROMPT = 40 };

static const char *const models[] = {"llama",  "llama-mqa", "gemma3",    "qwen3moe",
                                     "qwen35", "deepseek2", "granitemoe"};

/* A model, opened for one form of activations. */
typedef struct bench {
    gguf_file *file;
    model_desc *desc;
    tok_vocab *vocab;
    engine *engine;
    uint32_t n_vocab;
} bench;

typedef struct job {
    int32_t prompt[MAX_PROMPT];
    size_t n_prompt;
    int32_t ids[N_CTX + 1];
    size_t n_id;
    uint32_t n_cached;
    int n_done;
} job;

static void check(cama_err e, const err_info *err)
{
    if (e)
        fail_msg("%s", err->text);
}

static void open_bench(const char *name, kern_form form, bench *b)
{
    err_info err = {0};
    char path[512];
    snprintf(path, sizeof path, "%s/tiny/%s.gguf", TEST_DATA_DIR, name);
    check(gguf_open(path, &b->file, &err), &err);
    check(model_open(b->file, &b->desc, &err), &err);
    b->n_vocab = model_get_info(b->desc)->n_vocab;
    tok_vocab_def d = tok_vocab_def_init();
    d.model = (tok_str){"no_vocab", 8};
    d.n_token = b->n_vocab;
    check(tok_open(&d, &b->vocab, &err), &err);
    engine_opts o = engine_opts_init();
    o.n_ctx = N_CTX;
    o.n_seq = N_JOB;
    o.n_batch = 64;
    o.n_thread = 2;
    o.activations = form;
    check(nat_engine.open(b->desc, &o, &b->engine, &err), &err);
}

static void close_bench(bench *b)
{
    nat_engine.close(b->engine);
    tok_close(b->vocab);
    model_close(b->desc);
    gguf_close(b->file);
}

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
    j->n_done++;
    j->n_id = end->n_id;
    j->n_cached = end->n_cached;
    memcpy(j->ids, end->ids, end->n_id * sizeof *j->ids);
}

static void on_fail(void *user, const err_info *err)
{
    (void)user;
    fail_msg("%s", err->text);
}

static void submit_ids(sched *s, job *j, int k)
{
    sched_job_def d = {
        .ids = j->prompt,
        .n_id = j->n_prompt,
        .sample = sample_params_init(),
        .n_predict = N_PREDICT,
        .ignore_eog = true,
        .sink = {j, on_text, NULL, NULL, on_done, on_fail},
    };
    d.sample.temperature = k % 3 ? 0.9f : 0;
    d.sample.seed = k;
    d.sample.top_k = k == 4 ? 0 : 10;
    d.sample.repeat_penalty = k % 4 == 2 ? 1.2f : 1;
    sched_job_id id;
    err_info err = {0};
    check(sched_submit(s, &d, &id, &err), &err);
}

/* Half of the prompts begin alike; greedy and drawn answers, with and without penalties. */
static void submit(sched *s, job *j, int k, uint32_t n_vocab)
{
    *j = (job){.n_prompt = (size_t)(9 + 3 * k)};
    for (size_t i = 0; i < j->n_prompt; i++)
        j->prompt[i] = (int32_t)((i * 7 + (i > 6 || k % 2 ? (size_t)k * 13 : 0)) % n_vocab);
    submit_ids(s, j, k);
}

static sched *open_sched(const bench *b, uint32_t n_batch, uint32_t n_cached)
{
    const sched_opts o = {
        .vt = &nat_engine,
        .engine = b->engine,
        .vocab = b->vocab,
        .n_vocab = b->n_vocab,
        .n_embd = model_get_info(b->desc)->n_embd,
        .n_ctx = N_CTX,
        .n_batch = n_batch,
        .n_cached = n_cached,
        .causal = true,
    };
    sched *s;
    err_info err = {0};
    check(sched_open(&o, &s, &err), &err);
    return s;
}

static void compare(const char *name, const char *how, const job *got, const job *want)
{
    for (int k = 0; k < N_JOB; k++) {
        if (got[k].n_done != 1 || got[k].n_id != want[k].n_id ||
            memcmp(got[k].ids, want[k].ids, got[k].n_id * sizeof *got[k].ids) != 0)
            fail_msg("%s: job %d is another %s", name, k, how);
    }
}

static void run(sched *s)
{
    while (sched_tick(s))
        ;
}

/* The next question of a conversation begins with all that was said: what is cached is resumed at
 * its very end, where recurrent state can be too. */
static void converse(const bench *b, const char *name, const job *first)
{
    job turn[2][2];
    for (int cached = 0; cached < 2; cached++) {
        sched *s = open_sched(b, 64, cached ? 4 : 0);
        job *t = turn[cached];
        submit(s, &t[0], 0, b->n_vocab);
        run(s);
        t[1] = (job){.n_prompt = first->n_id + 3};
        memcpy(t[1].prompt, first->ids, first->n_id * sizeof *first->ids);
        for (size_t i = first->n_id; i < t[1].n_prompt; i++)
            t[1].prompt[i] = (int32_t)(i % b->n_vocab);
        submit_ids(s, &t[1], 1);
        run(s);
        sched_close(s);
        /* The last token of an answer was chosen, and never computed. */
        assert_int_equal(t[1].n_cached, cached ? first->n_id - 1 : 0);
    }
    if (turn[0][1].n_id != turn[1][1].n_id ||
        memcmp(turn[0][1].ids, turn[1][1].ids, turn[0][1].n_id * sizeof(int32_t)) != 0)
        fail_msg("%s: the second turn is another behind a cached one", name);
}

/* What the engine gave for the tokens of one job, in their order. */
typedef struct heard {
    engine_cand best[64];
    float logsumexp[64];
    size_t n;
} heard;
static heard *listener;

static cama_err listen(engine *e, engine_ticket t, engine_outs *out, err_info *err)
{
    const cama_err fail = nat_engine.collect(e, t, out, err);
    for (size_t i = 0; !fail && i < out->n; i++) {
        assert_true(listener->n < TEST_COUNT(listener->best));
        listener->best[listener->n] = out->out[i].cand[0];
        listener->logsumexp[listener->n++] = out->out[i].logsumexp;
    }
    return fail;
}

enum { CUT_CTX = 24, CUT_KEEP = 3, CUT_PREDICT = 48 };

/* A greedy answer to these ids; out hears. */
static void answer(const bench *b, uint32_t n_batch, job *j, const sched_job_def *how, heard *out)
{
    engine_vt vt = nat_engine;
    vt.collect = listen;
    sched_opts o = {
        .vt = &vt,
        .engine = b->engine,
        .vocab = b->vocab,
        .n_vocab = b->n_vocab,
        .n_embd = model_get_info(b->desc)->n_embd,
        .n_ctx = N_CTX,
        .n_batch = n_batch,
        .causal = true,
    };
    sched_job_def d = *how;
    sched *s;
    sched_job_id id;
    err_info err = {0};
    d.ids = j->prompt;
    d.n_id = j->n_prompt;
    d.sample = sample_params_init();
    d.sample.temperature = 0;
    d.sink = (stream_sink){j, on_text, NULL, NULL, on_done, on_fail};
    listener = out;
    out->n = 0;
    check(sched_open(&o, &s, &err), &err);
    check(sched_submit(s, &d, &id, &err), &err);
    run(s);
    sched_close(s);
}

/* After a full context was cut, every logit is what a prompt of the remaining tokens gives. */
static void cut_context(const bench *b, const char *name, uint32_t n_batch)
{
    static heard cut, again;
    job all = {.n_prompt = 10};
    job part;
    for (size_t i = 0; i < all.n_prompt; i++)
        all.prompt[i] = (int32_t)(i * 11 % b->n_vocab);
    const sched_job_def how = {
        .n_predict = CUT_PREDICT, .n_ctx = CUT_CTX, .shift = true, .n_keep = CUT_KEEP};
    answer(b, n_batch, &all, &how, &cut);
    assert_int_equal(cut.n, CUT_PREDICT);
    assert_int_equal(all.n_id, all.n_prompt + CUT_PREDICT);
    part = all;
    for (size_t i = 0; i < cut.n; i++) {
        answer(b, 64, &part, &(sched_job_def){.n_predict = 1}, &again);
        assert_int_equal(again.n, 1);
        if (memcmp(&again.best[0], &cut.best[i], sizeof again.best[0]) != 0 ||
            memcmp(&again.logsumexp[0], &cut.logsumexp[i], sizeof(float)) != 0)
            fail_msg("%s: token %zu of a cut context has other logits", name, i);
        part.prompt[part.n_prompt++] = all.ids[all.n_prompt + i];
        if (part.n_prompt <= CUT_CTX)
            continue;
        const size_t n_drop = (CUT_CTX - CUT_KEEP) / 2;
        memmove(part.prompt + CUT_KEEP, part.prompt + CUT_KEEP + n_drop,
                (part.n_prompt - CUT_KEEP - n_drop) * sizeof *part.prompt);
        part.n_prompt -= n_drop;
    }
}

static void test_model(const char *name, kern_form form)
{
    static job alone[N_JOB];
    static job got[N_JOB];
    bench b;
    open_bench(name, form, &b);
    for (int k = 0; k < N_JOB; k++) {
        sched *s = open_sched(&b, 64, 0);
        submit(s, &alone[k], k, b.n_vocab);
        run(s);
        sched_close(s);
        assert_int_equal(alone[k].n_id, alone[k].n_prompt + N_PREDICT);
    }
    for (uint32_t n_batch = 8; n_batch <= 64; n_batch *= 8) {
        sched *s = open_sched(&b, n_batch, 0);
        for (int k = 0; k < N_JOB; k++)
            submit(s, &got[k], k, b.n_vocab);
        run(s);
        sched_close(s);
        compare(name, "together", got, alone);
    }
    sched *s = open_sched(&b, 64, 4);
    uint32_t n_cached = 0;
    for (int round = 0; round < 2; round++) {
        for (int k = 0; k < N_JOB; k++) {
            submit(s, &got[k], k, b.n_vocab);
            run(s);
            n_cached += got[k].n_cached;
        }
        compare(name, "behind a cached prefix", got, alone);
    }
    print_message("%s: %u tokens of prompts were cached\n", name, n_cached);
    sched_close(s);
    converse(&b, name, &alone[0]);
    cut_context(&b, name, 64);
    cut_context(&b, name, 4);
    engine_stat stat;
    nat_engine.stat(b.engine, &stat);
    assert_int_equal(stat.n_seq_alive, 0);
    close_bench(&b);
}

static void test_f32(void **state)
{
    (void)state;
    for (size_t i = 0; i < TEST_COUNT(models); i++)
        test_model(models[i], KERN_F32);
}

static void test_int8(void **state)
{
    (void)state;
    for (size_t i = 0; i < TEST_COUNT(models); i++)
        test_model(models[i], KERN_I8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_f32), cmocka_unit_test(test_int8)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
