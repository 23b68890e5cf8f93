/* Names: what is one, what its parts are, and that a name written is the name read. */
#include "store/name.h"

#include "test.h"

typedef struct name_case {
    const char *text, *host, *space, *model, *tag, *shown;
} name_case;

static const name_case good[] = {
    {"llama3", "registry.ollama.ai", "library", "llama3", "latest", "llama3:latest"},
    {"llama3.2:1b", "registry.ollama.ai", "library", "llama3.2", "1b", "llama3.2:1b"},
    {"me/Mixed:Tag", "registry.ollama.ai", "me", "Mixed", "Tag", "me/Mixed:Tag"},
    {"library/x", "registry.ollama.ai", "library", "x", "latest", "x:latest"},
    {"LIBRARY/x", "registry.ollama.ai", "LIBRARY", "x", "latest", "x:latest"},
    {"Registry.Ollama.AI/me/x", "Registry.Ollama.AI", "me", "x", "latest", "me/x:latest"},
    {"hf.co/user/repo:Q4_K_M", "hf.co", "user", "repo", "Q4_K_M", "hf.co/user/repo:Q4_K_M"},
    {"localhost:5000/ns/m", "localhost:5000", "ns", "m", "latest", "localhost:5000/ns/m:latest"},
    {"https://example.com/ns/m:t", "example.com", "ns", "m", "t", "example.com/ns/m:t"},
    {"http://example.com:80/ns/m", "example.com:80", "ns", "m", "latest",
     "example.com:80/ns/m:latest"},
    {"_a/_b:_c", "registry.ollama.ai", "_a", "_b", "_c", "_a/_b:_c"},
    {"a-/b-.:c-.", "registry.ollama.ai", "a-", "b-.", "c-.", "a-/b-.:c-."},
};

static void test_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < TEST_COUNT(good); i++) {
        const name_case *c = &good[i];
        char text[NAME_BYTES];
        model_name n;
        err_info err = {0};
        if (name_parse(c->text, &n, &err))
            fail_msg("%s", err.text);
        assert_string_equal(n.host, c->host);
        assert_string_equal(n.space, c->space);
        assert_string_equal(n.model, c->model);
        assert_string_equal(n.tag, c->tag);
        name_format(&n, text);
        assert_string_equal(text, c->shown);
    }
}

static void test_bad(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",          ":",      "/",       "bad name!", "a:",     ":a",
        "a/",        "/a",     "a//b",    "a/b/",      "//",     "a:b:c",
        "a/b:c/d",   ".a",     "-a",      "a b",       "a\n",    "a.b/c",
        "a:-b",      "a:.b",   "a/b/c/d", "http://x",  "h/a/b:", "..",
        "../../etc", "a/../b", "x:..",    "\xC3\xA9",  "a\\b",   "host/n/m@sha256:ab",
        "a:b/c",     "h!/a/b", "://a/b",  "a%2Fb",
    };
    for (size_t i = 0; i < TEST_COUNT(bad); i++) {
        model_name n = {.model = "before"};
        err_info err = {0};
        if (name_parse(bad[i], &n, &err) != CAMA_ERR_ARG)
            fail_msg("'%s' is taken as %s/%s/%s:%s", bad[i], n.host, n.space, n.model, n.tag);
        assert_non_null(strstr(err.text, "invalid model name"));
        assert_string_equal(n.model, "before");
    }
}

/* A name of parts of these lengths; 0: left out with what is left of it. */
static void make_name(char *out, size_t host, size_t space, size_t model, size_t tag)
{
    size_t n = 0;
    const size_t length[] = {host, space, model, tag};
    static const char behind[] = "//:";
    for (size_t i = 0; i < 4; i++) {
        memset(out + n, 'a', length[i]);
        n += length[i];
        if (length[i] && i < 3)
            out[n++] = behind[i];
    }
    out[n] = '\0';
}

static void test_lengths(void **state)
{
    (void)state;
    char text[4096];
    char shown[NAME_BYTES];
    model_name n;
    make_name(text, NAME_MAX_HOST, NAME_MAX_PART, NAME_MAX_PART, NAME_MAX_PART);
    assert_int_equal(name_parse(text, &n, NULL), CAMA_OK);
    name_format_full(&n, shown);
    assert_string_equal(shown, text);
    for (int part = 0; part < 4; part++) {
        err_info err = {0};
        make_name(text, NAME_MAX_HOST + (part == 0), NAME_MAX_PART + (part == 1),
                  NAME_MAX_PART + (part == 2), NAME_MAX_PART + (part == 3));
        assert_int_equal(name_parse(text, &n, &err), CAMA_ERR_ARG);
        assert_non_null(strstr(err.text, part == 0 ? "351 characters" : "81 characters"));
    }
    make_name(text, 0, 0, 3000, 0);
    assert_int_equal(name_parse(text, &n, NULL), CAMA_ERR_ARG);
}

static void test_equal(void **state)
{
    (void)state;
    model_name a;
    model_name b;
    assert_int_equal(name_parse("Me/X:Tag", &a, NULL), CAMA_OK);
    assert_int_equal(name_parse("REGISTRY.ollama.ai/mE/x:tAG", &b, NULL), CAMA_OK);
    assert_true(name_equal(&a, &b));
    assert_int_equal(name_parse("me/x:other", &b, NULL), CAMA_OK);
    assert_false(name_equal(&a, &b));
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static void check_round(const model_name *n, const char *shown)
{
    model_name again;
    err_info err = {0};
    if (name_parse(shown, &again, &err))
        fail_msg("%s", err.text);
    assert_true(name_equal(n, &again));
}

/* Whatever is taken, both written forms read as the same, and no part can leave its folder. */
static void test_any(void **state)
{
    (void)state;
    static const char letters[] = "aZ09_-.:/ :/!";
    uint32_t seed = 3;
    size_t n_taken = 0;
    for (int i = 0; i < 300000; i++) {
        char text[24];
        const size_t n = next_random(&seed) % (sizeof text - 1);
        for (size_t k = 0; k < n; k++)
            text[k] = letters[next_random(&seed) % (sizeof letters - 1)];
        text[n] = '\0';
        model_name name;
        if (name_parse(text, &name, NULL))
            continue;
        n_taken++;
        char shown[NAME_BYTES];
        name_format_full(&name, shown);
        check_round(&name, shown);
        name_format(&name, shown);
        check_round(&name, shown);
        const char *const parts[] = {name.host, name.space, name.model, name.tag};
        for (size_t k = 0; k < 4; k++)
            assert_true(parts[k][0] != '.' && parts[k][0] != '\0' && !strchr(parts[k], '/'));
    }
    assert_true(n_taken > 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),  cmocka_unit_test(test_bad), cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_equal), cmocka_unit_test(test_any),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
