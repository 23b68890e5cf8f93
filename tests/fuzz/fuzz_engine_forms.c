/* Any bytes as the blocks of any weight format: repacked, and where it is affine, read back by the
 * rule that MLX has: the same values as quant_dequant's, to the bit of an equal number. */
#include "engine/mlx/emlx_forms.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quant/f16.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { N_COL = 256 }; /* a multiple of every block */

static void must(bool ok)
{
    if (!ok)
        abort();
}

static float scale_at(const emlx_packed *p, const void *scales, size_t i)
{
    uint16_t h;
    if (p->scale_type == MB_F32)
        return ((const float *)scales)[i];
    memcpy(&h, (const uint8_t *)scales + 2 * i, sizeof h);
    return f16_to_f32(h);
}

static uint32_t code_at(const uint8_t *w, size_t bits, size_t i)
{
    uint32_t code = 0;
    for (size_t k = 0; k < bits; k++)
        code |= (uint32_t)(w[(i * bits + k) / 8] >> (i * bits + k) % 8 & 1) << k;
    return code;
}

static void check_affine(const emlx_form *f, const emlx_packed *p, const float *want)
{
    for (size_t i = 0; i < N_COL; i++) {
        const size_t g = i / (size_t)f->group;
        const float product = scale_at(p, p->scales, g) * (float)code_at(p->w, (size_t)f->bits, i);
        must(product + scale_at(p, p->biases, g) == want[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _Alignas(8) uint8_t row[N_COL * 8];
    float want[N_COL];
    emlx_form f;
    emlx_packed p;
    size_t bad;
    if (size < 2 || data[0] >= QUANT_N_TYPE)
        return 0;
    const quant_type t = (quant_type)data[0];
    if (emlx_form_of(t, N_COL, data[1] & 1, &f))
        return 0;
    const size_t n = quant_row_bytes(t, N_COL);
    memset(row, 0, sizeof row);
    memcpy(row, data + 2, size - 2 < n ? size - 2 : n);
    const cama_err e = emlx_repack(&f, &(emlx_rows){row, n, 1, N_COL}, &p, NULL);
    must(!e || e == CAMA_ERR_UNSUPPORTED);
    if (e)
        return 0;
    if (quant_all_finite(t, row, N_COL, &bad)) {
        quant_dequant(t, row, want, N_COL);
        if (f.form == MB_AFFINE)
            check_affine(&f, &p, want);
        else if (f.form == MB_DENSE && f.w_type == MB_F32)
            must(memcmp(p.w, want, sizeof want) == 0);
    }
    emlx_packed_done(&p);
    return 0;
}
