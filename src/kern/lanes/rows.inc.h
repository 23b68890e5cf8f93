/* rows.inc.h - V_N weight rows at a time from any slice. */

/* Lanes [l0, l1) are rows base + l0 ... of the slice; the lanes before are rows done already. */
typedef struct row_group {
    size_t base, stride;
    size_t l0, l1;
} row_group;

/* The group that begins at row. The last one of a slice reaches back, so that no row past the
 * matrix is read; where that is impossible every lane reads the same row and one is kept. */
V_INLINE row_group row_group_at(const kern_weight *w, size_t row, size_t row1)
{
    const size_t left = row1 - row;
    if (left >= V_N)
        return (row_group){row, w->row_bytes, 0, V_N};
    if (row1 >= V_N)
        return (row_group){row1 - V_N, w->row_bytes, V_N - left, V_N};
    return (row_group){row, 0, 0, 1};
}

V_INLINE size_t row_group_next(const row_group *g)
{
    return g->base + g->l1;
}

V_INLINE void store_out(const kern_out *out, size_t a_row, const row_group *g, vf acc)
{
    float *y = out->y + a_row * out->ld + g->base;
    if (g->l0 == 0 && g->l1 == V_N) {
        if (out->bias)
            acc += v_load(out->bias + g->base);
        v_store(y, out->add ? acc + v_load(y) : acc);
        return;
    }
    if (out->bias)
        acc += v_load_part(out->bias + g->base, g->l0, g->l1);
    if (out->add)
        acc += v_load_part(y, g->l0, g->l1);
    v_store_part(y, acc, g->l0, g->l1);
}

/* Asks for what lies behind `ahead` and will be wanted next: as much as 32 columns of V_N rows are.
 * In small portions between the arithmetic, because a burst fills the core's miss buffers. Past
 * the end of the weights it is no fault. */
V_INLINE const uint8_t *rows_prefetch(const uint8_t *ahead, lane_traits t)
{
    const size_t n = V_N * (size_t)t.quarters / 4;
    V_UNROLL for (size_t i = 0; i < n; i += 64) __builtin_prefetch(ahead + i, 0, V_PREFETCH_LEVEL);
    return ahead + n;
}

/* How far ahead of its use, past the group at work, a byte is asked for. */
#define ROWS_AHEAD_BYTES 8192

/* Where to prefetch while the group at p is at work: at most the last group before end. */
V_INLINE const uint8_t *rows_ahead(const uint8_t *p, const uint8_t *end, size_t row_bytes)
{
    const size_t group = V_N * row_bytes;
    const uint8_t *last = (size_t)(end - p) > group ? end - group : p;
    return (size_t)(last - p) > group + ROWS_AHEAD_BYTES ? p + group + ROWS_AHEAD_BYTES : last;
}

/* What no earlier group asked for: the first of a slice, and some. */
static void rows_prefetch_first(const uint8_t *p, const uint8_t *end, size_t row_bytes)
{
    const size_t want = V_N * row_bytes + ROWS_AHEAD_BYTES, have = (size_t)(end - p);
    for (size_t i = 0; i < (want < have ? want : have); i += 64)
        __builtin_prefetch(p + i, 0, V_PREFETCH_LEVEL);
}

/* One row group for a gemv: where it lies, and what will be wanted after it. */
typedef struct gemv_rows {
    const uint8_t *p, *ahead;
    size_t stride, n_block;
} gemv_rows;

typedef void gemv_fn(const gemv_rows *r, const uint8_t *acts, vf *acc);
