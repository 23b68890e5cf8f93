/* The reference against the definition: unpacked blocks are what quant_dequant says. */
#include "test.h"

#include <float.h>

#include "kern/kern.h"
#include "kern/unpack.h"
#include "quant/f16.h"

#include "kern_data.h"

static void unpacked_blocks_are_the_dequantised_ones(void **state)
{
    (void)state;
    for (quant_type t = 0; t < QUANT_N_TYPE; t++) {
        if (!kern_unpack_table[t].unpack)
            continue;
        for (uint32_t seed = 0; seed < 200; seed++) {
            uint8_t block[512];
            float want[KERN_PIECE_MAX];
            kern_piece piece;
            const size_t n = quant_table[t].block_n;
            kern_data_blocks(t, block, n, seed);
            kern_unpack_table[t].unpack(block, &piece);
            quant_dequant(t, block, want, n);
            for (size_t i = 0; i < n; i++) {
                const size_t g = i / KERN_GROUP;
                const float part = (float)piece.w[i] * piece.scale[g];
                TEST_NEAR(part + piece.min[g], want[i],
                          4 * FLT_EPSILON * (fabsf(part) + fabsf(piece.min[g])),
                          "%s seed %u weight %zu", quant_table[t].name, seed, i);
            }
        }
    }
}

static void groups_are_what_the_table_says(void **state)
{
    (void)state;
    for (quant_type t = 0; t < QUANT_N_TYPE; t++) {
        const kern_unpack_info *f = &kern_unpack_table[t];
        if (!f->unpack)
            continue;
        uint8_t block[512];
        kern_piece piece;
        kern_data_blocks(t, block, quant_table[t].block_n, 7);
        f->unpack(block, &piece);
        for (size_t g = 0; g < quant_table[t].block_n / KERN_GROUP; g += 2) {
            if (f->n_scale == 1)
                assert_true(piece.scale[g] == piece.scale[g + 1]);
            if (f->n_min < 2)
                assert_true(piece.min[g] == piece.min[g + 1]);
            if (f->n_min == 0)
                assert_true(piece.min[g] == 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unpacked_blocks_are_the_dequantised_ones),
        cmocka_unit_test(groups_are_what_the_table_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
