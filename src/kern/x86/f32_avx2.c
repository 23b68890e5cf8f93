/* f32_avx2.c - KERN_F32 products. */
#include "kern/x86/tier_avx2.h"

#include <assert.h>

#include "kern/x86/vec_avx2.h"
#include "quant/f16.h"

#define F32_ROWS 2
#define F32_COLS 3
#include "kern/lanes/f32.inc.h"

void avx2_init_f32(kern_table *k)
{
    lane_init_f32(k);
}
