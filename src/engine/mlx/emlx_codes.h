/* emlx_codes.h - a block of a GGUF's format as unsigned codes with a scale and a bias a group. */
#ifndef ENGINE_MLX_EMLX_CODES_H
#define ENGINE_MLX_EMLX_CODES_H

#include "kern/unpack.h"

/* weight i = scale[i / group] * code[i] + bias[i / group], equal to quant_dequant's in f32. */
typedef struct emlx_coded {
    uint8_t code[KERN_PIECE_MAX];
    float scale[KERN_PIECE_MAX / 32], bias[KERN_PIECE_MAX / 32];
} emlx_coded;

typedef struct emlx_recipe emlx_recipe;

/* How a type becomes affine; NULL for those that do not, and for those of quant_affine_info, whose
 * parts need no arithmetic. */
const emlx_recipe *emlx_recipe_of(quant_type t);
int32_t emlx_recipe_bits(const emlx_recipe *r);
int32_t emlx_recipe_group(const emlx_recipe *r);
/* Scales and biases are halves of the file times small powers of two, or sums that a half holds. */
bool emlx_recipe_is_half(const emlx_recipe *r);
void emlx_code_block(const emlx_recipe *r, const uint8_t *block, emlx_coded *out);

/* n codes of `bits` bits, a multiple of 8 of them, as MLX packs them: one stream of bits from the
 * lowest of the first byte on. */
void emlx_pack_codes(const uint8_t *code, size_t n, int32_t bits, uint8_t *out);

#endif
