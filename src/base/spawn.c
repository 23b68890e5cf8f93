#include "base/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/plat.h"

#define REPORT_MS 1000 /* from fork to exec it is milliseconds */

/* What the child tells through a pipe that closes by itself when the new program begins. */
typedef enum spawn_step {
    STEP_NONE,
    STEP_SESSION,
    STEP_INPUT,
    STEP_DESCRIPTOR,
    STEP_EXEC
} spawn_step;

typedef struct spawn_report {
    spawn_step step;
    int code; /* errno */
} spawn_report;

static const char *step_text(spawn_step step)
{
    static const char *const texts[] = {
        [STEP_SESSION] = "begin a session",
        [STEP_INPUT] = "replace its input and output",
        [STEP_DESCRIPTOR] = "take its descriptor",
        [STEP_EXEC] = "run the program",
    };
    return (size_t)step < sizeof texts / sizeof *texts && texts[step] ? texts[step] : "start";
}

/* Everything the child needs, made before it is there: between fork and exec of a process with
 * threads only calls that a signal handler may make are allowed. */
typedef struct spawn_plan {
    const char *exe;
    char *const *argv;
    int fd, child_fd;
    int null_fd, report_fd; /* above child_fd, so that nothing steps on them */
} spawn_plan;

static void child_fail(const spawn_plan *p, spawn_step step)
{
    const spawn_report r = {.step = step, .code = errno};
    if (write(p->report_fd, &r, sizeof r) < 0)
        _exit(126); /* nobody listens: the status is all that can be told */
    _exit(127);
}

static void child_take_fds(const spawn_plan *p)
{
    if (dup2(p->null_fd, STDIN_FILENO) < 0 || dup2(p->null_fd, STDOUT_FILENO) < 0)
        child_fail(p, STEP_INPUT);
    const int keep = p->fd >= 0 ? p->child_fd : STDERR_FILENO;
    if (p->fd >= 0 && p->fd != p->child_fd && dup2(p->fd, p->child_fd) < 0)
        child_fail(p, STEP_DESCRIPTOR);
    if (p->fd >= 0 && fcntl(p->child_fd, F_SETFD, 0) != 0)
        child_fail(p, STEP_DESCRIPTOR);
    if (keep > STDERR_FILENO + 1)
        plat_close_range(STDERR_FILENO + 1, keep - 1);
    if (p->report_fd > keep + 1)
        plat_close_range(keep + 1, p->report_fd - 1);
    plat_close_range(p->report_fd + 1, INT_MAX);
}

static void child_reset_signals(void)
{
    static const int list[] = {SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        (void)signal(list[i], SIG_DFL); /* handlers end with exec, but what is ignored stays so */
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* A session of its own: an interrupt from the keyboard is for the parent, which ends its children
 * as it sees fit. */
static void child_main(const spawn_plan *p)
{
    plat_die_with_parent();
    if (setsid() < 0)
        child_fail(p, STEP_SESSION);
    child_take_fds(p);
    child_reset_signals();
    (void)execv(p->exe, p->argv);
    child_fail(p, STEP_EXEC);
}

/* fd moved above `above` and closed in other programs. Takes fd. -1: errno says why. */
static int move_above(int fd, int above)
{
    if (fd < 0)
        return -1;
    const int moved = fcntl(fd, F_DUPFD_CLOEXEC, above + 1);
    const int code = errno;
    (void)close(fd);
    errno = code;
    return moved;
}

/* Whether the child reached its program; it is reaped where it did not. One that takes long (it
 * was stopped, or the file lies on a slow disk) counts as begun: its end will be seen like any
 * other's. */
static cama_err read_report(int fd, pid_t pid, const char *exe, err_info *err)
{
    spawn_report r;
    struct pollfd told = {.fd = fd, .events = POLLIN};
    if (poll(&told, 1, REPORT_MS) == 0)
        return CAMA_OK;
    ssize_t n;
    do {
        n = read(fd, &r, sizeof r);
    } while (n < 0 && errno == EINTR);
    if (n == 0)
        return CAMA_OK;
    char how[96];
    spawn_kill(pid, how);
    if (n != (ssize_t)sizeof r)
        return err_set(err, CAMA_ERR_IO, "spawn: '%s' did not start: %s", exe, how);
    return err_set(err, CAMA_ERR_IO, "spawn: '%s' cannot %s: %s", exe, step_text(r.step),
                   strerror(r.code));
}

/* Signals wait while the child is not yet itself: a handler of the parent's must not run in it. */
static pid_t fork_child(const spawn_plan *p)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    const pid_t pid = fork();
    if (pid == 0)
        child_main(p);
    const int code = errno;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = code;
    return pid;
}

static cama_err run_plan(spawn_plan *p, pid_t *out_pid, err_info *err)
{
    int ends[2];
    if (pipe(ends) != 0)
        return err_set(err, CAMA_ERR_IO, "spawn: cannot make a pipe: %s", strerror(errno));
    const int read_end = move_above(ends[0], p->child_fd);
    p->report_fd = move_above(ends[1], p->child_fd);
    cama_err e = CAMA_OK;
    if (read_end < 0 || p->report_fd < 0)
        e = err_set(err, CAMA_ERR_IO, "spawn: no descriptor is left: %s", strerror(errno));
    pid_t pid = -1;
    if (!e) {
        pid = fork_child(p);
        if (pid < 0)
            e = err_set(err, CAMA_ERR_IO, "spawn: cannot fork: %s", strerror(errno));
    }
    if (p->report_fd >= 0)
        (void)close(p->report_fd);
    if (!e)
        e = read_report(read_end, pid, p->exe, err);
    if (read_end >= 0)
        (void)close(read_end);
    if (!e)
        *out_pid = pid;
    return e;
}

cama_err spawn_self(const spawn_opts *o, pid_t *out_pid, err_info *err)
{
    char own[4096];
    spawn_plan p = {.exe = o->exe, .argv = (char *const *)(uintptr_t)o->argv, .fd = o->fd};
    p.child_fd = o->fd >= 0 ? o->child_fd : STDERR_FILENO;
    if (o->fd >= 0 && o->child_fd <= STDERR_FILENO)
        return err_set(err, CAMA_ERR_ARG, "spawn: descriptor %d is a standard one", o->child_fd);
    if (!p.exe) {
        if (!plat_own_path(own, sizeof own))
            return err_set(err, CAMA_ERR_IO, "spawn: this program's own file cannot be found");
        p.exe = own;
    }
    p.null_fd = move_above(open("/dev/null", O_RDWR | O_CLOEXEC), p.child_fd);
    if (p.null_fd < 0)
        return err_set(err, CAMA_ERR_IO, "spawn: cannot open /dev/null: %s", strerror(errno));
    const cama_err e = run_plan(&p, out_pid, err);
    (void)close(p.null_fd);
    return e;
}

static void describe(int status, char out_how[96])
{
    if (WIFSIGNALED(status))
        (void)snprintf(out_how, 96, "killed by signal %d (%.60s)", WTERMSIG(status),
                       strsignal(WTERMSIG(status)));
    else
        (void)snprintf(out_how, 96, "exited with status %d", WEXITSTATUS(status));
}

bool spawn_wait(pid_t pid, uint32_t timeout_ms, char out_how[96])
{
    const uint64_t until_ns = clock_now_ns() + (uint64_t)timeout_ms * 1000000;
    for (long nap_ns = 200000;; nap_ns = nap_ns < 10000000 ? nap_ns * 2 : nap_ns) {
        int status;
        const pid_t got = waitpid(pid, &status, WNOHANG);
        if (got == pid) {
            describe(status, out_how);
            return true;
        }
        if (got < 0 && errno != EINTR) {
            (void)snprintf(out_how, 96, "ended, nobody knows how: %.60s", strerror(errno));
            return true;
        }
        if (clock_now_ns() >= until_ns)
            return false;
        const struct timespec nap = {.tv_nsec = nap_ns};
        (void)nanosleep(&nap, NULL); /* a signal cuts it short: looked at earlier */
    }
}

void spawn_kill(pid_t pid, char out_how[96])
{
    (void)kill(pid, SIGKILL); /* it may have ended already */
    if (!spawn_wait(pid, 10000, out_how))
        (void)snprintf(out_how, 96, "does not end although it was killed");
}
