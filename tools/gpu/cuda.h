/* cuda.h - stands for CUDA's headers and for MLX's where clang type-checks our kernel text
 * (./dev lint). clang knows the language itself; these are the functions that the text calls. */
#pragma once

#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __forceinline__ __inline__ __attribute__((always_inline))
#define __grid_constant__

typedef unsigned char uint8_t;
typedef __SIZE_TYPE__ size_t;

struct uint2 {
    unsigned x, y;
};
struct uint3 {
    unsigned x, y, z;
};
struct uint4 {
    unsigned x, y, z, w;
};
struct float4 {
    float x, y, z, w;
};
struct __half {
    unsigned short bits;
};
struct Shape {
    int dim[10];
    __device__ int operator[](int i) const
    {
        return dim[i];
    }
};

extern const __device__ uint3 threadIdx, blockIdx, blockDim;

__device__ uint3 make_uint3(unsigned x, unsigned y, unsigned z);
__device__ float4 make_float4(float x, float y, float z, float w);
template <typename T> __device__ T __ldg(const T *p);
__device__ float __half2float(__half h);
__device__ __half __float2half_rn(float f);
__device__ __half __ushort_as_half(unsigned short bits);
__device__ unsigned short __half_as_ushort(__half h);
__device__ float __uint_as_float(unsigned bits);
__device__ unsigned __byte_perm(unsigned a, unsigned b, unsigned selector);
__device__ unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned n_bit);
__device__ float __fmaf_rn(float a, float b, float c);
__device__ float __shfl_xor_sync(unsigned mask, float v, int lane_mask);
