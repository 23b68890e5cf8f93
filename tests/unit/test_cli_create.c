/* Modelfiles into requests, parameters into JSON. */
#include "test.h"

#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli_create.h"
#include "cli/cli_param.h"

static char folder[] = "/tmp/test_cli_create_XXXXXX";

static void put_file(const char *name)
{
    char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    (void)fputs("x", f);
    assert_int_equal(fclose(f), 0);
}

/* The body of the request, or the error's text; digests are the files' numbers. */
static char *body_of(const char *text)
{
    arena a;
    create_plan plan;
    buf body;
    err_info err = {0};
    arena_init(&a, 1 << 20);
    buf_init(&body, 1 << 20);
    cama_err e = create_plan_make(text, strlen(text), folder, &a, &plan, &err);
    if (!e) {
        for (size_t i = 0; i < plan.n_file; i++)
            (void)snprintf(plan.files[i].digest, sizeof plan.files[i].digest, "sha256:%zu", i);
        e = create_plan_body(&plan, "m", NULL, &body, &err);
        create_plan_done(&plan);
    }
    if (e) {
        buf_clear(&body);
        (void)buf_puts(&body, err.text);
    }
    arena_done(&a);
    return body.data;
}

static void bodies(void **state)
{
    (void)state;
    static const struct {
        const char *text, *body;
    } cases[] = {
        {"FROM llama3", "{\"model\":\"m\",\"from\":\"llama3\"}"},
        {"FROM ./a.gguf\n", "{\"model\":\"m\",\"files\":{\"a.gguf\":\"sha256:0\"}}"},
        {"FROM a.gguf\nFROM ./b/mmproj.gguf\nADAPTER ./lora.gguf",
         "{\"model\":\"m\",\"files\":{\"a.gguf\":\"sha256:0\",\"mmproj.gguf\":\"sha256:1\"},"
         "\"adapters\":{\"lora.gguf\":\"sha256:2\"}}"},
        {"FROM b\n", "{\"model\":\"m\",\"files\":{\"mmproj.gguf\":\"sha256:0\"}}"},
        {"FROM x\nPARAMETER temperature 0.5\nPARAMETER stop <a>\nPARAMETER stop \"b c\"\n"
         "PARAMETER num_ctx 2048\nPARAMETER use_mmap true",
         "{\"model\":\"m\",\"from\":\"x\",\"parameters\":{\"temperature\":0.5,\"num_ctx\":2048,"
         "\"use_mmap\":true,\"stop\":[\"<a>\",\"b c\"]}}"},
        {"FROM x\nSYSTEM a\nSYSTEM \"\"\"b\n\"c\"\"\"\"\nLICENSE one\nLICENSE two\nMESSAGE user "
         "hi\n"
         "MESSAGE assistant \"ho\"\nTEMPLATE {{ .Prompt }}",
         "{\"model\":\"m\",\"from\":\"x\",\"template\":\"{{ .Prompt "
         "}}\",\"system\":\"b\\n\\\"c\\\"\","
         "\"license\":[\"one\",\"two\"],\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},"
         "{\"role\":\"assistant\",\"content\":\"ho\"}]}"},
        {"FROM x\nPARAMETER mirostat 1", "{\"model\":\"m\",\"from\":\"x\"}"},
        {"FROM ./nope.gguf", "{\"model\":\"m\",\"from\":\"./nope.gguf\"}"},
        {"FROM x\nPARAMETER frobnicate 1", "unknown parameter 'frobnicate'"},
        {"FROM x\nPARAMETER num_ctx many", "invalid int value [many]"},
        {"FROM x\nPARAMETER num_ctx 1.5", "invalid int value [1.5]"},
        {"FROM x\nPARAMETER temperature hot", "invalid float value [hot]"},
        {"FROM x\nPARAMETER use_mmap maybe", "invalid bool value [maybe]"},
        {"PARAMETER num_ctx 1", "no FROM line"},
        {"FROM c", "no Modelfile or safetensors files found"},
    };
    put_file("a.gguf");
    put_file("lora.gguf");
    char path[256];
    (void)snprintf(path, sizeof path, "%s/b", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    put_file("b/mmproj.gguf");
    (void)snprintf(path, sizeof path, "%s/c", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        char *body = body_of(cases[i].text);
        assert_string_equal(body, cases[i].body);
        free(body);
    }
    (void)snprintf(path, sizeof path, "%s/d", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    static const char *const hf[] = {"d/config.json",
                                     "d/tokenizer.json",
                                     "d/special_tokens_map.json",
                                     "d/model-00002-of-00002.safetensors",
                                     "d/model-00001-of-00002.safetensors",
                                     "d/consolidated.safetensors",
                                     "d/other.gguf",
                                     "d/chat_template.jinja"};
    for (size_t i = 0; i < TEST_COUNT(hf); i++)
        put_file(hf[i]);
    char *whole = body_of("FROM ./d");
    assert_string_equal(whole, "{\"model\":\"m\",\"files\":{"
                               "\"model-00001-of-00002.safetensors\":\"sha256:0\","
                               "\"model-00002-of-00002.safetensors\":\"sha256:1\","
                               "\"config.json\":\"sha256:2\",\"tokenizer.json\":\"sha256:3\","
                               "\"chat_template.jinja\":\"sha256:4\"}}");
    free(whole);
    put_file("b/second.gguf");
    char *body = body_of("FROM ./b");
    assert_non_null(strstr(body, "has 2 GGUF files: name one in FROM"));
    free(body);
}

static void parameters(void **state)
{
    (void)state;
    arena a;
    buf out;
    err_info err = {0};
    param_set set = {0};
    arena_init(&a, 1 << 20);
    buf_init(&out, 1 << 20);
    assert_int_equal(param_put(&set, "seed", (const char *const[]){"1"}, 1, &a, &err), CAMA_OK);
    assert_int_equal(param_put(&set, "stop", (const char *const[]){"a", "b"}, 2, &a, &err),
                     CAMA_OK);
    assert_int_equal(param_put(&set, "seed", (const char *const[]){"2"}, 1, &a, &err), CAMA_OK);
    assert_int_equal(param_put(&set, "bogus", (const char *const[]){"2"}, 1, &a, &err),
                     CAMA_ERR_ARG);
    assert_string_equal(err.text, "unknown parameter 'bogus'");
    assert_int_equal(param_put(&set, "engine", (const char *const[]){"steam"}, 1, &a, &err),
                     CAMA_ERR_ARG);
    assert_string_equal(err.text, "engine is 'steam', must be one of auto, native, mlx");
    assert_int_equal(param_put(&set, "num_ctx", (const char *const[]){"abc"}, 1, &a, &err),
                     CAMA_ERR_ARG);
    assert_string_equal(err.text, "invalid int value [abc]");
    assert_int_equal(param_put(&set, "num_ctx", (const char *const[]){"1", "2"}, 2, &a, &err),
                     CAMA_ERR_ARG);
    assert_int_equal(set.n, 2);
    assert_int_equal(param_write_set(&set, &out), CAMA_OK);
    assert_string_equal(out.data, "{\"seed\":2,\"stop\":[\"a\",\"b\"]}");
    assert_string_equal(set.rows[1].shown, "[a b]");
    buf_done(&out);
    arena_done(&a);
}

static void options_of_the_command_line(void **state)
{
    (void)state;
    char *argv[] = {"cama", "run",    "m",   "--temperature", "0.7", "--num-ctx",
                    "512",  "--stop", "x y", "--seed",        "7",   "-t",
                    "3",    NULL};
    cli_args args;
    arena a;
    buf out;
    err_info err = {0};
    param_set set = {0};
    arena_init(&a, 1 << 20);
    buf_init(&out, 1 << 20);
    assert_int_equal(cli_parse(13, argv, &args, &err), CAMA_OK);
    assert_int_equal(param_take_args(&set, &args, &a, &err), CAMA_OK);
    assert_int_equal(param_write_set(&set, &out), CAMA_OK);
    assert_string_equal(out.data, "{\"num_ctx\":512,\"num_thread\":3,\"temperature\":0.7,"
                                  "\"seed\":7,\"stop\":[\"x y\"]}");
    buf_done(&out);
    arena_done(&a);
}

int main(void)
{
    if (!mkdtemp(folder))
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies),
        cmocka_unit_test(parameters),
        cmocka_unit_test(options_of_the_command_line),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char command[64];
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command) ? 1 : failed;
}
