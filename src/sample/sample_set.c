#include "sample/sample_set.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

/* Best first: higher logit, then lower id. NaN counts as the worst, so that the order is total. */
static bool better(const sample_item *a, const sample_item *b)
{
    const float x = isnan(a->logit) ? -INFINITY : a->logit;
    const float y = isnan(b->logit) ? -INFINITY : b->logit;
    return x > y || (x == y && a->id < b->id);
}

static int compare(const void *a, const void *b)
{
    return better(a, b) ? -1 : better(b, a) ? 1 : 0;
}

/* item[0 .. n) is a heap whose root is its worst (or its best); item[i] may be out of place. */
static void sift_down(sample_item *item, size_t n, size_t i, bool best_first)
{
    for (;;) {
        size_t top = i;
        for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < n; child++) {
            if (better(&item[child], &item[top]) == best_first)
                top = child;
        }
        if (top == i)
            return;
        const sample_item t = item[i];
        item[i] = item[top];
        item[top] = t;
        i = top;
    }
}

static void make_heap(sample_item *item, size_t n, bool best_first)
{
    for (size_t i = n / 2; i-- > 0;)
        sift_down(item, n, i, best_first);
}

static void offer(sample_item *item, size_t n, const sample_item *x)
{
    if (!better(x, &item[0]))
        return;
    item[0] = *x;
    sift_down(item, n, 0, false);
}

static void sort(sample_set *s)
{
    if (!s->sorted)
        qsort(s->item, s->n, sizeof *s->item, compare);
    s->sorted = true;
}

void set_take_best(sample_set *s, const float *logits, size_t n_vocab, size_t k)
{
    for (size_t i = 0; i < n_vocab; i++) {
        const sample_item x = {.id = (int32_t)i, .logit = logits[i]};
        if (i < k)
            s->item[i] = x;
        if (i + 1 == k)
            make_heap(s->item, k, false);
        if (i >= k)
            offer(s->item, k, &x);
    }
    s->n = k < n_vocab ? k : n_vocab;
    s->sorted = false;
    sort(s);
}

size_t set_best(const sample_set *s)
{
    size_t best = 0;
    for (size_t i = 1; !s->sorted && i < s->n; i++) {
        if (better(&s->item[i], &s->item[best]))
            best = i;
    }
    return best;
}

/* Probabilities in the set's own order. */
static void softmax(sample_set *s)
{
    const float max = s->item[set_best(s)].logit;
    float sum = 0;
    for (size_t i = 0; i < s->n; i++) {
        s->item[i].p = expf(s->item[i].logit - max);
        sum += s->item[i].p;
    }
    for (size_t i = 0; i < s->n; i++)
        s->item[i].p /= sum;
}

void set_top_n_sigma(sample_set *s, float n_sigma)
{
    if (n_sigma <= 0 || s->n < 2)
        return;
    float sum = 0;
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (s->item[i].logit == -INFINITY)
            continue;
        sum += s->item[i].logit;
        n++;
    }
    const float mean = n ? sum / (float)n : 0;
    float acc = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (s->item[i].logit != -INFINITY)
            acc = (float)((double)acc + pow(s->item[i].logit - mean, 2));
    }
    const float sigma = n ? sqrtf(acc / (float)n) : 0;
    const float floor_logit = s->item[set_best(s)].logit - n_sigma * sigma;
    for (size_t i = 0; i < s->n; i++) {
        if (s->item[i].logit < floor_logit)
            s->item[i].logit = -INFINITY;
    }
}

void set_top_k(sample_set *s, size_t k)
{
    if (k < s->n && !s->sorted) {
        /* The best k by a heap; sorting a whole vocabulary for 40 would cost 20 times as much. */
        make_heap(s->item, k, false);
        for (size_t i = k; i < s->n; i++)
            offer(s->item, k, &s->item[i]);
    }
    s->n = k < s->n ? k : s->n;
    sort(s);
}

static int compare_score(const float *score, uint32_t a, uint32_t b)
{
    if (score[a] != score[b])
        return score[a] < score[b] ? -1 : 1;
    return a < b ? -1 : 1;
}

/* Heap sort of indices by score, ascending: qsort has no way to hand the scores in. */
static void sort_index(uint32_t *index, size_t n, const float *score)
{
    for (size_t end = n, root = n / 2; end > 1;) {
        uint32_t t;
        if (root > 0) {
            t = index[--root];
        } else {
            t = index[--end];
            index[end] = index[0];
        }
        size_t hole = root;
        for (size_t child = 2 * hole + 1; child < end; child = 2 * hole + 1) {
            if (child + 1 < end && compare_score(score, index[child], index[child + 1]) < 0)
                child++;
            if (compare_score(score, t, index[child]) >= 0)
                break;
            index[hole] = index[child];
            hole = child;
        }
        index[hole] = t;
    }
}

/* Puts item[index[0]], item[index[1]], ... first, for n places: swaps, following what moved. */
static void gather(sample_set *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t from = s->index[i];
        while (from < i) /* what was there has been swapped away, to where index says */
            from = s->index[from];
        const sample_item t = s->item[i];
        s->item[i] = s->item[from];
        s->item[from] = t;
        s->index[i] = (uint32_t)from;
    }
}

void set_typical(sample_set *s, float p)
{
    if (p >= 1 || !s->n)
        return;
    sort(s);
    softmax(s);
    float entropy = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (s->item[i].p > 0)
            entropy += -s->item[i].p * logf(s->item[i].p);
    }
    for (size_t i = 0; i < s->n; i++) {
        s->score[i] = fabsf(-logf(s->item[i].p) - entropy);
        s->index[i] = (uint32_t)i;
    }
    sort_index(s->index, s->n, s->score);
    size_t keep = 0;
    for (float sum = 0; keep < s->n && sum <= p; keep++)
        sum += s->item[s->index[keep]].p;
    gather(s, keep);
    s->n = keep;
    s->sorted = false;
}

static void reverse(sample_item *item, size_t n)
{
    for (size_t i = 0; i < n / 2; i++) {
        const sample_item t = item[i];
        item[i] = item[n - 1 - i];
        item[n - 1 - i] = t;
    }
}

/* Sorts only as far as p reaches: of a whole vocabulary that is a small part. The best go to the
 * end of the array one by one, and then to its front. */
static void sort_until(sample_set *s, float p)
{
    make_heap(s->item, s->n, true);
    size_t left = s->n;
    for (float sum = 0; left > 0 && sum < p;) {
        const sample_item best = s->item[0];
        s->item[0] = s->item[--left];
        s->item[left] = best;
        sift_down(s->item, left, 0, true);
        sum += best.p;
    }
    const size_t keep = s->n - left;
    reverse(s->item, s->n);
    s->n = keep;
    s->sorted = true;
}

void set_top_p(sample_set *s, float p)
{
    if (p >= 1 || !s->n)
        return;
    softmax(s); /* before sorting: the sum runs in the order that the set has now */
    if (!s->sorted) {
        sort_until(s, p > 0 ? p : FLT_MIN); /* the best one stays in any case */
        return;
    }
    float sum = 0;
    for (size_t i = 0; i < s->n; i++) {
        sum += s->item[i].p;
        if (sum >= p) {
            s->n = i + 1;
            return;
        }
    }
}

void set_min_p(sample_set *s, float p)
{
    if (p <= 0 || !s->n)
        return;
    const float floor_logit = s->item[set_best(s)].logit + logf(p);
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (s->item[i].logit >= floor_logit)
            s->item[n++] = s->item[i];
    }
    s->n = n ? n : 1; /* nothing passes a floor of NaN: keep one */
}

void set_xtc(sample_set *s, float threshold)
{
    sort(s);
    softmax(s);
    size_t last = 0;
    while (last + 1 < s->n && s->item[last + 1].p >= threshold)
        last++;
    s->item += last;
    s->n -= last;
}

/* t <= 0: only the best is left. */
static void divide(sample_set *s, float t)
{
    if (t <= 0) {
        const size_t best = set_best(s);
        s->item[0] = s->item[best];
        s->n = 1;
        return;
    }
    for (size_t i = 0; i < s->n; i++)
        s->item[i].logit /= t;
}

void set_dynatemp(sample_set *s, float t, float range, float exponent)
{
    if (range <= 0) {
        divide(s, t);
        return;
    }
    if (s->n < 2)
        return;
    const float low = t - range > 0 ? t - range : 0;
    const float high = t + range;
    const float max_entropy = -logf(1.0f / (float)s->n);
    sort(s);
    softmax(s);
    float entropy = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (s->item[i].p > 0)
            entropy -= s->item[i].p * logf(s->item[i].p);
    }
    divide(s, low + (high - low) * powf(entropy / max_entropy, exponent));
}

size_t set_draw(sample_set *s, double u)
{
    const float max = s->item[set_best(s)].logit;
    double sum = 0;
    for (size_t i = 0; i < s->n; i++) {
        s->item[i].p = expf(s->item[i].logit - max);
        sum += (double)s->item[i].p;
    }
    const double target = sum * u;
    double run = 0;
    for (size_t i = 0; i < s->n; i++) {
        run += (double)s->item[i].p;
        if (run >= target)
            return i;
    }
    return s->n - 1;
}
