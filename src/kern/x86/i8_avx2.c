/* i8_avx2.c - KERN_I8 products. */
#include "kern/x86/tier_avx2.h"

#include <assert.h>

#include "kern/unpack.h"
#include "kern/x86/vec_avx2.h"
#include "quant/blocks.h"

#include "kern/lanes/block.inc.h"
#include "kern/lanes/acts.inc.h"
#include "kern/lanes/rows.inc.h"
#include "kern/lanes/panel.inc.h"

#define TILE_W 1
#include "kern/lanes/tile.inc.h"
#define TILE_W 2
#include "kern/lanes/tile.inc.h"
#define TILE_W 3
#include "kern/lanes/tile.inc.h"
#define TILE_W 4
#include "kern/lanes/tile.inc.h"

static tile_fn *const *const tiles_of_width[V_TILE_COLS + 1] = {
    NULL, tiles_1, tiles_2, tiles_3, tiles_4,
};

#include "kern/lanes/gemm.inc.h"

#define GEMV_N 1
#include "kern/lanes/gemv.inc.h"
#define GEMV_N 2
#include "kern/lanes/gemv.inc.h"
#define GEMV_N 3
#include "kern/lanes/gemv.inc.h"

static gemv_fn *const *const gemv_of_width[V_GEMV_MAX + 1] = {NULL, gemv_1, gemv_2, gemv_3};

#include "kern/lanes/matmul.inc.h"

void avx2_init_i8(kern_table *k)
{
    lane_init_i8(k);
}
