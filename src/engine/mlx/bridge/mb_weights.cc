/* mb_weights.cc - weights in MLX's forms: products with them, rows of them, all of them. */
#include "engine/mlx/bridge/mb_int.h"

namespace
{

/* What MLX calls a form, and the sizes that belong to it. */
struct form {
    const char *mode;
    int bits, group;
};

form form_of(const mb_weight &w)
{
    switch (w.form) {
    case MB_AFFINE:
        return {"affine", w.bits, w.group};
    case MB_MXFP4:
        return {"mxfp4", 4, 32};
    case MB_MXFP8:
        return {"mxfp8", 8, 32};
    case MB_NVFP4:
        return {"nvfp4", 4, 16};
    case MB_DENSE:
        break;
    }
    throw std::invalid_argument("form " + std::to_string((int)w.form) + " is none of mb.h's");
}

std::optional<mx::array> biases_of(mb *m, const mb_weight &w)
{
    return w.form == MB_AFFINE ? std::optional<mx::array>(mb_array(m, w.biases)) : std::nullopt;
}

/* Values as `t`, computed in f32 where either the scales or t are f32: MLX computes in the type of
 * the scales, and a product of f16 scales in f16 would be rounded. */
mx::array dequantize_parts(mb *m, const mb_weight &w, const mx::array &codes,
                           const mx::array &scales, const std::optional<mx::array> &biases,
                           mx::Dtype t)
{
    const form f = form_of(w);
    if (w.form != MB_AFFINE)
        return mx::dequantize(codes, scales, std::nullopt, f.group, f.bits, f.mode, std::nullopt, t,
                              m->stream);
    const mx::Dtype inner = mx::promote_types(scales.dtype(), t);
    const mx::array values = mx::dequantize(codes, mx::astype(scales, inner, m->stream),
                                            mx::astype(*biases, inner, m->stream), f.group, f.bits,
                                            f.mode, std::nullopt, inner, m->stream);
    return mx::astype(values, t, m->stream);
}

mb_ref weights_linear(mb *m, mb_ref x, const mb_weight *w) noexcept
{
    return mb_verb(m, "linear", [&] {
        const mx::array &a = mb_array(m, x);
        const mx::array &codes = mb_array(m, w->w);
        if (w->form == MB_DENSE)
            return mx::matmul(a, mx::swapaxes(codes, -1, -2, m->stream), m->stream);
        const form f = form_of(*w);
        return mx::quantized_matmul(a, codes, mb_array(m, w->scales), biases_of(m, *w), true,
                                    f.group, f.bits, f.mode, m->stream);
    });
}

mb_ref weights_linear_experts(mb *m, mb_ref x, const mb_weight *w, mb_ref ids) noexcept
{
    return mb_verb(m, "linear_experts", [&] {
        const mx::array &a = mb_array(m, x);
        const mx::array &codes = mb_array(m, w->w);
        const mx::array chosen = mx::astype(mb_array(m, ids), mx::uint32, m->stream);
        if (w->form == MB_DENSE)
            return mx::gather_mm(a, mx::swapaxes(codes, -1, -2, m->stream), std::nullopt, chosen,
                                 false, m->stream);
        const form f = form_of(*w);
        return mx::gather_qmm(a, codes, mb_array(m, w->scales), biases_of(m, *w), std::nullopt,
                              chosen, true, f.group, f.bits, f.mode, std::nullopt, false,
                              m->stream);
    });
}

mb_ref weights_rows(mb *m, const mb_weight *w, mb_ref ids, mb_dtype t) noexcept
{
    return mb_verb(m, "rows", [&] {
        const mx::array &which = mb_array(m, ids);
        const auto pick = [&](const mx::array &a) { return mx::take(a, which, 0, m->stream); };
        const mx::array codes = pick(mb_array(m, w->w));
        if (w->form == MB_DENSE)
            return mx::astype(codes, mb_dtype_to(t), m->stream);
        std::optional<mx::array> biases = biases_of(m, *w);
        if (biases)
            biases = pick(*biases);
        return dequantize_parts(m, *w, codes, pick(mb_array(m, w->scales)), biases, mb_dtype_to(t));
    });
}

mb_ref weights_dequantize(mb *m, const mb_weight *w, mb_dtype t) noexcept
{
    return mb_verb(m, "dequantize", [&] {
        const mx::array &codes = mb_array(m, w->w);
        if (w->form == MB_DENSE)
            return mx::astype(codes, mb_dtype_to(t), m->stream);
        return dequantize_parts(m, *w, codes, mb_array(m, w->scales), biases_of(m, *w),
                                mb_dtype_to(t));
    });
}

mb_ref weights_matmul(mb *m, mb_ref a, mb_ref b) noexcept
{
    return mb_verb(m, "matmul",
                   [&] { return mx::matmul(mb_array(m, a), mb_array(m, b), m->stream); });
}

} // namespace

void mb_table_weights(mb_api *t)
{
    t->linear = weights_linear;
    t->linear_experts = weights_linear_experts;
    t->rows = weights_rows;
    t->dequantize = weights_dequantize;
    t->matmul = weights_matmul;
}
