/* gemm.inc.h - panels times tiles: the KERN_I8 product for any format and any number of rows. */

#define PIECE_BLOCKS 8 /* one tile of columns: unpack and use 256 columns at a time, in L1 */

typedef struct gemm_job {
    const kern_weight *w;
    const kern_acts *a;
    const kern_out *out;
    panel_format f;
    tile_fn *tile;
    size_t width, n_tile, n_block;
    float *acc; /* one tile */
    uint8_t *panel;
} gemm_job;

/* Blocks [b0, b1) of 32 columns into the panel. */
static void gemm_unpack(const gemm_job *j, const row_group *g, size_t b0, size_t b1)
{
    const quant_info *info = &quant_table[j->w->type];
    const size_t per = info->block_n / KERN_BLOCK, skip = b0 / per * info->block_bytes;
    const uint8_t *p = j->w->rows + g->base * j->w->row_bytes;
    const uint8_t *ahead = p + V_N * (j->w->row_bytes + skip);
    j->f.fn(j->w->type, p + skip, g->stride, (b1 - b0) / per, j->panel, ahead);
}

static void gemm_tile(const gemm_job *j, size_t tile, size_t b0, size_t b1)
{
    const size_t block = ACTS_BLOCK_BYTES(j->width);
    const tile_args t = {
        .panel = j->panel,
        .acts = (const uint8_t *)j->a->mem + (tile * j->n_block + b0) * block,
        .n_block = b1 - b0,
        .offset = j->f.traits.shift >= 0 ? 1 << j->f.traits.shift : 0,
        .acc = j->acc,
    };
    j->tile(&t);
}

static void gemm_clear(const gemm_job *j)
{
    memset(j->acc, 0, j->width * V_N * sizeof(float));
}

static void gemm_store(const gemm_job *j, const row_group *g, size_t tile)
{
    for (size_t c = 0; c < j->width && tile * j->width + c < j->a->n_row; c++)
        store_out(j->out, tile * j->width + c, g, v_load(j->acc + c * V_N));
}

/* Many tiles: the whole panel once (it stays in L2), then every tile over it. */
static void gemm_panel(const gemm_job *j, const row_group *g)
{
    gemm_unpack(j, g, 0, j->n_block);
    for (size_t tile = 0; tile < j->n_tile; tile++) {
        gemm_clear(j);
        gemm_tile(j, tile, 0, j->n_block);
        gemm_store(j, g, tile);
    }
}

/* One tile: piece by piece, so that what was unpacked is still in L1 when it is used. */
static void gemm_pieces(const gemm_job *j, const row_group *g)
{
    gemm_clear(j);
    for (size_t b = 0; b < j->n_block; b += PIECE_BLOCKS) {
        const size_t end = b + PIECE_BLOCKS < j->n_block ? b + PIECE_BLOCKS : j->n_block;
        gemm_unpack(j, g, b, end);
        gemm_tile(j, 0, b, end);
    }
    gemm_store(j, g, 0);
}

static void lane_gemm(const kern_weight *w, const kern_acts *a, size_t row0, size_t row1,
                      const kern_out *out, void *scratch)
{
    assert(a->form == KERN_I8 && w->n_col == a->n_col);
    gemm_job j = {.w = w, .a = a, .out = out, .f = panel_format_of(w->type)};
    j.width = acts_width(a->n_row);
    j.n_tile = acts_n_tile(a->n_row);
    j.n_block = a->n_col / KERN_BLOCK;
    j.tile = tiles_of_width[j.width][panel_flavour(j.f.traits)];
    j.acc = scratch;
    j.panel = (uint8_t *)(j.acc + V_TILE_COLS * V_N);
    for (size_t row = row0; row < row1;) {
        const row_group g = row_group_at(w, row, row1);
        if (j.n_tile == 1)
            gemm_pieces(&j, &g);
        else
            gemm_panel(&j, &g);
        row = row_group_next(&g);
    }
}

/* Enough for a panel of the format with most floats a block and one tile of sums, and for the
 * rows that f32.inc.h makes floats. */
static size_t lane_scratch_bytes(size_t n_col)
{
    const size_t n_block = (n_col + KERN_BLOCK - 1) / KERN_BLOCK;
    const size_t i8 = V_TILE_COLS * V_N * sizeof(float) +
                      n_block * panel_block_bytes((lane_traits){.n_scale = 2, .n_min = 2});
    const size_t f32 = 8 * n_col * sizeof(float);
    return i8 > f32 ? i8 : f32;
}
