/* tier_avx2.h - the parts of the avx2 tier, one a file. */
#ifndef KERN_X86_TIER_AVX2_H
#define KERN_X86_TIER_AVX2_H

#include "kern/kern.h"

void avx2_init_i8(kern_table *k);
void avx2_init_f32(kern_table *k);
void avx2_init_rows(kern_table *k);
void avx2_init_attend(kern_table *k);

#endif
