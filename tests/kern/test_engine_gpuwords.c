/* The words of the CUDA prelude, on stand-ins for CUDA's functions that do what its manual says:
 * the kernel text is tested elsewhere with words of C, so these must mean the same. */
#include "quant/f16.h"

#include "test.h"

#pragma GCC diagnostic ignored "-Wunknown-pragmas" /* unroll */

typedef struct float4 {
    float x, y, z, w;
} float4;
typedef struct uint2 {
    unsigned x, y;
} uint2;
typedef struct uint3 {
    unsigned x, y, z;
} uint3;
typedef struct uint4 {
    unsigned x, y, z, w;
} uint4;
typedef struct half_bits {
    uint16_t bits;
} half_bits;

#define __half half_bits
#define __device__
#define __forceinline__ inline
#define __ldg(p) (*(p))
#define make_float4(a, b, c, d) ((float4){(a), (b), (c), (d)})
#define make_uint3(a, b, c) ((uint3){(a), (b), (c)})
#define __half2float(h) f16_to_f32((h).bits)
#define __float2half_rn(f) ((half_bits){f16_from_f32(f)})
#define __ushort_as_half(u) ((half_bits){u})
#define __half_as_ushort(h) ((h).bits)
#define __fmaf_rn fmaf
#define __uint_as_float word_as_float
#define __byte_perm byte_perm
#define __funnelshift_r funnel
#define __shfl_xor_sync exchange

static float word_as_float(unsigned bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Byte i of the result is the byte of b:a that nibble i of the selector names. */
static unsigned byte_perm(unsigned a, unsigned b, unsigned selector)
{
    const uint64_t both = (uint64_t)b << 32 | a;
    unsigned out = 0;
    for (unsigned i = 0; i < 4; i++)
        out |= (unsigned)(both >> 8 * (selector >> 4 * i & 7) & 0xFF) << 8 * i;
    return out;
}

static unsigned funnel(unsigned lo, unsigned hi, unsigned n_bit)
{
    return (unsigned)(((uint64_t)hi << 32 | lo) >> (n_bit & 31));
}

/* Lanes run one after the other, as often as there are exchanges, and read what the others brought
 * the time before. */
static struct {
    unsigned lane, n_call;
    float brought[2][8][32];
} group;

static float exchange(unsigned mask, float v, unsigned lane_mask)
{
    assert_int_equal(mask, 0xFFFFFFFFu);
    const unsigned n = group.n_call++;
    group.brought[1][n][group.lane] = v;
    return group.brought[0][n][group.lane ^ lane_mask];
}

static struct {
    unsigned x, y;
} blockIdx = {3, 1}, blockDim = {128, 1}, threadIdx = {5, 0};

#define KT_F16 1
#include "engine/mlx/gpu/pre_cuda.inc"

static void test_bytes(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 256; i++) {
        const unsigned word = i | (255 - i) << 8 | (i ^ 0x55) << 16 | i << 24;
        assert_true(kt_byte(word, 0) == (float)i);
        assert_true(kt_byte(word, 1) == (float)(255 - i));
        assert_true(kt_byte(word, 2) == (float)(i ^ 0x55));
        assert_true(kt_byte(word, 3) == (float)i);
    }
    assert_int_equal(kt_between(0x44332211, 0x88776655, 0), 0x44332211);
    assert_int_equal(kt_between(0x44332211, 0x88776655, 16), 0x66554433);
}

static void test_halves(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 0x10000; i++) {
        const float f = kt_half(i), want = f16_to_f32((uint16_t)i);
        assert_true(f == want || (isnan(f) && isnan(want)));
    }
    _Alignas(16) half_bits x[4] = {{0x3C00}, {0xC000}, {0x0001}, {0x7BFF}}, y[4];
    const kt_f4 v = kt_read_x4(x);
    assert_true(v.x == 1 && v.y == -2 && v.z == 0x1p-24f && v.w == 65504);
    kt_write4(y, v);
    TEST_SAME_BITS(x, y, 4);
    kt_write(y, 1.00048828125f); /* half way: to even */
    assert_int_equal(y[0].bits, 0x3C00);
}

static void test_reads(void **state)
{
    (void)state;
    _Alignas(16) uint8_t bytes[32];
    for (unsigned i = 0; i < 32; i++)
        bytes[i] = (uint8_t)i;
    const kt_u4 v = kt_read16(bytes + 16);
    assert_int_equal(v.x, 0x13121110);
    assert_int_equal(v.w, 0x1F1E1D1C);
    assert_int_equal(kt_read4(bytes + 4), 0x07060504);
    assert_int_equal(kt_read2(bytes + 2), 0x0302);
    assert_true(kt_fma(0x1.001p0f, 0x1.001p0f, -1) == 0x1.0008p-11f);
    const uint3 at = thread_position_in_grid;
    assert_int_equal(at.x, 3 * 128 + 5);
    assert_int_equal(at.y, 1);
}

static void test_sum(void **state)
{
    (void)state;
    float total[32];
    for (int pass = 0; pass < 6; pass++) {
        for (group.lane = 0; group.lane < 32; group.lane++) {
            group.n_call = 0;
            total[group.lane] = kt_sum((float)(1u << group.lane % 20) + (float)group.lane);
        }
        memcpy(group.brought[0], group.brought[1], sizeof group.brought[0]);
    }
    for (unsigned i = 0; i < 32; i++)
        assert_true(total[i] == (float)((1u << 20) - 1 + (1u << 12) - 1 + 496));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_halves),
        cmocka_unit_test(test_reads),
        cmocka_unit_test(test_sum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
