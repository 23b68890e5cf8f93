/* A runner without memory: each of its allocations fails once, in a process of its own. It says so
 * (REFUSE, FAIL) or ends with a status; it never crashes, and never leaves its serve without an
 * end. */
#include "runner_rig.h"

#include "fault.h"

#define MET 77 /* the child met its failure and left in order */

static char model[64];

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

static void begin(rig *g, size_t k)
{
    int fd[2];
    err_info err;
    memset(g, 0, sizeof *g);
    assert_int_equal(wire_pair(fd, &err), CAMA_OK);
    g->pid = fork();
    assert_true(g->pid >= 0);
    if (g->pid == 0) {
        (void)close(fd[0]);
        (void)close(STDERR_FILENO); /* a line for each failure says nothing new */
        fault_arm(FAULT_HEAP | FAULT_MMAP | FAULT_THREAD, k);
        const int status = runner_run(fd[1]);
        exit(fault_disarm() ? MET : status);
    }
    (void)close(fd[1]);
    const wire_opts o = {.side = WIRE_SERVE};
    assert_int_equal(wire_open(fd[0], &o, &g->w, &err), CAMA_OK);
}

/* Talks to it until QUIT; the jobs may fail. False: it is gone. */
static bool talk(rig *g)
{
    static const char *const jobs[] = {
        "{\"kind\":\"chat\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"want_context\":"
        "true,\"logprobs\":true,\"options\":{\"temperature\":0,\"num_predict\":2,\"stop\":[\"x\"]}"
        "}",
        "{\"kind\":\"embed\",\"inputs\":[\"a\",\"b\"]}",
        "{\"kind\":\"tokenize\",\"inputs\":[\"a\"]}",
    };
    wire_frame f;
    err_info err;
    for (size_t i_job = 0;;) {
        const cama_err e = wire_recv(g->w, &f, &err);
        if (e && e != CAMA_ERR_CANCELED)
            fail_msg("the runner talks nonsense: %s", err.text);
        if (e)
            return false;
        const wire_out start = {.type = WIRE_START};
        if (f.type == WIRE_HELLO && rig_try_load(g, model, ",\"n_ctx\":64", &err))
            return false;
        if (f.type == WIRE_PLAN && wire_send(g->w, &start, &err))
            return false;
        if (f.type == WIRE_READY || f.type == WIRE_DONE || f.type == WIRE_FAIL) {
            if (i_job == TEST_COUNT(jobs))
                return true;
            const wire_out out = {
                .type = WIRE_JOB, .job = 1, .head = jobs[i_job], .n_head = strlen(jobs[i_job])};
            i_job++;
            if (wire_send(g->w, &out, &err))
                return false;
        }
    }
}

static void every_allocation(void **state)
{
    (void)state;
    size_t k = 0;
    for (bool met = true; met; k++) {
        rig g;
        int status;
        begin(&g, k);
        if (talk(&g)) {
            const wire_out quit = {.type = WIRE_QUIT};
            err_info err;
            (void)wire_send(g.w, &quit, &err); /* it may be gone */
        }
        assert_int_equal(waitpid(g.pid, &status, 0), g.pid);
        wire_close(g.w);
        if (!WIFEXITED(status))
            fail_msg("failure %zu: signal %d", k, WTERMSIG(status));
        met = WEXITSTATUS(status) != 0;
        if (met && WEXITSTATUS(status) != MET && WEXITSTATUS(status) != 1)
            fail_msg("failure %zu: status %d", k, WEXITSTATUS(status));
        assert_true(k < 20000);
    }
    assert_true(k > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation),
    };
    return cmocka_run_group_tests(tests, make_model, drop_model);
}
