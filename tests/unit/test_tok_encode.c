#include "tok_small.h"
#include "test.h"

#include "base/clock.h"
#include "tok/tok_class.h"
#include "tok/tok_pre.h"

static small_vocab small;

static tok_vocab *open_small(small_kind kind)
{
    tok_vocab *v;
    small_init(&small, kind);
    assert_int_equal(tok_open(&small.def, &v, NULL), CAMA_OK);
    return v;
}

/* The ids of text as their texts, joined by '|': easier to read than numbers. */
static const char *cut(const tok_vocab *v, const char *text, tok_flags flags)
{
    static char line[4096];
    tok_ids ids;
    size_t n = 0;
    tok_ids_init(&ids, 1000);
    assert_int_equal(tok_encode(v, text, strlen(text), flags, &ids, NULL), CAMA_OK);
    line[0] = '\0';
    for (size_t i = 0; i < ids.n; i++) {
        const tok_str t = tok_text(v, ids.id[i]);
        n += (size_t)snprintf(line + n, sizeof line - n, "%s%.*s", i ? "|" : "", (int)t.n, t.text);
    }
    tok_ids_done(&ids);
    return line;
}

static const tok_flags plain = {0};
static const tok_flags parse = {.parse_special = true};

static void bpe_merges_by_rank(void **state)
{
    (void)state;
    tok_vocab *v = open_small(SMALL_BPE);
    assert_string_equal(cut(v, "", plain), "");
    assert_string_equal(cut(v, "hello world", plain), "hello|Ġworld");
    assert_string_equal(cut(v, "hell", plain), "hell");
    assert_string_equal(cut(v, "aaaaaaa", plain), "aaaaaa|a");
    assert_string_equal(cut(v, "é", plain), "Ã©");
    assert_string_equal(cut(v, "😀", plain), "ðŁĺĢ");
    assert_string_equal(cut(v, "\xFF", plain), "ï|¿|½"); /* U+FFFD: there is no other way in */
    tok_close(v);
}

/* ignore_merges: a word that is a token is taken although no merges lead to it. */
static void bpe_whole_words(void **state)
{
    (void)state;
    small_init(&small, SMALL_BPE);
    (void)small_put(&small, "xyz", TOK_NORMAL);
    tok_vocab *v;
    assert_int_equal(tok_open(&small.def, &v, NULL), CAMA_OK);
    assert_string_equal(cut(v, "xyz", plain), "x|y|z");
    tok_close(v);
    small.def.pre = (tok_str){"llama3", 6};
    assert_int_equal(tok_open(&small.def, &v, NULL), CAMA_OK);
    assert_string_equal(cut(v, "xyz", plain), "xyz");
    tok_close(v);
}

/* The same merges one by one over the whole word: slow, and plain to see. */
static size_t merge_slowly(const small_vocab *s, const char *text, size_t n, char out[256][8])
{
    for (size_t i = 0; i < n; i++)
        (void)snprintf(out[i], 8, "%c", text[i]);
    for (bool found = true; found;) {
        found = false;
        for (size_t rank = 0; rank < s->def.n_merge && !found; rank++)
            for (size_t i = 0; i + 1 < n && !found; i++) {
                char pair[32];
                (void)snprintf(pair, sizeof pair, "%.7s %.7s", out[i], out[i + 1]);
                found = strlen(pair) == s->merges[rank].n &&
                        memcmp(pair, s->merges[rank].text, strlen(pair)) == 0;
                if (!found)
                    continue;
                (void)snprintf(pair, sizeof pair, "%.7s%.7s", out[i], out[i + 1]);
                (void)snprintf(out[i], 8, "%.7s", pair);
                memmove(out[i + 1], out[i + 2], (n - i - 2) * 8);
                n--;
            }
    }
    return n;
}

/* Words on both sides of the length where the queue takes over. */
static void bpe_long_words(void **state)
{
    (void)state;
    tok_vocab *v = open_small(SMALL_BPE);
    uint32_t seed = 1;
    for (size_t n = 1; n < 120; n++) {
        char text[256] = {0};
        static char want[256][8];
        for (size_t i = 0; i < n; i++) {
            seed = seed * 1664525 + 1013904223;
            text[i] = "aaaahello"[(seed >> 16) % 9];
        }
        const size_t n_want = merge_slowly(&small, text, n, want);
        tok_ids ids;
        tok_ids_init(&ids, 1000);
        assert_int_equal(tok_encode(v, text, n, plain, &ids, NULL), CAMA_OK);
        assert_int_equal(ids.n, n_want);
        for (size_t i = 0; i < n_want; i++) {
            const tok_str t = tok_text(v, ids.id[i]);
            assert_int_equal(t.n, strlen(want[i]));
            assert_memory_equal(t.text, want[i], t.n);
        }
        tok_ids_done(&ids);
    }
    tok_close(v);
}

static void specials_are_cut_out(void **state)
{
    (void)state;
    tok_vocab *v = open_small(SMALL_BPE);
    assert_string_equal(cut(v, "hello<|im_end|>hello", parse), "hello|<|im_end|>|hello");
    assert_string_equal(cut(v, "<|im_end|>", plain), "<||i|m|_|e|n|d||>");
    /* user-defined tokens always, the longest first wherever it stands */
    assert_string_equal(cut(v, "<tool>", plain), "<tool>");
    assert_string_equal(cut(v, "<tool>abc", plain), "<tool>ab|c");
    assert_string_equal(cut(v, "<tool>zabc", plain), "<tool>|z|abc");
    assert_string_equal(cut(v, "<tool", plain), "<|t|o|o|l");
    const tok_flags all = {true, true};
    assert_string_equal(cut(v, "hello", all), "hello");
    tok_close(v);

    v = open_small(SMALL_SPM);
    assert_string_equal(cut(v, "hello", all), "<s>|▁hello");
    assert_string_equal(cut(v, "</s>hello world", all), "<s>|</s>|▁hello|▁world");
    tok_close(v);
}

/* phi-3: white space behind a special token is its own, but not behind <s>. */
static void white_space_of_specials(void **state)
{
    (void)state;
    small_init(&small, SMALL_SPM);
    small.def.name = (tok_str){"Phi-3 mini", 10};
    tok_vocab *v;
    assert_int_equal(tok_open(&small.def, &v, NULL), CAMA_OK);
    assert_string_equal(cut(v, "<|user|>\n hello", parse), "<|user|>|▁hello");
    assert_string_equal(cut(v, "<|user|> \n", parse), "<|user|>");
    assert_string_equal(cut(v, "<s>\nhello", parse), "<s>|▁|<0x0A>|hello");
    tok_close(v);
    small.def.name = (tok_str){"nomic", 5};
    small.def.arch = (tok_str){"nomic-bert-moe", 14};
    (void)small_put(&small, "<mask>", TOK_CONTROL);
    assert_int_equal(tok_open(&small.def, &v, NULL), CAMA_OK);
    assert_string_equal(cut(v, "hello \t<mask> ", parse), "▁hello|<mask>|▁▁");
    tok_close(v);
}

static void spm_pieces_and_bytes(void **state)
{
    (void)state;
    tok_vocab *v = open_small(SMALL_SPM);
    assert_string_equal(cut(v, "hello  world", plain), "▁hello|▁|▁world");
    assert_string_equal(cut(v, "日本é€", plain), "▁|日本|é|<0xE2>|<0x82>|<0xAC>");
    assert_string_equal(cut(v, "\xFF\xE2", plain), "▁|<0xFF>|<0xE2>");
    tok_close(v);
    small.def.add_space_prefix = 0;
    assert_int_equal(tok_open(&small.def, &v, NULL), CAMA_OK);
    assert_string_equal(cut(v, "hello", plain), "hello");
    tok_close(v);
}

static void wpm_words(void **state)
{
    (void)state;
    tok_vocab *v = open_small(SMALL_WPM);
    const tok_flags add = {.add_special = true};
    assert_string_equal(cut(v, "Hello, WORLD!", add), "[CLS]|▁hello|[UNK]|▁world|▁!|[SEP]");
    assert_string_equal(cut(v, "unable abc", plain), "▁un|able|▁a|b|c");
    assert_string_equal(cut(v, "unablex", plain), "[UNK]");
    assert_string_equal(cut(v, "Café日hello's", plain), "▁cafe|▁日|▁hello|▁'|▁s");
    assert_string_equal(cut(v, "cafe\xCC\x81\xC2\xA0\x01world", plain), "▁cafe|▁world");
    tok_close(v);
    small.def.lowercase = 0;
    assert_int_equal(tok_open(&small.def, &v, NULL), CAMA_OK);
    assert_string_equal(cut(v, "hello World", plain), "▁hello|[UNK]");
    tok_close(v);
}

static void ugm_best_sum(void **state)
{
    (void)state;
    tok_vocab *v = open_small(SMALL_UGM);
    const tok_flags add = {.add_special = true};
    assert_string_equal(cut(v, "hello world", add), "▁hello|▁wor|ld|</s>");
    assert_string_equal(cut(v, "hellohell", plain), "▁hello|hell");
    assert_string_equal(cut(v, "xyz日本", plain), "▁|<unk>|日本"); /* one for the run */
    assert_string_equal(cut(v, "atoolb", plain), "▁|<unk>|tool|▁|<unk>");
    assert_string_equal(cut(v, "o  o", plain), "▁|o|▁|▁|o");
    tok_close(v);
    small.def.remove_extra_whitespaces = 1;
    assert_int_equal(tok_open(&small.def, &v, NULL), CAMA_OK);
    assert_string_equal(cut(v, "  o   o ", plain), "▁|o|▁|o");
    tok_close(v);
}

/* A failing call leaves the list as it was. */
static void limit_of_ids(void **state)
{
    (void)state;
    tok_vocab *v = open_small(SMALL_BPE);
    tok_ids ids;
    err_info err = {0};
    tok_ids_init(&ids, 3);
    assert_int_equal(tok_encode(v, "xy", 2, plain, &ids, NULL), CAMA_OK);
    assert_int_equal(tok_encode(v, "xy", 2, plain, &ids, &err), CAMA_ERR_LIMIT);
    assert_non_null(strstr(err.text, "3 tokens"));
    assert_int_equal(ids.n, 2);
    tok_ids_done(&ids);
    tok_close(v);
}

/* One megabyte of what could make a merge, an expression or the search for special tokens look at
 * everything again and again. Each takes well under a second; quadratic would take minutes. */
static void nothing_is_quadratic(void **state)
{
    (void)state;
    static const char *const units[] = {"a",      " ",  "\n",    "1",         "!",
                                        "'",      "aA", "\t \n", "é",         "<|im_end|",
                                        "<tool>", "　", " x",    "a\xCC\x81", "\xFF"};
    enum { N = 1 << 20 };
    char *text = malloc(N);
    assert_non_null(text);
    const uint64_t start_ns = clock_now_ns();
    for (int k = 0; k < 3; k++) {
        static const char *const pre[] = {"default", "deepseek-llm", "exaone-moe"};
        small_init(&small, k < 2 ? SMALL_BPE : SMALL_SPM);
        small.def.pre = (tok_str){pre[k], strlen(pre[k])};
        tok_vocab *v;
        assert_int_equal(tok_open(&small.def, &v, NULL), CAMA_OK);
        for (size_t u = 0; u < TEST_COUNT(units); u++) {
            const size_t n = strlen(units[u]);
            for (size_t i = 0; i < N; i++)
                text[i] = units[u][i % n];
            text[N - 1] = 'x'; /* so that runs do not end the text */
            tok_ids ids;
            tok_ids_init(&ids, SIZE_MAX);
            assert_int_equal(tok_encode(v, text, N, parse, &ids, NULL), CAMA_OK);
            assert_true(ids.n > 0);
            tok_ids_done(&ids);
        }
        tok_close(v);
    }
    assert_true(clock_now_ns() - start_ns < (uint64_t)300 * 1000000000u);
    free(text);
}

static void classes(void **state)
{
    (void)state;
    static uint8_t bmp[65536];
    assert_int_equal(tok_class_of('a'), TOK_CLASS_LOWER);
    assert_int_equal(tok_class_of('A'), TOK_CLASS_UPPER);
    assert_int_equal(tok_class_of(0x01C5), TOK_CLASS_TITLE);
    assert_int_equal(tok_class_of(0x02B0), TOK_CLASS_MODIFIER);
    assert_int_equal(tok_class_of(0x4E00), TOK_CLASS_LETTER);
    assert_int_equal(tok_class_of(0x2EBF0), TOK_CLASS_LETTER); /* new in 15.1 */
    assert_int_equal(tok_class_of(0x0301), TOK_CLASS_MARK);
    assert_int_equal(tok_class_of(0x00BD), TOK_CLASS_NUMBER);
    assert_int_equal(tok_class_of('$'), TOK_CLASS_SYMBOL);
    assert_int_equal(tok_class_of(0x3002), TOK_CLASS_PUNCT);
    assert_int_equal(tok_class_of(0x180E), TOK_CLASS_CONTROL); /* no white space since 6.3 */
    assert_int_equal(tok_class_of(0x0378), TOK_CLASS_OTHER);
    assert_int_equal(tok_class_of(0x110000), TOK_CLASS_OTHER);
    static const uint32_t spaces[] = {9,      0x85,   0xA0,   0x1680, 0x2000,
                                      0x200A, 0x2028, 0x202F, 0x3000};
    for (size_t i = 0; i < TEST_COUNT(spaces); i++)
        assert_int_equal(tok_class_of(spaces[i]), TOK_CLASS_SPACE);
    tok_class_fill(bmp);
    for (uint32_t cp = 0; cp < 65536; cp++)
        assert_int_equal(bmp[cp], tok_class_of(cp));
}

/* Every expression of the table compiles, and its pieces join to the text. */
static void sets_cover_the_text(void **state)
{
    (void)state;
    static const char text[] =
        "The 12345 naïve don't  \r\n\t中文字、한글 ÉCOLE (x)　½ 👩‍👩 end ";
    tok_pieces p;
    tok_pieces_init(&p);
    for (size_t i = 0; tok_pre_at(i); i++) {
        tok_splitter *s;
        assert_int_equal(tok_splitter_new(tok_pre_at(i)->set, &s, NULL), CAMA_OK);
        assert_int_equal(tok_split(s, text, sizeof text - 1, &p, NULL), CAMA_OK);
        assert_true(p.n_piece > 1 || strcmp(tok_pre_at(i)->name, "gemma4") == 0);
        for (size_t k = 1; k < p.n_piece; k++)
            assert_true(p.end[k] > p.end[k - 1]);
        assert_int_equal(p.end[p.n_piece - 1], sizeof text - 1);
        tok_splitter_free(s);
    }
    tok_pieces_done(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bpe_merges_by_rank),
        cmocka_unit_test(bpe_whole_words),
        cmocka_unit_test(bpe_long_words),
        cmocka_unit_test(specials_are_cut_out),
        cmocka_unit_test(white_space_of_specials),
        cmocka_unit_test(spm_pieces_and_bytes),
        cmocka_unit_test(wpm_words),
        cmocka_unit_test(ugm_best_sum),
        cmocka_unit_test(limit_of_ids),
        cmocka_unit_test(nothing_is_quadratic),
        cmocka_unit_test(classes),
        cmocka_unit_test(sets_cover_the_text),
    };
    return cmocka_run_group_tests_name("tok_encode", tests, NULL, NULL);
}
