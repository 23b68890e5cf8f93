/* Every allocation of ours in the JSON reader and writer fails once (json-c's own do not: they are
 * a shared library's). */
#include "json/json.h"
#include "fault.h"
#include "test.h"

static cama_err round_trip(void *arg, err_info *err)
{
    const char *text = arg;
    arena a;
    arena_init(&a, 1 << 20);
    buf out;
    buf_init(&out, 1 << 16);
    json_value *v = NULL;
    cama_err e = json_parse(text, strlen(text), &a, &v, err);
    if (!e)
        e = json_write(v, &out);
    buf_done(&out);
    arena_done(&a);
    return e;
}

static void test_round_trip(void **state)
{
    (void)state;
    static char plain[] = "{\"a\":[1,2.5,null,true,\"x\"],\"b\":{\"c\":\"\\u00e9\"}}";
    static char marked[] = "[123456789012345678901234567890,-0,\"\xFF\"]";
    assert_true(fault_sweep(FAULT_HEAP, round_trip, plain) >= 2);
    assert_true(fault_sweep(FAULT_HEAP, round_trip, marked) >= 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
