#include "kern/kern.h"

#include <assert.h>

#include "base/plat.h"
#include "kern/ref/ref.h"
#include "kern/tiers.h"
#include "kern/unpack.h"

#if defined(__x86_64__)
uint32_t kern_cpu_detect(void)
{
    uint32_t cpu = 0;
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("f16c"))
        cpu |= KERN_CPU_AVX2;
    if (cpu && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512vnni"))
        cpu |= KERN_CPU_AVX512;
    return cpu;
}

static void init_tiers(kern_table *k)
{
    if (k->cpu & KERN_CPU_AVX2)
        kern_init_avx2(k);
    if (k->cpu & KERN_CPU_AVX512)
        kern_init_avx512(k);
}
#elif defined(__aarch64__)
uint32_t kern_cpu_detect(void)
{
    return plat_has_dotprod() ? KERN_CPU_DOTPROD : 0;
}

static void init_tiers(kern_table *k)
{
    if (k->cpu & KERN_CPU_DOTPROD)
        kern_init_dotprod(k);
}
#else
uint32_t kern_cpu_detect(void)
{
    return 0;
}

static void init_tiers(kern_table *k)
{
    (void)k;
}
#endif

void kern_init(kern_table *k, uint32_t cpu)
{
    k->cpu = cpu & KERN_CPU_AVX512 ? cpu | KERN_CPU_AVX2 : cpu;
    kern_init_ref(k);
    init_tiers(k);
}

size_t kern_tiers(uint32_t out[8])
{
    static const uint32_t order[] = {KERN_CPU_AVX2, KERN_CPU_AVX512, KERN_CPU_DOTPROD};
    const uint32_t have = kern_cpu_detect();
    size_t n = 0;
    out[n++] = 0;
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        if (have & order[i])
            out[n++] = order[i];
    return n;
}

kern_form kern_form_for(quant_type t, size_t n_col, kern_form wanted)
{
    return kern_unpack_table[t].unpack && n_col % KERN_BLOCK == 0 ? wanted : KERN_F32;
}

bool kern_takes(quant_type t)
{
    return quant_table[t].is_weight && (quant_table[t].is_float || kern_unpack_table[t].unpack);
}

void kern_matmul(const kern_table *k, const kern_weight *w, const kern_acts *a, size_t row0,
                 size_t row1, const kern_out *out, void *scratch)
{
    const bool few = a->n_row <= KERN_GEMV_MAX;
    kern_matmul_fn *const *slots =
        a->form == KERN_I8 ? (few ? k->gemv : k->gemm) : (few ? k->gemv_f32 : k->gemm_f32);
    if (row0 < row1 && a->n_row)
        slots[w->type](w, a, row0, row1, out, scratch);
}

size_t kern_page_bytes(quant_type t, size_t dim)
{
    return KERN_PAGE * quant_row_bytes(t, dim);
}
