/* mb_nodes.cc - nodes of ours in MLX's graph: C functions on a CPU, kernel text on a GPU. */
#include "engine/mlx/bridge/mb_int.h"

#include <cstring>
#include <memory>

#include <mlx/backend/cpu/encoder.h>
#include <mlx/primitives.h>

namespace
{

/* An input whose elements do not lie in a row: where they lie. */
struct strided {
    size_t input;
    const char *from;
    mx::Strides strides; /* in elements */
};

/* All that one run of a node needs on MLX's thread. The memory of the inputs is held by MLX until
 * the run is over, that of the outputs here: nobody else may want them. */
struct host_call {
    mb_host_fn *fn;
    void *user;
    size_t n_in, n_out;
    mb_view in[MB_MAX_IN], out[MB_MAX_OUT];
    std::vector<strided> gathered;
    std::vector<std::shared_ptr<mx::array::Data>> held;
};

size_t view_count(const mb_view &v)
{
    size_t n = 1;
    for (int32_t i = 0; i < v.shape.n_dim; i++)
        n *= (size_t)v.shape.dim[i];
    return n;
}

/* The elements of `s` in a row: counts through all indices, the last fastest. */
std::unique_ptr<char[]> gather(const strided &s, const mb_view &v)
{
    const size_t n = view_count(v), size = mx::size_of(mb_dtype_to(v.dtype));
    std::unique_ptr<char[]> out(new char[n * size]);
    int32_t index[MB_MAX_DIM] = {0};
    int64_t at = 0;
    for (size_t i = 0; i < n; i++) {
        std::memcpy(out.get() + i * size, s.from + at * (int64_t)size, size);
        for (int32_t d = v.shape.n_dim - 1; d >= 0; d--) {
            at += s.strides[(size_t)d];
            if (++index[d] < v.shape.dim[d])
                break;
            at -= s.strides[(size_t)d] * v.shape.dim[d];
            index[d] = 0;
        }
    }
    return out;
}

void run_call(host_call &call)
{
    std::vector<std::unique_ptr<char[]>> rows;
    for (const strided &s : call.gathered) {
        rows.push_back(gather(s, call.in[s.input]));
        call.in[s.input].data = rows.back().get();
    }
    call.fn(call.user, call.in, call.n_in, call.out, call.n_out);
}

mb_view view_of(const mx::array &a)
{
    return {const_cast<char *>(a.data<char>()), mb_dtype_from(a.dtype()), mb_shape_from(a.shape())};
}

/* Two of them are never the same node, whatever their arguments: is_equivalent stays false. */
class host_node : public mx::Primitive
{
  public:
    host_node(mx::Stream stream, mb_host_fn *fn, void *user)
        : mx::Primitive(stream), fn_(fn), user_(user)
    {
    }

    void eval_cpu(const std::vector<mx::array> &inputs, std::vector<mx::array> &outputs) override
    {
        auto call = std::make_shared<host_call>();
        call->fn = fn_;
        call->user = user_;
        call->n_in = inputs.size();
        call->n_out = outputs.size();
        for (size_t i = 0; i < inputs.size(); i++) {
            call->in[i] = view_of(inputs[i]);
            if (!inputs[i].flags().row_contiguous)
                call->gathered.push_back(
                    {i, static_cast<const char *>(call->in[i].data), inputs[i].strides()});
        }
        for (size_t i = 0; i < outputs.size(); i++) {
            outputs[i].set_data(mb_alloc(outputs[i].nbytes()));
            call->out[i] = view_of(outputs[i]);
            call->held.push_back(outputs[i].data_shared_ptr());
        }
        mx::cpu::get_command_encoder(stream()).dispatch([call] { run_call(*call); });
    }

    void eval_gpu(const std::vector<mx::array> &, std::vector<mx::array> &) override
    {
        throw std::runtime_error("a host kernel runs on a CPU only");
    }

    const char *name() const override
    {
        return "cama_host";
    }

  private:
    mb_host_fn *fn_;
    void *user_;
};

struct out_specs {
    std::vector<mx::Shape> shapes;
    std::vector<mx::Dtype> types;
};

out_specs specs_of(const mb_shape *shapes, const mb_dtype *types, size_t n)
{
    if (n == 0 || n > MB_MAX_OUT)
        throw std::invalid_argument(std::to_string(n) + " outputs, 1 to " +
                                    std::to_string(MB_MAX_OUT));
    out_specs s;
    for (size_t i = 0; i < n; i++) {
        s.shapes.push_back(mb_shape_to(shapes[i]));
        s.types.push_back(mb_dtype_to(types[i]));
    }
    return s;
}

void put_all(mb *m, const std::vector<mx::array> &arrays, mb_ref *outs)
{
    for (size_t i = 0; i < arrays.size(); i++)
        outs[i] = mb_put(m, arrays[i]);
}

/* Only now: the outputs may lie where the inputs were read from. */
int put_none(int status, mb_ref *outs, size_t n_out)
{
    for (size_t i = 0; status && i < n_out && i < MB_MAX_OUT; i++)
        outs[i] = 0;
    return status;
}

int nodes_host_kernel(mb *m, mb_host_fn *fn, void *user, const mb_ref *in, size_t n_in,
                      const mb_shape *out_shapes, const mb_dtype *out_types, size_t n_out,
                      mb_ref *outs) noexcept
{
    const int status = mb_guard(m, "host_kernel", -1, [&] {
        if (m->is_gpu)
            throw std::invalid_argument("the device is a GPU");
        const std::vector<mx::array> inputs = mb_arrays(m, in, n_in, MB_MAX_IN);
        for (const mx::array &a : inputs) { /* here, not later on MLX's thread */
            (void)mb_shape_from(a.shape());
            (void)mb_dtype_from(a.dtype());
        }
        const out_specs s = specs_of(out_shapes, out_types, n_out);
        put_all(m,
                mx::array::make_arrays(s.shapes, s.types,
                                       std::make_shared<host_node>(m->stream, fn, user), inputs),
                outs);
        return 0;
    });
    return put_none(status, outs, n_out);
}

std::vector<std::string> names_of(const char *const *names, size_t n, size_t n_max)
{
    if (n > n_max)
        throw std::invalid_argument(std::to_string(n) + " names, at most " + std::to_string(n_max));
    return std::vector<std::string>(names, names + n);
}

const mx::fast::CustomKernelFunction &kernel_of(mb *m, const mb_gpu_kernel &k)
{
    const auto it = m->kernels.find(k.name);
    if (it != m->kernels.end())
        return it->second;
    const auto ins = names_of(k.in_names, k.n_in, MB_MAX_IN);
    const auto outs = names_of(k.out_names, k.n_out, MB_MAX_OUT);
    const char *header = k.header ? k.header : "";
    return m->kernels
        .emplace(k.name, m->is_metal ? mx::fast::metal_kernel(k.name, ins, outs, k.source, header)
                                     : mx::fast::cuda_kernel(k.name, ins, outs, k.source, header))
        .first->second;
}

int nodes_gpu_kernel(mb *m, const mb_gpu_kernel *k, const mb_ref *in, const mb_shape *out_shapes,
                     const mb_dtype *out_types, mb_ref *outs) noexcept
{
    const int status = mb_guard(m, "gpu_kernel", -1, [&] {
        if (!m->is_gpu)
            throw std::invalid_argument("the device is no GPU");
        const out_specs s = specs_of(out_shapes, out_types, k->n_out);
        const auto &call = kernel_of(m, *k);
        put_all(m,
                call(mb_arrays(m, in, k->n_in, MB_MAX_IN), s.shapes, s.types,
                     {k->grid[0], k->grid[1], k->grid[2]}, {k->group[0], k->group[1], k->group[2]},
                     {}, std::nullopt, false, m->stream),
                outs);
        return 0;
    });
    return put_none(status, outs, k->n_out);
}

} // namespace

void mb_table_nodes(mb_api *t)
{
    t->host_kernel = nodes_host_kernel;
    t->gpu_kernel = nodes_gpu_kernel;
}
