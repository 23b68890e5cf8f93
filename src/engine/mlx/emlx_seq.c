/* emlx_seq.c - sequences, and what each of them remembers.
 *
 * Kernels: a page holds EMLX_PAGE tokens of all slots of a group; forks share whole pages and copy
 * the one that is begun. Stock: arrays are values, so a fork takes the handles. Recurrent states
 * cannot be cut at a position: a sequence keeps copies of them at the ends of its prompts, and can
 * go back to one of those.
 */
#include "engine/mlx/emlx_int.h"

#include <stdlib.h>
#include <string.h>

struct emlx_page {
    emlx_page *next; /* of the group's free ones */
    int32_t n_ref;
    _Alignas(64) uint8_t data[];
};

static bool is_state(const engine *e, size_t slot)
{
    return e->plan->slots[slot].kind == PLAN_KV_STATE;
}

static size_t n_page_of(int32_t n_token)
{
    return ((size_t)n_token + EMLX_PAGE - 1) / EMLX_PAGE;
}

/* ---- figures ---- */

static size_t slot_page_bytes(const engine *e, const plan_kv_slot *s, size_t *out_k,
                              size_t *out_head)
{
    const size_t k = emlx_up(kern_page_bytes(e->opts.k_type, s->dim_k), 64);
    const size_t v = s->v_in_k ? 0 : emlx_up(kern_page_bytes(e->opts.v_type, s->dim_v), 64);
    *out_k = k;
    *out_head = k + v;
    return s->n_kv_head * (k + v);
}

uint64_t emlx_token_bytes(const engine *e)
{
    uint64_t n = 0;
    for (size_t i = 0; i < e->plan->n_slot; i++) {
        const plan_kv_slot *s = &e->plan->slots[i];
        size_t k, head;
        if (!is_state(e, i))
            n += slot_page_bytes(e, s, &k, &head) / EMLX_PAGE;
    }
    return n;
}

uint64_t emlx_state_bytes(const engine *e)
{
    uint64_t n = 0;
    for (size_t i = 0; i < e->plan->n_slot; i++)
        if (is_state(e, i))
            n += e->plan->slots[i].n_state * sizeof(float);
    return n;
}

/* Pages that several sequences share count once; arrays count as their sequences' tokens. */
uint64_t emlx_kv_used(const engine *e)
{
    uint64_t n = 0;
    if (e->kernels) {
        for (size_t g = 0; g < e->plan->n_group; g++)
            n = e->n_page_used[g] > n ? e->n_page_used[g] : n;
        return n * EMLX_PAGE;
    }
    for (uint32_t i = 0; i < e->n_seq_max; i++)
        n += e->seq[i].alive ? (uint64_t)e->seq[i].n_cap : 0;
    return n;
}

/* All tokens, and for each full sequence a page that is begun. */
uint64_t emlx_kv_room(const engine *e)
{
    const uint64_t step = e->kernels ? EMLX_PAGE : EMLX_STEP_TOKENS;
    const uint64_t n_full = (e->opts.n_kv + e->opts.n_ctx - 1) / e->opts.n_ctx;
    const uint64_t n = n_full > e->opts.n_seq ? n_full : e->opts.n_seq;
    return emlx_up(e->opts.n_kv, step) + n * step;
}

/* ---- pages ---- */

static emlx_page *take_page(engine *e, size_t group)
{
    emlx_page *p = e->free_page[group];
    if (p)
        e->free_page[group] = p->next;
    else
        p = aligned_alloc(64, emlx_up(sizeof *p + e->page_bytes[group], 64));
    if (!p)
        return NULL;
    p->n_ref = 1;
    e->n_page_used[group]++;
    return p;
}

static void drop_page(engine *e, size_t group, emlx_page *p)
{
    if (!p || --p->n_ref)
        return;
    e->n_page_used[group]--;
    p->next = e->free_page[group];
    e->free_page[group] = p;
}

static bool has_pages(const engine *e, size_t group)
{
    return e->plan->groups[group].shape.kind != PLAN_KV_STATE;
}

/* Pages past the first n tokens go back. */
static void cut_pages(engine *e, emlx_seq *s, int32_t n_token)
{
    const size_t from = n_page_of(n_token);
    const size_t to = n_page_of(s->n_token);
    for (size_t g = 0; g < e->plan->n_group; g++)
        for (size_t i = from; i < to && has_pages(e, g); i++) {
            drop_page(e, g, s->page[g][i]);
            s->page[g][i] = NULL;
        }
}

uint8_t *emlx_page_head(const engine *e, int32_t seq, int slot, size_t page, size_t h)
{
    const emlx_place *at = &e->place[slot];
    return e->seq[seq].page[at->group][page]->data + at->offset + h * at->head_bytes;
}

/* ---- states ---- */

static void drop_check(engine *e, emlx_check *c)
{
    for (size_t i = 0; i < e->plan->n_slot; i++) {
        if (c->state)
            free(c->state[i]);
        if (c->ref)
            e->b->drop(e->m, c->ref[i]);
    }
    free((void *)c->state);
    free(c->ref);
    *c = (emlx_check){0};
}

/* A copy of what the sequence's states are now; false: no memory, and there is none. */
static bool copy_states(engine *e, const emlx_seq *s, emlx_check *out)
{
    const size_t n = e->plan->n_slot;
    *out = (emlx_check){.n_token = s->n_token};
    out->state = e->kernels ? (void **)calloc(n, sizeof *out->state) : NULL;
    out->ref = e->kernels ? NULL : calloc(n, sizeof *out->ref);
    bool ok = out->state || out->ref;
    for (size_t i = 0; i < n && ok; i++) {
        if (!is_state(e, i))
            continue;
        const size_t bytes = e->plan->slots[i].n_state * sizeof(float);
        if (!e->kernels) {
            out->ref[i] = e->b->keep(e->m, s->k[i]);
            continue;
        }
        out->state[i] = malloc(bytes ? bytes : 1);
        ok = out->state[i] != NULL;
        if (ok)
            memcpy(out->state[i], s->state[i], bytes);
    }
    if (!ok)
        drop_check(e, out);
    return ok;
}

static void restore_states(engine *e, emlx_seq *s, const emlx_check *c)
{
    for (size_t i = 0; i < e->plan->n_slot; i++) {
        if (!is_state(e, i))
            continue;
        if (e->kernels) {
            memcpy(s->state[i], c->state[i], e->plan->slots[i].n_state * sizeof(float));
            continue;
        }
        e->b->drop(e->m, s->k[i]);
        s->k[i] = e->b->keep(e->m, c->ref[i]);
    }
}

static void zero_states(engine *e, emlx_seq *s)
{
    if (!e->kernels) {
        emlx_zero_states(e, s);
        return;
    }
    for (size_t i = 0; i < e->plan->n_slot; i++)
        if (is_state(e, i))
            memset(s->state[i], 0, e->plan->slots[i].n_state * sizeof(float));
}

static void drop_states(engine *e, emlx_seq *s)
{
    for (size_t i = 0; i < e->plan->n_slot && s->state; i++) {
        free(s->state[i]);
        s->state[i] = NULL;
    }
}

/* Of an empty sequence. False: no memory. */
static bool take_states(engine *e, emlx_seq *s)
{
    for (size_t i = 0; i < e->plan->n_slot && e->kernels; i++) {
        if (!is_state(e, i))
            continue;
        s->state[i] = calloc(e->plan->slots[i].n_state + 1, sizeof *s->state[i]);
        if (!s->state[i]) {
            drop_states(e, s);
            return false;
        }
    }
    if (!e->kernels)
        emlx_zero_states(e, s);
    return true;
}

/* The newest takes the place of the oldest. Without memory there is one less to go back to. */
static void add_check(engine *e, emlx_seq *s)
{
    emlx_check c;
    if (!copy_states(e, s, &c))
        return;
    if (s->n_check == EMLX_MAX_CHECK) {
        drop_check(e, &s->check[0]);
        memmove(s->check, s->check + 1, (EMLX_MAX_CHECK - 1) * sizeof *s->check);
        s->n_check--;
    }
    s->check[s->n_check++] = c;
}

/* The last position <= want whose states are known: the newest such checkpoint, or the beginning.
 */
static int32_t resume_states(engine *e, emlx_seq *s, int32_t want)
{
    while (s->n_check && s->check[s->n_check - 1].n_token > want)
        drop_check(e, &s->check[--s->n_check]);
    if (!s->n_check) {
        zero_states(e, s);
        return 0;
    }
    restore_states(e, s, &s->check[s->n_check - 1]);
    return s->check[s->n_check - 1].n_token;
}

/* ---- the contract ---- */

static bool is_alive(const engine *e, int32_t seq)
{
    return seq >= 0 && (uint32_t)seq < e->n_seq_max && e->seq[seq].alive;
}

/* A text that is pooled is computed whole: what was pooled cannot be cut. */
static int32_t keepable(const engine *e, const emlx_seq *s, int32_t want)
{
    return emlx_pools_whole(e) && want < s->n_token ? 0 : want;
}

cama_err emlx_seq_rewind(engine *e, int32_t seq, int32_t want, int32_t *out_got)
{
    if (!is_alive(e, seq) || want < 0)
        return CAMA_ERR_ARG;
    emlx_seq *s = &e->seq[seq];
    want = want < s->n_token ? keepable(e, s, want) : s->n_token; /* a fork may have got less */
    if (want < s->n_token) {
        e->prev[seq] = -1;
        e->b->drop(e->m, s->prev);
        s->prev = 0;
        if (e->has_state)
            want = resume_states(e, s, want);
        if (e->kernels)
            cut_pages(e, s, want);
        s->n_token = want;
    }
    *out_got = want;
    return CAMA_OK;
}

static void share_pages(engine *e, const emlx_seq *from, emlx_seq *s, int32_t n_keep)
{
    for (size_t g = 0; g < e->plan->n_group; g++)
        for (size_t i = 0; i < n_page_of(n_keep) && has_pages(e, g); i++) {
            s->page[g][i] = from->page[g][i];
            s->page[g][i]->n_ref++;
        }
}

static void share_arrays(engine *e, const emlx_seq *from, emlx_seq *s)
{
    for (size_t i = 0; i < e->plan->n_slot; i++) {
        if (is_state(e, i))
            continue;
        s->k[i] = from->k[i] ? e->b->keep(e->m, from->k[i]) : 0;
        s->v[i] = from->v[i] ? e->b->keep(e->m, from->v[i]) : 0;
    }
    s->n_cap = from->n_cap;
}

/* The states of `from` at n_keep, where they are known: else the fork begins further back. */
static int32_t fork_states(engine *e, emlx_seq *from, emlx_seq *s, int32_t n_keep)
{
    emlx_check now;
    if (n_keep == from->n_token && copy_states(e, from, &now)) {
        restore_states(e, s, &now);
        drop_check(e, &now);
        return n_keep;
    }
    for (size_t i = from->n_check; i-- > 0;) {
        if (from->check[i].n_token > n_keep)
            continue;
        restore_states(e, s, &from->check[i]);
        return from->check[i].n_token;
    }
    return 0;
}

static int32_t free_seq(const engine *e)
{
    for (uint32_t i = 0; i < e->n_seq_max; i++)
        if (!e->seq[i].alive)
            return (int32_t)i;
    return -1;
}

cama_err emlx_seq_fork(engine *e, int32_t from, int32_t n_keep, int32_t *out_seq)
{
    if (from >= 0 && (!is_alive(e, from) || n_keep < 0 || n_keep > e->seq[from].n_token))
        return CAMA_ERR_ARG;
    const int32_t id = free_seq(e);
    if (id < 0)
        return CAMA_ERR_LIMIT;
    emlx_seq *s = &e->seq[id];
    if (!take_states(e, s))
        return CAMA_ERR_NOMEM;
    s->alive = true;
    s->n_token = 0;
    e->prev[id] = -1;
    if (from >= 0) {
        emlx_seq *f = &e->seq[from];
        n_keep = keepable(e, f, n_keep);
        if (e->has_state)
            n_keep = fork_states(e, f, s, n_keep);
        if (e->kernels)
            share_pages(e, f, s, n_keep);
        else if (n_keep)
            share_arrays(e, f, s);
        s->n_token = n_keep;
        if (e->has_state && n_keep)
            add_check(e, s);
    }
    *out_seq = id;
    return CAMA_OK;
}

void emlx_seq_free(engine *e, int32_t seq)
{
    if (!is_alive(e, seq))
        return;
    emlx_seq *s = &e->seq[seq];
    if (e->kernels)
        cut_pages(e, s, 0);
    drop_states(e, s);
    while (s->n_check)
        drop_check(e, &s->check[--s->n_check]);
    for (size_t i = 0; i < e->plan->n_slot && !e->kernels; i++) {
        e->b->drop(e->m, s->k[i]);
        e->b->drop(e->m, s->v[i]);
        s->k[i] = s->v[i] = 0;
    }
    e->b->drop(e->m, s->prev);
    s->prev = 0;
    s->n_token = s->n_cap = 0;
    s->alive = false;
}

/* ---- a step ---- */

/* Pages that a run needs in a group: new ones, and a copy of a shared one that it goes on in. */
static size_t pages_needed(const engine *e, size_t g, const engine_run *r)
{
    const emlx_seq *s = &e->seq[r->seq];
    const size_t have = n_page_of(s->n_token);
    const size_t need = n_page_of(s->n_token + (int32_t)r->n) - have;
    const bool begun = s->n_token % EMLX_PAGE != 0;
    return need + (begun && s->page[g][have - 1]->n_ref > 1);
}

static cama_err extend_pages(engine *e, size_t g, const engine_run *r)
{
    emlx_seq *s = &e->seq[r->seq];
    size_t i = n_page_of(s->n_token);
    if (s->n_token % EMLX_PAGE && s->page[g][i - 1]->n_ref > 1) {
        emlx_page *own = take_page(e, g);
        if (!own)
            return CAMA_ERR_NOMEM;
        memcpy(own->data, s->page[g][i - 1]->data, e->page_bytes[g]);
        drop_page(e, g, s->page[g][i - 1]);
        s->page[g][i - 1] = own;
    }
    for (; i < n_page_of(s->n_token + (int32_t)r->n); i++) {
        s->page[g][i] = take_page(e, g);
        if (!s->page[g][i])
            return CAMA_ERR_NOMEM;
    }
    return CAMA_OK;
}

/* Pages behind what the sequences have go back: the step that they were for is not computed. */
static void drop_new_pages(engine *e)
{
    for (size_t g = 0; g < e->plan->n_group; g++)
        for (size_t i = 0; i < e->step.n_run && has_pages(e, g); i++) {
            const engine_run *r = &e->step.run[i];
            emlx_seq *s = &e->seq[r->seq];
            for (size_t p = n_page_of(s->n_token); p < n_page_of(s->n_token + (int32_t)r->n); p++) {
                drop_page(e, g, s->page[g][p]);
                s->page[g][p] = NULL;
            }
        }
}

static cama_err no_room(const engine *e, uint64_t need, err_info *err)
{
    return err_set(err, CAMA_ERR_LIMIT, "mlx: KV of %llu tokens is full, %llu more are needed",
                   (unsigned long long)e->opts.n_kv, (unsigned long long)need);
}

static cama_err extend_kernels(engine *e, err_info *err)
{
    for (size_t g = 0; g < e->plan->n_group; g++) {
        size_t need = 0;
        for (size_t i = 0; i < e->step.n_run && has_pages(e, g); i++)
            need += pages_needed(e, g, &e->step.run[i]);
        if (need && (e->n_page_used[g] + need) * EMLX_PAGE > emlx_kv_room(e))
            return no_room(e, need * EMLX_PAGE, err);
    }
    for (size_t g = 0; g < e->plan->n_group; g++)
        for (size_t i = 0; i < e->step.n_run && has_pages(e, g); i++)
            if (extend_pages(e, g, &e->step.run[i])) {
                drop_new_pages(e);
                return err_set(err, CAMA_ERR_NOMEM, "mlx: no memory for a page of KV");
            }
    return CAMA_OK;
}

static int32_t cap_for(int32_t n_token)
{
    return (int32_t)emlx_up((size_t)n_token, EMLX_STEP_TOKENS);
}

static cama_err extend_stock(engine *e, err_info *err)
{
    uint64_t need = 0;
    for (size_t i = 0; i < e->step.n_run; i++) {
        const engine_run *r = &e->step.run[i];
        const emlx_seq *s = &e->seq[r->seq];
        const int32_t cap = cap_for(s->n_token + (int32_t)r->n);
        need += cap > s->n_cap ? (uint64_t)(cap - s->n_cap) : 0;
    }
    if (need && emlx_kv_used(e) + need > emlx_kv_room(e))
        return no_room(e, need, err);
    for (size_t i = 0; i < e->step.n_run; i++) {
        const engine_run *r = &e->step.run[i];
        emlx_seq *s = &e->seq[r->seq];
        const int32_t cap = cap_for(s->n_token + (int32_t)r->n);
        if (cap > s->n_cap)
            emlx_grow_arrays(e, s, cap);
    }
    return CAMA_OK;
}

cama_err emlx_extend(engine *e, err_info *err)
{
    return e->kernels ? extend_kernels(e, err) : extend_stock(e, err);
}

/* The end of a prompt, or of a piece of one, is where another may part ways. */
void emlx_settle(engine *e)
{
    for (size_t i = 0; i < e->step.n_run; i++) {
        emlx_seq *s = &e->seq[e->step.run[i].seq];
        s->n_token += (int32_t)e->step.run[i].n;
        if (e->has_state && e->step.run[i].n > 1)
            add_check(e, s);
    }
}

/* ---- life ---- */

static cama_err open_places(engine *e, err_info *err)
{
    arena *a = &e->plan_arena;
    const size_t n = e->plan->n_group;
    e->place = arena_take_array(a, e->plan->n_slot, sizeof *e->place);
    e->page_bytes = arena_take_array(a, n, sizeof *e->page_bytes);
    e->n_page_used = arena_take_array(a, n, sizeof *e->n_page_used);
    e->free_page = arena_take_array(a, n, sizeof *e->free_page);
    if (!e->place || !e->page_bytes || !e->n_page_used || !e->free_page)
        return err_set(err, CAMA_ERR_NOMEM, "mlx: no memory for the books of the KV");
    for (size_t i = 0; i < e->plan->n_slot; i++) {
        const plan_kv_slot *s = &e->plan->slots[i];
        emlx_place *at = &e->place[i];
        at->group = (size_t)s->group;
        at->offset = e->page_bytes[at->group];
        if (!is_state(e, i))
            e->page_bytes[at->group] += slot_page_bytes(e, s, &at->k_bytes, &at->head_bytes);
    }
    return CAMA_OK;
}

static bool open_seq(engine *e, emlx_seq *s, size_t n_page)
{
    arena *a = &e->plan_arena;
    const size_t n_slot = e->plan->n_slot;
    s->k = arena_take_array(a, n_slot, sizeof *s->k);
    s->v = arena_take_array(a, n_slot, sizeof *s->v);
    s->state = arena_take_array(a, n_slot, sizeof *s->state);
    s->page = arena_take_array(a, e->plan->n_group, sizeof *s->page);
    bool ok = s->k && s->v && s->state && s->page;
    for (size_t g = 0; ok && e->kernels && g < e->plan->n_group; g++) {
        s->page[g] = arena_take_array(a, n_page, sizeof *s->page[g]);
        ok = s->page[g] != NULL;
    }
    return ok;
}

cama_err emlx_open_seqs(engine *e, err_info *err)
{
    const size_t n_page = n_page_of((int32_t)e->opts.n_ctx) + 1;
    e->seq = arena_take_array(&e->plan_arena, e->n_seq_max, sizeof *e->seq);
    e->prev = arena_take_array(&e->plan_arena, e->n_seq_max, sizeof *e->prev);
    bool ok = e->seq && e->prev && !open_places(e, err);
    for (uint32_t i = 0; ok && i < e->n_seq_max; i++)
        ok = open_seq(e, &e->seq[i], n_page);
    return ok ? CAMA_OK
              : err_set(err, CAMA_ERR_NOMEM, "mlx: no memory for %u sequences", e->n_seq_max);
}

void emlx_close_seqs(engine *e)
{
    for (uint32_t i = 0; e->seq && i < e->n_seq_max; i++)
        emlx_seq_free(e, (int32_t)i);
    for (size_t g = 0; e->free_page && g < e->plan->n_group; g++)
        while (e->free_page[g]) {
            emlx_page *p = e->free_page[g];
            e->free_page[g] = p->next;
            free(p);
        }
}
