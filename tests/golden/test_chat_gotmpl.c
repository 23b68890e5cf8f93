/* Go templates against Go itself: random ones (tests/golden/gotmpl_oracle), output and error
 * texts, some of them made anew in each run, and the templates of Ollama's library with the prompts
 * that Ollama's own tests want. `test_chat_gotmpl FILE` compares the cases of another run of the
 * generator. */
#include "chat/gotmpl.h"
#include "test.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define NOW_S 1753000000 /* 2025-07-20, which the generator knows, too */
#define MAX_SHOWN 40
#define FIRST_GO 24 /* 1.24 ranges over integers */

static const char *random_path = TEST_DATA("gotmpl/random.json");

static json_value *read_file(arena *a, const char *path)
{
    FILE *f = fopen(path, "rb");
    json_value *v = NULL;
    err_info err = {0};
    if (!f) {
        print_error("cannot open %s\n", path);
        fail();
    }
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    const long n = ftell(f);
    rewind(f);
    char *text = arena_take(a, (size_t)n + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, (size_t)n, f), n);
    fclose(f);
    if (json_parse(text, (size_t)n, a, &v, &err)) {
        print_error("%s: %s\n", path, err.text);
        fail();
    }
    return v;
}

/* One case: its source over data i, which counts through the chats first. */
static cama_err render(const json_value *all, const gotmpl *t, size_t i, buf *out, err_info *err)
{
    const json_value *chats = json_get(all, "chats");
    const json_value *plains = json_get(all, "plains");
    if (i >= chats->n)
        return gotmpl_render(t, plains->items[i - chats->n], NOW_S, NULL, out, err);
    const json_value *chat = chats->items[i];
    const gochat_request q = {.messages = json_get(chat, "messages"),
                              .tools = json_get(chat, "tools"),
                              .think = (int)json_get(chat, "think")->integer,
                              .think_level = json_get(chat, "think_level")->text,
                              .now_s = NOW_S};
    return gochat_render(t, &q, out, err);
}

/* Where two texts part. */
static void show_difference(const char *got, const char *want)
{
    size_t i = 0;
    while (got[i] && got[i] == want[i])
        i++;
    const size_t from = i > 40 ? i - 40 : 0;
    print_error("   got ..%.160s\n  want ..%.160s\n", got + from, want + from);
}

static bool check(const json_value *all, const json_value *c, size_t number)
{
    const json_value *source = c->items[0];
    const bool wants_error = c->n == 4;
    gotmpl *t = NULL;
    err_info err = {0};
    err_info want = {0};
    buf out;
    buf_init(&out, 1 << 20);
    cama_err e = gotmpl_open(source->text, source->n, &t, &err);
    if (!e)
        e = render(all, t, (size_t)c->items[1]->integer, &out, &err);
    if (wants_error) /* cut and cleaned as ours is */
        (void)err_set(&want, CAMA_ERR_TEMPLATE, "%s", c->items[3]->text); /* only its text */
    const char *text = out.data ? out.data : "";
    const bool same =
        wants_error ? e == CAMA_ERR_TEMPLATE && strcmp(err.text, want.text) == 0
                    : !e && out.n == c->items[2]->n && memcmp(text, c->items[2]->text, out.n) == 0;
    if (!same) {
        print_error("case %zu, data %d: %s\n", number, (int)c->items[1]->integer, source->text);
        show_difference(e ? err.text : text, wants_error ? want.text : c->items[2]->text);
    }
    gotmpl_close(t);
    buf_done(&out);
    return same;
}

static void check_all(const char *path)
{
    arena a;
    arena_init(&a, 1u << 30);
    const json_value *all = read_file(&a, path);
    const json_value *cases = json_get(all, "cases");
    size_t bad = 0;
    assert_true(cases->n > 0);
    for (size_t i = 0; i < cases->n && bad < MAX_SHOWN; i++)
        bad += !check(all, cases->items[i], i);
    print_message("%zu templates\n", cases->n);
    arena_done(&a);
    assert_int_equal(bad, 0);
}

static void random_templates(void **state)
{
    (void)state;
    check_all(random_path);
}

/* The first line that a command prints, "" when it cannot be run. */
static void first_line(const char *command, char *out, int n)
{
    FILE *p = popen(command, "r");
    out[0] = '\0';
    if (p && !fgets(out, n, p))
        out[0] = '\0';
    if (p)
        (void)pclose(p); /* what it printed is all that is asked for */
}

/* Templates that nobody has seen yet, where a Go that knows the same language is installed. */
static void fresh_templates(void **state)
{
    char line[256];
    char path[] = "/tmp/cama_gotmpl_XXXXXX";
    char command[1024];
    int minor = 0;
    (void)state;
    first_line("GOTOOLCHAIN=local go version 2>/dev/null", line, sizeof line);
    if (sscanf(line, "go version go1.%d", &minor) != 1 || minor < FIRST_GO) {
        print_message("skipped: needs Go 1.%d or newer\n", FIRST_GO);
        skip();
    }
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)close(fd); /* only its name is used */
    const long seed = (long)time(NULL);
    (void)snprintf(command, sizeof command,
                   "cd '%s/../golden/gotmpl_oracle' && GOTOOLCHAIN=local GOPROXY=off GOFLAGS= "
                   "GOCACHE=${GOCACHE:-${HOME:-/tmp}/.cache/go-build} "
                   "go run . -seed %ld -n 1000 > %s && echo made",
                   TEST_DATA_DIR, seed, path);
    first_line(command, line, sizeof line);
    assert_string_equal(line, "made\n");
    print_message("seed %ld\n", seed);
    check_all(path);
    (void)unlink(path); /* kept when a case differs */
}

static void check_prompt(const gotmpl *t, const char *name, const json_value *messages,
                         const json_value *want)
{
    buf out;
    err_info err = {0};
    buf_init(&out, 1 << 20);
    const gochat_request q = {.messages = messages, .think = -1, .think_level = ""};
    if (gochat_render(t, &q, &out, &err)) {
        print_error("%s: %s\n", name, err.text);
        fail();
    }
    if (strcmp(out.data ? out.data : "", want->text) != 0)
        print_error("%s differs\n", name);
    assert_string_equal(out.data ? out.data : "", want->text);
    buf_done(&out);
}

static void library_templates(void **state)
{
    (void)state;
    arena a;
    arena_init(&a, 1u << 28);
    const json_value *all = read_file(&a, TEST_DATA("gotmpl/library.json"));
    const json_value *list = json_get(all, "templates");
    const json_value *chats = json_get(all, "chats");
    assert_int_equal(list->n, 20);
    for (size_t i = 0; i < list->n; i++) {
        const json_value *source = json_get(list->items[i], "source");
        const char *name = json_get(list->items[i], "name")->text;
        gotmpl *t = NULL;
        assert_int_equal(gotmpl_open(source->text, source->n, &t, NULL), CAMA_OK);
        for (size_t k = 0; k < chats->n; k++)
            check_prompt(t, name, chats->members[k].value,
                         json_get(json_get(list->items[i], "prompts"), chats->members[k].key));
        gotmpl_close(t);
    }
    arena_done(&a);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_templates),
        cmocka_unit_test(fresh_templates),
        cmocka_unit_test(library_templates),
    };
    if (argc == 2)
        random_path = argv[1];
    (void)setenv("TZ", "UTC", 1); /* the day is that of the local time */
    tzset();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
