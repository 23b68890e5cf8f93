/* A plugin for the end-to-end tests: the real one (CAMA_FAULT_REAL), with a fault.
 *
 * CAMA_FAULT names a file that says where, how, and optionally at which time that place is reached:
 * "read kill 3". No file: no fault. Where: image (while it is opened), get, open, weights, eval,
 * read. How: kill, segv, stop (the whole process), hang (this thread), null (no table), error (the
 * verb fails), limit (16 MiB more of address space, and on it goes). A word "once" at the end: the
 * file is removed when the fault strikes.
 */
#include "engine/mlx/mb.h"

#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define MORE_BYTES (16ul << 20)

static mb_api table; /* the real one, but for what is below */
static const mb_api *real;
static const char *broken; /* what error says */

/* Address space for little more than is there: what the library asks for next is not to be had. */
static void limit_memory(void)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f && fscanf(f, "%lu", &pages) == 1) {
        const rlim_t bytes = pages * (rlim_t)sysconf(_SC_PAGESIZE) + MORE_BYTES;
        (void)setrlimit(RLIMIT_AS, &(struct rlimit){bytes, bytes});
    }
    if (f)
        (void)fclose(f);
}

/* True: the verb is to fail. */
static bool strike(const char *how)
{
    if (!strcmp(how, "kill"))
        (void)raise(SIGKILL);
    else if (!strcmp(how, "segv"))
        (void)raise(SIGSEGV);
    else if (!strcmp(how, "stop"))
        (void)raise(SIGSTOP);
    else if (!strcmp(how, "limit"))
        limit_memory();
    else
        while (!strcmp(how, "hang"))
            (void)sleep(1);
    return !strcmp(how, "null") || !strcmp(how, "error");
}

static bool fault(const char *where)
{
    static int n_reached;
    char place[16] = "";
    char how[16] = "";
    char once[8] = "";
    int at = 1;
    const char *path = getenv("CAMA_FAULT");
    FILE *f = path ? fopen(path, "r") : NULL;
    if (!f)
        return false;
    const int n = fscanf(f, "%15s %15s %d %7s", place, how, &at, once);
    (void)fclose(f);
    if (n < 2 || strcmp(place, where) != 0 || ++n_reached < at)
        return false;
    if (!strcmp(once, "once"))
        (void)unlink(path);
    return strike(how);
}

static mb *fault_open(const char *device, mb_opened *out)
{
    if (fault("open")) {
        (void)snprintf(out->error, sizeof out->error, "no device today");
        return NULL;
    }
    return real->open(device, out);
}

static mb_ref fault_from_host(mb *m, const void *data, mb_shape shape, mb_dtype t)
{
    if (fault("weights")) {
        broken = "[malloc] Unable to allocate 1234567 bytes.";
        return 0;
    }
    return real->from_host(m, data, shape, t);
}

static int fault_eval(mb *m, const mb_ref *refs, size_t n, bool wait)
{
    if (fault("eval")) {
        broken = "[malloc] Unable to allocate 1234567 bytes.";
        return -1;
    }
    return real->eval(m, refs, n, wait);
}

static int fault_read(mb *m, mb_ref a, void *out, size_t n_bytes)
{
    if (fault("read")) {
        broken = "[malloc] Unable to allocate 1234567 bytes.";
        return -1;
    }
    return real->read(m, a, out, n_bytes);
}

static const char *fault_error(mb *m)
{
    return broken ? broken : real->error(m);
}

__attribute__((constructor)) static void opened(void)
{
    (void)fault("image");
}

__attribute__((visibility("default"))) const mb_api *mb_get(uint32_t abi)
{
    if (fault("get"))
        return NULL;
    void *image = dlopen(getenv("CAMA_FAULT_REAL"), RTLD_NOW | RTLD_LOCAL);
    void *symbol = image ? dlsym(image, "mb_get") : NULL;
    mb_get_fn *get = NULL;
    memcpy(&get, &symbol, sizeof get); /* ISO C knows no cast from an object to a function */
    real = get ? get(abi) : NULL;
    if (!real)
        return NULL;
    table = *real;
    table.open = fault_open;
    table.from_host = fault_from_host;
    table.eval = fault_eval;
    table.read = fault_read;
    table.error = fault_error;
    return &table;
}
