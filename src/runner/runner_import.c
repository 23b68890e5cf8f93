/* The job of a process that loads no model: a folder's files into one GGUF. */
#include "runner/runner_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "import/import.h"

#define PROGRESS_NS 100000000ull /* between two lines of progress */

struct runner_import {
    import_file *files;
    size_t n, cap;
    int out_fd; /* -1 until the last frame */
    uint64_t said_ns;
    runner *r;
};

static void close_all(const int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        (void)close(fds[i]); /* nothing was written through it */
}

static runner_import *import_new(runner *r)
{
    runner_import *im = calloc(1, sizeof *im);
    if (im) {
        im->r = r;
        im->out_fd = -1;
    }
    return im;
}

static bool add_file(runner_import *im, const char *name, int fd)
{
    if (im->n == im->cap) {
        const size_t cap = im->cap ? 2 * im->cap : 32;
        import_file *more = realloc(im->files, cap * sizeof *more);
        if (!more)
            return false;
        im->files = more;
        im->cap = cap;
    }
    char *copy = strdup(name);
    if (!copy)
        return false;
    im->files[im->n++] = (import_file){.name = copy, .fd = fd};
    return true;
}

/* Whether the head has a name for each descriptor, but for the output's in the last frame. */
static bool fits(const runner_import *im, const wire_frame *f, const json_value *names, bool more)
{
    bool fine = names && names->kind == JSON_ARRAY && names->n + !more == f->n_fd &&
                names->n <= IMPORT_MAX_FILE - im->n;
    for (size_t i = 0; fine && i < names->n; i++)
        fine = names->items[i]->kind == JSON_STRING;
    return fine;
}

cama_err runner_import_add(runner *r, const wire_frame *f, bool *out_ready, err_info *err)
{
    const json_value *names = json_get(f->head, "names");
    const bool more = wire_bool(f, "more", false);
    if (!r->import)
        r->import = import_new(r);
    runner_import *im = r->import;
    if (!im) {
        close_all(f->fds, f->n_fd);
        return err_set(err, CAMA_ERR_NOMEM, "runner: no memory to import");
    }
    if (im->out_fd >= 0 || !fits(im, f, names, more)) {
        close_all(f->fds, f->n_fd);
        return err_set(err, CAMA_ERR_FORMAT, "wire: frame IMPORT with %zu descriptors is wrong",
                       f->n_fd);
    }
    for (size_t i = 0; i < names->n; i++) {
        if (!add_file(im, names->items[i]->text, f->fds[i])) {
            close_all(f->fds + i, f->n_fd - i);
            return err_set(err, CAMA_ERR_NOMEM, "runner: no memory for %zu files", im->n);
        }
    }
    if (!more)
        im->out_fd = f->fds[names->n];
    *out_ready = !more;
    return CAMA_OK;
}

static void on_progress(void *user, uint64_t done, uint64_t all)
{
    runner_import *im = user;
    const uint64_t now_ns = clock_now_ns();
    if (done < all && now_ns - im->said_ns < PROGRESS_NS)
        return;
    im->said_ns = now_ns;
    buf head;
    buf_init(&head, 256);
    (void)buf_printf(&head, "{\"done\":%llu,\"all\":%llu}", (unsigned long long)done,
                     (unsigned long long)all); /* failures stick */
    runner_send_head(im->r, WIRE_PROGRESS, 0, &head);
}

int runner_import_run(runner *r)
{
    runner_import *im = r->import;
    const import_watch watch = {.progress = on_progress, .user = im};
    import_facts facts = {0};
    err_info err = {.code = CAMA_OK};
    buf head;
    buf_init(&head, 4096);
    const cama_err e = import_run(im->files, im->n, im->out_fd, &watch, &facts, &err);
    if (e)
        (void)wire_put_err(&head, &err); /* failures stick */
    else
        (void)buf_printf(&head, "{\"arch\":\"%s\",\"tensors\":%llu,\"bytes\":%llu}", facts.arch,
                         (unsigned long long)facts.n_tensor, (unsigned long long)facts.n_bytes);
    runner_send_head(r, e ? WIRE_FAIL : WIRE_DONE, 0, &head);
    return e ? 1 : 0;
}

void runner_import_free(runner_import *im)
{
    if (!im)
        return;
    for (size_t i = 0; i < im->n; i++) {
        (void)close(im->files[i].fd); /* only read */
        free((char *)(uintptr_t)im->files[i].name);
    }
    if (im->out_fd >= 0)
        (void)close(im->out_fd); /* serve flushes the file before it keeps it */
    free(im->files);
    free(im);
}
