#include "pool/pool_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define MAX_SOURCE_BYTES (1u << 20) /* paths, names and details of a model */

static const char *copy_text(arena *a, const char *text)
{
    return text ? arena_copy(a, text, strlen(text)) : NULL;
}

/* Whether a text that was given is there; NULL copies to NULL. */
static bool is_copied(const char *copy, const char *text)
{
    return copy || !text;
}

static bool copy_model(arena *a, const pool_model *m, pool_model *out)
{
    const char **paths = arena_take_array(a, m->n_path ? m->n_path : 1, sizeof *paths);
    if (!paths)
        return false;
    for (size_t i = 0; i < m->n_path; i++) {
        paths[i] = copy_text(a, m->paths[i]);
        if (!paths[i])
            return false;
    }
    *out = (pool_model){
        .key = copy_text(a, m->key),
        .name = copy_text(a, m->name ? m->name : ""),
        .digest = copy_text(a, m->digest ? m->digest : ""),
        .paths = paths,
        .n_path = m->n_path,
        .projector = copy_text(a, m->projector),
        .engine = copy_text(a, m->engine ? m->engine : ""),
        .device = copy_text(a, m->device ? m->device : ""),
        .details = copy_text(a, m->details ? m->details : "{}"),
    };
    return out->key && out->name && out->digest && out->engine && out->device && out->details &&
           is_copied(out->projector, m->projector);
}

cama_err pool_source_new(const pool_model *m, pool_source **out, err_info *err)
{
    if (!m->key || !m->n_path)
        return err_set(err, CAMA_ERR_ARG, "pool: a model without a key or without files");
    const size_t n_fd = m->n_path + (m->projector ? 1 : 0);
    if (n_fd > WIRE_MAX_FD)
        return err_set(err, CAMA_ERR_LIMIT, "model '%s' has %zu files, at most %d can be loaded",
                       m->name ? m->name : m->key, n_fd, WIRE_MAX_FD);
    pool_source *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(err, CAMA_ERR_NOMEM, "pool: no memory for a model's names");
    s->n_ref = 1;
    arena_init(&s->memory, MAX_SOURCE_BYTES);
    if (!copy_model(&s->memory, m, &s->model)) {
        pool_source_unref(s);
        return err_set(err, CAMA_ERR_NOMEM, "pool: no memory for a model's names (limit %u bytes)",
                       MAX_SOURCE_BYTES);
    }
    *out = s;
    return CAMA_OK;
}

void pool_source_unref(pool_source *s)
{
    if (!s || --s->n_ref)
        return;
    arena_done(&s->memory);
    free(s);
}

pool_slot *pool_slot_find(const pool *p, const char *key)
{
    pool_slot *s = p->slots;
    while (s && strcmp(s->source->model.key, key) != 0)
        s = s->next;
    return s;
}

pool_slot *pool_slot_get(pool *p, pool_source *source)
{
    pool_slot *s = pool_slot_find(p, source->model.key);
    if (!s) {
        s = calloc(1, sizeof *s);
        if (!s)
            return NULL;
        s->next = p->slots;
        p->slots = s;
    }
    /* The job that will load the model names it. */
    const bool will_load = !s->runner || s->runner->state >= RUNNER_LEAVING || s->runner->is_closed;
    if (!s->source || (s->waiting.n == 0 && will_load)) {
        pool_source_unref(s->source);
        s->source = source;
        source->n_ref++;
    }
    return s;
}

void pool_slot_prune(pool *p, uint64_t now_ns)
{
    for (pool_slot **at = &p->slots; *at;) {
        pool_slot *s = *at;
        const uint64_t since_ns = s->fail_ns[0] ? now_ns - s->fail_ns[0] : UINT64_MAX;
        const bool remembers = s->backoff_until_ns > now_ns || since_ns < POOL_FAIL_NS ||
                               (s->choice.n_fail && since_ns < POOL_COUNT_NS);
        if (s->runner || s->waiting.n || (remembers && !p->is_closing)) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        pool_source_unref(s->source);
        free(s);
    }
}

void pool_slot_failed(pool *p, pool_slot *s, const char *how)
{
    const uint64_t now_ns = clock_now_ns();
    memmove(s->fail_ns + 1, s->fail_ns, sizeof s->fail_ns - sizeof s->fail_ns[0]);
    s->fail_ns[0] = now_ns;
    s->n_restart++;
    (void)snprintf(s->last_end, sizeof s->last_end, "%s", how);
    const uint64_t oldest_ns = s->fail_ns[POOL_N_FAIL - 1];
    if (!oldest_ns || (now_ns - oldest_ns > POOL_FAIL_NS && s->n_backoff == 0))
        return;
    uint64_t wait_ns = POOL_BACKOFF_NS;
    for (uint32_t i = 0; i < s->n_backoff && wait_ns < POOL_MAX_BACKOFF_NS; i++)
        wait_ns *= 2;
    if (wait_ns > POOL_MAX_BACKOFF_NS)
        wait_ns = POOL_MAX_BACKOFF_NS;
    s->n_backoff++;
    s->backoff_until_ns = now_ns + wait_ns;
    pool_log(p, POOL_ERROR,
             "runner of %s failed %d times without a finished job: "
             "not started again for %.0f s",
             s->source->model.name, POOL_N_FAIL, (double)wait_ns / 1e9);
}

void pool_slot_finished(pool_slot *s)
{
    memset(s->fail_ns, 0, sizeof s->fail_ns);
    s->n_backoff = 0;
    s->backoff_until_ns = 0;
}

void pool_died_error(const char *how, err_info *err)
{
    (void)err_set(err, CAMA_ERR_RUNNER,
                  "model runner has unexpectedly stopped, this may be due to resource limitations "
                  "or an internal error, check ollama server logs for details: %s",
                  how);
}

bool pool_slot_backs_off(const pool_slot *s, uint64_t now_ns, err_info *err)
{
    if (now_ns >= s->backoff_until_ns)
        return false;
    char how[POOL_WHY_BYTES + 128];
    (void)snprintf(how, sizeof how, "%s; it failed %d times in a row and is tried again in %.0f s",
                   s->last_end, POOL_N_FAIL, (double)(s->backoff_until_ns - now_ns) / 1e9 + 0.5);
    pool_died_error(how, err);
    return true;
}
