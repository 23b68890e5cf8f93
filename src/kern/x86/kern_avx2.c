#include "kern/tiers.h"

void kern_init_avx2(kern_table *k)
{
    (void)k;
}
