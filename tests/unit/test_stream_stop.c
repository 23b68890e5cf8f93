/* Streams: stop strings however tokens cut them, whole characters, and what the sink hears. */
#include "test.h"

#include "base/utf8.h"
#include "stream/stream.h"

/* A vocabulary of single bytes behind <unk>, <s>, </s>, and a few longer pieces. */
enum {
    FIRST_BYTE = 3,
    FIRST_PIECE = FIRST_BYTE + 256,
    N_PIECE = 6,
    N_TOKEN = FIRST_PIECE + N_PIECE
};
static const char *const pieces[N_PIECE] = {"ab", "ba", "abc", "aab", "cab", "bb"};
static tok_vocab *vocab;

static int open_vocab(void **state)
{
    (void)state;
    static tok_str tokens[N_TOKEN] = {{"<unk>", 5}, {"<s>", 3}, {"</s>", 4}};
    static int32_t types[N_TOKEN] = {TOK_UNKNOWN, TOK_CONTROL, TOK_CONTROL};
    static float scores[N_TOKEN];
    static char names[256][8];
    for (int b = 0; b < 256; b++) {
        snprintf(names[b], sizeof names[b], "<0x%02X>", (unsigned)b);
        tokens[FIRST_BYTE + b] = (tok_str){names[b], 6};
        types[FIRST_BYTE + b] = TOK_BYTE;
    }
    for (int i = 0; i < N_PIECE; i++) {
        tokens[FIRST_PIECE + i] = (tok_str){pieces[i], strlen(pieces[i])};
        types[FIRST_PIECE + i] = TOK_NORMAL;
    }
    tok_vocab_def d = tok_vocab_def_init();
    d.model = (tok_str){"llama", 5};
    d.tokens = tokens;
    d.types = types;
    d.scores = scores;
    d.n_token = N_TOKEN;
    err_info err = {0};
    if (tok_open(&d, &vocab, &err)) {
        print_error("%s\n", err.text);
        return -1;
    }
    return 0;
}

static int close_vocab(void **state)
{
    (void)state;
    tok_close(vocab);
    return 0;
}

/* A sink that remembers. */
typedef struct heard {
    buf text;
    size_t n_call;
    stream_flow flow; /* what the sink answers */
    bool ready, whole;
    size_t start[64]; /* where the text of each token begins that was pushed with its probability */
    size_t n_start, n_told;
    size_t last_n_prob;
    int n_done, n_fail;
    stream_end end;
} heard;

static stream_flow hear_text(void *user, const char *text, size_t n, const stream_prob *probs,
                             size_t n_prob)
{
    heard *h = user;
    h->n_call++;
    h->last_n_prob = n_prob;
    for (size_t i = 0; i < n_prob; i++) { /* each once, in order, with the piece it begins in */
        assert_in_range(h->start[h->n_told], h->text.n, h->text.n + n - 1);
        assert_true(probs[i].token.logprob == -(float)h->n_told);
        h->n_told++;
    }
    h->whole = h->whole && n > 0 && utf8_valid(text, n);
    assert_int_equal(buf_append(&h->text, text, n), CAMA_OK);
    return h->flow;
}

static bool hear_ready(void *user)
{
    return ((heard *)user)->ready;
}

static void hear_done(void *user, const stream_end *end)
{
    heard *h = user;
    h->n_done++;
    h->end = *end;
}

static void hear_fail(void *user, const err_info *err)
{
    (void)err;
    ((heard *)user)->n_fail++;
}

static stream *open_stream(heard *h, const char *const *stop, size_t n_stop)
{
    *h = (heard){.whole = true, .flow = STREAM_GO};
    buf_init(&h->text, 1 << 20);
    const stream_opts o = {.vocab = vocab, .stop = stop, .n_stop = n_stop};
    const stream_sink sink = {h, hear_text, hear_ready, NULL, hear_done, hear_fail};
    stream *s;
    assert_int_equal(stream_open(&o, &sink, &s, NULL), CAMA_OK);
    return s;
}

/* With a probability that is its number. */
static stream_state push_counted(stream *s, heard *h, int32_t id, size_t start)
{
    const stream_alt top[2] = {{.id = id}, {.id = FIRST_PIECE}};
    const stream_prob p = {
        .token = {.id = id, .logprob = -(float)h->n_start}, .top = top, .n_top = 2};
    assert_true(h->n_start < TEST_COUNT(h->start));
    h->start[h->n_start++] = start;
    return stream_token(s, id, &p, NULL);
}

static const char *text_of(const heard *h)
{
    return h->text.data ? h->text.data : "";
}

static void finish(stream *s, heard *h, stream_reason reason)
{
    stream_end end = {.reason = reason, .stop_index = -1};
    stream_done(s, &end);
    stream_done(s, &end); /* told once */
    stream_fail(s, &(err_info){CAMA_ERR_ENGINE, ""});
    assert_int_equal(h->n_done, 1);
    assert_int_equal(h->n_fail, 0);
    stream_close(s);
}

static uint32_t random_u32(void)
{
    static uint64_t state = 42;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33);
}

/* The slow obvious way: the first byte at which any stop string ends, the longest of those. */
static size_t cut_of(const char *text, const char *const *stop, size_t n_stop, int *out_index)
{
    const size_t n = strlen(text);
    for (size_t end = 1; end <= n; end++) {
        size_t best = 0;
        for (size_t i = 0; i < n_stop; i++) {
            const size_t n_s = strlen(stop[i]);
            if (n_s && n_s <= end && n_s > best && !memcmp(text + end - n_s, stop[i], n_s)) {
                best = n_s;
                *out_index = (int)i;
            }
        }
        if (best)
            return end - best;
    }
    *out_index = -1;
    return n;
}

static void test_random_texts(void **state)
{
    (void)state;
    for (int round = 0; round < 3000; round++) {
        char stop_text[3][8];
        const char *stop[3];
        for (int i = 0; i < 3; i++) {
            const size_t n = random_u32() % 7;
            for (size_t k = 0; k < n; k++)
                stop_text[i][k] = (char)('a' + random_u32() % 3);
            stop_text[i][n] = '\0';
            stop[i] = stop_text[i];
        }
        heard h;
        stream *s = open_stream(&h, stop, 3);
        char text[256] = "";
        size_t n_text = 0;
        stream_state st = STREAM_RUNS;
        for (int k = 0; k < 30 && st == STREAM_RUNS; k++) {
            const bool piece = random_u32() % 2;
            const int i = (int)(random_u32() % N_PIECE);
            const char c = (char)('a' + random_u32() % 3);
            const size_t start = n_text;
            n_text += (size_t)snprintf(text + n_text, sizeof text - n_text, "%.*s", piece ? 9 : 1,
                                       piece ? pieces[i] : &c);
            st = push_counted(s, &h, piece ? FIRST_PIECE + i : FIRST_BYTE + c, start);
            /* Never shown: anything that a stop string takes back. */
            int ignored;
            assert_true(h.text.n <= cut_of(text, stop, 3, &ignored));
        }
        int index;
        const size_t cut = cut_of(text, stop, 3, &index);
        assert_int_equal(st, index >= 0 ? STREAM_ENDED : STREAM_RUNS);
        finish(s, &h, index >= 0 ? STREAM_STOP : STREAM_LENGTH);
        assert_int_equal(h.end.stop_index, index);
        assert_int_equal(h.text.n, cut);
        assert_memory_equal(text_of(&h), text, cut);
        for (size_t i = 0; i < h.n_start; i++) /* none is left out that begins in the text */
            assert_int_equal(i < h.n_told, h.start[i] < cut);
        buf_done(&h.text);
    }
}

static void push_bytes(stream *s, const char *text)
{
    for (; *text; text++)
        assert_int_equal(stream_token(s, FIRST_BYTE + (unsigned char)*text, NULL, NULL),
                         STREAM_RUNS);
}

static void test_characters_stay_whole(void **state)
{
    (void)state;
    heard h;
    stream *s = open_stream(&h, NULL, 0);
    push_bytes(s, "h\xC3\xA9llo \xE4\xB8\xAD \xF0\x9F\x98\x80!");
    assert_true(h.whole);
    push_bytes(s, "\xF0\x9F"); /* never completed */
    finish(s, &h, STREAM_LENGTH);
    assert_true(h.whole);
    assert_string_equal(text_of(&h), "h\xC3\xA9llo \xE4\xB8\xAD \xF0\x9F\x98\x80!\xEF\xBF\xBD");
    buf_done(&h.text);
}

static void test_stop_inside_a_character_keeps_it_whole(void **state)
{
    (void)state;
    const char *const stop[] = {"\xA9x"}; /* no text, but an API may be given it */
    heard h;
    stream *s = open_stream(&h, stop, 1);
    push_bytes(s, "a\xC3\xA9"); /* held: the stop string may have begun inside the last one */
    assert_string_equal(text_of(&h), "a");
    assert_int_equal(stream_token(s, FIRST_BYTE + 'x', NULL, NULL), STREAM_ENDED);
    finish(s, &h, STREAM_STOP);
    assert_true(h.whole);
    assert_string_equal(text_of(&h), "a");
    buf_done(&h.text);
}

/* What a sink was told of one piece. */
typedef struct piece_told {
    size_t n_call, n_prob;
    stream_prob last;
    stream_alt top[3];
    char texts[4][8]; /* of the last token and its alternatives */
} piece_told;

static stream_flow keep_last(void *user, const char *text, size_t n, const stream_prob *probs,
                             size_t n_prob)
{
    piece_told *t = user;
    (void)text, (void)n;
    t->n_call++;
    t->n_prob = n_prob;
    if (!n_prob)
        return STREAM_GO;
    t->last = probs[n_prob - 1];
    memcpy(t->texts[0], t->last.token.text, t->last.token.n_text);
    for (size_t i = 0; i < t->last.n_top; i++) {
        t->top[i] = t->last.top[i];
        memcpy(t->texts[i + 1], t->top[i].text, t->top[i].n_text);
    }
    return STREAM_GO;
}

static void test_probabilities_come_with_their_text(void **state)
{
    (void)state;
    piece_told t = {0};
    stream *s;
    const stream_opts o = {.vocab = vocab, .ignore_eog = true};
    const stream_sink sink = {&t, keep_last, NULL, NULL, hear_done, hear_fail};
    const stream_alt top[] = {{.id = FIRST_PIECE + 2, .logprob = -1.5f}, {.id = 2, .logprob = -2}};
    stream_prob p = {.top = top, .n_top = 2};
    assert_int_equal(stream_open(&o, &sink, &s, NULL), CAMA_OK);
    static const unsigned char smile[] = {0xF0, 0x9F, 0x98, 0x80};
    for (size_t i = 0; i < 4; i++) { /* one character of four tokens: all come with it */
        p.token = (stream_alt){.id = FIRST_BYTE + smile[i], .logprob = -(float)i};
        assert_int_equal(t.n_call, 0);
        assert_int_equal(stream_token(s, p.token.id, &p, NULL), STREAM_RUNS);
    }
    assert_int_equal(t.n_call, 1);
    assert_int_equal(t.n_prob, 4);
    assert_int_equal(t.last.token.n_text, 1);
    assert_memory_equal(t.texts[0], smile + 3, 1);
    assert_true(t.last.token.logprob == -3);
    assert_int_equal(t.last.n_top, 2);
    assert_string_equal(t.texts[1], "abc");
    assert_true(t.top[0].logprob == -1.5f && t.top[1].id == 2);
    assert_int_equal(t.top[1].n_text, 0); /* a control token is not written */
    p.token.id = 2;
    assert_int_equal(stream_token(s, 2, &p, NULL), STREAM_RUNS); /* no text: it is in no piece */
    assert_int_equal(stream_token(s, FIRST_PIECE, NULL, NULL), STREAM_RUNS);
    assert_int_equal(t.n_call, 2);
    assert_int_equal(t.n_prob, 0);
    p.n_top = STREAM_MAX_TOP + 1;
    err_info err;
    p.token.id = FIRST_PIECE;
    assert_int_equal(stream_token(s, FIRST_PIECE, &p, &err), STREAM_BROKEN);
    assert_string_equal(err.text, "stream: 21 alternatives to a token, at most 20");
    stream_close(s);
}

static void test_tokens_of_a_long_stop_string_wait(void **state)
{
    (void)state;
    static char stop_text[601];
    memset(stop_text, 'a', 600);
    stop_text[599] = 'b';
    const char *const stop[] = {stop_text};
    piece_told t = {0};
    stream *s;
    const stream_opts o = {.vocab = vocab, .stop = stop, .n_stop = 1};
    const stream_sink sink = {&t, keep_last, NULL, NULL, hear_done, hear_fail};
    assert_int_equal(stream_open(&o, &sink, &s, NULL), CAMA_OK);
    const stream_prob p = {.token = {.id = FIRST_BYTE + 'a'}};
    for (int i = 0; i < 599; i++)
        assert_int_equal(stream_token(s, p.token.id, &p, NULL), STREAM_RUNS);
    assert_int_equal(t.n_call, 0);
    assert_int_equal(stream_token(s, p.token.id, &p, NULL), STREAM_RUNS); /* one too many */
    assert_int_equal(t.n_prob, 1);
    assert_int_equal(stream_token(s, FIRST_BYTE + 'c', &p, NULL), STREAM_RUNS);
    assert_int_equal(t.n_prob, 600);
    stream_close(s);
}

static void test_held_text_comes_at_the_end(void **state)
{
    (void)state;
    const char *const stop[] = {"END"};
    heard h;
    stream *s = open_stream(&h, stop, 1);
    push_bytes(s, "the EN");
    assert_string_equal(text_of(&h), "the ");
    finish(s, &h, STREAM_LENGTH);
    assert_string_equal(text_of(&h), "the EN");
    assert_int_equal(h.end.stop_index, -1);
    buf_done(&h.text);
}

static void test_eog(void **state)
{
    (void)state;
    heard h;
    stream *s = open_stream(&h, NULL, 0);
    push_bytes(s, "hi");
    assert_int_equal(stream_token(s, 2, NULL, NULL), STREAM_ENDED);
    finish(s, &h, STREAM_STOP);
    assert_string_equal(text_of(&h), "hi");
    buf_done(&h.text);

    const stream_opts o = {.vocab = vocab, .ignore_eog = true};
    const stream_sink sink = {&h, hear_text, NULL, NULL, hear_done, hear_fail};
    assert_int_equal(stream_open(&o, &sink, &s, NULL), CAMA_OK);
    assert_int_equal(stream_token(s, 2, NULL, NULL), STREAM_RUNS);
    stream_close(s);
}

static void test_full_and_gone_sinks(void **state)
{
    (void)state;
    heard h;
    stream *s = open_stream(&h, NULL, 0);
    h.flow = STREAM_PAUSE;
    assert_int_equal(stream_token(s, FIRST_BYTE + 'a', NULL, NULL), STREAM_PAUSED);
    assert_false(stream_ready(s));
    h.ready = true;
    assert_true(stream_ready(s));
    h.flow = STREAM_CLOSE;
    assert_int_equal(stream_token(s, FIRST_BYTE + 'b', NULL, NULL), STREAM_LEFT);
    finish(s, &h, STREAM_CANCELED);
    assert_string_equal(text_of(&h), "ab");
    buf_done(&h.text);
}

static void test_limits(void **state)
{
    (void)state;
    static char longest[STREAM_MAX_STOP_BYTES + 2];
    memset(longest, 'x', sizeof longest - 1);
    const char *one[] = {"ok", longest};
    const char *many[STREAM_MAX_STOP + 1];
    for (size_t i = 0; i < TEST_COUNT(many); i++)
        many[i] = "x";
    const stream_sink sink = {NULL, hear_text, NULL, NULL, hear_done, hear_fail};
    stream *s = NULL;
    err_info err;
    assert_int_equal(
        stream_open(&(stream_opts){.vocab = vocab, .stop = one, .n_stop = 2}, &sink, &s, &err),
        CAMA_ERR_LIMIT);
    assert_string_equal(err.text, "stop string 1 has 1025 bytes, at most 1024");
    assert_int_equal(
        stream_open(&(stream_opts){.vocab = vocab, .stop = many, .n_stop = 65}, &sink, &s, &err),
        CAMA_ERR_LIMIT);
    assert_null(s);
    assert_int_equal(
        stream_open(&(stream_opts){.vocab = vocab, .stop = many, .n_stop = 64}, &sink, &s, &err),
        CAMA_OK);
    assert_int_equal(stream_token(s, N_TOKEN, NULL, &err), STREAM_BROKEN); /* no such token */
    stream_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_texts),
        cmocka_unit_test(test_characters_stay_whole),
        cmocka_unit_test(test_stop_inside_a_character_keeps_it_whole),
        cmocka_unit_test(test_probabilities_come_with_their_text),
        cmocka_unit_test(test_tokens_of_a_long_stop_string_wait),
        cmocka_unit_test(test_held_text_comes_at_the_end),
        cmocka_unit_test(test_eog),
        cmocka_unit_test(test_full_and_gone_sinks),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, open_vocab, close_vocab);
}
