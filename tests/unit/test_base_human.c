/* The words and digits of Ollama's tables. */
#include "base/human.h"

#include <math.h>

#include "test.h"

static void sizes(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {
        {0, "0 B"},
        {999, "999 B"},
        {1000, "1 KB"},
        {1500, "1.5 KB"},
        {1049, "1.0 KB"},
        {9999, "10.0 KB"},
        {10999, "10 KB"},
        {98362760, "98 MB"},
        {209505483, "209 MB"},
        {615356824, "615 MB"},
        {2000000000, "2 GB"},
        {4661224676, "4.7 GB"},
        {999999999999, "999 GB"},
        {1500000000000, "1.5 TB"},
        {UINT64_MAX, "18446744 TB"},
    };
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        char out[HUMAN_BYTES];
        assert_int_equal(human_bytes(cases[i].bytes, out), strlen(cases[i].text));
        assert_string_equal(out, cases[i].text);
    }
}

static void counts(void **state)
{
    (void)state;
    static const struct {
        uint64_t n;
        const char *text;
    } cases[] = {
        {0, "0"},           {999, "999"},           {1000, "1K"},
        {1500, "2K"},       {26449, "26K"},         {1000000, "1M"},
        {1234567, "1.23M"}, {134515008, "134.52M"}, {999999999, "1000.00M"},
        {7000000000, "7B"}, {7241732096, "7.2B"},   {70553706496, "70.6B"},
    };
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        char out[HUMAN_BYTES];
        assert_int_equal(human_number(cases[i].n, out), strlen(cases[i].text));
        assert_string_equal(out, cases[i].text);
    }
}

#define S 1000ll
#define M (60 * S)
#define H (60 * M)
#define D (24 * H)

static void durations(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        const char *text;
    } cases[] = {
        {0, "Less than a second"},  {999, "Less than a second"},   {S, "1 second"},
        {1999, "1 second"},         {2 * S, "2 seconds"},          {59999, "59 seconds"},
        {M, "About a minute"},      {2 * M - 1, "About a minute"}, {2 * M, "2 minutes"},
        {60 * M - 1, "59 minutes"}, {H, "About an hour"},          {H + 29 * M, "About an hour"},
        {H + 30 * M, "2 hours"},    {47 * H, "47 hours"},          {47 * H + 30 * M, "2 days"},
        {D * 2, "2 days"},          {D * 13, "13 days"},           {D * 14, "2 weeks"},
        {D * 59, "8 weeks"},        {D * 60, "2 months"},          {D * 729, "24 months"},
        {D * 730, "2 years"},       {D * 365 * 30, "30 years"},
    };
    char out[HUMAN_BYTES];
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        assert_int_equal(human_duration(cases[i].ms, out), strlen(cases[i].text));
        assert_string_equal(out, cases[i].text);
    }
}

static void times(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        const char *text;
    } cases[] = {
        {-4 * D, "4 days ago"},
        {0, "Less than a second ago"},
        {5 * M - 1, "4 minutes from now"},
        {365 * D * 20, "20 years from now"},
        {365 * D * 21, "Forever"},
        {365 * D * 292, "Forever"},
        {-365 * D * 2000, "2000 years ago"},
        {INT64_MAX, "Forever"},
    };
    char out[HUMAN_BYTES];
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        assert_int_equal(human_time(cases[i].ms, out), strlen(cases[i].text));
        assert_string_equal(out, cases[i].text);
    }
    assert_true(human_time(INT64_MIN, out) < HUMAN_BYTES);
}

static void floats(void **state)
{
    (void)state;
    static const struct {
        double x;
        const char *text;
    } cases[] = {
        {0, "0"},
        {-0.0, "-0"},
        {1, "1"},
        {8192, "8192"},
        {100000, "100000"},
        {999999, "999999"},
        {1000000, "1e+06"},
        {134515008, "1.34515008e+08"},
        {8e9, "8e+09"},
        {1e-05, "1e-05"},
        {0.0001, "0.0001"},
        {0.00012345, "0.00012345"},
        {0.5, "0.5"},
        {-2.25, "-2.25"},
        {0.1, "0.1"},
        {9.999999747378752e-06, "9.999999747378752e-06"},
        {123456.789, "123456.789"},
        {1e100, "1e+100"},
        {5e-324, "5e-324"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
        {INFINITY, "+Inf"},
        {-INFINITY, "-Inf"},
        {NAN, "NaN"},
    };
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        char out[HUMAN_BYTES];
        assert_int_equal(human_float(cases[i].x, out), strlen(cases[i].text));
        assert_string_equal(out, cases[i].text);
    }
}

static void reading_times(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } cases[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"1970-01-01T00:00:00.5Z", 500},
        {"2026-11-24T02:16:10.434654777Z", 1795486570434},
        {"2026-11-24T11:16:10.434654777+09:00", 1795486570434},
        {"2026-11-23T22:46:10-03:30", 1795486570000},
        {"2000-02-29T23:59:59Z", 951868799000},
        {"0001-01-01T00:00:00Z", -62135596800000},
        {"2318-09-06T00:00:00Z", 11003212800000},
    };
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        int64_t ms;
        assert_true(human_parse_time(cases[i].text, &ms));
        assert_int_equal(ms, cases[i].ms);
    }
    static const char *const bad[] = {
        "",
        "2026",
        "2026-11-24",
        "2026-11-24T02:16:10",
        "2026-13-24T02:16:10Z",
        "2026-11-24T24:16:10Z",
        "2026-11-24T02:16:10.Z",
        "2026-11-24T02:16:10+9:00",
        "2026-11-24T02:16:10Zx",
        "2026-11-24T02:16:10+09:0",
    };
    for (size_t i = 0; i < TEST_COUNT(bad); i++) {
        int64_t ms = 7;
        assert_false(human_parse_time(bad[i], &ms));
        assert_int_equal(ms, 7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes), cmocka_unit_test(counts), cmocka_unit_test(durations),
        cmocka_unit_test(times), cmocka_unit_test(floats), cmocka_unit_test(reading_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
