/* rows_avx2.c - norms, activations and the rest that works on one row. */
#include "kern/x86/tier_avx2.h"

#include <math.h>

#include "kern/ref/ref.h"
#include "kern/x86/vec_avx2.h"

#include "kern/lanes/math.inc.h"
#include "kern/lanes/rowops.inc.h"

void avx2_init_rows(kern_table *k)
{
    lane_init_rows(k);
}
