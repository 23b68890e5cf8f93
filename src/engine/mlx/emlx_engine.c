/* emlx_engine.c - the engine contract on MLX. */
#include "engine/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/plat.h"
#include "engine/mlx/emlx_trial.h"

#define PLAN_MAX_BYTES (1ull << 31)
#define MAX_BATCH 16384
#define MAX_CTX (1u << 26)
#define DEFAULT_CTX 4096
#define DEFAULT_BATCH 512
#define CACHED_SEQ 64
#define STATES_PER_SEQ 4
#define TEMPORARIES 8 /* rows of the widest node that live at once in MLX's graph, about */

/* ---- opening ---- */

static cama_err unavailable(const char *why, err_info *err)
{
    return err_set(err, CAMA_ERR_ENGINE, "mlx: the engine is not available: %s", why);
}

static cama_err open_device(engine *e, err_info *err)
{
    char why[MB_MAX_TEXT] = "";
    mb_opened opened = {.error = ""};
    e->b = emlx_plugin(why, sizeof why);
    if (!e->b)
        return unavailable(why, err);
    e->m = e->b->open(emlx_device_name(e->opts.device), &opened);
    if (!e->m)
        return unavailable(opened.error, err);
    e->b->info(e->m, &e->info);
    e->kernels = !e->info.is_gpu && !e->opts.stock;
    return CAMA_OK;
}

static cama_err check_kv(const engine *e, quant_type t, const char *what, err_info *err)
{
    const bool is_float = t == QUANT_F16 || t == QUANT_F32 || t == QUANT_BF16;
    if (is_float || (e->kernels && (t == QUANT_Q8_0 || t == QUANT_Q4_0)))
        return CAMA_OK;
    return err_set(err, CAMA_ERR_UNSUPPORTED, "mlx: %s cannot be stored as %s on %s", what,
                   t < QUANT_N_TYPE ? quant_table[t].name : "?", e->info.device);
}

static cama_err set_kv(engine *e, err_info *err)
{
    engine_opts *o = &e->opts;
    if (!o->n_kv)
        o->n_kv = (uint64_t)o->n_seq * emlx_up(o->n_ctx, EMLX_PAGE);
    if (!o->n_kv_max)
        o->n_kv_max = o->n_kv;
    if (o->n_kv_max < o->n_kv)
        return err_set(err, CAMA_ERR_ARG, "mlx: KV of %llu tokens, %llu later: less",
                       (unsigned long long)o->n_kv, (unsigned long long)o->n_kv_max);
    const cama_err fail = check_kv(e, o->k_type, "K", err);
    return fail ? fail : check_kv(e, o->v_type, "V", err);
}

static cama_err set_opts(engine *e, const engine_opts *o, err_info *err)
{
    const model_info *info = model_get_info(e->model);
    const uint32_t trained = info->n_ctx_train;
    if (!e->opts.n_ctx)
        e->opts.n_ctx = trained && trained < DEFAULT_CTX ? trained : DEFAULT_CTX;
    if (!e->opts.n_batch)
        e->opts.n_batch =
            info->causal || e->opts.n_ctx < DEFAULT_BATCH ? DEFAULT_BATCH : e->opts.n_ctx;
    e->n_made = o->n_thread ? (int)o->n_thread : plat_n_cpu();
    e->n_thread = e->n_made;
    if (e->opts.n_ctx > MAX_CTX || e->opts.n_batch > MAX_BATCH || o->n_thread > WORKERS_MAX)
        return err_set(
            err, CAMA_ERR_ARG, "mlx: context %u, batch %u, threads %u; limits are %u, %d and %d",
            e->opts.n_ctx, e->opts.n_batch, o->n_thread, MAX_CTX, MAX_BATCH, WORKERS_MAX);
    if (o->n_seq < 1 || o->n_seq > ENGINE_MAX_SEQ)
        return err_set(err, CAMA_ERR_ARG, "mlx: %u sequences, allowed are 1 to %d", o->n_seq,
                       ENGINE_MAX_SEQ);
    return set_kv(e, err);
}

/* A tensor whose type our kernels do not know (MLX's own forms) makes it a matter for MLX alone. */
static bool knows_all(const engine *e)
{
    for (size_t i = 0; i < e->plan->n_node * PLAN_MAX_WEIGHT; i++) {
        const plan_tensor *t = e->plan->nodes[i / PLAN_MAX_WEIGHT].w[i % PLAN_MAX_WEIGHT];
        if (t && !kern_takes(t->type))
            return false;
    }
    return true;
}

static void emlx_close(engine *e)
{
    if (!e)
        return;
    if (e->m && e->plan) {
        emlx_close_seqs(e);
        for (int i = 0; i < 2; i++)
            for (int k = 0; k < 3; k++)
                e->b->drop(e->m, e->outputs[i].value[k]);
    }
    if (e->m)
        e->b->close(e->m);
    workers_close(e->pool);
    emlx_drop_weights(e);
    emlx_close_kernels(e);
    free(e->mask_tmp);
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 3; k++)
            free(e->outputs[i].host[k]);
        free(e->outputs[i].cand);
        free(e->outputs[i].ids);
    }
    arena_done(&e->plan_arena);
    free(e);
}

static cama_err prepare_plan(engine *e, err_info *err)
{
    const engine_opts *o = &e->opts;
    const model_record_opts record = {.n_ctx = o->n_ctx_rope ? o->n_ctx_rope : o->n_ctx};
    kern_init(&e->kern, o->cpu & kern_cpu_detect());
    cama_err fail = model_record(e->model, &record, &e->plan_arena, &e->plan, err);
    if (fail)
        return fail;
    e->kernels = e->kernels && knows_all(e);
    e->node = arena_take_array(&e->plan_arena, e->plan->n_node, sizeof *e->node);
    if (!e->node)
        return err_set(err, CAMA_ERR_NOMEM, "mlx: no memory for a plan of %zu nodes",
                       e->plan->n_node);
    fail = emlx_prepare_walk(e, err);
    if (!fail)
        fail = emlx_name_weights(e, err);
    e->n_seq_max = e->has_state ? STATES_PER_SEQ * o->n_seq : 2 * o->n_seq + CACHED_SEQ;
    if (e->n_seq_max > ENGINE_MAX_SEQ)
        e->n_seq_max = ENGINE_MAX_SEQ;
    return fail;
}

/* Everything that figures need, but no memory for values. */
static cama_err prepare(const model_desc *m, const engine_opts *o, engine **out, err_info *err)
{
    engine *e = calloc(1, sizeof *e);
    if (!e)
        return err_set(err, CAMA_ERR_NOMEM, "mlx: no memory for an engine");
    e->model = m;
    e->opts = *o;
    arena_init(&e->plan_arena, PLAN_MAX_BYTES);
    cama_err fail = open_device(e, err);
    if (!fail)
        fail = set_opts(e, o, err);
    if (!fail)
        fail = prepare_plan(e, err);
    if (fail) {
        emlx_close(e);
        return fail;
    }
    *out = e;
    return CAMA_OK;
}

/* Forms are final after this. Figures before it are those of a device on which all works. */
static cama_err try_kernels(engine *e, err_info *err)
{
    cama_err fail = emlx_try_device(e, err);
    if (!fail && e->kernels && e->note[0]) { /* a kernel failed: all of it without ours */
        e->kernels = false;
        e->n_weight = 0;
        fail = emlx_name_weights(e, err);
    }
    if (!fail)
        emlx_choose_forms(e);
    return fail;
}

/* ---- figures ---- */

static uint64_t scratch_bytes(engine *e)
{
    size_t widest = e->plan->n_embd;
    for (size_t i = 0; i < e->plan->n_node; i++)
        if (e->plan->nodes[i].n_col > widest && e->node[i].domain == ENGINE_IN)
            widest = e->plan->nodes[i].n_col;
    const uint64_t rows = (uint64_t)e->opts.n_batch * widest * sizeof(float) * TEMPORARIES;
    const uint64_t logits = 4 * (uint64_t)e->plan->n_vocab * sizeof(float);
    return rows + logits + (e->kernels ? emlx_kernel_bytes(e) : 0);
}

static uint64_t available_bytes(const engine *e)
{
    if (e->opts.max_bytes)
        return e->opts.max_bytes;
    uint64_t n = plat_memory_available();
    if (e->info.is_gpu) {
        mb_memory used;
        e->b->memory(e->m, &used);
        n = e->info.limit_bytes > used.active ? e->info.limit_bytes - used.active : 1;
    }
    return n ? n : UINT64_MAX;
}

static cama_err plan_bytes(engine *e, engine_bytes *out, err_info *err)
{
    const engine_opts *o = &e->opts;
    const uint64_t each = emlx_token_bytes(e);
    const uint64_t states = emlx_state_bytes(e) * (EMLX_MAX_CHECK + 1) * o->n_seq;
    engine_bytes b = {.weights = emlx_weight_bytes(e),
                      .scratch = scratch_bytes(e),
                      .available = available_bytes(e),
                      .n_ctx = o->n_ctx,
                      .n_kv = o->n_kv};
    b.kv = emlx_kv_room(e) * each + states;
    b.total = b.weights + b.kv + b.scratch;
    const uint64_t rest = b.weights + b.scratch + states;
    if (b.available > rest) {
        const uint64_t fits = each ? (b.available - rest) / each : o->n_kv;
        b.n_kv_fits = fits < o->n_kv ? fits : o->n_kv;
        const uint64_t one = b.n_kv_fits / o->n_seq;
        b.n_ctx_fits = one < o->n_ctx ? (uint32_t)one : o->n_ctx;
    }
    *out = b;
    e->bytes = b;
    if (b.total <= b.available)
        return CAMA_OK;
    return err_set(
        err, CAMA_ERR_NO_FIT,
        "the model needs %.1f MB on %s (weights %.1f, KV of %llu tokens in %u sequences "
        "%.1f, scratch %.1f), %.1f MB are available; the largest context that fits is %u",
        (double)b.total / 1e6, e->info.device, (double)b.weights / 1e6, (unsigned long long)b.n_kv,
        o->n_seq, (double)b.kv / 1e6, (double)b.scratch / 1e6, (double)b.available / 1e6,
        b.n_ctx_fits);
}

static cama_err emlx_plan(const model_desc *m, const engine_opts *o, engine_bytes *out,
                          err_info *err)
{
    engine *e = NULL;
    cama_err fail = prepare(m, o, &e, err);
    if (!fail)
        fail = plan_bytes(e, out, err);
    emlx_close(e);
    return fail;
}

static cama_err take_outputs(engine *e, err_info *err)
{
    const size_t n = e->opts.n_batch;
    arena *a = &e->plan_arena;
    for (int i = 0; i < 2; i++) {
        emlx_outputs *o = &e->outputs[i];
        o->out = arena_take_array(a, n, sizeof *o->out);
        o->row = arena_take_array(a, n, sizeof *o->row);
        o->out_row = arena_take_array(a, n, sizeof *o->out_row);
        o->seq_row = arena_take_array(a, n, sizeof *o->seq_row);
        if (!o->out || !o->row || !o->out_row || !o->seq_row)
            return err_set(err, CAMA_ERR_NOMEM, "mlx: no memory for the outputs of %zu rows", n);
    }
    if (e->kernels)
        return CAMA_OK;
    e->mask_tmp = malloc(n * ((size_t)e->opts.n_ctx + 1)); /* touched as contexts grow */
    return e->mask_tmp ? CAMA_OK : err_set(err, CAMA_ERR_NOMEM, "mlx: no memory for a mask");
}

/* MLX is told what was planned, beside what others of this process hold: past that it waits for the
 * device instead of taking more, keeps no more freed memory than a step needs, and holds the
 * weights and the KV resident where a system would page them out (Metal). */
static void limit_memory(engine *e)
{
    mb_memory used;
    e->b->memory(e->m, &used);
    const uint64_t here = e->bytes.weights + e->bytes.kv;
    const uint64_t wired = here < e->info.limit_bytes ? here : e->info.limit_bytes;
    const bool can_wire = !strcmp(e->info.backend, "metal");
    e->b->memory_limits(e->m, used.active + e->bytes.total, e->bytes.scratch, can_wire ? wired : 0);
    if (e->b->error(e->m) && !e->note[0]) /* limits are a help: without them the plan still holds */
        (void)snprintf(e->note, sizeof e->note, "no limits of memory: %.200s", e->b->error(e->m));
    e->b->clear(e->m);
}

static cama_err emlx_open(const model_desc *m, const engine_opts *o, engine **out, err_info *err)
{
    engine *e = NULL;
    engine_bytes bytes;
    cama_err fail = prepare(m, o, &e, err);
    if (!fail)
        fail = try_kernels(e, err);
    if (!fail)
        fail = plan_bytes(e, &bytes, err);
    if (!fail)
        fail = workers_open(e->n_made, false, &e->pool, err);
    if (!fail)
        fail = emlx_open_seqs(e, err);
    if (!fail)
        fail = take_outputs(e, err);
    if (!fail)
        fail = emlx_take_weights(e, err);
    if (!fail && e->kernels)
        fail = emlx_lower_kernels(e, err);
    if (!fail && e->kernels)
        fail = emlx_open_kernels(e, err);
    if (fail) {
        emlx_close(e);
        return fail;
    }
    plat_cpu_name(e->cpu_name, sizeof e->cpu_name);
    limit_memory(e);
    *out = e;
    return CAMA_OK;
}

/* ---- a step ---- */

static int32_t len_of(const void *user, int32_t seq)
{
    const engine *e = user;
    return seq >= 0 && (uint32_t)seq < e->n_seq_max && e->seq[seq].alive ? e->seq[seq].n_token : -1;
}

static cama_err take_rows(engine *e, const engine_batch *b, err_info *err)
{
    engine_limits l = {.n_ctx = e->opts.n_ctx,
                       .n_batch = e->opts.n_batch,
                       .n_vocab = e->plan->n_vocab,
                       .n_pos = e->n_pos,
                       .has_axes = e->has_axes,
                       .len = len_of,
                       .user = e,
                       .prev = e->prev};
    for (size_t i = 0; i < 3; i++)
        l.gives[i] = e->out_node[i] >= 0;
    const cama_err fail = engine_take_rows(&l, b, &e->step, err);
    if (fail)
        return fail;
    for (size_t i = 0; i < e->step.n_run && emlx_pools_whole(e); i++)
        if (e->step.run[i].pos0)
            return err_set(err, CAMA_ERR_ARG,
                           "sequence %d goes on at %d: a text that is pooled comes in one batch",
                           e->step.run[i].seq, e->step.run[i].pos0);
    return CAMA_OK;
}

/* What who collects must know of the batch, which is gone by then. */
static cama_err remember_batch(engine *e, emlx_outputs *o, const engine_batch *b, err_info *err)
{
    if (b->n_id > o->cap_id) {
        int32_t *ids = realloc(o->ids, b->n_id * sizeof *ids);
        if (!ids)
            return err_set(err, CAMA_ERR_NOMEM, "mlx: no memory for %zu ids", b->n_id);
        o->ids = ids;
        o->cap_id = b->n_id;
    }
    if (b->n_id)
        memcpy(o->ids, b->ids, b->n_id * sizeof *o->ids);
    o->n_id = b->n_id;
    o->n_candidate = b->n_candidate;
    memcpy(o->row, e->step.row, b->n_row * sizeof *o->row);
    memcpy(o->out_row, e->step.out_row, e->step.n_row[ENGINE_OUT] * sizeof *o->out_row);
    memcpy(o->seq_row, e->step.seq_row, e->step.n_row[ENGINE_SEQ] * sizeof *o->seq_row);
    memcpy(o->n_row, e->step.n_row, sizeof o->n_row);
    return CAMA_OK;
}

/* The greedy choices stay on the device for rows that continue from them. */
static void keep_choices(engine *e, mb_ref logits)
{
    const mb_ref best = e->b->cast(e->m, e->b->reduce(e->m, MB_ARGMAX, logits, 1, false), MB_I32);
    for (size_t i = 0; i < e->step.n_row[ENGINE_OUT]; i++) {
        const engine_row *r = &e->step.row[e->step.out_row[i]];
        if (!(r->flags & (ENGINE_LOGITS | ENGINE_CANDIDATES)))
            continue;
        emlx_seq *s = &e->seq[r->seq];
        e->b->drop(e->m, s->prev);
        s->prev = e->b->keep(e->m, emlx_row_range(e, best, i, i + 1));
        emlx_add_effect(e, s->prev);
        e->prev[r->seq] = 0; /* some choice: which one, the device knows */
    }
}

static void keep_outputs(engine *e, emlx_outputs *o)
{
    static const uint32_t needs[] = {[PLAN_OUT_LOGITS] = ENGINE_NEED_LOGITS,
                                     [PLAN_OUT_HIDDEN] = ENGINE_NEED_HIDDEN,
                                     [PLAN_OUT_POOLED] = ENGINE_NEED_POOLED};
    for (int k = 0; k < 3; k++) {
        e->b->drop(e->m, o->value[k]);
        o->value[k] = 0;
        if (e->out_node[k] < 0 || !(e->step.wanted & needs[k]))
            continue;
        o->value[k] = e->b->keep(e->m, e->node[e->out_node[k]].value);
        emlx_add_effect(e, o->value[k]);
    }
    for (size_t i = 0; i < e->step.n_run; i++)
        e->prev[e->step.run[i].seq] = -1;
    if (o->value[PLAN_OUT_LOGITS] && !e->kernels)
        keep_choices(e, o->value[PLAN_OUT_LOGITS]);
}

static cama_err broken(engine *e, err_info *err)
{
    if (!e->broken[0])
        (void)snprintf(e->broken, sizeof e->broken, "%s", e->b->error(e->m));
    e->b->reset(e->m);
    return err_set(err, CAMA_ERR_ENGINE, "mlx: %s", e->broken);
}

static cama_err read_value(engine *e, emlx_outputs *o, int k, err_info *err)
{
    mb_shape s;
    mb_dtype t;
    if (!o->value[k])
        return CAMA_OK;
    if (e->b->meta(e->m, o->value[k], &s, &t))
        return broken(e, err);
    size_t n = 1;
    for (int i = 0; i < s.n_dim; i++)
        n *= (size_t)s.dim[i];
    if (n > o->cap[k]) {
        float *more = realloc(o->host[k], n * sizeof *more);
        if (!more)
            return err_set(err, CAMA_ERR_NOMEM, "mlx: no memory for %zu outputs", n);
        o->host[k] = more;
        o->cap[k] = n;
    }
    if (e->b->read(e->m, o->value[k], o->host[k], n * sizeof(float)))
        return broken(e, err);
    e->b->drop(e->m, o->value[k]);
    o->value[k] = 0;
    return CAMA_OK;
}

static void put_candidates(engine *e, emlx_outputs *o, const float *logits, size_t i,
                           engine_out *out)
{
    const size_t n_vocab = e->plan->n_vocab;
    engine_cand *cand = o->cand + i * (o->n_candidate + o->n_id);
    out->n_cand = engine_choose_best(logits, n_vocab, o->n_candidate, cand);
    for (size_t j = 0; j < o->n_id; j++)
        cand[out->n_cand + j] = (engine_cand){.id = o->ids[j], .logit = logits[o->ids[j]]};
    out->cand = cand;
    out->logsumexp = e->kern.logsumexp(logits, n_vocab);
}

static void put_out_row(engine *e, emlx_outputs *o, size_t i, engine_out *out)
{
    const engine_row *r = &o->row[out->row];
    const float *logits = o->host[PLAN_OUT_LOGITS] + i * e->plan->n_vocab;
    if (r->flags & ENGINE_LOGITS)
        out->logits = logits;
    if (r->flags & ENGINE_HIDDEN)
        out->hidden = o->host[PLAN_OUT_HIDDEN] + i * e->plan->n_embd;
    if (r->flags & ENGINE_CANDIDATES)
        put_candidates(e, o, logits, i, out);
    if (e->kernels && (r->flags & (ENGINE_LOGITS | ENGINE_CANDIDATES)))
        e->prev[r->seq] = (int32_t)e->kern.argmax(logits, e->plan->n_vocab);
}

static cama_err read_outputs(engine *e, emlx_outputs *o, err_info *err)
{
    const size_t n_cand = o->n_row[ENGINE_OUT] * ((size_t)o->n_candidate + o->n_id);
    size_t i_out = 0;
    size_t i_seq = 0;
    for (int k = 0; k < 3; k++) {
        const cama_err fail = read_value(e, o, k, err);
        if (fail)
            return fail;
    }
    if (n_cand > o->cap_cand) {
        engine_cand *more = realloc(o->cand, n_cand * sizeof *more);
        if (!more)
            return err_set(err, CAMA_ERR_NOMEM, "mlx: no memory for %zu candidates", n_cand);
        o->cand = more;
        o->cap_cand = n_cand;
    }
    o->n = 0;
    for (size_t row = 0; row < o->n_row[ENGINE_IN]; row++) {
        if (!o->row[row].flags)
            continue;
        engine_out *out = &o->out[o->n++];
        *out = (engine_out){.row = row, .seq = o->row[row].seq};
        if (i_out < o->n_row[ENGINE_OUT] && o->out_row[i_out] == row)
            put_out_row(e, o, i_out++, out);
        if (i_seq < o->n_row[ENGINE_SEQ] && o->seq_row[i_seq] == row)
            out->pooled = o->host[PLAN_OUT_POOLED] + i_seq++ * e->plan->n_embd;
    }
    o->is_read = true;
    return CAMA_OK;
}

static cama_err emlx_submit(engine *e, const engine_batch *b, engine_ticket *out, err_info *err)
{
    if (e->broken[0])
        return broken(e, err);
    emlx_outputs *o = &e->outputs[(e->ticket + 1) % 2];
    cama_err fail = take_rows(e, b, err);
    if (!fail)
        fail = remember_batch(e, o, b, err);
    if (!fail)
        fail = emlx_extend(e, err);
    if (fail)
        return fail;
    e->batch = b;
    o->ticket = 0;
    emlx_walk(e);
    keep_outputs(e, o);
    /* Our nodes read the step's rows where they lie, so they must have run before the next. */
    if (e->b->error(e->m) || e->b->eval(e->m, e->effect, e->n_effect, e->kernels))
        return broken(e, err);
    e->b->reset(e->m);
    emlx_settle(e);
    e->batch = NULL;
    o->ticket = ++e->ticket;
    o->is_read = false;
    if (e->kernels)
        fail = read_outputs(e, o, err);
    *out = e->ticket;
    return fail;
}

static cama_err emlx_collect(engine *e, engine_ticket t, engine_outs *out, err_info *err)
{
    emlx_outputs *o = &e->outputs[t % 2];
    if (t == 0 || o->ticket != t)
        return err_set(err, CAMA_ERR_ARG, "mlx: no outputs of step %llu, the last is %llu",
                       (unsigned long long)t, (unsigned long long)e->ticket);
    const cama_err fail = o->is_read ? CAMA_OK : read_outputs(e, o, err);
    if (fail)
        return fail;
    atomic_fetch_add_explicit(&e->n_moved, 1, memory_order_relaxed);
    *out = (engine_outs){.out = o->out, .n = o->n};
    return CAMA_OK;
}

/* ---- between steps ---- */

static cama_err emlx_grow(engine *e, uint64_t n_kv, err_info *err)
{
    if (n_kv <= e->opts.n_kv)
        return CAMA_OK;
    if (n_kv > e->opts.n_kv_max)
        return err_set(err, CAMA_ERR_LIMIT,
                       "KV of %llu tokens: the engine was opened for at most %llu",
                       (unsigned long long)n_kv, (unsigned long long)e->opts.n_kv_max);
    const uint64_t more = (n_kv - emlx_kv_used(e)) * emlx_token_bytes(e);
    const uint64_t free_bytes = e->info.is_gpu ? available_bytes(e) : plat_memory_available();
    if (free_bytes && more > free_bytes)
        return err_set(err, CAMA_ERR_NO_FIT,
                       "mlx: KV of %llu tokens needs %.1f MB more, %.1f MB are free",
                       (unsigned long long)n_kv, (double)more / 1e6, (double)free_bytes / 1e6);
    e->opts.n_kv = n_kv;
    e->bytes.n_kv = n_kv;
    return CAMA_OK;
}

static void emlx_set_threads(engine *e, uint32_t n_thread, uint64_t spin_ns)
{
    e->n_thread = engine_set_workers(e->pool, e->n_made, n_thread, spin_ns);
}

static uint64_t emlx_progress(const engine *e)
{
    return atomic_load_explicit(&e->n_moved, memory_order_relaxed);
}

static void emlx_stat(const engine *e, engine_stat *out)
{
    const uint64_t used = emlx_kv_used(e);
    const uint64_t room = emlx_kv_room(e);
    uint32_t n_alive = 0;
    for (uint32_t i = 0; i < e->n_seq_max; i++)
        n_alive += e->seq[i].alive;
    *out = (engine_stat){.bytes = e->bytes,
                         .n_seq_alive = n_alive,
                         .n_token_free = room > used ? room - used : 0,
                         .n_kv = e->opts.n_kv,
                         .n_kv_used = used < e->opts.n_kv ? used : e->opts.n_kv,
                         .page_tokens = e->kernels ? EMLX_PAGE : EMLX_STEP_TOKENS,
                         .n_seq_room = e->has_state ? e->n_seq_max : 0,
                         .is_gpu = e->info.is_gpu,
                         .is_ahead = !e->kernels};
    (void)snprintf(out->note, sizeof out->note, "%s", e->note);
    out->activations = e->kernels && e->opts.activations == KERN_I8 ? "int8" : "f32";
    (void)snprintf(out->version, sizeof out->version, "MLX %s", e->info.version);
    if (e->kernels)
        (void)snprintf(out->device, sizeof out->device, "cpu: %.48s, %d thread%s, %s", e->cpu_name,
                       e->n_made, e->n_made == 1 ? "" : "s", e->kern.tier);
    else
        (void)snprintf(out->device, sizeof out->device, "%s: %.70s", e->info.backend,
                       e->info.is_gpu ? e->info.device : "stock operations");
}

const engine_vt emlx_engine = {
    .name = "mlx",
    .probe = emlx_probe,
    .plan = emlx_plan,
    .open = emlx_open,
    .close = emlx_close,
    .seq_fork = emlx_seq_fork,
    .seq_rewind = emlx_seq_rewind,
    .seq_free = emlx_seq_free,
    .submit = emlx_submit,
    .collect = emlx_collect,
    .stat = emlx_stat,
    .grow = emlx_grow,
    .set_threads = emlx_set_threads,
    .progress = emlx_progress,
    .forms = emlx_list_forms,
    .about = emlx_about,
    .selftest = emlx_selftest_all,
};
