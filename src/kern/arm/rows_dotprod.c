/* rows_dotprod.c - norms, activations and the rest that works on one row. */
#include "kern/arm/tier_dotprod.h"

#include <math.h>

#include "kern/ref/ref.h"
#include "kern/arm/vec_dotprod.h"

#include "kern/lanes/math.inc.h"
#include "kern/lanes/rowops.inc.h"

void dotprod_init_rows(kern_table *k)
{
    lane_init_rows(k);
}
