/* emlx_forms.h - how a tensor of a GGUF is held by MLX's stock operations without changing a value.
 *
 * MLX knows dense arrays and a few block forms: affine (w = scale * code + bias, 2 3 4 5 6 8 bits,
 * groups of 32, 64 or 128), mxfp4, mxfp8, nvfp4. Most formats of a GGUF are one of these under
 * another packing: Q4_0 is affine with bias = -8 scale, Q3_K's products of small integers are codes
 * of 8 bits. Those that are none (Q6_K, Q2_K, IQ2_XS, IQ2_S: a scale for each 16 weights, and
 * products past 8 bits) are dequantised to f32: more memory, the same values. So every form here is
 * exact: what MLX makes of it is what quant_dequant gives, with a difference of 0.
 *
 *     emlx_form f;
 *     if (emlx_form_of(QUANT_Q4_K, n_col, false, &f) == CAMA_OK && !f.is_as_stored) ...
 *     cama_err e = emlx_repack(&f, &rows, &packed, err);        packed.w [n_row, packed.n_word] ...
 *     emlx_packed_done(&packed);
 *
 * Scales and biases should have the type of the activations: MLX casts them on every call where
 * they differ. Halves hold them where the format's own are halves and -8d, -16d, -128d do not
 * overflow; which is known only when a tensor's blocks have been read, so that repacking decides
 * (emlx_packed.scale_type), and f32 is what is left.
 */
#ifndef ENGINE_MLX_EMLX_FORMS_H
#define ENGINE_MLX_EMLX_FORMS_H

#include "engine/mlx/mb.h"
#include "quant/quant.h"

#define EMLX_FORM_TEXT 64
#define EMLX_FORM_LINE 160

typedef struct emlx_form {
    quant_type type;
    mb_form form;
    int32_t bits, group; /* 0: dense */
    mb_dtype w_type;     /* MB_U32, or the type of dense weights */
    mb_dtype scale_type; /* of the scales, and biases: at best; MB_U8: none but the form's own */
    bool is_dequantized; /* dense because there is no other exact form */
    bool is_as_stored;   /* the file's bytes are the form's: nothing to repack */
} emlx_form;

/* Rows of a tensor, or of all its experts. */
typedef struct emlx_rows {
    const void *data;
    size_t row_bytes; /* from one row to the next */
    uint64_t n_row, n_col;
} emlx_rows;

/* A tensor in its form. w [n_row, n_word] of w_type; scales and biases [n_row, n_scale] or NULL. */
typedef struct emlx_packed {
    void *w, *scales, *biases;
    uint64_t n_row, n_word, n_scale;
    mb_dtype w_type, scale_type;
} emlx_packed;

/* The form of rows of n_col weights (a multiple of the type's block). allow_f16: activations are
 * halves, so dense halves and halves as scales are welcome. CAMA_ERR_UNSUPPORTED: t holds data only
 * (integers, Q8_1, Q8_K). */
cama_err emlx_form_of(quant_type t, uint64_t n_col, bool allow_f16, emlx_form *out);

/* Bytes of such a tensor in its form, at most; UINT64_MAX where no size_t could hold them. */
uint64_t emlx_form_bytes(const emlx_form *f, uint64_t n_row, uint64_t n_col);

/* The memory of *out is malloc's; emlx_packed_done gives it back. CAMA_ERR_NOMEM;
 * CAMA_ERR_FORMAT where a row is shorter than its weights; CAMA_ERR_UNSUPPORTED where an NVFP4
 * tensor has a scale that MLX has not. */
cama_err emlx_repack(const emlx_form *f, const emlx_rows *in, emlx_packed *out, err_info *err);

/* The same in three steps, so that threads can share the middle one: rows [row0, row1) only. */
cama_err emlx_packed_init(const emlx_form *f, const emlx_rows *in, emlx_packed *out, err_info *err);
void emlx_pack_rows(const emlx_form *f, const emlx_rows *in, uint64_t row0, uint64_t row1,
                    emlx_packed *out);
void emlx_packed_finish(const emlx_form *f,
                        emlx_packed *out); /* f32 scales to halves, if they fit */
void emlx_packed_done(emlx_packed *p);     /* accepts zeroes */

/* "affine 4-bit in groups of 32, f32 scales". */
void emlx_form_text(const emlx_form *f, char out[EMLX_FORM_TEXT]);
/* The type's line of the table in docs/engines.md; "" for types that hold data only. */
void emlx_form_line(quant_type t, char out[EMLX_FORM_LINE]);

#endif
