/* The command line: what is read, and how mistakes are told. */
#include "test.h"

#include "cli/cli_args.h"

#define MAX_WORDS 32

/* Splits a line at spaces; the words live in a static buffer until the next call. */
static cama_err parse(const char *line, cli_args *args, err_info *err)
{
    static char text[1024];
    static char *argv[MAX_WORDS];
    int argc = 0;
    assert_true(strlen(line) < sizeof text);
    strcpy(text, line);
    for (char *word = strtok(text, " "); word; word = strtok(NULL, " ")) {
        assert_true(argc < MAX_WORDS - 1);
        argv[argc++] = word;
    }
    argv[argc] = NULL;
    return cli_parse(argc, argv, args, err);
}

static void test_values_go_where_the_table_says(void **state)
{
    (void)state;
    cli_args a;
    err_info err = {0};
    assert_int_equal(parse("cama run --num-ctx 2048 m.gguf --temp=0.5 -n 7 --stop END --stop=two "
                           "hello --kv-type q8_0 --seed 4294967295 --max-memory 3G -v world",
                           &a, &err),
                     CAMA_OK);
    assert_int_equal(a.command, CLI_RUN);
    assert_int_equal(a.model.n_ctx, 2048);
    assert_int_equal(a.model.kv_type, CAMA_KV_Q8_0);
    assert_true(a.model.max_bytes == (uint64_t)3 << 30);
    assert_true(a.gen.temperature == 0.5f);
    assert_int_equal(a.gen.n_predict, 7);
    assert_int_equal(a.gen.seed, 4294967295);
    assert_int_equal(a.gen.n_stop, 2);
    assert_string_equal(a.gen.stop[1], "two");
    assert_true(a.verbose);
    assert_int_equal(a.n_pos, 3);
    assert_string_equal(a.pos[0], "m.gguf");
    assert_string_equal(a.pos[2], "world");
}

static void test_engines_and_devices(void **state)
{
    (void)state;
    cli_args a;
    err_info err = {0};
    char name[CLI_CHOICE_BYTES];
    assert_int_equal(parse("cama run m", &a, &err), CAMA_OK);
    assert_true(a.engine < 0 && a.device < 0);
    assert_int_equal(parse("cama serve --engine mlx --device=gpu", &a, &err), CAMA_OK);
    assert_int_equal(a.device, CAMA_DEVICE_GPU);
    for (size_t i = 0; i < cli_n_option; i++) {
        if (!strcmp(cli_options[i].name, "engine")) {
            cli_choice_name(&cli_options[i], a.engine, name);
            assert_string_equal(name, "mlx");
        }
    }
    assert_int_equal(cli_set_parameter(&a, "engine", "native", &err), CAMA_OK);
    assert_int_equal(a.engine, 1);
    assert_int_equal(cli_set_parameter(&a, "engine", "steam", &err), CAMA_ERR_ARG);
    assert_non_null(strstr(err.text, "auto|native|mlx"));
    assert_int_equal(parse("cama verify m -n 8 --engines native,native --threshold 0.5 --kl 1 "
                           "--agree 0 --prompt x --activations int8",
                           &a, &err),
                     CAMA_OK);
    assert_int_equal(a.command, CLI_VERIFY);
    assert_int_equal(a.n_token, 8);
    assert_string_equal(a.engines, "native,native");
    assert_true(a.max_diff == 0.5f && a.max_kl == 1 && a.min_agree == 0);
    assert_int_equal(parse("cama verify m", &a, &err), CAMA_OK);
    assert_int_equal(a.n_token, 256);
    assert_int_equal(parse("cama engines reset m --json", &a, &err), CAMA_OK);
    assert_int_equal(a.n_pos, 2);
}

static void test_aliases_and_letters(void **state)
{
    (void)state;
    cli_args a;
    err_info err = {0};
    assert_int_equal(
        parse("cama logits m --ctx-size 64 -t 2 --tokens 1,2 -o x.npy --chunk 3", &a, &err),
        CAMA_OK);
    assert_int_equal(a.model.n_ctx, 64);
    assert_int_equal(a.model.n_thread, 2);
    assert_int_equal(a.chunk, 3);
    assert_string_equal(a.out, "x.npy");
}

static void test_everything_behind_two_dashes_is_text(void **state)
{
    (void)state;
    cli_args a;
    err_info err = {0};
    assert_int_equal(parse("cama run m -- --seed x", &a, &err), CAMA_OK);
    assert_int_equal(a.n_pos, 3);
    assert_string_equal(a.pos[1], "--seed");
}

static void test_defaults_are_ollamas(void **state)
{
    (void)state;
    cli_args a;
    err_info err = {0};
    assert_int_equal(parse("cama run m", &a, &err), CAMA_OK);
    assert_int_equal(a.gen.top_k, 40);
    assert_true(a.gen.top_p == 0.9f && a.gen.temperature == 0.8f && a.gen.min_p == 0.0f);
    assert_int_equal(a.gen.repeat_last_n, 64);
    assert_int_equal(a.gen.n_predict, -1);
    assert_int_equal(a.gen.seed, -1);
}

static void test_mistakes_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *line, *text;
    } cases[] = {
        {"cama rum m", "unknown command \"rum\" for \"cama\"; is \"run\" meant?"},
        {"cama xyzzy", "unknown command \"xyzzy\" for \"cama\""},
        {"cama pull m", "unknown command \"pull\" for \"cama\": not built yet"},
        {"cama run m --temprature 1", "unknown flag: --temprature; is --temperature meant?"},
        {"cama run m --xyzzyplugh", "unknown flag: --xyzzyplugh"},
        {"cama show m --seed 1", "unknown flag: --seed"},
        {"cama run m -Z", "unknown shorthand flag: 'Z' in -Z"},
        {"cama embed m x --numctx 1", "cama embed has no option --numctx; is --num-ctx meant?"},
        {"cama embed m x --xyzzyplugh",
         "cama embed has no option --xyzzyplugh; see `cama help embed`"},
        {"cama embed m x -Z", "cama embed has no option -Z; see `cama help embed`"},
        {"cama run m --temperature hot", "--temperature is 'hot', must be a number from 0 to 100"},
        {"cama run m --temperature 1e9", "--temperature is '1e9', must be a number from 0 to 100"},
        {"cama run m --temperature nan", "--temperature is 'nan', must be a number from 0 to 100"},
        {"cama run m --top-k 1.5", "--top-k is '1.5', must be a whole number from 0 to 1000000000"},
        {"cama run m --seed 99999999999999999999",
         "--seed is '99999999999999999999', must be a whole number from -1 to 4294967295"},
        {"cama run m --num-ctx 0", "--num-ctx is '0', must be a whole number from 1 to 67108864"},
        {"cama run m --kv-type q9", "--kv-type is 'q9', must be one of f16|f32|bf16|q8_0|q4_0"},
        {"cama run m --engine steam", "--engine is 'steam', must be one of auto|native|mlx"},
        {"cama serve --device tpu", "--device is 'tpu', must be one of auto|cpu|gpu"},
        {"cama verify", "usage: cama verify MODEL|FILE"},
        {"cama engines a b c",
         "cama engines: 'c' is one argument too many; usage: cama engines [reset [MODEL]]"},
        {"cama run m --max-memory 8X", "--max-memory is '8X', must be a size as 1500, 512M or 8G"},
        {"cama run m --seed", "flag needs an argument: --seed"},
        {"cama run m -n", "flag needs an argument: 'n' in -n"},
        {"cama logits m --tokens", "--tokens needs a value (IDS)"},
        {"cama run m --truncate=perhaps", "--truncate is 'perhaps', must be true or false"},
        {"cama run m --verbose=yes", "--verbose takes no value"},
        {"cama run m --stop=", "--stop is empty, must be a text"},
        {"cama run", "requires at least 1 arg(s), only received 0"},
        {"cama rm", "requires at least 1 arg(s), only received 0"},
        {"cama show", "accepts 1 arg(s), received 0"},
        {"cama show a b", "accepts 1 arg(s), received 2"},
        {"cama cp a", "accepts 2 arg(s), received 1"},
        {"cama stop", "accepts 1 arg(s), received 0"},
        {"cama create", "accepts 1 arg(s), received 0"},
        {"cama tokenize m", "usage: cama tokenize FILE TEXT|-"},
        {"cama tokenize m a b",
         "cama tokenize: 'b' is one argument too many; usage: cama tokenize FILE TEXT|-"},
    };
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        cli_args a;
        err_info err = {0};
        assert_int_equal(parse(cases[i].line, &a, &err), CAMA_ERR_ARG);
        assert_string_equal(err.text, cases[i].text);
    }
}

static void test_mistakes_are_counted_as_ollama_does_where_it_has_the_command(void **state)
{
    (void)state;
    cli_args a;
    err_info err = {0};
    assert_int_equal(parse("cama run", &a, &err), CAMA_ERR_ARG);
    assert_true(a.mistake_is_ollamas);
    assert_int_equal(parse("cama nosuch", &a, &err), CAMA_ERR_ARG);
    assert_true(a.mistake_is_ollamas);
    assert_int_equal(parse("cama logits", &a, &err), CAMA_ERR_ARG);
    assert_false(a.mistake_is_ollamas);
}

static void test_ollamas_flags(void **state)
{
    (void)state;
    cli_args a;
    err_info err = {0};
    assert_int_equal(parse("cama run m --think --hidethinking --keepalive 5m --format json hi "
                           "--truncate=false --dimensions 4 --nowordwrap --insecure --verbose",
                           &a, &err),
                     CAMA_OK);
    assert_string_equal(a.think, "true");
    assert_string_equal(a.keepalive, "5m");
    assert_string_equal(a.format, "json");
    assert_true(a.hidethinking && a.verbose);
    assert_int_equal(a.truncate, 0);
    assert_int_equal(a.dimensions, 4);
    assert_int_equal(a.n_pos, 2);
    assert_int_equal(parse("cama run m --think=high hi --truncate", &a, &err), CAMA_OK);
    assert_string_equal(a.think, "high");
    assert_int_equal(a.truncate, 1);
    assert_int_equal(parse("cama run m", &a, &err), CAMA_OK);
    assert_null(a.think);
    assert_int_equal(a.truncate, -1);
    assert_int_equal(parse("cama ls de x", &a, &err), CAMA_OK);
    assert_int_equal(a.command, CLI_LIST);
    assert_int_equal(parse("cama start --host 1.2.3.4", &a, &err), CAMA_OK);
    assert_int_equal(a.command, CLI_SERVE);
    assert_int_equal(parse("cama show m --system -v", &a, &err), CAMA_OK);
    assert_true(a.show_system && a.verbose);
    assert_int_equal(parse("cama create m -f F -q q8_0 --link", &a, &err), CAMA_OK);
    assert_string_equal(a.file, "F");
    assert_string_equal(a.quantize, "q8_0");
    assert_true(a.link);
}

static void test_what_was_given_is_known(void **state)
{
    (void)state;
    cli_args a;
    err_info err = {0};
    assert_int_equal(parse("cama run m --seed 1 --stop a --stop b", &a, &err), CAMA_OK);
    size_t n = 0;
    for (size_t i = 0; i < cli_n_option; i++)
        n += a.given[i];
    assert_int_equal(n, 2);
}

static void test_pages_are_made_of_the_table(void **state)
{
    (void)state;
    for (int c = 0; c <= CLI_N_COMMAND; c++) {
        buf page;
        buf_init(&page, 1 << 20);
        assert_int_equal(cli_write_man((cli_command)c, &page), CAMA_OK);
        assert_true(!strncmp(page.data, ".TH CAMA", 8));
        assert_null(strstr(page.data, "\n\n")); /* roff shows an empty line */
        buf_done(&page);
    }
    buf script;
    buf_init(&script, 1 << 20);
    assert_int_equal(cli_write_completion(&script), CAMA_OK);
    assert_non_null(strstr(script.data, "--num-ctx"));
    buf_done(&script);
}

static void test_parameters(void **state)
{
    (void)state;
    cli_args a;
    err_info err = {0};
    assert_int_equal(parse("cama run m", &a, &err), CAMA_OK);
    assert_int_equal(cli_set_parameter(&a, "num_ctx", "512", &err), CAMA_OK);
    assert_int_equal(a.model.n_ctx, 512);
    assert_int_equal(cli_set_parameter(&a, "repeat_last_n", "-1", &err), CAMA_OK);
    assert_int_equal(a.gen.repeat_last_n, -1);
    assert_int_equal(cli_set_parameter(&a, "temprature", "1", &err), CAMA_ERR_ARG);
    assert_string_equal(err.text, "there is no parameter 'temprature'; is 'temperature' meant?");
    assert_int_equal(cli_set_parameter(&a, "kv_type", "f16", &err), CAMA_ERR_ARG);
}

static void test_ids(void **state)
{
    (void)state;
    static const char *const bad[] = {"1,x", "-1", "2147483648", "1.5", "99999999999999999999",
                                      "0x1"};
    int32_t *ids;
    size_t n;
    err_info err = {0};
    assert_int_equal(cli_parse_ids("1,5,9", &ids, &n, &err), CAMA_OK);
    assert_int_equal(n, 3);
    assert_int_equal(ids[2], 9);
    free(ids);
    assert_int_equal(cli_parse_ids(" [1, 2147483647]\n", &ids, &n, &err), CAMA_OK);
    assert_int_equal(n, 2);
    assert_int_equal(ids[1], 2147483647);
    free(ids);
    assert_int_equal(cli_parse_ids("", &ids, &n, &err), CAMA_OK);
    assert_int_equal(n, 0);
    free(ids);
    for (size_t i = 0; i < TEST_COUNT(bad); i++)
        assert_int_equal(cli_parse_ids(bad[i], &ids, &n, &err), CAMA_ERR_ARG);
}

static void test_help_names_every_option(void **state)
{
    (void)state;
    buf out;
    buf_init(&out, 1 << 20);
    assert_int_equal(cli_write_help(CLI_N_COMMAND, &out), CAMA_OK);
    for (int c = 0; c < CLI_N_COMMAND; c++)
        assert_non_null(strstr(out.data, cli_commands[c].name));
    for (int c = 0; c < CLI_N_COMMAND; c++) {
        buf_clear(&out);
        assert_int_equal(cli_write_help((cli_command)c, &out), CAMA_OK);
        for (size_t i = 0; cli_option_at(i); i++) {
            char flag[64];
            snprintf(flag, sizeof flag, "--%s", cli_option_at(i)->name);
            if (cli_option_at(i)->commands & 1u << c)
                assert_non_null(strstr(out.data, flag));
        }
    }
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_go_where_the_table_says),
        cmocka_unit_test(test_engines_and_devices),
        cmocka_unit_test(test_aliases_and_letters),
        cmocka_unit_test(test_everything_behind_two_dashes_is_text),
        cmocka_unit_test(test_defaults_are_ollamas),
        cmocka_unit_test(test_mistakes_are_named),
        cmocka_unit_test(test_mistakes_are_counted_as_ollama_does_where_it_has_the_command),
        cmocka_unit_test(test_ollamas_flags),
        cmocka_unit_test(test_what_was_given_is_known),
        cmocka_unit_test(test_pages_are_made_of_the_table),
        cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_help_names_every_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
