/* gpu_host.h - the words of the kernel text (src/engine/mlx/gpu) in plain C: a third prelude, for
 * an emulated GPU whose threads run one after the other.
 *
 * 32 lanes run twice. The first time each sum over the lanes notes what its lane brings; the second
 * time it gives the total, added in the order of a butterfly, and what is written then counts.
 * Every read is checked: inside its array, and aligned as the kernel promises.
 */
#ifndef GPU_HOST_H
#define GPU_HOST_H

#include <stdint.h>

#include "quant/f16.h"

#include "test.h"

#define GPU_MAX_SUM 64 /* of one thread */

typedef struct kt_f4 {
    float x, y, z, w;
} kt_f4;
typedef struct kt_u4 {
    unsigned x, y, z, w;
} kt_u4;

static struct {
    const uint8_t *w, *w_end, *x, *x_end; /* what may be read */
    unsigned lane, n_sum;
    bool second;
    float part[32][GPU_MAX_SUM];
} gpu;

typedef struct gpu_arrays {
    const void *x;
    const uint8_t *w;
    void *y;
    int x_shape[2], w_shape[2];
} gpu_arrays;

typedef void gpu_fn(const gpu_arrays *a, unsigned thread);

#define KT_FN static inline
#define KT_UNROLL
#define KT_BYTES const uint8_t *
#define KT_ROWS const kt_x *
#define KT_OUT kt_x *

static inline void gpu_check(const void *p, size_t n)
{
    const uint8_t *b = p;
    const bool in_w = b >= gpu.w && b + n <= gpu.w_end;
    const bool in_x = b >= gpu.x && b + n <= gpu.x_end;
    if ((!in_w && !in_x) || (uintptr_t)p % n)
        fail_msg("read of %zu bytes at %td of w, %td of x", n, b - gpu.w, b - gpu.x);
}

static inline kt_u4 kt_read16(KT_BYTES p)
{
    gpu_check(p, 16);
    kt_u4 v;
    memcpy(&v, p, 16);
    return v;
}

static inline unsigned kt_read4(KT_BYTES p)
{
    gpu_check(p, 4);
    unsigned v;
    memcpy(&v, p, 4);
    return v;
}

static inline unsigned kt_read2(KT_BYTES p)
{
    gpu_check(p, 2);
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}

static inline float kt_half(unsigned bits)
{
    return f16_to_f32((uint16_t)bits);
}

static inline float kt_byte(unsigned word, unsigned k)
{
    return (float)(word >> 8 * k & 0xFFu);
}

static inline unsigned kt_between(unsigned lo, unsigned hi, unsigned n_bit)
{
    return n_bit ? lo >> 16 | hi << 16 : lo;
}

static inline float kt_fma(float a, float b, float c)
{
    return fmaf(a, b, c);
}

static inline float kt_sum(float v)
{
    assert_in_range(gpu.n_sum, 0, GPU_MAX_SUM - 1);
    const unsigned n = gpu.n_sum++;
    if (!gpu.second) {
        gpu.part[gpu.lane][n] = v;
        return v;
    }
    float level[32];
    for (unsigned i = 0; i < 32; i++)
        level[i] = gpu.part[i][n];
    for (unsigned step = 16; step > 0; step /= 2) {
        for (unsigned i = 0; i < step; i++)
            level[i] += level[i + step];
    }
    return level[0];
}

/* n threads, a multiple of 32, each twice. */
static void gpu_run(gpu_fn *fn, const gpu_arrays *a, unsigned n)
{
    for (unsigned i = 0; i < 2 * n; i++) {
        const unsigned pass = i / 32 % 2;
        gpu.lane = i % 32;
        gpu.second = pass == 1;
        gpu.n_sum = 0;
        fn(a, i / 64 * 32 + gpu.lane);
    }
}

#endif
