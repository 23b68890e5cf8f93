/* quant_int.h - shared by the files of this room: one decoder a format, and the packings that
 * several formats have in common. */
#ifndef QUANT_QUANT_INT_H
#define QUANT_QUANT_INT_H

#include "quant/blocks.h"
#include "quant/quant.h"

/* One block to block_n floats. */
typedef void quant_deq_fn(const void *block, float *out);

/* quant.c */
quant_deq_fn quant_deq_F32, quant_deq_F16, quant_deq_BF16, quant_deq_F64;
/* quant_legacy.c */
quant_deq_fn quant_deq_Q4_0, quant_deq_Q4_1, quant_deq_Q5_0, quant_deq_Q5_1;
quant_deq_fn quant_deq_Q8_0, quant_deq_Q8_1;
/* quant_k.c */
quant_deq_fn quant_deq_Q2_K, quant_deq_Q3_K, quant_deq_Q4_K, quant_deq_Q5_K;
quant_deq_fn quant_deq_Q6_K, quant_deq_Q8_K;

/* quant_iq.c */
quant_deq_fn quant_deq_IQ2_XXS, quant_deq_IQ2_XS, quant_deq_IQ2_S, quant_deq_IQ3_XXS;
quant_deq_fn quant_deq_IQ3_S, quant_deq_IQ1_S, quant_deq_IQ1_M, quant_deq_IQ4_NL;
quant_deq_fn quant_deq_IQ4_XS;
/* quant_small.c */
quant_deq_fn quant_deq_TQ1_0, quant_deq_TQ2_0, quant_deq_Q1_0, quant_deq_Q2_0;
quant_deq_fn quant_deq_MXFP4, quant_deq_NVFP4;

/* quant_affine.c */
quant_deq_fn quant_deq_MXFP8;
void quant_deq_affine(quant_type t, const void *block, float *out);
/* Scale and bias, whatever the codes say of them. */
bool quant_affine_is_finite(quant_type t, const void *block);

/* One block from block_n finite floats (quant_legacy.c). */
typedef void quant_enc_fn(const float *x, void *block);

quant_enc_fn quant_enc_Q4_0, quant_enc_Q4_1, quant_enc_Q5_0, quant_enc_Q5_1, quant_enc_Q8_0;

#endif
