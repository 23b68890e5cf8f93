#include "worker.h"

#include "base/plat.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct bench_worker {
    pid_t pid;
    int to, from;
};

int32_t bench_token(uint32_t i, uint32_t n_vocab)
{
    const uint32_t edge = n_vocab > 400 ? 100 : 0; /* special ids lie at the ends */
    uint32_t x = i * 2654435761u + 12345u;
    x ^= x >> 15;
    x *= 2246822519u;
    x ^= x >> 13;
    return (int32_t)(edge + x % (n_vocab - 2 * edge));
}

static bool read_whole(int fd, void *p, size_t n)
{
    for (size_t done = 0; done < n;) {
        const ssize_t got = read(fd, (char *)p + done, n - done);
        if (got == 0 || (got < 0 && errno != EINTR))
            return false;
        done += got > 0 ? (size_t)got : 0;
    }
    return true;
}

static bool write_whole(int fd, const void *p, size_t n)
{
    for (size_t done = 0; done < n;) {
        const ssize_t put = write(fd, (const char *)p + done, n - done);
        if (put < 0 && errno != EINTR)
            return false;
        done += put > 0 ? (size_t)put : 0;
    }
    return true;
}

static void serve(const bench_engine_vt *vt, const bench_opts *o, int from, int to)
{
    bench_reply r = {0};
    err_info err = {0};
    void *engine = vt->open(o, &err);
    if (engine) {
        vt->describe(engine, r.text, sizeof r.text);
    } else {
        r.e = err.code ? err.code : CAMA_ERR_ENGINE;
        (void)snprintf(r.text, sizeof r.text, "%.250s", err.text); /* cut at the end is fine */
    }
    r.peak_bytes = plat_memory_peak();
    bench_task t;
    while (write_whole(to, &r, sizeof r) && engine && read_whole(from, &t, sizeof t)) {
        r = (bench_reply){0};
        r.e = vt->run(engine, &t, &r, &err);
        if (r.e)
            (void)snprintf(r.text, sizeof r.text, "%.250s", err.text);
        r.peak_bytes = plat_memory_peak();
    }
    _exit(0); /* the driver closed the pipe, or there is nothing to serve */
}

cama_err worker_run(bench_worker *w, const bench_task *t, bench_reply *out, err_info *err)
{
    if (!write_whole(w->to, t, sizeof *t) || !read_whole(w->from, out, sizeof *out))
        return err_set(err, CAMA_ERR_ENGINE, "bench: a worker died");
    if (out->e)
        return err_set(err, out->e, "bench: %s", out->text);
    return CAMA_OK;
}

void worker_stop(bench_worker *w)
{
    if (!w)
        return;
    close(w->to);
    close(w->from);
    (void)kill(w->pid, SIGTERM); /* it may sit in a library that does not read */
    (void)waitpid(w->pid, NULL, 0);
    free(w);
}

static cama_err start_child(bench_worker *w, int in[2], int out[2], const char *name, err_info *err)
{
    if (pipe(in) != 0)
        return err_set(err, CAMA_ERR_IO, "bench: pipe: %s", strerror(errno));
    if (pipe(out) != 0) {
        close(in[0]);
        close(in[1]);
        return err_set(err, CAMA_ERR_IO, "bench: pipe: %s", strerror(errno));
    }
    (void)fflush(NULL); /* or the child would print it again */
    w->pid = fork();
    if (w->pid < 0)
        return err_set(err, CAMA_ERR_IO, "bench: cannot fork for %s: %s", name, strerror(errno));
    return CAMA_OK;
}

cama_err worker_start(const bench_engine_vt *vt, const bench_opts *o, bench_worker **out,
                      bench_reply *hello, err_info *err)
{
    bench_worker *w = calloc(1, sizeof *w);
    if (!w)
        return err_set(err, CAMA_ERR_NOMEM, "bench: no memory for a worker");
    int in[2];
    int back[2];
    cama_err e = start_child(w, in, back, vt->name, err);
    if (e) {
        free(w);
        return e;
    }
    if (w->pid == 0) {
        close(in[1]);
        close(back[0]);
        serve(vt, o, in[0], back[1]);
    }
    close(in[0]);
    close(back[1]);
    w->to = in[1];
    w->from = back[0];
    if (!read_whole(w->from, hello, sizeof *hello))
        e = err_set(err, CAMA_ERR_ENGINE, "bench: the %s worker died while opening", vt->name);
    else if (hello->e)
        e = err_set(err, hello->e, "bench: %s: %s", vt->name, hello->text);
    if (e) {
        worker_stop(w);
        return e;
    }
    *out = w;
    return CAMA_OK;
}
