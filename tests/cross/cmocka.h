/* cmocka.h - the part of cmocka that our tests use, for cross builds on machines where cmocka is
 * not installed for the other architecture. Same names, same closing lines, one header. */
#ifndef CROSS_CMOCKA_H
#define CROSS_CMOCKA_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef void (*CMUnitTestFunction)(void **state);
typedef int (*CMFixtureFunction)(void **state);

struct CMUnitTest {
    const char *name;
    CMUnitTestFunction test_func;
    CMFixtureFunction setup_func;
    CMFixtureFunction teardown_func;
    void *initial_state;
};

#define cmocka_unit_test(f) {#f, f, NULL, NULL, NULL}
#define cmocka_unit_test_setup(f, setup) {#f, f, setup, NULL, NULL}
#define cmocka_unit_test_teardown(f, teardown) {#f, f, NULL, teardown, NULL}
#define cmocka_unit_test_setup_teardown(f, setup, teardown) {#f, f, setup, teardown, NULL}
#define cmocka_unit_test_prestate(f, state) {#f, f, NULL, NULL, state}

static jmp_buf cross_jump; /* a test program is one file: one copy of each of these */
static int cross_why;      /* 1 failed, 2 skipped */

static inline void print_message(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vprintf(fmt, args);
    va_end(args);
}

static inline void print_error(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vfprintf(stderr, fmt, args);
    va_end(args);
}

static inline void cross_leave(int why, const char *text, const char *file, int line)
{
    if (why == 1)
        (void)fprintf(stderr, "%s:%d: %s\n", file, line, text);
    cross_why = why;
    longjmp(cross_jump, 1);
}

static inline void cross_check(int ok, const char *text, const char *file, int line)
{
    if (!ok)
        cross_leave(1, text, file, line);
}

static inline void cross_same_int(uint64_t a, uint64_t b, int want_same, const char *text,
                                  const char *file, int line)
{
    if ((a == b) == want_same)
        return;
    print_error("%lld (%#llx) and %lld (%#llx)\n", (long long)a, (unsigned long long)a,
                (long long)b, (unsigned long long)b);
    cross_leave(1, text, file, line);
}

#define CROSS_CHECK(ok, text) cross_check((ok) ? 1 : 0, text, __FILE__, __LINE__)
#define fail() cross_leave(1, "failed", __FILE__, __LINE__)
#define fail_msg(...) (print_error(__VA_ARGS__), print_error("\n"), fail())
#define skip() cross_leave(2, "skipped", __FILE__, __LINE__)
#define assert_true(c) CROSS_CHECK(c, #c)
#define assert_false(c) CROSS_CHECK(!(c), "not " #c)
#define assert_null(p) CROSS_CHECK((p) == NULL, #p " == NULL")
#define assert_non_null(p) CROSS_CHECK((p) != NULL, #p " != NULL")
#define assert_int_equal(a, b)                                                                     \
    cross_same_int((uint64_t)(a), (uint64_t)(b), 1, #a " == " #b, __FILE__, __LINE__)
#define assert_int_not_equal(a, b)                                                                 \
    cross_same_int((uint64_t)(a), (uint64_t)(b), 0, #a " != " #b, __FILE__, __LINE__)
#define assert_ptr_equal(a, b) CROSS_CHECK((const void *)(a) == (const void *)(b), #a " == " #b)
#define assert_ptr_not_equal(a, b) CROSS_CHECK((const void *)(a) != (const void *)(b), #a " != " #b)
#define assert_string_equal(a, b) CROSS_CHECK(strcmp(a, b) == 0, #a " == " #b)
#define assert_string_not_equal(a, b) CROSS_CHECK(strcmp(a, b) != 0, #a " != " #b)
#define assert_memory_equal(a, b, n) CROSS_CHECK(memcmp(a, b, n) == 0, #a " == " #b)
#define assert_memory_not_equal(a, b, n) CROSS_CHECK(memcmp(a, b, n) != 0, #a " != " #b)
#define assert_in_range(v, lo, hi)                                                                 \
    CROSS_CHECK((uint64_t)(v) >= (uint64_t)(lo) && (uint64_t)(v) <= (uint64_t)(hi), #v " in "      \
                                                                                       "range")
#define assert_float_equal(a, b, tol)                                                              \
    CROSS_CHECK((a) - (b) <= (tol) && (b) - (a) <= (tol), #a " == " #b)

/* 0 passed, 1 failed, 2 skipped. */
static inline int cross_run_test(const struct CMUnitTest *t, void *group_state)
{
    void *state = t->initial_state ? t->initial_state : group_state;
    (void)printf("[ RUN      ] %s\n", t->name);
    cross_why = 0;
    if (t->setup_func && t->setup_func(&state) != 0)
        cross_why = 1;
    else if (setjmp(cross_jump) == 0)
        t->test_func(&state);
    if (t->teardown_func && t->teardown_func(&state) != 0)
        cross_why = 1;
    static const char *const word[] = {"      OK", " FAILED ", " SKIPPED"};
    (void)printf("[ %s ] %s\n", word[cross_why], t->name);
    return cross_why;
}

static inline int cross_run_group(const struct CMUnitTest *tests, size_t n, CMFixtureFunction setup,
                                  CMFixtureFunction teardown)
{
    void *state = NULL;
    int count[3] = {0};
    (void)printf("[==========] Running %zu test(s).\n", n);
    if (setup && setup(&state) != 0) {
        (void)printf("[  FAILED  ] GROUP SETUP\n");
        return 1;
    }
    for (size_t i = 0; i < n; i++)
        count[cross_run_test(&tests[i], state)]++;
    if (teardown && teardown(&state) != 0)
        count[1]++;
    (void)printf("[  PASSED  ] %d test(s).\n", count[0]);
    if (count[2])
        (void)printf("[  SKIPPED ] %d test(s)\n", count[2]);
    if (count[1])
        (void)printf("[  FAILED  ] %d test(s)\n", count[1]);
    return count[1];
}

#define cmocka_run_group_tests(tests, setup, teardown)                                             \
    cross_run_group(tests, sizeof(tests) / sizeof(tests)[0], setup, teardown)
#define cmocka_run_group_tests_name(name, tests, setup, teardown)                                  \
    cmocka_run_group_tests(tests, setup, teardown)

#endif
