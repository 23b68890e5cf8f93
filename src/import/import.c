#include "import/import.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "import/import_int.h"

#define MAX_TREE_BYTES ((size_t)8 << 30)
#define MAX_VALUES ((size_t)16 << 20) /* of a JSON file: a vocabulary and its merges */

/* ---- failures and memory ---- */

bool import_fail(importer *m, cama_err code, const char *fmt, ...)
{
    if (m->err.code)
        return false;
    va_list args;
    va_start(args, fmt);
    (void)err_vset(&m->err, code, fmt, args); /* gives the code back */
    va_end(args);
    return false;
}

void *import_take(importer *m, size_t n, size_t size)
{
    void *p = m->err.code ? NULL : arena_take_array(&m->tree, n, size);
    if (!p)
        (void)import_fail(m, CAMA_ERR_NOMEM, "no memory for %zu values of a model's files", n);
    return p;
}

/* ---- the files ---- */

static bool is_weights(const char *name)
{
    static const char end[] = ".safetensors";
    const size_t n = strlen(name);
    return n > sizeof end - 1 && strcmp(name + n - (sizeof end - 1), end) == 0 &&
           !strchr(name, '/');
}

/* The texts of a folder by name, each into its place. */
typedef struct text_role {
    const char *name;
    const json_value **at; /* NULL: not JSON, or not looked at */
} text_role;

bool import_wants(const char *name)
{
    static const char *const texts[] = {"config.json",           "tokenizer.json",
                                        "tokenizer_config.json", "generation_config.json",
                                        "chat_template.jinja",   "model.safetensors.index.json"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (!strcmp(name, texts[i]))
            return true;
    }
    return is_weights(name);
}

/* Whole; NULL is a failure that stuck. */
static char *read_text(importer *m, const import_file *f, size_t *out_n)
{
    struct stat st;
    if (fstat(f->fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        (void)import_fail(m, CAMA_ERR_IO, "'%s' is no regular file", f->name);
        return NULL;
    }
    if ((uint64_t)st.st_size > IMPORT_MAX_TEXT_BYTES) {
        (void)import_fail(m, CAMA_ERR_LIMIT, "'%s' has %llu bytes, the limit is %zu", f->name,
                          (unsigned long long)st.st_size, IMPORT_MAX_TEXT_BYTES);
        return NULL;
    }
    const size_t n = (size_t)st.st_size;
    char *text = import_take(m, n + 1, 1);
    for (size_t at = 0; text && at < n;) {
        const ssize_t got = pread(f->fd, text + at, n - at, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            (void)import_fail(m, CAMA_ERR_IO, "cannot read '%s': %s", f->name,
                              got ? strerror(errno) : "it was cut short");
            return NULL;
        }
        at += (size_t)got;
    }
    *out_n = n;
    return text;
}

static void read_json(importer *m, const import_file *f, const json_value **out)
{
    size_t n = 0;
    json_value *v = NULL;
    err_info err;
    const char *text = read_text(m, f, &n);
    if (!text)
        return;
    const cama_err e = json_parse_most(text, n, MAX_VALUES, &m->tree, &v, &err);
    if (e)
        (void)import_fail(m, e, "'%s': %s", f->name, err.text);
    else if (v->kind != JSON_OBJECT)
        (void)import_fail(m, CAMA_ERR_FORMAT, "'%s' is no JSON object", f->name);
    else
        *out = v;
}

static void read_texts(importer *m, const import_file *files, size_t n)
{
    const text_role roles[] = {{"config.json", &m->config},
                               {"tokenizer.json", &m->tokenizer},
                               {"tokenizer_config.json", &m->tokenizer_config},
                               {"generation_config.json", &m->generation}};
    for (size_t i = 0; i < n; i++) {
        const char *name = files[i].name;
        for (size_t k = 0; k < sizeof roles / sizeof *roles; k++) {
            if (!strcmp(name, roles[k].name))
                read_json(m, &files[i], roles[k].at);
        }
        if (!strcmp(name, "chat_template.jinja"))
            m->jinja = read_text(m, &files[i], &m->n_jinja);
    }
    if (!m->config)
        (void)import_fail(m, CAMA_ERR_NOT_FOUND, "config.json is missing");
    if (!m->tokenizer)
        (void)import_fail(m, CAMA_ERR_NOT_FOUND,
                          "tokenizer.json is missing: other forms of a tokenizer cannot be read");
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const safet_source *)a)->name, ((const safet_source *)b)->name);
}

/* The order of shards has no meaning; sorted by name, the same files give the same bytes. */
static void open_weights(importer *m, const import_file *files, size_t n)
{
    safet_source *sources = import_take(m, n, sizeof *sources);
    size_t n_source = 0;
    for (size_t i = 0; sources && i < n; i++) {
        if (is_weights(files[i].name))
            sources[n_source++] = (safet_source){files[i].fd, files[i].name};
    }
    if (!sources)
        return;
    if (!n_source) {
        (void)import_fail(m, CAMA_ERR_NOT_FOUND, "there is no safetensors file");
        return;
    }
    qsort(sources, n_source, sizeof *sources, by_name);
    err_info err;
    const cama_err e = safet_open(sources, n_source, &m->weights, &err);
    if (e)
        (void)import_fail(m, e, "%s", err.text);
    else
        m->used = import_take(m, safet_n_tensor(m->weights), sizeof *m->used);
}

/* ---- the output ---- */

typedef struct output {
    importer *m;
    int fd;
    uint64_t done, all;
    const import_watch *watch;
} output;

static bool write_all(output *o, const void *bytes, size_t n)
{
    const char *from = bytes;
    while (n) {
        const ssize_t put = write(o->fd, from, n < IMPORT_CHUNK_BYTES ? n : IMPORT_CHUNK_BYTES);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return import_fail(o->m, CAMA_ERR_IO, "cannot write the model: %s", strerror(errno));
        from += put;
        n -= (size_t)put;
        o->done += (uint64_t)put;
    }
    if (o->watch && o->watch->progress)
        o->watch->progress(o->watch->user, o->done, o->all);
    return true;
}

static bool write_tensor(output *o, const import_tensor *t)
{
    static const char zeros[GGUF_ALIGNMENT];
    importer *m = o->m;
    const size_t row_bytes = quant_row_bytes(t->type, t->n_in), at_once = import_rows_at_once(t);
    void *blocks = malloc(at_once * row_bytes);
    void *scratch = malloc(import_scratch_bytes(t));
    bool fine = (blocks && scratch) ||
                import_fail(m, CAMA_ERR_NOMEM, "no memory for rows of tensor '%s'", t->name);
    for (uint64_t row = 0, n; fine && row < import_n_row(t); row += n) {
        const uint64_t left = t->n_out - row % t->n_out; /* of the same expert */
        n = left < at_once ? left : at_once;
        fine = !import_read_rows(m, t, row, n, blocks, scratch) &&
               write_all(o, blocks, (size_t)n * row_bytes);
    }
    free(blocks);
    free(scratch);
    return fine && write_all(o, zeros, gguf_padding(row_bytes * import_n_row(t)));
}

static void write_output(importer *m, int fd, const import_watch *watch)
{
    buf head;
    err_info err;
    for (size_t i = 0; i < m->n_tensor; i++) {
        const import_tensor *t = &m->tensors[i];
        (void)gguf_put_tensor(&m->w, t->name, t->type, t->n_dims,
                              (const uint64_t[]){t->n_in, t->n_out, t->n_expert});
    }
    buf_init(&head, 2 * (size_t)GGUF_MAX_META_BYTES);
    const cama_err e = gguf_writer_head(&m->w, &head, &err);
    if (e)
        (void)import_fail(m, e, "%s", err.text);
    output o = {.m = m, .fd = fd, .all = head.n + m->w.data_bytes, .watch = watch};
    bool fine = !m->err.code && write_all(&o, head.data, head.n);
    for (size_t i = 0; fine && i < m->n_tensor; i++)
        fine = write_tensor(&o, &m->tensors[i]);
    buf_done(&head);
}

static void convert(importer *m, const import_file *files, size_t n, int out_fd,
                    const import_watch *watch)
{
    read_texts(m, files, n);
    if (!m->err.code)
        import_config(m);
    if (!m->err.code)
        open_weights(m, files, n);
    if (!m->err.code)
        import_tensors(m);
    if (!m->err.code)
        import_put_config(m);
    if (!m->err.code)
        import_tokenizer(m);
    if (!m->err.code)
        write_output(m, out_fd, watch);
}

cama_err import_run(const import_file *files, size_t n, int out_fd, const import_watch *watch,
                    import_facts *out, err_info *err)
{
    if (n > IMPORT_MAX_FILE)
        return err_set(err, CAMA_ERR_LIMIT, "%zu files, the limit is %d", n, IMPORT_MAX_FILE);
    importer *m = calloc(1, sizeof *m);
    if (!m)
        return err_set(err, CAMA_ERR_NOMEM, "no memory to import a model");
    arena_init(&m->tree, MAX_TREE_BYTES);
    gguf_writer_init(&m->w);
    convert(m, files, n, out_fd, watch);
    const cama_err e = m->err.code;
    if (e) {
        (void)err_set(err, e, "%s", m->err.text);
    } else {
        *out = (import_facts){.n_tensor = m->n_tensor, .n_bytes = m->w.data_bytes};
        (void)snprintf(out->arch, sizeof out->arch, "%s", m->arch->gguf); /* ours: it fits */
    }
    gguf_writer_done(&m->w);
    safet_close(m->weights);
    free(m->tensors);
    arena_done(&m->tree);
    free(m);
    return e;
}
