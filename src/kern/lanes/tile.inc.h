/* tile.inc.h - the product of a panel and a tile of TILE_W activation rows. */

#define TILE_NAME_(a, w) a##_##w
#define TILE_NAME2(a, w) TILE_NAME_(a, w)
#define TILE(a) TILE_NAME2(a, TILE_W)

/* Words j0 .. j1 of the block into s. */
V_INLINE void TILE(dots)(const uint8_t *w, const uint8_t *q, size_t j0, size_t j1, bool s8,
                         vi s[TILE_W][V_TILE_VECS])
{
    for (size_t j = j0; j < j1; j++) {
        vu row[V_TILE_VECS];
        V_UNROLL for (size_t r = 0; r < V_TILE_VECS; r++) row[r] =
            v_load_u(w + PANEL_VEC_BYTES * (j * V_TILE_VECS + r));
        V_UNROLL for (size_t c = 0; c < TILE_W; c++)
        {
            const vu act = v_spread(q + 4 * (j * TILE_W + c));
            V_UNROLL for (size_t r = 0; r < V_TILE_VECS; r++) s[c][r] =
                s8 ? v_dot_s8(s[c][r], row[r], act) : v_dot(s[c][r], row[r], act);
        }
    }
}

/* Sums begin at -offset * sum(q), or at 0. */
V_INLINE void TILE(begin)(const int32_t *init, vi s[TILE_W][V_TILE_VECS])
{
    V_UNROLL for (size_t c = 0; c < TILE_W; c++)
    {
        V_UNROLL for (size_t r = 0; r < V_TILE_VECS; r++) s[c][r] =
            init ? (vi)v_spread(init + c) : (vi){0};
    }
}

/* acc = fma(s, scale * d, acc); d is a float a column. */
V_INLINE void TILE(add_scaled)(const uint8_t *scale, const uint8_t *d, vi s[TILE_W][V_TILE_VECS],
                               float *acc)
{
    vf ws[V_TILE_VECS];
    V_UNROLL for (size_t r = 0; r < V_TILE_VECS; r++) ws[r] =
        (vf)v_load_u(scale + PANEL_VEC_BYTES * r);
    V_UNROLL for (size_t c = 0; c < TILE_W; c++)
    {
        const vf dc = (vf)v_spread(d + 4 * c);
        V_UNROLL for (size_t r = 0; r < V_TILE_VECS; r++)
        {
            float *at = acc + (c * V_TILE_VECS + r) * V_N;
            v_store(at, v_fma(v_float(s[c][r]), ws[r] * dc, v_load(at)));
        }
    }
}

/* acc = fma(min, ds, acc) */
V_INLINE void TILE(add_min)(const uint8_t *min, const float *ds, float *acc)
{
    vf wm[V_TILE_VECS];
    V_UNROLL for (size_t r = 0; r < V_TILE_VECS; r++) wm[r] =
        (vf)v_load_u(min + PANEL_VEC_BYTES * r);
    V_UNROLL for (size_t c = 0; c < TILE_W; c++)
    {
        const vf dc = (vf)v_spread(ds + c);
        V_UNROLL for (size_t r = 0; r < V_TILE_VECS; r++)
        {
            float *at = acc + (c * V_TILE_VECS + r) * V_N;
            v_store(at, v_fma(wm[r], dc, v_load(at)));
        }
    }
}

V_INLINE void TILE(one_block)(const uint8_t *w, const uint8_t *a, int32_t offset, float *acc,
                              lane_traits t)
{
    const uint8_t *scale = w + 8 * V_TILE_VECS * PANEL_VEC_BYTES;
    const uint8_t *min = scale + (size_t)t.n_scale * V_TILE_VECS * PANEL_VEC_BYTES;
    const float *d = (const float *)(const void *)(a + 32 * TILE_W), *ds = d + TILE_W;
    const int32_t *sum = (const int32_t *)(const void *)(ds + TILE_W);
    const size_t step = 8 / (size_t)t.n_scale;
    for (size_t half = 0; half < (size_t)t.n_scale; half++) {
        int32_t init[TILE_W];
        vi s[TILE_W][V_TILE_VECS];
        for (size_t c = 0; t.shift >= 0 && c < TILE_W; c++)
            init[c] =
                -offset * (t.n_scale == 1 ? sum[c] + sum[c + TILE_W] : sum[c + half * TILE_W]);
        TILE(begin)(t.shift >= 0 ? init : NULL, s);
        TILE(dots)(w, a, half * step, half * step + step, t.s8, s);
        TILE(add_scaled)(scale + half * V_TILE_VECS * PANEL_VEC_BYTES, (const uint8_t *)d, s, acc);
    }
    if (t.n_min == 1)
        TILE(add_min)(min, ds, acc);
    for (size_t half = 0; t.n_min == 2 && half < 2; half++) {
        float part[TILE_W];
        for (size_t c = 0; c < TILE_W; c++)
            part[c] = d[c] * (float)sum[c + half * TILE_W];
        TILE(add_min)(min + half * V_TILE_VECS * PANEL_VEC_BYTES, part, acc);
    }
}

V_INLINE void TILE(walk)(const tile_args *t, lane_traits traits)
{
    const size_t w_bytes = panel_block_bytes(traits);
    for (size_t b = 0; b < t->n_block; b++)
        TILE(one_block)(t->panel + b * w_bytes, t->acts + b * ACTS_BLOCK_BYTES(TILE_W), t->offset,
                        t->acc, traits);
}

static void TILE(tile_plain)(const tile_args *t)
{
    TILE(walk)(t, (lane_traits){1, 0, 0, false});
}

static void TILE(tile_min)(const tile_args *t)
{
    TILE(walk)(t, (lane_traits){1, 1, -1, false});
}

static void TILE(tile_two)(const tile_args *t)
{
    TILE(walk)(t, (lane_traits){2, 0, 0, false});
}

static void TILE(tile_two_min)(const tile_args *t)
{
    TILE(walk)(t, (lane_traits){2, 2, -1, false});
}

#if V_S8_APART
static void TILE(tile_plain_s8)(const tile_args *t)
{
    TILE(walk)(t, (lane_traits){1, 0, 0, true});
}

static void TILE(tile_two_s8)(const tile_args *t)
{
    TILE(walk)(t, (lane_traits){2, 0, 0, true});
}
#define TILE_S8(name) TILE(name##_s8)
#else
#define TILE_S8(name) TILE(name)
#endif

/* In the order of lane_flavour. */
static tile_fn *const TILE(tiles)[LANE_N_FLAVOUR] = {
    TILE(tile_plain),   TILE(tile_min),      TILE(tile_two),
    TILE(tile_two_min), TILE_S8(tile_plain), TILE_S8(tile_two),
};

#undef TILE_S8
#undef TILE
#undef TILE_NAME2
#undef TILE_NAME_
#undef TILE_W
