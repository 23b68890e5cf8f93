/* preload_runner.c - puts another program in the place of a runner, while a file says so.
 *
 *     LD_PRELOAD=preload_runner.so FAKE_WHILE=/a/file FAKE_PROGRAM=/a/program cama serve
 *
 * serve runs its own file as `cama runner`; this library is loaded there too, and before main it
 * becomes FAKE_PROGRAM when FAKE_WHILE is there. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

__attribute__((constructor)) static void begin(int argc, char **argv)
{
    const char *file = getenv("FAKE_WHILE");
    const char *program = getenv("FAKE_PROGRAM");
    if (argc < 2 || strcmp(argv[1], "runner") != 0 || !file || !program || access(file, F_OK) != 0)
        return;
    (void)unsetenv("LD_PRELOAD");
    (void)execv(program, argv);
    _exit(98);
}
