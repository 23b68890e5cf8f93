/* mt19937.h - the Mersenne twister of 1998, as the C++ standard library seeds and draws it.
 *
 * A seed gives the same tokens as llama.cpp, so the generator and the two ways of making a uniform
 * number of its words follow libstdc++ bit for bit. No secret is ever made of it.
 * Source: M. Matsumoto, T. Nishimura, "Mersenne Twister", ACM TOMACS 8 (1998).
 */
#ifndef SAMPLE_MT19937_H
#define SAMPLE_MT19937_H

#include <stdint.h>

#define MT_N 624

typedef struct mt19937 {
    uint32_t word[MT_N];
    uint32_t at; /* next word to give; MT_N: twist first */
} mt19937;

void mt_init(mt19937 *m, uint32_t seed);
uint32_t mt_next(mt19937 *m);
/* [0, 1). uniform_real_distribution<double>: two draws. */
double mt_double(mt19937 *m);
/* [0, 1). uniform_real_distribution<float>: one draw. */
float mt_float(mt19937 *m);

#endif
