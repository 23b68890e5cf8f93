/* formats.inc.h - blocks of V_N weight rows at once, a row in each lane.
 *
 * The rows are `stride` bytes apart in the file. Each STEP_<format>(p, stride, ctx) reads one block
 * of every row, makes for each 32 columns 8 words of byte weights (word j: columns 4j .. 4j + 3)
 * with their scales and minima, and hands them in order to EMIT(ctx, block, traits), which the
 * including file defines together with STEP. Nothing past the block is read.
 */

#define NIBBLES 0x0F0F0F0Fu

/* Q4_0: f16 d, 16 bytes. */
V_INLINE void STEP(Q4_0)(const uint8_t *p, size_t stride, STEP_CTX *ctx)
{
    lane_block b;
    vu c[4];
    v_load_rows(p + 2, stride, c);
    lane_nibbles(c, b.w);
    b.scale[0] = v_f16(v_load_rows_u16(p, stride));
    EMIT(ctx, &b, (lane_traits)LANE_Q4_0);
}

V_INLINE void STEP(Q4_1)(const uint8_t *p, size_t stride, STEP_CTX *ctx)
{
    lane_block b;
    vu c[4];
    v_load_rows(p + 4, stride, c);
    lane_nibbles(c, b.w);
    const vu dm = v_load_rows_u32(p, stride);
    b.scale[0] = v_f16(dm);
    b.min[0] = v_f16(dm >> 16);
    EMIT(ctx, &b, (lane_traits)LANE_Q4_1);
}

/* Four blocks of Q4_1 are 80 bytes: five runs of 16, so that d and m come with the rest. */
V_INLINE void STEP(Q4_1_x4)(const uint8_t *p, size_t stride, STEP_CTX *ctx)
{
    vu c[20];
    for (size_t i = 0; i < 5; i++)
        v_load_rows(p + 16 * i, stride, c + 4 * i);
    V_UNROLL for (size_t i = 0; i < 4; i++)
    {
        lane_block b;
        lane_nibbles(c + 5 * i + 1, b.w);
        b.scale[0] = v_f16(c[5 * i]);
        b.min[0] = v_f16(c[5 * i] >> 16);
        EMIT(ctx, &b, (lane_traits)LANE_Q4_1);
    }
}

V_INLINE void STEP(Q5_0)(const uint8_t *p, size_t stride, STEP_CTX *ctx)
{
    lane_block b;
    vu c[4];
    v_load_rows(p + 6, stride, c);
    lane_nibbles(c, b.w);
    v_fifth_bits(v_load_rows_u32(p + 2, stride), b.w);
    b.scale[0] = v_f16(v_load_rows_u16(p, stride));
    EMIT(ctx, &b, (lane_traits)LANE_Q5_0);
}

V_INLINE void STEP(Q5_1)(const uint8_t *p, size_t stride, STEP_CTX *ctx)
{
    lane_block b;
    vu c[4];
    v_load_rows(p + 8, stride, c);
    lane_nibbles(c, b.w);
    v_fifth_bits(v_load_rows_u32(p + 4, stride), b.w);
    const vu dm = v_load_rows_u32(p, stride);
    b.scale[0] = v_f16(dm);
    b.min[0] = v_f16(dm >> 16);
    EMIT(ctx, &b, (lane_traits)LANE_Q5_1);
}

V_INLINE void STEP(Q8_0)(const uint8_t *p, size_t stride, STEP_CTX *ctx)
{
    lane_block b;
    v_load_rows32(p + 2, stride, b.w);
    V_UNROLL for (size_t j = 0; j < 8; j++) b.w[j] = v_s8(b.w[j]);
    b.scale[0] = v_f16(v_load_rows_u16(p, stride));
    EMIT(ctx, &b, (lane_traits)LANE_Q8_0);
}

V_INLINE void STEP(IQ4_NL)(const uint8_t *p, size_t stride, STEP_CTX *ctx)
{
    lane_block b;
    vu c[4];
    v_load_rows(p + 2, stride, c);
    lane_codes(c, lane_iq4_codes, b.w);
    b.scale[0] = v_f16(v_load_rows_u16(p, stride));
    EMIT(ctx, &b, (lane_traits)LANE_IQ4_NL);
}

/* Scales and minima of Q4_K and Q5_K: h is the 16 bytes of d, dmin, scales[12]. */
V_INLINE void STEP(k_scales)(const vu h[4], lane_k *out)
{
    out->d = v_f16(h[0]);
    out->dmin = -v_f16(h[0] >> 16);
    out->sc[0] = h[1] & 0x3F3F3F3Fu;
    out->mn[0] = h[2] & 0x3F3F3F3Fu;
    out->sc[1] = (h[3] & NIBBLES) | (h[1] >> 2 & 0x30303030u);
    out->mn[1] = (h[3] >> 4 & NIBBLES) | (h[2] >> 2 & 0x30303030u);
}

V_INLINE void STEP(k_block_scale)(const lane_k *k, size_t s, lane_block *b)
{
    b->scale[0] = k->d * v_float((vi)(k->sc[s / 4] >> (uint32_t)(8 * (s % 4)) & 255u));
    b->min[0] = k->dmin * v_float((vi)(k->mn[s / 4] >> (uint32_t)(8 * (s % 4)) & 255u));
}

V_INLINE void STEP(Q4_K)(const uint8_t *p, size_t stride, STEP_CTX *ctx)
{
    lane_block b;
    lane_k k;
    vu h[4], c[8];
    v_load_rows(p, stride, h);
    STEP(k_scales)(h, &k);
    V_UNROLL for (size_t s = 0; s < 8; s += 2)
    {
        v_load_rows32(p + 16 + 16 * s, stride, c);
        V_UNROLL for (size_t j = 0; j < 8; j++) b.w[j] = c[j] & NIBBLES;
        STEP(k_block_scale)(&k, s, &b);
        EMIT(ctx, &b, (lane_traits)LANE_Q4_K);
        V_UNROLL for (size_t j = 0; j < 8; j++) b.w[j] = c[j] >> 4 & NIBBLES;
        STEP(k_block_scale)(&k, s + 1, &b);
        EMIT(ctx, &b, (lane_traits)LANE_Q4_K);
    }
}

V_INLINE void STEP(Q5_K)(const uint8_t *p, size_t stride, STEP_CTX *ctx)
{
    lane_block b;
    lane_k k;
    vu h[4], c[8], high[8];
    v_load_rows(p, stride, h);
    STEP(k_scales)(h, &k);
    v_load_rows32(p + 16, stride, high);
    V_UNROLL for (uint32_t s = 0; s < 8; s += 2)
    {
        v_load_rows32(p + 48 + 16 * s, stride, c);
        V_UNROLL for (size_t j = 0; j < 8; j++) b.w[j] =
            (c[j] & NIBBLES) | (high[j] >> s & 0x01010101u) << 4;
        STEP(k_block_scale)(&k, s, &b);
        EMIT(ctx, &b, (lane_traits)LANE_Q5_K);
        V_UNROLL for (size_t j = 0; j < 8; j++) b.w[j] =
            (c[j] >> 4 & NIBBLES) | (high[j] >> (s + 1) & 0x01010101u) << 4;
        STEP(k_block_scale)(&k, s + 1, &b);
        EMIT(ctx, &b, (lane_traits)LANE_Q5_K);
    }
}

/* Signed byte s % 4 of the words, times 2^24, as floats. */
V_INLINE vf STEP(signed_byte)(const vu *words, size_t s)
{
    return v_float((vi)(words[s / 4] << (uint32_t)(24 - 8 * (s % 4)) & 0xFF000000u));
}

/* Two bits of each byte of high, those of field f, at bits 4 and 5. */
V_INLINE vu STEP(q6_high)(vu high, uint32_t f)
{
    return (f < 2 ? high << (4 - 2 * f) : high >> (2 * f - 4)) & 0x30303030u;
}

V_INLINE void STEP(Q6_K)(const uint8_t *p, size_t stride, STEP_CTX *ctx)
{
    lane_block b;
    vu low[16], high[8], sc[4];
    v_load_rows(p + 192, stride, sc);
    const vf d = v_f16(v_load_rows_u16(p + 208, stride)) * 0x1p-24f;
    for (size_t half = 0; half < 2; half++) { /* unrolled it is slower by half from memory */
        v_load_rows32(p + 64 * half, stride, low);
        v_load_rows32(p + 64 * half + 32, stride, low + 8);
        v_load_rows32(p + 128 + 32 * half, stride, high);
        V_UNROLL for (uint32_t f = 0; f < 4; f++)
        {
            const vu *from = low + 8 * (f & 1);
            V_UNROLL for (size_t j = 0; j < 8; j++) b.w[j] =
                (from[j] >> (f < 2 ? 0u : 4u) & NIBBLES) | STEP(q6_high)(high[j], f);
            b.scale[0] = d * STEP(signed_byte)(sc + 2 * half, 2 * f);
            b.scale[1] = d * STEP(signed_byte)(sc + 2 * half, 2 * f + 1);
            EMIT(ctx, &b, (lane_traits)LANE_Q6_K);
        }
    }
}

/* Scale and bias of an affine group; f16, bf16 or f32 in front of the codes. */
V_INLINE void STEP(affine_f16)(const uint8_t *p, size_t stride, lane_block *b)
{
    const vu sb = v_load_rows_u32(p, stride);
    b->scale[0] = v_f16(sb);
    b->min[0] = v_f16(sb >> 16);
}

V_INLINE void STEP(affine_bf16)(const uint8_t *p, size_t stride, lane_block *b)
{
    const vu sb = v_load_rows_u32(p, stride);
    b->scale[0] = (vf)(sb << 16);
    b->min[0] = (vf)(sb & 0xFFFF0000u);
}

V_INLINE void STEP(affine_f32)(const uint8_t *p, size_t stride, lane_block *b)
{
    b->scale[0] = (vf)v_load_rows_u32(p, stride);
    b->min[0] = (vf)v_load_rows_u32(p + 4, stride);
}

/* The group's 32 bytes of nibbles at p. */
V_INLINE void STEP(affine4)(const uint8_t *p, size_t stride, lane_block *b, lane_traits t,
                            STEP_CTX *ctx)
{
    vu c[8];
    v_load_rows32(p, stride, c);
    V_UNROLL for (size_t j = 0; j < 8; j++) b->w[j] = c[j] & NIBBLES;
    EMIT(ctx, b, t);
    V_UNROLL for (size_t j = 0; j < 8; j++) b->w[j] = c[j] >> 4 & NIBBLES;
    EMIT(ctx, b, t);
}

/* The group's 64 codes at p. Weights are the codes less 128, which the minimum takes up. */
V_INLINE void STEP(affine8)(const uint8_t *p, size_t stride, lane_block *b, lane_traits t,
                            STEP_CTX *ctx)
{
    b->min[0] = v_fma(b->scale[0], v_set(128.0f), b->min[0]);
    V_UNROLL for (size_t half = 0; half < 2; half++)
    {
        v_load_rows32(p + 32 * half, stride, b->w);
        V_UNROLL for (size_t j = 0; j < 8; j++) b->w[j] = v_s8(b->w[j] ^ 0x80808080u);
        EMIT(ctx, b, t);
    }
}

V_INLINE void STEP(A4G64_F32)(const uint8_t *p, size_t stride, STEP_CTX *ctx)
{
    lane_block b;
    STEP(affine_f32)(p, stride, &b);
    STEP(affine4)(p + 8, stride, &b, (lane_traits)LANE_A4_F32, ctx);
}

V_INLINE void STEP(A4G64_F16)(const uint8_t *p, size_t stride, STEP_CTX *ctx)
{
    lane_block b;
    STEP(affine_f16)(p, stride, &b);
    STEP(affine4)(p + 4, stride, &b, (lane_traits)LANE_A4, ctx);
}

V_INLINE void STEP(A4G64_BF16)(const uint8_t *p, size_t stride, STEP_CTX *ctx)
{
    lane_block b;
    STEP(affine_bf16)(p, stride, &b);
    STEP(affine4)(p + 4, stride, &b, (lane_traits)LANE_A4, ctx);
}

V_INLINE void STEP(A8G64_F32)(const uint8_t *p, size_t stride, STEP_CTX *ctx)
{
    lane_block b;
    STEP(affine_f32)(p, stride, &b);
    STEP(affine8)(p + 8, stride, &b, (lane_traits)LANE_A8_F32, ctx);
}

V_INLINE void STEP(A8G64_F16)(const uint8_t *p, size_t stride, STEP_CTX *ctx)
{
    lane_block b;
    STEP(affine_f16)(p, stride, &b);
    STEP(affine8)(p + 4, stride, &b, (lane_traits)LANE_A8, ctx);
}

V_INLINE void STEP(A8G64_BF16)(const uint8_t *p, size_t stride, STEP_CTX *ctx)
{
    lane_block b;
    STEP(affine_bf16)(p, stride, &b);
    STEP(affine8)(p + 4, stride, &b, (lane_traits)LANE_A8, ctx);
}

#undef NIBBLES
