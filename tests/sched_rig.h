/* sched_rig.h - jobs for tests of the loop: what they ask, what their sinks heard.
 * Its functions are static: one test program includes it once. */
#ifndef SCHED_RIG_H
#define SCHED_RIG_H

#include "fake_engine.h"

/* A job under test, and what its sink heard. */
typedef struct job {
    char prompt[300];
    sched_job_def def;
    int32_t ids[300];
    char text[600];
    size_t n_text;
    int32_t told[600]; /* tokens whose probabilities were told */
    float logprob[600];
    stream_alt top[600][4];
    size_t n_told, n_top;
    stream_flow flow;
    bool ready;
    int n_done, n_fail;
    stream_end end;
    int32_t all[1200]; /* end.ids */
    err_info err;
    float vector[FAKE_N_EMBD];
    sched_job_id id;
} job;

static inline stream_flow on_text(void *user, const char *text, size_t n, const stream_prob *probs,
                                  size_t n_prob)
{
    job *j = user;
    for (size_t i = 0; i < n_prob; i++, j->n_told++) {
        assert_true(j->n_told < TEST_COUNT(j->told));
        j->told[j->n_told] = probs[i].token.id;
        j->logprob[j->n_told] = probs[i].token.logprob;
        j->n_top = probs[i].n_top;
        for (size_t k = 0; k < probs[i].n_top && k < 4; k++)
            j->top[j->n_told][k] = probs[i].top[k];
    }
    assert_true(j->n_text + n < sizeof j->text);
    memcpy(j->text + j->n_text, text, n);
    j->n_text += n;
    return j->flow;
}

static inline bool on_ready(void *user)
{
    return ((job *)user)->ready;
}

static inline void on_vector(void *user, const float *v, size_t n)
{
    memcpy(((job *)user)->vector, v, n * sizeof *v);
}

static inline void on_done(void *user, const stream_end *end)
{
    job *j = user;
    j->n_done++;
    j->end = *end;
    assert_true(end->n_id <= TEST_COUNT(j->all));
    memcpy(j->all, end->ids, end->n_id * sizeof *end->ids);
}

static inline void on_fail(void *user, const err_info *err)
{
    job *j = user;
    j->n_fail++;
    j->err = *err;
}

/* Greedy in even jobs, drawn with a seed in odd ones. */
static inline void init_job(job *j, int k, const char *prompt, int32_t n_predict)
{
    *j = (job){.flow = STREAM_GO};
    snprintf(j->prompt, sizeof j->prompt, "%s%d", prompt, k);
    const size_t n = strlen(j->prompt);
    for (size_t i = 0; i < n; i++)
        j->ids[i] = FAKE_FIRST_BYTE + j->prompt[i];
    j->def = (sched_job_def){
        .ids = j->ids,
        .n_id = n,
        .sample = sample_params_init(),
        .n_predict = n_predict,
        .sink = {j, on_text, on_ready, on_vector, on_done, on_fail},
    };
    j->def.sample.temperature = k % 2 ? 0.8f : 0;
    j->def.sample.seed = k;
    if (k % 3 == 2)
        j->def.sample.repeat_penalty = 1.3f;
    if (k % 5 == 4)
        j->def.sample.top_k = 0; /* whole logits beside candidates in one step */
}

static inline void submit(sched *s, job *j)
{
    err_info err = {0};
    if (sched_submit(s, &j->def, &j->id, &err))
        fail_msg("%s", err.text);
}

static inline sched *open_sched(const sched_opts *o)
{
    sched *s;
    assert_int_equal(sched_open(o, &s, NULL), CAMA_OK);
    return s;
}

static inline void run_all(sched *s)
{
    int n = 0;
    while (sched_tick(s))
        assert_true(++n < 100000);
}

static inline void close_sched(sched *s)
{
    sched_close(s);
    assert_int_equal(fake_n_alive(), 0); /* everything was given back */
}

#endif
