/* engine_bench - the engines of this build on one file in one run: tokens a second of decoding and
 * of a prompt, beside the memory bandwidth that was measured between them.
 *
 *     engine_bench MODEL [TOKENS [ROUNDS [cpu|gpu]]]         the device of mlx
 *
 * native, mlx with nodes of ours, and mlx with its own operations take turns; of the last only a
 * few tokens are computed, it is that slow on a CPU. Medians of the rounds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/plat.h"
#include "engine/engine.h"
#include "limits.h"

#define N_ARM 3
#define MAX_ROUND 31
#define PROMPT 64
#define STOCK_TOKENS 3

typedef struct arm {
    const char *name;
    const engine_vt *vt;
    bool stock;
    engine *e;
    double decode[MAX_ROUND], prefill[MAX_ROUND];
} arm;

static void die(const char *what, const err_info *err)
{
    fprintf(stderr, "engine_bench: %s: %s\n", what, err->text);
    exit(1);
}

static double feed(const arm *a, int32_t seq, int32_t from, int32_t n)
{
    static engine_row rows[PROMPT];
    err_info err;
    engine_ticket t;
    engine_outs outs;
    for (int32_t i = 0; i < n; i++) {
        const int32_t pos = from + i;
        rows[i] = (engine_row){.seq = seq,
                               .id = 1 + pos % 1000,
                               .pos = {pos, pos, pos, pos},
                               .visible_end = pos + 1,
                               .flags = i + 1 == n ? ENGINE_LOGITS : 0};
    }
    const engine_batch b = {.rows = rows, .n_row = (size_t)n};
    const uint64_t start_ns = clock_now_ns();
    if (a->vt->submit(a->e, &b, &t, &err) || a->vt->collect(a->e, t, &outs, &err))
        die(a->name, &err);
    return (double)(clock_now_ns() - start_ns) / 1e9;
}

static void one_round(arm *a, int round, int n_token, bool gpu)
{
    int32_t seq;
    double spent = 0;
    const int n = a->stock && !gpu && n_token > STOCK_TOKENS ? STOCK_TOKENS : n_token;
    const int n_prompt = a->stock && !gpu ? 4 : PROMPT;
    if (a->vt->seq_fork(a->e, -1, 0, &seq))
        exit(1);
    a->prefill[round] = n_prompt / feed(a, seq, 0, n_prompt);
    for (int i = 0; i < n; i++)
        spent += feed(a, seq, n_prompt + i, 1);
    a->decode[round] = n / spent;
    a->vt->seq_free(a->e, seq);
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, by_size);
    return x[n / 2];
}

static void open_arm(arm *a, const model_desc *m, bool gpu)
{
    err_info err;
    engine_opts o = engine_opts_init();
    o.n_ctx = 512;
    o.device = gpu && a->vt == &emlx_engine ? ENGINE_GPU : ENGINE_CPU;
    o.stock = a->stock;
    if (a->vt->open(m, &o, &a->e, &err))
        die(a->name, &err);
}

int main(int argc, char **argv)
{
    arm arms[N_ARM] = {{.name = "native", .vt = &nat_engine},
                       {.name = "mlx, nodes of ours", .vt = &emlx_engine},
                       {.name = "mlx, its own operations", .vt = &emlx_engine, .stock = true}};
    gguf_file *file = NULL;
    model_desc *m = NULL;
    err_info err;
    double read[MAX_ROUND];
    const int n_token = argc > 2 ? atoi(argv[2]) : 32;
    const int n_round = argc > 3 ? atoi(argv[3]) : 5;
    const bool gpu = argc > 4 && !strcmp(argv[4], "gpu");
    if (argc < 2 || n_token < 1 || n_round < 1 || n_round > MAX_ROUND) {
        fprintf(stderr, "usage: engine_bench MODEL [TOKENS [ROUNDS [cpu|gpu]]]\n");
        return 1;
    }
    if (gguf_open(argv[1], &file, &err) || gguf_load(file, NULL, &err) ||
        model_open(file, &m, &err))
        die(argv[1], &err);
    for (int i = 0; i < N_ARM; i++)
        open_arm(&arms[i], m, gpu);
    for (int r = 0; r < n_round; r++) {
        bench_limits limits;
        bench_measure_limits(plat_n_cpu(), &limits);
        read[r] = limits.read_gbs;
        for (int i = 0; i < N_ARM; i++)
            one_round(&arms[i], r, n_token, gpu);
    }
    const double gbs = median(read, n_round);
    const double bytes = (double)model_get_info(m)->weight_bytes;
    printf("%s: %.1f MB of weights, reading %.1f GB/s\n", argv[1], bytes / 1e6, gbs);
    for (int i = 0; i < N_ARM; i++) {
        const double tps = median(arms[i].decode, n_round);
        printf("%-24s decode %8.2f tok/s, %5.1f %% of the bandwidth; prefill %8.1f tok/s\n",
               arms[i].name, tps, tps * bytes / gbs / 1e7, median(arms[i].prefill, n_round));
    }
    for (int i = 0; i < N_ARM; i++)
        arms[i].vt->close(arms[i].e);
    model_close(m);
    gguf_close(file);
    return 0;
}
