/* i8_avx512.c - KERN_I8 products with VNNI. */
#include "kern/x86/tier_avx512.h"

#include <assert.h>

#include "kern/unpack.h"
#include "kern/x86/vec_avx512.h"
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
#define TILE_W 9
#include "kern/lanes/tile.inc.h"
#define TILE_W 10
#include "kern/lanes/tile.inc.h"
#define TILE_W 11
#include "kern/lanes/tile.inc.h"
#define TILE_W 12
#include "kern/lanes/tile.inc.h"

static tile_fn *const *const tiles_of_width[V_TILE_COLS + 1] = {
    NULL,    tiles_1, tiles_2, tiles_3,  tiles_4,  tiles_5,  tiles_6,
    tiles_7, tiles_8, tiles_9, tiles_10, tiles_11, tiles_12,
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
#define GEMV_N 5
#include "kern/lanes/gemv.inc.h"
#define GEMV_N 6
#include "kern/lanes/gemv.inc.h"
#define GEMV_N 7
#include "kern/lanes/gemv.inc.h"
#define GEMV_N 8
#include "kern/lanes/gemv.inc.h"

static gemv_fn *const *const gemv_of_width[V_GEMV_MAX + 1] = {
    NULL, gemv_1, gemv_2, gemv_3, gemv_4, gemv_5, gemv_6, gemv_7, gemv_8,
};

#include "kern/lanes/matmul.inc.h"

void avx512_init_i8(kern_table *k)
{
    lane_init_i8(k);
}
