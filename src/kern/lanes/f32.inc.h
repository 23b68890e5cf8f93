/* f32.inc.h - KERN_F32 products: dot products in KERN_F32_LANES partial sums, several weight rows
 * and activation rows at a time. The including file sets F32_ROWS and F32_COLS to what its
 * registers hold. Quantised rows are made floats in the scratch first, once a panel. */

#define F32_VECS (KERN_F32_LANES / V_N)
#define F32_PANEL 8 /* weight rows that meet all activation rows before the next ones */

typedef enum f32_kind { F32_PLAIN, F32_HALF, F32_BFLOAT } f32_kind;

typedef struct f32_job {
    const uint8_t *w; /* the block's first weight row */
    size_t stride;
    const float *x;
    size_t ld, n;
} f32_job;

V_INLINE vf f32_weights(f32_kind kind, const uint8_t *row, size_t i)
{
    if (kind == F32_PLAIN)
        return v_load((const float *)(const void *)row + i);
    const uint16_t *half = (const uint16_t *)(const void *)row + i;
    return kind == F32_HALF ? v_load_f16(half) : v_load_bf16(half);
}

/* The last m < KERN_F32_LANES weights of a row, zeros after them. */
V_INLINE void f32_tail(f32_kind kind, const uint8_t *row, size_t i, size_t m,
                       float out[KERN_F32_LANES])
{
    memset(out, 0, KERN_F32_LANES * sizeof *out);
    for (size_t j = 0; j < m; j++) {
        if (kind == F32_PLAIN)
            memcpy(&out[j], row + 4 * (i + j), 4);
        else {
            uint16_t h;
            memcpy(&h, row + 2 * (i + j), 2);
            out[j] = kind == F32_HALF ? f16_to_f32(h) : bf16_to_f32(h);
        }
    }
}

/* Lanes i and i + 8, then 4, 2, 1. */
V_INLINE float f32_sum(vf acc[F32_VECS])
{
    V_UNROLL for (size_t half = F32_VECS / 2; half > 0; half /= 2)
    {
        V_UNROLL for (size_t g = 0; g < half; g++) acc[g] += acc[g + half];
    }
    return v_sum(acc[0]);
}

/* sums[c * n_row + r]: n_row weight rows times n_acts activation rows, both constants. */
V_INLINE void f32_block(f32_kind kind, const f32_job *j, size_t n_row, size_t n_acts, float *sums)
{
    vf acc[F32_ROWS][F32_COLS][F32_VECS];
    V_UNROLL for (size_t k = 0; k < n_row * n_acts * F32_VECS; k++)
        acc[k / F32_VECS / n_acts][k / F32_VECS % n_acts][k % F32_VECS] = (vf){0};
    size_t i = 0;
    for (; i + KERN_F32_LANES <= j->n; i += KERN_F32_LANES) {
        V_UNROLL for (size_t g = 0; g < F32_VECS; g++)
        {
            vf w[F32_ROWS];
            V_UNROLL for (size_t r = 0; r < n_row; r++) w[r] =
                f32_weights(kind, j->w + r * j->stride, i + g * V_N);
            V_UNROLL for (size_t c = 0; c < n_acts; c++)
            {
                const vf x = v_load(j->x + c * j->ld + i + g * V_N);
                V_UNROLL for (size_t r = 0; r < n_row; r++) acc[r][c][g] =
                    v_fma(w[r], x, acc[r][c][g]);
            }
        }
    }
    for (size_t r = 0; i < j->n && r < n_row; r++) {
        float w[KERN_F32_LANES], x[KERN_F32_LANES];
        f32_tail(kind, j->w + r * j->stride, i, j->n - i, w);
        for (size_t c = 0; c < n_acts; c++) {
            const uint8_t *row = (const uint8_t *)(j->x + c * j->ld);
            f32_tail(F32_PLAIN, row, i, j->n - i, x);
            for (size_t g = 0; g < F32_VECS; g++)
                acc[r][c][g] = v_fma(v_load(w + g * V_N), v_load(x + g * V_N), acc[r][c][g]);
        }
    }
    V_UNROLL for (size_t k = 0; k < n_row * n_acts; k++) sums[k] =
        f32_sum(acc[k % n_row][k / n_row]);
}

/* One instance for each pair of constants that is used. */
V_INLINE void f32_block_of(f32_kind kind, const f32_job *j, size_t n_row, size_t n_acts,
                           float *sums)
{
    if (n_row == F32_ROWS && n_acts == F32_COLS)
        f32_block(kind, j, F32_ROWS, F32_COLS, sums);
    else if (n_row == F32_ROWS && n_acts == 2)
        f32_block(kind, j, F32_ROWS, 2, sums);
    else if (n_row == F32_ROWS)
        f32_block(kind, j, F32_ROWS, 1, sums);
    else if (n_acts == F32_COLS)
        f32_block(kind, j, 1, F32_COLS, sums);
    else if (n_acts == 2)
        f32_block(kind, j, 1, 2, sums);
    else
        f32_block(kind, j, 1, 1, sums);
}

static void f32_block_plain(const f32_job *j, size_t n_row, size_t n_acts, float *sums)
{
    f32_block_of(F32_PLAIN, j, n_row, n_acts, sums);
}

static void f32_block_half(const f32_job *j, size_t n_row, size_t n_acts, float *sums)
{
    f32_block_of(F32_HALF, j, n_row, n_acts, sums);
}

static void f32_block_bfloat(const f32_job *j, size_t n_row, size_t n_acts, float *sums)
{
    f32_block_of(F32_BFLOAT, j, n_row, n_acts, sums);
}

typedef void f32_block_fn(const f32_job *j, size_t n_row, size_t n_acts, float *sums);

static void f32_store(const kern_out *out, size_t a_row, size_t w_row, float acc)
{
    float *y = &out->y[a_row * out->ld + w_row];
    if (out->bias)
        acc += out->bias[w_row];
    *y = out->add ? acc + *y : acc;
}

/* Rows [row, row + n_row) of the weight, which lie at p, times all activation rows from a_row on
 * that make a block; gives how many that were. */
static size_t f32_step(const kern_acts *a, const kern_out *out, f32_block_fn *fn, const uint8_t *p,
                       size_t stride, size_t row, size_t n_row, size_t a_row)
{
    const size_t left = a->n_row - a_row;
    const size_t n_acts = left >= F32_COLS ? F32_COLS : left >= 2 ? 2 : 1;
    float sums[F32_ROWS * F32_COLS];
    for (size_t r = 0; r < n_row;) {
        const size_t take = n_row - r >= F32_ROWS ? F32_ROWS : 1;
        const f32_job j = {p + r * stride, stride, a->x + a_row * a->ld, a->ld, a->n_col};
        fn(&j, take, n_acts, sums);
        for (size_t k = 0; k < take * n_acts; k++)
            f32_store(out, a_row + k / take, row + r + k % take, sums[k]);
        r += take;
    }
    return n_acts;
}

static void lane_matmul_f32(const kern_weight *w, const kern_acts *a, size_t row0, size_t row1,
                            const kern_out *out, void *scratch)
{
    assert(a->form == KERN_F32 && w->n_col == a->n_col);
    f32_block_fn *fn = f32_block_plain;
    if (w->type == QUANT_F16)
        fn = f32_block_half;
    else if (w->type == QUANT_BF16)
        fn = f32_block_bfloat;
    const bool direct = w->type == QUANT_F32 || fn != f32_block_plain;
    for (size_t row = row0; row < row1; row += F32_PANEL) {
        const size_t n = row1 - row < F32_PANEL ? row1 - row : F32_PANEL;
        const uint8_t *p = w->rows + row * w->row_bytes;
        for (size_t r = 0; !direct && r < n; r++)
            quant_dequant(w->type, p + r * w->row_bytes, (float *)scratch + r * w->n_col, w->n_col);
        const size_t stride = direct ? w->row_bytes : w->n_col * sizeof(float);
        for (size_t i = 0; i < a->n_row;)
            i += f32_step(a, out, fn, direct ? p : scratch, stride, row, n, i);
    }
}

static void lane_init_f32(kern_table *k)
{
    for (size_t t = 0; t < QUANT_N_TYPE; t++)
        k->gemv_f32[t] = k->gemm_f32[t] = lane_matmul_f32;
}
