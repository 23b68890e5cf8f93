/* A format (the first byte) and blocks of it: decoding reads and writes what it should and no more,
 * the check for finite weights agrees with it, and what was encoded from the result decodes to
 * finite weights. */
#include "quant/quant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void encode_again(const float *x, size_t n)
{
    static const quant_type types[] = {QUANT_F32,  QUANT_F16,  QUANT_BF16, QUANT_Q4_0,
                                       QUANT_Q4_1, QUANT_Q5_0, QUANT_Q5_1, QUANT_Q8_0};
    uint8_t *blocks = malloc(n * sizeof *x);
    must(blocks != NULL);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const quant_type t = types[i];
        must(quant_quantize(t, x, blocks, n, NULL) == CAMA_OK);
        size_t bad;
        must(quant_table[t].is_float || quant_all_finite(t, blocks, n, &bad));
    }
    free(blocks);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    const quant_type t = (quant_type)(data[0] % QUANT_N_TYPE);
    const quant_info *info = &quant_table[t];
    const size_t n_block = (size - 1) / info->block_bytes;
    const size_t n = n_block * info->block_n;
    if (n == 0 || t == QUANT_I8 || t == QUANT_I16 || t == QUANT_I32 || t == QUANT_I64)
        return 0;
    /* exact sizes, and aligned as a mapped tensor would be */
    uint8_t *blocks = malloc(n_block * info->block_bytes);
    float *x = malloc(n * sizeof *x);
    must(blocks && x);
    memcpy(blocks, data + 1, n_block * info->block_bytes);
    quant_dequant(t, blocks, x, n);
    size_t first_bad = n;
    for (size_t i = n; i-- > 0;)
        if (!isfinite(x[i]))
            first_bad = i;
    size_t bad = n;
    if (quant_all_finite(t, blocks, n, &bad))
        must(first_bad == n);
    else
        must(bad % info->block_n == 0 && bad <= first_bad);
    if (n % 32 == 0)
        encode_again(x, n);
    free(x);
    free(blocks);
    return 0;
}
