/* What a GGUF says about itself: architecture, sizes, what its own template can do. Metadata only,
 * and remembered by digest: walking a vocabulary for every request would cost milliseconds.
 */
#include "api/api_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "chat/tmpl.h"
#include "gguf/gguf.h"

#define MAX_JINJA ((size_t)4 << 20)

struct api_cache {
    pthread_mutex_t lock;
    api_file *files[API_CACHE_FILES]; /* lock; most recently used first */
    size_t n;                         /* lock */
};

api_cache *api_cache_new(void)
{
    api_cache *c = calloc(1, sizeof *c);
    if (c && pthread_mutex_init(&c->lock, NULL)) {
        free(c);
        c = NULL;
    }
    return c;
}

void api_cache_free(api_cache *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n; i++)
        api_file_unref(c->files[i]);
    (void)pthread_mutex_destroy(&c->lock);
    free(c);
}

void api_file_unref(api_file *f)
{
    /* acquire and release: all reads of others happen before it is freed */
    if (!f || atomic_fetch_sub_explicit(&f->n_ref, 1, memory_order_acq_rel) != 1)
        return;
    free(f->jinja);
    free(f);
}

/* Moves files[i] to the front. */
static void touch(api_cache *c, size_t i)
{
    api_file *f = c->files[i];
    memmove(c->files + 1, c->files, i * sizeof *c->files);
    c->files[0] = f;
}

static api_file *recall(api_cache *c, const char *digest)
{
    api_file *f = NULL;
    if (!c)
        return NULL;
    (void)pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < c->n && !f; i++) {
        if (strcmp(c->files[i]->digest, digest) == 0) {
            f = c->files[i];
            /* relaxed: the cache holds a reference of its own */
            (void)atomic_fetch_add_explicit(&f->n_ref, 1, memory_order_relaxed);
            touch(c, i);
        }
    }
    (void)pthread_mutex_unlock(&c->lock);
    return f;
}

static void remember(api_cache *c, api_file *f)
{
    api_file *out = NULL;
    if (!c)
        return;
    (void)pthread_mutex_lock(&c->lock);
    bool known = false; /* another request may have read the same file meanwhile */
    for (size_t i = 0; i < c->n; i++)
        known = known || strcmp(c->files[i]->digest, f->digest) == 0;
    if (!known) {
        if (c->n == API_CACHE_FILES)
            out = c->files[--c->n];
        (void)atomic_fetch_add_explicit(&f->n_ref, 1,
                                        memory_order_relaxed); /* the caller has one */
        c->files[c->n++] = f;
        touch(c, c->n - 1);
    }
    (void)pthread_mutex_unlock(&c->lock);
    api_file_unref(out);
}

static uint64_t arch_u64(const gguf_file *g, const char *arch, const char *key)
{
    char full[128];
    uint64_t v = 0;
    (void)snprintf(full, sizeof full, "%s.%s", arch, key);
    (void)gguf_get_u64(g, full, &v, NULL); /* absent or odd: 0, which is then left out */
    return v;
}

static bool has_key(const gguf_file *g, const char *arch, const char *key)
{
    char full[128];
    (void)snprintf(full, sizeof full, "%s.%s", arch, key);
    return gguf_find(g, full) != NULL;
}

static uint32_t jinja_caps(const char *source, size_t n)
{
    tmpl *t = NULL;
    if (tmpl_open(source, n, &t, NULL))
        return 0; /* the runner says what is wrong with it when it is used */
    uint32_t caps = 0;
    if (tmpl_uses(t, "tools"))
        caps |= API_CAN_TOOLS;
    if (tmpl_uses(t, "enable_thinking") || tmpl_uses(t, "thinking") ||
        tmpl_uses(t, "reasoning_effort"))
        caps |= API_CAN_THINK;
    tmpl_close(t);
    return caps;
}

/* What a shard says of itself; a count past any that can be opened is left to whoever opens it. */
static void read_split(const gguf_file *g, api_file *f)
{
    uint64_t no = 0;
    uint64_t n = 0;
    uint64_t n_tensor = 0;
    (void)gguf_get_u64(g, "split.count", &n, NULL); /* absent or odd: 0 */
    (void)gguf_get_u64(g, "split.no", &no, NULL);
    (void)gguf_get_u64(g, "split.tensors.count", &n_tensor, NULL);
    if (n <= 1 || n > GGUF_MAX_SHARD || no >= n)
        return;
    f->split_no = (uint32_t)no;
    f->split_count = (uint32_t)n;
    f->split_n_tensor = n_tensor;
}

/* Of a file made from an MLX folder: the id of its weights' type (quant/formats.def). */
static bool is_own_type(uint64_t file_type)
{
    return file_type >> 12 == 0xCA;
}

static cama_err read_facts(const gguf_file *g, api_file *f, err_info *err)
{
    gguf_str s = {NULL, 0};
    (void)gguf_get_str(g, "general.architecture", &s, NULL); /* absent: "" */
    (void)snprintf(f->arch, sizeof f->arch, "%.*s", (int)(s.n < 63 ? s.n : 63),
                   s.text ? s.text : "");
    for (size_t i = 0; i < gguf_n_tensor(g); i++) {
        const gguf_tensor *t = gguf_tensor_at(g, i);
        f->n_param += t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
    }
    f->n_tensor = gguf_n_tensor(g);
    read_split(g, f);
    uint64_t type = 0;
    f->file_type = gguf_get_u64(g, "general.file_type", &type, NULL) ? -1
                   : is_own_type(type)                               ? (int)type
                                                                     : (int)(type & 0xFFFF);
    f->n_ctx_train = arch_u64(g, f->arch, "context_length");
    f->n_embd = arch_u64(g, f->arch, "embedding_length");
    f->caps = has_key(g, f->arch, "pooling_type") ? API_CAN_EMBED : API_CAN_COMPLETE;
    if (has_key(g, f->arch, "vision.block_count"))
        f->caps |= API_CAN_VISION;
    if (has_key(g, f->arch, "audio.block_count"))
        f->caps |= API_CAN_AUDIO;
    if (gguf_get_str(g, "tokenizer.chat_template", &s, NULL) || s.n == 0 || s.n > MAX_JINJA)
        return CAMA_OK;
    f->jinja = malloc(s.n + 1);
    if (!f->jinja)
        return err_set(err, CAMA_ERR_NOMEM, "no memory for a template of %zu bytes", s.n);
    memcpy(f->jinja, s.text, s.n);
    f->jinja[s.n] = '\0';
    f->n_jinja = s.n;
    f->jinja_caps = jinja_caps(f->jinja, f->n_jinja);
    return CAMA_OK;
}

cama_err api_file_open(api *a, const char *digest, const char *path, api_file **out, err_info *err)
{
    api_file *f = recall(a->cache, digest);
    if (f) {
        *out = f;
        return CAMA_OK;
    }
    const uint64_t start_ns = clock_now_ns();
    gguf_file *g = NULL;
    cama_err e = gguf_open_head(path, &g, err);
    if (e)
        return e;
    f = calloc(1, sizeof *f);
    if (f) {
        atomic_init(&f->n_ref, 1);
        (void)snprintf(f->digest, sizeof f->digest, "%s", digest);
        e = read_facts(g, f, err);
    } else {
        e = err_set(err, CAMA_ERR_NOMEM, "no memory to read the head of '%s'", path);
    }
    gguf_close(g);
    if (e) {
        api_file_unref(f);
        return e;
    }
    api_debug(a, "head of %s read: %.1f ms", digest, (double)(clock_now_ns() - start_ns) / 1e6);
    remember(a->cache, f);
    *out = f;
    return CAMA_OK;
}

const char *api_file_type_name(int file_type)
{
    static const char *const names[] = {
        "F32",    "F16",    "Q4_0",  "Q4_1",    NULL,     NULL,     NULL,     "Q8_0",
        "Q5_0",   "Q5_1",   "Q2_K",  "Q3_K_S",  "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M",
        "Q5_K_S", "Q5_K_M", "Q6_K",  "IQ2_XXS", "IQ2_XS", "Q2_K_S", "IQ3_XS", "IQ3_XXS",
        "IQ1_S",  "IQ4_NL", "IQ3_S", "IQ3_M",   "IQ2_S",  "IQ2_M",  "IQ4_XS", "IQ1_M",
        "BF16",   NULL,     NULL,    NULL,      "TQ1_0",  "TQ2_0",  "MXFP4",  "NVFP4"};
    static const char *const affine[] = {
        NULL,   NULL,   "int2", "int3", "int4",
        "int5", "int6", NULL,   "int8"}; /* as Ollama names what MLX folders hold */
    if (file_type > 0 && is_own_type((uint64_t)file_type)) {
        const size_t bits = (size_t)file_type >> 8 & 15;
        const bool known = bits < sizeof affine / sizeof *affine && affine[bits];
        return known ? affine[bits] : "mxfp8";
    }
    if (file_type < 0 || file_type >= (int)(sizeof names / sizeof *names) || !names[file_type])
        return "unknown";
    return names[file_type];
}

void api_size_name(uint64_t n_param, char out[32])
{
    static const struct {
        double unit;
        char letter;
        int decimals;
    } steps[] = {{1e12, 'T', 1}, {1e9, 'B', 1}, {1e6, 'M', 2}, {1e3, 'K', 0}};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        const double v = (double)n_param / steps[i].unit;
        if (v < 1)
            continue;
        const bool whole = v == (double)(uint64_t)v;
        (void)snprintf(out, 32, "%.*f%c", whole ? 0 : steps[i].decimals, v, steps[i].letter);
        return;
    }
    (void)snprintf(out, 32, "%llu", (unsigned long long)n_param);
}
