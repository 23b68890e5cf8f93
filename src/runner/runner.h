/* runner.h - the child's main loop: one model on one engine, jobs in, events out.
 *
 *     reader    frames from serve; end-of-file ends the process at once
 *     preparer  a job's messages -> prompt -> ids; hands them to the scheduler
 *     engine    sched_run: the only thread that touches the engine
 *     wire      sends
 *
 * It opens no path: files come as descriptors. What it has to say goes up the wire.
 */
#ifndef RUNNER_RUNNER_H
#define RUNNER_RUNNER_H

/* `cama runner`: serves the wire on WIRE_RUNNER_FD until it ends. Gives the exit status. */
int runner_main(int argc, char **argv);

#endif
