/* nat_attend.c - keys and values into their pages, and attention over them.
 *
 * Work is cut into items: (rows of one sequence, KV head, some of its queries, maybe one span).
 * A span is NAT_SPAN_PAGES pages at fixed boundaries; attention over a span depends on nothing but
 * the query and the span, and spans are merged in their order, so neither the cut nor the number
 * of threads shows in the result.
 */
#include "engine/native/nat_int.h"

#include <assert.h>
#include <string.h>

#define SPAN_TOKENS (NAT_SPAN_PAGES * KV_PAGE_TOKENS)

/* How the rows of one sequence are cut. */
typedef struct tiling {
    size_t n_row;           /* rows of a block */
    size_t n_query;         /* queries of the group that go together */
    size_t n_block, n_part; /* blocks of rows; parts of the group */
    size_t span0, n_span;
} tiling;

typedef struct item {
    const engine_run *run;
    size_t row, n_row;  /* in the batch */
    size_t head;        /* KV head */
    size_t q0, n_query; /* queries of its group */
    size_t span0, n_span;
} item;

/* ---- storing ---- */

static void chain_head(const engine *e, const nat_chain *c, size_t row, size_t head, size_t dim,
                       float *out)
{
    memcpy(out, nat_row(e, c->src, row) + head * dim, dim * sizeof *out);
    for (int i = 0; i < c->n; i++)
        nat_apply(e, &c->link[i], row, out);
}

static void store_head(engine *e, const nat_attend *a, const engine_run *run, size_t row,
                       size_t head, float *tmp)
{
    const nat_place *at = &a->at;
    const int32_t token = run->pos0 + (int32_t)(row - run->row0);
    const int32_t page =
        kv_table(e->kv, run->seq, (size_t)e->group[at->group].books)[token / KV_PAGE_TOKENS];
    uint8_t *k = nat_page(e, at, page, head);
    chain_head(e, &a->k, row, head, at->dim_k, tmp);
    e->kern.store_k(e->opts.k_type, k, (size_t)token % KV_PAGE_TOKENS, tmp, at->dim_k);
    if (at->v_in_k)
        return;
    chain_head(e, &a->v, row, head, at->dim_v, tmp);
    e->kern.store_v(e->opts.v_type, k + at->k_bytes, (size_t)token % KV_PAGE_TOKENS, tmp,
                    at->dim_v);
}

/* The run that a row belongs to. */
static const engine_run *run_of(const engine *e, size_t row)
{
    size_t lo = 0;
    size_t hi = e->step.n_run;
    while (hi - lo > 1) {
        const size_t mid = (lo + hi) / 2;
        if (e->step.run[mid].row0 <= row)
            lo = mid;
        else
            hi = mid;
    }
    return &e->step.run[lo];
}

/* Stores all rows, and puts the queries where attention will read them. */
void nat_run_store(engine *e, const nat_op *op, int t)
{
    const nat_attend *a = op->u.att;
    size_t from, to;
    nat_share(e, e->step.n_row[ENGINE_IN], t, &from, &to);
    for (size_t row = from; row < to; row++) {
        const engine_run *run = run_of(e, row);
        for (size_t h = 0; a->stores && h < a->at.n_head; h++)
            store_head(e, a, run, row, h, e->thread[t].head);
        for (size_t h = 0; a->par && a->q.n && h < a->par->n_head; h++)
            chain_head(e, &a->q, row, h, a->par->dim_k,
                       nat_row(e, a->q_out, row) + h * a->par->dim_k);
    }
}

/* ---- attending ---- */

/* What one thread knows while it attends. */
typedef struct walk {
    engine *e;
    const nat_attend *a;
    int t;
    size_t group; /* queries of a KV head */
    bool fused;   /* an item stores what it needs itself */
    bool split;   /* spans go to different threads */
    size_t turn;  /* counts pieces of work, dealt out in turn */
} walk;

/* Results over spans: query i of span s at [s * step + i]. */
typedef struct parts {
    float *m, *l, *o;
    size_t step;
} parts;

static bool is_mine(walk *w)
{
    return w->turn++ % (size_t)w->e->n_thread == (size_t)w->t;
}

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static parts parts_in(float *mem, size_t step, size_t n_span)
{
    return (parts){.m = mem, .l = mem + n_span * step, .o = mem + 2 * n_span * step, .step = step};
}

/* Tokens [*lo, *hi) that any of n rows sees. */
static void seen_tokens(const walk *w, size_t row, size_t n, size_t *lo, size_t *hi)
{
    const nat_mask *mask = &w->e->mask[w->a->mask];
    *lo = SIZE_MAX;
    *hi = 0;
    for (size_t r = row; r < row + n; r++) {
        *lo = min_size(*lo, (size_t)mask->lo[r]);
        *hi = (size_t)mask->hi[r] > *hi ? (size_t)mask->hi[r] : *hi;
    }
}

/* Rows that share a walk over the pages: as many as their queries, and the unmerged spans of them,
 * have room. */
static tiling tile_run(const walk *w, const engine_run *run)
{
    size_t lo, hi;
    seen_tokens(w, run->row0, run->n, &lo, &hi);
    tiling s = {.span0 = lo / SPAN_TOKENS};
    s.n_span = (hi + SPAN_TOKENS - 1) / SPAN_TOKENS - s.span0;
    const size_t room = NAT_PART_FLOATS / (s.n_span * w->a->par->dim_v);
    const size_t most = room < 1 ? 1 : min_size(room, NAT_QUERIES);
    assert(w->group && run->n); /* the plan and the batch saw to it */
    s.n_query = min_size(w->group, most);
    s.n_row = min_size(run->n, most / s.n_query);
    s.n_block = (run->n + s.n_row - 1) / s.n_row;
    s.n_part = (w->group + s.n_query - 1) / s.n_query;
    return s;
}

static size_t n_items(const walk *w, const tiling *s)
{
    return s->n_block * w->a->par->n_kv_head * s->n_part;
}

static item item_at(const walk *w, const engine_run *run, const tiling *s, size_t i)
{
    const size_t n_head = w->a->par->n_kv_head;
    item it = {.run = run, .span0 = s->span0, .n_span = s->n_span};
    it.head = i / s->n_part % n_head;
    it.q0 = i % s->n_part * s->n_query;
    it.n_query = min_size(s->n_query, w->group - it.q0);
    it.row = run->row0 + i / (n_head * s->n_part) * s->n_row;
    it.n_row = min_size(s->n_row, run->row0 + run->n - it.row);
    return it;
}

/* The item's queries: where the store left them, or made here for this thread alone. */
static const float *item_queries(const walk *w, const item *it, size_t *out_ld)
{
    const engine *e = w->e;
    const size_t dim = w->a->par->dim_k;
    const size_t first = it->head * w->group + it->q0;
    if (!w->fused || w->a->q.n == 0) {
        const int32_t node = w->a->q.n ? w->a->q_out : w->a->q.src;
        *out_ld = e->value[node].ld;
        return nat_row(e, node, it->row) + first * dim;
    }
    float *q = e->thread[w->t].query;
    for (size_t r = 0; r < it->n_row; r++)
        for (size_t g = 0; g < it->n_query; g++)
            chain_head(e, &w->a->q, it->row + r, first + g, dim, q + (r * it->n_query + g) * dim);
    *out_ld = it->n_query * dim;
    return q;
}

/* Stores what the item's rows add to its head within the spans. */
static void item_store(const walk *w, const item *it, size_t span0, size_t n_span)
{
    for (size_t r = it->row; w->fused && r < it->row + it->n_row; r++) {
        const size_t token = (size_t)it->run->pos0 + (r - it->run->row0);
        if (token / SPAN_TOKENS >= span0 && token / SPAN_TOKENS < span0 + n_span)
            store_head(w->e, w->a, it->run, r, it->head, w->e->thread[w->t].head);
    }
}

/* The item's head in the pages of one span that any of its rows sees; gives their number. */
static size_t span_pages(const walk *w, const item *it, size_t span, const void **k_page,
                         const void **v_page, size_t *out_page0)
{
    const nat_place *at = &w->a->at;
    const int32_t *table = kv_table(w->e->kv, it->run->seq, (size_t)w->e->group[at->group].books);
    size_t lo, hi;
    seen_tokens(w, it->row, it->n_row, &lo, &hi);
    const size_t first = span * NAT_SPAN_PAGES;
    const size_t p0 = lo / KV_PAGE_TOKENS > first ? lo / KV_PAGE_TOKENS : first;
    const size_t p1 = min_size((hi - 1) / KV_PAGE_TOKENS + 1, first + NAT_SPAN_PAGES);
    for (size_t p = p0; p < p1; p++) {
        const uint8_t *k = nat_page(w->e, at, table[p], it->head);
        k_page[p - p0] = k;
        v_page[p - p0] = k + at->k_bytes;
    }
    *out_page0 = p0;
    return p1 > p0 ? p1 - p0 : 0;
}

/* Span s of the item; its results go to out, which is that span's. */
static void attend_span(const walk *w, const item *it, size_t s, const parts *out)
{
    const engine *e = w->e;
    const nat_attend *a = w->a;
    const nat_mask *mask = &e->mask[a->mask];
    const void *k_page[NAT_SPAN_PAGES];
    const void *v_page[NAT_SPAN_PAGES];
    kern_attend job = {.k_type = e->opts.k_type,
                       .v_type = e->opts.v_type,
                       .dim_k = a->at.dim_k,
                       .dim_v = a->at.dim_v,
                       .v_in_k = a->at.v_in_k,
                       .n_row = it->n_row,
                       .n_group = it->n_query,
                       .k_page = k_page,
                       .v_page = v_page,
                       .lo = mask->lo + it->row,
                       .hi = mask->hi + it->row,
                       .scale = a->par->scale,
                       .softcap = a->par->softcap,
                       .m = out->m,
                       .l = out->l,
                       .o = out->o,
                       .scratch = e->thread[w->t].kern};
    job.q = item_queries(w, it, &job.q_ld);
    job.n_page = span_pages(w, it, it->span0 + s, k_page, v_page, &job.page0);
    e->kern.attend(&job);
}

/* Merges the spans of the item's queries into the op's value; p is the item's first query. */
static void merge_item(const walk *w, const item *it, const parts *p)
{
    const engine *e = w->e;
    const size_t dim = w->a->par->dim_v;
    nat_thread *own = &e->thread[w->t];
    for (size_t i = 0; i < it->n_row * it->n_query; i++) {
        const size_t head = it->head * w->group + it->q0 + i % it->n_query;
        for (size_t s = 0; s < it->n_span; s++) {
            own->part_o[s] = p->o + (s * p->step + i) * dim;
            own->part_m[s] = p->m[s * p->step + i];
            own->part_l[s] = p->l[s * p->step + i];
        }
        e->kern.attend_merge(own->part_o, own->part_m, own->part_l, it->n_span,
                             w->a->sinks ? w->a->sinks + head : NULL, dim,
                             nat_row(e, w->a->out, it->row + i / it->n_query) + head * dim);
    }
}

/* p moved on by n queries, or by whole spans. */
static parts parts_at(const walk *w, const parts *p, size_t span, size_t n)
{
    const size_t at = span * p->step + n;
    return (parts){p->m + at, p->l + at, p->o + at * w->a->par->dim_v, p->step};
}

/* One thread walks all spans of the item and merges them. */
static void whole_item(const walk *w, const item *it)
{
    const parts p = parts_in(w->e->thread[w->t].part, it->n_row * it->n_query, it->n_span);
    item_store(w, it, it->span0, it->n_span);
    for (size_t s = 0; s < it->n_span; s++) {
        const parts one = parts_at(w, &p, s, 0);
        attend_span(w, it, s, &one);
    }
    merge_item(w, it, &p);
}

static size_t part_floats(const walk *w, const engine_run *run, const tiling *s)
{
    return run->n * w->a->par->n_head * s->n_span * (w->a->par->dim_v + 2);
}

/* Few items and long contexts: the spans of an item go to different threads, into shared memory;
 * when all have met, they are merged. */
static void split_run(walk *w, const engine_run *run, const tiling *s, float *mem, bool merge)
{
    const parts all = parts_in(mem, run->n * w->a->par->n_head, s->n_span);
    size_t done = 0;
    for (size_t i = 0; i < n_items(w, s); i++) {
        const item it = item_at(w, run, s, i);
        const parts first = parts_at(w, &all, 0, done);
        if (merge && is_mine(w))
            merge_item(w, &it, &first);
        for (size_t k = 0; !merge && k < it.n_span; k++) {
            if (!is_mine(w))
                continue;
            const parts one = parts_at(w, &all, k, done);
            item_store(w, &it, it.span0 + k, 1);
            attend_span(w, &it, k, &one);
        }
        done += it.n_row * it.n_query;
    }
}

/* How to share the work; every thread comes to the same answers, from the same figures. */
static void choose_way(walk *w)
{
    const engine *e = w->e;
    size_t n_item = 0;
    size_t n_span = 0;
    size_t n_float = 0;
    w->fused = w->a->stores && e->step.n_row[ENGINE_IN] <= NAT_FEW_ROWS;
    for (size_t i = 0; i < e->step.n_run; i++) {
        const tiling s = tile_run(w, &e->step.run[i]);
        w->fused = w->fused && s.n_block == 1 && s.n_part == 1;
        n_item += n_items(w, &s);
        n_span = s.n_span > n_span ? s.n_span : n_span;
        n_float += part_floats(w, &e->step.run[i], &s);
    }
    const bool enough = n_item > 4 * (size_t)e->n_thread; /* to share without cutting them */
    w->split = e->n_thread > 1 && n_span > 1 && !enough && n_float <= e->part_floats;
}

static void walk_runs(walk *w, bool merge)
{
    float *mem = w->e->part;
    w->turn = 0;
    for (size_t r = 0; r < w->e->step.n_run; r++) {
        const engine_run *run = &w->e->step.run[r];
        const tiling s = tile_run(w, run);
        if (w->split) {
            split_run(w, run, &s, mem, merge);
            mem += part_floats(w, run, &s);
            continue;
        }
        for (size_t i = 0; i < n_items(w, &s); i++) {
            if (!is_mine(w))
                continue;
            const item it = item_at(w, run, &s, i);
            whole_item(w, &it);
        }
    }
}

void nat_run_attend(engine *e, const nat_op *op, int t)
{
    const nat_attend *a = op->u.att;
    walk w = {.e = e, .a = a, .t = t, .group = a->par->n_head / a->par->n_kv_head};
    const bool is_read =
        a->need & e->step.wanted; /* the last block's only when something is asked for */
    if (is_read)
        choose_way(&w);
    if (!w.fused && (a->stores || a->q.n)) {
        nat_run_store(e, op, t);
        nat_meet(e, t);
    }
    if (!is_read)
        return;
    walk_runs(&w, false);
    if (w.split) {
        nat_meet(e, t);
        walk_runs(&w, true);
    }
}
