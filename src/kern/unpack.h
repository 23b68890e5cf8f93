/* unpack.h - any quantised block as signed integers with float scales and minima.
 *
 * One block of a format becomes one kern_piece:
 *     weight i = w[i] * scale[i / 16] + min[i / 16]
 * which is all that a KERN_I8 kernel needs to know of a format. The reference and the tiers'
 * panels of formats without a vector unpacker are made from it; quant_dequant checks it.
 */
#ifndef KERN_UNPACK_H
#define KERN_UNPACK_H

#include "kern/kern.h"

#define KERN_PIECE_MAX 256 /* weights in the largest block */
#define KERN_GROUP 16      /* weights under one entry of scale and min */

typedef struct kern_piece {
    int8_t w[KERN_PIECE_MAX];
    float scale[KERN_PIECE_MAX / KERN_GROUP];
    float min[KERN_PIECE_MAX / KERN_GROUP]; /* zeros where the format has none */
} kern_piece;

typedef struct kern_unpack_info {
    void (*unpack)(const uint8_t *block, kern_piece *out); /* NULL: not a KERN_I8 format */
    uint8_t n_scale; /* float terms for each KERN_BLOCK columns: scales, */
    uint8_t n_min;   /* then minima */
    bool is_wide;    /* has minima, and yet weights outside of 0..63, which all others with minima
                        keep to (a tier's product may need to know) */
} kern_unpack_info;

extern const kern_unpack_info kern_unpack_table[QUANT_N_TYPE];

#endif
