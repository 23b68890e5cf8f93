/* A child that is another program (a shell, which every system has): what it is given, how it ends.
 */
#include "test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/plat.h"
#include "base/spawn.h"

static pid_t shell(const char *script, int fd, int child_fd)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    const spawn_opts o = {.exe = "/bin/sh", .argv = argv, .fd = fd, .child_fd = child_fd};
    err_info err;
    pid_t pid = 0;
    assert_int_equal(spawn_self(&o, &pid, &err), CAMA_OK);
    assert_true(pid > 0);
    return pid;
}

/* Everything the script writes to descriptor child_fd until it ends. */
static void talk(const char *script, int child_fd, char *out, size_t n)
{
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    const pid_t pid = shell(script, ends[1], child_fd);
    (void)close(ends[1]);
    size_t at = 0;
    ssize_t got;
    while (at + 1 < n && (got = read(ends[0], out + at, n - 1 - at)) > 0)
        at += (size_t)got;
    out[at] = '\0';
    (void)close(ends[0]);
    char how[96];
    assert_true(spawn_wait(pid, 10000, how));
    assert_string_equal(how, "exited with status 0");
}

static void the_descriptor_is_there(void **state)
{
    (void)state;
    char got[100];
    talk("echo hello >&3", 3, got, sizeof got);
    assert_string_equal(got, "hello\n");
    talk("echo hello >&9", 9, got, sizeof got);
    assert_string_equal(got, "hello\n");
}

static void nothing_else_is_open(void **state)
{
    (void)state;
    int held[40];
    for (size_t i = 0; i < TEST_COUNT(held); i++) { /* inherited by a careless child */
        held[i] = open("/dev/null", O_RDONLY);
        assert_true(held[i] >= 0);
    }
    char got[400];
    talk("for i in 0 1 2 3 4 5 6 7 8 9; do ( : >&$i ) 2>/dev/null && printf $i >&3; done; exit 0",
         3, got, sizeof got);
    assert_string_equal(got, "0123");
    talk("for i in 0 1 2 3 4 5 6 7 8 9; do ( : >&$i ) 2>/dev/null && printf $i >&8; done; exit 0",
         8, got, sizeof got);
    assert_string_equal(got, "0128");
    for (size_t i = 0; i < TEST_COUNT(held); i++)
        (void)close(held[i]);
}

/* The caller's descriptor may have the very number that it is to have in the child. */
static void the_same_number(void **state)
{
    (void)state;
    int ends[2];
    char how[96];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    for (int low = 3; low < 10; low++) {
        char script[40];
        if (low == ends[0])
            continue;
        const int at = low == ends[1] ? low : dup2(ends[1], low);
        assert_int_equal(at, low);
        (void)snprintf(script, sizeof script, "echo here >&%d", low);
        const pid_t child = shell(script, low, low);
        assert_true(spawn_wait(child, 10000, how));
        char got[8] = {0};
        assert_int_equal(read(ends[0], got, 5), 5);
        assert_string_equal(got, "here\n");
        if (low != ends[1])
            (void)close(low);
    }
    (void)close(ends[0]);
    (void)close(ends[1]);
}

static void signals_are_as_at_birth(void **state)
{
    (void)state;
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGTERM, SIG_IGN);
    const pid_t pid = shell("exec sleep 100", -1, 0);
    assert_int_equal(kill(pid, SIGTERM), 0);
    char how[96];
    assert_true(spawn_wait(pid, 10000, how));
    assert_non_null(strstr(how, "killed by signal 15 ("));
    (void)signal(SIGTERM, SIG_DFL);
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void ends_in_words(void **state)
{
    (void)state;
    char how[96];
    pid_t pid = shell("exit 7", -1, 0);
    assert_true(spawn_wait(pid, 10000, how));
    assert_string_equal(how, "exited with status 7");
    assert_true(spawn_wait(pid, 10000, how)); /* reaped before */
    assert_non_null(strstr(how, "nobody knows how"));
    pid = shell("exec sleep 100", -1, 0);
    assert_false(spawn_wait(pid, 20, how));
    spawn_kill(pid, how);
    assert_non_null(strstr(how, "killed by signal 9 ("));
}

static void a_program_that_is_not_there(void **state)
{
    (void)state;
    const char *const argv[] = {"x", NULL};
    const spawn_opts o = {.exe = "/nowhere/at/all", .argv = argv, .fd = -1};
    err_info err;
    pid_t pid = 77;
    assert_int_equal(spawn_self(&o, &pid, &err), CAMA_ERR_IO);
    assert_non_null(strstr(err.text, "'/nowhere/at/all' cannot run the program"));
    assert_int_equal(pid, 77);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nothing is left behind */
    const spawn_opts standard = {.exe = "/bin/sh", .argv = argv, .fd = 0, .child_fd = 1};
    assert_int_equal(spawn_self(&standard, &pid, &err), CAMA_ERR_ARG);
}

static void its_own_file(void **state)
{
    (void)state;
    char path[4096];
    assert_true(plat_own_path(path, sizeof path));
    assert_int_equal(access(path, X_OK), 0);
    assert_false(plat_own_path(path, 4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_descriptor_is_there),
        cmocka_unit_test(nothing_else_is_open),
        cmocka_unit_test(the_same_number),
        cmocka_unit_test(signals_are_as_at_birth),
        cmocka_unit_test(ends_in_words),
        cmocka_unit_test(a_program_that_is_not_there),
        cmocka_unit_test(its_own_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
