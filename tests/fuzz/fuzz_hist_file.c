/* Any bytes as the database: opened or replaced by memory, and usable either way. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hist/hist.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look(void *user, const hist_failure *f)
{
    size_t *n = user;
    *n += strlen(f->engine) + strlen(f->build) + strlen(f->digest) + strlen(f->model) +
          strlen(f->reason);
}

static void remove_files(const char *dir)
{
    static const char *const ends[] = {"", "-wal", "-shm", "-journal"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        char path[128];
        (void)snprintf(path, sizeof path, "%s/%s%s", dir, HIST_FILE, ends[i]);
        (void)unlink(path); /* those that are there */
    }
}

static void use(const char *dir)
{
    hist *h = NULL;
    size_t n = 0;
    const hist_failure f = {
        .engine = "mlx", .build = "b", .digest = "aa", .model = "m", .reason = "r", .time_s = 1};
    if (hist_open(dir, &h, NULL))
        return;
    /* A file that passed the check at the start may still be read in vain: errors, nothing else. */
    (void)hist_engine_each(h, NULL, look, &n, NULL);
    (void)hist_engine_failed(h, &f, NULL);
    (void)hist_engine_each(h, "aa", look, &n, NULL);
    (void)hist_engine_reset(h, NULL, &n, NULL);
    hist_close(h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char dir[32];
    if (!dir[0]) {
        memcpy(dir, "/tmp/cama_fuzz_XXXXXX", sizeof "/tmp/cama_fuzz_XXXXXX");
        if (!mkdtemp(dir))
            abort();
    }
    char path[64];
    (void)snprintf(path, sizeof path, "%s/%s", dir, HIST_FILE);
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    (void)close(fd);
    use(dir);
    remove_files(dir);
    return 0;
}
