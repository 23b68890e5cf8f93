/* The Modelfile: what is read, what is refused and with which words, and that it is written back
 * as it was read. */
#include "store/modelfile.h"

#include "test.h"

static void free_arena(arena *a)
{
    arena_done(a);
}

static cama_err parse(const char *text, size_t n, arena *a, modelfile *out, err_info *err)
{
    arena_init(a, 1 << 22);
    return modelfile_parse(text, n, a, out, err);
}

static void check_command(const modelfile_command *c, const char *name, const char *key,
                          const char *value)
{
    assert_string_equal(c->name, name);
    assert_string_equal(c->key, key);
    assert_string_equal(c->value, value);
}

/* One instruction behind a FROM line. */
static void check_value(const char *line, const char *name, const char *key, const char *value)
{
    char text[1024];
    arena a;
    modelfile m;
    err_info err = {0};
    const int n = snprintf(text, sizeof text, "FROM x\n%s", line);
    if (parse(text, (size_t)n, &a, &m, &err))
        fail_msg("%s: %s", line, err.text);
    assert_int_equal(m.n, 2);
    check_command(&m.commands[1], name, key, value);
    assert_int_equal(m.commands[1].line, 2);
    free_arena(&a);
}

static void test_instructions(void **state)
{
    (void)state;
    static const char text[] = "# a comment FROM nowhere\n"
                               "FROM ./m.gguf\n"
                               "  from second\n"
                               "\n"
                               "TEMPLATE {{ .Prompt }}\n"
                               "system You are # not a comment\n"
                               "Adapter ./lora.gguf\n"
                               "DRAFT ./small.gguf\n"
                               "LICENSE \"\"\"MIT\nline two\"\"\"\n"
                               "MESSAGE user Hi\n"
                               "MESSAGE assistant \"Hello\nthere\"\n"
                               "RENDERER qwen3\nPARSER qwen3\nREQUIRES 0.14.0\n"
                               "PARAMETER stop \"<x>\"\n"
                               "PARAMETER num_ctx 4096";
    static const modelfile_command want[] = {
        {"from", "", "./m.gguf", 2},
        {"from", "", "second", 3},
        {"template", "", "{{ .Prompt }}", 5},
        {"system", "", "You are # not a comment", 6},
        {"adapter", "", "./lora.gguf", 7},
        {"draft", "", "./small.gguf", 8},
        {"license", "", "MIT\nline two", 9},
        {"message", "user", "Hi", 11},
        {"message", "assistant", "Hello\nthere", 12},
        {"renderer", "", "qwen3", 14},
        {"parser", "", "qwen3", 15},
        {"requires", "", "0.14.0", 16},
        {"parameter", "stop", "<x>", 17},
        {"parameter", "num_ctx", "4096", 18},
    };
    arena a;
    modelfile m;
    err_info err = {0};
    if (parse(text, strlen(text), &a, &m, &err))
        fail_msg("%s", err.text);
    assert_int_equal(m.n, TEST_COUNT(want));
    for (size_t i = 0; i < m.n; i++) {
        check_command(&m.commands[i], want[i].name, want[i].key, want[i].value);
        assert_int_equal(m.commands[i].line, want[i].line);
    }
    free_arena(&a);
}

static void test_values(void **state)
{
    (void)state;
    check_value("SYSTEM   spaces and\ttabs \t \n", "system", "", "spaces and\ttabs");
    check_value("SYSTEM \t\"  kept  \"  \n", "system", "", "  kept  ");
    check_value("SYSTEM \n", "system", "", "");
    check_value("SYSTEM \"\"\n", "system", "", "");
    check_value("SYSTEM \"\"\"\"\"\"\n", "system", "", "");
    check_value("SYSTEM 'single'\n", "system", "", "'single'");
    check_value("SYSTEM a \"b\" c\n", "system", "", "a \"b\" c");
    check_value("SYSTEM \"a \\\"\n", "system", "", "a \\");
    check_value("SYSTEM \"\"\"a \"b\"\"\"\"\n", "system", "", "a \"b\"");
    check_value("SYSTEM \"\"\"\na\n\n\"\"\"\n", "system", "", "\na\n\n");
    check_value("SYSTEM \"\"\"\r\na\r\n\"\"\"\r\n", "system", "", "\r\na\r\n");
    /* text behind a closing quote goes on to the next line that ends closed */
    check_value("SYSTEM \"a\" b\nc\"\n", "system", "", "a\" b\nc");
    check_value("PARAMETER \t temperature   0.5\n", "parameter", "temperature", "0.5");
    check_value("PARAMETER Top_K2 1\r\n", "parameter", "Top_K2", "1");
    check_value("MESSAGE  user  hi: there\n", "message", "user", "hi: there");
    check_value("MESSAGE user \n", "message", "user", "");
}

static void test_characters(void **state)
{
    (void)state;
    check_value("SYSTEM h\xC3\xA9llo \xF0\x9F\xA6\x99 \xE4\xB8\xAD\n", "system", "",
                "h\xC3\xA9llo \xF0\x9F\xA6\x99 \xE4\xB8\xAD");
    /* not printable as Go sees it: controls, no-break and ideographic space, joiner, BOM */
    check_value("SYSTEM a\x01\x7F\xC2\xA0\xE3\x80\x80\xE2\x80\x8D\xEF\xBB\xBF"
                "b\n",
                "system", "", "ab");
    check_value("SYSTEM a\xFF"
                "b\n",
                "system", "",
                "a\xEF\xBF\xBD"
                "b");
}

static void check_encoded(const char *bytes, size_t n)
{
    arena a;
    modelfile m;
    err_info err = {0};
    if (parse(bytes, n, &a, &m, &err))
        fail_msg("%s", err.text);
    assert_int_equal(m.n, 1);
    check_command(&m.commands[0], "from", "", "\xC3\xA9\xF0\x9F\xA6\x99");
    free_arena(&a);
}

static void test_encodings(void **state)
{
    (void)state;
    static const char utf8[] = "\xEF\xBB\xBF"
                               "FROM \xC3\xA9\xF0\x9F\xA6\x99\n";
    static const char big[] = "\xFE\xFF\0F\0R\0O\0M\0 \0\xE9\xD8\x3E\xDD\x99\0\n";
    static const char little[] = "\xFF\xFE"
                                 "F\0R\0O\0M\0 \0\xE9\0\x3E\xD8\x99\xDD\n";
    check_encoded(utf8, sizeof utf8 - 1);
    check_encoded(big, sizeof big - 1);
    check_encoded(little, sizeof little); /* its last zero is the literal's */
}

static void test_refused(void **state)
{
    (void)state;
    static const char commands[] =
        "command must be one of \"from\", \"license\", \"template\", \"system\", \"adapter\", "
        "\"draft\", \"renderer\", \"parser\", \"parameter\", \"message\", or \"requires\"";
    static const char roles[] =
        "message role must be one of \"system\", \"user\", or \"assistant\"";
    static const struct {
        const char *text;
        int line;
        const char *want;
    } cases[] = {
        {"FROM smollm2:135m\nFROBNICATE 1\n", 2, commands},
        {"FROM x\n\n\r\n\r\nSYSTEM\n", 5, commands},
        {"FROM: x\n", 1, commands},
        {"1FROM x\n", 1, commands},
        {"FROM smollm2:135m\nMESSAGE boss Hi\n", 2, roles},
        {"FROM x\nMESSAGE User Hi\n", 2, roles},
        {"FROM smollm2:135m\nSYSTEM \"\"\"abc\n", 0, "unexpected EOF"},
        {"FROM x\nSYSTEM \"abc\n", 0, "unexpected EOF"},
        {"FROM x\nSYSTEM \"", 0, "unexpected EOF"},
        {"FROM x\nSYSTEM \"\"\"\"\"", 0, "unexpected EOF"},
        {"FROM x\nPARAMETER num-ctx 1\n", 0, "unexpected EOF: num"},
        {"FROM x\nPARAMETER stop\n", 0, "unexpected EOF: stop"},
        {"FROM x\nMESSAGE user", 0, "unexpected EOF"},
        {"FROM", 0, "unexpected EOF"},
        {"SYSTEM hi\n", 0, "no FROM line"},
        {"", 0, "no FROM line"},
        {"# FROM x\n", 0, "no FROM line"},
    };
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        char want[ERR_TEXT_BYTES];
        arena a;
        modelfile m;
        err_info err = {0};
        if (cases[i].line)
            (void)snprintf(want, sizeof want, "(line %d): %s", cases[i].line, cases[i].want);
        else
            (void)snprintf(want, sizeof want, "%s", cases[i].want);
        assert_int_equal(parse(cases[i].text, strlen(cases[i].text), &a, &m, &err),
                         CAMA_ERR_FORMAT);
        assert_string_equal(err.text, want);
        free_arena(&a);
    }
}

static void test_limits(void **state)
{
    (void)state;
    const size_t n = MODELFILE_MAX_BYTES;
    char *text = malloc(n + 1);
    assert_non_null(text);
    arena a;
    modelfile m;
    err_info err = {0};
    memset(text, '\n', n + 1);
    assert_int_equal(parse(text, n + 1, &a, &m, &err), CAMA_ERR_LIMIT);
    free_arena(&a);
    assert_int_equal(parse(text, n, &a, &m, &err), CAMA_ERR_FORMAT);
    free_arena(&a);
    /* an open quote over four million lines: each line end is looked at once */
    memcpy(text, "FROM \"a", 7);
    assert_int_equal(parse(text, n, &a, &m, &err), CAMA_ERR_FORMAT);
    free_arena(&a);
    for (size_t i = 0; i + 7 <= n; i += 7)
        memcpy(text + i, "FROM x\n", 7);
    assert_int_equal(parse(text, (MODELFILE_MAX_COMMANDS + 1) * 7, &a, &m, &err), CAMA_ERR_LIMIT);
    free_arena(&a);
    assert_int_equal(parse(text, MODELFILE_MAX_COMMANDS * 7, &a, &m, &err), CAMA_OK);
    assert_int_equal(m.n, MODELFILE_MAX_COMMANDS);
    free_arena(&a);
    free(text);
}

/* ---- writing ---- */

static void check_written(const modelfile_command *c, const char *want)
{
    buf b;
    buf_init(&b, 1 << 16);
    assert_int_equal(modelfile_write_command(c, &b), CAMA_OK);
    assert_string_equal(b.data, want);
    buf_done(&b);
}

static void test_written(void **state)
{
    (void)state;
    check_written(&(modelfile_command){"from", "", "/a/b c", 0}, "FROM /a/b c\n");
    check_written(&(modelfile_command){"parameter", "stop", "<|im_end|>", 0},
                  "PARAMETER stop <|im_end|>\n");
    check_written(&(modelfile_command){"system", "", "two\nlines", 0}, "SYSTEM \"two\nlines\"\n");
    check_written(&(modelfile_command){"template", "", "a \"b\"\n", 0},
                  "TEMPLATE \"\"\"a \"b\"\n\"\"\"\n");
    check_written(&(modelfile_command){"system", "", " x", 0}, "SYSTEM \" x\"\n");
    check_written(&(modelfile_command){"system", "", "say \"x\"", 0}, "SYSTEM say \"x\"\n");
    check_written(&(modelfile_command){"message", "user", "Hi", 0}, "MESSAGE user Hi\n");
    check_written(&(modelfile_command){"license", "", "", 0}, "LICENSE \n");
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* Text of pieces that the grammar cares about. */
static size_t random_text(uint32_t *seed, char *out, size_t max)
{
    static const char *const pieces[] = {
        "FROM ", "from", "\n",       "\r\n",       "\"",         "\"\"\"", " ",
        "\t",    "a",    "SYSTEM ",  "\nFROM x\n", "PARAMETER ", "stop ",  "MESSAGE ",
        "user ", "# ",   "\xC3\xA9", "\x01",       "\"\n",       "'",      "\nLICENSE \"",
        "\xFF",
    };
    size_t n = 0;
    const size_t n_piece = next_random(seed) % 24;
    for (size_t i = 0; i < n_piece; i++) {
        const char *piece = pieces[next_random(seed) % TEST_COUNT(pieces)];
        if (n + strlen(piece) > max)
            break;
        memcpy(out + n, piece, strlen(piece));
        n += strlen(piece);
    }
    return n;
}

/* write(parse(x)) parses to the same, whatever x is. */
static void test_round_trip(void **state)
{
    (void)state;
    uint32_t seed = 7;
    size_t n_parsed = 0;
    for (int i = 0; i < 200000; i++) {
        char text[256] = "FROM y\n";
        const size_t n = 7 + random_text(&seed, text + 7, sizeof text - 8);
        arena a;
        arena b;
        modelfile first;
        modelfile second;
        err_info err = {0};
        buf out;
        if (parse(text, n, &a, &first, &err)) {
            assert_int_equal(err.code, CAMA_ERR_FORMAT);
            free_arena(&a);
            continue;
        }
        n_parsed++;
        buf_init(&out, 1 << 16);
        for (size_t k = 0; k < first.n; k++)
            assert_int_equal(modelfile_write_command(&first.commands[k], &out), CAMA_OK);
        if (parse(out.data, out.n, &b, &second, &err))
            fail_msg("%s: %s", out.data, err.text);
        assert_int_equal(first.n, second.n);
        for (size_t k = 0; k < first.n; k++)
            check_command(&second.commands[k], first.commands[k].name, first.commands[k].key,
                          first.commands[k].value);
        buf_done(&out);
        free_arena(&a);
        free_arena(&b);
    }
    assert_true(n_parsed > 20000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_instructions), cmocka_unit_test(test_values),
        cmocka_unit_test(test_characters),   cmocka_unit_test(test_encodings),
        cmocka_unit_test(test_refused),      cmocka_unit_test(test_limits),
        cmocka_unit_test(test_written),      cmocka_unit_test(test_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
