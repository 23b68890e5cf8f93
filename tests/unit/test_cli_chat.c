/* The conversation: what is left out when it is too long. */
#include "test.h"

#include "cli/cli_int.h"

static void fill(cli_chat *c)
{
    cli_chat_init(c);
    assert_int_equal(cli_chat_add(c, "system", "S", NULL), CAMA_OK);
    assert_int_equal(cli_chat_add(c, "user", "a\"1", NULL), CAMA_OK);
    assert_int_equal(cli_chat_add(c, "assistant", "A1", NULL), CAMA_OK);
    assert_int_equal(cli_chat_add(c, "system", "T", NULL), CAMA_OK);
    assert_int_equal(cli_chat_add(c, "user", "a2", NULL), CAMA_OK);
    assert_int_equal(cli_chat_add(c, "assistant", "A2", NULL), CAMA_OK);
    assert_int_equal(cli_chat_add(c, "user", "a3", NULL), CAMA_OK);
}

#define MESSAGE(role, text) "{\"role\":\"" role "\",\"content\":\"" text "\"}"

static void test_whole_turns_are_left_out_and_system_messages_stay(void **state)
{
    (void)state;
    cli_chat c;
    size_t n;
    fill(&c);
    assert_int_equal(c.n_turn, 3);
    assert_string_equal(
        cli_chat_messages(&c, 0, &n),
        "[" MESSAGE("system", "S") "," MESSAGE("user", "a\\\"1") "," MESSAGE(
            "assistant",
            "A1") "," MESSAGE("system",
                              "T") "," MESSAGE("user",
                                               "a2") "," MESSAGE("assistant",
                                                                 "A2") "," MESSAGE("user",
                                                                                   "a3") "]");
    assert_int_equal(n, 0);
    assert_string_equal(
        cli_chat_messages(&c, 2, &n),
        "[" MESSAGE("system", "S") "," MESSAGE("system", "T") "," MESSAGE("user", "a3") "]");
    assert_int_equal(n, 4);
    assert_true(strlen(cli_chat_messages(&c, 0, &n)) > 100); /* nothing was forgotten */
    cli_chat_done(&c);
}

static void test_cut_takes_back_what_was_added(void **state)
{
    (void)state;
    cli_chat c;
    size_t n;
    fill(&c);
    cli_chat_cut(&c, 2);
    assert_int_equal(c.n_message, 2);
    assert_int_equal(c.n_turn, 1);
    assert_int_equal(cli_chat_add(&c, "assistant", "B", NULL), CAMA_OK);
    assert_string_equal(
        cli_chat_messages(&c, 0, &n),
        "[" MESSAGE("system", "S") "," MESSAGE("user", "a\\\"1") "," MESSAGE("assistant", "B") "]");
    cli_chat_cut(&c, 0);
    assert_string_equal(cli_chat_messages(&c, 0, &n), "[]");
    cli_chat_done(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_turns_are_left_out_and_system_messages_stay),
        cmocka_unit_test(test_cut_takes_back_what_was_added),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
