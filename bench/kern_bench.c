/* kern_bench.c - speed of the matrix kernels on one thread, beside what the core can do at best.
 *
 * Prints for each format GB/s of weights with 1, 2, 3 rows of activations and GOPS with 4, 8, 12
 * and 256, with the core's own read bandwidth and int8 peak measured in the same run.
 *     kern_bench [avx2|avx512|ref] [n_col] [FORMAT ...]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/plat.h"
#include "kern/kern.h"

#include "kern_data.h"
#include "limits.h"

#define WEIGHT_BYTES ((size_t)192 << 20) /* well past the last cache */

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *take(size_t n)
{
    void *p = aligned_alloc(1 << 21, (n + (1 << 21) - 1) >> 21 << 21);
    if (!p)
        exit(1);
    plat_hint_huge(p, n);
    return p;
}

typedef struct setup {
    kern_table k;
    kern_weight w;
    float *x, *y;
    void *acts, *scratch;
} setup;

static double seconds(setup *s, size_t n_row, size_t n_w)
{
    const bool i8 = kern_form_for(s->w.type, s->w.n_col, KERN_I8) == KERN_I8;
    kern_acts a = {.form = i8 ? KERN_I8 : KERN_F32,
                   .n_row = n_row,
                   .n_col = s->w.n_col,
                   .x = s->x,
                   .ld = s->w.n_col,
                   .mem = s->acts};
    const kern_out out = {.y = s->y, .ld = n_w};
    if (i8)
        s->k.acts_quantize(&a, s->x, s->w.n_col, 0, n_row);
    double best = 1e9;
    for (int pass = 0; pass < 5; pass++) {
        const double t0 = now();
        kern_matmul(&s->k, &s->w, &a, 0, n_w, &out, s->scratch);
        const double t = now() - t0;
        best = t < best ? t : best;
    }
    return best;
}

static void bench_format(setup *s, quant_type t, uint8_t *weights, size_t n_col, double gb,
                         double peak)
{
    static const size_t many[] = {4, 8, 12, 256};
    n_col = n_col / quant_table[t].block_n * quant_table[t].block_n;
    const size_t row_bytes = quant_row_bytes(t, n_col);
    const size_t n_row = WEIGHT_BYTES / row_bytes / 32 * 32;
    s->w = (kern_weight){t, weights, row_bytes, n_row, n_col};
    for (size_t r = 0; r < n_row; r++)
        kern_data_blocks(t, weights + r * row_bytes, r < 64 ? n_col : 0, (uint32_t)r);
    for (size_t r = 64; r < n_row; r++)
        memcpy(weights + r * row_bytes, weights + r % 64 * row_bytes, row_bytes);
    printf("%-8s", quant_table[t].name);
    for (size_t n = 1; n <= KERN_GEMV_MAX; n++) {
        const double rate = (double)(n_row * row_bytes) / seconds(s, n, n_row) * 1e-9;
        printf("  %5.1f (%3.0f%%)", rate, 100 * rate / gb);
    }
    for (size_t i = 0; i < sizeof many / sizeof *many; i++) {
        const size_t rows = many[i] > 16 ? 2048 : n_row; /* enough work is enough */
        const double ops = 2.0 * (double)rows * (double)n_col * (double)many[i];
        const double rate = ops / seconds(s, many[i], rows) * 1e-9;
        printf("  %5.0f (%3.0f%%)", rate, peak > 0 ? 100 * rate / peak : 0);
    }
    printf("\n");
    (void)fflush(stdout);
}

int main(int argc, char **argv)
{
    setup s = {0};
    uint32_t cpu = kern_cpu_detect();
    if (argc > 1 && strcmp(argv[1], "avx2") == 0)
        cpu = KERN_CPU_AVX2;
    if (argc > 1 && strcmp(argv[1], "ref") == 0)
        cpu = 0;
    kern_init(&s.k, cpu);
    const size_t n_col = argc > 2 ? strtoul(argv[2], NULL, 10) : 2048;
    uint8_t *weights = take(WEIGHT_BYTES);
    memset(weights, 1, WEIGHT_BYTES);
    s.x = take(256 * n_col * sizeof(float));
    s.y = take(12 * WEIGHT_BYTES / (n_col / 8) * sizeof(float));
    s.acts = take(s.k.acts_bytes(256, n_col) + s.k.acts_bytes(12, n_col));
    s.scratch = take(s.k.scratch_bytes(n_col));
    kern_data_floats(s.x, 256 * n_col, 1);
    bench_limits limits;
    bench_measure_limits(1, &limits);
    const double gb = limits.read_gbs;
    const double peak = limits.int8_gops;
    printf("tier %s, n_col %zu, one thread: read %.1f GB/s, int8 %.0f GOPS\n", s.k.tier, n_col, gb,
           peak);
    printf("format    GB/s, 1, 2, 3 rows                      GOPS, 4, 8, 12, 256 rows\n");
    for (quant_type t = 0; t < QUANT_N_TYPE; t++) {
        bool wanted = argc <= 3 && quant_table[t].is_weight;
        for (int i = 3; i < argc; i++)
            wanted |= quant_from_name(argv[i]) == t;
        if (wanted)
            bench_format(&s, t, weights, n_col, gb, peak);
    }
    return 0;
}
