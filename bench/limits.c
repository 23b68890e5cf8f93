#include "limits.h"

#include "base/clock.h"
#include "base/plat.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LIMITS_BYTES ((size_t)128 << 20)
#define LIMITS_MAX_THREAD 64
#define LIMITS_REPS 3
#define LIMITS_TURNS (1u << 21)

typedef struct limits_job {
    int index;
    char *mem;
    uint64_t start_ns, end_ns;
    atomic_int *ready;
    int n_thread;
    int what; /* 0: read, 1: int8 */
    volatile uint64_t sink;
} limits_job;

/* One word of every cache line: memory moves whole lines, and the core is left idle. */
static uint64_t read_all(const char *p, size_t n)
{
    uint64_t s[8] = {0};
    for (size_t i = 0; i + 512 <= n; i += 512)
        for (size_t k = 0; k < 8; k++) {
            uint64_t v;
            memcpy(&v, p + i + 64 * k, sizeof v);
            s[k] += v;
        }
    return s[0] + s[1] + s[2] + s[3] + s[4] + s[5] + s[6] + s[7];
}

#if defined(__x86_64__)
#define LIMITS_DOT_OPS (8 * 64 * 2.0) /* a turn: 8 chains of 64 multiply-adds */
/* Registers by name: left to choose, compilers keep the sums on the stack and measure that. */
__attribute__((target("avx512f,avx512vnni"))) static uint64_t dot_all(uint32_t n_turn)
{
    for (uint32_t i = 0; i < n_turn; i++)
        __asm__ volatile("vpdpbusd %%zmm30, %%zmm31, %%zmm16\n vpdpbusd %%zmm30, %%zmm31, %%zmm17\n"
                         "vpdpbusd %%zmm30, %%zmm31, %%zmm18\n vpdpbusd %%zmm30, %%zmm31, %%zmm19\n"
                         "vpdpbusd %%zmm30, %%zmm31, %%zmm20\n vpdpbusd %%zmm30, %%zmm31, %%zmm21\n"
                         "vpdpbusd %%zmm30, %%zmm31, %%zmm22\n vpdpbusd %%zmm30, %%zmm31, %%zmm23\n"
                         :
                         :
                         : "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23");
    return n_turn;
}
static int have_dot(void)
{
    return __builtin_cpu_supports("avx512vnni");
}
#elif defined(__aarch64__) && defined(__ARM_FEATURE_DOTPROD)
#define LIMITS_DOT_OPS (8 * 16 * 2.0)
static uint64_t dot_all(uint32_t n_turn)
{
    for (uint32_t i = 0; i < n_turn; i++)
        __asm__ volatile("sdot v16.4s, v30.16b, v31.16b\n sdot v17.4s, v30.16b, v31.16b\n"
                         "sdot v18.4s, v30.16b, v31.16b\n sdot v19.4s, v30.16b, v31.16b\n"
                         "sdot v20.4s, v30.16b, v31.16b\n sdot v21.4s, v30.16b, v31.16b\n"
                         "sdot v22.4s, v30.16b, v31.16b\n sdot v23.4s, v30.16b, v31.16b\n"
                         :
                         :
                         : "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23");
    return n_turn;
}
static int have_dot(void)
{
    return 1;
}
#else
#define LIMITS_DOT_OPS 0.0
static uint64_t dot_all(uint32_t n_turn)
{
    return n_turn;
}
static int have_dot(void)
{
    return 0;
}
#endif

static void *work(void *arg)
{
    limits_job *j = arg;
    plat_pin_thread(j->index);
    atomic_fetch_add(j->ready, 1); /* all start together */
    while (atomic_load(j->ready) < j->n_thread)
        (void)sched_yield(); /* the others may need this very core to get here */
    j->start_ns = clock_now_ns();
    j->sink = j->what ? dot_all(LIMITS_TURNS) : read_all(j->mem, LIMITS_BYTES);
    j->end_ns = clock_now_ns();
    return NULL;
}

/* Seconds from the first start to the last end of one pass of all threads. */
static double pass_seconds(limits_job *jobs, int n_thread, int what)
{
    atomic_int ready = 0;
    pthread_t thread[LIMITS_MAX_THREAD];
    int n = 0;
    for (; n < n_thread; n++) {
        jobs[n].ready = &ready;
        jobs[n].what = what;
        jobs[n].n_thread = n_thread;
        if (pthread_create(&thread[n], NULL, work, &jobs[n]) != 0)
            abort(); /* a machine that cannot start two threads measures nothing */
    }
    uint64_t start = UINT64_MAX;
    uint64_t end = 0;
    for (int i = 0; i < n; i++) {
        (void)pthread_join(thread[i], NULL); /* joinable and ours */
        start = jobs[i].start_ns < start ? jobs[i].start_ns : start;
        end = jobs[i].end_ns > end ? jobs[i].end_ns : end;
    }
    return (double)(end - start) * 1e-9;
}

void bench_measure_limits(int n_thread, bench_limits *out)
{
    if (n_thread > LIMITS_MAX_THREAD)
        n_thread = LIMITS_MAX_THREAD;
    limits_job jobs[LIMITS_MAX_THREAD] = {0};
    for (int i = 0; i < n_thread; i++) {
        jobs[i].index = i;
        jobs[i].mem = aligned_alloc((size_t)2 << 20, LIMITS_BYTES);
        if (!jobs[i].mem)
            abort();
        plat_hint_huge(jobs[i].mem, LIMITS_BYTES);
        memset(jobs[i].mem, 1, LIMITS_BYTES);
    }
    *out = (bench_limits){0};
    for (int r = 0; r < LIMITS_REPS; r++) {
        const double read_s = pass_seconds(jobs, n_thread, 0);
        const double gbs = (double)LIMITS_BYTES * n_thread / read_s * 1e-9;
        out->read_gbs = gbs > out->read_gbs ? gbs : out->read_gbs;
        if (!have_dot())
            continue;
        const double dot_s = pass_seconds(jobs, n_thread, 1);
        const double gops = LIMITS_DOT_OPS * LIMITS_TURNS * n_thread / dot_s * 1e-9;
        out->int8_gops = gops > out->int8_gops ? gops : out->int8_gops;
    }
    for (int i = 0; i < n_thread; i++)
        free(jobs[i].mem);
}
