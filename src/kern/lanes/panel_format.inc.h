/* panel_format.inc.h - the panel unpacker of FORMAT. */

#define PANEL_NAME_(a, f) a##f
#define PANEL_NAME(a, f) PANEL_NAME_(a, f)

static void PANEL_NAME(panel_, FORMAT)(quant_type t, const uint8_t *p, size_t stride,
                                       size_t n_block, uint8_t *at)
{
    panel_ctx ctx = {at};
    for (size_t b = 0; b < n_block; b++, p += quant_table[t].block_bytes)
        PANEL_NAME(panel_step_, FORMAT)(p, stride, &ctx);
}

#undef PANEL_NAME
#undef PANEL_NAME_
#undef FORMAT
