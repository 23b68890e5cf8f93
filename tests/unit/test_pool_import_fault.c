/* An import with each allocation and each thread of the pool's side failing in turn. */
#include "pool/pool_import.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fault.h"
#include "test.h"
#include "wire/wire.h"

static int runner_main(void)
{
    static const char head[] = "{\"version\":1}";
    wire *w = NULL;
    wire_frame f;
    err_info err;
    if (wire_open(WIRE_RUNNER_FD, &(wire_opts){.side = WIRE_RUNNER}, &w, &err))
        return 9;
    const wire_out hello = {.type = WIRE_HELLO, .head = head, .n_head = sizeof head - 1};
    const wire_out done = {.type = WIRE_DONE};
    if (wire_send(w, &hello, &err) || wire_recv(w, &f, &err) || wire_send(w, &done, &err))
        return 8;
    (void)wire_flush(w, 5000);
    return 0;
}

static cama_err run(void *arg, err_info *err)
{
    const char *name = "config.json";
    const int fd = STDERR_FILENO; /* nobody looks at it */
    const pool_import what = {.names = &name, .fds = &fd, .n = 1, .out_fd = fd};
    return pool_import_run(arg, &what, err);
}

static void sweep(void **state)
{
    (void)state;
    pool *p = NULL;
    const pool_opts o = {.load_timeout_ns = 0};
    assert_int_equal(pool_open(&o, &p, NULL), CAMA_OK);
    assert_true(fault_sweep(FAULT_HEAP, run, p) > 3);
    assert_true(fault_sweep(FAULT_THREAD, run, p) == 2); /* the wire's and the watcher */
    pool_close(p);
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "runner"))
        return runner_main();
    const struct CMUnitTest tests[] = {cmocka_unit_test(sweep)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
