/* test.h - cmocka, and the few checks that every test shares. */
#ifndef TEST_H
#define TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEST_COUNT(a) (sizeof(a) / sizeof(a)[0])

/* |got - want| <= tol, else fails with a printf-style name. NaN never passes. */
#define TEST_NEAR(got, want, tol, ...)                                                             \
    do {                                                                                           \
        const double got_ = (double)(got);                                                         \
        const double want_ = (double)(want);                                                       \
        if (!(fabs(got_ - want_) <= (double)(tol))) {                                              \
            print_error(__VA_ARGS__);                                                              \
            print_error(": got %.9g, want %.9g, tolerance %.3g\n", got_, want_, (double)(tol));    \
            fail();                                                                                \
        }                                                                                          \
    } while (0)

/* n elements of two arrays of one type, bit for bit. */
#define TEST_SAME_BITS(a, b, n) assert_memory_equal((a), (b), (n) * sizeof *(a))

/* A path below tests/data. */
#define TEST_DATA(name) TEST_DATA_DIR "/" name

#endif
