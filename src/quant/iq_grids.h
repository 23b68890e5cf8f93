/* iq_grids.h - the codebooks of the IQ formats, packed.
 *
 * An entry is 8 or 4 small values; value k of an entry is a code of 2 bits (IQ2, IQ1) or 3 bits
 * (IQ3), in bits [2k, 2k + 2) or [3k, 3k + 3). The codes stand for:
 *     IQ2      8, 25, 43            8 values an entry
 *     IQ1      -1, 0, 1             8
 *     IQ3_XXS  4, 12, 20, .. 52, 62 4    (8 code + 4, but the last)
 *     IQ3_S    1, 3, 5, .. 15       4
 */
#ifndef QUANT_IQ_GRIDS_H
#define QUANT_IQ_GRIDS_H

#include <stdint.h>

extern const uint16_t quant_grid_iq2_xxs[256];
extern const uint16_t quant_grid_iq2_xs[512];
extern const uint16_t quant_grid_iq2_s[1024];
extern const uint16_t quant_grid_iq3_xxs[256];
extern const uint16_t quant_grid_iq3_s[512];
extern const uint16_t quant_grid_iq1_s[2048]; /* IQ1_M too */

/* The eight signs of a 7-bit sign code, bit k set for a negative value k: the number of minus signs
 * is always even, so that the eighth need not be stored. */
static inline uint8_t quant_iq_signs(uint32_t code)
{
    uint32_t parity = code ^ code >> 4;
    parity ^= parity >> 2;
    parity ^= parity >> 1;
    return (uint8_t)(code | (parity & 1) << 7);
}

#endif
