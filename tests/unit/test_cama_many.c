/* Many answers at once on the native engine: each is what it is alone, whatever it shares the
 * engine with, however little room there is, and whoever leaves early. */
#include "test.h"

#include "cama.h"
#include "tiny_chat.h"

#define MAX_JOB 64
#define N_CTX 192

static char path[64];

typedef struct job {
    char prompt[160];
    cama_gen_opts o;
    cama_gen_result r;
    char text[1024];
    size_t n_text;
    int n_poll, leave_at; /* 0: never */
} job;

static bool on_text(void *user, const char *text, size_t n)
{
    job *j = user;
    assert_true(j->n_text + n <= sizeof j->text);
    memcpy(j->text + j->n_text, text, n);
    j->n_text += n;
    return true;
}

static bool on_poll(void *user)
{
    job *j = user;
    return !j->leave_at || ++j->n_poll < j->leave_at;
}

/* Prompts of several lengths that begin alike in groups; greedy, drawn, with penalties. */
static void init_job(job *j, int k)
{
    *j = (job){.n_text = 0};
    const int n = 8 + k * 7 % 90;
    (void)snprintf(j->prompt, sizeof j->prompt, "%.*s hello world %d", n,
                   k % 2 ? "the quick brown fox jumps over the lazy dog, and the dog does not mind "
                           "at all, hello hello hello hello"
                         : "1234567 aaaaaaaaaaaaaaaaaaaaaaaaa hello the world of the lld and more "
                           "of it until the end of the line",
                   k);
    cama_gen_opts_init(&j->o, sizeof j->o);
    j->o.prompt = j->prompt;
    j->o.n_predict = 8 + k % 17;
    j->o.temperature = k % 3 ? 0.9f : 0;
    j->o.seed = k;
    j->o.top_k = k % 5 == 4 ? 0 : 40;
    j->o.repeat_penalty = k % 4 == 2 ? 1.3f : 1;
    j->o.ignore_eog = true;
    j->o.special = true;
    j->o.on_text = on_text;
    j->o.on_poll = on_poll;
    j->o.user = j;
    cama_gen_result_init(&j->r, sizeof j->r);
}

static job alone[MAX_JOB];
static job now[MAX_JOB];

static cama_model *open_model(cama_activations form, uint32_t n_seq, uint32_t n_batch)
{
    cama_model_opts o;
    cama_model_opts_init(&o, sizeof o);
    o.n_ctx = N_CTX;
    o.n_seq = n_seq;
    o.n_batch = n_batch;
    o.n_thread = 2;
    o.activations = form;
    cama_model *m = NULL;
    cama_error err;
    if (cama_model_open(path, &o, &m, &err))
        fail_msg("%s", err.text);
    return m;
}

static void run_many(cama_model *m, size_t n, cama_error *errors)
{
    const cama_gen_opts *opts[MAX_JOB];
    cama_gen_result *results[MAX_JOB];
    for (size_t i = 0; i < n; i++) {
        opts[i] = &now[i].o;
        results[i] = &now[i].r;
    }
    (void)cama_generate_many(m, opts, n, results, errors);
}

static void same_as_alone(size_t i, const char *how)
{
    if (now[i].n_text != alone[i].n_text || now[i].r.n_token != alone[i].r.n_token ||
        memcmp(now[i].text, alone[i].text, now[i].n_text) != 0)
        fail_msg("%s: answer %zu is '%.*s', alone '%.*s'", how, i, (int)now[i].n_text, now[i].text,
                 (int)alone[i].n_text, alone[i].text);
}

static void check_many(cama_model *m, size_t n, const char *how)
{
    cama_error errors[MAX_JOB];
    for (size_t i = 0; i < n; i++)
        init_job(&now[i], (int)i);
    run_many(m, n, errors);
    for (size_t i = 0; i < n; i++) {
        if (errors[i].code)
            fail_msg("%s: answer %zu: %s", how, i, errors[i].text);
        same_as_alone(i, how);
    }
}

/* Each job on a model of its own kind that has seen nothing before: no prefix is reused. */
static void answer_alone(cama_activations form)
{
    for (size_t i = 0; i < MAX_JOB; i++) {
        cama_error err;
        cama_model *m = open_model(form, 1, 64);
        init_job(&alone[i], (int)i);
        if (cama_generate(m, &alone[i].o, &alone[i].r, &err))
            fail_msg("%s", err.text);
        assert_int_equal(alone[i].r.n_cached, 0);
        assert_int_equal(alone[i].r.n_token, 8 + i % 17);
        cama_model_close(m);
    }
}

static void check_form(cama_activations form)
{
    answer_alone(form);
    static const uint32_t n_seq[] = {64, 8, 2, 1}; /* the last ones have room for few at a time */
    for (size_t k = 0; k < TEST_COUNT(n_seq); k++) {
        cama_model *m = open_model(form, n_seq[k], k % 2 ? 40 : 256);
        check_many(m, 1, "one");
        check_many(m, 8, "eight");
        check_many(m, 64, "64");
        check_many(m, 64, "64 behind cached prefixes");
        cama_model_close(m);
    }
}

static void test_int8(void **state)
{
    (void)state;
    check_form(CAMA_ACTIVATIONS_INT8);
}

static void test_f32(void **state)
{
    (void)state;
    check_form(CAMA_ACTIVATIONS_F32);
}

static void test_a_cached_prefix_is_found(void **state)
{
    (void)state;
    cama_model *m = open_model(CAMA_ACTIVATIONS_INT8, 2, 64);
    check_many(m, 1, "first");
    assert_int_equal(now[0].r.n_cached, 0);
    check_many(m, 1, "again");
    assert_int_equal(now[0].r.n_cached, now[0].r.n_prompt - 1);
    cama_model_close(m);
}

/* Every third leaves at some step: they end as canceled, the others as if they had never been, and
 * what they held is free again. */
static void test_some_leave(void **state)
{
    (void)state;
    cama_error errors[MAX_JOB];
    answer_alone(CAMA_ACTIVATIONS_INT8);
    cama_model *m = open_model(CAMA_ACTIVATIONS_INT8, 4, 64);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < MAX_JOB; i++) {
            init_job(&now[i], i);
            now[i].leave_at = i % 3 == round ? 1 + i % 11 : 0;
        }
        run_many(m, MAX_JOB, errors);
        for (size_t i = 0; i < MAX_JOB; i++) {
            assert_int_equal(errors[i].code, CAMA_OK);
            if (now[i].r.finish == CAMA_FINISH_CANCELED)
                assert_true(now[i].leave_at > 0);
            else
                same_as_alone(i, "some leave");
        }
        assert_int_equal(now[round].r.finish, CAMA_FINISH_CANCELED);
    }
    check_many(m, MAX_JOB, "after they left");
    cama_model_close(m);
}

/* Contexts opened by hand take the pages away: each answer comes, or ends in a typed error. */
static void test_pages_held_by_others(void **state)
{
    (void)state;
    cama_error errors[MAX_JOB];
    static int32_t ids[N_CTX];
    answer_alone(CAMA_ACTIVATIONS_INT8);
    cama_model *m = open_model(CAMA_ACTIVATIONS_INT8, 2, 64);
    cama_ctx *c[3];
    for (int k = 0; k < 3; k++) { /* a full sequence has a page to spare: the last takes those */
        size_t n_answer = 0;
        assert_int_equal(cama_ctx_open(m, &c[k], errors), CAMA_OK);
        assert_int_equal(cama_eval(c[k], ids, k < 2 ? N_CTX : 128, NULL, NULL, errors), CAMA_OK);
        for (int i = 0; i < MAX_JOB; i++)
            init_job(&now[i], i);
        run_many(m, MAX_JOB, errors);
        for (size_t i = 0; i < MAX_JOB; i++) {
            if (errors[i].code) {
                assert_true(errors[i].text[0]);
                assert_int_equal(errors[i].code, CAMA_ERR_LIMIT);
                continue;
            }
            n_answer++;
            same_as_alone(i, "with pages held");
        }
        print_message("%d contexts held: %zu of %d answered\n", k + 1, n_answer, MAX_JOB);
        assert_true(k < 2 ? n_answer == MAX_JOB : n_answer == 0);
    }
    for (int k = 0; k < 3; k++)
        cama_ctx_close(c[k]);
    check_many(m, MAX_JOB, "after they were closed");
    cama_model_close(m);
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
        cmocka_unit_test(test_int8),
        cmocka_unit_test(test_f32),
        cmocka_unit_test(test_a_cached_prefix_is_found),
        cmocka_unit_test(test_some_leave),
        cmocka_unit_test(test_pages_held_by_others),
    };
    return cmocka_run_group_tests(tests, write_model, remove_model);
}
