/* f32_avx512.c - KERN_F32 products. */
#include "kern/x86/tier_avx512.h"

#include <assert.h>

#include "kern/x86/vec_avx512.h"
#include "quant/f16.h"

#define F32_ROWS 4
#define F32_COLS 6
#include "kern/lanes/f32.inc.h"

void avx512_init_f32(kern_table *k)
{
    lane_init_f32(k);
}
