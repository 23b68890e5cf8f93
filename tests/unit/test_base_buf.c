#include "test.h"

#include "base/buf.h"

static void appends_add_up(void **state)
{
    (void)state;
    buf b;
    buf_init(&b, 1000000);
    assert_null(b.data);
    assert_int_equal(buf_puts(&b, "one"), CAMA_OK);
    assert_int_equal(buf_putc(&b, ','), CAMA_OK);
    assert_int_equal(buf_append(&b, "\0x", 2), CAMA_OK);
    assert_int_equal(buf_append(&b, NULL, 0), CAMA_OK);
    assert_int_equal(buf_printf(&b, "%d-%s", 12, "z"), CAMA_OK);
    assert_int_equal(b.n, 10);
    assert_memory_equal(b.data, "one,\0x12-z", 11); /* with the NUL */
    buf_drop_front(&b, 4);
    assert_memory_equal(b.data, "\0x12-z", 7);
    buf_clear(&b);
    assert_int_equal(b.n, 0);
    assert_string_equal(b.data, "");
    for (int i = 0; i < 10000; i++)
        assert_int_equal(buf_printf(&b, "%05d", i), CAMA_OK);
    assert_int_equal(b.n, 50000);
    assert_memory_equal(b.data + 5 * 9876, "09876", 5);
    assert_int_equal(buf_error(&b, "digits", NULL), CAMA_OK);
    buf_done(&b);
    buf_done(&b);
}

static void the_limit_is_exact_and_sticky(void **state)
{
    (void)state;
    buf b;
    err_info err;
    buf_init(&b, 5);
    assert_int_equal(buf_puts(&b, "12345"), CAMA_OK);
    assert_int_equal(buf_puts(&b, ""), CAMA_OK);
    assert_int_equal(buf_putc(&b, '6'), CAMA_ERR_LIMIT);
    assert_string_equal(b.data, "12345");
    buf_drop_front(&b, 3);
    assert_int_equal(buf_putc(&b, '6'), CAMA_ERR_LIMIT); /* sticky: a hole in the text is worse */
    assert_int_equal(buf_error(&b, "the answer", &err), CAMA_ERR_LIMIT);
    assert_string_equal(err.text, "the answer: longer than its limit of 5 bytes");
    buf_clear(&b);
    assert_int_equal(buf_printf(&b, "%s", "123456"), CAMA_ERR_LIMIT);
    buf_clear(&b);
    assert_int_equal(buf_printf(&b, "%s", "abcde"), CAMA_OK);
    assert_string_equal(b.data, "abcde");
    buf_done(&b);
}

static void a_limit_of_zero_and_of_all(void **state)
{
    (void)state;
    buf b;
    buf_init(&b, 0);
    assert_int_equal(buf_puts(&b, ""), CAMA_OK);
    assert_int_equal(buf_putc(&b, 'x'), CAMA_ERR_LIMIT);
    buf_done(&b);
    buf_init(&b, SIZE_MAX);
    assert_int_equal(buf_putc(&b, 'x'), CAMA_OK);
    assert_null(
        buf_reserve(&b, SIZE_MAX - 1)); /* one more with the NUL: no wrap to a small block */
    assert_int_equal(b.n, 1);
    buf_done(&b);
}

static void reserve_gives_room(void **state)
{
    (void)state;
    buf b;
    buf_init(&b, 1000);
    char *p = buf_reserve(&b, 100);
    memset(p, 'a', 100);
    b.n += 100;
    p = buf_reserve(&b, 500);
    memset(p, 'b', 500);
    b.n += 500;
    assert_int_equal(b.data[99], 'a');
    assert_int_equal(b.data[100], 'b');
    assert_null(buf_reserve(&b, 401));
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_add_up),
        cmocka_unit_test(the_limit_is_exact_and_sticky),
        cmocka_unit_test(a_limit_of_zero_and_of_all),
        cmocka_unit_test(reserve_gives_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
