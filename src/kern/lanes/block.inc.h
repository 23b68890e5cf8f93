/* block.inc.h - what formats.inc.h hands over, and the small steps that its formats share. */

#define V_UNROLL _Pragma("GCC unroll 16")

/* 32 columns of V_N rows. */
typedef struct lane_block {
    vu w[8];
    vf scale[2];
    vf min[2];
} lane_block;

/* Constant for a format: how its blocks enter the sum. */
typedef struct lane_traits {
    int n_scale, n_min;
    int shift; /* weights were stored plus 1 << shift; negative: as they are */
    bool s8;   /* went through v_s8 */
} lane_traits;

#define LANE_Q4_0 ((lane_traits){1, 0, 3, false})
#define LANE_Q4_1 ((lane_traits){1, 1, -1, false})
#define LANE_Q5_0 ((lane_traits){1, 0, 4, false})
#define LANE_Q5_1 ((lane_traits){1, 1, -1, false})
#define LANE_Q8_0 ((lane_traits){1, 0, V_S8_SHIFT, true})
#define LANE_IQ4_NL ((lane_traits){1, 0, V_S8_SHIFT, true})
#define LANE_Q4_K ((lane_traits){1, 1, -1, false})
#define LANE_Q5_K ((lane_traits){1, 1, -1, false})
#define LANE_Q6_K ((lane_traits){2, 0, 5, false})

/* Super-block scales of Q4_K and Q5_K: bytes for sub-blocks 0..3 and 4..7. */
typedef struct lane_k {
    vf d, dmin;
    vu sc[2], mn[2];
} lane_k;

static const int8_t lane_iq4_codes[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                          1,    13,   25,  38,  53,  69,  89,  113};

/* 16 bytes: low nibbles are columns 0..15, high ones 16..31. */
V_INLINE void lane_nibbles(const vu c[4], vu w[8])
{
    V_UNROLL for (size_t j = 0; j < 4; j++)
    {
        w[j] = c[j] & 0x0F0F0F0Fu;
        w[j + 4] = c[j] >> 4 & 0x0F0F0F0Fu;
    }
}

V_INLINE void lane_codes(const vu c[4], const int8_t table[16], vu w[8])
{
    lane_nibbles(c, w);
    V_UNROLL for (size_t j = 0; j < 8; j++) w[j] = v_s8(v_lookup(table, w[j]));
}

/* Bit i of qh is bit 4 of column i. The product spreads four bits over the bytes of a word. */
V_INLINE void lane_fifth_bits(vu qh, vu w[8])
{
    V_UNROLL for (uint32_t j = 0; j < 8; j++) w[j] |=
        ((qh >> 4 * j & 15u) * 0x00204081u & 0x01010101u) << 4;
}
