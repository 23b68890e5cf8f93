#include "kern/tiers.h"

#include "kern/x86/tier_avx512.h"

void kern_init_avx512(kern_table *k)
{
    k->tier = "avx512-vnni";
    avx512_init_i8(k);
    avx512_init_f32(k);
    avx512_init_rows(k);
    avx512_init_attend(k);
}
