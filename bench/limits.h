/* limits.h - what the machine can do at this moment: the yardstick beside every speed. */
#ifndef BENCH_LIMITS_H
#define BENCH_LIMITS_H

typedef struct bench_limits {
    double read_gbs;  /* bytes read from DRAM by all threads, 1e9 a second */
    double int8_gops; /* 8-bit multiply-adds of all threads, 2 operations each; 0: no fast one */
} bench_limits;

/* Half a second; n_thread threads, each with 128 MiB of its own. */
void bench_measure_limits(int n_thread, bench_limits *out);

#endif
