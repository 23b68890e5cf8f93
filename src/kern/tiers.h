/* tiers.h - what each tier gives to kern_init: one function that overwrites slots. */
#ifndef KERN_TIERS_H
#define KERN_TIERS_H

#include "kern/kern.h"

void kern_init_avx2(kern_table *k);
void kern_init_avx512(kern_table *k);
void kern_init_dotprod(kern_table *k);

#endif
