/* math.inc.h - exp and tanh of V_N lanes, to about one unit in the last place. One function for
 * all places of a tier, so that equal inputs give equal bits. Polynomials: Cephes (Moshier). */

V_INLINE vf v_select(vi mask, vf yes, vf no)
{
    return (vf)(((vi)yes & mask) | ((vi)no & ~mask));
}

V_INLINE vf v_abs(vf x)
{
    return (vf)((vi)x & 0x7FFFFFFF);
}

/* x * 2^n for n of [-252, 254], rounded once when the result is subnormal or overflows. */
V_INLINE vf v_ldexp(vf x, vi n)
{
    const vi half = n >> 1;
    return x * (vf)((half + 127) << 23) * (vf)((n - half + 127) << 23);
}

/* 0 below -104, infinity above 89; NaN stays. */
V_INLINE vf v_exp(vf x)
{
    const vf magic = v_set(0x1.8p23f); /* adding it rounds to an integer */
    const vf in = v_min(v_set(89.0f), v_max(v_set(-104.5f), x));
    const vf t = v_fma(in, v_set(1.44269504088896341f), magic);
    const vf n = t - magic;
    const vi exponent = (vi)t - (vi)magic;
    vf r = v_fma(n, v_set(-0.693359375f), in);
    r = v_fma(n, v_set(2.12194440e-4f), r);
    vf p = v_fma(v_set(1.9875691500e-4f), r, v_set(1.3981999507e-3f));
    p = v_fma(p, r, v_set(8.3334519073e-3f));
    p = v_fma(p, r, v_set(4.1665795894e-2f));
    p = v_fma(p, r, v_set(1.6666665459e-1f));
    p = v_fma(p, r, v_set(5.0000001201e-1f));
    p = v_fma(p, r * r, r) + 1.0f;
    return v_ldexp(p, exponent);
}

V_INLINE vf v_sigmoid(vf x)
{
    return 1.0f / (1.0f + v_exp(-x));
}

/* Small x by a polynomial of its own: 1 - 2 / (e^2x + 1) would cancel. */
V_INLINE vf v_tanh(vf x)
{
    const vf z = x * x, a = v_abs(x);
    vf p = v_fma(v_set(-5.70498872745e-3f), z, v_set(2.06390887954e-2f));
    p = v_fma(p, z, v_set(-5.37397155531e-2f));
    p = v_fma(p, z, v_set(1.33314422036e-1f));
    p = v_fma(p, z, v_set(-3.33332819422e-1f));
    const vf small = v_fma(p * z, x, x);
    const vf big = 1.0f - 2.0f / (v_exp(a + a) + 1.0f);
    const vf signed_big = (vf)((vi)big | ((vi)x & (int32_t)0x80000000));
    return v_select((vi)(a < 0.625f), small, signed_big);
}
