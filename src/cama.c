/* cama.c - the public API: models opened, described and closed. */
#include "cama_int.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define DEFAULT_BATCH 512
#define MAX_STRINGS ((size_t)1 << 20) /* bytes of what cama_info names */

const char *cama_version(void)
{
    return CAMA_VERSION;
}

void cama_free(void *p)
{
    free(p);
}

void cama_warn(const cama_model *m, const char *fmt, ...)
{
    if (!m->o.on_warning)
        return;
    cama_error told; /* as for an error: cut at a whole character */
    va_list args;
    va_start(args, fmt);
    (void)err_vset(&told, CAMA_OK, fmt, args);
    va_end(args);
    m->o.on_warning(m->o.user, told.text);
}

cama_err cama_hand_out(buf *b, char **out_text, size_t *out_n, const char *what, cama_error *err)
{
    const bool made = buf_reserve(b, 0) != NULL; /* an empty text is a text too */
    const cama_err e = buf_error(b, what, err);
    if (e || !made) {
        buf_done(b);
        return e ? e : err_set(err, CAMA_ERR_NOMEM, "%s: no memory", what);
    }
    b->data[b->n] = '\0';
    *out_text = b->data;
    if (out_n)
        *out_n = b->n;
    return CAMA_OK;
}

/* ---- options ---- */

void cama_copy_sized(void *to, size_t to_bytes, const void *from, size_t from_bytes)
{
    memcpy(to, from, to_bytes < from_bytes ? to_bytes : from_bytes);
}

void cama_model_opts_init(cama_model_opts *o, size_t bytes)
{
    cama_model_opts all = {.bytes = bytes, .n_seq = 1, .cpu_tiers = UINT32_MAX};
    cama_copy_sized(o, bytes, &all, sizeof all);
}

static cama_err take_opts(cama_model *m, const cama_model_opts *opts, cama_error *err)
{
    cama_model_opts_init(&m->o, sizeof m->o);
    if (!opts)
        return CAMA_OK;
    if (opts->bytes < sizeof opts->bytes)
        return err_set(err, CAMA_ERR_ARG, "cama_model_opts has %zu bytes: use its init function",
                       opts->bytes);
    cama_copy_sized(&m->o, sizeof m->o, opts, opts->bytes);
    if (m->o.engine && strlen(m->o.engine) >= sizeof m->engine_name)
        return err_set(err, CAMA_ERR_ARG, "no engine has a name of %zu bytes", strlen(m->o.engine));
    if (m->o.engine) {
        memcpy(m->engine_name, m->o.engine, strlen(m->o.engine) + 1);
        m->o.engine = strcmp(m->engine_name, "auto") != 0 ? m->engine_name : NULL;
    }
    if ((unsigned)m->o.mode > CAMA_OPEN_FILE || (unsigned)m->o.kv_type > CAMA_KV_Q4_0 ||
        (unsigned)m->o.activations > CAMA_ACTIVATIONS_F32 ||
        (unsigned)m->o.device > CAMA_DEVICE_GPU)
        return err_set(err, CAMA_ERR_ARG,
                       "mode %d, kv_type %d, activations %d or device %d is unknown",
                       (int)m->o.mode, (int)m->o.kv_type, (int)m->o.activations, (int)m->o.device);
    return CAMA_OK;
}

static const quant_type kv_types[] = {
    [CAMA_KV_F16] = QUANT_F16,   [CAMA_KV_F32] = QUANT_F32,   [CAMA_KV_BF16] = QUANT_BF16,
    [CAMA_KV_Q8_0] = QUANT_Q8_0, [CAMA_KV_Q4_0] = QUANT_Q4_0,
};

engine_device cama_engine_device(cama_device d)
{
    static const engine_device devices[] = {
        [CAMA_DEVICE_ANY] = ENGINE_ANY_DEVICE,
        [CAMA_DEVICE_CPU] = ENGINE_CPU,
        [CAMA_DEVICE_GPU] = ENGINE_GPU,
    };
    return (size_t)d < sizeof devices / sizeof *devices ? devices[d] : ENGINE_ANY_DEVICE;
}

static void fill_engine_opts(cama_model *m)
{
    m->eo = engine_opts_init();
    m->eo.n_ctx = m->o.n_ctx;
    m->eo.n_seq = m->o.n_seq ? m->o.n_seq : 1;
    m->eo.n_batch = m->o.n_batch ? m->o.n_batch : DEFAULT_BATCH;
    m->eo.n_thread = m->o.n_thread;
    m->eo.k_type = m->eo.v_type = kv_types[m->o.kv_type];
    m->eo.activations = m->o.activations == CAMA_ACTIVATIONS_F32 ? KERN_F32 : KERN_I8;
    m->eo.cpu = m->o.cpu_tiers;
    m->eo.max_bytes = m->o.max_bytes;
    m->eo.device = cama_engine_device(m->o.device);
    m->eo.stock = load_is_stock();
}

/* ---- opening ---- */

/* What was only a preference falls back to the mapping, and says so. */
static cama_err place_weights(cama_model *m, cama_error *err)
{
    static const load_place places[] = {
        [CAMA_WEIGHTS_AUTO] = LOAD_AUTO,
        [CAMA_WEIGHTS_MAPPED] = LOAD_MAPPED,
        [CAMA_WEIGHTS_MEMORY] = LOAD_MEMORY,
    };
    const load_place place =
        (size_t)m->o.weights < sizeof places / sizeof places[0] ? places[m->o.weights] : LOAD_AUTO;
    const cama_err e = load_weights(m->file, &m->planned, place, NULL, &m->in_memory, err);
    if (!e && err->code)
        cama_warn(m, "the weights stay mapped: %s", err->text);
    return e;
}

/* Nothing is known of an engine that does not tell. */
static bool holds_exactly(const cama_model *m)
{
    engine_form forms[ENGINE_MAX_FORM];
    const size_t n = m->vt->forms ? m->vt->forms(m->engine, forms, ENGINE_MAX_FORM) : 0;
    bool exact = n > 0 && n <= ENGINE_MAX_FORM;
    for (size_t i = 0; i < n && exact; i++)
        exact = forms[i].exact;
    return exact;
}

static cama_err open_engine(cama_model *m, cama_error *err)
{
    load_choice choice;
    const load_wish wish = {.name = m->o.engine, .device = m->eo.device};
    cama_err e = load_choose(m->desc, &wish, &choice, err);
    if (e)
        return e;
    m->vt = choice.vt;
    memcpy(m->engine_why, choice.why, sizeof m->engine_why);
    e = load_plan(m->vt, m->desc, &m->eo, m->o.n_batch != 0, &m->planned, err);
    if (!e)
        e = place_weights(m, err);
    if (!e) {
        m->eo.n_ctx = m->planned.n_ctx;
        e = m->vt->open(m->desc, &m->eo, &m->engine, err);
    }
    if (e)
        return e;
    m->vt->stat(m->engine, &m->stat);
    if (m->o.device == CAMA_DEVICE_GPU && !m->stat.is_gpu)
        return err_set(err, CAMA_ERR_UNSUPPORTED,
                       "the device is to be a GPU, and engine '%s' computes on %s", m->vt->name,
                       m->stat.device);
    m->exact = holds_exactly(m);
    if (*m->stat.note)
        cama_warn(m, "%s: %s", m->vt->name, m->stat.note);
    return CAMA_OK;
}

/* "" when the file does not say. */
static cama_err copy_key(cama_model *m, const char *key, const char **out, cama_error *err)
{
    gguf_str s = {.text = "", .n = 0};
    (void)gguf_get_str(m->file, key, &s, NULL); /* absent or no text: it stays empty */
    *out = arena_copy(&m->strings, s.text, s.n);
    return *out ? CAMA_OK : err_set(err, CAMA_ERR_NOMEM, "cama: no memory for '%s'", key);
}

/* In CAMA_OPEN_FILE a part that fails is told and left out. */
static cama_err forgive(const cama_model *m, cama_err e, const char *what, const cama_error *err)
{
    if (!e || m->o.mode != CAMA_OPEN_FILE || e == CAMA_ERR_NOMEM)
        return e;
    cama_warn(m, "%s: %s", what, err->text);
    return CAMA_OK;
}

static cama_err open_parts(cama_model *m, const char *path, cama_error *err)
{
    cama_err e = gguf_open(path, &m->file, err);
    if (!e)
        e = copy_key(m, "general.architecture", &m->arch, err);
    if (!e)
        e = copy_key(m, "general.name", &m->name, err);
    if (e)
        return e;
    e = forgive(m, load_vocab(m->file, &m->vocab, err), "the tokenizer cannot be used", err);
    if (e || m->o.mode == CAMA_OPEN_VOCAB)
        return e;
    e = forgive(m, model_open(m->file, &m->desc, err), "the model cannot be run", err);
    if (e || m->o.mode != CAMA_OPEN_ALL)
        return e;
    return open_engine(m, err);
}

cama_err cama_model_open(const char *path, const cama_model_opts *opts, cama_model **out,
                         cama_error *err)
{
    const uint64_t start_ns = clock_now_ns();
    cama_error own; /* the parts report here, so that a warning has its text */
    cama_model *m = calloc(1, sizeof *m);
    if (!m)
        return err_set(err, CAMA_ERR_NOMEM, "cama: no memory to open '%s'", path);
    arena_init(&m->strings, MAX_STRINGS);
    cama_err e = take_opts(m, opts, &own);
    if (!e) {
        fill_engine_opts(m);
        e = open_parts(m, path, &own);
    }
    if (e) {
        cama_model_close(m);
        if (err)
            *err = own;
        return e;
    }
    m->load_ns = clock_now_ns() - start_ns;
    *out = m;
    return CAMA_OK;
}

void cama_model_close(cama_model *m)
{
    if (!m)
        return;
    sched_close(m->sched);
    if (m->engine)
        m->vt->close(m->engine);
    tmpl_close(m->tmpl);
    tok_close(m->vocab);
    model_close(m->desc);
    gguf_close(m->file);
    arena_done(&m->strings);
    free(m);
}

/* ---- describing ---- */

static void describe_model(const cama_model *m, cama_info *i)
{
    const model_info *mi = model_get_info(m->desc);
    i->arch = mi->arch;
    i->name = mi->name;
    i->size_label = mi->size_label;
    i->weight_type = mi->file_type;
    i->pooling = load_pool_name(mi->pooling);
    i->n_param = mi->n_param;
    i->weight_bytes = mi->weight_bytes;
    i->n_layer = mi->n_layer;
    i->n_embd = mi->n_embd;
    i->n_head = mi->n_head;
    i->n_head_kv = mi->n_head_kv;
    i->n_vocab = mi->n_vocab;
    i->n_expert = mi->n_expert;
    i->n_expert_used = mi->n_expert_used;
    i->n_ctx_train = mi->n_ctx_train;
    i->can_generate = mi->causal;
}

static void describe_engine(const cama_model *m, cama_info *i)
{
    i->engine = m->vt->name;
    i->device = m->stat.device;
    i->activations = m->stat.activations ? m->stat.activations : "";
    i->kv_type = load_kv_name(kv_types[m->o.kv_type]);
    i->weight_bytes = m->planned.weights;
    i->kv_bytes = m->planned.kv;
    i->weights = m->in_memory ? "memory" : "mapped";
    i->scratch_bytes = m->planned.scratch;
    i->total_bytes = m->planned.total;
    i->available_bytes = m->planned.available;
    i->n_ctx = m->planned.n_ctx;
    i->n_seq = m->eo.n_seq;
    i->n_batch = m->eo.n_batch;
    i->is_gpu = m->stat.is_gpu;
    i->exact = m->exact;
    i->engine_version = m->stat.version;
    i->engine_why = m->engine_why;
    i->engine_note = m->stat.note;
}

void cama_model_info(const cama_model *m, cama_info *out, size_t bytes)
{
    cama_info all = {.bytes = bytes,
                     .arch = m->arch,
                     .name = m->name,
                     .size_label = "",
                     .weight_type = "",
                     .engine = "",
                     .device = "",
                     .activations = "",
                     .kv_type = "",
                     .weights = "",
                     .pooling = "none",
                     .engine_version = "",
                     .engine_why = "",
                     .engine_note = "",
                     .file_bytes = gguf_file_bytes(m->file),
                     .load_ns = m->load_ns};
    if (m->vocab)
        all.n_vocab = tok_n_token(m->vocab);
    if (m->desc)
        describe_model(m, &all);
    if (m->engine)
        describe_engine(m, &all);
    gguf_str s;
    all.has_template = gguf_get_str(m->file, CAMA_TEMPLATE_KEY, &s, NULL) == CAMA_OK;
    cama_copy_sized(out, bytes, &all, sizeof all);
}
