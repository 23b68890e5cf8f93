/* Ids and texts of libllama v0.5.0 (tests/golden/make_tok.py), string for string. */
#include "tok_pack.h"

#include "tok/tok_pre.h"

static void show(const char *what, const int32_t *id, size_t n)
{
    print_error("%s:", what);
    for (size_t i = 0; i < n; i++)
        print_error(" %d", id[i]);
    print_error("\n");
}

/* One string there and back; false, and a word about it, where libllama says otherwise. */
static bool one_case(const tok_vocab *v, pack *p)
{
    int32_t want[4096];
    const unsigned flags = (unsigned)pack_number(p);
    const tok_str text = pack_string(p);
    const size_t n = pack_number(p);
    assert_true(n <= TEST_COUNT(want));
    for (size_t i = 0; i < n; i++)
        want[i] = (int32_t)pack_number(p);
    const tok_str decoded = flags & 4 ? text : pack_string(p);

    tok_ids ids;
    buf out;
    tok_ids_init(&ids, 1 << 20);
    buf_init(&out, 1 << 20);
    const tok_flags f = {.add_special = flags & 1, .parse_special = flags & 2};
    assert_int_equal(tok_encode(v, text.text, text.n, f, &ids, NULL), CAMA_OK);
    assert_int_equal(tok_decode(v, want, n, flags & 2, &out, NULL), CAMA_OK);
    const bool same_ids = ids.n == n && (n == 0 || memcmp(ids.id, want, n * sizeof *want) == 0);
    const bool same_text =
        out.n == decoded.n && (out.n == 0 || memcmp(out.data, decoded.text, out.n) == 0);
    if (!same_ids) {
        print_error("'%.*s'\n", (int)text.n, text.text);
        show("want", want, n);
        show("got ", ids.id, ids.n);
    }
    if (!same_text)
        print_error("'%.*s' decoded: '%.*s'\n", (int)decoded.n, decoded.text, (int)out.n, out.data);
    tok_ids_done(&ids);
    buf_done(&out);
    return same_ids && same_text;
}

static size_t all_cases(const tok_vocab *v, pack *p, const char *name)
{
    size_t n_bad = 0;
    assert_memory_equal(p->data + p->at, "TOKC", 4);
    p->at += 4;
    const size_t n = pack_number(p);
    for (size_t i = 0; i < n; i++)
        n_bad += !one_case(v, p);
    if (n_bad)
        fail_msg("%s: %zu of %zu strings differ", name, n_bad, n);
    return n;
}

static void vocabularies(void **state)
{
    (void)state;
    static const char *const names[] = {
        "smollm", "llama-spm", "phi-3",          "bert-bge",     "gpt-2",  "starcoder", "refact",
        "mpt",    "falcon",    "deepseek-coder", "deepseek-llm", "gemma4", "ugm",
    };
    size_t n = 0;
    for (size_t i = 0; i < TEST_COUNT(names); i++) {
        char path[512];
        (void)snprintf(path, sizeof path, "%s/tok/%s.vocab", TEST_DATA_DIR, names[i]);
        tok_vocab *v = pack_open(path);
        (void)snprintf(path, sizeof path, "%s/tok/%s.cases", TEST_DATA_DIR, names[i]);
        pack p = pack_read(path);
        p.at = 0;
        n += all_cases(v, &p, names[i]);
        assert_int_equal(p.at, p.n);
        free(p.data);
        tok_close(v);
    }
    print_message("%zu strings of %zu vocabularies\n", n, TEST_COUNT(names));
}

/* Names that llama.cpp does not know, taken from a fork of it. */
static bool has_no_oracle(const char *name)
{
    return strcmp(name, "cohere2_moe") == 0 || strcmp(name, "openpangu") == 0;
}

/* Every name of the table, on a vocabulary in which the ids show where the text was cut. */
static void pre_tokenizers(void **state)
{
    (void)state;
    pack_vocab def;
    pack_vocab_read(&def, TEST_DATA("tok/closure.vocab"));
    pack p = pack_read(TEST_DATA("tok/pre.cases"));
    size_t n_name = 0;
    for (size_t group = pack_number(&p); group > 0; group--) {
        tok_str names[64];
        const size_t n = pack_number(&p);
        assert_true(n <= TEST_COUNT(names));
        for (size_t i = 0; i < n; i++)
            names[i] = pack_string(&p);
        const size_t at = p.at;
        for (size_t i = 0; i < n; i++) {
            char name[64];
            (void)snprintf(name, sizeof name, "%.*s", (int)names[i].n, names[i].text);
            tok_vocab *v;
            def.def.pre = names[i];
            assert_int_equal(tok_open(&def.def, &v, NULL), CAMA_OK);
            p.at = at;
            (void)all_cases(v, &p, name); /* the same number for each */
            tok_close(v);
        }
        n_name += n;
    }
    assert_int_equal(p.at, p.n);
    size_t n_table = 0;
    for (size_t i = 0; tok_pre_at(i); i++)
        n_table += !has_no_oracle(tok_pre_at(i)->name);
    assert_int_equal(n_name, n_table);
    print_message("%zu names\n", n_name);
    free(p.data);
    pack_vocab_done(&def);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vocabularies),
        cmocka_unit_test(pre_tokenizers),
    };
    return cmocka_run_group_tests_name("tok_llama", tests, NULL, NULL);
}
