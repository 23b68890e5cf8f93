/* f32_dotprod.c - KERN_F32 products. */
#include "kern/arm/tier_dotprod.h"

#include <assert.h>

#include "kern/arm/vec_dotprod.h"
#include "quant/f16.h"

#define F32_ROWS 2
#define F32_COLS 3
#include "kern/lanes/f32.inc.h"

void dotprod_init_f32(kern_table *k)
{
    lane_init_f32(k);
}
