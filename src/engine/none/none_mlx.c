#include "engine/none/none.h"

static int probe(const model_desc *m, err_info *why)
{
    (void)m;
    (void)err_set(why, CAMA_ERR_UNSUPPORTED, "mlx: this build has no MLX engine");
    return 0;
}

static cama_err plan_none(const model_desc *m, const engine_opts *o, engine_bytes *out,
                          err_info *err)
{
    (void)m, (void)o, (void)out;
    return err_set(err, CAMA_ERR_UNSUPPORTED, "mlx: this build has no MLX engine");
}

static cama_err open_none(const model_desc *m, const engine_opts *o, engine **out, err_info *err)
{
    (void)m, (void)o, (void)out;
    return err_set(err, CAMA_ERR_UNSUPPORTED, "mlx: this build has no MLX engine");
}

static void close_none(engine *e)
{
    (void)e; /* none was ever opened */
}

static void about(engine_about *out)
{
    *out = (engine_about){.why = "this build has no MLX engine"};
}

/* The rest is never called: nothing opens. */
const engine_vt none_mlx_engine = {.name = "mlx",
                                   .probe = probe,
                                   .plan = plan_none,
                                   .open = open_none,
                                   .close = close_none,
                                   .about = about};
