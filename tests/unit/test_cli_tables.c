/* Tables and the sections of `show`: to the byte what Ollama prints. */
#include "test.h"

#include "cli/cli_card.h"
#include "cli/cli_grid.h"

static char *written(const grid *g)
{
    buf out;
    buf_init(&out, 1 << 20);
    assert_int_equal(grid_write(g, &out), CAMA_OK);
    return out.data ? out.data : strdup("");
}

static void tables(void **state)
{
    (void)state;
    arena a;
    grid g;
    arena_init(&a, 1 << 20);
    grid_init(&g, &a, NULL);
    grid_row(&g, (const char *const[]){"NAME", "ID", "SIZE", "MODIFIED"}, 4);
    char *text = written(&g);
    assert_string_equal(text, "NAME    ID    SIZE    MODIFIED \n");
    free(text);
    grid_row(
        &g,
        (const char *const[]){"embed:latest", "6546d00bb727", "98 MB", "Less than a second ago"},
        4);
    grid_row(&g, (const char *const[]){"smollm2:135m", "fd5f44c0b5af", "98 MB", "2 seconds ago"},
             4);
    text = written(&g);
    assert_string_equal(text,
                        "NAME            ID              SIZE     MODIFIED               \n"
                        "embed:latest    6546d00bb727    98 MB    Less than a second ago    \n"
                        "smollm2:135m    fd5f44c0b5af    98 MB    2 seconds ago             \n");
    free(text);
    arena_done(&a);
}

static void sections(void **state)
{
    (void)state;
    arena a;
    grid g;
    arena_init(&a, 1 << 20);
    grid_init(&g, &a, "Empty");
    char *text = written(&g);
    assert_string_equal(text, "");
    free(text);
    grid_init(&g, &a, "Parameters");
    grid_row(&g, (const char *const[]){"stop", "\"<x>\""}, 2);
    grid_row(&g, (const char *const[]){"temperature", "0.5"}, 2);
    text = written(&g);
    assert_string_equal(text, "  Parameters\n"
                              "    stop           \"<x>\"    \n"
                              "    temperature    0.5      \n\n");
    free(text);
    arena_done(&a);
}

static void no_cell_steers_the_terminal(void **state)
{
    (void)state;
    arena a;
    grid g;
    arena_init(&a, 1 << 20);
    grid_init(&g, &a, NULL);
    grid_row(&g,
             (const char *const[]){"a\033[2Jb",
                                   "\xc2\x9b"
                                   "1m",
                                   "x\ny"},
             3);
    char *text = written(&g);
    for (const char *c = text; c[1]; c++)
        assert_true((unsigned char)*c >= ' ');
    assert_null(strstr(text, "\xc2\x9b"));
    free(text);
    arena_done(&a);
}

static void no_memory_is_told(void **state)
{
    (void)state;
    arena a;
    grid g;
    buf out;
    arena_init(&a, 100);
    buf_init(&out, 1 << 20);
    grid_init(&g, &a, NULL);
    grid_row(&g, (const char *const[]){"a"}, 1);
    assert_int_equal(grid_write(&g, &out), CAMA_ERR_NOMEM);
    buf_done(&out);
    arena_done(&a);
}

static char *card(const char *json, bool verbose)
{
    arena a;
    buf out;
    json_value *v;
    err_info err;
    arena_init(&a, 1 << 20);
    buf_init(&out, 1 << 20);
    assert_int_equal(json_parse(json, strlen(json), &a, &v, &err), CAMA_OK);
    assert_int_equal(card_write(v, verbose, &a, &out), CAMA_OK);
    arena_done(&a);
    return out.data;
}

static const char reply[] =
    "{\"license\":\"MIT\\nline two\\n\\nline three\",\"system\":\"  You are terse.  \\n\\nVery "
    "terse.\\nReally.\",\"parameters\":\"temperature                    0.5\\nstop              "
    "             \\\"<x>\\\"\",\"details\":{\"family\":\"llama\",\"parameter_size\":\"134.52M\","
    "\"quantization_level\":\"Q4_1\"},\"model_info\":{\"llama.embedding_length\":576,"
    "\"general.architecture\":\"llama\",\"llama.context_length\":8192,"
    "\"general.parameter_count\":134515008,\"llama.eps\":1e-05,\"flag\":false,\"none\":null,"
    "\"tokenizer.ggml.merges\":[\"G t\",\"G a\",\"i n\",\"h e\"],\"types\":[3,3,3,3,3],\"one\":"
    "[\"en\"]},\"tensors\":[{\"name\":\"a.weight\",\"type\":\"F32\",\"shape\":[576]},{\"name\":"
    "\"b.weight\",\"type\":\"Q4_1\",\"shape\":[576,1536]}],\"capabilities\":[\"completion\","
    "\"tools\"],\"cama\":{\"template\":\"jinja\"}}";

static void a_card(void **state)
{
    (void)state;
    char *text = card(reply, false);
    assert_string_equal(text, "  Model\n"
                              "    architecture        llama      \n"
                              "    parameters          134.52M    \n"
                              "    context length      8192       \n"
                              "    embedding length    576        \n"
                              "    quantization        Q4_1       \n"
                              "\n"
                              "  Capabilities\n"
                              "    completion    \n"
                              "    tools         \n"
                              "\n"
                              "  Parameters\n"
                              "    temperature    0.5      \n"
                              "    stop           \"<x>\"    \n"
                              "\n"
                              "  System\n"
                              "    You are terse.    \n"
                              "    Very terse.       \n"
                              "    ...               \n"
                              "\n"
                              "  License\n"
                              "    MIT         \n"
                              "    line two    \n"
                              "    ...         \n"
                              "\n"
                              "  Engine\n"
                              "    template    jinja    \n"
                              "\n");
    free(text);
}

static void a_verbose_card(void **state)
{
    (void)state;
    char *text = card(reply, true);
    const char *metadata = strstr(text, "  Metadata\n");
    assert_non_null(metadata);
    const char want[] = "  Metadata\n"
                        "    flag                       false                   \n"
                        "    general.architecture       llama                   \n"
                        "    general.parameter_count    1.34515008e+08          \n"
                        "    llama.context_length       8192                    \n"
                        "    llama.embedding_length     576                     \n"
                        "    llama.eps                  1e-05                   \n"
                        "    none                       <nil>                   \n"
                        "    one                        [en]                    \n"
                        "    tokenizer.ggml.merges      [G t G a ...+2 more]    \n"
                        "    types                      [3 3 3 ...+2 more]      \n"
                        "\n"
                        "  Tensors\n"
                        "    a.weight    F32     [576]         \n"
                        "    b.weight    Q4_1    [576 1536]    \n"
                        "\n";
    assert_true(!strncmp(metadata, want, sizeof want - 1));
    free(text);
}

static void odd_replies(void **state)
{
    (void)state;
    static const char *const replies[] = {
        "{}",
        "[]",
        "null",
        "{\"model_info\":[],\"details\":1,\"parameters\":{},\"tensors\":{},\"capabilities\":7}",
        "{\"tensors\":[1,{\"shape\":3}],\"capabilities\":[1],\"projector_info\":{},\"cama\":1}",
        "{\"model_info\":{\"a\":{\"b\":[]},\"c\":[[1]]}}",
    };
    for (size_t i = 0; i < TEST_COUNT(replies); i++)
        free(card(replies[i], true));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables),
        cmocka_unit_test(sections),
        cmocka_unit_test(no_cell_steers_the_terminal),
        cmocka_unit_test(no_memory_is_told),
        cmocka_unit_test(a_card),
        cmocka_unit_test(a_verbose_card),
        cmocka_unit_test(odd_replies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
