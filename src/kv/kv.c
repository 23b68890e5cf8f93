#include "kv/kv.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "kv/kv_int.h"

/* ---- pools ---- */

/* Puts [p->n_open, n_open) under the free ones: they are used last, so little memory is touched. */
static void pool_raise(kv_pool *p, uint32_t n_open)
{
    const uint32_t n_new = n_open - p->n_open;
    memmove(p->free + n_new, p->free, p->n_free * sizeof *p->free);
    for (uint32_t i = 0; i < n_new; i++)
        p->free[i] = (int32_t)(n_open - 1 - i); /* low numbers go first, for the same reason */
    p->n_free += n_new;
    p->n_open = n_open;
}

static cama_err pool_init(kv_pool *p, uint32_t n, uint32_t n_open)
{
    p->n_ref = calloc(n ? n : 1, sizeof *p->n_ref);
    p->free = malloc((n ? n : 1) * sizeof *p->free);
    if (!p->n_ref || !p->free)
        return CAMA_ERR_NOMEM;
    p->n = n;
    pool_raise(p, n_open);
    return CAMA_OK;
}

static void pool_done(kv_pool *p)
{
    free(p->n_ref);
    free(p->free);
}

/* The caller has counted that one is free. */
static int32_t pool_take(kv_pool *p)
{
    assert(p->n_free > 0);
    const int32_t i = p->free[--p->n_free];
    p->n_ref[i] = 1;
    if ((uint32_t)i >= p->n_touched)
        p->n_touched = (uint32_t)i + 1;
    return i;
}

static void pool_ref(kv_pool *p, int32_t i)
{
    if (i >= 0)
        p->n_ref[i]++;
}

static void pool_unref(kv_pool *p, int32_t i)
{
    if (i >= 0 && --p->n_ref[i] == 0)
        p->free[p->n_free++] = i;
}

/* ---- opening ---- */

uint32_t kv_pages_for(const kv_group_opts *g, uint32_t n_ctx, uint32_t n_batch)
{
    const uint64_t all = ((uint64_t)n_ctx + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS + 1;
    if (g->window == 0)
        return (uint32_t)all;
    const uint64_t tokens = (uint64_t)g->window + g->keep + n_batch;
    const uint64_t some = tokens / KV_PAGE_TOKENS + 3; /* both ends in the middle of a page */
    return (uint32_t)(some < all ? some : all);
}

static cama_err check_opts(const kv_opts *o, err_info *err)
{
    if (o->n_seq < 1 || o->n_seq > KV_MAX_SEQ)
        return err_set(err, CAMA_ERR_ARG, "kv: %u sequences, allowed are 1 to %d", o->n_seq,
                       KV_MAX_SEQ);
    if (o->n_ctx < 1 || o->n_ctx > KV_MAX_CTX)
        return err_set(err, CAMA_ERR_ARG, "kv: context of %u tokens, allowed are 1 to %u", o->n_ctx,
                       KV_MAX_CTX);
    if (o->n_group > KV_MAX_GROUP)
        return err_set(err, CAMA_ERR_ARG, "kv: %zu groups, limit %d", o->n_group, KV_MAX_GROUP);
    if (o->n_check > KV_MAX_CHECK)
        return err_set(err, CAMA_ERR_ARG, "kv: %u checkpoints, limit %d", o->n_check, KV_MAX_CHECK);
    for (size_t i = 0; i < o->n_group; i++)
        if (o->groups[i].n_page < 1 || o->groups[i].n_page > KV_MAX_PAGE ||
            o->groups[i].n_open > o->groups[i].n_page || o->groups[i].window > KV_MAX_CTX ||
            o->groups[i].keep > KV_MAX_CTX)
            return err_set(err, CAMA_ERR_ARG,
                           "kv: group %zu has %u pages and a window of %u + %u tokens; limits are "
                           "%u and %u",
                           i, o->groups[i].n_page, o->groups[i].window, o->groups[i].keep,
                           KV_MAX_PAGE, KV_MAX_CTX);
    return CAMA_OK;
}

static cama_err take_memory(kv_cache *kv, const kv_opts *o)
{
    for (uint32_t g = 0; g < kv->n_group; g++) {
        const kv_group_opts *go = &o->groups[g];
        if (pool_init(&kv->page[g], go->n_page, go->n_open ? go->n_open : go->n_page))
            return CAMA_ERR_NOMEM;
    }
    if (pool_init(&kv->state, o->n_state, o->n_state))
        return CAMA_ERR_NOMEM;
    const size_t n_row = (size_t)kv->n_seq * (kv->n_group ? kv->n_group : 1);
    kv->max_copy = (size_t)kv->n_seq * (kv->n_group + 1);
    kv->seq = calloc(kv->n_seq, sizeof *kv->seq);
    kv->table = calloc(n_row * kv->table_len, sizeof *kv->table); /* the system commits it lazily */
    kv->in_batch = calloc(kv->n_seq, 1);
    kv->copies = malloc(kv->max_copy * sizeof *kv->copies);
    return kv->seq && kv->table && kv->in_batch && kv->copies ? CAMA_OK : CAMA_ERR_NOMEM;
}

cama_err kv_open(const kv_opts *o, kv_cache **out, err_info *err)
{
    cama_err e = check_opts(o, err);
    if (e)
        return e;
    kv_cache *kv = calloc(1, sizeof *kv);
    if (!kv)
        return err_set(err, CAMA_ERR_NOMEM, "kv: no memory");
    kv->n_seq = o->n_seq;
    kv->n_ctx = o->n_ctx;
    kv->n_group = (uint32_t)o->n_group;
    kv->n_check = o->n_check;
    kv->table_len = (uint32_t)kv_pages_of((int32_t)o->n_ctx);
    for (size_t i = 0; i < o->n_group; i++)
        kv->group[i] = o->groups[i];
    e = take_memory(kv, o);
    if (e) {
        kv_close(kv);
        return err_set(err, e, "kv: no memory for the page tables of %u sequences of %u tokens",
                       o->n_seq, o->n_ctx);
    }
    *out = kv;
    return CAMA_OK;
}

void kv_close(kv_cache *kv)
{
    if (!kv)
        return;
    for (size_t g = 0; g < KV_MAX_GROUP; g++)
        pool_done(&kv->page[g]);
    pool_done(&kv->state);
    free(kv->seq);
    free(kv->table);
    free(kv->in_batch);
    free(kv->copies);
    free(kv);
}

cama_err kv_raise(kv_cache *kv, size_t group, uint32_t n_open, err_info *err)
{
    kv_pool *p = &kv->page[group];
    if (n_open > p->n)
        return err_set(err, CAMA_ERR_ARG, "kv: %u pages in group %zu, the pool has %u", n_open,
                       group, p->n);
    if (n_open > p->n_open)
        pool_raise(p, n_open);
    return CAMA_OK;
}

/* ---- looking ---- */

bool kv_alive(const kv_cache *kv, int32_t seq)
{
    return seq >= 0 && (uint32_t)seq < kv->n_seq && kv->seq[seq].alive;
}

int32_t kv_len(const kv_cache *kv, int32_t seq)
{
    return kv->seq[seq].n_token;
}

const int32_t *kv_table(const kv_cache *kv, int32_t seq, size_t group)
{
    return kv_row(kv, seq, group);
}

int32_t kv_state(const kv_cache *kv, int32_t seq)
{
    return kv->seq[seq].state;
}

uint32_t kv_n_alive(const kv_cache *kv)
{
    return kv->n_alive;
}

uint32_t kv_n_open_page(const kv_cache *kv, size_t group)
{
    return kv->page[group].n_open;
}

uint32_t kv_n_touched_page(const kv_cache *kv, size_t group)
{
    return kv->page[group].n_touched;
}

uint32_t kv_n_free_page(const kv_cache *kv, size_t group)
{
    return kv->page[group].n_free;
}

uint32_t kv_n_free_state(const kv_cache *kv)
{
    return kv->state.n_free;
}

/* First token that the row at position pos, or any later one, can see. */
static int32_t first_seen(const kv_group_opts *g, int32_t pos)
{
    if (g->window == 0 || (uint32_t)pos < g->window)
        return 0;
    return pos - (int32_t)g->window + 1;
}

/* Index of the last checkpoint at or before pos, or -1. */
static int32_t find_check(const kv_seq *s, int32_t pos)
{
    int32_t i = s->n_check - 1;
    while (i >= 0 && s->check[i].pos > pos)
        i--;
    return i;
}

int32_t kv_resume(const kv_cache *kv, int32_t seq, int32_t want)
{
    const kv_seq *s = &kv->seq[seq];
    int32_t pos = want < s->n_token ? want : s->n_token;
    if (pos <= 0)
        return 0;
    if (kv->state.n && pos < s->n_token) {
        const int32_t i = find_check(s, pos);
        pos = i < 0 ? 0 : s->check[i].pos;
    }
    /* A smaller position would need still older pages: what fails here fails everywhere below. */
    for (size_t g = 0; g < kv->n_group; g++)
        if (first_seen(&kv->group[g], pos) / KV_PAGE_TOKENS < s->first[g])
            return 0;
    return pos;
}

/* ---- cutting and sharing ---- */

static void drop_pages(kv_cache *kv, int32_t seq, size_t g, int32_t from, int32_t to)
{
    int32_t *row = kv_row(kv, seq, g);
    for (int32_t i = from; i < to; i++) {
        pool_unref(&kv->page[g], row[i]);
        row[i] = -1;
    }
}

static void drop_check(kv_cache *kv, kv_seq *s, int32_t i)
{
    pool_unref(&kv->state, s->check[i].state);
    s->n_check--;
    memmove(&s->check[i], &s->check[i + 1], (size_t)(s->n_check - i) * sizeof s->check[0]);
}

/* The state that stands for position pos, a result of kv_resume; -1 when there is none. */
static int32_t state_at(const kv_seq *s, int32_t pos)
{
    if (pos == s->n_token)
        return s->state;
    const int32_t i = find_check(s, pos);
    return pos == 0 || i < 0 ? -1 : s->check[i].state;
}

/* pos is a result of kv_resume. */
static void cut(kv_cache *kv, int32_t seq, int32_t pos)
{
    kv_seq *s = &kv->seq[seq];
    if (pos == s->n_token)
        return;
    for (size_t g = 0; g < kv->n_group; g++) {
        const int32_t end = kv_pages_of(s->n_token);
        const int32_t kept = kv_pages_of(pos);
        drop_pages(kv, seq, g, kept > s->first[g] ? kept : s->first[g], end);
        if (pos == 0)
            s->first[g] = 0;
    }
    const int32_t state = state_at(s, pos);
    pool_ref(&kv->state, state);
    pool_unref(&kv->state, s->state);
    s->state = state;
    while (s->n_check && s->check[s->n_check - 1].pos > pos)
        drop_check(kv, s, s->n_check - 1);
    s->n_token = pos;
    s->grew_by_many = false;
}

cama_err kv_rewind(kv_cache *kv, int32_t seq, int32_t want, int32_t *out_got, err_info *err)
{
    if (!kv_alive(kv, seq))
        return err_set(err, CAMA_ERR_ARG, "kv: no sequence %d", seq);
    if (want < 0)
        return err_set(err, CAMA_ERR_ARG, "kv: sequence %d cannot go back to %d", seq, want);
    const int32_t got = kv_resume(kv, seq, want);
    cut(kv, seq, got);
    *out_got = got;
    return CAMA_OK;
}

void kv_free(kv_cache *kv, int32_t seq)
{
    if (!kv_alive(kv, seq))
        return;
    cut(kv, seq, 0);
    kv->seq[seq].alive = false;
    kv->n_alive--;
}

static void share(kv_cache *kv, int32_t from, int32_t to, int32_t pos)
{
    const kv_seq *src = &kv->seq[from];
    kv_seq *dst = &kv->seq[to];
    for (size_t g = 0; g < kv->n_group && pos; g++) {
        const int32_t *src_row = kv_row(kv, from, g);
        int32_t *dst_row = kv_row(kv, to, g);
        dst->first[g] = src->first[g];
        for (int32_t i = 0; i < kv_pages_of(pos); i++) {
            dst_row[i] = src_row[i];
            pool_ref(&kv->page[g], dst_row[i]);
        }
    }
    dst->n_token = pos;
    dst->state = state_at(src, pos);
    pool_ref(&kv->state, dst->state);
    while (dst->n_check < src->n_check && src->check[dst->n_check].pos <= pos) {
        pool_ref(&kv->state, src->check[dst->n_check].state);
        dst->check[dst->n_check] = src->check[dst->n_check];
        dst->n_check++;
    }
}

cama_err kv_fork(kv_cache *kv, int32_t from, int32_t n_keep, int32_t *out_seq, err_info *err)
{
    if (from >= 0 && !kv_alive(kv, from))
        return err_set(err, CAMA_ERR_ARG, "kv: no sequence %d to fork", from);
    if (n_keep < 0 || (from >= 0 && n_keep > kv->seq[from].n_token))
        return err_set(err, CAMA_ERR_ARG, "kv: cannot keep %d of the %d tokens of sequence %d",
                       n_keep, from >= 0 ? kv->seq[from].n_token : 0, from);
    int32_t seq = 0;
    while ((uint32_t)seq < kv->n_seq && kv->seq[seq].alive)
        seq++;
    if ((uint32_t)seq == kv->n_seq)
        return err_set(err, CAMA_ERR_LIMIT, "kv: %u sequences are alive, the limit", kv->n_seq);
    kv->seq[seq] = (kv_seq){.alive = true, .state = -1};
    kv->n_alive++;
    if (from >= 0)
        share(kv, from, seq, kv_resume(kv, from, n_keep));
    *out_seq = seq;
    return CAMA_OK;
}

/* ---- growing ---- */

/* The last page of s in group g will be written to and is another's too. */
static bool last_is_shared(const kv_cache *kv, int32_t seq, size_t g)
{
    const kv_seq *s = &kv->seq[seq];
    if (s->n_token % KV_PAGE_TOKENS == 0)
        return false;
    const int32_t page = kv_row(kv, seq, g)[s->n_token / KV_PAGE_TOKENS];
    return kv->page[g].n_ref[page] > 1;
}

static bool needs_state(const kv_cache *kv, const kv_seq *s)
{
    return kv->state.n && (s->state < 0 || kv->state.n_ref[s->state] > 1);
}

/* A copy of the state as it is now would be worth keeping: the end of a piece of a prompt is where
 * another request most likely parts from this one. */
static bool wants_check(const kv_cache *kv, const kv_seq *s)
{
    if (kv->n_check == 0 || s->state < 0)
        return false;
    const int32_t last = s->n_check ? s->check[s->n_check - 1].pos : 0;
    if (s->n_token == last)
        return false;
    return s->grew_by_many || s->n_token - last >= KV_CHECK_TOKENS;
}

static cama_err check_needs(kv_cache *kv, const kv_need *needs, size_t n, err_info *err)
{
    cama_err e = CAMA_OK;
    size_t i = 0;
    for (; i < n && !e; i++) {
        const int32_t seq = needs[i].seq;
        if (!kv_alive(kv, seq)) {
            e = err_set(err, CAMA_ERR_ARG, "kv: no sequence %d", seq);
            break;
        }
        const int64_t end = (int64_t)kv->seq[seq].n_token + needs[i].n_new;
        if (needs[i].n_new < 1 || kv->in_batch[seq])
            e = err_set(err, CAMA_ERR_ARG, "kv: sequence %d is named twice, or with %d new tokens",
                        seq, needs[i].n_new);
        else if (end > (int64_t)kv->n_ctx)
            e = err_set(err, CAMA_ERR_CONTEXT,
                        "sequence %d would have %lld tokens, the context has room for %u", seq,
                        (long long)end, kv->n_ctx);
        kv->in_batch[seq] = 1;
    }
    while (i-- > 0)
        kv->in_batch[needs[i].seq] = 0;
    return e;
}

static cama_err check_pages(const kv_cache *kv, const kv_need *needs, size_t n, err_info *err)
{
    for (size_t g = 0; g < kv->n_group; g++) {
        uint64_t want = 0;
        for (size_t i = 0; i < n; i++) {
            const int32_t len = kv->seq[needs[i].seq].n_token;
            want += (uint64_t)(kv_pages_of(len + needs[i].n_new) - kv_pages_of(len));
            want += last_is_shared(kv, needs[i].seq, g);
        }
        if (want > kv->page[g].n_free)
            return err_set(err, CAMA_ERR_LIMIT,
                           "kv: group %zu has %u free pages of %d tokens, %llu are needed", g,
                           kv->page[g].n_free, KV_PAGE_TOKENS, (unsigned long long)want);
    }
    return CAMA_OK;
}

/* Gives up the oldest checkpoint of all; false when there is none. */
static bool drop_oldest_check(kv_cache *kv)
{
    kv_seq *owner = NULL;
    for (uint32_t i = 0; i < kv->n_seq; i++) {
        kv_seq *s = &kv->seq[i];
        if (s->alive && s->n_check && (!owner || s->check[0].stamp < owner->check[0].stamp))
            owner = s;
    }
    if (!owner)
        return false;
    drop_check(kv, owner, 0);
    return true;
}

static cama_err check_states(kv_cache *kv, const kv_need *needs, size_t n, uint32_t *out_want,
                             err_info *err)
{
    for (;;) {
        uint32_t want = 0;
        for (size_t i = 0; i < n; i++)
            want += needs_state(kv, &kv->seq[needs[i].seq]);
        *out_want = want;
        if (want <= kv->state.n_free)
            return CAMA_OK;
        if (!drop_oldest_check(kv))
            return err_set(err, CAMA_ERR_LIMIT, "kv: %u recurrent states are free, %u are needed",
                           kv->state.n_free, want);
    }
}

static void put_copy(kv_cache *kv, int32_t group, int32_t from, int32_t to)
{
    assert(kv->n_copy < kv->max_copy);
    kv->copies[kv->n_copy++] = (kv_copy){.group = group, .from = from, .to = to};
}

static void grow_pages(kv_cache *kv, int32_t seq, size_t g, int32_t n_new)
{
    const int32_t len = kv->seq[seq].n_token;
    int32_t *row = kv_row(kv, seq, g);
    if (last_is_shared(kv, seq, g)) {
        int32_t *last = &row[len / KV_PAGE_TOKENS];
        const int32_t page = pool_take(&kv->page[g]);
        put_copy(kv, (int32_t)g, *last, page);
        pool_unref(&kv->page[g], *last);
        *last = page;
    }
    for (int32_t i = kv_pages_of(len); i < kv_pages_of(len + n_new); i++)
        row[i] = pool_take(&kv->page[g]);
}

/* Room for one more checkpoint: of those there are, the one nearest behind another goes. */
static void thin_checks(kv_cache *kv, kv_seq *s)
{
    if ((uint32_t)s->n_check < kv->n_check)
        return;
    int32_t worst = 0;
    int32_t worst_gap = INT32_MAX;
    for (int32_t i = 0; i < s->n_check; i++) {
        const int32_t gap = s->check[i].pos - (i ? s->check[i - 1].pos : 0);
        if (gap < worst_gap) {
            worst = i;
            worst_gap = gap;
        }
    }
    drop_check(kv, s, worst);
}

/* n_spare: free states beyond those that the batch needs. */
static void grow_state(kv_cache *kv, kv_seq *s, uint32_t *n_spare)
{
    const bool must = needs_state(kv, s);
    const bool keeps = wants_check(kv, s) && (must || *n_spare > 0);
    if (keeps) {
        thin_checks(kv, s);
        pool_ref(&kv->state, s->state);
        s->check[s->n_check++] =
            (kv_check_point){.pos = s->n_token, .state = s->state, .stamp = ++kv->stamp};
        *n_spare -= !must;
    }
    if (!must && !keeps)
        return;
    const int32_t fresh = pool_take(&kv->state);
    put_copy(kv, -1, s->state, fresh);
    pool_unref(&kv->state, s->state);
    s->state = fresh;
}

cama_err kv_extend(kv_cache *kv, const kv_need *needs, size_t n_need, const kv_copy **out_copies,
                   size_t *out_n, err_info *err)
{
    uint32_t n_state = 0;
    cama_err e = check_needs(kv, needs, n_need, err);
    if (!e)
        e = check_pages(kv, needs, n_need, err);
    if (!e && kv->state.n)
        e = check_states(kv, needs, n_need, &n_state, err);
    if (e)
        return e;
    uint32_t n_spare = kv->state.n_free - n_state;
    kv->n_copy = 0;
    for (size_t i = 0; i < n_need; i++) {
        kv_seq *s = &kv->seq[needs[i].seq];
        for (size_t g = 0; g < kv->n_group; g++)
            grow_pages(kv, needs[i].seq, g, needs[i].n_new);
        if (kv->state.n)
            grow_state(kv, s, &n_spare);
        s->n_token += needs[i].n_new;
        s->grew_by_many = needs[i].n_new > 1;
    }
    *out_copies = kv->copies;
    *out_n = kv->n_copy;
    return CAMA_OK;
}

void kv_settle(kv_cache *kv, int32_t seq)
{
    kv_seq *s = &kv->seq[seq];
    for (size_t g = 0; g < kv->n_group; g++) {
        const kv_group_opts *o = &kv->group[g];
        const int32_t seen = first_seen(o, s->n_token) - (int32_t)o->keep;
        const int32_t first = seen > 0 ? seen / KV_PAGE_TOKENS : 0;
        if (first <= s->first[g])
            continue;
        drop_pages(kv, seq, g, s->first[g], first);
        s->first[g] = first;
    }
}
