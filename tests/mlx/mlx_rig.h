/* mlx_rig.h - the plugin that was built beside the tests, opened on the CPU, with the real library
 * behind it. */
#ifndef MLX_RIG_H
#define MLX_RIG_H

#include <dlfcn.h>
#include <float.h>

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

typedef struct rig {
    const mb_api *b;
    mb *m;
    uint64_t random;
} rig;

static inline int rig_setup(void **state)
{
    static rig r;
    r.b = rig_load(TEST_MLX_PLUGIN);
    r.m = rig_open(r.b);
    r.random = 88172645463325252u;
    *state = &r;
    return 0;
}

static inline int rig_teardown(void **state)
{
    rig *r = *state;
    r->b->close(r->m);
    return 0;
}

/* What an operation of a few roundings may be off in f32, at values of `size`. */
static inline double rig_tol(double size)
{
    return 8 * (double)FLT_EPSILON * (1 + fabs(size));
}

static inline mb_ref rig_floats(rig *r, mb_shape shape, float *x)
{
    size_t n = 1;
    for (int32_t i = 0; i < shape.n_dim; i++)
        n *= (size_t)shape.dim[i];
    for (size_t i = 0; i < n; i++)
        x[i] = 2 * rig_float(&r->random);
    return r->b->from_host(r->m, x, shape, MB_F32);
}

static inline mb_ref rig_indices(rig *r, mb_shape shape, const int32_t *ids)
{
    return r->b->from_host(r->m, ids, shape, MB_I32);
}

static inline void rig_check_shape(rig *r, mb_ref a, mb_shape want, mb_dtype type)
{
    mb_shape shape;
    mb_dtype t;
    assert_int_equal(r->b->meta(r->m, a, &shape, &t), 0);
    assert_int_equal(t, type);
    assert_int_equal(shape.n_dim, want.n_dim);
    for (int32_t i = 0; i < want.n_dim; i++)
        assert_int_equal(shape.dim[i], want.dim[i]);
}

static inline void rig_check_failed(rig *r, const char *verb, const char *part)
{
    const char *error = r->b->error(r->m);
    assert_non_null(error);
    if (strncmp(error, verb, strlen(verb)) != 0 || !strstr(error, part))
        print_error("'%s' is not of %s and has not '%s'\n", error, verb, part);
    assert_int_equal(strncmp(error, verb, strlen(verb)), 0);
    assert_non_null(strstr(error, part));
    r->b->clear(r->m);
    assert_null(r->b->error(r->m));
}

#endif
