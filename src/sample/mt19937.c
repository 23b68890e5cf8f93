#include "sample/mt19937.h"

#include <math.h>

#define MT_M 397

void mt_init(mt19937 *m, uint32_t seed)
{
    m->word[0] = seed;
    for (uint32_t i = 1; i < MT_N; i++)
        m->word[i] = 1812433253u * (m->word[i - 1] ^ (m->word[i - 1] >> 30)) + i;
    m->at = MT_N;
}

static void twist(mt19937 *m)
{
    for (uint32_t i = 0; i < MT_N; i++) {
        const uint32_t y = (m->word[i] & 0x80000000u) | (m->word[(i + 1) % MT_N] & 0x7fffffffu);
        m->word[i] = m->word[(i + MT_M) % MT_N] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
    }
    m->at = 0;
}

uint32_t mt_next(mt19937 *m)
{
    if (m->at >= MT_N)
        twist(m);
    uint32_t y = m->word[m->at++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

double mt_double(mt19937 *m)
{
    const double low = mt_next(m);
    const double high = mt_next(m);
    const double u = (low + high * 4294967296.0) / 18446744073709551616.0;
    /* The sum may round up to 2^64; the standard library steps back below 1. */
    return u < 1.0 ? u : nextafter(1.0, 0.0);
}

float mt_float(mt19937 *m)
{
    const float u = (float)mt_next(m) / 4294967296.0f;
    return u < 1.0f ? u : nextafterf(1.0f, 0.0f);
}
