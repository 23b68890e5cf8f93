/* inline.h - how the small functions of the vector tiers are declared.
 *
 * They must be inlined, whatever the compiler thinks of their size: their arguments are the
 * registers. UBSan is kept out of them: with a check at each step of the unrolled loops clang needs
 * many minutes for a file. AddressSanitizer and the tests' guard pages still watch what they touch,
 * and what computes sizes and addresses of slices is ordinary code.
 */
#ifndef KERN_LANES_INLINE_H
#define KERN_LANES_INLINE_H

#if defined(__clang__)
#define V_INLINE static inline __attribute__((always_inline, no_sanitize("undefined")))
#else
#define V_INLINE static inline __attribute__((always_inline))
#endif
#define V_UNROLL _Pragma("GCC unroll 16")

#endif
