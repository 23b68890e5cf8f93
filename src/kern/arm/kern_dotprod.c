#include "kern/tiers.h"

#include "kern/arm/tier_dotprod.h"

void kern_init_dotprod(kern_table *k)
{
    k->tier = "neon-dotprod";
    dotprod_init_i8(k);
    dotprod_init_f32(k);
    dotprod_init_rows(k);
    dotprod_init_attend(k);
}
