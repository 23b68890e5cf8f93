/* The formats of 32 weights with one scale: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q8_1, both ways. */
#include "quant/quant_int.h"

#include <math.h>

#include "quant/f16.h"

#define HALF_MAX 65504.0f

void quant_deq_Q4_0(const void *block, float *out)
{
    const struct quant_Q4_0 *b = block;
    const float d = f16_to_f32(b->d);
    for (int j = 0; j < 16; j++) {
        out[j] = (float)((b->qs[j] & 15) - 8) * d;
        out[j + 16] = (float)((b->qs[j] >> 4) - 8) * d;
    }
}

void quant_deq_Q4_1(const void *block, float *out)
{
    const struct quant_Q4_1 *b = block;
    const float d = f16_to_f32(b->d);
    const float m = f16_to_f32(b->m);
    for (int j = 0; j < 16; j++) {
        out[j] = (float)(b->qs[j] & 15) * d + m;
        out[j + 16] = (float)(b->qs[j] >> 4) * d + m;
    }
}

/* Weight i, 0..31, of a five-bit block. */
static int q5_code(const uint8_t qh[4], const uint8_t qs[16], int i)
{
    const int low = i < 16 ? qs[i] & 15 : qs[i - 16] >> 4;
    return low | (qh[i / 8] >> (i % 8) & 1) << 4;
}

void quant_deq_Q5_0(const void *block, float *out)
{
    const struct quant_Q5_0 *b = block;
    const float d = f16_to_f32(b->d);
    for (int i = 0; i < 32; i++)
        out[i] = (float)(q5_code(b->qh, b->qs, i) - 16) * d;
}

void quant_deq_Q5_1(const void *block, float *out)
{
    const struct quant_Q5_1 *b = block;
    const float d = f16_to_f32(b->d);
    const float m = f16_to_f32(b->m);
    for (int i = 0; i < 32; i++)
        out[i] = (float)q5_code(b->qh, b->qs, i) * d + m;
}

void quant_deq_Q8_0(const void *block, float *out)
{
    const struct quant_Q8_0 *b = block;
    const float d = f16_to_f32(b->d);
    for (int i = 0; i < 32; i++)
        out[i] = (float)b->qs[i] * d;
}

void quant_deq_Q8_1(const void *block, float *out)
{
    const struct quant_Q8_1 *b = block;
    const float d = f16_to_f32(b->d);
    for (int i = 0; i < 32; i++)
        out[i] = (float)b->qs[i] * d;
}

/* The other way. A scale is a half, so each encoder first cuts its input to what the largest half
 * can reach; then no step below overflows, and no code leaves its range but by rounding. */
static void cut(const float *x, float low, float high, float out[32])
{
    for (int i = 0; i < 32; i++)
        out[i] = isnan(x[i]) ? 0.0f : fminf(fmaxf(x[i], low), high);
}

static float inverse(float d)
{
    const float id = d != 0.0f ? 1.0f / d : 0.0f;
    return isfinite(id) ? id : 0.0f; /* a d below 2^-128; as a half it is 0 in any case */
}

/* The element of largest magnitude, the first on ties, with its sign. */
static float widest(const float x[32])
{
    float w = 0.0f;
    for (int i = 0; i < 32; i++)
        if (fabsf(x[i]) > fabsf(w))
            w = x[i];
    return w;
}

static int code(float v, int max)
{
    const int q = (int)v; /* v >= 0: truncation is the floor that the + 0.5 of the caller wants */
    return q < max ? q : max;
}

/* The code of a symmetric block: the widest element takes the lowest code, whichever its sign, for
 * there is one more code below zero than above. */
static float encode_symmetric(const float *x, int half, uint8_t q[32])
{
    float v[32];
    cut(x, -HALF_MAX * (float)half, HALF_MAX * (float)half, v);
    const float d = widest(v) / (float)-half;
    const float id = inverse(d);
    for (int i = 0; i < 32; i++)
        q[i] = (uint8_t)code(v[i] * id + ((float)half + 0.5f), 2 * half - 1);
    return d;
}

static float encode_affine(const float *x, int max, uint8_t q[32], float *out_m)
{
    float v[32];
    cut(x, -HALF_MAX, HALF_MAX * (float)(max + 1), v);
    float low = v[0];
    float high = v[0];
    for (int i = 1; i < 32; i++) {
        low = v[i] < low ? v[i] : low;
        high = v[i] > high ? v[i] : high;
    }
    low = fminf(low, HALF_MAX);
    const float d = fminf((high - low) / (float)max, HALF_MAX);
    const float id = inverse(d);
    for (int i = 0; i < 32; i++)
        q[i] = (uint8_t)code((v[i] - low) * id + 0.5f, max);
    *out_m = low;
    return d;
}

static void pack_low(const uint8_t q[32], uint8_t qs[16])
{
    for (int j = 0; j < 16; j++)
        qs[j] = (uint8_t)((q[j] & 15) | (q[j + 16] & 15) << 4);
}

static void pack_high(const uint8_t q[32], uint8_t qh[4])
{
    memset(qh, 0, 4);
    for (int i = 0; i < 32; i++)
        qh[i / 8] |= (uint8_t)(q[i] >> 4 << (i % 8));
}

void quant_enc_Q4_0(const float *x, void *block)
{
    struct quant_Q4_0 *b = block;
    uint8_t q[32];
    b->d = f16_from_f32(encode_symmetric(x, 8, q));
    pack_low(q, b->qs);
}

void quant_enc_Q4_1(const float *x, void *block)
{
    struct quant_Q4_1 *b = block;
    uint8_t q[32];
    float m;
    b->d = f16_from_f32(encode_affine(x, 15, q, &m));
    b->m = f16_from_f32(m);
    pack_low(q, b->qs);
}

void quant_enc_Q5_0(const float *x, void *block)
{
    struct quant_Q5_0 *b = block;
    uint8_t q[32];
    b->d = f16_from_f32(encode_symmetric(x, 16, q));
    pack_low(q, b->qs);
    pack_high(q, b->qh);
}

void quant_enc_Q5_1(const float *x, void *block)
{
    struct quant_Q5_1 *b = block;
    uint8_t q[32];
    float m;
    b->d = f16_from_f32(encode_affine(x, 31, q, &m));
    b->m = f16_from_f32(m);
    pack_low(q, b->qs);
    pack_high(q, b->qh);
}

void quant_enc_Q8_0(const float *x, void *block)
{
    struct quant_Q8_0 *b = block;
    float v[32];
    cut(x, -HALF_MAX * 127.0f, HALF_MAX * 127.0f, v);
    const float d = fabsf(widest(v)) / 127.0f;
    const float id = inverse(d);
    for (int i = 0; i < 32; i++)
        b->qs[i] = (int8_t)roundf(v[i] * id);
    b->d = f16_from_f32(d);
}
