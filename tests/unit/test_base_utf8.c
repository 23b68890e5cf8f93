#include "test.h"

#include "base/utf8.h"

#include <string.h>

static void valid_text(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool want;
    } cases[] = {
        {"", true},
        {"plain ASCII, long enough", true},
        {"h\xC3\xA9", true},
        {"\xE4\xB8\xAD\xF0\x9F\x98\x80", true},
        {"\xC0\x80", false},
        {"\xED\xA0\x80", false},
        {"\xF4\x90\x80\x80", false},
        {"\xE4\xB8", false},
        {"\x80", false},
        {"\xFF", false},
    };
    for (size_t i = 0; i < TEST_COUNT(cases); i++)
        assert_int_equal(utf8_valid(cases[i].text, strlen(cases[i].text)), cases[i].want);
}

static void every_code_point_round_trips(void **state)
{
    (void)state;
    for (uint32_t cp = 0; cp <= 0x10FFFF; cp++) {
        char bytes[4];
        uint32_t back;
        const size_t n = utf8_encode(cp, bytes);
        assert_int_equal(utf8_decode(bytes, n, &back), n);
        const bool surrogate = cp >= 0xD800 && cp <= 0xDFFF;
        assert_int_equal(back, surrogate ? UTF8_REPLACEMENT : cp);
        assert_true(utf8_valid(bytes, n));
        for (size_t cut = 1; cut < n; cut++) {
            assert_int_equal(utf8_whole(bytes, cut), 0);
            assert_int_equal(utf8_decode(bytes, cut, &back), cut);
        }
        assert_int_equal(utf8_whole(bytes, n), n);
    }
}

static void invalid_bytes_are_whole(void **state)
{
    (void)state;
    assert_int_equal(utf8_whole("ab\xFF", 3), 3);
    assert_int_equal(utf8_whole("a\xE4\xB8", 3), 1);
    assert_int_equal(utf8_whole("\xED\xA0", 2), 2); /* a surrogate: no byte can complete it */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_text),
        cmocka_unit_test(every_code_point_round_trips),
        cmocka_unit_test(invalid_bytes_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
