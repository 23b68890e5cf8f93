/* Every allocation of the wire made to fail, one by one, and the thread that is not to be had. */
#include "test.h"

#include "fault.h"

#include <unistd.h>

#include "wire/wire.h"

static cama_err open_pair(wire **out_serve, wire **out_runner, err_info *err)
{
    int fd[2];
    *out_serve = *out_runner = NULL;
    cama_err e = wire_pair(fd, err);
    if (e)
        return e;
    const wire_opts serve = {.side = WIRE_SERVE};
    const wire_opts runner = {.side = WIRE_RUNNER};
    e = wire_open(fd[0], &serve, out_serve, err); /* takes the descriptor also when it fails */
    if (e)
        (void)close(fd[1]);
    else
        e = wire_open(fd[1], &runner, out_runner, err);
    return e;
}

static cama_err there_and_back(void *arg, err_info *err)
{
    const wire_out *out = arg;
    wire *serve;
    wire *runner;
    cama_err e = open_pair(&serve, &runner, err);
    if (!e)
        e = wire_send(serve, out, err);
    wire_frame f;
    if (!e)
        e = wire_recv(runner, &f, err);
    for (size_t i = 0; !e && i < f.n_fd; i++)
        (void)close(f.fds[i]);
    /* A sender that broke off in a frame is seen by the reader as one that left. */
    if (!e && f.n_data != out->n_data)
        e = err_set(err, CAMA_ERR_INTERNAL, "%zu bytes came", f.n_data);
    wire_close(serve);
    wire_close(runner);
    return e;
}

static void small_frames(void **state)
{
    (void)state;
    static const char head[] = "{\"list\":[1,2,{\"a\":\"text\"}],\"more\":null}";
    const int fds[2] = {STDERR_FILENO, STDERR_FILENO};
    wire_out out = {.type = WIRE_LOAD,
                    .head = head,
                    .n_head = sizeof head - 1,
                    .data = "data",
                    .n_data = 4,
                    .fds = fds,
                    .n_fd = 2};
    assert_true(fault_sweep(FAULT_HEAP | FAULT_THREAD, there_and_back, &out) >= 6);
}

/* What the socket does not take is copied; when that fails, the connection ends. */
static void large_frames(void **state)
{
    (void)state;
    static char data[3 << 20];
    wire_out out = {.type = WIRE_JOB, .data = data, .n_data = sizeof data};
    assert_true(fault_sweep(FAULT_HEAP | FAULT_THREAD, there_and_back, &out) >= 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_frames),
        cmocka_unit_test(large_frames),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
