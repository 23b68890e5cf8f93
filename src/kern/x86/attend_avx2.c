/* attend_avx2.c - attention over pages. */
#include "kern/x86/tier_avx2.h"

#include <math.h>

#include "kern/ref/ref.h"
#include "kern/x86/vec_avx2.h"
#include "quant/f16.h"

#define ATTEND_QUERIES 2 /* 8 sums and 4 keys in registers */

#include "kern/lanes/math.inc.h"
#include "kern/lanes/attend.inc.h"

void avx2_init_attend(kern_table *k)
{
    lane_init_attend(k);
}
