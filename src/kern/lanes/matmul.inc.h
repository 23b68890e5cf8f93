/* matmul.inc.h - the slot for KERN_I8: a row group at a time, in registers where the format can and
 * the rows of activations are few, else through panels. */

static void lane_gemv(const kern_weight *w, const kern_acts *a, size_t row0, size_t row1,
                      const kern_out *out, gemv_fn *fn)
{
    const uint8_t *end = w->rows + row1 * w->row_bytes;
    rows_prefetch_first(w->rows + row0 * w->row_bytes, end, w->row_bytes);
    for (size_t row = row0; row < row1;) {
        const row_group g = row_group_at(w, row, row1);
        const uint8_t *p = w->rows + g.base * w->row_bytes;
        row = row_group_next(&g);
        const gemv_rows r = {.p = p,
                             .stride = g.stride,
                             .n_block = w->n_col / quant_table[w->type].block_n,
                             .ahead = rows_ahead(p, end, w->row_bytes)};
        vf acc[V_GEMV_MAX];
        fn(&r, a->mem, acc);
        for (size_t c = 0; c < a->n_row; c++)
            store_out(out, c, &g, acc[c]);
    }
}

static void lane_matmul(const kern_weight *w, const kern_acts *a, size_t row0, size_t row1,
                        const kern_out *out, void *scratch)
{
    assert(a->form == KERN_I8 && w->n_col == a->n_col);
    gemv_fn *const fn = a->n_row <= V_GEMV_MAX ? gemv_of_width[a->n_row][w->type] : NULL;
    if (fn)
        lane_gemv(w, a, row0, row1, out, fn);
    else
        lane_gemm(w, a, row0, row1, out, scratch);
}

static void lane_init_i8(kern_table *k)
{
    k->row_step = V_TILE_COLS;
    k->w_step = V_N;
    k->acts_bytes = lane_acts_bytes;
    k->acts_quantize = lane_acts_quantize;
    k->scratch_bytes = lane_scratch_bytes;
    for (size_t t = 0; t < QUANT_N_TYPE; t++)
        if (kern_unpack_table[t].unpack)
            k->gemv[t] = k->gemm[t] = lane_matmul;
}
