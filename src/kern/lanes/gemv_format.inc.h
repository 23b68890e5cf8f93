/* gemv_format.inc.h - GEMV_N columns of FORMAT: one row group from its first block to its last.
 * FORMAT_QUADS: the format has a step for four blocks together. */

#define FORMAT_NAME_(a, f, b) a##f##b
#define FORMAT_NAME(a, f, b) FORMAT_NAME_(a, f, b)

static void GEMV(FORMAT_NAME(gemv_, FORMAT, ))(const gemv_rows *r, const uint8_t *acts, vf *acc)
{
    const size_t bytes = sizeof(struct FORMAT_NAME(quant_, FORMAT, ));
    GEMV(gemv_ctx) ctx = {.a = acts, .ahead = r->ahead};
    const uint8_t *p = r->p, *end = p + r->n_block * bytes;
#ifdef FORMAT_QUADS
    for (; p + 4 * bytes <= end; p += 4 * bytes)
        GEMV(FORMAT_NAME(gemv_step_, FORMAT, _x4))(p, r->stride, &ctx);
#endif
    for (; p < end; p += bytes)
        GEMV(FORMAT_NAME(gemv_step_, FORMAT, ))(p, r->stride, &ctx);
    for (size_t c = 0; c < GEMV_N; c++)
        acc[c] = ctx.acc[c];
}

#undef FORMAT_NAME
#undef FORMAT_NAME_
#undef FORMAT
#undef FORMAT_QUADS
