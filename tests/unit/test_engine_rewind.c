/* seq_fork and seq_rewind say how far back they went: everywhere for plain attention, as far as the
 * window's pages reach for windows, to a checkpoint for recurrent states. What follows has the bits
 * that it always has. */
#include "engine_rig.h"

#define N_TOKENS 500 /* many windows, several pages */

static rig r;
static float *want; /* [N_TOKENS][n_vocab] */

static void open_named(const char *name)
{
    engine_opts o = rig_opts();
    rig_open_file(&r, TEST_DATA("tiny"), name);
    rig_open_engine(&r, &o);
    want = rig_new_logits(&r, N_TOKENS);
    const int32_t seq = rig_new_seq(&r, -1, 0);
    rig_feed(&r, seq, 0, 0, N_TOKENS, 100, want);
    nat_engine.seq_free(r.e, seq);
}

static void close_named(void)
{
    engine_stat stat;
    nat_engine.stat(r.e, &stat);
    assert_int_equal(stat.n_seq_alive, 0);
    nat_engine.close(r.e);
    rig_close_model(&r);
    free(want);
}

/* Feeds the rest from where the sequence is, whose bits must be the usual ones. */
static void goes_on(int32_t seq, int32_t pos, int32_t to)
{
    float *got = rig_new_logits(&r, N_TOKENS);
    rig_feed(&r, seq, 0, pos, to, 37, got);
    rig_same(&r, got, want, pos, to, "after going back");
    free(got);
}

static int32_t back_to(int32_t seq, int32_t position)
{
    int32_t got = -1;
    assert_int_equal(nat_engine.seq_rewind(r.e, seq, position, &got), CAMA_OK);
    assert_true(got >= 0 && got <= position);
    return got;
}

/* A fork is asked where it begins by rewinding it to where it should. */
static int32_t fork_at(int32_t seq, int32_t n_keep, int32_t *out_child)
{
    *out_child = rig_new_seq(&r, seq, n_keep);
    return back_to(*out_child, n_keep);
}

static void feed_all(int32_t seq, int32_t chunk)
{
    float *got = rig_new_logits(&r, N_TOKENS);
    rig_feed(&r, seq, 0, 0, N_TOKENS, chunk, got);
    rig_same(&r, got, want, 0, N_TOKENS, "at first");
    free(got);
}

static const int32_t places[] = {499, 490, 449, 448, 447, 300, 193, 64, 63, 1, 0};

/* Forks and rewinds to every place; `exact`: no place is out of reach. */
static void check_places(bool exact)
{
    const int32_t seq = rig_new_seq(&r, -1, 0);
    feed_all(seq, 50);
    for (size_t i = 0; i < TEST_COUNT(places); i++) {
        int32_t child;
        const int32_t at = fork_at(seq, places[i], &child);
        if (exact)
            assert_int_equal(at, places[i]);
        goes_on(child, at, N_TOKENS);
        nat_engine.seq_free(r.e, child);
    }
    for (size_t i = 0; i < TEST_COUNT(places); i++) {
        const int32_t at = back_to(seq, places[i]);
        if (exact)
            assert_int_equal(at, places[i]);
        goes_on(seq, at, N_TOKENS);
    }
    assert_int_equal(back_to(seq, N_TOKENS), N_TOKENS); /* no step back, no loss */
    assert_int_equal(back_to(seq, N_TOKENS + 50), N_TOKENS);
    nat_engine.seq_free(r.e, seq);
}

static void plain_attention_goes_anywhere(void **state)
{
    (void)state;
    static const char *const names[] = {"llama.gguf", "qwen3moe.gguf", "deepseek2.gguf"};
    for (size_t i = 0; i < TEST_COUNT(names); i++) {
        open_named(names[i]);
        check_places(true);
        close_named();
    }
}

/* What lies further behind than the window and the kept tokens is gone: then from the start. */
static void windows_reach_as_far_as_their_pages(void **state)
{
    (void)state;
    static const char *const names[] = {"gemma3.gguf", "gemma2.gguf", "cohere2.gguf",
                                        "gpt-oss.gguf"};
    for (size_t i = 0; i < TEST_COUNT(names); i++) {
        open_named(names[i]);
        check_places(false);
        const int32_t seq = rig_new_seq(&r, -1, 0);
        feed_all(seq, 50);
        int32_t reach = N_TOKENS;
        while (reach > 0) {
            int32_t child;
            const int32_t at = fork_at(seq, reach - 1, &child);
            nat_engine.seq_free(r.e, child);
            if (at != reach - 1) {
                assert_int_equal(at, 0); /* all or nothing */
                break;
            }
            reach--;
        }
        print_message("%s: %d of %d tokens back\n", names[i], N_TOKENS - reach, N_TOKENS);
        assert_true(N_TOKENS - reach >= 64); /* a short rewind is whole */
        nat_engine.seq_free(r.e, seq);
        close_named();
    }
}

/* A prompt leaves checkpoints; an answer, row by row, can go back to the prompt's end. */
static void states_go_back_to_checkpoints(void **state)
{
    (void)state;
    static const char *const names[] = {"qwen35.gguf", "qwen35moe.gguf", "qwen3next.gguf"};
    for (size_t i = 0; i < TEST_COUNT(names); i++) {
        open_named(names[i]);
        check_places(false);
        float *got = rig_new_logits(&r, N_TOKENS);
        const int32_t seq = rig_new_seq(&r, -1, 0);
        int32_t child, twin;
        rig_feed(&r, seq, 0, 0, 300, 100, got);
        rig_feed(&r, seq, 0, 300, 330, 1, got);
        const int32_t at = fork_at(seq, 320, &child); /* the same prompt, another answer */
        print_message("%s: 330 tokens, asked for 320, got %d\n", names[i], at);
        assert_int_equal(at, 300);
        goes_on(child, at, N_TOKENS);
        assert_int_equal(fork_at(seq, 330, &twin), 330); /* the end itself is there */
        nat_engine.seq_free(r.e, twin);
        nat_engine.seq_free(r.e, child);
        assert_int_equal(back_to(seq, 310), 300);
        goes_on(seq, 300, N_TOKENS);
        nat_engine.seq_free(r.e, seq);
        free(got);
        close_named();
    }
}

/* Sequences that share states and pages do not see each other's. */
static void twins_part(void **state)
{
    (void)state;
    static const char *const names[] = {"llama.gguf", "gemma3.gguf", "qwen35.gguf"};
    for (size_t i = 0; i < TEST_COUNT(names); i++) {
        open_named(names[i]);
        float *other = rig_new_logits(&r, N_TOKENS);
        const int32_t seq = rig_new_seq(&r, -1, 0);
        rig_feed(&r, seq, 0, 0, 130, 65, other);
        int32_t twin[6];
        for (size_t k = 0; k < TEST_COUNT(twin); k++)
            assert_int_equal(fork_at(seq, 130, &twin[k]), 130);
        for (size_t k = 0; k < TEST_COUNT(twin); k += 2)
            rig_feed(&r, twin[k], k + 1, 130, 200, 9, other); /* other tokens */
        for (size_t k = 1; k < TEST_COUNT(twin); k += 2)
            goes_on(twin[k], 130, 200);
        nat_engine.seq_free(r.e, twin[1]);
        goes_on(seq, 130, 300);
        for (size_t k = 0; k < TEST_COUNT(twin); k++)
            nat_engine.seq_free(r.e, twin[k]); /* a second time for one: nothing happens */
        nat_engine.seq_free(r.e, seq);
        free(other);
        close_named();
    }
}

static void what_is_no_sequence_is_refused(void **state)
{
    (void)state;
    int32_t got = 77;
    open_named("llama.gguf");
    const int32_t seq = rig_new_seq(&r, -1, 0);
    rig_feed(&r, seq, 0, 0, 10, 10, want);
    assert_int_equal(nat_engine.seq_rewind(r.e, seq + 1, 0, &got), CAMA_ERR_ARG);
    assert_int_equal(nat_engine.seq_rewind(r.e, -1, 0, &got), CAMA_ERR_ARG);
    assert_int_equal(nat_engine.seq_rewind(r.e, seq, -1, &got), CAMA_ERR_ARG);
    assert_int_equal(nat_engine.seq_fork(r.e, seq, 11, &got), CAMA_ERR_ARG);
    assert_int_equal(nat_engine.seq_fork(r.e, seq, -1, &got), CAMA_ERR_ARG);
    assert_int_equal(nat_engine.seq_fork(r.e, seq + 1, 0, &got), CAMA_ERR_ARG);
    assert_int_equal(got, 77);
    nat_engine.seq_free(r.e, seq + 1);
    nat_engine.seq_free(r.e, seq);
    size_t n = 0;
    while (nat_engine.seq_fork(r.e, -1, 0, &got) == CAMA_OK)
        n++;
    assert_true(n >= 4 * RIG_SEQ && n <= ENGINE_MAX_SEQ);
    assert_int_equal(nat_engine.seq_fork(r.e, -1, 0, &got), CAMA_ERR_LIMIT);
    for (int32_t i = 0; i < (int32_t)n; i++)
        nat_engine.seq_free(r.e, i);
    close_named();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_attention_goes_anywhere),
        cmocka_unit_test(windows_reach_as_far_as_their_pages),
        cmocka_unit_test(states_go_back_to_checkpoints),
        cmocka_unit_test(twins_part),
        cmocka_unit_test(what_is_no_sequence_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
