/* fake_runner.h - a runner for the pool's tests, that behaves as it is told: well, slowly or badly.
 *
 * A test program is its own runner: main calls fake_runner_main when argv[1] is "runner". What it
 * shall do before LOAD stands in FAKE_HELLO (silent, exit, garbage, version, early; random: frames
 * that make no sense, all its life). The rest is in
 * the "weights" file, words with values:
 *     total 1000  kv 10  available 5000  n_ctx 512  (PLAN)
 *     load_ms 50  progress 1 (frames meanwhile)
 *     plan die|stop|garbage|silent|refuse|nofit|fd
 *     load die|stop|garbage|silent|refuse|nofit|twice|engine (REFUSE with ERR_ENGINE)|cannot
 *     auto mlx (the engine that it takes when none is asked for and none is to be avoided: "fake")
 *     note word (what the engine does otherwise)
 *     alone 1 (no other engine could take the model)
 *     look die|stop (after it told which engine it looks at, before PLAN)
 *   each of the words plan, load and look also for one engine alone: mlx.load die
 * and in a JOB's head: {"do": ...}
 *     echo      a TEXT of "text", n times ("n"), then DONE        none  DONE at once
 *     wait      nothing until CANCEL, or a job with {"do":"release"}
 *     stuck     as wait, but the engine makes no step             deaf  answers nothing any more
 *     stubborn  as wait, but CANCEL is not heard                  stop  SIGSTOP
 *     die, exit, garbage, badutf8, odd (a VECTOR of 3 bytes), stranger (a frame of another job)
 *     spill     more text than any credit allows
 *     fail      FAIL with ERR_CONTEXT                             flood "n" bytes, as credit comes
 *     once      die if there is a file FAKE_ONCE, which is then gone; else echo
 *     talkdie   a TEXT, then die
 *     warndie   a WARN, then die                                  broken FAIL with ERR_ENGINE
 *     report    a TEXT: "threads T spin S budgets B credits C cancels K pings P n_ctx X"
 *   {"mlx": ...} instead: on that engine.
 * Asked which engines there are: native and mlx; FAKE_ABOUT die|exit: the end while it looks at
 * mlx.
 */
#ifndef FAKE_RUNNER_H
#define FAKE_RUNNER_H

#include "test.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "wire/wire.h"

enum { FAKE_MAX_HELD = 64, FAKE_PIECE = 16384 };

typedef struct fake_held {
    uint64_t job;
    bool hears_cancel;
    int64_t left, credit; /* of a flood */
} fake_held;

typedef struct fake_runner {
    wire *wire;
    char plan[16], load[16], look[16], engine[16], choice[16], note[16], avoid[96];
    long alone;
    long total, kv, available, n_ctx, load_ms, progress;
    long asked_n_ctx;
    fake_held held[FAKE_MAX_HELD];
    size_t n_held;
    bool stuck;
    unsigned steps;
    long threads, spin_us, n_budget, n_credit, n_cancel, n_ping;
} fake_runner;

static inline void fake_sleep_ms(long ms)
{
    const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    (void)nanosleep(&t, NULL);
}

static inline void fake_send(fake_runner *r, wire_type type, uint64_t job, const char *head,
                             const void *data, size_t n)
{
    const wire_out f = {.type = type,
                        .job = job,
                        .head = head,
                        .n_head = head ? strlen(head) : 0,
                        .data = data,
                        .n_data = n};
    if (wire_send(r->wire, &f, NULL))
        _exit(3);
}

static inline void fake_done(fake_runner *r, uint64_t job, const char *reason)
{
    char head[96];
    (void)snprintf(head, sizeof head, "{\"reason\":\"%s\",\"n_ctx\":%ld}", reason, r->n_ctx);
    fake_send(r, WIRE_DONE, job, head, NULL, 0);
}

static inline void fake_garbage(void)
{
    static const char bytes[] = "HTTP/1.1 400 Bad Request\r\n\r\nthis is not a frame at all";
    if (write(WIRE_RUNNER_FD, bytes, sizeof bytes) < 0)
        _exit(4);
    for (;;)
        (void)pause();
}

static inline void fake_script(fake_runner *r, int fd)
{
    char text[1024];
    const ssize_t n = pread(fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    char *rest = NULL;
    for (char *k = strtok_r(text, " \n", &rest); k; k = strtok_r(NULL, " \n", &rest)) {
        const char *v = strtok_r(NULL, " \n", &rest);
        if (!v)
            break;
        const char *dot = strchr(k, '.');
        if (dot && strncmp(k, r->engine, (size_t)(dot - k)) != 0)
            continue; /* for another engine */
        k = dot ? k + (dot - k) + 1 : k;
        if (strcmp(k, "plan") == 0)
            (void)snprintf(r->plan, sizeof r->plan, "%s", v);
        else if (strcmp(k, "load") == 0)
            (void)snprintf(r->load, sizeof r->load, "%s", v);
        else if (strcmp(k, "look") == 0)
            (void)snprintf(r->look, sizeof r->look, "%s", v);
        else if (strcmp(k, "auto") == 0)
            (void)snprintf(r->choice, sizeof r->choice, "%s", v);
        else if (strcmp(k, "note") == 0)
            (void)snprintf(r->note, sizeof r->note, "%s", v);
        else if (strcmp(k, "alone") == 0)
            r->alone = atol(v);
        else if (strcmp(k, "total") == 0)
            r->total = atol(v);
        else if (strcmp(k, "kv") == 0)
            r->kv = atol(v);
        else if (strcmp(k, "available") == 0)
            r->available = atol(v);
        else if (strcmp(k, "n_ctx") == 0)
            r->n_ctx = atol(v);
        else if (strcmp(k, "load_ms") == 0)
            r->load_ms = atol(v);
        else if (strcmp(k, "progress") == 0)
            r->progress = atol(v);
    }
}

/* As an engine: native has none that could stand in for it where it is alone. */
static inline void fake_refuse(fake_runner *r, const char *code, const char *text)
{
    char head[256];
    (void)snprintf(head, sizeof head,
                   "{\"code\":\"%s\",\"text\":\"%s\",\"engine\":\"%s\",\"build\":\"%s 1\"}", code,
                   text, r->engine, r->engine);
    fake_send(r, WIRE_REFUSE, 0, head, NULL, 0);
}

/* What may go wrong in planning and in loading. True: the frame that was due is not wanted. */
static inline bool fake_misbehave(fake_runner *r, const char *how)
{
    if (strcmp(how, "die") == 0)
        (void)raise(SIGKILL);
    else if (strcmp(how, "stop") == 0)
        (void)raise(SIGSTOP);
    else if (strcmp(how, "garbage") == 0)
        fake_garbage();
    else if (strcmp(how, "refuse") == 0)
        fake_send(r, WIRE_REFUSE, 0, "{\"code\":\"ERR_UNSUPPORTED\",\"text\":\"no such tensors\"}",
                  NULL, 0);
    else if (strcmp(how, "nofit") == 0)
        fake_refuse(r, "ERR_NO_FIT", "9 of 8 bytes");
    else if (strcmp(how, "engine") == 0)
        fake_refuse(r, "ERR_ENGINE", "no stream");
    else if (strcmp(how, "cannot") == 0)
        fake_refuse(r, "ERR_UNSUPPORTED", "no such op");
    else
        return strcmp(how, "silent") == 0;
    return true;
}

static inline void fake_figures(const fake_runner *r, char out[640])
{
    const long rest = r->kv + 10;
    const bool has_other = !r->alone && strcmp(r->engine, "fake") != 0;
    (void)snprintf(out, 640,
                   "{\"weights\":%ld,\"kv\":%ld,\"scratch\":10,\"total\":%ld,\"available\":%ld,"
                   "\"n_ctx\":%ld,\"engine\":\"%s\",\"device\":\"cpu\",\"weights_in\":\"memory\","
                   "\"build\":\"%s 1\",\"engine_version\":\"%s 1\",\"why\":\"%s\",\"others\":[%s],"
                   "\"exact\":true,\"forms\":[{\"role\":\"Q\"}],\"note\":\"%s\"}",
                   r->total > rest ? r->total - rest : 0, r->kv, r->total, r->available, r->n_ctx,
                   r->engine, r->engine, r->engine, r->avoid[0] ? r->avoid : "fits best",
                   !has_other                         ? ""
                   : strcmp(r->engine, "native") == 0 ? "\"mlx\""
                                                      : "\"native\"",
                   r->note);
}

/* Which engine: the one that LOAD asks for, else that of the script, else native where that one is
 * to be avoided. */
static inline void fake_choose(fake_runner *r, const wire_frame *f, int fd)
{
    (void)snprintf(r->choice, sizeof r->choice, "fake");
    fake_script(r, fd); /* for its "auto"; the words for one engine come with the second reading */
    (void)snprintf(r->engine, sizeof r->engine, "%s", wire_str(f, "engine", ""));
    (void)snprintf(r->avoid, sizeof r->avoid, "%.90s", wire_str(f, "why", ""));
    if (!r->engine[0])
        (void)snprintf(r->engine, sizeof r->engine, "%s", r->choice);
    const json_value *avoid = json_get(f->head, "avoid");
    for (size_t i = 0; avoid && i < avoid->n; i++) {
        const json_value *name = json_get(avoid->items[i], "engine");
        const json_value *why = json_get(avoid->items[i], "why");
        if (strcmp(name->text, r->engine) != 0)
            continue;
        (void)snprintf(r->engine, sizeof r->engine, "native");
        (void)snprintf(r->avoid, sizeof r->avoid, "%.90s", why->text);
    }
    fake_script(r, fd);
}

static inline void fake_load(fake_runner *r, const wire_frame *f)
{
    r->total = 1000;
    r->kv = 10;
    r->available = 1000000000;
    r->asked_n_ctx = (long)wire_int(f, "n_ctx", 0);
    r->n_ctx = r->asked_n_ctx;
    if (f->n_fd < 1)
        _exit(5);
    fake_choose(r, f, f->fds[0]);
    for (size_t i = 0; i < f->n_fd; i++)
        (void)close(f->fds[i]);
    if (r->look[0]) {
        char head[64];
        (void)snprintf(head, sizeof head, "{\"engine\":\"%s\"}", r->engine);
        fake_send(r, WIRE_PROGRESS, 0, head, NULL, 0);
        (void)wire_flush(r->wire, 10000);
        (void)fake_misbehave(r, r->look);
    }
    if (fake_misbehave(r, r->plan))
        return;
    char head[640];
    fake_figures(r, head);
    if (strcmp(r->plan, "fd") == 0) {
        const int fd = STDERR_FILENO;
        const wire_out out = {
            .type = WIRE_PLAN, .head = head, .n_head = strlen(head), .fds = &fd, .n_fd = 1};
        (void)wire_send(r->wire, &out, NULL);
        return;
    }
    fake_send(r, WIRE_PLAN, 0, head, NULL, 0);
}

static inline void fake_start(fake_runner *r)
{
    if (fake_misbehave(r, r->load))
        return;
    for (long ms = 0; ms < r->load_ms; ms += 10) {
        fake_sleep_ms(10);
        if (r->progress)
            fake_send(r, WIRE_PROGRESS, 0, "{\"done\":1,\"all\":2}", NULL, 0);
    }
    char head[640];
    fake_figures(r, head);
    fake_send(r, WIRE_READY, 0, head, NULL, 0);
    if (strcmp(r->load, "twice") == 0)
        fake_send(r, WIRE_READY, 0, head, NULL, 0);
}

static inline void fake_flood(fake_runner *r, fake_held *h)
{
    static char text[FAKE_PIECE];
    memset(text, 'x', sizeof text);
    while (h->left > 0 && h->credit > 0) {
        int64_t n = h->left < h->credit ? h->left : h->credit;
        n = n < FAKE_PIECE ? n : FAKE_PIECE;
        fake_send(r, WIRE_TEXT, h->job, NULL, text, (size_t)n);
        h->left -= n;
        h->credit -= n;
    }
}

static inline void fake_let_go(fake_runner *r, size_t i, const char *reason)
{
    fake_done(r, r->held[i].job, reason);
    r->held[i] = r->held[--r->n_held];
}

static inline void fake_hold(fake_runner *r, uint64_t job, bool hears_cancel)
{
    if (r->n_held == FAKE_MAX_HELD)
        _exit(6);
    r->held[r->n_held++] =
        (fake_held){.job = job, .hears_cancel = hears_cancel, .credit = WIRE_CREDIT_BYTES};
}

static inline void fake_report(fake_runner *r, uint64_t job)
{
    char text[160];
    const int n = snprintf(
        text, sizeof text,
        "threads %ld spin %ld budgets %ld credits %ld cancels %ld pings %ld n_ctx %ld", r->threads,
        r->spin_us, r->n_budget, r->n_credit, r->n_cancel, r->n_ping, r->asked_n_ctx);
    fake_send(r, WIRE_TEXT, job, NULL, text, (size_t)n);
    fake_done(r, job, "stop");
}

static inline void fake_spill(fake_runner *r, uint64_t job, size_t n)
{
    static char text[1 << 20];
    memset(text, 'x', sizeof text);
    for (size_t i = 0; i < n; i += sizeof text) {
        fake_send(r, WIRE_TEXT, job, NULL, text, sizeof text);
        (void)wire_flush(r->wire, 10000);
    }
}

static inline void fake_bad_job(fake_runner *r, const char *what, uint64_t job)
{
    if (strcmp(what, "die") == 0)
        (void)raise(SIGKILL);
    else if (strcmp(what, "exit") == 0)
        _exit(7);
    else if (strcmp(what, "stop") == 0)
        (void)raise(SIGSTOP);
    else if (strcmp(what, "garbage") == 0)
        fake_garbage();
    else if (strcmp(what, "badutf8") == 0)
        fake_send(r, WIRE_TEXT, job, NULL, "\xff\xfe", 2);
    else if (strcmp(what, "odd") == 0)
        fake_send(r, WIRE_VECTOR, job, NULL, "123", 3);
    else if (strcmp(what, "stranger") == 0)
        fake_send(r, WIRE_TEXT, job + 1000, NULL, "x", 1);
    else if (strcmp(what, "spill") == 0)
        fake_spill(r, job, (size_t)WIRE_MAX_DATA_DOWN + (2u << 20));
    else
        while (strcmp(what, "deaf") == 0)
            (void)pause();
}

static inline void fake_echo(fake_runner *r, const wire_frame *f)
{
    const char *text = wire_str(f, "text", "hello");
    for (int64_t i = 0; i < wire_int(f, "n", 1); i++)
        fake_send(r, WIRE_TEXT, f->job, NULL, text, strlen(text));
    fake_done(r, f->job, "stop");
}

static inline void fake_once(fake_runner *r, const wire_frame *f)
{
    const char *file = getenv("FAKE_ONCE");
    if (file && unlink(file) == 0)
        (void)raise(SIGKILL);
    fake_echo(r, f);
}

static inline void fake_job(fake_runner *r, const wire_frame *f)
{
    const char *what = wire_str(f, r->engine, wire_str(f, "do", "none"));
    r->steps++;
    if (strcmp(what, "echo") == 0) {
        fake_echo(r, f);
    } else if (strcmp(what, "once") == 0) {
        fake_once(r, f);
    } else if (strcmp(what, "warndie") == 0) {
        fake_send(r, WIRE_WARN, f->job, "{\"code\":\"odd\",\"text\":\"odd\"}", NULL, 0);
        (void)wire_flush(r->wire, 10000);
        (void)raise(SIGKILL);
    } else if (strcmp(what, "warn") == 0) {
        fake_send(r, WIRE_WARN, f->job, "{\"code\":\"odd\",\"text\":\"odd\"}", NULL, 0);
        fake_echo(r, f);
    } else if (strcmp(what, "talkdie") == 0) {
        fake_send(r, WIRE_TEXT, f->job, NULL, "I think", 7);
        (void)wire_flush(r->wire, 10000);
        (void)raise(SIGKILL);
    } else if (strcmp(what, "broken") == 0) {
        fake_send(r, WIRE_FAIL, f->job, "{\"code\":\"ERR_ENGINE\",\"text\":\"NaN everywhere\"}",
                  NULL, 0);
    } else if (strcmp(what, "none") == 0) {
        fake_done(r, f->job, "stop");
    } else if (strcmp(what, "wait") == 0 || strcmp(what, "stuck") == 0 ||
               strcmp(what, "stubborn") == 0) {
        fake_hold(r, f->job, strcmp(what, "stubborn") != 0);
        r->stuck = strcmp(what, "stuck") == 0;
        fake_send(r, WIRE_TEXT, f->job, NULL, "on it", 5);
    } else if (strcmp(what, "release") == 0) {
        while (r->n_held)
            fake_let_go(r, 0, "stop");
        fake_done(r, f->job, "stop");
    } else if (strcmp(what, "fail") == 0) {
        fake_send(r, WIRE_FAIL, f->job,
                  "{\"code\":\"ERR_CONTEXT\",\"text\":\"9 of 8\",\"n_prompt\":9,\"n_ctx\":8}", NULL,
                  0);
    } else if (strcmp(what, "flood") == 0) {
        fake_hold(r, f->job, true);
        r->held[r->n_held - 1].left = wire_int(f, "n", 0);
        fake_flood(r, &r->held[r->n_held - 1]);
    } else if (strcmp(what, "report") == 0) {
        fake_report(r, f->job);
    } else {
        fake_bad_job(r, what, f->job);
    }
}

static inline void fake_orders(fake_runner *r, const wire_frame *f)
{
    if (f->type == WIRE_CANCEL)
        r->n_cancel++;
    if (f->type == WIRE_CREDIT)
        r->n_credit++;
    for (size_t i = 0; i < r->n_held; i++) {
        fake_held *h = &r->held[i];
        if (h->job != f->job)
            continue;
        if (f->type == WIRE_CREDIT) {
            h->credit += wire_int(f, "bytes", 0);
            fake_flood(r, h);
            if (h->left == 0)
                fake_let_go(r, i, "stop");
        } else if (h->hears_cancel) {
            fake_let_go(r, i, "canceled");
        }
        return;
    }
}

static inline void fake_pong(fake_runner *r, const wire_frame *f)
{
    char head[128];
    size_t n_blocked = 0;
    for (size_t i = 0; i < r->n_held; i++)
        n_blocked += r->held[i].left > 0 && r->held[i].credit <= 0;
    r->n_ping++;
    r->steps += !r->stuck && (r->n_held == 0 || n_blocked < r->n_held);
    (void)snprintf(head, sizeof head, "{\"n\":%lld,\"steps\":%u,\"running\":%zu}",
                   (long long)wire_int(f, "n", 0), r->steps, r->n_held);
    fake_send(r, WIRE_PONG, 0, head, NULL, 0);
}

#define FAKE_NATIVE "{\"name\":\"native\",\"available\":true,\"version\":\"native 1\",\"why\":\"\"}"
#define FAKE_MLX "{\"name\":\"mlx\",\"available\":true,\"version\":\"mlx 1\",\"why\":\"\"}"

static inline void fake_engines(fake_runner *r, const wire_frame *f)
{
    const char *how = getenv("FAKE_ABOUT");
    const json_value *skip = json_get(f->head, "skip");
    const bool all = !skip || skip->n == 0;
    if (all) {
        fake_send(r, WIRE_PROGRESS, 0, "{\"engine\":\"mlx\"}", NULL, 0);
        (void)wire_flush(r->wire, 10000);
        if (how && strcmp(how, "die") == 0)
            (void)raise(SIGKILL);
        if (how && strcmp(how, "exit") == 0)
            _exit(7);
    }
    fake_send(r, WIRE_ABOUT, 0,
              all ? "{\"engines\":[" FAKE_NATIVE "," FAKE_MLX "]}"
                  : "{\"engines\":[" FAKE_NATIVE "]}",
              NULL, 0);
    (void)wire_flush(r->wire, 10000);
    _exit(0);
}

static inline void fake_frame(fake_runner *r, const wire_frame *f)
{
    switch (f->type) {
    case WIRE_ENGINES:
        fake_engines(r, f);
        break;
    case WIRE_LOAD:
        fake_load(r, f);
        break;
    case WIRE_START:
        fake_start(r);
        break;
    case WIRE_JOB:
        fake_job(r, f);
        break;
    case WIRE_CANCEL:
    case WIRE_CREDIT:
        fake_orders(r, f);
        break;
    case WIRE_BUDGET:
        r->threads = (long)wire_int(f, "threads", -1);
        r->spin_us = (long)wire_int(f, "spin_us", -1);
        r->n_budget++;
        break;
    case WIRE_PING:
        fake_pong(r, f);
        break;
    case WIRE_QUIT:
        wire_close(r->wire);
        exit(0);
    default:
        _exit(8);
    }
}

static inline void fake_hello(fake_runner *r, const char *how)
{
    if (strcmp(how, "silent") == 0)
        for (;;)
            (void)pause();
    if (strcmp(how, "exit") == 0)
        _exit(9);
    if (strcmp(how, "garbage") == 0)
        fake_garbage();
    if (strcmp(how, "early") == 0)
        fake_send(r, WIRE_READY, 0, NULL, NULL, 0);
    fake_send(r, WIRE_HELLO, 0,
              strcmp(how, "version") == 0 ? "{\"version\":99}" : "{\"version\":1,\"pid\":1}", NULL,
              0);
}

/* Frames that are whole and make no sense: out of turn, of strange jobs, with figures that no
 * machine has. */
static inline void fake_nonsense(fake_runner *r, unsigned *x)
{
    static const char *const heads[] = {
        "{}",
        "{\"version\":1}",
        "{\"total\":-1,\"weights\":-9223372036854775808,\"available\":1e300,\"n_ctx\":1e99}",
        "{\"total\":9223372036854775807,\"kv\":18446744073709551615,\"n_ctx\":4294967296}",
        "{\"total\":\"x\",\"engine\":[],\"n_ctx\":{},\"level\":7,\"steps\":null}",
        "{\"code\":\"ERR_NO_FIT\",\"text\":\"no\"}",
        "{\"code\":\"OK\",\"text\":\"\\u001b[31m\"}",
        "{\"code\":17,\"running\":-5,\"steps\":-1,\"rows\":99999999999999999999}",
        "{\"engine\":\"a name that is far too long for any field that an engine's name has\"}",
        "{\"reason\":\"canceled\",\"n_ctx\":4294967295}",
    };
    static const char data[] = "\xc3\xa9\n\xf0\x9f\x90\xab[]";
    *x = *x * 1664525u + 1013904223u;
    const unsigned v = *x >> 8;
    const wire_type t = (wire_type)(WIRE_HELLO + (int)(v % (WIRE_N_TYPE - WIRE_HELLO)));
    fake_send(r, t, v / 64 % 8, heads[v / 512 % TEST_COUNT(heads)], data, v / 8192 % sizeof data);
}

/* Behaves, but for nonsense now and then. */
static inline void fake_random(fake_runner *r)
{
    unsigned x = (unsigned)getpid() * 2654435761u;
    wire_frame f;
    while (wire_recv(r->wire, &f, NULL) == CAMA_OK) {
        x = x * 1664525u + 1013904223u;
        if ((x >> 16) % 3 == 0)
            fake_nonsense(r, &x);
        else
            fake_frame(r, &f);
    }
    _exit(0);
}

static inline int fake_runner_main(void)
{
    static fake_runner r;
    const char *how = getenv("FAKE_HELLO");
    if (wire_open(WIRE_RUNNER_FD, &(wire_opts){.side = WIRE_RUNNER}, &r.wire, NULL))
        return 2;
    fake_hello(&r, how ? how : "");
    if (how && strcmp(how, "random") == 0)
        fake_random(&r);
    wire_frame f;
    while (wire_recv(r.wire, &f, NULL) == CAMA_OK)
        fake_frame(&r, &f);
    _exit(0); /* end-of-file */
}

#endif
