/* A runner's life: what it says of a model, what it refuses, and every way that it ends. */
#include "runner_rig.h"

#include <signal.h>

#define ENDLESS                                                                                    \
    "{\"kind\":\"generate\",\"prompt\":\"go on\",\"raw\":true,\"options\":{\"temperature\":0}}"

static char model[64]; /* one for all tests */

static int make_model(void **state)
{
    (void)state;
    tiny_chat_file(model);
    return 0;
}

static int drop_model(void **state)
{
    (void)state;
    return unlink(model);
}

static void plan_then_ready(void **state)
{
    (void)state;
    rig g;
    wire_frame f;
    rig_begin(&g);
    rig_expect(&g, WIRE_HELLO, &f);
    rig_send_load(&g, model, ",\"n_ctx\":256,\"weights\":\"memory\"");
    rig_expect(&g, WIRE_PLAN, &f);
    assert_int_equal(wire_int(&f, "n_ctx", 0), 256);
    assert_int_equal(wire_int(&f, "n_ctx_train", 0), 1024);
    assert_true(wire_int(&f, "weights", 0) > 100000);
    assert_true(wire_int(&f, "kv", 0) > 0);
    assert_int_equal(wire_int(&f, "total", 0), wire_int(&f, "weights", 0) + wire_int(&f, "kv", 0) +
                                                   wire_int(&f, "scratch", 0));
    assert_string_equal(wire_str(&f, "engine", ""), "native");
    rig_has(wire_str(&f, "why", ""), "fits best");
    rig_send(&g, WIRE_PING, 0, "{\"n\":5}"); /* answered while it waits for START */
    rig_expect(&g, WIRE_PONG, &f);
    assert_int_equal(wire_int(&f, "n", 0), 5);
    rig_send(&g, WIRE_START, 0, "{\"max_bytes\":0}");
    rig_expect(&g, WIRE_READY, &f);
    assert_string_equal(wire_str(&f, "arch", ""), "llama");
    assert_string_equal(wire_str(&f, "template", ""), "jinja");
    assert_string_equal(wire_str(&f, "weights_in", ""), "memory");
    assert_string_equal(wire_str(&f, "activations", ""), "int8");
    assert_string_equal(wire_str(&f, "kv_type", ""), "f16");
    assert_string_equal(wire_str(&f, "pooling", ""), "none");
    assert_string_equal(wire_str(&f, "sandbox", ""), "none");
    rig_has(wire_str(&f, "device", ""), "cpu");
    assert_int_equal(wire_int(&f, "n_embd", 0), TINY_EMBD);
    assert_true(wire_bool(&f, "can_generate", false));
    assert_false(wire_bool(&f, "embeds", true));
    assert_true(wire_int(&f, "load_ns", 0) > 0);
    rig_quit(&g);
}

static void choices_of_load(void **state)
{
    (void)state;
    rig g;
    rig_load(&g, model,
             ",\"kv_type\":\"q8_0\",\"activations\":\"f32\",\"weights\":\"mapped\","
             "\"engine\":\"native\"");
    rig_has(g.ready, "\"kv_type\":\"q8_0\"");
    rig_has(g.ready, "\"activations\":\"f32\"");
    rig_has(g.ready, "\"weights_in\":\"mapped\"");
    rig_has(g.ready, "\"why\":\"asked for\"");
    rig_quit(&g);
}

static void refuse(const char *path, const char *more, const char *code, const char *text)
{
    rig g;
    wire_frame f;
    rig_begin(&g);
    rig_expect(&g, WIRE_HELLO, &f);
    rig_send_load(&g, path, more);
    rig_expect(&g, WIRE_REFUSE, &f);
    assert_string_equal(wire_str(&f, "code", ""), code);
    rig_has(wire_str(&f, "text", ""), text);
    rig_ended(&g, "exited with status 1");
}

static void refusals(void **state)
{
    (void)state;
    refuse(__FILE__, "", "ERR_FORMAT", "tiny");
    refuse(model, ",\"engine\":\"steam\"", "ERR_ARG", "engine 'steam' is not in this build");
    refuse(model, ",\"kv_type\":\"q7\"", "ERR_ARG", "kv_type 'q7'");
    refuse(model, ",\"activations\":\"f64\"", "ERR_ARG", "f64");
    refuse(model, ",\"weights\":\"here\"", "ERR_ARG", "here");
    refuse(model, ",\"files\":2", "ERR_ARG", "announces 2 files, 1 descriptors came");
    refuse(model, ",\"max_bytes\":1000", "ERR_NO_FIT",
           "0.0 MB are available: it does not fit, not");
}

/* A job's num_ctx raises what was planned, where there is room. */
static void contexts_grow(void **state)
{
    (void)state;
    rig g;
    rig_answer a;
    wire_frame f;
    rig_load(&g, model, ",\"n_ctx\":64"); /* a step of 256 */
    rig_has(g.ready, "\"n_ctx\":64,");
    rig_ask(&g,
            "{\"kind\":\"generate\",\"raw\":true,\"prompt\":\"a\",\"options\":{\"num_ctx\":1024,"
            "\"num_predict\":1}}",
            &a);
    assert_int_equal(a.end, WIRE_DONE);
    rig_has(a.head, "\"n_ctx\":1024");
    assert_int_equal(a.n_warn, 0);
    int64_t limit = 0; /* the figures may be a step old */
    for (int i = 0; i < 1000 && limit < 1024; i++) {
        rig_send(&g, WIRE_PING, 0, "{}");
        rig_expect(&g, WIRE_PONG, &f);
        limit = wire_int(&f, "kv_limit", 0);
    }
    assert_true(limit >= 1024);
    rig_quit(&g);
}

/* A large context that was planned for less memory is refused with figures, and a smaller one is
 * not. */
static long long plan_of(const char *more, const char *key)
{
    rig g;
    wire_frame f;
    rig_begin(&g);
    rig_expect(&g, WIRE_HELLO, &f);
    rig_send_load(&g, model, more);
    rig_expect(&g, WIRE_PLAN, &f);
    const long long n = (long long)wire_int(&f, key, 0);
    wire_shutdown(g.w);
    rig_ended(&g, "exited with status 0");
    return n;
}

static void contexts_that_do_not_fit(void **state)
{
    (void)state;
    char more[64];
    rig g;
    rig_answer a;
    (void)snprintf(more, sizeof more, ",\"n_ctx\":256,\"max_bytes\":%lld",
                   plan_of(",\"n_ctx\":256", "total") + 4096);
    rig_load(&g, model, more);
    rig_ask(&g,
            "{\"kind\":\"generate\",\"raw\":true,\"prompt\":\"a\",\"options\":{\"num_ctx\":1024,"
            "\"num_predict\":1}}",
            &a);
    assert_int_equal(a.end, WIRE_FAIL);
    rig_has(a.head, "\"code\":\"ERR_NO_FIT\"");
    rig_ask(&g,
            "{\"kind\":\"generate\",\"raw\":true,\"prompt\":\"a\",\"options\":{\"num_ctx\":256,"
            "\"num_predict\":1}}",
            &a);
    assert_int_equal(a.end, WIRE_DONE);
    rig_quit(&g);
    (void)snprintf(more, sizeof more, ",\"n_ctx\":1024,\"max_bytes\":%lld",
                   plan_of(",\"n_ctx\":1024", "total") - plan_of(",\"n_ctx\":256", "kv"));
    refuse(model, more, "ERR_NO_FIT", "it does not fit, a context of ");
}

static void the_end_of_the_wire(void **state)
{
    (void)state;
    rig g; /* before anything, after the plan, and with a job under way */
    wire_frame f;
    rig_begin(&g);
    wire_shutdown(g.w);
    rig_ended(&g, "exited with status 0");
    rig_begin(&g);
    rig_expect(&g, WIRE_HELLO, &f);
    rig_send_load(&g, model, "");
    rig_expect(&g, WIRE_PLAN, &f);
    wire_shutdown(g.w);
    rig_ended(&g, "exited with status 0");
    rig_load(&g, model, "");
    rig_send(&g, WIRE_JOB, 1, ENDLESS);
    rig_expect(&g, WIRE_TEXT, &f);
    wire_shutdown(g.w);
    rig_ended(&g, "exited with status 0");
}

static void quit_waits_for_jobs(void **state)
{
    (void)state;
    rig g;
    rig_answer a[2];
    rig_load(&g, model, "");
    memset(a, 0, sizeof a);
    rig_send(&g, WIRE_JOB, 1,
             "{\"kind\":\"generate\",\"prompt\":\"ab\",\"raw\":true,\"options\":{\"seed\":1,"
             "\"num_predict\":60}}");
    rig_send(&g, WIRE_QUIT, 0, NULL);
    rig_send(&g, WIRE_JOB, 2, "{\"kind\":\"generate\",\"prompt\":\"ab\",\"raw\":true}");
    rig_collect(&g, a, 2);
    assert_int_equal(a[0].end, WIRE_DONE);
    rig_has(a[0].head, "\"reason\":\"");
    assert_int_equal(a[1].end, WIRE_FAIL);
    rig_has(a[1].head, "ERR_BUSY");
    rig_ended(&g, "exited with status 0");
}

static void quit_before_a_model(void **state)
{
    (void)state;
    rig g;
    rig_begin(&g);
    rig_quit(&g);
}

/* What serve never sends. */
static void garbage_from_serve(void **state)
{
    (void)state;
    static const struct {
        wire_type type;
        const char *head;
    } list[] = {{WIRE_START, "{}"}, {WIRE_JOB, "{}"}, {WIRE_JOB, "{"}};
    rig g;
    for (size_t i = 0; i < TEST_COUNT(list); i++) {
        rig_begin(&g);
        rig_send(&g, list[i].type, 1, list[i].head);
        rig_ended(&g, "exited with status 1");
    }
    int fd[2]; /* bytes that are no frame */
    err_info err;
    assert_int_equal(wire_pair(fd, &err), CAMA_OK);
    const pid_t pid = fork();
    if (pid == 0) {
        (void)close(fd[0]);
        exit(runner_run(fd[1]));
    }
    (void)close(fd[1]);
    assert_int_equal(write(fd[0], "GET / HTTP/1.1\r\n\r\n        ", 26), 26);
    char how[96];
    assert_true(spawn_wait(pid, 10000, how));
    assert_string_equal(how, "exited with status 1");
    (void)close(fd[0]);
    /* a second LOAD; then descriptors where none belong */
    rig_load(&g, model, "");
    rig_send_load(&g, model, "");
    rig_ended(&g, "exited with status 1");
    rig_load(&g, model, "");
    const int null = open("/dev/null", O_RDONLY);
    const wire_out f = {.type = WIRE_PING, .fds = &null, .n_fd = 1};
    assert_int_equal(wire_send(g.w, &f, &err), CAMA_OK);
    (void)close(null);
    rig_ended(&g, "exited with status 1");
}

/* Frames for jobs that are not there are late, not wrong. */
static void late_frames(void **state)
{
    (void)state;
    rig g;
    rig_answer a;
    rig_load(&g, model, "");
    rig_send(&g, WIRE_CANCEL, 99, NULL);
    rig_send(&g, WIRE_CREDIT, 99, "{\"bytes\":5}");
    rig_send(&g, WIRE_CREDIT, 99, "{\"bytes\":-5}");
    rig_send(&g, WIRE_BUDGET, 0, "{\"threads\":1,\"spin_us\":0}");
    rig_send(&g, WIRE_BUDGET, 0, "{\"threads\":-1,\"spin_us\":99999999999}");
    rig_ask(&g, "{\"kind\":\"tokenize\",\"inputs\":[\"ab\"]}", &a);
    assert_int_equal(a.end, WIRE_DONE);
    rig_quit(&g);
}

static void killed(void **state)
{
    (void)state;
    rig g;
    wire_frame f;
    err_info err;
    rig_load(&g, model, "");
    rig_send(&g, WIRE_JOB, 1, ENDLESS);
    rig_expect(&g, WIRE_TEXT, &f);
    assert_int_equal(kill(g.pid, SIGKILL), 0);
    while (!wire_recv(g.w, &f, &err))
        ;
    assert_true(err.code == CAMA_ERR_CANCELED || err.code == CAMA_ERR_FORMAT);
    char how[96];
    assert_true(spawn_wait(g.pid, 10000, how));
    rig_has(how, "killed by signal 9");
    wire_close(g.w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plan_then_ready),
        cmocka_unit_test(choices_of_load),
        cmocka_unit_test(refusals),
        cmocka_unit_test(contexts_grow),
        cmocka_unit_test(contexts_that_do_not_fit),
        cmocka_unit_test(the_end_of_the_wire),
        cmocka_unit_test(quit_waits_for_jobs),
        cmocka_unit_test(quit_before_a_model),
        cmocka_unit_test(garbage_from_serve),
        cmocka_unit_test(late_frames),
        cmocka_unit_test(killed),
    };
    return cmocka_run_group_tests(tests, make_model, drop_model);
}
