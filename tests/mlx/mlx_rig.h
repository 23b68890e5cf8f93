/* mlx_rig.h - the plugin that was built beside the tests, opened on the CPU, with the real library
 * behind it. */
#ifndef MLX_RIG_H
#define MLX_RIG_H

#include <dlfcn.h>

#include "engine/mlx/mb.h"
#include "test.h"

static inline const mb_api *rig_load(const char *path)
{
    void *image = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!image)
        print_error("%s\n", dlerror());
    assert_non_null(image);
    void *symbol = dlsym(image, "mb_get");
    assert_non_null(symbol);
    mb_get_fn *get;
    memcpy(&get, &symbol, sizeof get); /* ISO C knows no cast from an object to a function */
    assert_null(get(MB_ABI + 1));
    const mb_api *b = get(MB_ABI);
    assert_non_null(b);
    return b;
}

static inline mb *rig_open(const mb_api *b)
{
    mb_opened why = {.error = ""};
    mb *m = b->open("cpu", &why);
    if (!m)
        print_error("%s\n", why.error);
    assert_non_null(m);
    return m;
}

/* Fails with the bridge's own words. */
static inline void rig_good(const mb_api *b, mb *m)
{
    if (b->error(m))
        print_error("%s\n", b->error(m));
    assert_null(b->error(m));
}

static inline mb_shape rig_shape(int32_t n_dim, int32_t a, int32_t c, int32_t d, int32_t e)
{
    return (mb_shape){n_dim, {a, c, d, e}};
}

static inline void rig_read(const mb_api *b, mb *m, mb_ref a, void *out, size_t n_bytes)
{
    const int status = b->read(m, a, out, n_bytes);
    rig_good(b, m);
    assert_int_equal(status, 0);
}

/* xorshift: the same numbers everywhere. */
static inline uint32_t rig_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 32);
}

static inline float rig_float(uint64_t *state) /* -1 to 1 */
{
    return (float)((double)rig_random(state) / 2147483648.0 - 1.0);
}

#endif
