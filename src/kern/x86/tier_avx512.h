/* tier_avx512.h - the parts of the avx512-vnni tier, one a file. */
#ifndef KERN_X86_TIER_AVX512_H
#define KERN_X86_TIER_AVX512_H

#include "kern/kern.h"

void avx512_init_i8(kern_table *k);
void avx512_init_f32(kern_table *k);
void avx512_init_rows(kern_table *k);
void avx512_init_attend(kern_table *k);

#endif
