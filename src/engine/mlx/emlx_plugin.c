/* emlx_plugin.c - finding and opening the plugin around MLX. */
#include "engine/mlx/emlx_int.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/plat.h"

#ifdef __APPLE__
#define PLUGIN_FILE "libcama_mlx.dylib"
#else
#define PLUGIN_FILE "libcama_mlx.so"
#endif
#define MAX_PATH 4096

/* Once in a process: opening is not undone, and its failure is not tried again. */
static struct {
    pthread_once_t once;
    const mb_api *api;
    char why[MB_MAX_TEXT];
} plugin = {.once = PTHREAD_ONCE_INIT};

/* Beside the program, then where an installation puts it. */
static bool beside_program(char *out, size_t n)
{
    static const char *const places[] = {"", "../lib/cama/"};
    char self[MAX_PATH];
    if (!plat_own_path(self, sizeof self))
        return false;
    char *slash = strrchr(self, '/');
    if (!slash)
        return false;
    slash[1] = 0;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const int len = snprintf(out, n, "%s%s%s", self, places[i], PLUGIN_FILE);
        if (len > 0 && (size_t)len < n && access(out, R_OK) == 0)
            return true;
    }
    return false;
}

static bool find(char *path, size_t n_path, char *why, size_t n)
{
    const char *named = getenv("CAMA_MLX_PLUGIN");
    if (named && *named) {
        if (!strcmp(named, "none")) {
            (void)snprintf(why, n, "CAMA_MLX_PLUGIN=none: the MLX engine is switched off");
            return false;
        }
        (void)snprintf(path, n_path, "%s", named);
        if (access(path, R_OK) == 0)
            return true;
        (void)snprintf(why, n, "CAMA_MLX_PLUGIN names '%.300s', which cannot be read", named);
        return false;
    }
    if (beside_program(path, n_path))
        return true;
    (void)snprintf(why, n,
                   "%s is not beside the program; `./dev engine-mlx` in a checkout builds it",
                   PLUGIN_FILE);
    return false;
}

bool emlx_plugin_found(char *why, size_t n)
{
    char path[MAX_PATH];
    return find(path, sizeof path, why, n);
}

static void open_once(void)
{
    char path[MAX_PATH];
    if (!find(path, sizeof path, plugin.why, sizeof plugin.why))
        return;
    void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!lib) {
        (void)snprintf(plugin.why, sizeof plugin.why, "%.480s", dlerror());
        return;
    }
    mb_get_fn *get = NULL;
    void *symbol = dlsym(lib, "mb_get");
    memcpy(&get, &symbol,
           sizeof get); /* ISO C has no cast from an object's pointer to a function's */
    plugin.api = get ? get(MB_ABI) : NULL;
    if (!plugin.api)
        (void)snprintf(plugin.why, sizeof plugin.why, "'%.300s' is of another build of cama: %s",
                       path, get ? "its table has another number" : "it has no mb_get");
}

const mb_api *emlx_plugin(char *why, size_t n)
{
    (void)pthread_once(&plugin.once, open_once); /* fails for no valid once */
    if (!plugin.api)
        (void)snprintf(why, n, "%s", plugin.why);
    return plugin.api;
}
