#include "kern/tiers.h"

void kern_init_avx512(kern_table *k)
{
    (void)k;
}
