/* attend_n.inc.h - the passes over a page for ATTEND_N queries. */

#define ATTEND_NAME_(a, n) a##_##n
#define ATTEND_NAME2(a, n) ATTEND_NAME_(a, n)
#define ATTEND(a) ATTEND_NAME2(a, ATTEND_N)

static void ATTEND(scores_f32)(const void *k, size_t dim, const float *const *q,
                               float score[ATTEND_QUERIES][KERN_PAGE])
{
    scores_of(PAGE_F32, k, dim, q, ATTEND_N, score);
}

static void ATTEND(scores_f16)(const void *k, size_t dim, const float *const *q,
                               float score[ATTEND_QUERIES][KERN_PAGE])
{
    scores_of(PAGE_F16, k, dim, q, ATTEND_N, score);
}

static void ATTEND(scores_bf16)(const void *k, size_t dim, const float *const *q,
                                float score[ATTEND_QUERIES][KERN_PAGE])
{
    scores_of(PAGE_BF16, k, dim, q, ATTEND_N, score);
}

static void ATTEND(values_f32)(const void *v, size_t dim, page_span s,
                               const float p[ATTEND_QUERIES][KERN_PAGE], float *const *o)
{
    values_of(PAGE_F32, v, dim, s, p, o, ATTEND_N);
}

static void ATTEND(values_f16)(const void *v, size_t dim, page_span s,
                               const float p[ATTEND_QUERIES][KERN_PAGE], float *const *o)
{
    values_of(PAGE_F16, v, dim, s, p, o, ATTEND_N);
}

static void ATTEND(values_bf16)(const void *v, size_t dim, page_span s,
                                const float p[ATTEND_QUERIES][KERN_PAGE], float *const *o)
{
    values_of(PAGE_BF16, v, dim, s, p, o, ATTEND_N);
}

#undef ATTEND
#undef ATTEND_NAME2
#undef ATTEND_NAME_
#undef ATTEND_N
