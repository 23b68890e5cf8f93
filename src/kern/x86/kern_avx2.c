#include "kern/tiers.h"

#include "kern/x86/tier_avx2.h"

void kern_init_avx2(kern_table *k)
{
    k->tier = "avx2";
    avx2_init_i8(k);
    avx2_init_f32(k);
    avx2_init_rows(k);
    avx2_init_attend(k);
}
