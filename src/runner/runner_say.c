/* Frames to serve. */
#include "runner/runner_int.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define MAX_HEAD ((size_t)WIRE_MAX_HEAD_UP)
#define PIECE_BYTES ((size_t)256 << 10)

_Noreturn void runner_die(const err_info *err)
{
    (void)fprintf(stderr, "cama runner: %s\n", err->text); /* the parent's: it may be a log */
    _exit(1);
}

void runner_send(runner *r, const wire_out *f)
{
    err_info err;
    const cama_err e = wire_send(r->w, f, &err);
    if (e && e != CAMA_ERR_CANCELED) /* gone: the reading thread ends the process */
        runner_die(&err);
}

void runner_send_head(runner *r, wire_type t, uint64_t job, buf *head)
{
    err_info err;
    if (buf_error(head, wire_type_name(t), &err))
        runner_die(&err);
    const wire_out f = {.type = t, .job = job, .head = head->data, .n_head = head->n};
    runner_send(r, &f);
    buf_done(head);
}

void runner_log(runner *r, runner_level level, const char *fmt, ...)
{
    static const char *const heads[] = {
        [RUNNER_DEBUG] = "{\"level\":\"debug\"}",
        [RUNNER_INFO] = "{\"level\":\"info\"}",
        [RUNNER_WARNING] = "{\"level\":\"warn\"}",
        [RUNNER_ERROR] = "{\"level\":\"error\"}",
    };
    err_info line; /* for its cut at a whole character, and its scrubbing */
    va_list args;
    va_start(args, fmt);
    (void)err_vset(&line, CAMA_OK, fmt, args);
    va_end(args);
    const wire_out f = {.type = WIRE_LOG,
                        .head = heads[level],
                        .n_head = strlen(heads[level]),
                        .data = line.text,
                        .n_data = strlen(line.text)};
    runner_send(r, &f);
}

void runner_warn(runner_job *j, const char *code, const char *figures, const char *fmt, ...)
{
    err_info text;
    va_list args;
    va_start(args, fmt);
    (void)err_vset(&text, CAMA_OK, fmt, args);
    va_end(args);
    buf head;
    buf_init(&head, MAX_HEAD);
    (void)buf_printf(&head, "{\"code\":\"%s\",\"text\":", code); /* failures stick */
    (void)json_write_string(text.text, strlen(text.text), &head);
    (void)buf_printf(&head, "%s}", figures);
    runner_send_head(j->r, WIRE_WARN, j->id, &head);
}

void runner_fail(runner_job *j, const err_info *err, const char *figures)
{
    buf head;
    buf_init(&head, MAX_HEAD);
    (void)wire_put_err(&head, err); /* failures stick */
    if (head.n && *figures) {
        head.n--; /* the bracket */
        (void)buf_printf(&head, "%s}", figures);
    }
    runner_send_head(j->r, WIRE_FAIL, j->id, &head);
    runner_job_over(j);
}

void runner_done_early(runner_job *j, const char *reason, const char *figures)
{
    buf head;
    buf_init(&head, MAX_HEAD);
    (void)buf_printf(&head,
                     "{\"reason\":\"%s\",\"stop_index\":-1,\"n_prompt\":0,\"n_cached\":0,"
                     "\"n_token\":0,\"n_ctx\":%u,\"prep_ns\":%llu%s}",
                     reason, j->num_ctx, (unsigned long long)(clock_now_ns() - j->arrival_ns),
                     figures);
    runner_send_head(j->r, WIRE_DONE, j->id, &head);
    runner_job_over(j);
}

void runner_send_text(runner_job *j, const char *text, size_t n)
{
    while (n) {
        size_t piece = n < PIECE_BYTES ? n : PIECE_BYTES;
        while (piece < n && piece > 1 && ((unsigned char)text[piece] & 0xC0) == 0x80)
            piece--; /* a character is not cut */
        const wire_out f = {.type = WIRE_TEXT, .job = j->id, .data = text, .n_data = piece};
        runner_send(j->r, &f);
        text += piece;
        n -= piece;
    }
}
