#include "test.h"

#include "plan/ops.h"

#include <string.h>

enum { EMBD = 8, VOCAB = 16, FF = 12 };

static plan_tensor matrix(const char *name, plan_role role, uint64_t n_in, uint64_t n_out)
{
    return (plan_tensor){.name = name, .type = QUANT_F32, .role = role, .ne = {n_in, n_out, 1, 1}};
}

typedef struct toy {
    plan_tensor embd, norm, q, k, v, o, ffn_norm, gate, up, down, head;
} toy;

static toy toy_weights(void)
{
    return (toy){
        .embd = matrix("token_embd", PLAN_ROLE_EMBED, EMBD, VOCAB),
        .norm = matrix("attn_norm", PLAN_ROLE_NORM, EMBD, 1),
        .q = matrix("attn_q", PLAN_ROLE_Q, EMBD, 8),
        .k = matrix("attn_k", PLAN_ROLE_K, EMBD, 4),
        .v = matrix("attn_v", PLAN_ROLE_V, EMBD, 4),
        .o = matrix("attn_output", PLAN_ROLE_O, 8, EMBD),
        .ffn_norm = matrix("ffn_norm", PLAN_ROLE_NORM, EMBD, 1),
        .gate = matrix("ffn_gate", PLAN_ROLE_GATE, EMBD, FF),
        .up = matrix("ffn_up", PLAN_ROLE_UP, EMBD, FF),
        .down = matrix("ffn_down", PLAN_ROLE_DOWN, FF, EMBD),
        .head = matrix("output", PLAN_ROLE_HEAD, EMBD, VOCAB),
    };
}

static const ops_val *linear(ops *o, const ops_val *x, const plan_tensor *w)
{
    const plan_linear l = {.w = w};
    return ops_linear(o, x, &l);
}

/* One llama block, written as a model file writes it. */
static const ops_val *toy_layer(ops *o, const ops_val *x, const toy *w, const plan_rope *r)
{
    const plan_kv_slot slot = {.kind = PLAN_KV_FULL, .n_kv_head = 1, .dim_k = 4, .dim_v = 4};
    const plan_attend a = {.slot = ops_kv_slot(o, &slot),
                           .n_head = 2,
                           .n_kv_head = 1,
                           .dim_k = 4,
                           .dim_v = 4,
                           .scale = 0.5f,
                           .mask = PLAN_CAUSAL};
    const ops_val *h = ops_rms_norm(o, x, &w->norm, 1e-5f);
    const ops_val *q = ops_rope(o, linear(o, h, &w->q), r);
    const ops_val *k = ops_rope(o, linear(o, h, &w->k), r);
    const ops_val *v = linear(o, h, &w->v);
    x = ops_add(o, x, linear(o, ops_attend(o, q, k, v, &a, NULL), &w->o));
    h = ops_rms_norm(o, x, &w->ffn_norm, 1e-5f);
    const ops_val *gate = linear(o, h, &w->gate);
    const ops_val *up = linear(o, h, &w->up);
    h = ops_glu(o, gate, up, PLAN_SILU);
    return ops_add(o, x, linear(o, h, &w->down));
}

static const plan *toy_plan(arena *a, const toy *w, int n_layer, bool select)
{
    static const double inv_freq[] = {1, 0.01};
    const plan_rope r = {.head_dim = 4, .n_rot = 4, .inv_freq = inv_freq, .mscale = 1};
    ops *o = ops_open(a, VOCAB, EMBD, true);
    const ops_val *x = ops_embed(o, &w->embd, PLAN_EMBED_TOKEN);
    for (int i = 0; i < n_layer; i++) {
        ops_layer(o, i);
        x = toy_layer(o, x, w, &r);
    }
    ops_layer(o, -1);
    if (select)
        x = ops_select(o, x);
    x = ops_rms_norm(o, x, &w->norm, 1e-5f);
    ops_output(o, linear(o, x, &w->head), PLAN_OUT_LOGITS);
    const plan *p = NULL;
    err_info err = {0};
    if (ops_finish(o, &p, &err))
        fail_msg("%s", err.text);
    return p;
}

/* Every node once, and none before what it reads; steps cover the order without gaps. */
static void check_order(const plan *p)
{
    bool done[256] = {false};
    assert_true(p->n_node <= TEST_COUNT(done));
    size_t place = 0;
    for (size_t s = 0; s < p->n_step; s++) {
        assert_int_equal(p->steps[s].first, place);
        place += (size_t)p->steps[s].n;
    }
    assert_int_equal(place, p->n_node);
    for (size_t i = 0; i < p->n_node; i++) {
        const int32_t id = p->node_order[i];
        const plan_node *n = &p->nodes[id];
        assert_false(done[id]);
        for (int k = 0; k < PLAN_MAX_IN; k++)
            assert_true(n->in[k] < 0 || done[n->in[k]]);
        done[id] = true;
    }
}

static void llama_block_fuses(void **state)
{
    (void)state;
    arena a;
    arena_init(&a, 1 << 24);
    const toy w = toy_weights();
    const plan *p = toy_plan(&a, &w, 1, false);
    check_order(p);
    buf text;
    buf_init(&text, 1 << 16);
    assert_int_equal(plan_print(p, &text), CAMA_OK);
    static const char want[] =
        "kv 0: 1 slots, full, 1 heads of 4 and 4, window 0\n"
        "  prim        | 0 embed EMBED:F32 [8]\n"
        "layer 0\n"
        "  norm+linear | 1 rms_norm 0 NORM:F32 [8] | 2 linear 1 Q:F32 [8] | 4 linear 1 K:F32 [4] | "
        "6 linear 1 V:F32 [4]\n"
        "  rope+store  | 3 rope 2 [8] | 5 rope 4 [4] | 7 kv_store 5 6 slot 0\n"
        "  attend      | 8 attend 3 slot 0 [8]\n"
        "  linear+add  | 9 linear 8 O:F32 [8] | 10 add 0 9 [8]\n"
        "  norm+glu    | 11 rms_norm 10 NORM:F32 [8] | 12 linear 11 GATE:F32 [12] | 13 linear 11 "
        "UP:F32 [12] | 14 glu 12 13 [12]\n"
        "  linear+add  | 15 linear 14 DOWN:F32 [8] | 16 add 10 15 [8]\n"
        "outside the layers\n"
        "  head        | 17 rms_norm 16 NORM:F32 [8] | 18 linear 17 HEAD:F32 [16] | 19 output 18\n";
    assert_string_equal(text.data, want);
    buf_done(&text);
    arena_done(&a);
}

/* The last block's O, FFN and the head run for rows with outputs only; attention sees all rows. */
static void select_moves_to_the_last_attend(void **state)
{
    (void)state;
    arena a;
    arena_init(&a, 1 << 24);
    const toy w = toy_weights();
    const plan *p = toy_plan(&a, &w, 2, true);
    check_order(p);
    int n_select = 0;
    int32_t last_attend = -1;
    for (size_t i = 0; i < p->n_node; i++)
        if (p->nodes[i].op == PLAN_ATTEND)
            last_attend = (int32_t)i;
    for (size_t i = 0; i < p->n_node; i++) {
        const plan_node *n = &p->nodes[i];
        if (n->op == PLAN_SELECT) {
            n_select++;
            const plan_node *of = &p->nodes[n->in[0]];
            assert_true(n->in[0] == last_attend || (of->op == PLAN_ADD && of->layer == 0));
        }
        if (n->op == PLAN_LINEAR && n->w[0]->role == PLAN_ROLE_O && n->layer == 1)
            assert_int_equal(p->nodes[n->in[0]].op, PLAN_SELECT);
    }
    assert_int_equal(n_select, 2);
    arena_done(&a);
}

static void slots_of_one_shape_form_a_group(void **state)
{
    (void)state;
    arena a;
    arena_init(&a, 1 << 24);
    const toy w = toy_weights();
    const plan *p = toy_plan(&a, &w, 3, true);
    assert_int_equal(p->n_group, 1);
    assert_int_equal(p->groups[0].n_slot, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(p->slots[i].index, i);
    arena_done(&a);
}

static void first_failure_sticks(void **state)
{
    (void)state;
    arena a;
    arena_init(&a, 1 << 24);
    const toy w = toy_weights();
    ops *o = ops_open(&a, VOCAB, EMBD, true);
    ops_layer(o, 3);
    const ops_val *x = ops_embed(o, &w.embd, PLAN_EMBED_TOKEN);
    const ops_val *bad = linear(o, x, &w.down); /* takes 12 columns, gets 8 */
    assert_null(bad);
    assert_null(ops_add(o, x, bad));
    ops_output(o, bad, PLAN_OUT_HIDDEN);
    const plan *p = NULL;
    err_info err = {0};
    assert_int_equal(ops_finish(o, &p, &err), CAMA_ERR_FORMAT);
    assert_null(p);
    assert_string_equal(err.text,
                        "layer 3: tensor 'ffn_down' is [12, 8, 1, 1], must be [8, 8, 1, 1]");
    arena_done(&a);
}

static void a_full_arena_is_an_error(void **state)
{
    (void)state;
    const toy w = toy_weights();
    size_t refused = 0;
    for (size_t limit = 0; limit < 400000; limit += 997) {
        arena a;
        arena_init(&a, limit);
        ops *o = ops_open(&a, VOCAB, EMBD, true);
        const ops_val *x = o ? ops_embed(o, &w.embd, PLAN_EMBED_TOKEN) : NULL;
        if (o)
            ops_output(o, linear(o, ops_select(o, x), &w.head), PLAN_OUT_LOGITS);
        const plan *p = NULL;
        const cama_err e = ops_finish(o, &p, NULL);
        assert_true(e == CAMA_OK || e == CAMA_ERR_NOMEM);
        assert_true((e == CAMA_OK) == (p != NULL));
        refused += e != CAMA_OK;
        arena_done(&a);
    }
    assert_true(refused > 0 && refused < 400000 / 997);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama_block_fuses),
        cmocka_unit_test(select_moves_to_the_last_attend),
        cmocka_unit_test(slots_of_one_shape_form_a_group),
        cmocka_unit_test(first_failure_sticks),
        cmocka_unit_test(a_full_arena_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
