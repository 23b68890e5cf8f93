/* emlx_about.c - what the MLX engine is on this machine: whether it is there, on what device, and
 * whether our kernels are right on it. */
#include "engine/mlx/emlx_trial.h"

#include <stdio.h>
#include <stdlib.h>

#define FITNESS_CPU 10 /* native is faster on a CPU: chosen only when asked for */
#define FITNESS_GPU 80

/* A device is opened only where one may be there: on Linux without a GPU's plugin none is. */
int emlx_probe(const model_desc *m, err_info *why)
{
    char text[MB_MAX_TEXT] = "";
    (void)m;
    const mb_api *b = emlx_plugin_found(text, sizeof text) ? emlx_plugin(text, sizeof text) : NULL;
    if (!b) {
        (void)err_set(why, CAMA_ERR_UNSUPPORTED, "mlx: %s", text);
        return 0;
    }
    mb_opened opened = {.error = ""};
    mb *device = b->open("", &opened);
    if (!device) {
        (void)err_set(why, CAMA_ERR_UNSUPPORTED, "mlx: %s", opened.error);
        return 0;
    }
    mb_info info;
    b->info(device, &info);
    b->close(device);
    return info.is_gpu ? FITNESS_GPU : FITNESS_CPU;
}

void emlx_about(engine_about *out)
{
    mb_opened opened = {.error = ""};
    char why[MB_MAX_TEXT] = "";
    *out = (engine_about){.available = false};
    const mb_api *b = emlx_plugin(why, sizeof why);
    mb *m = b ? b->open("", &opened) : NULL;
    if (!m) {
        (void)snprintf(out->why, sizeof out->why, "%.250s", b ? opened.error : why);
        return;
    }
    mb_info info;
    b->info(m, &info);
    b->close(m);
    out->available = true;
    out->is_gpu = info.is_gpu;
    out->memory_bytes = info.total_bytes;
    (void)snprintf(out->version, sizeof out->version, "MLX %s", info.version);
    (void)snprintf(out->device, sizeof out->device, "%s", info.device);
    (void)snprintf(out->backend, sizeof out->backend, "%s", info.backend);
}

static cama_err open_trial(emlx_trial *t, engine_device d, err_info *err)
{
    char why[MB_MAX_TEXT] = "";
    mb_opened opened = {.error = ""};
    t->b = emlx_plugin(why, sizeof why);
    if (!t->b)
        return err_set(err, CAMA_ERR_UNSUPPORTED, "mlx: %s", why);
    t->m = t->b->open(emlx_device_name(d), &opened);
    if (!t->m)
        return err_set(err, CAMA_ERR_UNSUPPORTED, "mlx: %s", opened.error);
    t->b->info(t->m, &t->info);
    for (int q = 0; q < QUANT_N_TYPE; q++)
        t->wanted[q] = t->info.is_gpu ? emlx_gpu_kernel_for((quant_type)q) != NULL
                                      : quant_table[q].is_weight && kern_takes((quant_type)q);
    return t->info.is_gpu ? emlx_gpu_new(t->b, t->m, t->info.backend, &t->gpu, err) : CAMA_OK;
}

/* On a CPU with both forms of activations. */
static cama_err run_trials(emlx_trial *t, buf *out, err_info *err)
{
    bool failed = false;
    for (int form = t->info.is_gpu; form < 2; form++) {
        t->form = form ? KERN_F32 : KERN_I8;
        if (!t->info.is_gpu && buf_printf(out, "%s activations\n", form ? "f32" : "int8"))
            return err_set(err, CAMA_ERR_NOMEM, "mlx: no memory for a report");
        cama_err fail = emlx_trial_run(t, err);
        if (!fail)
            fail = emlx_selftest_text(&t->result, out);
        if (fail)
            return fail;
        for (size_t i = 0; i < t->result.n; i++)
            failed = failed || !t->result.result[i].ok;
    }
    return failed ? err_set(err, CAMA_ERR_ENGINE, "mlx: a kernel failed its self-test on %s",
                            t->info.device)
                  : CAMA_OK;
}

cama_err emlx_selftest_all(engine_device d, buf *out, err_info *err)
{
    kern_table kern;
    kern_init(&kern, kern_cpu_detect());
    emlx_trial *t = calloc(1, sizeof *t);
    if (!t)
        return err_set(err, CAMA_ERR_NOMEM, "mlx: no memory for what is tried");
    t->kern = &kern;
    cama_err fail = open_trial(t, d, err);
    if (!fail)
        fail = run_trials(t, out, err);
    emlx_gpu_free(t->gpu);
    if (t->m)
        t->b->close(t->m);
    free(t);
    return fail;
}
