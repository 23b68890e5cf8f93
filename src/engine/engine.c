#include "engine/engine.h"

#include "engine/none/none.h"

static const engine_vt *const engines[] = {&nat_engine, &none_mlx_engine};

engine_opts engine_opts_init(void)
{
    return (engine_opts){.n_seq = 1,
                         .k_type = QUANT_F16,
                         .v_type = QUANT_F16,
                         .activations = KERN_I8,
                         .cpu = UINT32_MAX};
}

const engine_vt *engine_at(size_t i)
{
    return i < sizeof engines / sizeof *engines ? engines[i] : NULL;
}
