/* main.c - hands argv to the command line, or to the runner that serve starts as a child. */
#include <string.h>

#include "cli/cli.h"
#include "runner/runner.h"

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "runner"))
        return runner_main(argc, argv);
    return cli_main(argc, argv);
}
