/* mb_arrays.cc - arrays as numbers: made of host memory, kept, dropped, read. */
#include "engine/mlx/bridge/mb_int.h"

#include <cmath>
#include <cstddef>
#include <cstring>

const mx::array &mb_array(mb *m, mb_ref ref)
{
    if (ref == 0)
        throw mb_passed{};
    const size_t i = ref & ~MB_KEPT;
    if ((ref & MB_KEPT) && i < m->kept.size() && m->kept[i])
        return *m->kept[i];
    if (!(ref & MB_KEPT) && i <= m->temps.size())
        return m->temps[i - 1];
    throw std::invalid_argument("array " + std::to_string(i) +
                                (ref & MB_KEPT ? " was dropped or never kept"
                                               : " is gone since the last reset, or never was"));
}

std::optional<mx::array> mb_maybe(mb *m, mb_ref ref)
{
    return ref ? std::optional<mx::array>(mb_array(m, ref)) : std::nullopt;
}

std::vector<mx::array> mb_arrays(mb *m, const mb_ref *refs, size_t n, size_t n_max)
{
    if (n > n_max)
        throw std::invalid_argument(std::to_string(n) + " arrays, at most " +
                                    std::to_string(n_max));
    std::vector<mx::array> out;
    out.reserve(n);
    for (size_t i = 0; i < n; i++)
        out.push_back(mb_array(m, refs[i]));
    return out;
}

mb_ref mb_put(mb *m, mx::array a)
{
    if (m->temps.size() >= MB_KEPT - 1)
        throw std::length_error("more arrays than a reference can number");
    m->temps.push_back(std::move(a));
    return (mb_ref)m->temps.size();
}

mx::Dtype mb_dtype_to(mb_dtype t)
{
    switch (t) {
    case MB_F32:
        return mx::float32;
    case MB_F16:
        return mx::float16;
    case MB_BF16:
        return mx::bfloat16;
    case MB_I32:
        return mx::int32;
    case MB_U32:
        return mx::uint32;
    case MB_U8:
        return mx::uint8;
    case MB_BOOL:
        return mx::bool_;
    case MB_N_DTYPE:
        break;
    }
    throw std::invalid_argument("type " + std::to_string((int)t) + " is none of mb.h's");
}

mb_dtype mb_dtype_from(mx::Dtype t)
{
    for (int i = 0; i < MB_N_DTYPE; i++) {
        if (mb_dtype_to((mb_dtype)i) == t)
            return (mb_dtype)i;
    }
    throw std::invalid_argument("the array's type of " + std::to_string(mx::size_of(t)) +
                                " bytes is none of mb.h's");
}

mx::Shape mb_shape_to(const mb_shape &shape)
{
    if (shape.n_dim < 0 || shape.n_dim > MB_MAX_DIM)
        throw std::invalid_argument(std::to_string(shape.n_dim) + " dimensions, at most " +
                                    std::to_string(MB_MAX_DIM));
    mx::Shape out;
    int64_t n = 8; /* more than the largest element */
    for (int32_t i = 0; i < shape.n_dim; i++) {
        if (shape.dim[i] < 0)
            throw std::invalid_argument("dimension " + std::to_string(i) + " is " +
                                        std::to_string(shape.dim[i]));
        if (__builtin_mul_overflow(n, (int64_t)shape.dim[i], &n))
            throw std::invalid_argument("the shape is larger than any memory");
        out.push_back(shape.dim[i]);
    }
    return out;
}

mb_shape mb_shape_from(const mx::Shape &shape)
{
    if (shape.size() > MB_MAX_DIM)
        throw std::invalid_argument(std::to_string(shape.size()) + " dimensions, at most " +
                                    std::to_string(MB_MAX_DIM));
    mb_shape out{};
    out.n_dim = (int32_t)shape.size();
    for (size_t i = 0; i < shape.size(); i++)
        out.dim[i] = shape[i];
    return out;
}

mx::allocator::Data mb_alloc(size_t n_bytes)
{
    mx::allocator::Data data = mx::allocator::malloc(n_bytes);
    if (!data.buffer().ptr())
        throw std::runtime_error("no memory for " + std::to_string(n_bytes) + " bytes");
    return data;
}

namespace
{

mb_ref arrays_from_host(mb *m, const void *data, mb_shape shape, mb_dtype t) noexcept
{
    return mb_verb(m, "from_host", [&] {
        const mx::Dtype type = mb_dtype_to(t);
        size_t n_bytes = mx::size_of(type);
        const mx::Shape dims = mb_shape_to(shape);
        for (const int32_t d : dims)
            n_bytes *= (size_t)d;
        mx::array a(mb_alloc(n_bytes), dims, type);
        if (n_bytes)
            std::memcpy(a.data<char>(), data, n_bytes);
        return a;
    });
}

/* How far the data of a buffer lies behind what its Buffer points to: MLX's allocator for CPUs
 * keeps the size there, and has no other way to wrap memory of others (make_buffer gives none). */
ptrdiff_t buffer_offset()
{
    mx::allocator::Data probe = mb_alloc(64);
    mx::allocator::Buffer buffer = probe.buffer();
    return static_cast<char *>(buffer.raw_ptr()) - static_cast<char *>(buffer.ptr());
}

/* A Buffer whose data is `data`; it does not own it, so MLX neither frees nor reuses it. */
std::optional<mx::array> wrap(void *data, const mx::Shape &shape, mx::Dtype t)
{
    static const ptrdiff_t offset = buffer_offset();
    mx::allocator::Buffer buffer(static_cast<char *>(data) - offset);
    if (buffer.raw_ptr() != data)
        return std::nullopt;
    return mx::array(mx::allocator::Data(buffer, [](mx::allocator::Buffer) {}), shape, t);
}

mb_ref arrays_from_owned(mb *m, void *data, mb_shape shape, mb_dtype t) noexcept
{
    return mb_verb(m, "from_owned", [&] {
        const mx::Shape dims = mb_shape_to(shape);
        const mx::Dtype type = mb_dtype_to(t);
        if (!m->is_gpu) {
            if (const auto a = wrap(data, dims, type))
                return *a;
        }
        return mx::array(data, dims, type, [](void *) {});
    });
}

mb_ref arrays_zeros(mb *m, mb_shape shape, mb_dtype t) noexcept
{
    return mb_verb(m, "zeros",
                   [&] { return mx::zeros(mb_shape_to(shape), mb_dtype_to(t), m->stream); });
}

mb_ref arrays_scalar(mb *m, double value, mb_dtype t) noexcept
{
    return mb_verb(m, "scalar", [&] {
        const mx::Dtype type = mb_dtype_to(t);
        if (mx::issubdtype(type, mx::floating))
            return mx::array((float)value, type);
        if (!(std::fabs(value) < 9.0e15))
            throw std::invalid_argument("the value is no integer of 53 bits");
        return mx::array((int64_t)value, type);
    });
}

mb_ref arrays_keep(mb *m, mb_ref ref) noexcept
{
    return mb_guard(m, "keep", mb_ref{0}, [&] {
        const mx::array a = mb_array(m, ref);
        if (m->free_kept.empty()) {
            m->free_kept.reserve(m->kept.size() + 1); /* so that drop never allocates */
            m->kept.emplace_back(a);
            return MB_KEPT | (mb_ref)(m->kept.size() - 1);
        }
        const mb_ref i = m->free_kept.back();
        m->free_kept.pop_back();
        m->kept[i] = a;
        return MB_KEPT | i;
    });
}

/* Not guarded by the sticky error: what is kept is given back after a failure too. */
void arrays_drop(mb *m, mb_ref ref) noexcept
{
    const mb_ref i = ref & ~MB_KEPT;
    if (!(ref & MB_KEPT) || i >= m->kept.size() || !m->kept[i])
        return;
    m->kept[i].reset();
    m->free_kept.push_back(i);
}

void arrays_reset(mb *m) noexcept
{
    m->temps.clear();
}

int arrays_meta(mb *m, mb_ref ref, mb_shape *shape, mb_dtype *t) noexcept
{
    return mb_guard(m, "meta", -1, [&] {
        const mx::array &a = mb_array(m, ref);
        const mb_shape s = mb_shape_from(a.shape());
        *t = mb_dtype_from(a.dtype());
        *shape = s;
        return 0;
    });
}

int arrays_read(mb *m, mb_ref ref, void *out, size_t n_bytes) noexcept
{
    return mb_guard(m, "read", -1, [&] {
        mx::array a = mb_array(m, ref);
        if (a.nbytes() != n_bytes)
            throw std::invalid_argument("room for " + std::to_string(n_bytes) +
                                        " bytes, and the array has " + std::to_string(a.nbytes()));
        a.eval();
        if (!a.flags().row_contiguous) { /* known since eval only */
            a = mx::contiguous(a, false, m->stream);
            a.eval();
        }
        if (n_bytes)
            std::memcpy(out, a.data<char>(), n_bytes);
        return 0;
    });
}

int arrays_eval(mb *m, const mb_ref *refs, size_t n, bool wait) noexcept
{
    return mb_guard(m, "eval", -1, [&] {
        std::vector<mx::array> list = mb_arrays(m, refs, n, SIZE_MAX);
        if (wait)
            mx::eval(std::move(list));
        else
            mx::async_eval(std::move(list));
        return 0;
    });
}

} // namespace

void mb_table_arrays(mb_api *t)
{
    t->from_host = arrays_from_host;
    t->from_owned = arrays_from_owned;
    t->zeros = arrays_zeros;
    t->scalar = arrays_scalar;
    t->keep = arrays_keep;
    t->drop = arrays_drop;
    t->reset = arrays_reset;
    t->meta = arrays_meta;
    t->read = arrays_read;
    t->eval = arrays_eval;
}
