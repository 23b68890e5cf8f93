/* metal.h - stands for Metal's language where clang type-checks our kernel text (./dev lint).
 *
 * Address spaces are clang's own, so that a pointer that lost its `device` is an error here as
 * there; vectors are clang's vectors, which Metal's are made of. What MLX puts before every kernel
 * is here too. Nothing of this runs, and what Metal's compiler says beyond types it does not show.
 * Metal has no double. */
#pragma once

#define device __attribute__((address_space(1)))
#define constant __attribute__((address_space(2)))

typedef unsigned char uint8_t, uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef __SIZE_TYPE__ size_t;
typedef _Float16 half;
typedef half float16_t;
typedef float float4 __attribute__((ext_vector_type(4)));
typedef half half4 __attribute__((ext_vector_type(4)));
typedef uint uint3 __attribute__((ext_vector_type(3)));
typedef uint uint4 __attribute__((ext_vector_type(4)));

template <typename To, typename From> To as_type(From v)
{
    return __builtin_bit_cast(To, v);
}

#pragma GCC poison double

float fma(float a, float b, float c);
float simd_sum(float v);
