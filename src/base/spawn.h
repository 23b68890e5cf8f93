/* spawn.h - a child process that is this program again.
 *
 * The child gets argv, standard error of its parent, /dev/null as input and output, a session of
 * its own (an interrupt from the keyboard is for the parent alone), default signals, one descriptor
 * of the caller's as `child_fd`, and nothing else that is open here. It is killed when the thread
 * that spawned it ends on Linux (PDEATHSIG), which is only an extra: a child must end by the
 * end-of-file on its descriptor.
 */
#ifndef BASE_SPAWN_H
#define BASE_SPAWN_H

#include <sys/types.h>

#include "base/err.h"

typedef struct spawn_opts {
    const char *exe;         /* NULL: this program's own file */
    const char *const *argv; /* ends with NULL; argv[0] included */
    int fd;                  /* the caller's, which keeps it too; -1: none */
    int child_fd;            /* its number in the child */
} spawn_opts;

/* CAMA_ERR_IO with the step that failed. */
cama_err spawn_self(const spawn_opts *o, pid_t *out_pid, err_info *err);
/* How a child ended, for people: "killed by signal 9 (Killed)", "exited with status 1". Waits at
 * most timeout_ms; false: it still runs. Reaps it. */
bool spawn_wait(pid_t pid, uint32_t timeout_ms, char out_how[96]);
/* SIGKILL, then spawn_wait. */
void spawn_kill(pid_t pid, char out_how[96]);

#endif
