/* Every allocation fails once under what the commands build of replies and Modelfiles. */
#include "test.h"

#include "cli/cli_card.h"
#include "cli/cli_create.h"
#include "cli/cli_grid.h"
#include "cli/cli_param.h"
#include "fault.h"

static const char reply[] =
    "{\"license\":\"MIT\\na\\nb\",\"parameters\":\"stop    \\\"a\\\"\\ntop_k   1\",\"details\":{"
    "\"parameter_size\":\"1M\"},\"model_info\":{\"general.architecture\":\"llama\",\"x\":[1,2,3,4,"
    "5,"
    "6,7,8],\"y\":\"text\"},\"tensors\":[{\"name\":\"a\",\"type\":\"F32\",\"shape\":[1,2]}],"
    "\"capabilities\":[\"completion\"]}";

static cama_err write_card(void *arg, err_info *err)
{
    arena a;
    buf out;
    json_value *v;
    (void)arg;
    arena_init(&a, 1 << 20);
    buf_init(&out, 1 << 20);
    cama_err e = json_parse(reply, sizeof reply - 1, &a, &v, err);
    if (!e && card_write(v, true, &a, &out))
        e = buf_error(&out, "the card", err);
    buf_done(&out);
    arena_done(&a);
    return e;
}

static cama_err make_plan(void *arg, err_info *err)
{
    static const char text[] = "FROM x\nSYSTEM a\nPARAMETER stop b\nPARAMETER top_k 1\nPARAMETER "
                               "temperature 0.5\nLICENSE c\nMESSAGE user d\nADAPTER /dev/null\n";
    arena a;
    buf out;
    create_plan p;
    (void)arg;
    arena_init(&a, 1 << 20);
    buf_init(&out, 1 << 20);
    cama_err e = create_plan_make(text, sizeof text - 1, "/nowhere", &a, &p, err);
    if (!e) {
        e = create_plan_body(&p, "m", "q8_0", &out, err);
        create_plan_done(&p);
    }
    buf_done(&out);
    arena_done(&a);
    return e;
}

static cama_err set_parameters(void *arg, err_info *err)
{
    arena a;
    param_set set = {0};
    (void)arg;
    arena_init(&a, 1 << 20);
    cama_err e = param_put(&set, "stop", (const char *const[]){"a", "b"}, 2, &a, err);
    if (!e)
        e = param_put(&set, "temperature", (const char *const[]){"0.5"}, 1, &a, err);
    arena_done(&a);
    return e;
}

static cama_err write_pages(void *arg, err_info *err)
{
    buf out;
    (void)arg;
    cama_err e = CAMA_OK;
    for (int c = 0; !e && c <= CLI_N_COMMAND; c++) {
        buf_init(&out, 1 << 20);
        if (cli_write_help((cli_command)c, &out) || cli_write_man((cli_command)c, &out) ||
            cli_write_completion(&out))
            e = buf_error(&out, "a page", err);
        buf_done(&out);
    }
    return e;
}

static void sweeps(void **state)
{
    (void)state;
    assert_true(fault_sweep(FAULT_HEAP, write_card, NULL) > 4);
    assert_true(fault_sweep(FAULT_HEAP, make_plan, NULL) > 5);
    assert_true(fault_sweep(FAULT_HEAP, set_parameters, NULL) > 3);
}

/* An option whose left half finds no memory is written without it. */
static void pages(void **state)
{
    (void)state;
    fault_allow_ok(true);
    assert_true(fault_sweep(FAULT_HEAP, write_pages, NULL) > 20);
    fault_allow_ok(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sweeps), cmocka_unit_test(pages)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
