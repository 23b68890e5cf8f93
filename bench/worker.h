/* worker.h - an engine in a process of its own, which does pieces of work when told.
 *
 * The driver forks one worker an engine, so that memory can be told apart, and talks to them in
 * turn over pipes: only one computes at a time. All workers get the same token ids. */
#ifndef BENCH_WORKER_H
#define BENCH_WORKER_H

#include "base/err.h"

typedef struct bench_task {
    uint32_t n_prefill; /* tokens from an empty context, in one go */
    uint32_t n_decode;  /* then so many, one at a time */
} bench_task;

typedef struct bench_reply {
    cama_err e;
    double prefill_s, decode_s;
    uint64_t peak_bytes; /* resident at the highest, so far */
    char text[256];      /* the failure's, or "engine, version, threads" */
} bench_reply;

typedef struct bench_opts {
    const char *model;
    const char *lib_dir; /* of the peer's library; NULL for cama */
    uint32_t n_ctx;      /* holds the longest task */
    int n_thread;
} bench_opts;

typedef struct bench_engine_vt {
    const char *name;
    void *(*open)(const bench_opts *o, err_info *err); /* NULL and *err on failure */
    cama_err (*run)(void *engine, const bench_task *t, bench_reply *out, err_info *err);
    void (*describe)(void *engine, char *out, size_t n);
} bench_engine_vt;

extern const bench_engine_vt bench_cama;
extern const bench_engine_vt bench_llama; /* llama.cpp's own library, from lib_dir */
extern const bench_engine_vt bench_text;  /* an answer in this process, timed by its reader */
extern const bench_engine_vt bench_http;  /* the same through a server; lib_dir is the program */

/* The i-th token of every run: spread over the vocabulary, the same for every engine. */
int32_t bench_token(uint32_t i, uint32_t n_vocab);

typedef struct bench_worker bench_worker;

/* Forks; the first reply (opened, or the failure) is in *hello. */
cama_err worker_start(const bench_engine_vt *vt, const bench_opts *o, bench_worker **out,
                      bench_reply *hello, err_info *err);
/* CAMA_ERR_ENGINE when the worker died. */
cama_err worker_run(bench_worker *w, const bench_task *t, bench_reply *out, err_info *err);
void worker_stop(bench_worker *w);

#endif
