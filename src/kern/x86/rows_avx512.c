/* rows_avx512.c - norms, activations and the rest that works on one row. */
#include "kern/x86/tier_avx512.h"

#include <math.h>

#include "kern/ref/ref.h"
#include "kern/x86/vec_avx512.h"

#include "kern/lanes/math.inc.h"
#include "kern/lanes/rowops.inc.h"

void avx512_init_rows(kern_table *k)
{
    lane_init_rows(k);
}
