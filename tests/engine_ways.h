/* engine_ways.h - what the tests of each engine do with engine_rig.h. */
#ifndef ENGINE_WAYS_H
#define ENGINE_WAYS_H

#include "engine_rig.h"

#include <dirent.h>

#include "tiny_llama.h"

static const quant_type kv_types[] = {QUANT_F16, QUANT_F32, QUANT_Q8_0, QUANT_Q4_0, QUANT_BF16};

/* A context of several spans, whose attention is merged: alone, at once, in pieces that end
 * anywhere, behind a prefix, on two threads. */
static void check_long(rig *r, engine_opts o)
{
    const int32_t n = RIG_TOKENS;
    float *want = rig_new_logits(r, (size_t)n);
    float *got = rig_new_logits(r, (size_t)n);
    for (o.n_thread = 1; o.n_thread <= 2; o.n_thread++) {
        rig_open_engine(r, &o);
        const int32_t seq = rig_new_seq(r, -1, 0);
        rig_feed(r, seq, 0, 0, n, RIG_TOKENS, o.n_thread == 1 ? want : got);
        if (o.n_thread == 2)
            rig_same(r, got, want, 0, n, "two threads");
        const int32_t pieces = rig_new_seq(r, -1, 0);
        rig_feed(r, pieces, 0, 0, 250, 61, got);
        rig_feed(r, pieces, 0, 250, 265, 1, got); /* over the edge of a span */
        rig_feed(r, pieces, 0, 265, 505, 48, got);
        rig_feed(r, pieces, 0, 505, 520, 1, got);
        rig_feed(r, pieces, 0, 520, n, 7, got);
        rig_same(r, got, want, 0, n, "pieces");
        const int32_t child = rig_new_seq(r, seq, 511);
        rig_feed(r, child, 0, 511, n, 2, got);
        rig_same(r, got, want, 511, n, "behind a prefix");
        rig_engine->close(r->e);
    }
    free(want);
    free(got);
}

static void open_tiny(rig *r, uint8_t **out_bytes)
{
    size_t n;
    gguf_file *f = NULL;
    *out_bytes = tiny_llama(&n);
    assert_int_equal(gguf_open_bytes(*out_bytes, n, &f, NULL), CAMA_OK);
    rig_open_model(r, f);
}

/* Calls check for each model of a folder of tests/data. */
static size_t each_model(const char *folder, void (*check)(rig *r))
{
    static rig r;
    size_t n_model = 0;
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (struct dirent *d; (d = readdir(dir)) != NULL;) {
        if (!strstr(d->d_name, ".gguf"))
            continue;
        rig_open_file(&r, folder, d->d_name);
        if (model_get_info(r.model)->causal) {
            check(&r);
            n_model++;
        }
        rig_close_model(&r);
    }
    (void)closedir(dir);
    return n_model;
}

#endif
