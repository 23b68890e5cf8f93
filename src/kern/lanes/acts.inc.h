/* acts.inc.h - KERN_I8 activations as the lanes tiers keep them.
 *
 * The n_row rows lie in tiles of `width` columns of the product (the last one padded with zeros);
 * a tile is, for each 32 columns of the row: q [8][width][4], d [width], ds [width],
 * minus [2][width], the negated sums of 16 q: so a tile kernel walks straight through memory, and
 * one row alone (width 1) is as dense as can be.
 */

#define ACTS_BLOCK_BYTES(width) (48 * (width)) /* 32 q + 4 d + 4 ds + 8 minus a row */

/* Tiles as even as they can be: 13 rows are 7 + 6, not 12 + 1. */
V_INLINE size_t acts_width(size_t n_row)
{
    const size_t n_tile = (n_row + V_TILE_COLS - 1) / V_TILE_COLS;
    return n_tile ? (n_row + n_tile - 1) / n_tile : 1;
}

V_INLINE size_t acts_n_tile(size_t n_row)
{
    const size_t width = acts_width(n_row);
    return (n_row + width - 1) / width;
}

static size_t lane_acts_bytes(size_t n_row, size_t n_col)
{
    const size_t width = acts_width(n_row);
    return acts_n_tile(n_row) * (n_col / KERN_BLOCK) * ACTS_BLOCK_BYTES(width);
}

/* 32 values of column c into their block. */
static void acts_put(uint8_t *block, size_t width, size_t c, const float *x)
{
    int8_t q[KERN_BLOCK];
    int32_t sum[2];
    const float amax = v_amax32(x);
    const float d = amax / 127.0f;
    v_round32(x, amax > 0 ? 127.0f / amax : 0, q, sum);
    const float ds = d * (float)(sum[0] + sum[1]);
    for (size_t j = 0; j < 8; j++)
        memcpy(block + 4 * (j * width + c), q + 4 * j, 4);
    uint8_t *tail = block + 32 * width + 4 * c;
    memcpy(tail, &d, 4);
    memcpy(tail + 4 * width, &ds, 4);
    const int32_t minus[2] = {-sum[0], -sum[1]};
    memcpy(tail + 8 * width, &minus[0], 4);
    memcpy(tail + 12 * width, &minus[1], 4);
}

static void acts_put_row(const kern_acts *a, size_t row, const float *x)
{
    const size_t width = acts_width(a->n_row), n_block = a->n_col / KERN_BLOCK;
    uint8_t *tile = (uint8_t *)a->mem + row / width * n_block * ACTS_BLOCK_BYTES(width);
    for (size_t b = 0; b < n_block; b++)
        acts_put(tile + b * ACTS_BLOCK_BYTES(width), width, row % width, x + b * KERN_BLOCK);
}

static void lane_acts_quantize(kern_acts *a, const float *x, size_t ld, size_t row0, size_t row1)
{
    static const float zeros[KERN_BLOCK];
    for (size_t r = row0; r < row1; r++)
        acts_put_row(a, r, x + r * ld);
    if (row1 < a->n_row)
        return;
    const size_t width = acts_width(a->n_row), n_block = a->n_col / KERN_BLOCK;
    const size_t n_tile = acts_n_tile(a->n_row);
    uint8_t *last = (uint8_t *)a->mem + (n_tile - 1) * n_block * ACTS_BLOCK_BYTES(width);
    for (size_t c = a->n_row - (n_tile - 1) * width; c < width; c++)
        for (size_t b = 0; b < n_block; b++)
            acts_put(last + b * ACTS_BLOCK_BYTES(width), width, c, zeros);
}
