/* fake_engine.h - an engine for the scheduler's tests, whose model is a hash.
 *
 * The logits of a row depend on every token before it and on nothing else, so a row that was lost,
 * doubled or given to another sequence changes the answer. It checks every batch against the rules
 * of engine.h, holds so many tokens and no more, and fails when it is told to. The vocabulary is
 * <unk>, <s>, </s> and the 256 bytes.
 */
#ifndef FAKE_ENGINE_H
#define FAKE_ENGINE_H

#include "test.h"

#include <math.h>

#include "sched/sched.h"

enum {
    FAKE_FIRST_BYTE = 3,
    FAKE_N_VOCAB = FAKE_FIRST_BYTE + 256,
    FAKE_N_EMBD = 4,
    FAKE_MAX_SEQ = 64,
    FAKE_MAX_CTX = 512,
    FAKE_MAX_ROW = 512
};

typedef struct fake_seq {
    bool alive;
    size_t n;
    int32_t prev; /* the best token of the last row with an output; -1: none */
    int32_t id[FAKE_MAX_CTX];
} fake_seq;

typedef struct fake_step {
    engine_ticket ticket;
    size_t n;
    engine_out out[FAKE_MAX_ROW];
    float logits[FAKE_MAX_ROW][FAKE_N_VOCAB];
    engine_cand cand[FAKE_MAX_ROW][FAKE_N_VOCAB];
    float vector[FAKE_MAX_ROW][FAKE_N_EMBD];
} fake_step;

typedef struct fake_engine {
    fake_seq seq[FAKE_MAX_SEQ];
    size_t n_seq_max;
    size_t capacity;     /* tokens of all sequences */
    size_t capacity_max; /* what it may grow to */
    size_t window;       /* of a second group of layers; 0: none */
    size_t window_capacity;
    int32_t resume_step; /* positions that can be restored are multiples of it */
    int eog_after;       /* </s> is the best token at this length of a sequence; 0: never */
    int fail_submit, fail_collect; /* the n-th call from now fails; 0: none */
    cama_err fail_with;
    size_t n_submit, n_row, n_prev; /* n_prev: rows that took the last choice */
    size_t n_alive_then;            /* sequences at the last submit */
    uint32_t n_thread;              /* what set_threads said last, and how often it was called */
    uint64_t spin_ns;
    int n_set;
    engine_ticket last;
    fake_step step[2]; /* by the ticket's parity: two may be under way */
} fake_engine;

static fake_engine fake;

static size_t fake_used(void)
{
    size_t n = 0;
    for (int i = 0; i < FAKE_MAX_SEQ; i++)
        n += fake.seq[i].alive ? fake.seq[i].n : 0;
    return n;
}

static size_t fake_n_alive(void)
{
    size_t n = 0;
    for (int i = 0; i < FAKE_MAX_SEQ; i++)
        n += fake.seq[i].alive;
    return n;
}

static cama_err fake_fork(engine *e, int32_t from, int32_t n_keep, int32_t *out_seq)
{
    (void)e;
    if (fake_n_alive() >= fake.n_seq_max)
        return CAMA_ERR_LIMIT;
    for (int i = 0; i < FAKE_MAX_SEQ; i++) {
        fake_seq *s = &fake.seq[i];
        if (s->alive)
            continue;
        s->alive = true;
        s->n = 0;
        s->prev = -1;
        if (from >= 0) {
            assert_true(fake.seq[from].alive && (size_t)n_keep <= fake.seq[from].n);
            s->n = (size_t)(n_keep - n_keep % fake.resume_step);
            memcpy(s->id, fake.seq[from].id, s->n * sizeof *s->id);
        }
        *out_seq = i;
        return CAMA_OK;
    }
    return CAMA_ERR_LIMIT;
}

static cama_err fake_rewind(engine *e, int32_t seq, int32_t want, int32_t *out_got)
{
    (void)e;
    fake_seq *s = &fake.seq[seq];
    assert_true(s->alive);
    int32_t got = want < (int32_t)s->n ? want : (int32_t)s->n;
    if (got < (int32_t)s->n)
        got -= got % fake.resume_step;
    s->n = (size_t)got;
    *out_got = got;
    return CAMA_OK;
}

static void fake_free(engine *e, int32_t seq)
{
    (void)e;
    assert_true(fake.seq[seq].alive);
    fake.seq[seq].alive = false;
}

static uint64_t fake_hash(const fake_seq *s)
{
    uint64_t h = 1469598103934665603u;
    for (size_t i = 0; i < s->n; i++)
        h = (h ^ (uint64_t)s->id[i]) * 1099511628211u;
    return h;
}

static int fake_better(const void *a, const void *b)
{
    const engine_cand *x = a;
    const engine_cand *y = b;
    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

/* Letters are likely, all else is not. */
static void fake_logits(const fake_seq *s, float *out)
{
    uint64_t h = fake_hash(s);
    for (int i = 0; i < FAKE_N_VOCAB; i++) {
        h = h * 6364136223846793005u + 1442695040888963407u;
        const bool letter = i >= FAKE_FIRST_BYTE + 'a' && i <= FAKE_FIRST_BYTE + 'z';
        out[i] = (float)(h >> 40) / 4194304.0f - (letter ? 0 : 100);
    }
    if (fake.eog_after && s->n >= (size_t)fake.eog_after)
        out[2] = 1000;
}

static float fake_logsumexp(const float *logits)
{
    double sum = 0;
    for (int i = 0; i < FAKE_N_VOCAB; i++)
        sum += exp((double)logits[i]);
    return (float)log(sum);
}

static void fake_output(fake_step *st, size_t row, const engine_row *r, const engine_batch *b)
{
    const size_t k = st->n++;
    engine_out *o = &st->out[k];
    const fake_seq *s = &fake.seq[r->seq];
    *o = (engine_out){.row = row, .seq = r->seq};
    fake_logits(s, st->logits[k]);
    for (int i = 0; i < FAKE_N_VOCAB; i++)
        st->cand[k][i] = (engine_cand){i, st->logits[k][i]};
    qsort(st->cand[k], FAKE_N_VOCAB, sizeof st->cand[k][0], fake_better);
    for (int i = 0; i < FAKE_N_EMBD; i++)
        st->vector[k][i] = (float)(fake_hash(s) >> (8 * i) & 0xFF);
    if (r->flags & (ENGINE_LOGITS | ENGINE_CANDIDATES))
        fake.seq[r->seq].prev = st->cand[k][0].id;
    if (r->flags & ENGINE_LOGITS)
        o->logits = st->logits[k];
    if (r->flags & ENGINE_CANDIDATES) {
        o->cand = st->cand[k];
        o->n_cand = b->n_candidate < FAKE_N_VOCAB ? b->n_candidate : FAKE_N_VOCAB;
        o->logsumexp = fake_logsumexp(st->logits[k]);
    }
    if (r->flags & ENGINE_HIDDEN)
        o->hidden = st->vector[k];
    if (r->flags & ENGINE_POOLED)
        o->pooled = st->vector[k];
}

static cama_err fake_submit(engine *e, const engine_batch *b, engine_ticket *out, err_info *err)
{
    (void)e;
    assert_true(b->n_row > 0 && b->n_row <= FAKE_MAX_ROW);
    if (fake.fail_submit && --fake.fail_submit == 0)
        return err_set(err, fake.fail_with, "the engine was told to fail");
    if (fake_used() + b->n_row > fake.capacity)
        return err_set(err, CAMA_ERR_LIMIT, "%zu tokens are more than %zu", fake_used() + b->n_row,
                       fake.capacity);
    fake.n_alive_then = fake_n_alive();
    fake_step *st = &fake.step[(fake.last + 1) % 2];
    st->ticket = ++fake.last;
    st->n = 0;
    for (size_t i = 0; i < b->n_row; i++) {
        const engine_row *r = &b->rows[i];
        fake_seq *s = &fake.seq[r->seq];
        const int32_t id = r->source == ENGINE_PREV ? s->prev : r->id;
        assert_true(s->alive && id >= 0 && id < FAKE_N_VOCAB);
        fake.n_prev += r->source == ENGINE_PREV;
        s->prev = -1;
        assert_int_equal(r->pos[0], (int32_t)s->n);
        for (size_t k = 0; i > 0 && k < i - 1 && r->seq != b->rows[i - 1].seq; k++)
            assert_true(b->rows[k].seq != r->seq); /* rows of a sequence are adjacent */
        assert_true(s->n < FAKE_MAX_CTX);
        s->id[s->n++] = id;
        if (r->flags)
            fake_output(st, i, r, b);
    }
    fake.n_submit++;
    fake.n_row += b->n_row;
    *out = st->ticket;
    return CAMA_OK;
}

static cama_err fake_collect(engine *e, engine_ticket t, engine_outs *out, err_info *err)
{
    (void)e;
    fake_step *st = &fake.step[t % 2];
    assert_true(st->ticket == t);
    st->ticket = 0;
    if (fake.fail_collect && --fake.fail_collect == 0)
        return err_set(err, fake.fail_with, "the engine was told to fail");
    *out = (engine_outs){st->out, st->n};
    return CAMA_OK;
}

static size_t fake_window_used(void)
{
    size_t n = 0;
    for (int i = 0; i < FAKE_MAX_SEQ; i++) {
        const fake_seq *q = &fake.seq[i];
        n += !q->alive ? 0 : q->n < fake.window ? q->n : fake.window;
    }
    return n;
}

static void fake_stat(const engine *e, engine_stat *out)
{
    (void)e;
    const size_t used = fake_used();
    *out = (engine_stat){.n_token_free = used < fake.capacity ? fake.capacity - used : 0,
                         .n_kv = fake.capacity,
                         .n_kv_used = used};
    if (!fake.window)
        return;
    out->room[out->n_room++] = (engine_room){out->n_token_free, UINT32_MAX};
    out->n_token_free = fake.window_capacity - fake_window_used();
    out->room[out->n_room++] = (engine_room){out->n_token_free, (uint32_t)fake.window};
}

static cama_err fake_grow(engine *e, uint64_t n_kv, err_info *err)
{
    (void)e;
    if (n_kv > fake.capacity_max)
        return err_set(err, CAMA_ERR_NO_FIT, "%llu tokens are more than %zu",
                       (unsigned long long)n_kv, fake.capacity_max);
    fake.capacity = n_kv > fake.capacity ? (size_t)n_kv : fake.capacity;
    return CAMA_OK;
}

static void fake_set_threads(engine *e, uint32_t n_thread, uint64_t spin_ns)
{
    (void)e;
    fake.n_thread = n_thread;
    fake.spin_ns = spin_ns;
    fake.n_set++;
}

static const engine_vt fake_vt = {
    .name = "fake",
    .seq_fork = fake_fork,
    .seq_rewind = fake_rewind,
    .seq_free = fake_free,
    .submit = fake_submit,
    .collect = fake_collect,
    .stat = fake_stat,
    .grow = fake_grow,
    .set_threads = fake_set_threads,
};

static void fake_reset(void)
{
    memset(&fake, 0, sizeof fake);
    fake.n_seq_max = FAKE_MAX_SEQ;
    fake.capacity = (size_t)FAKE_MAX_SEQ * FAKE_MAX_CTX;
    fake.resume_step = 1;
    fake.fail_with = CAMA_ERR_ENGINE;
}

static tok_vocab *fake_vocab;

static int fake_open_vocab(void **state)
{
    (void)state;
    static tok_str tokens[FAKE_N_VOCAB] = {{"<unk>", 5}, {"<s>", 3}, {"</s>", 4}};
    static int32_t types[FAKE_N_VOCAB] = {TOK_UNKNOWN, TOK_CONTROL, TOK_CONTROL};
    static float scores[FAKE_N_VOCAB];
    static char names[256][8];
    for (int b = 0; b < 256; b++) {
        snprintf(names[b], sizeof names[b], "<0x%02X>", (unsigned)b);
        tokens[FAKE_FIRST_BYTE + b] = (tok_str){names[b], 6};
        types[FAKE_FIRST_BYTE + b] = TOK_BYTE;
    }
    tok_vocab_def d = tok_vocab_def_init();
    d.model = (tok_str){"llama", 5};
    d.tokens = tokens;
    d.types = types;
    d.scores = scores;
    d.n_token = FAKE_N_VOCAB;
    return tok_open(&d, &fake_vocab, NULL) ? -1 : 0;
}

static int fake_close_vocab(void **state)
{
    (void)state;
    tok_close(fake_vocab);
    return 0;
}

static sched_opts fake_sched_opts(void)
{
    return (sched_opts){
        .vt = &fake_vt,
        .vocab = fake_vocab,
        .n_vocab = FAKE_N_VOCAB,
        .n_embd = FAKE_N_EMBD,
        .n_ctx = 256,
        .n_batch = 64,
        .causal = true,
    };
}

#endif
