/* Memory that runs out anywhere between opening a model and its answer: a typed error, no leak, and
 * a model that goes on as if nothing had been. */
#include "test.h"

#include "cama.h"
#include "fault.h"
#include "tiny_chat.h"

#define N_CTX 96

static const char question[] = "[{\"role\":\"user\",\"content\":\"hello <tool> world\"}]";
static char path[64];

/* What calls made before anything failed; and after each failure again. */
typedef struct record {
    char text[1024];
    size_t n_text;
} record;

static bool on_text(void *user, const char *text, size_t n)
{
    record *r = user;
    assert_true(r->n_text + n <= sizeof r->text);
    memcpy(r->text + r->n_text, text, n);
    r->n_text += n;
    return true;
}

static void put(record *r, const void *bytes, size_t n)
{
    (void)on_text(r, bytes, n);
}

/* ---- calls ---- */

typedef cama_err call_fn(cama_model *m, record *r, cama_error *err);

static cama_err tokenize(cama_model *m, record *r, cama_error *err)
{
    static const char text[] = "hello world, 1234 <|im_end|> \xF0\x9F\x98\x80 \xC3\xA9 \xFF";
    int32_t *ids = NULL;
    size_t n = 0;
    char *back = NULL;
    size_t n_back = 0;
    cama_err e =
        cama_tokenize(m, text, sizeof text - 1,
                      CAMA_TOKENIZE_ADD_SPECIAL | CAMA_TOKENIZE_PARSE_SPECIAL, &ids, &n, err);
    if (!e)
        e = cama_detokenize(m, ids, n, true, &back, &n_back, err);
    if (!e) {
        put(r, ids, n * sizeof *ids);
        put(r, back, n_back);
    }
    cama_free(ids);
    cama_free(back);
    return e;
}

static cama_err prompt(cama_model *m, record *r, cama_error *err)
{
    char *text = NULL;
    const cama_err e = cama_chat_prompt(m, question, &text, err);
    if (!e)
        put(r, text, strlen(text));
    cama_free(text);
    return e;
}

static cama_err generate_from(cama_model *m, cama_gen_opts *o, record *r, cama_error *err)
{
    static const char *const stop[] = {"END", "no such text"};
    static const cama_bias bias = {3, -1};
    o->n_predict = 4;
    o->seed = 1;
    o->stop = stop;
    o->n_stop = 2;
    o->bias = &bias;
    o->n_bias = 1;
    o->repeat_penalty = 1.1f;
    o->ignore_eog = true;
    o->special = true;
    o->on_text = on_text;
    o->user = r;
    cama_gen_result result;
    cama_gen_result_init(&result, sizeof result);
    const cama_err e = cama_generate(m, o, &result, err);
    if (!e)
        assert_int_equal(result.n_token, 4);
    return e;
}

static cama_err generate(cama_model *m, record *r, cama_error *err)
{
    cama_gen_opts o;
    cama_gen_opts_init(&o, sizeof o);
    o.messages = question;
    return generate_from(m, &o, r, err);
}

/* Three at once, of which one has a prompt of another kind. */
static cama_err generate_many(cama_model *m, record *r, cama_error *err)
{
    static const int32_t ids[] = {104, 101, 108};
    cama_gen_opts o[3];
    const cama_gen_opts *all[3];
    cama_error errors[3];
    for (int i = 0; i < 3; i++) {
        cama_gen_opts_init(&o[i], sizeof o[i]);
        o[i].n_predict = 3 + i;
        o[i].seed = i;
        all[i] = &o[i];
    }
    o[0].prompt = "hello wor";
    o[1].ids = ids;
    o[1].n_id = 3;
    o[2].messages = question;
    o[1].on_text = on_text; /* of one: the texts of several arrive interleaved */
    o[1].user = r;
    const cama_err e = cama_generate_many(m, all, 3, NULL, errors);
    for (int i = 0; i < 3 && e; i++) {
        if (errors[i].code == e)
            *err = errors[i];
    }
    return e;
}

static cama_err ask(cama_model *m, record *r, cama_error *err)
{
    char *answer = NULL;
    const cama_err e = cama_ask(m, "hello?", &answer, err);
    (void)r; /* drawn with a seed that nobody knows */
    cama_free(answer);
    return e;
}

static cama_err evaluate(cama_model *m, record *r, cama_error *err)
{
    static const int32_t ids[] = {3, 1, 4, 1, 5};
    static const uint8_t want[] = {0, 1, 0, 0, 1};
    static float logits[2 * SMALL_MAX];
    cama_ctx *c = NULL;
    cama_ctx *fork = NULL;
    uint32_t got = 0;
    cama_info info;
    cama_model_info(m, &info, sizeof info);
    cama_err e = cama_ctx_open(m, &c, err);
    if (!e)
        e = cama_eval(c, ids, 5, want, logits, err);
    if (!e)
        e = cama_ctx_fork(c, 2, &fork, err);
    if (!e)
        e = cama_ctx_rewind(c, 1, &got, err);
    if (!e)
        e = cama_eval(fork, ids, 2, NULL, logits + info.n_vocab, err);
    if (!e)
        put(r, logits, 32 * sizeof *logits);
    cama_ctx_close(fork);
    cama_ctx_close(c);
    return e;
}

static cama_err embed(cama_model *m, record *r, cama_error *err)
{
    static const int32_t ids[] = {3, 1, 4, 1, 5};
    float v[TINY_EMBD];
    const cama_err e = cama_embed(m, ids, 5, v, err);
    if (!e)
        put(r, v, sizeof v);
    return e;
}

static cama_err describe(cama_model *m, record *r, cama_error *err)
{
    (void)r;
    char *text = NULL;
    cama_err e = cama_model_json(m, CAMA_JSON_TENSORS | CAMA_JSON_ALL_VALUES, &text, err);
    cama_free(text);
    text = NULL;
    if (!e)
        e = cama_model_plan(m, &text, err);
    cama_free(text);
    text = NULL;
    if (!e)
        e = cama_model_template(m, &text, err);
    cama_free(text);
    return e;
}

/* ---- from the opening to the end, all in one ---- */

static const struct {
    const char *name;
    call_fn *call;
    bool may_do_without; /* a prefix that cannot be remembered is forgotten */
} calls[] = {
    {"tokenize", tokenize, false},
    {"prompt", prompt, false},
    {"generate", generate, true},
    {"generate_many", generate_many, true},
    {"ask", ask, true},
    {"evaluate", evaluate, false},
    {"embed", embed, false},
    {"describe", describe, false},
};

static cama_model_opts model_opts(cama_weights weights)
{
    cama_model_opts o;
    cama_model_opts_init(&o, sizeof o);
    o.n_ctx = N_CTX;
    o.n_batch = 64;
    o.n_thread = 2;
    o.weights = weights;
    return o;
}

static cama_err open_and_close(void *arg, err_info *err)
{
    cama_model *m = NULL;
    const cama_err e = cama_model_open(path, arg, &m, err);
    assert_true(!e == (m != NULL));
    if (m) { /* what does without something, as PCRE2's compiler, is whole nevertheless */
        cama_info info;
        cama_model_info(m, &info, sizeof info);
        assert_string_equal(info.name, "Tiny Chat");
        assert_true(info.has_template && info.n_vocab > 256 && info.n_ctx == N_CTX);
    }
    cama_model_close(m);
    return e;
}

static cama_err whole_life(void *arg, err_info *err)
{
    cama_model *m = NULL;
    cama_err e = cama_model_open(path, arg, &m, err);
    for (size_t i = 0; !e && i < TEST_COUNT(calls); i++) {
        record r = {.n_text = 0};
        e = calls[i].call(m, &r, err);
    }
    cama_model_close(m);
    return e;
}

static void sweep_opening(unsigned kind, cama_weights weights, bool may_do_without, size_t at_least)
{
    cama_model_opts o = model_opts(weights);
    fault_allow_ok(may_do_without);
    const size_t n = fault_sweep(kind, open_and_close, &o);
    print_message("opening: %zu made to fail\n", n);
    assert_true(n >= at_least);
}

static void test_opening(void **state)
{
    (void)state;
    sweep_opening(FAULT_HEAP, CAMA_WEIGHTS_MAPPED, true, 40);
    sweep_opening(FAULT_HEAP, CAMA_WEIGHTS_MEMORY, true, 40);
    sweep_opening(FAULT_THREAD, CAMA_WEIGHTS_MAPPED, false, 1);
    sweep_opening(FAULT_MMAP, CAMA_WEIGHTS_MAPPED, false, 4);
    sweep_opening(FAULT_MMAP, CAMA_WEIGHTS_MEMORY, false, 5);
    sweep_opening(FAULT_MMAP, CAMA_WEIGHTS_AUTO, true, 4);
}

static void test_whole_life(void **state)
{
    (void)state;
    cama_model_opts o = model_opts(CAMA_WEIGHTS_MAPPED);
    fault_allow_ok(true);
    const size_t n = fault_sweep(FAULT_HEAP, whole_life, &o);
    print_message("whole life: %zu allocations were made to fail\n", n);
    assert_true(n > 200);
    assert_true(fault_sweep(FAULT_MMAP, whole_life, &o) >= 4);
}

/* ---- one call of a model that stays open ---- */

typedef struct trial {
    cama_model *m;
    call_fn *call;
    record want;
} trial;

/* The call with its failure, then the same call without: what it gives is what it always gave. */
static cama_err call_twice(void *arg, err_info *err)
{
    trial *t = arg;
    record r = {.n_text = 0};
    const cama_err e = t->call(t->m, &r, err);
    if (!fault_disarm() || !e) {
        assert_int_equal(r.n_text, t->want.n_text);
        assert_memory_equal(r.text, t->want.text, r.n_text);
    }
    r.n_text = 0;
    cama_error why = {0};
    if (t->call(t->m, &r, &why))
        fail_msg("after a failure: %s", why.text);
    assert_int_equal(r.n_text, t->want.n_text);
    assert_memory_equal(r.text, t->want.text, r.n_text);
    return e;
}

static void sweep_call(const char *name, call_fn *call, bool may_do_without)
{
    const cama_model_opts o = model_opts(CAMA_WEIGHTS_MEMORY);
    trial t = {.call = call};
    cama_error err = {0};
    if (cama_model_open(path, &o, &t.m, &err) || call(t.m, &t.want, &err))
        fail_msg("%s", err.text);
    fault_allow_ok(may_do_without);
    const size_t n = fault_sweep(FAULT_HEAP, call_twice, &t);
    print_message("%s: %zu allocations were made to fail\n", name, n);
    assert_true(n > 0);
    (void)fault_sweep(FAULT_MMAP, call_twice, &t);
    cama_model_close(t.m);
}

static void test_calls(void **state)
{
    (void)state;
    for (size_t i = 0; i < TEST_COUNT(calls); i++)
        sweep_call(calls[i].name, calls[i].call, calls[i].may_do_without);
}

/* Weights that cannot be read into memory stay mapped: a warning, and the same answers. */
static void on_warning(void *user, const char *text)
{
    assert_non_null(strstr(text, "mapped"));
    ++*(int *)user;
}

static void test_weights_stay_mapped(void **state)
{
    (void)state;
    cama_model_opts o = model_opts(CAMA_WEIGHTS_AUTO);
    record want = {.n_text = 0};
    int n_warning = 0;
    o.on_warning = on_warning;
    o.user = &n_warning;
    for (size_t k = 0; k < 3; k++) {
        cama_model *m = NULL;
        record got = {.n_text = 0};
        cama_error err = {0};
        fault_arm(FAULT_MMAP, k == 2 ? 1 : SIZE_MAX); /* 0 maps the file, 1 is the memory for it */
        const cama_err e = cama_model_open(path, &o, &m, &err);
        (void)fault_disarm();
        if (e || evaluate(m, k ? &got : &want, &err))
            fail_msg("%s", err.text);
        if (k) {
            assert_int_equal(got.n_text, want.n_text);
            assert_memory_equal(got.text, want.text, got.n_text);
        }
        cama_model_close(m);
    }
    assert_int_equal(n_warning, 1);
}

static int write_model(void **state)
{
    (void)state;
    tiny_chat_file(path);
    return 0;
}

static int remove_model(void **state)
{
    (void)state;
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_opening),
        cmocka_unit_test(test_whole_life),
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_weights_stay_mapped),
    };
    return cmocka_run_group_tests(tests, write_model, remove_model);
}
