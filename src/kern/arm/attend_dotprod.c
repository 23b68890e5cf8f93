/* attend_dotprod.c - attention over pages. */
#include "kern/arm/tier_dotprod.h"

#include <math.h>

#include "kern/ref/ref.h"
#include "kern/arm/vec_dotprod.h"
#include "quant/f16.h"

#define ATTEND_QUERIES 4 /* 16 sums and 4 keys in registers */

#include "kern/lanes/math.inc.h"
#include "kern/lanes/attend.inc.h"

void dotprod_init_attend(kern_table *k)
{
    lane_init_attend(k);
}
