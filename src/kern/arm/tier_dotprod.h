/* tier_dotprod.h - the parts of the neon-dotprod tier, one a file. */
#ifndef KERN_ARM_TIER_DOTPROD_H
#define KERN_ARM_TIER_DOTPROD_H

#include "kern/kern.h"

void dotprod_init_i8(kern_table *k);
void dotprod_init_f32(kern_table *k);
void dotprod_init_rows(kern_table *k);
void dotprod_init_attend(kern_table *k);

#endif
