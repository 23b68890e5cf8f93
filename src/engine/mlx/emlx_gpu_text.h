/* emlx_gpu_text.h - the kernel text of gpu/ as strings; the build makes them
 * (cmake/gpu_text.cmake).
 *
 * A kernel is put together of four: a prelude (pre_), what formats share and a format (fmt_), an
 * operation (op_), and the few lines of the kernel itself (body_).
 */
#ifndef ENGINE_MLX_EMLX_GPU_TEXT_H
#define ENGINE_MLX_EMLX_GPU_TEXT_H

extern const char emlx_gpu_pre_metal[], emlx_gpu_pre_cuda[];
extern const char emlx_gpu_fmt_common[], emlx_gpu_fmt_q4_k[], emlx_gpu_fmt_q6_k[];
extern const char emlx_gpu_op_gemv[], emlx_gpu_op_rows[];
extern const char emlx_gpu_body_gemv[], emlx_gpu_body_rows[];

#endif
