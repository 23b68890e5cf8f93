/* main.c - cama against llama.cpp on the same files, in one interleaved run.
 *
 *     cama_bench [--peer DIR | --server PROGRAM] [--threads N] [--pairs N] [--prefill N] [--decode
 * N] MODEL...
 *
 * --server compares another pair: answers that stream through a server of ours, and the same made
 * in one process; the difference is what the server costs a token.
 *
 * Each engine is a process of its own; the two take turns, first one first, then the other, and the
 * machine's limits are measured between pairs. Figures: median rates, the ratio with its interval,
 * shares of the limits, resident memory. */
#include "limits.h"
#include "worker.h"

#include "base/plat.h"
#include "bench/bench_stats.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct options {
    const char *peer_dir;
    const char *server; /* the program: the pair is then server and process */
    int n_thread;
    size_t n_pair;
    bench_task task;
} options;

typedef struct series {
    double ours[BENCH_MAX_PAIRS];
    double peer[BENCH_MAX_PAIRS];
} series;

typedef struct results {
    series prefill, decode;
    double read_gbs[BENCH_MAX_PAIRS];
    double int8_gops[BENCH_MAX_PAIRS];
    size_t n;
    uint64_t ours_peak, peer_peak;
} results;

static cama_err run_pair(bench_worker *ours, bench_worker *peer, const options *o, results *r,
                         err_info *err)
{
    const size_t i = r->n;
    bench_limits limits;
    bench_measure_limits(o->n_thread, &limits);
    bench_reply a;
    bench_reply b = {0};
    cama_err e = CAMA_OK;
    /* the order alternates, so that what a run leaves behind (clock, caches) falls on both */
    if (peer && i % 2)
        e = worker_run(peer, &o->task, &b, err);
    if (!e)
        e = worker_run(ours, &o->task, &a, err);
    if (!e && peer && i % 2 == 0)
        e = worker_run(peer, &o->task, &b, err);
    if (e)
        return e;
    r->prefill.ours[i] = o->task.n_prefill / a.prefill_s;
    r->decode.ours[i] = o->task.n_decode / a.decode_s;
    r->read_gbs[i] = limits.read_gbs;
    r->int8_gops[i] = limits.int8_gops;
    r->ours_peak = a.peak_bytes;
    if (peer) {
        r->prefill.peer[i] = o->task.n_prefill / b.prefill_s;
        r->decode.peer[i] = o->task.n_decode / b.decode_s;
        r->peer_peak = b.peak_bytes;
    }
    r->n++;
    return CAMA_OK;
}

static void print_series(const char *what, series *s, size_t n,
                         const bench_engine_vt *const pair[2])
{
    const bool has_peer = pair[1] != NULL;
    bench_ratio ratio;
    err_info err = {0};
    if (has_peer && bench_compare(s->ours, s->peer, n, &ratio, &err)) {
        printf("  %-8s %s\n", what, err.text);
        return;
    }
    printf("  %-8s %s %8.1f tok/s", what, pair[0]->name, bench_median(s->ours, n));
    if (has_peer)
        printf("   %s %8.1f tok/s   ratio %.2f  [%.2f, %.2f] at %.1f %% of %zu pairs: %s",
               pair[1]->name, bench_median(s->peer, n), ratio.median, ratio.low, ratio.high,
               100 * ratio.confidence, n, bench_verdict_text(bench_judge(&ratio)));
    printf("\n");
}

/* What a token costs more in the one than in the other, by the same order statistics. */
static void print_cost(const series *s, size_t n)
{
    double more[BENCH_MAX_PAIRS];
    for (size_t i = 0; i < n; i++)
        more[i] = 1e3 / s->ours[i] - 1e3 / s->peer[i];
    bench_ratio d;
    err_info err = {0};
    if (bench_interval(more, n, &d, &err))
        printf("  cost     %s\n", err.text);
    else
        printf("  cost     %.3f ms a token  [%.3f, %.3f] at %.1f %% of %zu pairs\n", d.median,
               d.low, d.high, 100 * d.confidence, n);
}

static void print_results(const char *model, const options *o, results *r,
                          const bench_engine_vt *const pair[2])
{
    struct stat st = {0};
    const bool has_peer = pair[1] != NULL;
    if (o->server)
        print_cost(&r->decode, r->n);
    const double file = stat(model, &st) == 0 ? (double)st.st_size : 0;
    const double decode = bench_median(r->decode.ours, r->n);
    const double read = bench_median(r->read_gbs, r->n);
    print_series("prefill", &r->prefill, r->n, pair);
    print_series("decode", &r->decode, r->n, pair);
    printf("  machine  read %.1f GB/s, int8 %.0f GOPS (medians beside the pairs, %d threads)\n",
           read, bench_median(r->int8_gops, r->n), o->n_thread);
    printf("  share    decode reads %.1f GB/s of the file: %.0f %% of the bandwidth\n",
           decode * file * 1e-9, 100 * decode * file * 1e-9 / read);
    if (o->server) /* its memory is not this worker's */
        return;
    printf("  memory   file %.0f MiB, resident peak: %s %.0f MiB", file / 1048576, pair[0]->name,
           (double)r->ours_peak / 1048576);
    if (has_peer)
        printf(", %s %.0f MiB", pair[1]->name, (double)r->peer_peak / 1048576);
    printf("\n");
}

static cama_err bench_model(const char *model, const options *o, err_info *err)
{
    static results r; /* large, and one model is measured at a time */
    r = (results){0};
    bench_worker *ours = NULL;
    bench_worker *peer = NULL;
    bench_reply hello;
    bench_opts opts = {.model = model,
                       .n_ctx = o->task.n_prefill + o->task.n_decode + 64,
                       .n_thread = o->n_thread};
    const bench_engine_vt *const pair[2] = {
        o->server ? &bench_http : &bench_cama,
        o->server ? &bench_text : (o->peer_dir ? &bench_llama : NULL),
    };
    opts.lib_dir = o->server;
    cama_err e = worker_start(pair[0], &opts, &ours, &hello, err);
    if (!e) {
        printf("%s\n  cama     %s\n", model, hello.text);
        opts.lib_dir = o->peer_dir;
        if (pair[1])
            e = worker_start(pair[1], &opts, &peer, &hello, err);
        if (!e && peer)
            printf("  peer     %s\n", hello.text);
    }
    bench_reply warm;
    const bench_task small = {.n_prefill = 64, .n_decode = 8};
    if (!e)
        e = worker_run(ours, &small, &warm, err);
    if (!e && peer)
        e = worker_run(peer, &small, &warm, err);
    while (!e && r.n < o->n_pair)
        e = run_pair(ours, peer, o, &r, err);
    if (!e)
        print_results(model, o, &r, pair);
    worker_stop(ours);
    worker_stop(peer);
    (void)fflush(stdout); /* a long run is watched */
    return e;
}

static unsigned long number(const char *name, const char *text, unsigned long max)
{
    char *end;
    const unsigned long v = strtoul(text, &end, 10);
    if (*end || end == text || v < 1 || v > max) {
        fprintf(stderr, "cama_bench: --%s is '%s', must be 1 to %lu\n", name, text, max);
        exit(2);
    }
    return v;
}

int main(int argc, char **argv)
{
    static const struct option table[] = {{"peer", required_argument, NULL, 'p'},
                                          {"threads", required_argument, NULL, 't'},
                                          {"pairs", required_argument, NULL, 'n'},
                                          {"prefill", required_argument, NULL, 'f'},
                                          {"decode", required_argument, NULL, 'd'},
                                          {"server", required_argument, NULL, 's'},
                                          {0}};
    options o = {
        .n_thread = plat_n_cpu(), .n_pair = 7, .task = {.n_prefill = 512, .n_decode = 128}};
    for (int c; (c = getopt_long(argc, argv, "", table, NULL)) != -1;) {
        switch (c) {
        case 'p':
            o.peer_dir = optarg;
            break;
        case 's':
            o.server = optarg;
            break;
        case 't':
            o.n_thread = (int)number("threads", optarg, 64);
            break;
        case 'n':
            o.n_pair = number("pairs", optarg, BENCH_MAX_PAIRS);
            break;
        case 'f':
            o.task.n_prefill = (uint32_t)number("prefill", optarg, 100000);
            break;
        case 'd':
            o.task.n_decode = (uint32_t)number("decode", optarg, 100000);
            break;
        default:
            return 2;
        }
    }
    if (optind == argc) {
        fprintf(stderr, "usage: cama_bench [--peer DIR | --server PROGRAM] [--threads N] [--pairs "
                        "N] [--prefill N] "
                        "[--decode N] MODEL...\n");
        return 2;
    }
    char cpu[128];
    plat_cpu_name(cpu, sizeof cpu);
    printf("%s, %d threads, %zu pairs of prefill %u and decode %u\n", cpu, o.n_thread, o.n_pair,
           o.task.n_prefill, o.task.n_decode);
    for (int i = optind; i < argc; i++) {
        err_info err = {0};
        if (bench_model(argv[i], &o, &err)) {
            fprintf(stderr, "cama_bench: %s\n", err.text);
            return 1;
        }
    }
    return 0;
}
