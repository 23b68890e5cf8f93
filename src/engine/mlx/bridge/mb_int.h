/* mb_int.h - what the files of the plugin share: the state behind an mb, and the guard that every
 * verb runs in.
 *
 * C++ ends at the table: a verb is a function of C linkage whose body is a lambda handed to guard,
 * which turns whatever is thrown into the sticky error. A text of MLX or of a file is copied, never
 * used as a format.
 *
 * Every operation names the stream of the mb: MLX's own default is a matter of the thread and of a
 * global, and two mbs may live in one process.
 */
#ifndef ENGINE_MLX_BRIDGE_MB_INT_H
#define ENGINE_MLX_BRIDGE_MB_INT_H

#include "engine/mlx/mb.h"

#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <mlx/mlx.h>

/* The version of the headers; a test builds a plugin with a false one. */
#ifndef MB_BUILT
#define MB_TEXT_(x) #x
#define MB_TEXT(x) MB_TEXT_(x)
#define MB_BUILT                                                                                   \
    MB_TEXT(MLX_VERSION_MAJOR) "." MB_TEXT(MLX_VERSION_MINOR) "." MB_TEXT(MLX_VERSION_PATCH)
#endif

namespace mx = mlx::core;

constexpr mb_ref MB_KEPT = 0x80000000u;

struct mb {
    explicit mb(mx::Stream s) : stream(s)
    {
    }

    mx::Stream stream; /* of the thread that opened it */
    bool is_gpu = false;
    bool is_metal = false;
    bool has_failed = false;
    char text[MB_MAX_TEXT] = {0};
    std::vector<mx::array> temps;               /* ref i + 1 */
    std::vector<std::optional<mx::array>> kept; /* ref MB_KEPT | i */
    std::vector<mb_ref> free_kept;
    std::map<std::string, mx::fast::CustomKernelFunction, std::less<>> kernels;
};

/* A ref of 0 whose failure was told before: it passes through without another word. */
struct mb_passed {
};

/* Copies, cuts at the end of `out`, always ends it. */
void mb_copy_text(char *out, size_t size, const char *text);
/* The first one sticks. */
void mb_fail(mb *m, const char *verb, const char *text) noexcept;

/* Throws mb_passed for 0, std::invalid_argument for what is no array. */
const mx::array &mb_array(mb *m, mb_ref ref);
/* As that, but 0 is none. */
std::optional<mx::array> mb_maybe(mb *m, mb_ref ref);
std::vector<mx::array> mb_arrays(mb *m, const mb_ref *refs, size_t n, size_t n_max);
mb_ref mb_put(mb *m, mx::array a);

mx::Dtype mb_dtype_to(mb_dtype t);
mb_dtype mb_dtype_from(mx::Dtype t);
/* Dimensions of 0 and more, at most MB_MAX_DIM of them, and a size in bytes that an int64 holds. */
mx::Shape mb_shape_to(const mb_shape &shape);
mb_shape mb_shape_from(const mx::Shape &shape);
/* Memory for n bytes; throws where malloc gave none, which MLX does not look at on a CPU. */
mx::allocator::Data mb_alloc(size_t n_bytes);

/* Runs f, whose result is R; anything thrown makes it `none` and the sticky error. */
template <class R, class F> R mb_guard(mb *m, const char *verb, R none, F f) noexcept
{
    if (m->has_failed)
        return none;
    try {
        return f();
    } catch (const mb_passed &) {
        mb_fail(m, verb, "an argument is no array");
    } catch (const std::exception &e) {
        mb_fail(m, verb, e.what());
    } catch (...) {
        mb_fail(m, verb, "something was thrown that is no std::exception");
    }
    return none;
}

/* A verb that gives one array. */
template <class F> mb_ref mb_verb(mb *m, const char *verb, F f) noexcept
{
    return mb_guard(m, verb, mb_ref{0}, [&] { return mb_put(m, f()); });
}

/* The parts of the table that each file fills. */
void mb_table_life(mb_api *t);
void mb_table_arrays(mb_api *t);
void mb_table_ops(mb_api *t);
void mb_table_weights(mb_api *t);
void mb_table_nodes(mb_api *t);

#endif
