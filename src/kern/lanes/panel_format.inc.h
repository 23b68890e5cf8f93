/* panel_format.inc.h - the panel unpacker of FORMAT.
 * FORMAT_QUADS: the format has a step for four blocks together. */

#define FORMAT_NAME_(a, f, b) a##f##b
#define FORMAT_NAME(a, f, b) FORMAT_NAME_(a, f, b)

static void FORMAT_NAME(panel_, FORMAT, )(quant_type t, const uint8_t *p, size_t stride,
                                          size_t n_block, uint8_t *at, const uint8_t *ahead)
{
    (void)t;
    const size_t bytes = sizeof(struct FORMAT_NAME(quant_, FORMAT, ));
    panel_ctx ctx = {at, ahead};
    const uint8_t *end = p + n_block * bytes;
#ifdef FORMAT_QUADS
    for (; p + 4 * bytes <= end; p += 4 * bytes)
        FORMAT_NAME(panel_step_, FORMAT, _x4)(p, stride, &ctx);
#endif
    for (; p < end; p += bytes)
        FORMAT_NAME(panel_step_, FORMAT, )(p, stride, &ctx);
}

#undef FORMAT_NAME
#undef FORMAT_NAME_
#undef FORMAT
#undef FORMAT_QUADS
