/* ckd.h - checked arithmetic for untrusted sums and products (C23's names, for C17).
 * Each gives true on overflow; *out then holds the wrapped value and must not be used. */
#ifndef BASE_CKD_H
#define BASE_CKD_H

#define ckd_add(out, a, b) __builtin_add_overflow((a), (b), (out))
#define ckd_sub(out, a, b) __builtin_sub_overflow((a), (b), (out))
#define ckd_mul(out, a, b) __builtin_mul_overflow((a), (b), (out))

#endif
