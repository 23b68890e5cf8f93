/* From LOAD to READY: the one model of this process. */
#include "runner/runner_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define MAX_LOAD_STRINGS ((size_t)1 << 20)
#define DEFAULT_CTX 4096
#define DEFAULT_BATCH 512
#define MAX_RUNNING 64 /* answers together, as far as the budget of tokens goes */
#define RUNNING_TOKENS                                                                             \
    256              /* of the budget for each: a sequence costs up to a page beyond its own */
#define N_CACHED 32  /* finished sequences kept for prompts that begin alike */
#define N_QUEUE 4096 /* serve bounds what waits; the inputs of embed jobs are here too */
#define PROGRESS_BYTES ((uint64_t)256 << 20) /* read between two PROGRESS frames */

/* ---- LOAD ---- */

/* "" and "auto" are no name. */
static engine_device device_of(const char *name, err_info *err)
{
    if (!strcmp(name, "cpu"))
        return ENGINE_CPU;
    if (!strcmp(name, "gpu"))
        return ENGINE_GPU;
    if (*name && strcmp(name, "auto") != 0)
        (void)err_set(err, CAMA_ERR_ARG, "device '%s' is neither cpu nor gpu", name);
    return ENGINE_ANY_DEVICE;
}

static cama_err read_choices(runner *r, const wire_frame *f, err_info *err)
{
    const char *kv = wire_str(f, "kv_type", "");
    const char *activations = wire_str(f, "activations", "");
    const char *weights = wire_str(f, "weights", "");
    if (!load_kv_type(*kv ? kv : "f16", &r->eo.k_type))
        return err_set(err, CAMA_ERR_ARG, "kv_type '%s' is unknown", kv);
    r->eo.v_type = r->eo.k_type;
    if (!strcmp(activations, "f32"))
        r->eo.activations = KERN_F32;
    else if (*activations && strcmp(activations, "int8") != 0)
        return err_set(err, CAMA_ERR_ARG, "activations '%s' are unknown", activations);
    if (!strcmp(weights, "mapped"))
        r->place = LOAD_MAPPED;
    else if (!strcmp(weights, "memory"))
        r->place = LOAD_MEMORY;
    else if (*weights && strcmp(weights, "auto") != 0)
        return err_set(err, CAMA_ERR_ARG, "weights '%s' is unknown", weights);
    err_info bad = {.code = CAMA_OK};
    r->eo.device = device_of(wire_str(f, "device", ""), &bad);
    if (bad.code)
        return err_set(err, bad.code, "%s", bad.text);
    r->eo.stock = load_is_stock();
    return CAMA_OK;
}

static uint32_t count_in(const wire_frame *f, const char *key, uint32_t most)
{
    const int64_t n = wire_int(f, key, 0);
    return n <= 0 ? 0 : n > most ? most : (uint32_t)n;
}

static cama_err read_load(runner *r, const wire_frame *f, err_info *err)
{
    const char *name = wire_str(f, "name", "the model");
    r->name = arena_copy(&r->load_arena, name, strlen(name));
    if (!r->name)
        return err_set(err, CAMA_ERR_NOMEM, "runner: no memory for a name");
    r->eo = engine_opts_init();
    r->n_ctx = count_in(f, "n_ctx", INT32_MAX);
    r->n_parallel = count_in(f, "n_parallel", SCHED_MAX_RUNNING);
    r->eo.n_batch = count_in(f, "n_batch", UINT16_MAX);
    r->eo.n_thread = count_in(f, "threads", 256);
    r->eo.max_bytes = (uint64_t)wire_int(f, "max_bytes", 0);
    if (!r->n_parallel)
        r->n_parallel = 1;
    const int64_t n_file = wire_int(f, "files", 0);
    if (n_file < 1 || (uint64_t)n_file + wire_bool(f, "projector", false) != r->n_fd)
        return err_set(err, CAMA_ERR_ARG, "LOAD announces %lld files, %zu descriptors came",
                       (long long)n_file, r->n_fd);
    return read_choices(r, f, err);
}

/* ---- the plan ---- */

static const char *text_in(const json_value *v, const char *key)
{
    const json_value *text = json_get(v, key);
    return text && text->kind == JSON_STRING ? text->text : "";
}

static cama_err choose_engine(runner *r, const wire_frame *load, err_info *err)
{
    load_avoid avoid[LOAD_MAX_AVOID];
    const json_value *said = json_get(load->head, "avoid");
    const size_t n_said = said && said->kind == JSON_ARRAY ? said->n : 0;
    load_wish w = {.name = wire_str(load, "engine", ""),
                   .device = r->eo.device,
                   .why = wire_str(load, "why", ""),
                   .avoid = avoid,
                   .n_avoid = n_said < LOAD_MAX_AVOID ? n_said : LOAD_MAX_AVOID,
                   .looking = runner_looks_at,
                   .user = r};
    for (size_t i = 0; i < w.n_avoid; i++)
        avoid[i] = (load_avoid){.engine = text_in(said->items[i], "engine"),
                                .build = text_in(said->items[i], "build"),
                                .why = text_in(said->items[i], "why")};
    const cama_err e = load_choose(r->desc, &w, &r->choice, err);
    r->vt = r->choice.vt;
    if (!e)
        runner_looks_at(r, r->vt->name); /* whose plan comes next */
    return e;
}

/* Address space for the longest sequence, memory for what LOAD asks: an engine that can grow takes
 * jobs with a larger num_ctx later. */
static void choose_sizes(runner *r)
{
    const model_info *info = model_get_info(r->desc);
    const uint32_t trained = info->n_ctx_train ? info->n_ctx_train : DEFAULT_CTX;
    if (!r->n_ctx)
        r->n_ctx = DEFAULT_CTX;
    if (r->n_ctx > trained)
        r->n_ctx = trained;
    r->is_whole = !info->causal || info->pooling != PLAN_POOL_NONE;
    r->eo.n_ctx = r->n_ctx;
    r->eo.n_seq = r->n_parallel;
    if (!r->eo.n_batch)
        r->eo.n_batch = DEFAULT_BATCH;
    if (!r->vt->grow)
        return;
    const uint32_t rounded = runner_round_ctx(r->n_ctx, trained);
    const uint64_t n_seq = (uint64_t)r->n_parallel * rounded / RUNNING_TOKENS;
    r->eo.n_seq = n_seq < MAX_RUNNING ? (uint32_t)n_seq : MAX_RUNNING;
    if (r->eo.n_seq < r->n_parallel)
        r->eo.n_seq = r->n_parallel;
    r->eo.n_ctx = r->is_whole ? rounded : trained;
    r->eo.n_ctx_rope = r->n_ctx; /* as if it were opened for just that */
    r->eo.n_kv = (uint64_t)r->n_parallel * rounded;
    r->eo.n_kv_max = (uint64_t)r->n_parallel * r->eo.n_ctx;
}

uint32_t runner_ctx_fits(const runner *r)
{
    const engine_bytes *b = &r->planned;
    if (!r->vt->grow)
        return b->n_ctx_fits;
    const uint64_t n = b->n_kv_fits / r->n_parallel;
    return n < r->eo.n_ctx ? (uint32_t)n : r->eo.n_ctx;
}

static cama_err no_fit(const runner *r, err_info *err)
{
    const engine_bytes *b = &r->planned;
    const uint32_t fits = runner_ctx_fits(r);
    char largest[80] = "not even the weights would";
    if (fits)
        (void)snprintf(largest, sizeof largest, "a context of %u tokens would", fits);
    return err_set(err, CAMA_ERR_NO_FIT,
                   "%s needs %.1f MB (weights %.1f, %u times a context of %u tokens %.1f, scratch "
                   "%.1f), %.1f MB are available: it does not fit, %s",
                   r->name, (double)b->total / 1e6, (double)b->weights / 1e6, r->n_parallel,
                   r->n_ctx, (double)b->kv / 1e6, (double)b->scratch / 1e6,
                   (double)b->available / 1e6, largest);
}

static cama_err plan_load(runner *r, const wire_frame *load, err_info *err)
{
    cama_err e = read_load(r, load, err);
    if (!e)
        e = gguf_open_fds(r->fds, (size_t)wire_int(load, "files", 0), r->name, &r->file, err);
    if (!e)
        e = model_open(r->file, &r->desc, err);
    if (!e)
        e = choose_engine(r, load, err);
    if (e)
        return e;
    choose_sizes(r);
    e = load_plan(r->vt, r->desc, &r->eo, wire_int(load, "n_batch", 0) > 0, &r->planned, err);
    if (e == CAMA_ERR_NO_FIT)
        return no_fit(r, err);
    if (!e && wire_bool(load, "projector", false))
        runner_log(r, RUNNER_WARNING, "the projector is not used: images are not supported yet");
    return e;
}

/* Beside code and text: which engine it was, and what is a matter of memory. */
static void send_refuse(runner *r, const char *asked, const err_info *err)
{
    buf head;
    buf_init(&head, WIRE_MAX_HEAD_UP);
    (void)wire_put_err(&head, err); /* failures stick */
    if (head.n)
        head.n--; /* the bracket */
    runner_put_text(&head, "engine", r->vt ? r->vt->name : asked);
    runner_put_text(&head, "build", r->choice.build);
    if (err->code == CAMA_ERR_NO_FIT && r->vt) {
        (void)buf_printf(
            &head, ",\"n_ctx\":%u,\"n_ctx_fits\":%u,\"total\":%" PRIu64 ",\"available\":%" PRIu64,
            r->n_ctx, runner_ctx_fits(r), r->planned.total, r->planned.available);
    }
    (void)buf_putc(&head, '}');
    runner_send_head(r, WIRE_REFUSE, 0, &head);
}

cama_err runner_model_plan(runner *r)
{
    err_info err;
    json_value *said = NULL;
    arena_init(&r->load_arena, MAX_LOAD_STRINGS);
    cama_err e = json_parse(r->load_head, strlen(r->load_head), &r->load_arena, &said, &err);
    const wire_frame load = {.type = WIRE_LOAD, .head = said};
    if (!e)
        e = plan_load(r, &load, &err);
    if (e) {
        send_refuse(r, r->desc ? wire_str(&load, "engine", "") : "", &err);
        return e;
    }
    runner_say_plan(r);
    return CAMA_OK;
}

/* ---- loading ---- */

typedef struct progress {
    runner *r;
    uint64_t done, all, told;
} progress;

static void more_read(void *user, size_t n)
{
    progress *p = user;
    p->done += n;
    if (p->done - p->told < PROGRESS_BYTES && p->done < p->all)
        return;
    p->told = p->done;
    char head[96];
    const int n_head =
        snprintf(head, sizeof head, "{\"done\":%" PRIu64 ",\"all\":%" PRIu64 "}", p->done, p->all);
    const wire_out f = {.type = WIRE_PROGRESS, .head = head, .n_head = (size_t)n_head};
    runner_send(p->r, &f);
}

static cama_err place_weights(runner *r, err_info *err)
{
    progress p = {.r = r, .all = model_get_info(r->desc)->weight_bytes};
    const filemap_watch watch = {.more = more_read, .user = &p};
    const cama_err e = load_weights(r->file, &r->planned, r->place, &watch, &r->in_memory, err);
    if (!e && err->code)
        runner_log(r, RUNNER_WARNING, "the weights stay mapped: %s", err->text);
    return e;
}

static cama_err open_sched(runner *r, err_info *err)
{
    const model_info *info = model_get_info(r->desc);
    engine_stat stat;
    r->vt->stat(r->engine, &stat);
    const sched_opts so = {
        .vt = r->vt,
        .engine = r->engine,
        .vocab = r->vocab,
        .n_vocab = info->n_vocab,
        .n_embd = info->n_embd,
        .n_ctx = r->eo.n_ctx,
        .n_batch = r->eo.n_batch,
        .n_running = r->eo.n_seq < r->eo.n_batch ? r->eo.n_seq : r->eo.n_batch,
        .n_queue = N_QUEUE,
        .n_cached = N_CACHED,
        .causal = info->causal,
        .pooled = info->pooling != PLAN_POOL_NONE,
        .ahead = stat.is_ahead,
    };
    sched *s = NULL;
    const cama_err e = sched_open(&so, &s, err);
    runner_lock(r); /* the reader looks */
    r->sched = s;
    runner_unlock(r);
    return e;
}

void runner_model_vocab(runner *r)
{
    tok_vocab *vocab = NULL;
    err_info err = {.code = CAMA_OK};
    (void)load_vocab(r->file, &vocab, &err); /* its code is in err */
    runner_lock(r);
    r->vocab = vocab;
    r->vocab_err = err;
    r->knows_vocab = true;
    (void)pthread_cond_broadcast(&r->wake);
    runner_unlock(r);
}

static cama_err wait_for_vocab(runner *r, err_info *err)
{
    runner_lock(r);
    while (!r->knows_vocab)
        (void)pthread_cond_wait(&r->wake, &r->lock);
    const err_info told = r->vocab_err;
    runner_unlock(r);
    return told.code ? err_set(err, told.code, "%s", told.text) : CAMA_OK;
}

/* The weights are read, or mapped, while the preparer's thread opens the vocabulary: of a small
 * model both take as long. */
static cama_err open_model(runner *r, err_info *err)
{
    if (r->start_max_bytes)
        r->eo.max_bytes = r->start_max_bytes;
    cama_err e = place_weights(r, err);
    if (!e)
        e = r->vt->open(r->desc, &r->eo, &r->engine, err);
    if (!e)
        e = wait_for_vocab(r, err);
    if (!e)
        e = open_sched(r, err);
    return e;
}

cama_err runner_model_open(runner *r)
{
    const uint64_t start_ns = clock_now_ns();
    err_info err = {.code = CAMA_OK};
    const cama_err e = open_model(r, &err);
    if (e) {
        send_refuse(r, "", &err);
        return e;
    }
    r->n_kv = r->vt->grow ? r->eo.n_kv : UINT64_MAX;
    r->load_ns = clock_now_ns() - start_ns;
    return CAMA_OK;
}

cama_err runner_make_room(runner *r, uint32_t n_ctx, err_info *err)
{
    if (n_ctx <= r->n_kv)
        return CAMA_OK;
    const uint64_t all = (uint64_t)n_ctx * r->n_parallel;
    cama_err e = sched_grow(r->sched, all, err);
    uint64_t got = all;
    if (e && all > n_ctx) {
        got = n_ctx;
        e = sched_grow(r->sched, got, err);
    }
    if (!e) {
        r->n_kv = got;
        runner_log(r, RUNNER_INFO, "room for %" PRIu64 " tokens now, for a num_ctx of %u", got,
                   n_ctx);
    }
    return e;
}

void runner_model_close(runner *r)
{
    sched_close(r->sched);
    if (r->engine)
        r->vt->close(r->engine);
    tmpl_close(r->tmpl);
    gotmpl_close(r->gotmpl);
    free(r->go_source);
    tok_close(r->vocab);
    model_close(r->desc);
    gguf_close(r->file);
    arena_done(&r->load_arena);
    free(r->load_head);
    for (size_t i = 0; i < r->n_fd; i++)
        (void)close(r->fds[i]); /* only read from */
}
