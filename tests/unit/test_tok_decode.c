#include "tok_small.h"
#include "test.h"

static small_vocab small;

static tok_vocab *open_small(small_kind kind)
{
    tok_vocab *v;
    small_init(&small, kind);
    assert_int_equal(tok_open(&small.def, &v, NULL), CAMA_OK);
    return v;
}

static int32_t id_of(const tok_vocab *v, const char *text)
{
    for (uint32_t i = 0; i < tok_n_token(v); i++)
        if (tok_text(v, (int32_t)i).n == strlen(text) &&
            memcmp(tok_text(v, (int32_t)i).text, text, strlen(text)) == 0)
            return (int32_t)i;
    fail_msg("no token %s", text);
    return TOK_NONE;
}

static void pieces_by_kind(void **state)
{
    (void)state;
    buf out;
    buf_init(&out, 1000);
    tok_vocab *v = open_small(SMALL_BPE);
    assert_int_equal(tok_piece(v, id_of(v, "Ġworld"), false, &out, NULL), CAMA_OK);
    assert_int_equal(tok_piece(v, id_of(v, "Ã©"), false, &out, NULL), CAMA_OK);
    assert_int_equal(tok_piece(v, id_of(v, "<|im_end|>"), false, &out, NULL), CAMA_OK);
    assert_int_equal(tok_piece(v, id_of(v, "<tool>"), false, &out, NULL), CAMA_OK);
    assert_int_equal(tok_piece(v, id_of(v, "<|im_end|>"), true, &out, NULL), CAMA_OK);
    assert_string_equal(out.data, " worldé<tool><|im_end|>");
    assert_int_equal(tok_piece(v, -1, true, &out, NULL), CAMA_ERR_ARG);
    assert_int_equal(tok_piece(v, (int32_t)tok_n_token(v), true, &out, NULL), CAMA_ERR_ARG);
    tok_close(v);
    buf_clear(&out);
    v = open_small(SMALL_SPM);
    assert_int_equal(tok_piece(v, id_of(v, "▁hello"), false, &out, NULL), CAMA_OK);
    assert_int_equal(tok_piece(v, id_of(v, "<0x41>"), false, &out, NULL), CAMA_OK);
    assert_int_equal(tok_piece(v, id_of(v, "<unk>"), false, &out, NULL), CAMA_OK);
    assert_string_equal(out.data, " helloA");
    tok_close(v);
    buf_done(&out);
}

static void decodes_to(const tok_vocab *v, const int32_t *ids, size_t n, const char *want)
{
    buf out;
    buf_init(&out, 1000);
    (void)buf_puts(&out, "before "); /* what is there already is left alone */
    assert_int_equal(tok_decode(v, ids, n, false, &out, NULL), CAMA_OK);
    assert_int_equal(out.n, 7 + strlen(want));
    assert_memory_equal(out.data, "before ", 7);
    assert_memory_equal(out.data + 7, want, strlen(want));
    buf_done(&out);
}

/* The space that encoding put before the text goes, and no other. */
static void leading_space(void **state)
{
    (void)state;
    tok_vocab *v = open_small(SMALL_SPM);
    const int32_t hello = id_of(v, "▁hello");
    const int32_t ids[] = {hello, hello};
    decodes_to(v, ids, 2, "hello hello");
    const int32_t with_bos[] = {id_of(v, "<s>"), hello};
    decodes_to(v, with_bos, 2, " hello"); /* as in llama.cpp: BOS was the first piece */
    decodes_to(v, NULL, 0, "");
    tok_close(v);
}

static void decode_text(const tok_vocab *v, const char *text, const char *want)
{
    tok_ids ids;
    tok_ids_init(&ids, 100);
    assert_int_equal(tok_encode(v, text, strlen(text), (tok_flags){0}, &ids, NULL), CAMA_OK);
    decodes_to(v, ids.id, ids.n, want);
    tok_ids_done(&ids);
}

static void clean_spaces(void **state)
{
    (void)state;
    tok_vocab *v = open_small(SMALL_BPE);
    decode_text(v, "a , b . c ! d ? e", "a, b. c! d? e");
    decode_text(v, "it 's we 're you 've I 'm", "it's we're you've I'm");
    decode_text(v, "do n't I 'd he 'll", "do n't I 'd he 'll");
    decode_text(v, "x ' y", "x'y");
    decode_text(v, " ,", ",");
    tok_close(v);
    small.def.clean_spaces = 0;
    assert_int_equal(tok_open(&small.def, &v, NULL), CAMA_OK);
    decode_text(v, "a , b", "a , b");
    tok_close(v);
}

/* Pushes the bytes of text one token at a time; gives what came out, '|' after each push. */
static const char *stream(const tok_vocab *v, const char *text, bool continues)
{
    static char line[1000];
    tok_stream s;
    tok_ids ids;
    buf out;
    tok_ids_init(&ids, 100);
    buf_init(&out, sizeof line - 1);
    assert_int_equal(tok_encode(v, text, strlen(text), (tok_flags){0}, &ids, NULL), CAMA_OK);
    tok_stream_init(&s, v, false, continues);
    for (size_t i = 0; i < ids.n; i++) {
        assert_int_equal(tok_stream_push(&s, ids.id[i], &out, NULL), CAMA_OK);
        (void)buf_putc(&out, '|');
    }
    assert_int_equal(tok_stream_end(&s, &out, NULL), CAMA_OK);
    (void)snprintf(line, sizeof line, "%s", out.data);
    tok_ids_done(&ids);
    buf_done(&out);
    return line;
}

static void whole_characters(void **state)
{
    (void)state;
    tok_vocab *v = open_small(SMALL_SPM);
    assert_string_equal(stream(v, "hello€", false), "hello|||€|");
    assert_string_equal(stream(v, "hello", true), " hello|");
    assert_string_equal(stream(v, "\xE2\x82z", false), "|||�z|"); /* bytes, then what ends them */
    assert_string_equal(stream(v, "a\xE2\x82", false), "|a|||�");
    assert_string_equal(stream(v, "\xFFz", false), "|�|z|");
    tok_close(v);
}

/* A failing push can be tried again: nothing is lost or given twice. */
static void full_buffer(void **state)
{
    (void)state;
    tok_vocab *v = open_small(SMALL_SPM);
    tok_stream s;
    buf out;
    buf_init(&out, 4);
    tok_stream_init(&s, v, false, false);
    assert_int_equal(tok_stream_push(&s, id_of(v, "▁hello"), &out, NULL), CAMA_ERR_LIMIT);
    assert_int_equal(out.n, 0);
    out.max_bytes = 100;
    out.fail = CAMA_OK;
    assert_int_equal(tok_stream_push(&s, id_of(v, "▁hello"), &out, NULL), CAMA_OK);
    assert_string_equal(out.data, "hello");
    assert_int_equal(tok_stream_push(&s, -5, &out, NULL), CAMA_ERR_ARG);
    assert_string_equal(out.data, "hello");
    buf_done(&out);
    tok_close(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_by_kind), cmocka_unit_test(leading_space),
        cmocka_unit_test(clean_spaces),   cmocka_unit_test(whole_characters),
        cmocka_unit_test(full_buffer),
    };
    return cmocka_run_group_tests_name("tok_decode", tests, NULL, NULL);
}
