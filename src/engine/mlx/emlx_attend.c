/* emlx_attend.c - keys and values into their pages, and attention over them, as nodes of ours.
 *
 * Attention over a span of EMLX_SPAN_PAGES pages depends on nothing but the query and the span, and
 * spans are merged in their order: the native engine's bits, whatever shares the step.
 */
#include "engine/mlx/emlx_kern.h"

#include <string.h>

#define SPAN_TOKENS (EMLX_SPAN_PAGES * EMLX_PAGE)
#define QUERIES 64                /* that walk a page together */
#define PART_FLOATS (256u * 1024) /* of unmerged spans, at least those of one query */

/* ---- storing ---- */

typedef struct storing {
    emlx_single *s;
    const float *k, *v;
} storing;

static void store_row(const storing *x, const engine_run *r, size_t row)
{
    engine *e = x->s->e;
    const int slot = x->s->node->par.attend.slot;
    const plan_kv_slot *shape = &e->plan->slots[slot];
    const size_t token = (size_t)r->pos0 + (row - r->row0);
    for (size_t h = 0; h < shape->n_kv_head; h++) {
        uint8_t *k = emlx_page_head(e, r->seq, slot, token / EMLX_PAGE, h);
        e->kern.store_k(e->opts.k_type, k, token % EMLX_PAGE,
                        x->k + (row * shape->n_kv_head + h) * shape->dim_k, shape->dim_k);
        if (!shape->v_in_k)
            e->kern.store_v(e->opts.v_type, k + e->place[slot].k_bytes, token % EMLX_PAGE,
                            x->v + (row * shape->n_kv_head + h) * shape->dim_v, shape->dim_v);
    }
}

static const engine_run *run_of(const engine *e, size_t row)
{
    size_t i = 0;
    while (row >= e->step.run[i].row0 + e->step.run[i].n)
        i++;
    return &e->step.run[i];
}

static void run_store(void *arg, int t, int n_thread)
{
    const storing *x = arg;
    engine *e = x->s->e;
    size_t from, to;
    emlx_share(e->step.n_row[ENGINE_IN], t, n_thread, &from, &to);
    for (size_t row = from; row < to; row++)
        store_row(x, run_of(e, row), row);
}

static void store_node(void *user, const mb_view *in, size_t n_in, const mb_view *out, size_t n_out)
{
    emlx_single *s = user;
    storing x = {s, in[0].data, n_in > 1 ? in[1].data : NULL};
    (void)n_out;
    workers_run(s->e->pool, run_store, &x);
    *(int32_t *)out[0].data = 1;
}

mb_ref emlx_emit_store(engine *e, emlx_single *s)
{
    const int slot = s->node->par.attend.slot;
    const mb_ref in[2] = {emlx_in(e, s->id, 0), emlx_in(e, s->id, 1)};
    const mb_shape shape = emlx_shape1(1);
    const mb_dtype type = MB_I32;
    mb_ref done = 0;
    (void)e->b->host_kernel(e->m, store_node, s, in, s->node->in[1] >= 0 ? 2 : 1, &shape, &type, 1,
                            &done); /* sticks */
    e->stored[slot] = done;
    emlx_add_effect(e, done);
    return 0;
}

/* ---- attending ---- */

/* Rows of one run, one KV head, its whole group of queries. */
typedef struct item {
    const engine_run *run;
    size_t row, n_row, head;
    size_t span0, n_span;
} item;

typedef struct attending {
    emlx_single *s;
    const plan_attend *p;
    const emlx_mask *mask;
    const float *q, *sinks;
    float *out;
    size_t group;
} attending;

/* A thread's memory, carved out of its scratch. */
typedef struct own {
    float *o, *m, *l;
    const float **span_o;
    float *span_m, *span_l;
    void *kern;
} own;

/* Queries of the widest group, and floats of unmerged results: of one row of such a group over a
 * full context, or more. */
static void set_sizes(engine *e)
{
    e->n_span_max = ((size_t)e->opts.n_ctx - 1) / SPAN_TOKENS + 1;
    e->n_query_max = QUERIES;
    e->n_part_float = PART_FLOATS;
    for (size_t i = 0; i < e->plan->n_node; i++) {
        const plan_node *n = &e->plan->nodes[i];
        if (n->op != PLAN_ATTEND)
            continue;
        const size_t group = n->par.attend.n_head / n->par.attend.n_kv_head;
        const size_t one = e->n_span_max * group * n->par.attend.dim_v;
        e->n_query_max = group > e->n_query_max ? group : e->n_query_max;
        e->n_part_float = one > e->n_part_float ? one : e->n_part_float;
    }
}

size_t emlx_attend_scratch(engine *e)
{
    size_t kern = 0;
    set_sizes(e);
    for (size_t i = 0; i < e->plan->n_slot; i++) {
        const plan_kv_slot *s = &e->plan->slots[i];
        const size_t n = s->kind == PLAN_KV_STATE
                             ? 0
                             : e->kern.attend_scratch_bytes(s->dim_k, s->dim_v, e->n_query_max);
        kern = n > kern ? n : kern;
    }
    const size_t n_ml = 2 * e->n_query_max * e->n_span_max;
    return emlx_up(kern, 64) + emlx_up((e->n_part_float + n_ml) * sizeof(float), 64) +
           e->n_span_max * (sizeof(float *) + 2 * sizeof(float)) + 192;
}

static own own_of(const engine *e, int t)
{
    const size_t n_span = e->n_span_max;
    uint8_t *mem = emlx_scratch(e, t);
    own o;
    o.o = (float *)(void *)mem;
    o.m = o.o + e->n_part_float;
    o.l = o.m + e->n_query_max * n_span;
    mem += emlx_up((e->n_part_float + 2 * e->n_query_max * n_span) * sizeof(float), 64);
    o.span_o = (const float **)(void *)mem;
    mem += emlx_up(n_span * sizeof(float *), 64);
    o.span_m = (float *)(void *)mem;
    o.span_l = o.span_m + n_span;
    mem += emlx_up(2 * n_span * sizeof(float), 64);
    o.kern = mem;
    return o;
}

static void seen_by(const emlx_mask *m, size_t row, size_t n, size_t *lo, size_t *hi)
{
    *lo = SIZE_MAX;
    *hi = 0;
    for (size_t r = row; r < row + n; r++) {
        *lo = (size_t)m->lo[r] < *lo ? (size_t)m->lo[r] : *lo;
        *hi = (size_t)m->hi[r] > *hi ? (size_t)m->hi[r] : *hi;
    }
}

static void attend_span(const attending *a, const item *it, size_t span, const own *o)
{
    engine *e = a->s->e;
    const int slot = a->p->slot;
    const size_t n_query = it->n_row * a->group;
    const size_t at = (span - it->span0) * n_query;
    const void *k_page[EMLX_SPAN_PAGES];
    const void *v_page[EMLX_SPAN_PAGES];
    size_t lo, hi;
    seen_by(a->mask, it->row, it->n_row, &lo, &hi);
    const size_t first = span * EMLX_SPAN_PAGES;
    const size_t p0 = lo / EMLX_PAGE > first ? lo / EMLX_PAGE : first;
    const size_t end = (hi - 1) / EMLX_PAGE + 1;
    const size_t p1 = end < first + EMLX_SPAN_PAGES ? end : first + EMLX_SPAN_PAGES;
    for (size_t p = p0; p < p1; p++) {
        const uint8_t *k = emlx_page_head(e, it->run->seq, slot, p, it->head);
        k_page[p - p0] = k;
        v_page[p - p0] = k + e->place[slot].k_bytes;
    }
    const kern_attend job = {.k_type = e->opts.k_type,
                             .v_type = e->opts.v_type,
                             .dim_k = a->p->dim_k,
                             .dim_v = a->p->dim_v,
                             .v_in_k = e->plan->slots[slot].v_in_k,
                             .n_row = it->n_row,
                             .n_group = a->group,
                             .q = a->q +
                                  (it->row * a->p->n_head + it->head * a->group) * a->p->dim_k,
                             .q_ld = a->p->n_head * a->p->dim_k,
                             .k_page = k_page,
                             .v_page = v_page,
                             .page0 = p0,
                             .n_page = p1 > p0 ? p1 - p0 : 0,
                             .lo = a->mask->lo + it->row,
                             .hi = a->mask->hi + it->row,
                             .scale = a->p->scale,
                             .softcap = a->p->softcap,
                             .m = o->m + at,
                             .l = o->l + at,
                             .o = o->o + at * a->p->dim_v,
                             .scratch = o->kern};
    e->kern.attend(&job);
}

static void merge(const attending *a, const item *it, const own *o)
{
    const size_t n_query = it->n_row * a->group;
    for (size_t i = 0; i < n_query; i++) {
        const size_t head = it->head * a->group + i % a->group;
        for (size_t s = 0; s < it->n_span; s++) {
            o->span_o[s] = o->o + (s * n_query + i) * a->p->dim_v;
            o->span_m[s] = o->m[s * n_query + i];
            o->span_l[s] = o->l[s * n_query + i];
        }
        a->s->e->kern.attend_merge(
            o->span_o, o->span_m, o->span_l, it->n_span, a->sinks ? a->sinks + head : NULL,
            a->p->dim_v, a->out + ((it->row + i / a->group) * a->p->n_head + head) * a->p->dim_v);
    }
}

/* Rows that walk the pages together: as many as their queries and unmerged spans have room. */
static size_t rows_of(const attending *a, const engine_run *r, size_t row)
{
    size_t lo, hi;
    seen_by(a->mask, row, r->row0 + r->n - row, &lo, &hi);
    const size_t n_span = (hi - 1) / SPAN_TOKENS + 1 - lo / SPAN_TOKENS;
    const size_t room = a->s->e->n_part_float / (n_span * a->group * a->p->dim_v);
    size_t n = QUERIES / a->group;
    n = n < room ? n : room;
    n = n ? n : 1;
    return n < r->row0 + r->n - row ? n : r->row0 + r->n - row;
}

static void run_attend(void *arg, int t, int n_thread)
{
    const attending *a = arg;
    engine *e = a->s->e;
    const own o = own_of(e, t);
    size_t turn = 0;
    for (size_t i = 0; i < e->step.n_run; i++) {
        const engine_run *r = &e->step.run[i];
        size_t n;
        for (size_t row = r->row0; row < r->row0 + r->n; row += n) {
            n = rows_of(a, r, row);
            size_t lo, hi;
            seen_by(a->mask, row, n, &lo, &hi);
            item it = {.run = r, .row = row, .n_row = n, .span0 = lo / SPAN_TOKENS};
            it.n_span = (hi - 1) / SPAN_TOKENS + 1 - it.span0;
            for (it.head = 0; it.head < a->p->n_kv_head; it.head++) {
                if (turn++ % (size_t)n_thread != (size_t)t)
                    continue;
                for (size_t s = it.span0; s < it.span0 + it.n_span; s++)
                    attend_span(a, &it, s, &o);
                merge(a, &it, &o);
            }
        }
    }
}

static void attend_node(void *user, const mb_view *in, size_t n_in, const mb_view *out,
                        size_t n_out)
{
    emlx_single *s = user;
    engine *e = s->e;
    const emlx_weight *sinks = e_weight(s, 0);
    attending a = {.s = s,
                   .p = &s->node->par.attend,
                   .mask = &e->mask[e->node[s->id].mask],
                   .q = in[0].data,
                   .sinks = sinks ? sinks->floats : NULL,
                   .out = out[0].data};
    (void)n_in, (void)n_out;
    a.group = a.p->n_head / a.p->n_kv_head;
    workers_run(e->pool, run_attend, &a);
    atomic_fetch_add_explicit(&e->n_moved, 1, memory_order_relaxed);
}

mb_ref emlx_emit_attend(engine *e, emlx_single *s)
{
    const mb_ref stored = e->stored[s->node->par.attend.slot];
    const mb_ref in[2] = {emlx_in(e, s->id, 0), stored};
    const mb_shape shape = emlx_shape2(e->step.n_row[ENGINE_IN], s->node->n_col);
    const mb_dtype type = MB_F32;
    mb_ref out = 0;
    (void)e->b->host_kernel(e->m, attend_node, s, in, stored ? 2 : 1, &shape, &type, 1,
                            &out); /* sticks */
    return out;
}
