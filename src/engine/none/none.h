/* none.h - engines that this build leaves out. Their probe gives 0 and says so, so that nobody who
 * lists or chooses engines needs to know what was built. */
#ifndef ENGINE_NONE_NONE_H
#define ENGINE_NONE_NONE_H

#include "engine/engine.h"

extern const engine_vt none_mlx_engine;

#endif
