#include "tok_small.h"
#include "test.h"

static tok_vocab *open_ok(const small_vocab *s)
{
    tok_vocab *v = NULL;
    err_info err = {0};
    if (tok_open(&s->def, &v, &err))
        fail_msg("%s", err.text);
    return v;
}

static void fails(const small_vocab *s, cama_err code, const char *word)
{
    tok_vocab *v = NULL;
    err_info err = {0};
    assert_int_equal(tok_open(&s->def, &v, &err), code);
    assert_null(v);
    assert_non_null(strstr(err.text, word));
}

/* What is wrong with a definition is named. */
static void bad_definitions(void **state)
{
    (void)state;
    static small_vocab s;
    small_init(&s, SMALL_BPE);
    s.def.model = (tok_str){"plamo2", 6};
    fails(&s, CAMA_ERR_UNSUPPORTED, "plamo2");
    small_init(&s, SMALL_BPE);
    s.def.pre = (tok_str){"nobody", 6};
    fails(&s, CAMA_ERR_UNSUPPORTED, "nobody");
    small_init(&s, SMALL_BPE);
    s.def.n_token = 0;
    fails(&s, CAMA_ERR_FORMAT, "no tokens");
    small_init(&s, SMALL_BPE);
    s.merges[3] = (tok_str){"together", 8};
    fails(&s, CAMA_ERR_FORMAT, "together");
    small_init(&s, SMALL_BPE);
    s.merges[3] = (tok_str){" a", 2};
    fails(&s, CAMA_ERR_FORMAT, "merge 3");
    small_init(&s, SMALL_SPM);
    s.tokens[9].n = (size_t)1 << 20;
    fails(&s, CAMA_ERR_LIMIT, "token 9");
    small_init(&s, SMALL_SPM);
    s.def.n_token = UINT32_MAX;
    fails(&s, CAMA_ERR_LIMIT, "tokens");
}

/* The table of characters is foreign bytes: its sizes are checked, and it ends with a NUL. */
static void bad_charsmap(void **state)
{
    (void)state;
    static const uint8_t bytes[][9] = {{8, 0, 0, 0, 1, 2, 3, 4, 0},
                                       {4, 0, 0, 0, 1, 2, 3, 4, 'x'},
                                       {3, 0, 0, 0, 1, 2, 3, 4, 0},
                                       {255, 255, 255, 255, 1, 2, 3, 4, 0}};
    static small_vocab s;
    for (size_t i = 0; i < TEST_COUNT(bytes); i++) {
        small_init(&s, SMALL_UGM);
        s.def.charsmap = bytes[i];
        s.def.n_charsmap = sizeof bytes[i];
        fails(&s, CAMA_ERR_FORMAT, "precompiled_charsmap");
    }
    s.def.n_charsmap = 3;
    fails(&s, CAMA_ERR_FORMAT, "3 bytes");
}

/* A model for tests of the engine: ids and nothing behind them. */
static void no_vocabulary(void **state)
{
    (void)state;
    small_vocab *s = calloc(1, sizeof *s);
    assert_non_null(s);
    s->def = tok_vocab_def_init();
    s->def.model = (tok_str){"no_vocab", 8};
    s->def.n_token = 32;
    s->def.eos = 7;
    tok_vocab *v = open_ok(s);
    tok_ids ids;
    buf out;
    tok_ids_init(&ids, 10);
    buf_init(&out, 10);
    assert_int_equal(tok_n_token(v), 32);
    assert_true(tok_is_eog(v, 7));
    assert_false(tok_is_eog(v, 8));
    assert_int_equal(tok_encode(v, "", 0, (tok_flags){0}, &ids, NULL), CAMA_OK);
    assert_int_equal(tok_encode(v, "x", 1, (tok_flags){0}, &ids, NULL), CAMA_ERR_UNSUPPORTED);
    assert_int_equal(tok_piece(v, 31, true, &out, NULL), CAMA_OK);
    assert_int_equal(tok_piece(v, 32, true, &out, NULL), CAMA_ERR_ARG);
    assert_int_equal(out.n, 0);
    assert_int_equal(tok_text(v, 5).n, 0);
    tok_close(v);
    free(s);
    tok_close(NULL);
}

/* Ids and flags: the algorithm's, then the pre-tokenizer's, then the file's. */
static void defaults_and_given(void **state)
{
    (void)state;
    static small_vocab s;
    small_init(&s, SMALL_SPM);
    s.def.bos = s.def.eos = s.def.unk = TOK_UNSET;
    tok_vocab *v = open_ok(&s);
    const tok_special *sp = tok_specials(v);
    assert_int_equal(sp->bos, 1);
    assert_int_equal(sp->eos, 2);
    assert_int_equal(sp->unk, 0);
    assert_int_equal(sp->sep, TOK_NONE);
    assert_true(sp->add_bos);
    assert_false(sp->add_eos);
    tok_close(v);

    small_init(&s, SMALL_BPE);
    s.def.bos = 1 << 20; /* past the end: the default holds */
    s.def.eos = TOK_NONE;
    s.def.add_eos = 1;
    s.def.pre = (tok_str){"llama-bpe", 9};
    v = open_ok(&s);
    sp = tok_specials(v);
    assert_int_equal(sp->bos, 11);
    assert_int_equal(sp->eos, TOK_NONE);
    assert_true(sp->add_bos);
    assert_true(sp->add_eos);
    tok_close(v);

    s.def.pre = (tok_str){"glm4", 4};
    s.def.bos = TOK_UNSET;
    v = open_ok(&s);
    assert_int_equal(tok_specials(v)->bos, TOK_NONE);
    tok_close(v);
}

static int32_t id_of(const tok_vocab *v, const char *text)
{
    for (uint32_t i = 0; i < tok_n_token(v); i++)
        if (tok_text(v, (int32_t)i).n == strlen(text) &&
            memcmp(tok_text(v, (int32_t)i).text, text, strlen(text)) == 0)
            return (int32_t)i;
    return TOK_NONE;
}

/* Models end their turn with other tokens than eos; they are known by their texts. */
static void ends_of_generation(void **state)
{
    (void)state;
    static small_vocab s;
    small_init(&s, SMALL_BPE);
    const int32_t eom = small_put(&s, "<|eom_id|>", TOK_NORMAL);
    const int32_t pad = small_put(&s, "<fim_pad>", TOK_NORMAL);
    tok_vocab *v = open_ok(&s);
    assert_true(tok_is_eog(v, id_of(v, "<|endoftext|>")));
    assert_true(tok_is_eog(v, id_of(v, "<|im_end|>")));
    assert_true(tok_is_eog(v, eom));
    assert_true(tok_is_eog(v, pad));
    assert_int_equal(tok_attr_of(v, eom), TOK_CONTROL); /* whatever the file said */
    assert_int_equal(tok_specials(v)->eot, id_of(v, "<|im_end|>"));
    assert_int_equal(tok_specials(v)->eom, eom);
    assert_int_equal(tok_specials(v)->fim_pad, pad);
    assert_false(tok_is_eog(v, 'a'));
    assert_false(tok_is_eog(v, -1));
    assert_false(tok_is_eog(v, INT32_MAX));
    tok_close(v);
}

/* gpt-oss has <|end|> inside of a turn; gemma4 has </s> as a tag. */
static void exceptions_to_ends(void **state)
{
    (void)state;
    static small_vocab s;
    small_init(&s, SMALL_BPE);
    const int32_t end = small_put(&s, "<|end|>", TOK_CONTROL);
    tok_vocab *v = open_ok(&s);
    assert_true(tok_is_eog(v, end));
    tok_close(v);
    const int32_t back = small_put(&s, "<|return|>", TOK_CONTROL);
    (void)small_put(&s, "<|call|>", TOK_CONTROL);
    const int32_t channel = small_put(&s, "<|channel|>", TOK_CONTROL);
    v = open_ok(&s);
    assert_false(tok_is_eog(v, end));
    assert_int_equal(tok_attr_of(v, end), TOK_USER);
    assert_int_equal(tok_attr_of(v, channel), TOK_USER);
    assert_true(tok_is_eog(v, back));
    tok_close(v);

    small_init(&s, SMALL_BPE);
    const int32_t tag = small_put(&s, "</s>", TOK_CONTROL);
    const int32_t tool = small_put(&s, "<|tool_response>", TOK_CONTROL);
    v = open_ok(&s);
    assert_false(tok_is_eog(v, tag));
    assert_true(tok_is_eog(v, tool));
    tok_close(v);
}

/* A token without text gets a name; of two equal texts the last id is found. */
static void odd_texts(void **state)
{
    (void)state;
    static small_vocab s;
    small_init(&s, SMALL_BPE);
    const int32_t empty = small_put(&s, "", TOK_NORMAL);
    const int32_t again = small_put(&s, "abc", TOK_USER);
    tok_vocab *v = open_ok(&s);
    char name[32];
    (void)snprintf(name, sizeof name, "[EMPTY_%d]", empty);
    assert_int_equal(id_of(v, name), empty);
    tok_ids ids;
    tok_ids_init(&ids, 10);
    assert_int_equal(tok_encode(v, "abc", 3, (tok_flags){0}, &ids, NULL), CAMA_OK);
    assert_int_equal(ids.n, 1);
    assert_int_equal(ids.id[0], again);
    tok_ids_done(&ids);
    tok_close(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_definitions),    cmocka_unit_test(bad_charsmap),
        cmocka_unit_test(no_vocabulary),      cmocka_unit_test(defaults_and_given),
        cmocka_unit_test(ends_of_generation), cmocka_unit_test(exceptions_to_ends),
        cmocka_unit_test(odd_texts),
    };
    return cmocka_run_group_tests_name("tok_open", tests, NULL, NULL);
}
