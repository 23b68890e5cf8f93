/* runner_rig.h - a runner as a child of the test, and the end of the wire that serve has.
 * Its functions are static: one test program includes it once. */
#ifndef RUNNER_RIG_H
#define RUNNER_RIG_H

#include "test.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/spawn.h"
#include "runner/runner_int.h"
#include "tiny_chat.h"
#include "wire/wire.h"

/* A runner that ends with its wire joins no thread, and children of this process have threads. */
const char *__tsan_default_options(void); /* a name of the sanitizer's */
const char *__tsan_default_options(void)
{
    return "report_thread_leaks=0:die_after_fork=0";
}

typedef struct rig {
    pid_t pid;
    wire *w;
    char path[64]; /* of the model */
    char ready[4096];
} rig;

/* What came of one job until its end. */
typedef struct rig_answer {
    wire_type end; /* DONE or FAIL */
    char text[8192], think[1024], calls[1024];
    size_t n_text, n_think, n_calls;
    char head[2048];   /* of the end */
    char warn[4][512]; /* heads of the warnings */
    size_t n_warn, n_piece;
    char probs[16384]; /* heads of the pieces, one after the other */
    size_t n_probs;
    int32_t ids[2048]; /* data of the end, or TOKENS */
    size_t n_id;
    float vectors[4][1024];
    size_t n_vector, n_dim;
    uint32_t n_token[4]; /* of each vector */
} rig_answer;

static inline void rig_begin(rig *g)
{
    int fd[2];
    err_info err;
    memset(g, 0, sizeof *g);
    assert_int_equal(wire_pair(fd, &err), CAMA_OK);
    g->pid = fork();
    assert_true(g->pid >= 0);
    if (g->pid == 0) {
        (void)close(fd[0]);
        exit(runner_run(fd[1]));
    }
    (void)close(fd[1]);
    const wire_opts o = {.side = WIRE_SERVE};
    assert_int_equal(wire_open(fd[0], &o, &g->w, &err), CAMA_OK);
}

static inline void rig_send(rig *g, wire_type t, uint64_t job, const char *head)
{
    err_info err;
    const wire_out f = {.type = t, .job = job, .head = head, .n_head = head ? strlen(head) : 0};
    if (wire_send(g->w, &f, &err))
        fail_msg("%s", err.text);
}

static inline void rig_next(rig *g, wire_frame *f)
{
    err_info err;
    if (wire_recv(g->w, f, &err))
        fail_msg("%s", err.text);
}

/* The next frame that is no line for the log. */
static inline void rig_expect(rig *g, wire_type t, wire_frame *f)
{
    do {
        rig_next(g, f);
    } while (f->type == WIRE_LOG || (f->type == WIRE_PROGRESS && t != WIRE_PROGRESS));
    if (f->type != t)
        fail_msg("%s instead of %s: %s", wire_type_name(f->type), wire_type_name(t), f->head_text);
}

/* more: fields of LOAD, `,"n_ctx":64`. */
static inline cama_err rig_try_load(rig *g, const char *path, const char *more, err_info *err)
{
    char head[512];
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    (void)snprintf(head, sizeof head, "{\"files\":1,\"name\":\"tiny\",\"threads\":1%s}", more);
    const wire_out f = {
        .type = WIRE_LOAD, .head = head, .n_head = strlen(head), .fds = &fd, .n_fd = 1};
    const cama_err e = wire_send(g->w, &f, err);
    (void)close(fd);
    return e;
}

static inline void rig_send_load(rig *g, const char *path, const char *more)
{
    err_info err;
    assert_int_equal(rig_try_load(g, path, more, &err), CAMA_OK);
}

static inline void rig_load(rig *g, const char *path, const char *more)
{
    wire_frame f;
    rig_begin(g);
    rig_expect(g, WIRE_HELLO, &f);
    assert_int_equal(wire_int(&f, "version", 0), WIRE_VERSION);
    assert_int_equal(wire_int(&f, "pid", 0), g->pid);
    rig_send_load(g, path, more);
    rig_expect(g, WIRE_PLAN, &f);
    rig_send(g, WIRE_START, 0, "{}");
    rig_expect(g, WIRE_READY, &f);
    (void)snprintf(g->ready, sizeof g->ready, "%s", f.head_text);
}

static inline void rig_open(rig *g, const char *more)
{
    char path[64];
    tiny_chat_file(path);
    rig_load(g, path, more);
    memcpy(g->path, path, sizeof path);
    assert_int_equal(unlink(path), 0); /* it is open: a runner opens no path */
}

/* The same of a model that is for embeddings, with the mean of its tokens. */
static inline void rig_open_pooled(rig *g, const char *more)
{
    char path[64] = "/tmp/cama_runner_XXXXXX";
    tiny_chat c;
    size_t n;
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)close(fd);
    tiny_chat_begin(&c, "llama", "gpt2");
    gguf_build_u32(&c.b, "llama.pooling_type", 1);
    uint8_t *bytes = tiny_chat_bytes(&c, &n);
    tiny_chat_write(path, bytes, n);
    free(bytes);
    rig_load(g, path, more);
    assert_int_equal(unlink(path), 0);
}

/* After QUIT, or whatever else ended it. */
static inline void rig_ended(rig *g, const char *want)
{
    char how[96];
    if (!spawn_wait(g->pid, 10000, how))
        spawn_kill(g->pid, how);
    assert_string_equal(how, want);
    wire_close(g->w);
}

static inline void rig_quit(rig *g)
{
    rig_send(g, WIRE_QUIT, 0, NULL);
    rig_ended(g, "exited with status 0");
}

static inline void rig_append(char *to, size_t room, size_t *n, const void *from, size_t n_from)
{
    assert_true(*n + n_from < room);
    if (n_from)
        memcpy(to + *n, from, n_from);
    *n += n_from;
    to[*n] = '\0';
}

static inline void rig_vector(rig_answer *a, const wire_frame *f)
{
    const int64_t i = wire_int(f, "index", -1);
    assert_true(i >= 0 && i < 4 && f->n_data <= sizeof a->vectors[0]);
    a->n_dim = f->n_data / sizeof(float);
    a->n_token[i] = (uint32_t)wire_int(f, "n_token", 0);
    memcpy(a->vectors[i], f->data, f->n_data);
    a->n_vector++;
}

/* Takes a frame of a job; true: it was the last one. */
static inline bool rig_take(rig_answer *a, const wire_frame *f)
{
    switch (f->type) {
    case WIRE_TEXT:
        rig_append(a->text, sizeof a->text, &a->n_text, f->data, f->n_data);
        if (f->n_head > 2)
            rig_append(a->probs, sizeof a->probs, &a->n_probs, f->head_text, f->n_head);
        a->n_piece++;
        break;
    case WIRE_THINK:
        rig_append(a->think, sizeof a->think, &a->n_think, f->data, f->n_data);
        break;
    case WIRE_CALLS:
        rig_append(a->calls, sizeof a->calls, &a->n_calls, f->data, f->n_data);
        break;
    case WIRE_WARN:
        assert_true(a->n_warn < 4);
        (void)snprintf(a->warn[a->n_warn++], sizeof a->warn[0], "%s", f->head_text);
        break;
    case WIRE_VECTOR:
        rig_vector(a, f);
        break;
    case WIRE_TOKENS:
    case WIRE_DONE:
    case WIRE_FAIL:
        assert_true(f->n_data <= sizeof a->ids);
        if (f->n_data)
            memcpy(a->ids, f->data, f->n_data);
        if (f->n_data)
            a->n_id = f->n_data / sizeof(int32_t);
        (void)snprintf(a->head, sizeof a->head, "%s", f->head_text);
        a->end = f->type;
        break;
    default:
        fail_msg("%s among the frames of a job", wire_type_name(f->type));
    }
    return f->type == WIRE_DONE || f->type == WIRE_FAIL;
}

/* Frames until the n jobs 1..n are over; answers[i] is job i + 1's. */
static inline void rig_collect(rig *g, rig_answer *answers, size_t n)
{
    size_t n_over = 0;
    while (n_over < n) {
        wire_frame f;
        rig_next(g, &f);
        if (f.type == WIRE_LOG)
            continue;
        assert_true(f.job >= 1 && f.job <= n);
        n_over += rig_take(&answers[f.job - 1], &f);
    }
}

static inline void rig_ask(rig *g, const char *head, rig_answer *a)
{
    memset(a, 0, sizeof *a);
    rig_send(g, WIRE_JOB, 1, head);
    rig_collect(g, a, 1);
}

static inline void rig_has(const char *text, const char *want)
{
    if (!strstr(text, want))
        fail_msg("'%s' is not in '%s'", want, text);
}

#endif
