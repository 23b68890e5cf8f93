/* bench_stats.h - what a comparison may claim.
 *
 * Measurements come in pairs: a and b did the same work one after the other, so that a machine that
 * speeds up or slows down moves both. The figure is the median of the ratios a/b; the interval is
 * made of two of the ratios themselves (order statistics), so it assumes nothing about their
 * distribution: the true median lies in [r(k), r(n+1-k)] with probability 1 - 2 * Binomial(n, 1/2)
 * below k (David and Nagaraja, Order Statistics, 7.1). Five pairs give 93.75 % with k = 1.
 */
#ifndef BENCH_STATS_H
#define BENCH_STATS_H

#include "base/err.h"

#define BENCH_MAX_PAIRS 1000

/* Median of n >= 1 values; the mean of the middle two when n is even. v is sorted by it. */
double bench_median(double *v, size_t n);

typedef struct bench_ratio {
    double median;
    double low, high;  /* the interval */
    double confidence; /* that the true median lies in it: at least 0.9 from 5 pairs on */
    size_t n;
} bench_ratio;

/* Median and interval of n figures of any sign; they are sorted by it. CAMA_ERR_ARG: n is 0 or past
 * BENCH_MAX_PAIRS, or a figure is not finite. */
cama_err bench_interval(double *v, size_t n, bench_ratio *out, err_info *err);

typedef enum bench_verdict {
    BENCH_FASTER,       /* the whole interval is above 1 */
    BENCH_SLOWER,       /* the whole interval is below 1 */
    BENCH_NO_DIFFERENCE /* 1 lies in it: no difference beyond noise */
} bench_verdict;

/* Ratios a[i] / b[i] of n pairs of rates. CAMA_ERR_ARG: n is 0 or past BENCH_MAX_PAIRS, or a rate
 * is not positive and finite. */
cama_err bench_compare(const double *a, const double *b, size_t n, bench_ratio *out, err_info *err);
bench_verdict bench_judge(const bench_ratio *r);
const char *bench_verdict_text(bench_verdict v); /* "no difference beyond noise" */

#endif
