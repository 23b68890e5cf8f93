/* Random forwards: whatever the passes do, running the steps in their order gives the bits of the
 * forward as it was recorded, for the rows that asked for an output. */
#include "test.h"

#include "plan/ops.h"

enum { N_ROW = 4, WIDTH = 8, HEAD = 4, MAX_VALUE = 200, MAX_NODE = 600, MAX_WEIGHT = 16 };

static const bool selected[N_ROW] = {false, true, false, true};

typedef float rows[N_ROW][WIDTH];

/* Keys and values of a slot; -1 rows: not stored yet. */
typedef struct memory {
    rows k, v;
    bool stored;
} memory;

static uint32_t rnd_state;

static uint32_t rnd(uint32_t n)
{
    rnd_state = rnd_state * 1664525u + 1013904223u;
    return (rnd_state >> 8) % n;
}

/* ---- what the operations mean here: something of the same shape, cheap and exact to compare ----
 */

static void run_norm(const float *x, size_t dim, float *out)
{
    for (size_t h = 0; h < WIDTH; h += dim) {
        float sum = 1;
        for (size_t i = 0; i < dim; i++)
            sum += fabsf(x[h + i]);
        for (size_t i = 0; i < dim; i++)
            out[h + i] = x[h + i] / sum;
    }
}

static void run_linear(const plan_tensor *w, const float *x, float *out)
{
    const float *m = (const float *)(const void *)w->data;
    for (size_t r = 0; r < WIDTH; r++) {
        float sum = 0;
        for (size_t c = 0; c < WIDTH; c++)
            sum += m[r * WIDTH + c] * x[c];
        out[r] = sum;
    }
}

static void run_rope(size_t pos, const float *x, float *out)
{
    for (size_t i = 0; i < WIDTH; i++)
        out[i] = x[i] * (1 + (float)pos) + (float)i;
}

static void run_attend(const memory *m, size_t row, const float *q, float *out)
{
    for (size_t i = 0; i < WIDTH; i++) {
        out[i] = 0;
        for (size_t j = 0; j <= row; j++)
            out[i] += q[i] * m->k[j][i] / (1 + fabsf(q[i])) + m->v[j][i];
        out[i] /= (float)(row + 1);
    }
}

/* One row of a node; pos: which row of the batch it is. */
static void run_row(const plan_node *n, const memory *slots, size_t pos, const float *a,
                    const float *b, float *out)
{
    switch (n->op) {
    case PLAN_EMBED:
        for (size_t i = 0; i < WIDTH; i++)
            out[i] = (float)(pos * 3 + i) / 7.0f - 1;
        break;
    case PLAN_RMS_NORM:
        run_norm(a, n->par.norm.head_dim, out);
        break;
    case PLAN_LINEAR:
        run_linear(n->w[0], a, out);
        break;
    case PLAN_ROPE:
        run_rope(pos, a, out);
        break;
    case PLAN_ATTEND:
        run_attend(&slots[n->par.attend.slot], pos, a, out);
        break;
    case PLAN_ADD:
    case PLAN_MUL:
    case PLAN_GLU:
        for (size_t i = 0; i < WIDTH; i++)
            out[i] = n->op == PLAN_ADD ? a[i] + b[i] : a[i] * b[i] / (1 + fabsf(a[i]));
        break;
    case PLAN_SCALE:
        for (size_t i = 0; i < WIDTH; i++)
            out[i] = a[i] * n->par.scale.value;
        break;
    case PLAN_SELECT:
        memcpy(out, a, WIDTH * sizeof *out);
        break;
    default:
        fail_msg("operation %s", plan_op_name(n->op));
    }
}

/* ---- a plan, run in its order ---- */

typedef struct machine {
    rows value[MAX_NODE];
    bool made[MAX_NODE];
    bool late[MAX_NODE]; /* only the selected rows were computed */
    memory slots[MAX_VALUE];
    rows *output;
} machine;

static void run_node(machine *m, const plan *p, int32_t id)
{
    const plan_node *n = &p->nodes[id];
    const float zero[WIDTH] = {0};
    assert_false(m->made[id]);
    for (int k = 0; k < PLAN_MAX_IN; k++)
        if (n->in[k] >= 0) {
            assert_true(m->made[n->in[k]]);
            m->late[id] |= m->late[n->in[k]];
        }
    m->made[id] = true;
    if (n->op == PLAN_KV_STORE) {
        memory *s = &m->slots[n->par.attend.slot];
        assert_false(m->late[id]);
        memcpy(s->k, m->value[n->in[0]], sizeof s->k);
        memcpy(s->v, m->value[n->in[1]], sizeof s->v);
        s->stored = true;
        return;
    }
    if (n->op == PLAN_OUTPUT) {
        m->output = &m->value[n->in[0]];
        assert_true(m->late[n->in[0]]);
        return;
    }
    if (n->op == PLAN_ATTEND || n->op == PLAN_ROPE)
        assert_false(m->late[id]); /* positions of rows are lost after a selection */
    if (n->op == PLAN_ATTEND)
        assert_true(m->slots[n->par.attend.slot].stored);
    m->late[id] |= n->op == PLAN_SELECT;
    for (size_t r = 0; r < N_ROW; r++)
        if (!m->late[id] || selected[r])
            run_row(n, m->slots, r, n->in[0] >= 0 ? m->value[n->in[0]][r] : zero,
                    n->in[1] >= 0 ? m->value[n->in[1]][r] : zero, m->value[id][r]);
}

static void run_plan(machine *m, const plan *p)
{
    int32_t place = 0;
    assert_true(p->n_node <= MAX_NODE);
    for (size_t s = 0; s < p->n_step; s++) {
        assert_int_equal(p->steps[s].first, place);
        assert_true(p->steps[s].n >= 1);
        for (int32_t i = 0; i < p->steps[s].n; i++)
            run_node(m, p, p->node_order[place++]);
    }
    assert_int_equal(place, p->n_node);
}

/* ---- a random forward, recorded and computed at once ---- */

typedef struct shadow {
    const ops_val *v;
    rows x;
} shadow;

typedef struct maker {
    ops *o;
    plan_tensor weight[MAX_WEIGHT];
    float matrix[MAX_WEIGHT][WIDTH * WIDTH];
    shadow value[MAX_VALUE];
    size_t n;
    int n_slot;
} maker;

static const shadow *any(const maker *m)
{
    /* recent ones mostly, as in a forward */
    const uint32_t back = rnd(4) ? rnd(m->n < 4 ? (uint32_t)m->n : 4) : rnd((uint32_t)m->n);
    return &m->value[m->n - 1 - back];
}

static void add(maker *m, const plan_node *like, const ops_val *v, const shadow *a, const shadow *b)
{
    shadow *s = &m->value[m->n++];
    assert_non_null(v);
    s->v = v;
    for (size_t r = 0; r < N_ROW; r++)
        run_row(like, NULL, r, a->x[r], b->x[r], s->x[r]);
}

static const double freq[HEAD / 2] = {1, 0.5};
static const plan_rope rope = {.head_dim = HEAD, .n_rot = HEAD, .inv_freq = freq, .mscale = 1};

static void add_attention(maker *m)
{
    const plan_kv_slot slot = {
        .kind = PLAN_KV_FULL, .n_kv_head = WIDTH / HEAD, .dim_k = HEAD, .dim_v = HEAD};
    const plan_attend par = {.slot = ops_kv_slot(m->o, &slot),
                             .n_head = WIDTH / HEAD,
                             .n_kv_head = WIDTH / HEAD,
                             .dim_k = HEAD,
                             .dim_v = HEAD,
                             .scale = 1,
                             .mask = PLAN_CAUSAL};
    const plan_node turn = {.op = PLAN_ROPE};
    const plan_node norm = {.op = PLAN_RMS_NORM, .par.norm.head_dim = HEAD};
    const shadow *in[3] = {any(m), any(m), any(m)};
    for (size_t i = 0; i < 2; i++) {
        if (rnd(2)) {
            add(m, &norm, ops_head_norm(m->o, in[i]->v, NULL, HEAD, 0), in[i], in[i]);
            in[i] = &m->value[m->n - 1];
        }
        if (rnd(2)) {
            add(m, &turn, ops_rope(m->o, in[i]->v, &rope), in[i], in[i]);
            in[i] = &m->value[m->n - 1];
        }
    }
    memory kv;
    memcpy(kv.k, in[1]->x, sizeof kv.k);
    memcpy(kv.v, in[2]->x, sizeof kv.v);
    shadow *s = &m->value[m->n++];
    s->v = ops_attend(m->o, in[0]->v, in[1]->v, in[2]->v, &par, NULL);
    assert_non_null(s->v);
    for (size_t r = 0; r < N_ROW; r++)
        run_attend(&kv, r, in[0]->x[r], s->x[r]);
}

static void add_any(maker *m)
{
    const shadow *a = any(m);
    const shadow *b = any(m);
    plan_node n = {.w = {&m->weight[1 + rnd(MAX_WEIGHT - 1)]}};
    const plan_linear l = {.w = n.w[0]};
    switch (rnd(10)) {
    case 0:
    case 1:
        n.op = PLAN_RMS_NORM;
        n.par.norm.head_dim = WIDTH;
        add(m, &n, ops_rms_norm(m->o, a->v, NULL, 0), a, b);
        break;
    case 2:
    case 3:
    case 4:
        n.op = PLAN_LINEAR;
        add(m, &n, ops_linear(m->o, a->v, &l), a, b);
        break;
    case 5:
        n.op = PLAN_ADD;
        add(m, &n, ops_add(m->o, a->v, b->v), a, b);
        break;
    case 6:
        n.op = PLAN_GLU;
        add(m, &n, ops_glu(m->o, a->v, b->v, PLAN_SILU), a, b);
        break;
    case 7:
        n.op = PLAN_SCALE;
        n.par.scale.value = 0.5f;
        add(m, &n, ops_scale(m->o, a->v, 0.5f), a, b);
        break;
    case 8: /* no attention need read it */
        n.op = PLAN_ROPE;
        add(m, &n, ops_rope(m->o, a->v, &rope), a, b);
        break;
    default:
        add_attention(m);
    }
}

static void make_weights(maker *m)
{
    for (size_t i = 0; i < MAX_WEIGHT; i++) {
        for (size_t k = 0; k < WIDTH * WIDTH; k++)
            m->matrix[i][k] = ((float)rnd(2001) - 1000) / 3000;
        m->weight[i] = (plan_tensor){.name = "w",
                                     .type = QUANT_F32,
                                     .role = i ? PLAN_ROLE_OTHER : PLAN_ROLE_EMBED,
                                     .ne = {WIDTH, WIDTH, 1, 1},
                                     .data = (const uint8_t *)m->matrix[i],
                                     .n_bytes = sizeof m->matrix[i]};
    }
}

/* Selection, and a few operations after it. */
static const plan *finish(maker *m, rows out)
{
    const shadow *last = &m->value[m->n - 1];
    const plan_linear head = {.w = &m->weight[1]};
    const plan *p = NULL;
    err_info err = {0};
    float normed[WIDTH];
    const ops_val *x = ops_rms_norm(m->o, ops_select(m->o, last->v), NULL, 0);
    ops_output(m->o, ops_linear(m->o, x, &head), PLAN_OUT_LOGITS);
    for (size_t r = 0; r < N_ROW; r++) {
        run_norm(last->x[r], WIDTH, normed);
        run_linear(head.w, normed, out[r]);
    }
    if (ops_finish(m->o, &p, &err))
        fail_msg("%s", err.text);
    return p;
}

static void passes_change_no_bit(void **state)
{
    (void)state;
    size_t n_fused = 0;
    machine *machines = calloc(1, sizeof *machines);
    maker *m = calloc(1, sizeof *m);
    assert_true(machines && m);
    for (uint32_t seed = 0; seed < 2000; seed++) {
        arena a;
        rows want;
        rnd_state = seed;
        arena_init(&a, 1 << 24);
        memset(m, 0, sizeof *m);
        memset(machines, 0, sizeof *machines);
        make_weights(m);
        m->o = ops_open(&a, WIDTH, WIDTH, true);
        const plan_node embed = {.op = PLAN_EMBED};
        const ops_val *first = ops_embed(m->o, &m->weight[0], PLAN_EMBED_TOKEN);
        add(m, &embed, first, &m->value[0], &m->value[0]);
        const size_t n = 2 + rnd(50);
        for (size_t i = 0; i < n; i++)
            add_any(m);
        const plan *p = finish(m, want);
        run_plan(machines, p);
        for (size_t r = 0; r < N_ROW; r++)
            if (selected[r])
                TEST_SAME_BITS((*machines->output)[r], want[r], WIDTH);
        for (size_t s = 0; s < p->n_step; s++)
            n_fused += p->steps[s].n > 1;
        arena_done(&a);
    }
    assert_true(n_fused > 2000); /* the passes had something to do */
    free(machines);
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(passes_change_no_bit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
