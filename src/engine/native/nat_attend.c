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
    const nat_seq_run *run;
    const tiling *tile;
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

static void store_head(engine *e, const nat_attend *a, const nat_seq_run *run, size_t row,
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
static const nat_seq_run *run_of(const engine *e, size_t row)
{
    size_t lo = 0;
    size_t hi = e->n_run;
    while (hi - lo > 1) {
        const size_t mid = (lo + hi) / 2;
        if (e->run[mid].row0 <= row)
            lo = mid;
        else
            hi = mid;
    }
    return &e->run[lo];
}

/* Stores all rows, and puts the queries where attention will read them. */
void nat_run_store(engine *e, const nat_op *op, int t)
{
    const nat_attend *a = op->u.att;
    size_t from, to;
    nat_share(e, e->n_row[NAT_IN], t, &from, &to);
    for (size_t row = from; row < to; row++) {
        const nat_seq_run *run = run_of(e, row);
        for (size_t h = 0; a->stores && h < a->at.n_head; h++)
            store_head(e, a, run, row, h, e->thread[t].head);
        for (size_t h = 0; a->par && a->q.n && h < a->par->n_head; h++)
            chain_head(e, &a->q, row, h, a->par->dim_k,
                       nat_row(e, a->q_out, row) + h * a->par->dim_k);
    }
}

/* ---- attending ---- */

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Rows that share a walk over the pages: as many as their queries, and the unmerged spans of them,
 * have room. */
static tiling tile_run(const engine *e, const nat_attend *a, const nat_seq_run *run)
{
    const size_t group = a->par->n_head / a->par->n_kv_head;
    const nat_mask *mask = &e->mask[a->mask];
    size_t lo = SIZE_MAX;
    size_t hi = 0;
    for (size_t r = run->row0; r < run->row0 + run->n; r++) {
        lo = min_size(lo, (size_t)mask->lo[r]);
        hi = (size_t)mask->hi[r] > hi ? (size_t)mask->hi[r] : hi;
    }
    tiling s = {.span0 = lo / SPAN_TOKENS};
    s.n_span = (hi + SPAN_TOKENS - 1) / SPAN_TOKENS - s.span0;
    const size_t room = NAT_PART_FLOATS / (s.n_span * a->par->dim_v);
    const size_t most = room < 1 ? 1 : min_size(room, NAT_QUERIES);
    s.n_query = min_size(group, most);
    s.n_row = min_size(run->n, most / s.n_query);
    s.n_block = (run->n + s.n_row - 1) / s.n_row;
    s.n_part = (group + s.n_query - 1) / s.n_query;
    return s;
}

static size_t n_items(const nat_attend *a, const tiling *s)
{
    return s->n_block * a->par->n_kv_head * s->n_part;
}

static item item_at(const nat_attend *a, const nat_seq_run *run, const tiling *s, size_t i)
{
    const size_t group = a->par->n_head / a->par->n_kv_head;
    item it = {.run = run, .tile = s, .span0 = s->span0, .n_span = s->n_span};
    const size_t block = i / (a->par->n_kv_head * s->n_part);
    it.head = i / s->n_part % a->par->n_kv_head;
    it.q0 = i % s->n_part * s->n_query;
    it.n_query = min_size(s->n_query, group - it.q0);
    it.row = run->row0 + block * s->n_row;
    it.n_row = min_size(s->n_row, run->row0 + run->n - it.row);
    return it;
}

/* Pages of one span that any row of the item sees: [*p0, *p1). */
static void seen_pages(const engine *e, const nat_attend *a, const item *it, size_t span,
                       size_t *p0, size_t *p1)
{
    const nat_mask *mask = &e->mask[a->mask];
    int32_t lo = INT32_MAX;
    int32_t hi = 0;
    for (size_t r = it->row; r < it->row + it->n_row; r++) {
        lo = mask->lo[r] < lo ? mask->lo[r] : lo;
        hi = mask->hi[r] > hi ? mask->hi[r] : hi;
    }
    const size_t first = (size_t)lo / KV_PAGE_TOKENS;
    const size_t end = ((size_t)hi + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
    *p0 = first > span * NAT_SPAN_PAGES ? first : span * NAT_SPAN_PAGES;
    *p1 = min_size(end, (span + 1) * NAT_SPAN_PAGES);
}

/* Results of n queries over one span. */
typedef struct part {
    float *m, *l, *o;
} part;

static void attend_span(engine *e, const nat_attend *a, const item *it, size_t span, int t,
                        const float *q, size_t q_ld, const part *out)
{
    const nat_mask *mask = &e->mask[a->mask];
    const int32_t *table = kv_table(e->kv, it->run->seq, (size_t)e->group[a->at.group].books);
    const void *k_page[NAT_SPAN_PAGES];
    const void *v_page[NAT_SPAN_PAGES];
    size_t p0, p1;
    seen_pages(e, a, it, span, &p0, &p1);
    for (size_t p = p0; p < p1; p++) {
        const uint8_t *k = nat_page(e, &a->at, table[p], it->head);
        k_page[p - p0] = k;
        v_page[p - p0] = k + a->at.k_bytes;
    }
    const kern_attend job = {.k_type = e->opts.k_type,
                             .v_type = e->opts.v_type,
                             .dim_k = a->at.dim_k,
                             .dim_v = a->at.dim_v,
                             .v_in_k = a->at.v_in_k,
                             .n_row = it->n_row,
                             .n_group = it->n_query,
                             .q = q,
                             .q_ld = q_ld,
                             .k_page = k_page,
                             .v_page = v_page,
                             .page0 = p0,
                             .n_page = p1 > p0 ? p1 - p0 : 0,
                             .lo = mask->lo + it->row,
                             .hi = mask->hi + it->row,
                             .scale = a->par->scale,
                             .softcap = a->par->softcap,
                             .m = out->m,
                             .l = out->l,
                             .o = out->o,
                             .scratch = e->thread[t].kern};
    e->kern.attend(&job);
}

/* Merges query i of the item, whose spans lie step apart in p, into the op's value. */
static void merge_query(engine *e, const nat_op *op, const item *it, int t, size_t i, const part *p,
                        size_t step)
{
    const nat_attend *a = op->u.att;
    nat_thread *own = &e->thread[t];
    const size_t group = a->par->n_head / a->par->n_kv_head;
    const size_t head = it->head * group + it->q0 + i % it->n_query;
    const size_t dim = a->par->dim_v;
    for (size_t s = 0; s < it->n_span; s++) {
        own->part_o[s] = p->o + (s * step + i) * dim;
        own->part_m[s] = p->m[s * step + i];
        own->part_l[s] = p->l[s * step + i];
    }
    e->kern.attend_merge(own->part_o, own->part_m, own->part_l, it->n_span,
                         a->sinks ? a->sinks + head : NULL, dim,
                         nat_row(e, a->out, it->row + i / it->n_query) + head * dim);
}

/* The item's queries: where the store left them, or made here for this thread alone. */
static const float *item_queries(engine *e, const nat_attend *a, const item *it, int t, bool fused,
                                 size_t *out_ld)
{
    const size_t dim = a->par->dim_k;
    const size_t first = it->head * (a->par->n_head / a->par->n_kv_head) + it->q0;
    if (!fused || a->q.n == 0) {
        const int32_t node = a->q.n ? a->q_out : a->q.src;
        *out_ld = e->value[node].ld;
        return nat_row(e, node, it->row) + first * dim;
    }
    float *q = e->thread[t].query;
    for (size_t r = 0; r < it->n_row; r++)
        for (size_t g = 0; g < it->n_query; g++)
            chain_head(e, &a->q, it->row + r, first + g, dim, q + (r * it->n_query + g) * dim);
    *out_ld = it->n_query * dim;
    return q;
}

/* Stores what the item's rows add to its head within [span0, span0 + n_span). */
static void item_store(engine *e, const nat_attend *a, const item *it, size_t span0, size_t n_span,
                       int t)
{
    for (size_t r = it->row; r < it->row + it->n_row; r++) {
        const size_t token = (size_t)it->run->pos0 + (r - it->run->row0);
        if (token / SPAN_TOKENS >= span0 && token / SPAN_TOKENS < span0 + n_span)
            store_head(e, a, it->run, r, it->head, e->thread[t].head);
    }
}

/* One thread walks all spans of the item and merges them. */
static void whole_item(engine *e, const nat_op *op, const item *it, int t, bool fused)
{
    const nat_attend *a = op->u.att;
    const size_t n = it->n_row * it->n_query;
    size_t q_ld;
    float *mem = e->thread[t].part;
    part p = {.m = mem, .l = mem + it->n_span * n, .o = mem + 2 * it->n_span * n};
    const float *q = item_queries(e, a, it, t, fused, &q_ld);
    if (fused)
        item_store(e, a, it, it->span0, it->n_span, t);
    for (size_t s = 0; s < it->n_span; s++) {
        const part one = {.m = p.m + s * n, .l = p.l + s * n, .o = p.o + s * n * a->par->dim_v};
        attend_span(e, a, it, it->span0 + s, t, q, q_ld, &one);
    }
    for (size_t i = 0; i < n; i++)
        merge_query(e, op, it, t, i, &p, n);
}

/* Few items and long contexts: the spans of an item go to different threads. at: floats of the
 * shared memory before this run's. */
static void split_run(engine *e, const nat_op *op, const nat_seq_run *run, const tiling *s, int t,
                      bool fused, size_t *turn, float *mem)
{
    const nat_attend *a = op->u.att;
    const size_t total = run->n * a->par->n_head; /* queries of the run, an item's together */
    size_t done = 0;
    for (size_t i = 0; i < n_items(a, s); i++) {
        const item it = item_at(a, run, s, i);
        const size_t n = it.n_row * it.n_query;
        for (size_t k = 0; k < it.n_span; k++, ++*turn) {
            if (*turn % (size_t)e->n_thread != (size_t)t)
                continue;
            const size_t at = k * total + done;
            const part one = {.m = mem + at,
                              .l = mem + total * it.n_span + at,
                              .o = mem + 2 * total * it.n_span + at * a->par->dim_v};
            size_t q_ld;
            const float *q = item_queries(e, a, &it, t, fused, &q_ld);
            if (fused)
                item_store(e, a, &it, it.span0 + k, 1, t);
            attend_span(e, a, &it, it.span0 + k, t, q, q_ld, &one);
        }
        done += n;
    }
}

static void merge_run(engine *e, const nat_op *op, const nat_seq_run *run, const tiling *s, int t,
                      size_t *turn, float *mem)
{
    const nat_attend *a = op->u.att;
    const size_t total = run->n * a->par->n_head;
    size_t done = 0;
    for (size_t i = 0; i < n_items(a, s); i++) {
        const item it = item_at(a, run, s, i);
        const size_t n = it.n_row * it.n_query;
        const part p = {.m = mem + done,
                        .l = mem + total * it.n_span + done,
                        .o = mem + 2 * total * it.n_span + done * a->par->dim_v};
        if ((*turn)++ % (size_t)e->n_thread == (size_t)t)
            for (size_t q = 0; q < n; q++)
                merge_query(e, op, &it, t, q, &p, total);
        done += n;
    }
}

static size_t part_floats(const nat_attend *a, const nat_seq_run *run, const tiling *s)
{
    return run->n * a->par->n_head * s->n_span * (a->par->dim_v + 2);
}

/* Every thread comes to the same answers, from the same figures. */
typedef struct way {
    bool fused; /* an item stores what it needs itself */
    bool split; /* spans go to different threads */
} way;

static way choose_way(const engine *e, const nat_attend *a)
{
    way w = {.fused = a->stores && e->n_row[NAT_IN] <= NAT_FEW_ROWS, .split = e->n_thread > 1};
    size_t n_item = 0;
    size_t n_span = 0;
    size_t n_float = 0;
    for (size_t i = 0; i < e->n_run; i++) {
        const tiling s = tile_run(e, a, &e->run[i]);
        w.fused = w.fused && s.n_block == 1 && s.n_part == 1;
        n_item += n_items(a, &s);
        n_span = s.n_span > n_span ? s.n_span : n_span;
        n_float += part_floats(a, &e->run[i], &s);
        if (n_item > 4 * (size_t)e->n_thread)
            w.split = false; /* enough to share without */
    }
    if (n_span < 2 || n_float > e->part_floats)
        w.split = false;
    return w;
}

void nat_run_attend(engine *e, const nat_op *op, int t)
{
    const nat_attend *a = op->u.att;
    const way w = choose_way(e, a);
    size_t turn = 0;
    if (!w.fused && (a->stores || a->q.n)) {
        nat_run_store(e, op, t);
        nat_meet(e, t);
    }
    float *mem = e->part;
    for (size_t r = 0; r < e->n_run; r++) {
        const tiling s = tile_run(e, a, &e->run[r]);
        if (w.split) {
            split_run(e, op, &e->run[r], &s, t, w.fused, &turn, mem);
            mem += part_floats(a, &e->run[r], &s);
            continue;
        }
        for (size_t i = 0; i < n_items(a, &s); i++, turn++) {
            if (turn % (size_t)e->n_thread != (size_t)t)
                continue;
            const item it = item_at(a, &e->run[r], &s, i);
            whole_item(e, op, &it, t, w.fused);
        }
    }
    if (!w.split)
        return;
    nat_meet(e, t);
    mem = e->part;
    turn = 0;
    for (size_t r = 0; r < e->n_run; r++) {
        const tiling s = tile_run(e, a, &e->run[r]);
        merge_run(e, op, &e->run[r], &s, t, &turn, mem);
        mem += part_floats(a, &e->run[r], &s);
    }
}
