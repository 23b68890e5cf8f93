/* Options of the server from the environment: CAMA_X, else OLLAMA_X, with Ollama's meaning. */
#include "http/serve.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/ckd.h"
#include "base/duration.h"
#include "hist/hist.h"

#define NAME_BYTES 64
#define DIR_BYTES 4096
#define DEFAULT_HOST "127.0.0.1:11434"

typedef struct env {
    void (*on_bad)(void *user, const char *text);
    void *user;
} env;

/* Trimmed values that were given away; they stay for the life of the process. */
typedef struct kept {
    struct kept *next;
    char text[];
} kept;

static kept *all_kept;

static const char *keep(const char *text, size_t n)
{
    for (const kept *k = all_kept; k; k = k->next)
        if (strlen(k->text) == n && !memcmp(k->text, text, n))
            return k->text;
    kept *k = malloc(sizeof *k + n + 1);
    if (!k)
        return NULL;
    memcpy(k->text, text, n);
    k->text[n] = '\0';
    k->next = all_kept;
    all_kept = k;
    return k->text;
}

static const char *trimmed(const char *text)
{
    static const char blanks[] = " \t\r\n\v\f";
    static const char quotes[] = "\"'";
    const char *const sets[] = {blanks, quotes, blanks};
    size_t n = strlen(text);
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        while (n > 0 && strchr(sets[i], *text)) {
            text++;
            n--;
        }
        while (n > 0 && strchr(sets[i], text[n - 1]))
            n--;
    }
    return n ? keep(text, n) : NULL;
}

/* NULL: unset or empty. out_name: which of the two it was. */
static const char *get(const char *name, char out_name[NAME_BYTES])
{
    static const char *const prefixes[] = {"CAMA_", "OLLAMA_"};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        (void)snprintf(out_name, NAME_BYTES, "%s%s", prefixes[i], name);
        const char *text = getenv(out_name);
        text = text ? trimmed(text) : NULL;
        if (text)
            return text;
    }
    return NULL;
}

static void bad(const env *v, const char *name, const char *text, const char *want)
{
    char line[512];
    if (!v->on_bad)
        return;
    (void)snprintf(line, sizeof line, "%s: '%.128s' is not %s; the default is used", name, text,
                   want);
    v->on_bad(v->user, line);
}

static const char *text_of(const char *name)
{
    char full[NAME_BYTES];
    return get(name, full);
}

/* Any text that is no boolean counts as true, as with Ollama. */
static bool bool_of(const char *name)
{
    static const char *const no[] = {"0", "f", "F", "false", "FALSE", "False"};
    const char *text = text_of(name);
    for (size_t i = 0; text && i < sizeof no / sizeof *no; i++)
        if (!strcmp(text, no[i]))
            return false;
    return text != NULL;
}

static bool read_int(const char *text, int64_t *out)
{
    char *end = NULL;
    errno = 0;
    const long long v = strtoll(text, &end, 10);
    if (errno || *end || end == text)
        return false;
    *out = v;
    return true;
}

static uint32_t uint_of(const env *v, const char *name)
{
    char full[NAME_BYTES];
    int64_t n = 0;
    const char *text = get(name, full);
    if (!text)
        return 0;
    if (!read_int(text, &n) || n < 0 || n > UINT32_MAX) {
        bad(v, full, text, "a number of 0 to 4294967295");
        return 0;
    }
    return (uint32_t)n;
}

/* A duration, or bare seconds. False: unset, or not readable. */
static bool duration_of(const env *v, const char *name, int64_t *out_ns)
{
    char full[NAME_BYTES];
    int64_t n = 0;
    const char *text = get(name, full);
    if (!text)
        return false;
    if (!go_duration_parse(text, strlen(text), out_ns, NULL))
        return true;
    if (read_int(text, &n)) {
        const int64_t max = INT64_MAX / 1000000000;
        *out_ns = n < 0 ? -1 : n > max ? INT64_MAX : n * 1000000000;
        return true;
    }
    bad(v, full, text, "a duration such as 5m, or seconds");
    return false;
}

/* "8GB", "512MiB", "1000000": units of 1000 and of 1024. */
static bool read_size(const char *text, uint64_t *out)
{
    static const struct {
        const char *name;
        uint64_t bytes;
    } units[] = {{"", 1},           {"B", 1},           {"KB", 1000},
                 {"MB", 1000000},   {"GB", 1000000000}, {"KiB", 1u << 10},
                 {"MiB", 1u << 20}, {"GiB", 1u << 30}};
    char *end = NULL;
    errno = 0;
    const unsigned long long n = strtoull(text, &end, 10);
    if (errno || end == text || *text == '-')
        return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (!strcmp(end, units[i].name))
            return !ckd_mul(out, (uint64_t)n, units[i].bytes);
    return false;
}

static uint64_t size_of(const env *v, const char *name)
{
    char full[NAME_BYTES];
    uint64_t bytes = 0;
    const char *text = get(name, full);
    if (text && !read_size(text, &bytes)) {
        bad(v, full, text, "a size such as 8GB or 512MiB");
        return 0;
    }
    return bytes;
}

/* One of a few words; NULL: unset or another. */
static const char *word_of(const env *v, const char *name, const char *const *words,
                           const char *want)
{
    char full[NAME_BYTES];
    const char *text = get(name, full);
    for (size_t i = 0; text && words[i]; i++)
        if (!strcmp(text, words[i]))
            return text;
    if (text)
        bad(v, full, text, want);
    return NULL;
}

/* auto is what NULL is. */
static const char *choice_of(const env *v, const char *name, const char *const *words,
                             const char *want)
{
    const char *text = word_of(v, name, words, want);
    return text && strcmp(text, "auto") != 0 ? text : NULL;
}

/* NULL: there is no home, and nothing is remembered. */
static const char *data_dir(void)
{
    char found[DIR_BYTES];
    const char *text = text_of("DATA_DIR");
    if (!text && hist_default_dir(found, sizeof found))
        text = keep(found, strlen(found));
    return text;
}

static void pool_from_env(pool_opts *p, const env *v)
{
    static const char *const kv[] = {"f16", "f32", "bf16", "q8_0", "q4_0", NULL};
    static const char *const activations[] = {"int8", "f32", NULL};
    static const char *const weights[] = {"auto", "mapped", "memory", NULL};
    int64_t ns = 0;
    p->keep_alive_ns = POOL_KEEP_DEFAULT;
    if (duration_of(v, "KEEP_ALIVE", &ns))
        p->keep_alive_ns = ns < 0 ? POOL_KEEP_FOREVER : ns;
    if (duration_of(v, "LOAD_TIMEOUT", &ns))
        p->load_timeout_ns = ns <= 0 ? INT64_MAX : (uint64_t)ns;
    if (duration_of(v, "HANG_TIMEOUT", &ns))
        p->hang_timeout_ns = ns <= 0 ? INT64_MAX : (uint64_t)ns;
    p->max_bytes = size_of(v, "MAX_MEMORY");
    p->max_loaded = uint_of(v, "MAX_LOADED_MODELS");
    p->max_queue = uint_of(v, "MAX_QUEUE");
    p->n_parallel = uint_of(v, "NUM_PARALLEL");
    p->n_ctx = uint_of(v, "CONTEXT_LENGTH");
    p->n_thread = uint_of(v, "THREADS");
    p->kv_type = word_of(v, "KV_CACHE_TYPE", kv, "f16, f32, bf16, q8_0 or q4_0");
    p->activations = word_of(v, "ACTIVATIONS", activations, "int8 or f32");
    p->weights = word_of(v, "WEIGHTS", weights, "auto, mapped or memory");
    p->strict = bool_of("ENGINE_STRICT");
    p->data_dir = data_dir();
}

void serve_opts_from_env(serve_opts *o, void (*on_bad)(void *user, const char *text), void *user)
{
    static const char *const engines[] = {"auto", "native", "mlx", NULL};
    static const char *const devices[] = {"auto", "cpu", "gpu", NULL};
    const env v = {on_bad, user};
    *o = (serve_opts){.log_requests = true};
    o->host = text_of("HOST");
    if (!o->host)
        o->host = DEFAULT_HOST;
    o->models = text_of("MODELS");
    o->origins = text_of("ORIGINS");
    o->no_prune = bool_of("NOPRUNE");
    o->debug = bool_of("DEBUG");
    o->strict = bool_of("STRICT");
    o->engine = choice_of(&v, "ENGINE", engines, "auto, native or mlx");
    o->device = choice_of(&v, "DEVICE", devices, "auto, cpu or gpu");
    pool_from_env(&o->pool, &v);
}
