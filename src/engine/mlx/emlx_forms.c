#include "engine/mlx/emlx_forms.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/ckd.h"
#include "engine/mlx/emlx_codes.h"
#include "quant/f16.h"

static size_t dtype_bytes(mb_dtype t)
{
    return t == MB_F32 || t == MB_U32 || t == MB_I32 ? 4 : t == MB_F16 || t == MB_BF16 ? 2 : 1;
}

/* Floats stay as they are where the activations can meet them without a cast: halves, if allowed.
 * Everything else, bfloat16 too, is f32: a product with f32 would cast it anew for each token. */
static void dense_form(quant_type t, bool allow_f16, emlx_form *f)
{
    f->form = MB_DENSE;
    f->w_type = t == QUANT_F16 && allow_f16 ? MB_F16 : MB_F32;
    f->scale_type = MB_U8;
    f->is_as_stored = t == QUANT_F32 || f->w_type == MB_F16;
    f->is_dequantized = !quant_table[t].is_float;
}

static void block_form(mb_form form, int32_t bits, int32_t group, emlx_form *f)
{
    f->form = form;
    f->bits = bits;
    f->group = group;
    f->w_type = MB_U32;
    f->scale_type = MB_U8;
}

cama_err emlx_form_of(quant_type t, uint64_t n_col, bool allow_f16, emlx_form *out)
{
    assert(t < QUANT_N_TYPE);
    if (!quant_table[t].is_weight)
        return CAMA_ERR_UNSUPPORTED;
    emlx_form f = {.type = t};
    quant_affine a;
    const emlx_recipe *r = emlx_recipe_of(t);
    if (t == QUANT_MXFP4) {
        block_form(MB_MXFP4, 4, 32, &f);
    } else if (t == QUANT_MXFP8) {
        block_form(MB_MXFP8, 8, 32, &f);
    } else if (t == QUANT_NVFP4) {
        block_form(MB_NVFP4, 4, 16, &f);
    } else if (quant_affine_info(t, &a)) {
        block_form(MB_AFFINE, (int32_t)a.bits, (int32_t)a.group, &f);
        f.scale_type = allow_f16 && a.scale != QUANT_F32 ? MB_F16 : MB_F32;
    } else if (r && n_col % (uint64_t)emlx_recipe_group(r) == 0) {
        block_form(MB_AFFINE, emlx_recipe_bits(r), emlx_recipe_group(r), &f);
        f.scale_type = allow_f16 && emlx_recipe_is_half(r) ? MB_F16 : MB_F32;
    } else {
        dense_form(t, allow_f16, &f);
    }
    *out = f;
    return CAMA_OK;
}

/* 0xFF is 480 to GGML, which reads no sign in a scale; MLX has no number there. */
static cama_err check_nvfp4(const emlx_rows *in, err_info *err)
{
    for (uint64_t r = 0; r < in->n_row; r++) {
        const uint8_t *row = (const uint8_t *)in->data + r * in->row_bytes;
        for (uint64_t i = 0; i < in->n_col / 16; i++) {
            if (row[i / 4 * 36 + i % 4] == 0xFF)
                return err_set(err, CAMA_ERR_UNSUPPORTED,
                               "row %llu: the scale 0xFF of weight %llu is none of MLX's nvfp4",
                               (unsigned long long)r, (unsigned long long)(16 * i));
        }
    }
    return CAMA_OK;
}

typedef struct sizes {
    uint64_t n_word, n_scale; /* a row */
    uint64_t w_bytes, scale_bytes;
} sizes;

static bool form_sizes(const emlx_form *f, uint64_t n_row, uint64_t n_col, sizes *out)
{
    const uint64_t scale_size = f->scale_type == MB_U8 ? 1 : 4; /* halves are made of floats */
    out->n_word = f->form == MB_DENSE ? n_col : n_col / 32 * (uint64_t)f->bits;
    out->n_scale = f->form == MB_DENSE ? 0 : n_col / (uint64_t)f->group;
    uint64_t w_row, scale_row;
    return !ckd_mul(&w_row, out->n_word, (uint64_t)dtype_bytes(f->w_type)) &&
           !ckd_mul(&out->w_bytes, w_row, n_row) &&
           !ckd_mul(&scale_row, out->n_scale, scale_size) &&
           !ckd_mul(&out->scale_bytes, scale_row, n_row) && out->w_bytes <= SIZE_MAX / 4 &&
           out->scale_bytes <= SIZE_MAX / 4;
}

uint64_t emlx_form_bytes(const emlx_form *f, uint64_t n_row, uint64_t n_col)
{
    sizes s;
    if (!form_sizes(f, n_row, n_col, &s))
        return UINT64_MAX;
    return s.w_bytes + s.scale_bytes * (f->form == MB_AFFINE ? 2 : 1);
}

cama_err emlx_packed_init(const emlx_form *f, const emlx_rows *in, emlx_packed *out, err_info *err)
{
    const quant_info *q = &quant_table[f->type];
    sizes s;
    if (in->n_col % q->block_n || in->row_bytes / q->block_bytes < in->n_col / q->block_n)
        return err_set(err, CAMA_ERR_FORMAT,
                       "a row of %zu bytes has not the %llu weights of %s that are asked for",
                       in->row_bytes, (unsigned long long)in->n_col, q->name);
    if (!form_sizes(f, in->n_row, in->n_col, &s))
        return err_set(err, CAMA_ERR_NOMEM, "%llu rows of %llu weights: larger than any memory",
                       (unsigned long long)in->n_row, (unsigned long long)in->n_col);
    const cama_err e = f->form == MB_NVFP4 ? check_nvfp4(in, err) : CAMA_OK;
    if (e)
        return e;
    emlx_packed p = {.n_row = in->n_row,
                     .n_word = s.n_word,
                     .n_scale = s.n_scale,
                     .w_type = f->w_type,
                     .scale_type = f->scale_type == MB_U8 ? MB_U8 : MB_F32};
    bool is_whole = (p.w = malloc((size_t)s.w_bytes + 1)) != NULL; /* + 1: also for no row */
    if (f->form != MB_DENSE)
        is_whole = (p.scales = malloc((size_t)s.scale_bytes + 1)) != NULL && is_whole;
    if (f->form == MB_AFFINE)
        is_whole = (p.biases = malloc((size_t)s.scale_bytes + 1)) != NULL && is_whole;
    if (!is_whole) {
        emlx_packed_done(&p);
        return err_set(err, CAMA_ERR_NOMEM, "no memory for %llu rows of %llu weights as MLX's",
                       (unsigned long long)in->n_row, (unsigned long long)in->n_col);
    }
    *out = p;
    return CAMA_OK;
}

/* Where a row of the tensor goes. */
typedef struct row_out {
    uint8_t *w, *small_scales; /* the form's own of a byte each, */
    float *scales, *biases;    /* or those of affine */
} row_out;

static row_out row_at(const emlx_form *f, const emlx_packed *p, uint64_t row)
{
    const size_t w_row = (size_t)p->n_word * dtype_bytes(p->w_type),
                 at = (size_t)(row * p->n_scale);
    row_out o = {.w = (uint8_t *)p->w + row * w_row};
    if (f->form == MB_AFFINE) {
        o.scales = (float *)p->scales + at;
        o.biases = (float *)p->biases + at;
    } else if (f->form != MB_DENSE) {
        o.small_scales = (uint8_t *)p->scales + at;
    }
    return o;
}

static void pack_recipe(const emlx_form *f, const uint8_t *row, uint64_t n_col, row_out o)
{
    const quant_info *q = &quant_table[f->type];
    const emlx_recipe *r = emlx_recipe_of(f->type);
    const size_t n_group = q->block_n / (size_t)f->group;
    const size_t code_bytes = q->block_n * (size_t)f->bits / 8;
    for (uint64_t i = 0; i < n_col / q->block_n; i++) {
        emlx_coded c;
        emlx_code_block(r, row + i * q->block_bytes, &c);
        emlx_pack_codes(c.code, q->block_n, f->bits, o.w + i * code_bytes);
        memcpy(o.scales + i * n_group, c.scale, n_group * sizeof *c.scale);
        memcpy(o.biases + i * n_group, c.bias, n_group * sizeof *c.bias);
    }
}

static float scale_to_f32(quant_type t, const uint8_t raw[4])
{
    float x;
    uint16_t h;
    memcpy(&x, raw, sizeof x);
    memcpy(&h, raw, sizeof h);
    return t == QUANT_F32 ? x : t == QUANT_F16 ? f16_to_f32(h) : bf16_to_f32(h);
}

static void pack_affine(const emlx_form *f, const uint8_t *row, uint64_t n_col, row_out o)
{
    quant_affine a = {0};
    quant_affine_info(f->type, &a);
    for (uint64_t i = 0; i < n_col / a.group; i++) {
        uint8_t scale[4] = {0}, bias[4] = {0};
        quant_affine_unpack(f->type, 1, row + i * quant_table[f->type].block_bytes,
                            o.w + i * a.code_bytes, scale, bias);
        o.scales[i] = scale_to_f32(a.scale, scale);
        o.biases[i] = scale_to_f32(a.scale, bias);
    }
}

/* n pairs of codes, low nibbles before high ones, as codes in order. */
static void order_nibbles(const uint8_t *qs, size_t n, uint8_t *out)
{
    uint8_t code[32];
    for (size_t j = 0; j < n; j++) {
        code[j] = qs[j] & 15;
        code[n + j] = qs[j] >> 4;
    }
    emlx_pack_codes(code, 2 * n, 4, out);
}

static void pack_mxfp(const emlx_form *f, const uint8_t *row, uint64_t n_col, row_out o)
{
    const size_t n_byte = 4 * (size_t)f->bits; /* of 32 codes */
    for (uint64_t i = 0; i < n_col / 32; i++, row += 1 + n_byte) {
        o.small_scales[i] = row[0];
        if (f->bits == 4)
            order_nibbles(row + 1, 16, o.w + i * n_byte);
        else
            memcpy(o.w + i * n_byte, row + 1, n_byte);
    }
}

/* GGML reads no sign in a scale, and 0x7F, elsewhere no number, as 0. */
static void pack_nvfp4(const uint8_t *row, uint64_t n_col, row_out o)
{
    for (uint64_t i = 0; i < n_col / 16; i++) {
        const uint8_t *block = row + i / 4 * 36;
        const uint8_t scale = block[i % 4] & 0x7F;
        o.small_scales[i] = scale == 0x7F ? 0 : scale;
        order_nibbles(block + 4 + 8 * (i % 4), 8, o.w + 8 * i);
    }
}

static void pack_dense(const emlx_form *f, const uint8_t *row, uint64_t n_col, row_out o)
{
    if (f->is_as_stored)
        memcpy(o.w, row, (size_t)n_col * dtype_bytes(f->w_type));
    else
        quant_dequant(f->type, row, (float *)(void *)o.w, (size_t)n_col);
}

void emlx_pack_rows(const emlx_form *f, const emlx_rows *in, uint64_t row0, uint64_t row1,
                    emlx_packed *out)
{
    for (uint64_t r = row0; r < row1; r++) {
        const uint8_t *row = (const uint8_t *)in->data + r * in->row_bytes;
        const row_out o = row_at(f, out, r);
        if (f->form == MB_DENSE)
            pack_dense(f, row, in->n_col, o);
        else if (f->form == MB_NVFP4)
            pack_nvfp4(row, in->n_col, o);
        else if (f->form != MB_AFFINE)
            pack_mxfp(f, row, in->n_col, o);
        else if (quant_affine_info(f->type, NULL))
            pack_affine(f, row, in->n_col, o);
        else
            pack_recipe(f, row, in->n_col, o);
    }
}

static bool are_halves(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const uint16_t h = f16_from_f32(x[i]);
        if (isinf(x[i]) || f16_to_f32(h) != x[i])
            return false;
    }
    return true;
}

/* In place: each half is written at or before the float that is read next. */
static void *to_halves(float *x, size_t n)
{
    uint8_t *out = (uint8_t *)x;
    for (size_t i = 0; i < n; i++) {
        const uint16_t h = f16_from_f32(x[i]);
        memcpy(out + 2 * i, &h, sizeof h);
    }
    void *smaller = realloc(x, 2 * n + 1);
    return smaller ? smaller : x;
}

void emlx_packed_finish(const emlx_form *f, emlx_packed *out)
{
    const size_t n = (size_t)(out->n_row * out->n_scale);
    if (f->form != MB_AFFINE || f->scale_type != MB_F16 || out->scale_type != MB_F32 ||
        !are_halves(out->scales, n) || !are_halves(out->biases, n))
        return;
    out->scales = to_halves(out->scales, n);
    out->biases = to_halves(out->biases, n);
    out->scale_type = MB_F16;
}

cama_err emlx_repack(const emlx_form *f, const emlx_rows *in, emlx_packed *out, err_info *err)
{
    const cama_err e = emlx_packed_init(f, in, out, err);
    if (e)
        return e;
    emlx_pack_rows(f, in, 0, in->n_row, out);
    emlx_packed_finish(f, out);
    return CAMA_OK;
}

void emlx_packed_done(emlx_packed *p)
{
    free(p->w);
    free(p->scales);
    free(p->biases);
    *p = (emlx_packed){0};
}

void emlx_form_text(const emlx_form *f, char out[EMLX_FORM_TEXT])
{
    static const char *const names[] = {"dense", "affine", "mxfp4", "mxfp8", "nvfp4"};
    const char *type = f->w_type == MB_F16 ? "f16" : "f32";
    if (f->form == MB_AFFINE)
        (void)snprintf(out, EMLX_FORM_TEXT, "affine %d-bit in groups of %d, %s scales", f->bits,
                       f->group, f->scale_type == MB_F16 ? "f16" : "f32");
    else if (f->form == MB_DENSE)
        (void)snprintf(out, EMLX_FORM_TEXT, "dense %s%s", type,
                       f->is_dequantized ? ", dequantised" : "");
    else
        (void)snprintf(out, EMLX_FORM_TEXT, "%s in groups of %d", names[f->form], f->group);
}

/* Bits a weight, for rows that are long. */
static double form_bpw(const emlx_form *f)
{
    const double scale_bits = f->scale_type == MB_F16 ? 32 : f->scale_type == MB_F32 ? 64 : 8;
    if (f->form == MB_DENSE)
        return 8.0 * (double)dtype_bytes(f->w_type);
    return f->bits + scale_bits / f->group;
}

void emlx_form_line(quant_type t, char out[EMLX_FORM_LINE])
{
    const uint64_t n_col = 256;
    char text[EMLX_FORM_TEXT];
    emlx_form full, half;
    out[0] = 0;
    if (emlx_form_of(t, n_col, false, &full) || emlx_form_of(t, n_col, true, &half))
        return;
    emlx_form_text(&half, text);
    (void)snprintf(out, EMLX_FORM_LINE, "| %s | %.2f | %s | %.2f | %.2f | exact |",
                   quant_table[t].name, 8.0 * quant_table[t].block_bytes / quant_table[t].block_n,
                   text, form_bpw(&half), form_bpw(&full));
}
