/* The REPL of `cama run`: questions and answers. */
#include "cli/cli_repl.h"

#include <stdio.h>
#include <string.h>

#define SESSION_BYTES ((size_t)64 << 20) /* all texts of /set together */
#define ANSWER_SHARE 4 /* the part of the context that a conversation leaves to the answer */

void repl_complain(const cama_error *err)
{
    fprintf(stderr, "cama: %s\n", err->text);
}

void repl_begin_chat(session *s)
{
    cama_error err;
    cli_chat_done(&s->chat);
    cli_chat_init(&s->chat);
    if (s->system && cli_chat_add(&s->chat, "system", s->system, &err))
        repl_complain(&err);
}

/* ---- what fits into the context ---- */

/* The conversation without some of its oldest turns, as tokens. */
typedef struct window {
    int32_t *ids;
    size_t n_id;
    size_t n_dropped; /* messages */
} window;

/* Takes the place of *w, which keeps what it had on failure. */
static cama_err make_window(session *s, size_t n_drop, window *w, cama_error *err)
{
    window next = {0};
    cama_gen_opts o = s->args->gen;
    o.messages = cli_chat_messages(&s->chat, n_drop, &next.n_dropped);
    if (!o.messages)
        return err_set(err, CAMA_ERR_NOMEM, "no memory for the conversation");
    const cama_err e = cama_prompt_tokens(s->m, &o, &next.ids, &next.n_id, err);
    if (e)
        return e;
    cama_free(w->ids);
    *w = next;
    return CAMA_OK;
}

/* Tokens that a prompt may have, so that there is room for an answer. */
static size_t room_for_prompt(const session *s, uint32_t n_ctx)
{
    const int32_t n_predict = s->args->gen.n_predict;
    const uint32_t most = n_ctx / ANSWER_SHARE;
    return n_ctx - (n_predict >= 0 && (uint32_t)n_predict < most ? (uint32_t)n_predict : most);
}

/* Leaves out the fewest oldest turns that make the rest fit; system messages and the last question
 * stay. Whole turns, because many templates insist on a user's message behind the system's. More
 * turns are never more tokens, so their number is found by halving. */
static cama_err fit_window(session *s, uint32_t n_ctx, window *w, cama_error *err)
{
    cama_err e = make_window(s, 0, w, err);
    const size_t n_all = w->n_id;
    const size_t limit = room_for_prompt(s, n_ctx);
    if (e || n_all <= limit || s->chat.n_turn < 2)
        return e;
    size_t low = 1;
    size_t high = s->chat.n_turn - 1;
    size_t have = 0; /* turns left out of *w */
    while (!e && low < high) {
        have = low + (high - low) / 2;
        e = make_window(s, have, w, err);
        if (!e && w->n_id <= limit)
            high = have;
        else
            low = have + 1;
    }
    if (!e && have != low)
        e = make_window(s, low, w, err);
    if (!e && w->n_id <= n_ctx)
        fprintf(stderr,
                "cama: warning: the conversation has %zu tokens, the context holds %u: the %zu "
                "oldest messages are left out, %zu tokens are kept\n",
                n_all, n_ctx, w->n_dropped, w->n_id);
    return e;
}

/* ---- questions ---- */

/* Model files without a template are given the bare text, and no conversation. */
static cama_err answer(session *s, const char *question, buf *text, cama_gen_result *r,
                       cama_error *err)
{
    cama_info info;
    cama_model_info(s->m, &info, sizeof info);
    cama_gen_opts o = s->args->gen;
    if (!info.has_template) {
        o.prompt = question;
        return cli_answer(s->m, &o, text, r, err);
    }
    window w = {0};
    cama_err e = cli_chat_add(&s->chat, "user", question, err);
    if (!e)
        e = fit_window(s, info.n_ctx, &w, err);
    o.ids = w.ids;
    o.n_id = w.n_id;
    if (!e)
        e = cli_answer(s->m, &o, text, r, err);
    cama_free(w.ids);
    return e;
}

static void ask(session *s, const char *question)
{
    cama_error err;
    cama_gen_result r;
    buf text;
    buf_init(&text, CLI_MAX_INPUT);
    const size_t n_message = s->chat.n_message;
    cama_err e = answer(s, question, &text, &r, &err);
    const bool nothing = !e && r.finish == CAMA_FINISH_CANCELED && !text.n;
    if (!e && !nothing)
        e = cli_chat_add(&s->chat, "assistant", text.data ? text.data : "", &err);
    if (e || nothing)
        cli_chat_cut(&s->chat, n_message); /* as if it had not been asked */
    if (e == CAMA_ERR_CONTEXT)
        cli_name_remedy(&err, "/set parameter num_ctx N makes room for more");
    if (e)
        repl_complain(&err);
    else if (s->verbose)
        cli_print_figures(s->m, &r, true);
    buf_done(&text);
}

/* ---- reading ---- */

static const char quotes[] = "\"\"\"";

/* Where a text of several lines begins: behind """ at the front, or behind that of /set system. */
static const char *find_opening(const char *line)
{
    static const char *const before[] = {"/set", "system"};
    const bool set = !strncmp(line, before[0], strlen(before[0]));
    for (size_t i = 0; set && i < sizeof before / sizeof before[0]; i++) {
        if (strncmp(line, before[i], strlen(before[i])) != 0)
            return NULL;
        line += strlen(before[i]);
        line += strspn(line, " \t");
    }
    return strncmp(line, quotes, 3) ? NULL : line + 3;
}

/* A line, or all up to the """ that ends it. *text is NUL-terminated on LINE_TEXT. */
static line_event read_question(session *s, buf *text)
{
    line_event event = line_read(s->line, ">>> ", text);
    const char *opening = event == LINE_TEXT && text->n ? find_opening(text->data) : NULL;
    if (!opening)
        return event;
    const size_t at = (size_t)(opening - text->data);
    const char *end;
    while (!(end = strstr(text->data + at, quotes))) {
        (void)buf_putc(text, '\n'); /* sticky: seen by the caller */
        event = line_read(s->line, "... ", text);
        if (event != LINE_TEXT || text->fail)
            return event;
    }
    if (at == 3) { /* the quotes are the question's; a command takes its own off */
        text->n = (size_t)(end - text->data);
        text->data[text->n] = '\0';
        buf_drop_front(text, 3);
    }
    return LINE_TEXT;
}

static void turn(session *s, buf *text)
{
    buf_clear(text);
    switch (read_question(s, text)) {
    case LINE_END:
        s->over = true;
        return;
    case LINE_INTERRUPTED:
        printf("Use Ctrl + d or /bye to exit.\n");
        return;
    case LINE_TEXT:
        break;
    }
    cama_error err;
    if (buf_error(text, "the question", &err)) {
        repl_complain(&err);
        return;
    }
    if (!text->n || !text->data[strspn(text->data, " \t\n")])
        return;
    line_remember(s->line, text->data);
    char *question = text->data + strspn(text->data, " \t\n");
    if (*question == '/')
        repl_command(s, question);
    else
        ask(s, question);
}

int cli_repl(cli_args *args, cama_model *m)
{
    session s = {.args = args, .m = m, .system = args->system, .verbose = args->verbose};
    cama_error err;
    arena_init(&s.texts, SESSION_BYTES);
    cli_chat_init(&s.chat);
    repl_begin_chat(&s);
    cama_info info;
    cama_model_info(m, &info, sizeof info);
    if (!info.has_template)
        cli_warning(NULL, "the file has no chat template: each text is continued as it is");
    buf text;
    buf_init(&text, CLI_MAX_INPUT);
    if (line_open(&s.line, &err)) {
        s.status = cli_fail(&err);
        s.over = true;
    }
    while (!s.over)
        turn(&s, &text);
    line_close(s.line);
    buf_done(&text);
    cli_chat_done(&s.chat);
    arena_done(&s.texts);
    cama_model_close(s.m);
    return s.status;
}
