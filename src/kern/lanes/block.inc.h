/* block.inc.h - what formats.inc.h hands over, and the small steps that its formats share. */

/* 32 columns of V_N rows. */
typedef struct lane_block {
    vu w[8];
    vf scale[2];
    vf min[2];
} lane_block;

/* Constant for a format: how its blocks enter the sum. */
typedef struct lane_traits {
    int n_scale, n_min;
    int shift;    /* weights were stored plus 1 << shift; negative: as they are */
    bool s8;      /* went through v_s8 */
    int quarters; /* bytes in the file of 32 columns, times 4 */
} lane_traits;

#define LANE_Q4_0 {1, 0, 3, false, 72}
#define LANE_Q4_1 {1, 1, -1, false, 80}
#define LANE_Q5_0 {1, 0, 4, false, 88}
#define LANE_Q5_1 {1, 1, -1, false, 96}
#define LANE_Q8_0 {1, 0, V_S8_SHIFT, true, 136}
#define LANE_IQ4_NL {1, 0, V_S8_SHIFT, true, 72}
#define LANE_Q4_K {1, 1, -1, false, 72}
#define LANE_Q5_K {1, 1, -1, false, 88}
#define LANE_Q6_K {2, 0, 5, false, 105}
#define LANE_A4 {1, 1, -1, false, 72}
#define LANE_A4_F32 {1, 1, -1, false, 80}
#define LANE_A8 {1, 1, V_S8_SHIFT, true, 136}
#define LANE_A8_F32 {1, 1, V_S8_SHIFT, true, 144}

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
