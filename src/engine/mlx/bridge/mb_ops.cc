/* mb_ops.cc - blocks, shapes and math: one operation of MLX a verb. */
#include "engine/mlx/bridge/mb_int.h"

namespace
{

/* Two lists of n bounds, inside the array: MLX would cut what is outside of it without a word. */
std::pair<mx::Shape, mx::Shape> bounds(const mx::array &a, const int32_t *from, const int32_t *to,
                                       size_t n)
{
    if (n != a.ndim())
        throw std::invalid_argument(std::to_string(n) + " bounds for " + std::to_string(a.ndim()) +
                                    " dimensions");
    for (size_t i = 0; i < n; i++) {
        if (from[i] < 0 || from[i] > to[i] || to[i] > a.shape((int)i))
            throw std::invalid_argument(
                "bounds " + std::to_string(from[i]) + " to " + std::to_string(to[i]) +
                " in dimension " + std::to_string(i) + " of " + std::to_string(a.shape((int)i)));
    }
    return {mx::Shape(from, from + n), mx::Shape(to, to + n)};
}

mb_ref ops_rms_norm(mb *m, mb_ref x, mb_ref w, float eps) noexcept
{
    return mb_verb(m, "rms_norm", [&] {
        return mx::fast::rms_norm(mb_array(m, x), mb_maybe(m, w), eps, m->stream);
    });
}

mb_ref ops_layer_norm(mb *m, mb_ref x, mb_ref w, mb_ref b, float eps) noexcept
{
    return mb_verb(m, "layer_norm", [&] {
        return mx::fast::layer_norm(mb_array(m, x), mb_maybe(m, w), mb_maybe(m, b), eps, m->stream);
    });
}

mb_ref ops_attention(mb *m, mb_ref q, mb_ref k, mb_ref v, float scale, mb_ref mask,
                     mb_ref sinks) noexcept
{
    return mb_verb(m, "attention", [&] {
        return mx::fast::scaled_dot_product_attention(
            mb_array(m, q), mb_array(m, k), mb_array(m, v), scale, mask ? "array" : "",
            mb_maybe(m, mask), mb_maybe(m, sinks), false, m->stream);
    });
}

mb_ref ops_reshape(mb *m, mb_ref a, mb_shape shape) noexcept
{
    return mb_verb(m, "reshape", [&] {
        const mx::array &from = mb_array(m, a);
        mb_shape known = shape;
        for (int32_t i = 0; i < known.n_dim && i < MB_MAX_DIM; i++) {
            if (known.dim[i] == -1)
                known.dim[i] = 1;
        }
        mx::Shape dims = mb_shape_to(known); /* checked; MLX works out what -1 stands for */
        for (size_t i = 0; i < dims.size(); i++)
            dims[i] = shape.dim[i];
        return mx::reshape(from, dims, m->stream);
    });
}

mb_ref ops_transpose(mb *m, mb_ref a, const int32_t *axes, size_t n) noexcept
{
    return mb_verb(m, "transpose", [&] {
        return mx::transpose(mb_array(m, a), std::vector<int>(axes, axes + n), m->stream);
    });
}

mb_ref ops_slice(mb *m, mb_ref a, const int32_t *from, const int32_t *to, size_t n) noexcept
{
    return mb_verb(m, "slice", [&] {
        const mx::array &whole = mb_array(m, a);
        const auto [lo, hi] = bounds(whole, from, to, n);
        return mx::slice(whole, lo, hi, m->stream);
    });
}

mb_ref ops_slice_update(mb *m, mb_ref a, mb_ref part, const int32_t *from, const int32_t *to,
                        size_t n) noexcept
{
    return mb_verb(m, "slice_update", [&] {
        const mx::array &whole = mb_array(m, a);
        const auto [lo, hi] = bounds(whole, from, to, n);
        return mx::slice_update(whole, mb_array(m, part), lo, hi, m->stream);
    });
}

mb_ref ops_concat(mb *m, const mb_ref *refs, size_t n, int32_t axis) noexcept
{
    return mb_verb(m, "concat", [&] {
        return mx::concatenate(mb_arrays(m, refs, n, SIZE_MAX), axis, m->stream);
    });
}

mb_ref ops_broadcast(mb *m, mb_ref a, mb_shape shape) noexcept
{
    return mb_verb(m, "broadcast",
                   [&] { return mx::broadcast_to(mb_array(m, a), mb_shape_to(shape), m->stream); });
}

mb_ref ops_contiguous(mb *m, mb_ref a) noexcept
{
    return mb_verb(m, "contiguous",
                   [&] { return mx::contiguous(mb_array(m, a), false, m->stream); });
}

mb_ref ops_cast(mb *m, mb_ref a, mb_dtype t) noexcept
{
    return mb_verb(m, "cast",
                   [&] { return mx::astype(mb_array(m, a), mb_dtype_to(t), m->stream); });
}

mb_ref ops_take(mb *m, mb_ref a, mb_ref ids, int32_t axis) noexcept
{
    return mb_verb(m, "take",
                   [&] { return mx::take(mb_array(m, a), mb_array(m, ids), axis, m->stream); });
}

mb_ref ops_take_along(mb *m, mb_ref a, mb_ref ids, int32_t axis) noexcept
{
    return mb_verb(m, "take_along", [&] {
        return mx::take_along_axis(mb_array(m, a), mb_array(m, ids), axis, m->stream);
    });
}

mb_ref ops_binary(mb *m, mb_binary op, mb_ref a, mb_ref b) noexcept
{
    return mb_verb(m, "binary", [&] {
        const mx::array &x = mb_array(m, a), &y = mb_array(m, b);
        switch (op) {
        case MB_ADD:
            return mx::add(x, y, m->stream);
        case MB_SUB:
            return mx::subtract(x, y, m->stream);
        case MB_MUL:
            return mx::multiply(x, y, m->stream);
        case MB_DIV:
            return mx::divide(x, y, m->stream);
        case MB_MAX:
            return mx::maximum(x, y, m->stream);
        case MB_MIN:
            return mx::minimum(x, y, m->stream);
        case MB_LESS:
            return mx::less(x, y, m->stream);
        case MB_GREATER_EQ:
            return mx::greater_equal(x, y, m->stream);
        case MB_EQ:
            return mx::equal(x, y, m->stream);
        case MB_AND:
            return mx::logical_and(x, y, m->stream);
        case MB_N_BINARY:
            break;
        }
        throw std::invalid_argument("operation " + std::to_string((int)op) + " is none of mb.h's");
    });
}

mb_ref ops_unary(mb *m, mb_unary op, mb_ref a) noexcept
{
    return mb_verb(m, "unary", [&] {
        const mx::array &x = mb_array(m, a);
        switch (op) {
        case MB_NEG:
            return mx::negative(x, m->stream);
        case MB_EXP:
            return mx::exp(x, m->stream);
        case MB_LOG:
            return mx::log(x, m->stream);
        case MB_LOG1P:
            return mx::log1p(x, m->stream);
        case MB_SQRT:
            return mx::sqrt(x, m->stream);
        case MB_RSQRT:
            return mx::rsqrt(x, m->stream);
        case MB_SIGMOID:
            return mx::sigmoid(x, m->stream);
        case MB_TANH:
            return mx::tanh(x, m->stream);
        case MB_ERF:
            return mx::erf(x, m->stream);
        case MB_ABS:
            return mx::abs(x, m->stream);
        case MB_SQUARE:
            return mx::square(x, m->stream);
        case MB_N_UNARY:
            break;
        }
        throw std::invalid_argument("operation " + std::to_string((int)op) + " is none of mb.h's");
    });
}

mb_ref ops_reduce(mb *m, mb_reduce op, mb_ref a, int32_t axis, bool keep_dims) noexcept
{
    return mb_verb(m, "reduce", [&] {
        const mx::array &x = mb_array(m, a);
        switch (op) {
        case MB_SUM:
            return mx::sum(x, axis, keep_dims, m->stream);
        case MB_MEAN:
            return mx::mean(x, axis, keep_dims, m->stream);
        case MB_AMAX:
            return mx::max(x, axis, keep_dims, m->stream);
        case MB_LOGSUMEXP:
            return mx::logsumexp(x, axis, keep_dims, m->stream);
        case MB_ARGMAX:
            return mx::argmax(x, axis, keep_dims, m->stream);
        case MB_N_REDUCE:
            break;
        }
        throw std::invalid_argument("operation " + std::to_string((int)op) + " is none of mb.h's");
    });
}

mb_ref ops_softmax(mb *m, mb_ref a, int32_t axis) noexcept
{
    return mb_verb(m, "softmax",
                   [&] { return mx::softmax(mb_array(m, a), axis, true, m->stream); });
}

mb_ref ops_argsort(mb *m, mb_ref a, int32_t axis) noexcept
{
    return mb_verb(m, "argsort", [&] { return mx::argsort(mb_array(m, a), axis, m->stream); });
}

mb_ref ops_where(mb *m, mb_ref cond, mb_ref a, mb_ref b) noexcept
{
    return mb_verb(m, "where", [&] {
        return mx::where(mb_array(m, cond), mb_array(m, a), mb_array(m, b), m->stream);
    });
}

} // namespace

void mb_table_ops(mb_api *t)
{
    t->rms_norm = ops_rms_norm;
    t->layer_norm = ops_layer_norm;
    t->attention = ops_attention;
    t->reshape = ops_reshape;
    t->transpose = ops_transpose;
    t->slice = ops_slice;
    t->slice_update = ops_slice_update;
    t->concat = ops_concat;
    t->broadcast = ops_broadcast;
    t->contiguous = ops_contiguous;
    t->cast = ops_cast;
    t->take = ops_take;
    t->take_along = ops_take_along;
    t->binary = ops_binary;
    t->unary = ops_unary;
    t->reduce = ops_reduce;
    t->softmax = ops_softmax;
    t->argsort = ops_argsort;
    t->where = ops_where;
}
