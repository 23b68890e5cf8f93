/* rowops.inc.h - operations on one row of floats, V_N lanes at a time; the tail of a row goes
 * through partial loads, so that nothing past it is touched. */

V_INLINE vf load_tail(const float *x, size_t n)
{
    return v_load_part(x, 0, n);
}

V_INLINE void store_tail(float *x, vf v, size_t n)
{
    v_store_part(x, v, 0, n);
}

/* Sum of (x - mean)^2 in V_N * 4 partial sums, added in a fixed order. */
V_INLINE float sum_squares(const float *x, size_t n, float mean)
{
    vf s[4] = {{0}, {0}, {0}, {0}};
    size_t i = 0;
    for (; i + 4 * V_N <= n; i += 4 * V_N)
        V_UNROLL for (size_t j = 0; j < 4; j++)
        {
            const vf d = v_load(x + i + j * V_N) - mean;
            s[j] = v_fma(d, d, s[j]);
        }
    for (; i + V_N <= n; i += V_N) {
        const vf d = v_load(x + i) - mean;
        s[0] = v_fma(d, d, s[0]);
    }
    float sum = v_sum((s[0] + s[1]) + (s[2] + s[3]));
    for (; i < n; i++)
        sum += (x[i] - mean) * (x[i] - mean);
    return sum;
}

V_INLINE float sum_row(const float *x, size_t n)
{
    vf s = {0};
    size_t i = 0;
    for (; i + V_N <= n; i += V_N)
        s += v_load(x + i);
    float sum = v_sum(s);
    for (; i < n; i++)
        sum += x[i];
    return sum;
}

/* out = (x - mean) * scale (* w) (+ b), w and b may be NULL. */
V_INLINE void affine(const float *x, const float *w, const float *b, size_t n, float mean,
                     float scale, float *out)
{
    for (size_t i = 0; i < n; i += V_N) {
        const size_t m = n - i < V_N ? n - i : V_N;
        vf y = (load_tail(x + i, m) - mean) * scale;
        if (w)
            y *= load_tail(w + i, m);
        if (b)
            y += load_tail(b + i, m);
        store_tail(out + i, y, m);
    }
}

static void lane_rms_norm(const float *x, const float *w, size_t n, float eps, float *out)
{
    const float scale = 1.0f / sqrtf(sum_squares(x, n, 0) / (float)n + eps);
    affine(x, w, NULL, n, 0, scale, out);
}

static void lane_layer_norm(const float *x, const float *w, const float *b, size_t n, float eps,
                            float *out)
{
    const float mean = sum_row(x, n) / (float)n;
    const float scale = 1.0f / sqrtf(sum_squares(x, n, mean) / (float)n + eps);
    affine(x, w, b, n, mean, scale, out);
}

static void lane_l2_norm(const float *x, size_t n, float eps, float *out)
{
    const float norm = sqrtf(sum_squares(x, n, 0));
    affine(x, NULL, NULL, n, 0, 1.0f / (norm > eps ? norm : eps), out);
}

static void lane_add(const float *a, const float *b, size_t n, float *out)
{
    size_t i = 0;
    for (; i + V_N <= n; i += V_N)
        v_store(out + i, v_load(a + i) + v_load(b + i));
    for (; i < n; i++)
        out[i] = a[i] + b[i];
}

static void lane_mul(const float *a, const float *b, size_t n, float *out)
{
    size_t i = 0;
    for (; i + V_N <= n; i += V_N)
        v_store(out + i, v_load(a + i) * v_load(b + i));
    for (; i < n; i++)
        out[i] = a[i] * b[i];
}

static void lane_scale(const float *x, float s, size_t n, float *out)
{
    size_t i = 0;
    for (; i + V_N <= n; i += V_N)
        v_store(out + i, v_load(x + i) * s);
    for (; i < n; i++)
        out[i] = x[i] * s;
}

static void lane_axpy(float s, const float *x, size_t n, float *y)
{
    size_t i = 0;
    for (; i + V_N <= n; i += V_N)
        v_store(y + i, v_fma(v_set(s), v_load(x + i), v_load(y + i)));
    for (; i < n; i++)
        y[i] = fmaf(s, x[i], y[i]);
}

V_INLINE vf act_lanes(kern_act_fn fn, vf x)
{
    if (fn == KERN_SILU)
        return x / (1.0f + v_exp(-x));
    if (fn == KERN_GELU_TANH) {
        const vf u = 0.79788456080286535588f * x * v_fma(0.044715f * x, x, v_set(1.0f));
        return x / (1.0f + v_exp(-(u + u))); /* 1 + tanh u = 2 sigmoid 2u, and does not cancel */
    }
    if (fn == KERN_RELU2)
        return v_max(v_set(0), x) * v_max(v_set(0), x);
    if (fn == KERN_SIGMOID)
        return v_sigmoid(x);
    return v_tanh(x);
}

/* erf and log1p are rare enough to stay with the reference. */
V_INLINE bool act_is_rare(kern_act_fn fn)
{
    return fn == KERN_GELU_ERF || fn == KERN_SOFTPLUS;
}

static void lane_act(kern_act_fn fn, const float *x, size_t n, float *out)
{
    if (act_is_rare(fn)) {
        ref_act(fn, x, n, out);
        return;
    }
    for (size_t i = 0; i < n; i += V_N) {
        const size_t m = n - i < V_N ? n - i : V_N;
        store_tail(out + i, act_lanes(fn, load_tail(x + i, m)), m);
    }
}

static void lane_glu(kern_act_fn fn, const float *gate, const float *up, size_t n, float *out)
{
    if (act_is_rare(fn)) {
        ref_glu(fn, gate, up, n, out);
        return;
    }
    for (size_t i = 0; i < n; i += V_N) {
        const size_t m = n - i < V_N ? n - i : V_N;
        store_tail(out + i, act_lanes(fn, load_tail(gate + i, m)) * load_tail(up + i, m), m);
    }
}

static void lane_softcap(const float *x, float cap, size_t n, float *out)
{
    for (size_t i = 0; i < n; i += V_N) {
        const size_t m = n - i < V_N ? n - i : V_N;
        store_tail(out + i, v_tanh(load_tail(x + i, m) / cap) * cap, m);
    }
}

/* Only the NEOX order has its pairs in lanes; the other is left to plain C. */
static void lane_rope(float *x, const float *cos, const float *sin, size_t n_rot, bool neox)
{
    const size_t half = n_rot / 2, step = neox ? half : 1;
    size_t i = 0;
    for (; neox && i + V_N <= half; i += V_N) {
        const vf p = v_load(x + i), q = v_load(x + i + half);
        const vf c = v_load(cos + i), s = v_load(sin + i);
        v_store(x + i, p * c - q * s);
        v_store(x + i + half, p * s + q * c);
    }
    for (; i < half; i++) {
        float *a = neox ? &x[i] : &x[2 * i];
        const float p = a[0], q = a[step];
        a[0] = p * cos[i] - q * sin[i];
        a[step] = p * sin[i] + q * cos[i];
    }
}

V_INLINE float largest(const float *x, size_t n)
{
    vf m = v_set(-INFINITY);
    size_t i = 0;
    for (; i + V_N <= n; i += V_N)
        m = v_max(v_load(x + i), m);
    float max = v_largest(m);
    for (; i < n; i++)
        max = x[i] > max ? x[i] : max;
    return max;
}

static size_t lane_argmax(const float *x, size_t n)
{
    const float max = largest(x, n);
    for (size_t i = 0; i < n; i++)
        if (x[i] == max)
            return i;
    return 0; /* nothing but NaN */
}

/* Partial sums of 64 vectors at most, then double: n may be a vocabulary. */
static float lane_logsumexp(const float *x, size_t n)
{
    const float max = largest(x, n);
    if (isinf(max))
        return max;
    double sum = 0;
    size_t i = 0;
    while (i + V_N <= n) {
        vf s = {0};
        for (size_t j = 0; j < 64 && i + V_N <= n; j++, i += V_N)
            s += v_exp(v_load(x + i) - max);
        sum += v_sum(s);
    }
    for (; i < n; i++)
        sum += v_first(v_exp(v_set(x[i] - max)));
    return max + (float)log(sum);
}

/* V_N * 4 columns of the state, or V_N: decayed, read with k, written, read with q. The order of
 * additions in a column is that of the reference. */
V_INLINE void delta_columns(const kern_delta *d, size_t token, size_t j, size_t n_vec)
{
    const float *q = d->q + token * d->q_ld, *k = d->k + token * d->k_ld;
    const vf decay = v_exp(v_set(d->g[token * d->g_ld]));
    vf seen[4] = {{0}, {0}, {0}, {0}}, out[4] = {{0}, {0}, {0}, {0}}, diff[4];
    for (size_t i = 0; i < d->dk; i++)
        V_UNROLL for (size_t c = 0; c < n_vec; c++)
        {
            float *at = d->s + i * d->dv + j + c * V_N;
            const vf s = v_load(at) * decay;
            v_store(at, s);
            seen[c] = v_fma(s, v_set(k[i]), seen[c]);
        }
    V_UNROLL for (size_t c = 0; c < n_vec; c++) diff[c] =
        (v_load(d->v + token * d->v_ld + j + c * V_N) - seen[c]) * d->beta[token * d->beta_ld];
    for (size_t i = 0; i < d->dk; i++)
        V_UNROLL for (size_t c = 0; c < n_vec; c++)
        {
            float *at = d->s + i * d->dv + j + c * V_N;
            const vf s = v_fma(v_set(k[i]), diff[c], v_load(at));
            v_store(at, s);
            out[c] = v_fma(s, v_set(q[i]), out[c]);
        }
    V_UNROLL for (size_t c = 0; c < n_vec; c++)
        v_store(d->o + token * d->o_ld + j + c * V_N, out[c]);
}

static void lane_delta(const kern_delta *d)
{
    if (d->dv % V_N) {
        ref_delta(d);
        return;
    }
    for (size_t token = 0; token < d->n; token++) {
        size_t j = 0;
        for (; j + 4 * V_N <= d->dv; j += 4 * V_N)
            delta_columns(d, token, j, 4);
        for (; j < d->dv; j += V_N)
            delta_columns(d, token, j, 1);
    }
}

static void lane_init_rows(kern_table *k)
{
    k->rms_norm = lane_rms_norm;
    k->layer_norm = lane_layer_norm;
    k->l2_norm = lane_l2_norm;
    k->add = lane_add;
    k->mul = lane_mul;
    k->scale = lane_scale;
    k->axpy = lane_axpy;
    k->act = lane_act;
    k->glu = lane_glu;
    k->softcap = lane_softcap;
    k->rope = lane_rope;
    k->argmax = lane_argmax;
    k->logsumexp = lane_logsumexp;
    k->delta = lane_delta;
}
