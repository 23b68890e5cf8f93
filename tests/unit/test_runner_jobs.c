/* Jobs of every kind: what comes back, alone and together, and what is warned of. */
#include "runner_rig.h"

#include <math.h>

static rig shared; /* one model for the tests that leave it as it was */

static int open_shared(void **state)
{
    (void)state;
    rig_open(&shared, ",\"n_ctx\":512");
    return 0;
}

static int close_shared(void **state)
{
    (void)state;
    rig_quit(&shared);
    return 0;
}

#define OPTIONS ",\"options\":{\"seed\":7,\"num_predict\":24}"
#define RAW(text) "{\"kind\":\"generate\",\"raw\":true,\"prompt\":\"" text "\"" OPTIONS "}"

static void generates(void **state)
{
    (void)state;
    rig_answer a;
    rig_answer b;
    rig_ask(&shared, RAW("hello world"), &a);
    assert_int_equal(a.end, WIRE_DONE);
    assert_true(a.n_text > 0 && a.n_piece > 1);
    rig_has(a.head, "\"reason\":\"length\"");
    rig_has(a.head, "\"n_token\":24");
    rig_has(a.head, "\"seed\":7");
    rig_has(a.head, "\"n_ctx\":512");
    rig_has(a.head, "\"template\":\"raw\"");
    assert_int_equal(a.n_warn, 0);
    rig_ask(&shared, RAW("hello world"), &b);
    assert_string_equal(a.text, b.text);
    assert_null(strstr(b.head, "\"n_cached\":0"));
}

#define CHAT                                                                                       \
    "\"kind\":\"chat\",\"messages\":[{\"role\":\"system\",\"content\":\"be\"},{\"role\":"          \
    "\"user\",\"content\":\"hello\"}]"

static void chats_through_jinja(void **state)
{
    (void)state;
    rig_answer a;
    rig_ask(&shared, "{" CHAT OPTIONS "}", &a);
    assert_int_equal(a.end, WIRE_DONE);
    rig_has(a.head, "\"template\":\"jinja\"");
    rig_ask(&shared, "{" CHAT ",\"render_only\":true}", &a);
    assert_int_equal(a.end, WIRE_DONE);
    rig_has(a.head, "\"rendered\":true");
    rig_has(a.text, "system: be<|im_end|>\nuser: hello<|im_end|>\nassistant: ");
}

/* The last words are the assistant's: the answer begins with them. */
static void an_answer_that_was_begun(void **state)
{
    (void)state;
    static const char head[] =
        "{\"kind\":\"chat\",\"messages\":[{\"role\":\"user\",\"content\":\"hello\"},{\"role\":"
        "\"assistant\",\"content\":\"Well,\"}]";
    char whole[400];
    rig_answer a;
    (void)snprintf(whole, sizeof whole, "%s,\"render_only\":true}", head);
    rig_ask(&shared, whole, &a);
    const char *end = "user: hello<|im_end|>\nassistant: Well,";
    assert_true(a.n_text > strlen(end));
    assert_string_equal(a.text + a.n_text - strlen(end), end);
    (void)snprintf(whole, sizeof whole, "%s" OPTIONS "}", head);
    rig_ask(&shared, whole, &a);
    assert_int_equal(a.end, WIRE_DONE);
    assert_memory_equal(a.text, "Well,", 5);
}

static void chats_through_go(void **state)
{
    (void)state;
    rig_answer a;
    rig_ask(&shared,
            "{" CHAT ",\"render_only\":true,\"template\":\"{{ range .Messages }}[{{ .Role }}]"
            "{{ .Content }};{{ end }}\"}",
            &a);
    assert_int_equal(a.end, WIRE_DONE);
    assert_string_equal(a.text, "[system]be;[user]hello;");
    rig_ask(&shared,
            "{\"kind\":\"generate\",\"prompt\":\"bare\",\"render_only\":true,\"template\":\"<{{ "
            ".Prompt }}>\"}",
            &a);
    rig_has(a.text, "<bare>");
    rig_ask(&shared,
            "{\"kind\":\"generate\",\"prompt\":\"a\",\"suffix\":\"b\",\"render_only\":true,"
            "\"template\":\"{{ .Prompt }}|{{ .Suffix }}\"}",
            &a);
    assert_string_equal(a.text, "a|b");
    rig_ask(&shared, "{" CHAT ",\"template\":\"{{ .Broken\"}", &a);
    assert_int_equal(a.end, WIRE_FAIL);
    rig_has(a.head, "ERR_TEMPLATE");
}

/* The template opens the reasoning: what follows is some, until it is closed. */
static void thinks(void **state)
{
    (void)state;
    static const char template[] =
        ",\"template\":\"{{ range .Messages }}{{ if .Thinking }}<think>{{ .Thinking }}</think>"
        "{{ end }}{{ .Content }}{{ end }}<think>\"";
    char head[600];
    rig_answer a;
    (void)snprintf(head, sizeof head, "{" CHAT OPTIONS "%s}", template);
    rig_ask(&shared, head, &a);
    assert_int_equal(a.end, WIRE_DONE);
    assert_true(a.n_think > 0);
    assert_int_equal(a.n_text, 0);
    (void)snprintf(head, sizeof head, "{" CHAT OPTIONS "%s,\"think\":false}", template);
    rig_ask(&shared, head, &a);
    assert_int_equal(a.n_think, 0);
    assert_true(a.n_text > 0);
}

/* Noise calls nothing, but the prompt shows the tools, and where it cannot, that is told. */
static void tools_are_shown(void **state)
{
    (void)state;
    static const char tools[] =
        ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"look\",\"description\":\"d\","
        "\"parameters\":{\"type\":\"object\",\"properties\":{}}}}]";
    char head[900];
    rig_answer a;
    (void)snprintf(head, sizeof head,
                   "{" CHAT ",\"render_only\":true%s,\"template\":\"{{ range .Tools }}{{ "
                   ".Function.Name }};{{ end }}{{ range .Messages }}{{ end }}\"}",
                   tools);
    rig_ask(&shared, head, &a);
    assert_string_equal(a.text, "look;");
    (void)snprintf(head, sizeof head, "{" CHAT OPTIONS "%s}", tools);
    rig_ask(&shared, head, &a);
    assert_int_equal(a.end, WIRE_DONE);
    rig_has(a.warn[0], "\"code\":\"tools_ignored\"");
    for (const char *tag = "etaoins "; *tag; tag++) { /* the noise has one of them: a call begins */
        (void)snprintf(
            head, sizeof head,
            "{" CHAT OPTIONS "%s,\"template\":\"{{ range .Messages }}{{ .Content }}{{ if "
            ".ToolCalls }}{{ range .ToolCalls }}%c{\\\"name\\\"}{{ end }}{{ end }}{{ end "
            "}}\"}",
            tools, *tag);
        rig_ask(&shared, head, &a);
        assert_int_equal(a.end, WIRE_DONE);
    }
}

static void several_at_once(void **state)
{
    (void)state;
    enum { N = 8 };
    static rig_answer alone[N];
    static rig_answer together[N];
    char head[N][200];
    for (int i = 0; i < N; i++)
        (void)snprintf(head[i], sizeof head[i],
                       "{\"kind\":\"generate\",\"raw\":true,\"prompt\":\"number %d\",\"options\":"
                       "{\"seed\":%d,\"num_predict\":30,\"num_ctx\":256}}",
                       i, i);
    memset(together, 0, sizeof together);
    for (int i = 0; i < N; i++)
        rig_ask(&shared, head[i], &alone[i]);
    for (int i = 0; i < N; i++)
        rig_send(&shared, WIRE_JOB, (uint64_t)i + 1, head[i]);
    rig_collect(&shared, together, N);
    for (int i = 0; i < N; i++) {
        assert_int_equal(together[i].end, WIRE_DONE);
        assert_string_equal(together[i].text, alone[i].text);
    }
}

/* A job that runs for long: the likeliest token never ends it. */
#define ENDLESS                                                                                    \
    "{\"kind\":\"generate\",\"raw\":true,\"prompt\":\"go on\",\"options\":{\"num_ctx\":512,"       \
    "\"temperature\":0}}"

static void cancels(void **state)
{
    (void)state;
    rig_answer a = {0};
    wire_frame f;
    rig_send(&shared, WIRE_JOB, 1, ENDLESS);
    rig_expect(&shared, WIRE_TEXT, &f);
    rig_send(&shared, WIRE_CANCEL, 1, NULL);
    rig_collect(&shared, &a, 1);
    assert_int_equal(a.end, WIRE_DONE);
    rig_has(a.head, "\"reason\":\"canceled\"");
    memset(&a, 0, sizeof a);
    rig_send(&shared, WIRE_JOB, 1, ENDLESS); /* before it has begun */
    rig_send(&shared, WIRE_CANCEL, 1, NULL);
    rig_collect(&shared, &a, 1);
    rig_has(a.head, "\"reason\":\"canceled\"");
}

static void pong(rig *g, wire_frame *f)
{
    rig_send(g, WIRE_PING, 0, "{\"n\":1}");
    rig_expect(g, WIRE_PONG, f);
}

#define CREDITED                                                                                   \
    "{\"kind\":\"generate\",\"raw\":true,\"prompt\":\"go "                                         \
    "on\",\"credit\":10,\"options\":{\"seed\":"                                                    \
    "3,\"num_ctx\":512,\"num_predict\":40,\"temperature\":5,\"top_k\":0,\"top_p\":1}}"

/* Not more text than was granted (a token's worth over), while others go on; then the rest, and the
 * same text. */
static void credit_is_kept(void **state)
{
    (void)state;
    static rig_answer a[2];
    wire_frame f;
    memset(a, 0, sizeof a);
    rig_send(&shared, WIRE_JOB, 1, CREDITED);
    while (a[0].n_text < 10) {
        rig_next(&shared, &f);
        assert_false(rig_take(&a[0], &f));
    }
    const size_t n_before = a[0].n_text;
    assert_true(n_before < 40);
    rig_send(&shared, WIRE_JOB, 2, RAW("hello world")); /* runs past the one that waits */
    while (!a[1].end) {
        rig_next(&shared, &f);
        assert_int_equal(f.job, 2);
        (void)rig_take(&a[1], &f);
    }
    pong(&shared, &f);
    assert_int_equal(a[0].n_text, n_before);
    rig_send(&shared, WIRE_CREDIT, 1, "{\"bytes\":100000}");
    a[1].end = WIRE_NONE;
    rig_collect(&shared, a, 1);
    assert_int_equal(a[0].end, WIRE_DONE);
    assert_true(a[0].n_text > n_before);
}

static void a_paused_job_is_canceled(void **state)
{
    (void)state;
    static rig_answer a;
    wire_frame f;
    memset(&a, 0, sizeof a);
    rig_send(&shared, WIRE_JOB, 1, CREDITED);
    while (a.n_text < 10) {
        rig_next(&shared, &f);
        assert_false(rig_take(&a, &f));
    }
    rig_send(&shared, WIRE_CANCEL, 1, NULL);
    rig_collect(&shared, &a, 1);
    rig_has(a.head, "\"reason\":\"canceled\"");
}

static void a_ping_shows_progress(void **state)
{
    (void)state;
    rig_answer a = {0};
    wire_frame f;
    rig_send(&shared, WIRE_JOB, 1, ENDLESS);
    rig_expect(&shared, WIRE_TEXT, &f);
    rig_send(&shared, WIRE_PING, 0, "{\"n\":1}");
    do {
        rig_next(&shared, &f);
    } while (f.type != WIRE_PONG);
    const int64_t steps = wire_int(&f, "steps", -1);
    assert_true(steps > 0);
    assert_int_equal(wire_int(&f, "running", -1), 1);
    assert_true(wire_int(&f, "rows", -1) >= steps);
    rig_send(&shared, WIRE_CANCEL, 1, NULL);
    rig_collect(&shared, &a, 1);
    pong(&shared, &f);
    assert_true(wire_int(&f, "steps", -1) >= steps);
}

static void stops_and_context(void **state)
{
    (void)state;
    rig_answer whole;
    rig_answer a;
    rig_ask(&shared, RAW("hello world"), &whole);
    assert_true(whole.n_text > 6);
    char head[300];
    char stop[64] = {0};
    size_t n = 0; /* two bytes of the answer, as JSON: the stop string */
    for (size_t i = 4; i < 6; i++)
        n += (size_t)snprintf(stop + n, sizeof stop - n, "\\u%04x", (unsigned char)whole.text[i]);
    if ((unsigned char)whole.text[4] >= 0x80 || (unsigned char)whole.text[5] >= 0x80)
        return; /* the noise of another build: no plain letters there */
    (void)snprintf(head, sizeof head,
                   "{\"kind\":\"generate\",\"raw\":true,\"prompt\":\"hello world\","
                   "\"want_context\":true,\"options\":{\"seed\":7,\"num_predict\":24,\"stop\":"
                   "[\"nowhere in it\",\"%s\"]}}",
                   stop);
    rig_ask(&shared, head, &a);
    rig_has(a.head, "\"reason\":\"stop\"");
    rig_has(a.head, "\"stop_index\":1");
    assert_true(a.n_text <= 4 && memcmp(a.text, whole.text, a.n_text) == 0);
    assert_true(a.n_id > 0);
    /* the ids are the prompt's and the text's, without the stop string */
    rig_answer back = {0};
    err_info err;
    const wire_out f = {.type = WIRE_JOB,
                        .job = 1,
                        .head = "{\"kind\":\"detokenize\"}",
                        .n_head = 21,
                        .data = a.ids,
                        .n_data = a.n_id * sizeof a.ids[0]};
    assert_int_equal(wire_send(shared.w, &f, &err), CAMA_OK);
    rig_collect(&shared, &back, 1);
    rig_has(back.text, "hello world");
    assert_true(back.n_text >= a.n_text);
    assert_string_equal(back.text + back.n_text - a.n_text, a.text);
}

static void probabilities(void **state)
{
    (void)state;
    rig_answer a;
    rig_ask(&shared,
            "{\"kind\":\"generate\",\"raw\":true,\"prompt\":\"hello\",\"logprobs\":true,"
            "\"top_logprobs\":3,\"options\":{\"seed\":7,\"num_predict\":3}}",
            &a);
    assert_int_equal(a.end, WIRE_DONE);
    rig_has(a.probs, "{\"logprobs\":[{\"token\":\"");
    rig_has(a.probs, "\"bytes\":[");
    rig_has(a.probs, "\"top_logprobs\":[{\"token\"");
}

static void refusals(void **state)
{
    (void)state;
    rig_answer a;
    rig_ask(&shared, "{" CHAT ",\"format\":\"json\"}", &a);
    assert_int_equal(a.end, WIRE_FAIL);
    rig_has(a.head, "ERR_UNSUPPORTED");
    rig_ask(&shared, "{" CHAT ",\"format\":null,\"image_bytes\":[4]}", &a);
    rig_has(a.head, "does not support image input");
    rig_ask(&shared, "{\"kind\":\"dance\"}", &a);
    rig_has(a.head, "ERR_ARG");
    rig_ask(&shared, "{}", &a);
    rig_has(a.head, "without a kind");
    rig_ask(&shared, "{\"kind\":\"chat\",\"messages\":7}", &a);
    rig_has(a.head, "ERR_ARG");
    rig_ask(&shared, "{\"kind\":\"embed\",\"inputs\":[7]}", &a);
    rig_has(a.head, "input 0 is no text");
    rig_ask(&shared, "{\"kind\":\"generate\",\"raw\":true,\"prompt\":\"x\",\"n_context\":9}", &a);
    rig_has(a.head, "n_context is 9, the data has 0 bytes");
    rig_ask(&shared, "{\"kind\":\"generate\",\"prompt\":\"x\",\"suffix\":\"y\"}", &a);
    rig_has(a.head, "does not support insert");
}

static void long_conversations(void **state)
{
    (void)state;
    static char head[40000];
    size_t n = (size_t)snprintf(head, sizeof head,
                                "{\"kind\":\"chat\",\"render_only\":true,\"options\":{\"num_ctx\":"
                                "256},\"messages\":[{\"role\":\"system\",\"content\":\"RULES\"}");
    for (int i = 0; i < 200; i++)
        n += (size_t)snprintf(head + n, sizeof head - n,
                              ",{\"role\":\"user\",\"content\":\"question %d\"}", i);
    (void)snprintf(head + n, sizeof head - n, "]}");
    rig_answer a;
    rig_ask(&shared, head, &a);
    assert_int_equal(a.end, WIRE_DONE);
    assert_int_equal(a.n_warn, 1);
    rig_has(a.warn[0], "\"code\":\"context_truncated\"");
    rig_has(a.warn[0], "\"n_dropped\":");
    rig_has(a.text, "system: RULES");
    rig_has(a.text, "question 199");
    assert_null(strstr(a.text, "question 10<"));
    /* one less dropped would not fit: the number is the smallest */
    head[n - 1] = '}';
    (void)snprintf(head + n, sizeof head - n, "],\"truncate\":false}");
    rig_ask(&shared, head, &a);
    assert_int_equal(a.end, WIRE_FAIL);
    rig_has(a.head, "\"code\":\"ERR_CONTEXT\"");
    rig_has(a.head, "\"n_ctx\":256");
    rig_has(a.head, "\"n_prompt\":");
}

static void long_prompts(void **state)
{
    (void)state;
    static char head[8000];
    char words[4000] = "";
    for (int i = 0; i < 300; i++)
        (void)snprintf(words + strlen(words), sizeof words - strlen(words), "w%d ", i);
    rig_answer a;
    (void)snprintf(head, sizeof head,
                   "{\"kind\":\"generate\",\"raw\":true,\"prompt\":\"%s\",\"want_context\":true,"
                   "\"options\":{\"num_ctx\":128,\"num_keep\":4,\"num_predict\":1,\"seed\":1}}",
                   words);
    rig_ask(&shared, head, &a);
    assert_int_equal(a.end, WIRE_DONE);
    rig_has(a.warn[0], "\"code\":\"prompt_cut\"");
    rig_has(a.head, "\"n_prompt\":66"); /* 4 and BOS, and half of the other 123 */
    rig_has(a.head, "\"n_ctx\":128");
    assert_true(a.n_id > 300); /* the context is that of the whole prompt */
    (void)snprintf(head, sizeof head,
                   "{\"kind\":\"generate\",\"raw\":true,\"prompt\":\"%s\",\"shift\":false,"
                   "\"options\":{\"num_ctx\":128}}",
                   words);
    rig_ask(&shared, head, &a);
    assert_int_equal(a.end, WIRE_FAIL);
    rig_has(a.head, "\"n_ctx\":128");
    (void)snprintf(head, sizeof head,
                   "{\"kind\":\"generate\",\"raw\":true,\"prompt\":\"%s\",\"options\":{\"num_ctx\":"
                   "1,\"num_predict\":1}}",
                   words);
    rig_ask(&shared, head, &a);
    rig_has(a.head, "\"n_prompt\":3");
}

static void contexts_of_jobs(void **state)
{
    (void)state;
    rig_answer a;
    rig_ask(&shared,
            "{\"kind\":\"generate\",\"raw\":true,\"prompt\":\"a\",\"options\":{\"num_ctx\":5000,"
            "\"num_predict\":1}}",
            &a);
    assert_int_equal(a.end, WIRE_DONE);
    rig_has(a.warn[0], "\"code\":\"num_ctx_reduced\"");
    rig_has(a.warn[0], "\"asked\":5000");
    /* a full context: cut and gone on with, or the end */
    rig_ask(&shared,
            "{\"kind\":\"generate\",\"raw\":true,\"prompt\":\"go on\",\"options\":{\"seed\":3,"
            "\"num_ctx\":256,\"num_predict\":400,\"temperature\":5,\"top_k\":0,\"stop\":[]}}",
            &a);
    if (strstr(a.head, "\"reason\":\"length\"")) {
        rig_has(a.warn[0], "\"code\":\"context_shifted\"");
        assert_null(strstr(a.head, "\"shifts\":0"));
    }
}

static void embeds(void **state)
{
    (void)state;
    static rig_answer a;
    rig_ask(&shared, "{\"kind\":\"embed\",\"inputs\":[\"hello\",\"world\",\"hello\"]}", &a);
    assert_int_equal(a.end, WIRE_DONE);
    assert_int_equal(a.n_vector, 3);
    assert_int_equal(a.n_dim, TINY_EMBD);
    double sum = 0;
    for (size_t i = 0; i < a.n_dim; i++)
        sum += (double)a.vectors[0][i] * (double)a.vectors[0][i];
    TEST_NEAR(sum, 1.0, 1e-5, "length of a vector");
    TEST_SAME_BITS(a.vectors[0], a.vectors[2], a.n_dim);
    assert_true(memcmp(a.vectors[0], a.vectors[1], a.n_dim * sizeof(float)) != 0);
    assert_true(a.n_token[0] > 0);
    rig_ask(&shared, "{\"kind\":\"embed\",\"inputs\":[\"hello\"],\"dimensions\":8}", &a);
    assert_int_equal(a.n_dim, 8);
    rig_ask(&shared, "{\"kind\":\"embed\",\"inputs\":[]}", &a);
    assert_int_equal(a.end, WIRE_DONE);
    assert_int_equal(a.n_vector, 0);
    rig_ask(&shared,
            "{\"kind\":\"embed\",\"inputs\":[\"a b c d e f g h i j k l\"],\"truncate\":false,"
            "\"options\":{\"num_ctx\":5}}",
            &a);
    assert_int_equal(a.end, WIRE_FAIL);
    rig_has(a.head, "the input length exceeds the context length");
    rig_ask(&shared,
            "{\"kind\":\"embed\",\"inputs\":[\"a b c d e f g h i j k l\"],\"options\":{\"num_ctx\":"
            "5}}",
            &a);
    assert_int_equal(a.end, WIRE_DONE);
    rig_has(a.warn[0], "\"code\":\"input_cut\"");
}

/* A model that pools computes a text in one step: the longest is what a step holds. */
static void pooled_embeddings(void **state)
{
    (void)state;
    static char head[8000];
    static rig_answer a;
    rig g;
    rig_open_pooled(&g, ",\"n_ctx\":128");
    rig_has(g.ready, "\"embeds\":true");
    rig_has(g.ready, "\"pooling\":\"mean\"");
    rig_ask(&g, "{\"kind\":\"embed\",\"inputs\":[\"hello\",\"hello world\",\"hello\"]}", &a);
    assert_int_equal(a.end, WIRE_DONE);
    assert_int_equal(a.n_vector, 3);
    TEST_SAME_BITS(a.vectors[0], a.vectors[2], a.n_dim);
    size_t n = (size_t)snprintf(head, sizeof head, "{\"kind\":\"embed\",\"inputs\":[\"");
    for (int i = 0; i < 600; i++)
        n += (size_t)snprintf(head + n, sizeof head - n, "w%d ", i);
    (void)snprintf(head + n, sizeof head - n, "\"],\"options\":{\"num_ctx\":1024}}");
    rig_ask(&g, head, &a);
    assert_int_equal(a.end, WIRE_DONE);
    rig_has(a.warn[0], "num_ctx_reduced");
    rig_has(a.warn[1], "input_cut");
    /* without a chat template: ChatML, and it is said */
    rig_ask(&g, "{" CHAT ",\"render_only\":true}", &a);
    rig_has(a.warn[0], "template_missing");
    rig_has(a.text, "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n");
    rig_quit(&g);
}

/* More inputs than are computed at once, and an end in the middle of them. */
static void many_inputs(void **state)
{
    (void)state;
    static char head[20000];
    size_t n = (size_t)snprintf(head, sizeof head, "{\"kind\":\"embed\",\"inputs\":[\"0\"");
    for (int i = 1; i < 500; i++)
        n += (size_t)snprintf(head + n, sizeof head - n, ",\"text %d\"", i);
    (void)snprintf(head + n, sizeof head - n, "]}");
    for (int cancel = 0; cancel < 2; cancel++) {
        bool seen[500] = {false};
        wire_frame f;
        size_t n_vector = 0;
        rig_send(&shared, WIRE_JOB, 1, head);
        for (;;) {
            rig_next(&shared, &f);
            if (f.type == WIRE_DONE)
                break;
            assert_int_equal(f.type, WIRE_VECTOR);
            const int64_t i = wire_int(&f, "index", -1);
            assert_true(i >= 0 && i < 500 && !seen[i]);
            seen[i] = true;
            if (++n_vector == 3 && cancel)
                rig_send(&shared, WIRE_CANCEL, 1, NULL);
        }
        rig_has(f.head_text, cancel ? "\"reason\":\"canceled\"" : "\"reason\":\"stop\"");
        assert_true(cancel ? n_vector < 500 : n_vector == 500);
    }
}

static void tokens_and_text(void **state)
{
    (void)state;
    rig_answer a;
    rig_ask(&shared, "{\"kind\":\"tokenize\",\"inputs\":[\"hello\"]}", &a);
    assert_int_equal(a.end, WIRE_DONE);
    const size_t n = a.n_id;
    assert_true(n > 0);
    rig_ask(&shared, "{\"kind\":\"tokenize\",\"inputs\":[\"hello\"],\"add_special\":true}", &a);
    assert_int_equal(a.n_id, n + 1);
    err_info err;
    const int32_t bad = 1 << 20;
    const wire_out f = {.type = WIRE_JOB,
                        .job = 1,
                        .head = "{\"kind\":\"detokenize\"}",
                        .n_head = 21,
                        .data = &bad,
                        .n_data = sizeof bad};
    assert_int_equal(wire_send(shared.w, &f, &err), CAMA_OK);
    memset(&a, 0, sizeof a);
    rig_collect(&shared, &a, 1);
    rig_has(a.head, "ERR_ARG");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(generates),
        cmocka_unit_test(chats_through_jinja),
        cmocka_unit_test(an_answer_that_was_begun),
        cmocka_unit_test(chats_through_go),
        cmocka_unit_test(thinks),
        cmocka_unit_test(tools_are_shown),
        cmocka_unit_test(several_at_once),
        cmocka_unit_test(cancels),
        cmocka_unit_test(credit_is_kept),
        cmocka_unit_test(a_paused_job_is_canceled),
        cmocka_unit_test(a_ping_shows_progress),
        cmocka_unit_test(stops_and_context),
        cmocka_unit_test(probabilities),
        cmocka_unit_test(refusals),
        cmocka_unit_test(long_conversations),
        cmocka_unit_test(long_prompts),
        cmocka_unit_test(contexts_of_jobs),
        cmocka_unit_test(embeds),
        cmocka_unit_test(pooled_embeddings),
        cmocka_unit_test(many_inputs),
        cmocka_unit_test(tokens_and_text),
    };
    return cmocka_run_group_tests(tests, open_shared, close_shared);
}
