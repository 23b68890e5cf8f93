/* nat_engine.c - the engine contract on a pool of threads. A submit computes at once: the ticket is
 * only a name for what lies in one of two sets of outputs. */
#include "engine/engine.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pages.h"
#include "base/plat.h"
#include "engine/native/nat_int.h"

#define PLAN_MAX_BYTES (1ull << 30)
#define MAX_BATCH 16384
#define DEFAULT_CTX 4096
#define DEFAULT_BATCH 512
#define CAND_PER_ROW 128 /* room for candidates of a full batch, beside two whole vocabularies */
#define STATES_PER_SEQ 4 /* the current one and checkpoints */
#define FITNESS 50       /* every plan can be run; an engine made for the device is better */
#define MAX_KV ((uint64_t)KV_MAX_PAGE * KV_PAGE_TOKENS / 2)
#define CACHED_SEQ 64 /* sequences beyond those that run: prefixes that are kept */

/* ---- opening ---- */

static cama_err check_kv_type(quant_type t, const char *what, err_info *err)
{
    if (t == QUANT_F16 || t == QUANT_F32 || t == QUANT_BF16 || t == QUANT_Q8_0 || t == QUANT_Q4_0)
        return CAMA_OK;
    return err_set(err, CAMA_ERR_ARG, "native: %s cannot be stored as %s", what,
                   t < QUANT_N_TYPE ? quant_table[t].name : "?");
}

/* Whole pages for each sequence, when the caller does not say. */
static cama_err set_kv(engine *e, err_info *err)
{
    engine_opts *o = &e->opts;
    if (!o->n_kv)
        o->n_kv = (uint64_t)o->n_seq * nat_up(o->n_ctx, KV_PAGE_TOKENS);
    if (!o->n_kv_max)
        o->n_kv_max = o->n_kv;
    if (o->n_kv_max < o->n_kv || o->n_kv_max > MAX_KV)
        return err_set(err, CAMA_ERR_ARG,
                       "native: KV of %llu tokens, %llu later; the limit is %llu, and the second "
                       "is not below the first",
                       (unsigned long long)o->n_kv, (unsigned long long)o->n_kv_max,
                       (unsigned long long)MAX_KV);
    return CAMA_OK;
}

static cama_err set_opts(engine *e, const engine_opts *o, err_info *err)
{
    const model_info *info = model_get_info(e->model);
    e->opts = *o;
    if (e->opts.n_ctx == 0)
        e->opts.n_ctx =
            info->n_ctx_train && info->n_ctx_train < DEFAULT_CTX ? info->n_ctx_train : DEFAULT_CTX;
    if (e->opts.n_batch == 0) /* a text that sees itself whole must come in one batch */
        e->opts.n_batch =
            info->causal || e->opts.n_ctx < DEFAULT_BATCH ? DEFAULT_BATCH : e->opts.n_ctx;
    e->n_made = o->n_thread ? (int)o->n_thread : plat_n_cpu();
    e->n_thread = e->n_made;
    if (e->opts.n_ctx > KV_MAX_CTX || e->opts.n_batch > MAX_BATCH || o->n_thread > WORKERS_MAX)
        return err_set(
            err, CAMA_ERR_ARG, "native: context %u, batch %u, threads %u; limits are %u, %d and %d",
            e->opts.n_ctx, e->opts.n_batch, o->n_thread, KV_MAX_CTX, MAX_BATCH, WORKERS_MAX);
    if (o->n_seq < 1 || o->n_seq > ENGINE_MAX_SEQ)
        return err_set(err, CAMA_ERR_ARG, "native: %u sequences, allowed are 1 to %d", o->n_seq,
                       ENGINE_MAX_SEQ);
    e->n_seq_max = 2 * o->n_seq + CACHED_SEQ;
    if (e->n_seq_max > ENGINE_MAX_SEQ)
        e->n_seq_max = ENGINE_MAX_SEQ;
    if (o->device == ENGINE_GPU)
        return err_set(err, CAMA_ERR_UNSUPPORTED,
                       "native: it computes on the cpu, and a gpu was asked for");
    cama_err fail = set_kv(e, err);
    if (!fail)
        fail = check_kv_type(o->k_type, "K", err);
    return fail ? fail : check_kv_type(o->v_type, "V", err);
}

/* What of the options the plan decides: shapes that a KV type does not fit, states. */
static cama_err check_slots(engine *e, err_info *err)
{
    if (e->plan->n_group > KV_MAX_GROUP)
        return err_set(err, CAMA_ERR_LIMIT, "native: %zu groups of KV, limit %d", e->plan->n_group,
                       KV_MAX_GROUP);
    for (size_t i = 0; i < e->plan->n_group; i++) {
        const plan_kv_slot *s = &e->plan->groups[i].shape;
        const size_t k = quant_table[e->opts.k_type].block_n;
        const size_t v = quant_table[e->opts.v_type].block_n;
        if (s->kind == PLAN_KV_STATE)
            e->n_state = STATES_PER_SEQ * (size_t)e->opts.n_seq;
        else if (s->dim_k % k || (!s->v_in_k && s->dim_v % v))
            return err_set(err, CAMA_ERR_UNSUPPORTED,
                           "native: heads of %zu and %zu columns cannot be stored as %s and %s",
                           s->dim_k, s->dim_v, quant_table[e->opts.k_type].name,
                           quant_table[e->opts.v_type].name);
    }
    return CAMA_OK;
}

/* Formats that come from MLX's folders and have no kernels here. */
static cama_err check_formats(const model_desc *m, err_info *err)
{
    const gguf_file *f = model_file(m);
    for (size_t i = 0; i < gguf_n_tensor(f); i++) {
        const gguf_tensor *t = gguf_tensor_at(f, i);
        char form[QUANT_FORM_TEXT];
        if (!quant_table[t->type].is_weight || kern_takes(t->type))
            continue;
        quant_form_text(t->type, form);
        return err_set(err, CAMA_ERR_UNSUPPORTED,
                       "native: %s (tensor '%.*s') runs on the mlx engine only", form,
                       (int)t->name.n, t->name.text);
    }
    return CAMA_OK;
}

static void nat_close(engine *e)
{
    if (!e)
        return;
    workers_close(e->pool);
    if (e->plan)
        nat_drop_memory(e);
    arena_done(&e->plan_arena);
    free(e);
}

/* Everything that figures need: the plan, lowered and laid out, but no memory for values. */
static cama_err prepare(const model_desc *m, const engine_opts *o, engine **out, err_info *err)
{
    engine *e = calloc(1, sizeof *e);
    if (!e)
        return err_set(err, CAMA_ERR_NOMEM, "native: no memory for an engine");
    e->model = m;
    arena_init(&e->plan_arena, PLAN_MAX_BYTES);
    cama_err fail = check_formats(m, err);
    if (!fail)
        fail = set_opts(e, o, err);
    if (!fail) {
        const model_record_opts record = {.n_ctx = o->n_ctx_rope ? o->n_ctx_rope : e->opts.n_ctx};
        kern_init(&e->kern, o->cpu & kern_cpu_detect());
        fail = model_record(m, &record, &e->plan_arena, &e->plan, err);
    }
    if (!fail)
        fail = check_slots(e, err);
    if (!fail) {
        e->group = arena_take_array(&e->plan_arena, e->plan->n_group, sizeof *e->group);
        e->max_cand = 2 * e->plan->n_vocab + CAND_PER_ROW * (size_t)e->opts.n_batch;
        fail = e->group ? nat_lower(e, err) : err_set(err, CAMA_ERR_NOMEM, "native: no memory");
    }
    if (fail) {
        nat_close(e);
        return fail;
    }
    *out = e;
    return CAMA_OK;
}

static cama_err nat_plan(const model_desc *m, const engine_opts *o, engine_bytes *out,
                         err_info *err)
{
    engine *e = NULL;
    cama_err fail = prepare(m, o, &e, err);
    if (!fail)
        fail = nat_plan_bytes(e, out, err);
    nat_close(e);
    return fail;
}

static void read_ahead(const gguf_file *f)
{
    for (size_t i = 0; i < gguf_n_tensor(f); i++) {
        const gguf_tensor *t = gguf_tensor_at(f, i);
        pages_will_need(t->data, (size_t)t->n_bytes);
    }
}

static cama_err nat_open(const model_desc *m, const engine_opts *o, engine **out, err_info *err)
{
    engine *e = NULL;
    engine_bytes bytes;
    cama_err fail = prepare(m, o, &e, err);
    if (!fail)
        fail = nat_plan_bytes(e, &bytes, err);
    if (!fail)
        fail = nat_take_memory(e, err);
    if (!fail)
        fail = workers_open(e->n_made, false, &e->pool, err);
    if (fail) {
        nat_close(e);
        return fail;
    }
    plat_cpu_name(e->cpu_name, sizeof e->cpu_name);
    read_ahead(model_file(m));
    *out = e;
    return CAMA_OK;
}

static int nat_probe(const model_desc *m, err_info *why)
{
    return check_formats(m, why) ? 0 : FITNESS;
}

/* ---- sequences ---- */

/* A mean over tokens cannot be cut: such a sequence starts again. */
static int32_t keepable(const engine *e, int32_t seq, int32_t want)
{
    const bool is_mean = e->pools && e->pool_kind == PLAN_POOL_MEAN;
    return is_mean && want < kv_len(e->kv, seq) ? 0 : want;
}

static cama_err nat_seq_fork(engine *e, int32_t from, int32_t n_keep, int32_t *out_seq)
{
    int32_t seq;
    if (from >= 0 && kv_alive(e->kv, from) && n_keep <= kv_len(e->kv, from))
        n_keep = keepable(e, from, n_keep);
    const cama_err fail = kv_fork(e->kv, from, n_keep, &seq, NULL);
    if (fail)
        return fail;
    e->prev[seq] = -1;
    if (e->pools && from >= 0) {
        const size_t n = e->plan->n_embd;
        memcpy(e->pooled + (size_t)seq * n, e->pooled + (size_t)from * n, n * sizeof(float));
    }
    *out_seq = seq;
    return CAMA_OK;
}

static cama_err nat_seq_rewind(engine *e, int32_t seq, int32_t want, int32_t *out_got)
{
    if (!kv_alive(e->kv, seq))
        return CAMA_ERR_ARG;
    if (want < kv_len(e->kv, seq))
        e->prev[seq] = -1;
    return kv_rewind(e->kv, seq, keepable(e, seq, want), out_got, NULL);
}

static void nat_seq_free(engine *e, int32_t seq)
{
    kv_free(e->kv, seq);
}

/* ---- a step ---- */

static void run_step(void *arg, int t, int n_thread)
{
    engine *e = arg;
    (void)n_thread; /* is e->n_thread */
    nat_rope_tables(e, t);
    for (size_t i = 0; i < e->n_op; i++) {
        const nat_op *op = &e->ops[i];
        if (!(op->need & e->step.wanted) || e->step.n_row[op->domain] == 0)
            continue;
        op->run(e, op, t);
        nat_meet(e, t);
        if (t == 0)
            atomic_fetch_add_explicit(&e->n_op_run, 1, memory_order_relaxed);
    }
}

static void put_out_row(engine *e, size_t i, size_t row, engine_out *out)
{
    const uint32_t flags = e->step.row[row].flags;
    const int32_t logits = e->out_node[PLAN_OUT_LOGITS];
    if (flags & ENGINE_LOGITS)
        out->logits = nat_row(e, logits, i);
    if (flags & ENGINE_HIDDEN)
        out->hidden = nat_row(e, e->out_node[PLAN_OUT_HIDDEN], i);
    if (flags & ENGINE_CANDIDATES) {
        out->cand = e->outs_now->cand + i * (e->batch->n_candidate + e->batch->n_id);
        out->n_cand = e->n_cand[i];
        out->logsumexp = e->lse[i];
    }
    if (flags & (ENGINE_LOGITS | ENGINE_CANDIDATES))
        e->prev[e->step.row[row].seq] = e->best[i];
}

/* An entry for each row with flags, in row order. */
static void put_outputs(engine *e)
{
    nat_outputs *o = e->outs_now;
    size_t i_out = 0;
    size_t i_seq = 0;
    o->n = 0;
    for (size_t i = 0; i < e->step.n_run; i++)
        e->prev[e->step.run[i].seq] = -1;
    for (size_t row = 0; row < e->step.n_row[ENGINE_IN]; row++) {
        if (!e->step.row[row].flags)
            continue;
        engine_out *out = &o->out[o->n++];
        *out = (engine_out){.row = row, .seq = e->step.row[row].seq};
        if (i_out < e->step.n_row[ENGINE_OUT] && e->step.out_row[i_out] == row)
            put_out_row(e, i_out++, row, out);
        if (i_seq < e->step.n_row[ENGINE_SEQ] && e->step.seq_row[i_seq] == row)
            out->pooled = nat_row(e, e->out_node[PLAN_OUT_POOLED], i_seq++);
    }
}

/* Logits of a whole prompt are large: what a step of the usual size does not touch is given back.
 */
static void give_back(engine *e)
{
    const int32_t node = e->out_node[PLAN_OUT_LOGITS];
    const size_t keep = (size_t)e->opts.n_seq + 1;
    nat_outputs *o = e->outs_now;
    const size_t n = e->step.n_row[ENGINE_OUT] > keep ? e->step.n_row[ENGINE_OUT] : keep;
    if (node >= 0 && o->n_touched > n)
        pages_drop(nat_row(e, node, n), (o->n_touched - n) * e->value[node].ld * sizeof(float));
    o->n_touched = n;
}

static cama_err nat_submit(engine *e, const engine_batch *b, engine_ticket *out, err_info *err)
{
    const cama_err fail = nat_begin(e, b, err);
    if (fail)
        return fail;
    e->ticket++;
    e->outs_now = &e->outputs[e->ticket % 2];
    e->at = e->val[e->ticket % 2];
    e->batch = b;
    e->embeds = b->embeds;
    give_back(e);
    workers_run(e->pool, run_step, e);
    for (size_t i = 0; i < e->step.n_run; i++)
        kv_settle(e->kv, e->step.run[i].seq);
    put_outputs(e);
    e->outs_now->ticket = e->ticket;
    e->batch = NULL; /* the caller's, and so are the embeddings */
    e->embeds = NULL;
    *out = e->ticket;
    return CAMA_OK;
}

static cama_err nat_collect(engine *e, engine_ticket t, engine_outs *out, err_info *err)
{
    const nat_outputs *o = &e->outputs[t % 2];
    if (t == 0 || o->ticket != t)
        return err_set(err, CAMA_ERR_ARG, "native: no outputs of step %llu, the last is %llu",
                       (unsigned long long)t, (unsigned long long)e->ticket);
    *out = (engine_outs){.out = o->out, .n = o->n};
    return CAMA_OK;
}

/* ---- between steps ---- */

static cama_err nat_grow(engine *e, uint64_t n_kv, err_info *err)
{
    if (n_kv <= e->opts.n_kv)
        return CAMA_OK;
    if (n_kv > e->opts.n_kv_max)
        return err_set(err, CAMA_ERR_LIMIT,
                       "KV of %llu tokens: the engine was opened for at most %llu",
                       (unsigned long long)n_kv, (unsigned long long)e->opts.n_kv_max);
    return nat_raise_kv(e, n_kv, err);
}

static void nat_set_threads(engine *e, uint32_t n_thread, uint64_t spin_ns)
{
    const int n = engine_set_workers(e->pool, e->n_made, n_thread, spin_ns);
    if (n == e->n_thread)
        return;
    e->n_thread = n;
    nat_cut(e);
}

static uint64_t nat_progress(const engine *e)
{
    return atomic_load_explicit(&e->n_op_run, memory_order_relaxed);
}

/* The room of each group, and what is taken: of the first group that keeps all tokens, else of the
 * one that has least left. */
static void put_rooms(const engine *e, engine_stat *out)
{
    bool has_all = false;
    out->n_token_free = UINT64_MAX;
    for (size_t i = 0; i < e->plan->n_group; i++) {
        if (e->group[i].books < 0)
            continue;
        const size_t g = (size_t)e->group[i].books;
        const uint32_t n_free = kv_n_free_page(e->kv, g);
        const uint64_t n_token = (uint64_t)n_free * KV_PAGE_TOKENS;
        out->room[out->n_room++] =
            (engine_room){.n_token_free = n_token, .n_token_seq = e->group[i].n_token_seq};
        const bool least = n_token < out->n_token_free;
        if (least)
            out->n_token_free = n_token;
        if (has_all || (!least && e->group[i].n_token_seq < e->opts.n_ctx))
            continue;
        has_all = e->group[i].n_token_seq >= e->opts.n_ctx;
        out->n_kv_used = (uint64_t)(kv_n_open_page(e->kv, g) - n_free) * KV_PAGE_TOKENS;
    }
}

static_assert(ENGINE_MAX_ROOM >= KV_MAX_GROUP, "a room for each group");

static void nat_stat(const engine *e, engine_stat *out)
{
    *out = (engine_stat){.bytes = e->bytes,
                         .n_seq_alive = kv_n_alive(e->kv),
                         .n_kv = e->opts.n_kv,
                         .page_tokens = KV_PAGE_TOKENS,
                         .n_seq_room = (uint32_t)e->n_state, /* each has one of its own */
                         .activations = e->opts.activations == KERN_I8 ? "int8" : "f32",
                         .version = "cama " CAMA_VERSION};
    put_rooms(e, out);
    (void)snprintf(out->device, sizeof out->device, "cpu: %s, %d thread%s, %s", e->cpu_name,
                   e->n_made, e->n_made == 1 ? "" : "s", e->kern.tier); /* cut when too long */
}

/* Weights are read where they lie, whatever their type. */
static void form_of(const void *user, const plan_tensor *t, engine_form *out)
{
    (void)user;
    out->form = "file blocks";
    out->exact = true;
    out->n_bytes = t->n_bytes;
}

static size_t nat_forms(const engine *e, engine_form *out, size_t max)
{
    return engine_list_forms(e->plan, form_of, NULL, out, max);
}

static void nat_about(engine_about *out)
{
    char name[64];
    kern_table k;
    kern_init(&k, kern_cpu_detect());
    plat_cpu_name(name, sizeof name);
    *out = (engine_about){.available = true,
                          .version = "cama " CAMA_VERSION,
                          .backend = "cpu",
                          .memory_bytes = plat_memory_total()};
    (void)snprintf(out->device, sizeof out->device, "cpu: %s, %s", name, k.tier);
}

const engine_vt nat_engine = {
    .name = "native",
    .probe = nat_probe,
    .plan = nat_plan,
    .open = nat_open,
    .close = nat_close,
    .seq_fork = nat_seq_fork,
    .seq_rewind = nat_seq_rewind,
    .seq_free = nat_seq_free,
    .submit = nat_submit,
    .collect = nat_collect,
    .stat = nat_stat,
    .grow = nat_grow,
    .set_threads = nat_set_threads,
    .progress = nat_progress,
    .forms = nat_forms,
    .about = nat_about,
};
