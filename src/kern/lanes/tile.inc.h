/* tile.inc.h - the product of a panel and a tile of TILE_W activation rows. The integer sums of a
 * block and the float sums of all blocks stay in registers: 2 * TILE_W of them. */

#define TILE_NAME_(a, w) a##_##w
#define TILE_NAME2(a, w) TILE_NAME_(a, w)
#define TILE(a) TILE_NAME2(a, TILE_W)

/* s += words [j0, j1) of the block. The loop stays a loop: each turn is TILE_W chains wide. */
V_INLINE void TILE(dots)(const uint8_t *w, const uint8_t *q, size_t j0, size_t j1, bool s8,
                         vi s[TILE_W])
{
    for (size_t j = j0; j < j1; j++) {
        const vu row = v_load_u(w + PANEL_VEC_BYTES * j);
        V_UNROLL for (size_t c = 0; c < TILE_W; c++)
        {
            const uint8_t *act = q + 4 * (j * TILE_W + c);
            s[c] = s8 ? v_dot_s8_mem(s[c], row, act) : v_dot_mem(s[c], row, act);
        }
    }
}

/* Sums begin at -offset * sum(q), or at 0. */
V_INLINE void TILE(begin)(const int32_t *init, vi s[TILE_W])
{
    V_UNROLL for (size_t c = 0; c < TILE_W; c++) s[c] = init ? (vi)v_spread(init + c) : (vi){0};
}

/* acc = fma(s, scale * d, acc); d is a float a column. */
V_INLINE void TILE(add_scaled)(const uint8_t *scale, const float *d, const vi s[TILE_W],
                               vf acc[TILE_W])
{
    const vf ws = (vf)v_load_u(scale);
    V_UNROLL for (size_t c = 0; c < TILE_W; c++) acc[c] =
        v_fma(v_float(s[c]), ws * v_set(d[c]), acc[c]);
}

V_INLINE void TILE(add_min)(const uint8_t *min, const float *ds, vf acc[TILE_W])
{
    const vf wm = (vf)v_load_u(min);
    V_UNROLL for (size_t c = 0; c < TILE_W; c++) acc[c] = v_fma(wm, v_set(ds[c]), acc[c]);
}

V_INLINE void TILE(one_block)(const uint8_t *w, const uint8_t *a, int32_t offset, vf acc[TILE_W],
                              lane_traits t)
{
    const uint8_t *scale = w + 8 * PANEL_VEC_BYTES;
    const uint8_t *min = scale + (size_t)t.n_scale * PANEL_VEC_BYTES;
    const float *d = (const float *)(const void *)(a + 32 * TILE_W), *ds = d + TILE_W;
    const int32_t *minus = (const int32_t *)(const void *)(ds + TILE_W);
    const size_t step = 8 / (size_t)t.n_scale;
    V_UNROLL for (size_t half = 0; half < (size_t)t.n_scale; half++)
    {
        int32_t init[TILE_W];
        vi s[TILE_W];
        for (size_t c = 0; t.shift >= 0 && c < TILE_W; c++)
            init[c] =
                offset * (t.n_scale == 1 ? minus[c] + minus[c + TILE_W] : minus[c + half * TILE_W]);
        TILE(begin)(t.shift >= 0 ? init : NULL, s);
        TILE(dots)(w, a, half * step, half * step + step, t.s8, s);
        TILE(add_scaled)(scale + half * PANEL_VEC_BYTES, d, s, acc);
    }
    if (t.n_min == 1)
        TILE(add_min)(min, ds, acc);
    for (size_t half = 0; t.n_min == 2 && half < 2; half++) {
        float part[TILE_W];
        for (size_t c = 0; c < TILE_W; c++)
            part[c] = d[c] * (float)-minus[c + half * TILE_W];
        TILE(add_min)(min + half * PANEL_VEC_BYTES, part, acc);
    }
}

V_INLINE void TILE(walk)(const tile_args *t, lane_traits traits)
{
    const size_t w_bytes = panel_block_bytes(traits);
    const uint8_t *w = t->panel, *a = t->acts;
    vf acc[TILE_W];
    V_UNROLL for (size_t c = 0; c < TILE_W; c++) acc[c] = v_load(t->acc + c * V_N);
    for (size_t b = 0; b < t->n_block; b++) {
        TILE(one_block)(w, a, t->offset, acc, traits);
        w += w_bytes;
        a += ACTS_BLOCK_BYTES(TILE_W);
    }
    V_UNROLL for (size_t c = 0; c < TILE_W; c++) v_store(t->acc + c * V_N, acc[c]);
}

static void TILE(tile_plain)(const tile_args *t)
{
    TILE(walk)(t, (lane_traits){1, 0, 0, false, 0});
}

static void TILE(tile_min)(const tile_args *t)
{
    TILE(walk)(t, (lane_traits){1, 1, -1, false, 0});
}

static void TILE(tile_two)(const tile_args *t)
{
    TILE(walk)(t, (lane_traits){2, 0, 0, false, 0});
}

static void TILE(tile_two_min)(const tile_args *t)
{
    TILE(walk)(t, (lane_traits){2, 2, -1, false, 0});
}

/* Where the signed product is no other, the offset makes the difference. */
static void TILE(tile_min_s8)(const tile_args *t)
{
    TILE(walk)(t, (lane_traits){1, 1, V_S8_APART ? -1 : 0, V_S8_APART, 0});
}

#if V_S8_APART
static void TILE(tile_plain_s8)(const tile_args *t)
{
    TILE(walk)(t, (lane_traits){1, 0, -1, true, 0});
}

static void TILE(tile_two_s8)(const tile_args *t)
{
    TILE(walk)(t, (lane_traits){2, 0, -1, true, 0});
}
#define TILE_S8(name) TILE(name##_s8)
#else
#define TILE_S8(name) TILE(name)
#endif

/* In the order of lane_flavour. */
static tile_fn *const TILE(tiles)[LANE_N_FLAVOUR] = {
    TILE(tile_plain),    TILE(tile_min),    TILE(tile_two),    TILE(tile_two_min),
    TILE_S8(tile_plain), TILE_S8(tile_two), TILE(tile_min_s8),
};

#undef TILE_S8
#undef TILE
#undef TILE_NAME2
#undef TILE_NAME_
#undef TILE_W
