/* f16.h - IEEE half and bfloat16 to and from f32; subnormals kept, NaN kept quiet. */
#ifndef QUANT_F16_H
#define QUANT_F16_H

#include <stdint.h>
#include <string.h>

static inline float f16_to_f32(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    const uint32_t exp = (h >> 10) & 31u;
    uint32_t man = h & 0x3FFu;
    uint32_t bits;
    if (exp == 31) {
        bits = sign | 0x7F800000u | man << 13;
    } else if (exp) {
        bits = sign | (exp + 112) << 23 | man << 13;
    } else { /* man * 2^-24, exact in f32 */
        const float f = (float)man * 0x1p-24f;
        memcpy(&bits, &f, 4);
        bits |= sign;
    }
    float out;
    memcpy(&out, &bits, 4);
    return out;
}

/* Round to nearest even. */
static inline uint16_t f16_from_f32(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, 4);
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    const uint32_t mag = bits & 0x7FFFFFFFu;
    if (mag > 0x7F800000u)
        return (uint16_t)(sign | 0x7E00u | (mag >> 13 & 0x3FFu));
    if (mag >= 0x477FF000u) /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7C00u);
    if (mag < 0x38800000u) { /* below 2^-14: the sum with 0.5 rounds at bit 2^-24 */
        float m;
        memcpy(&m, &mag, 4);
        m += 0.5f;
        uint32_t b;
        memcpy(&b, &m, 4);
        return (uint16_t)(sign | (b - 0x3F000000u));
    }
    const uint32_t odd = mag >> 13 & 1;
    return (uint16_t)(sign | ((mag - 0x38000000u + 0xFFFu + odd) >> 13));
}

static inline float bf16_to_f32(uint16_t h)
{
    const uint32_t bits = (uint32_t)h << 16;
    float out;
    memcpy(&out, &bits, 4);
    return out;
}

static inline uint16_t bf16_from_f32(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, 4);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7FFFu + (bits >> 16 & 1)) >> 16);
}

#endif
