/* cli.h - the door for people: argv in, an exit status out.
 *
 * Commands reach models through cama.h alone, as any other program would. The table in cli_args.c
 * is the one home of options: parsing, help, checks and the REPL's /set are made from it.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

/* Exit statuses, a promise to scripts (docs/cli.md). */
#define CLI_OK 0
#define CLI_FAILED 1        /* a file, a model or the machine: the text on stderr says what */
#define CLI_USAGE 2         /* the command line itself */
#define CLI_INTERRUPTED 130 /* Ctrl-C, as shells count it */
#define CLI_PIPE_CLOSED 141 /* the reader of standard output left, as shells count it */

int cli_main(int argc, char **argv);

#endif
