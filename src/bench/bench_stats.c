#include "bench/bench_stats.h"

#include <math.h>
#include <stdlib.h>

#define WANTED_CONFIDENCE 0.9

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *v, size_t n)
{
    qsort(v, n, sizeof *v, by_value);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* The largest k whose interval [r(k), r(n+1-k)] still has the wanted confidence; 1 when none has.
 */
static size_t interval_rank(size_t n, double *out_confidence)
{
    double term = pow(0.5, (double)n); /* P(Binomial(n, 1/2) = i), from i = 0 */
    double below = term;               /* P(Binomial < k) */
    size_t k = 1;
    *out_confidence = 1 - 2 * below;
    while (2 * (k + 1) <= n) {
        term *= (double)(n - k + 1) / (double)k;
        if (1 - 2 * (below + term) < WANTED_CONFIDENCE)
            break;
        below += term;
        *out_confidence = 1 - 2 * below;
        k++;
    }
    return k;
}

cama_err bench_interval(double *v, size_t n, bench_ratio *out, err_info *err)
{
    if (n == 0 || n > BENCH_MAX_PAIRS)
        return err_set(err, CAMA_ERR_ARG, "bench: %zu pairs, must be 1 to %d", n, BENCH_MAX_PAIRS);
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(v[i]))
            return err_set(err, CAMA_ERR_ARG, "bench: figure %zu is %g", i, v[i]);
    }
    bench_ratio r = {.n = n, .median = bench_median(v, n)};
    const size_t k = interval_rank(n, &r.confidence);
    r.low = v[k - 1]; /* bench_median left them sorted */
    r.high = v[n - k];
    *out = r;
    return CAMA_OK;
}

cama_err bench_compare(const double *a, const double *b, size_t n, bench_ratio *out, err_info *err)
{
    double ratio[BENCH_MAX_PAIRS];
    for (size_t i = 0; i < n && n <= BENCH_MAX_PAIRS; i++) {
        if (!(a[i] > 0) || !(b[i] > 0) || !isfinite(a[i]) || !isfinite(b[i]))
            return err_set(err, CAMA_ERR_ARG, "bench: pair %zu is %g and %g, rates are positive", i,
                           a[i], b[i]);
        ratio[i] = a[i] / b[i];
    }
    return bench_interval(ratio, n, out, err);
}

bench_verdict bench_judge(const bench_ratio *r)
{
    if (r->confidence < WANTED_CONFIDENCE || (r->low <= 1 && r->high >= 1))
        return BENCH_NO_DIFFERENCE;
    return r->low > 1 ? BENCH_FASTER : BENCH_SLOWER;
}

const char *bench_verdict_text(bench_verdict v)
{
    switch (v) {
    case BENCH_FASTER:
        return "faster";
    case BENCH_SLOWER:
        return "slower";
    case BENCH_NO_DIFFERENCE:
        break;
    }
    return "no difference beyond noise";
}
