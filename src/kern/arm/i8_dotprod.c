/* i8_dotprod.c - KERN_I8 products with SDOT. */
#include "kern/arm/tier_dotprod.h"

#include <assert.h>

#include "kern/unpack.h"
#include "kern/arm/vec_dotprod.h"
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
#define TILE_W 5
#include "kern/lanes/tile.inc.h"
#define TILE_W 6
#include "kern/lanes/tile.inc.h"
#define TILE_W 7
#include "kern/lanes/tile.inc.h"
#define TILE_W 8
#include "kern/lanes/tile.inc.h"

static tile_fn *const *const tiles_of_width[V_TILE_COLS + 1] = {
    NULL, tiles_1, tiles_2, tiles_3, tiles_4, tiles_5, tiles_6, tiles_7, tiles_8,
};

#include "kern/lanes/gemm.inc.h"

#define GEMV_N 1
#include "kern/lanes/gemv.inc.h"
#define GEMV_N 2
#include "kern/lanes/gemv.inc.h"
#define GEMV_N 3
#include "kern/lanes/gemv.inc.h"
#define GEMV_N 4
#include "kern/lanes/gemv.inc.h"

static gemv_fn *const *const gemv_of_width[V_GEMV_MAX + 1] = {NULL, gemv_1, gemv_2, gemv_3, gemv_4};

#include "kern/lanes/matmul.inc.h"

void dotprod_init_i8(kern_table *k)
{
    lane_init_i8(k);
}
