/* The GGUF files that a model is created from: one, or all shards of a split one; projectors. */
#include "api/api_create.h"

#include <stdlib.h>
#include <string.h>

/* A file of the request. */
typedef struct shard {
    const char *name; /* as the request has it */
    char digest[STORE_DIGEST_BYTES];
    api_file *file;
    bool is_projector;
} shard;

/* Of which there are as many as the first one says, each number once, with all tensors. */
static bool check_set(create *k, const shard *s, size_t n)
{
    const uint32_t n_shard = s[0].file->split_count;
    uint64_t n_tensor = 0;
    if (n == 1 && n_shard == 0)
        return true;
    for (size_t i = 0; i < n; i++) {
        if (s[i].file->split_count == 0)
            return api_problem_set(
                &k->problem, 400,
                "'%s' is a whole model, and %zu files are given: one is taken, or "
                "all shards of one model",
                s[i].name, n);
        if (s[i].file->split_count != n_shard || n_shard != n)
            return api_problem_set(
                &k->problem, 400,
                "'%s' is shard %u of %u: all shards of one model are needed, %zu "
                "files are given",
                s[i].name, s[i].file->split_no + 1, s[i].file->split_count, n);
        n_tensor += s[i].file->n_tensor;
    }
    for (size_t i = 0; i < n; i++) { /* they are sorted */
        if (s[i].file->split_no != i)
            return api_problem_set(&k->problem, 400,
                                   "shard %zu of %zu is missing: '%s' is shard %u", i + 1, n,
                                   s[i].name, s[i].file->split_no + 1);
    }
    if (s[0].file->split_n_tensor && s[0].file->split_n_tensor != n_tensor)
        return api_problem_set(&k->problem, 400,
                               "the %zu shards have %llu tensors, not %llu as the first one says: "
                               "they are not of one model",
                               n, (unsigned long long)n_tensor,
                               (unsigned long long)s[0].file->split_n_tensor);
    return true;
}

/* Projectors last. */
static int by_number(const void *a, const void *b)
{
    const shard *x = a;
    const shard *y = b;
    if (x->is_projector != y->is_projector)
        return x->is_projector - y->is_projector;
    return (x->file->split_no > y->file->split_no) - (x->file->split_no < y->file->split_no);
}

static bool open_all(create *k, const json_value *files, shard *s)
{
    for (size_t i = 0; i < files->n; i++) {
        s[i].name = files->members[i].key;
        if (digest_parse(api_text(files->members[i].value), s[i].digest, NULL))
            return api_problem_set(&k->problem, 500, "invalid digest format");
        if (!create_open_gguf(k, s[i].digest, &s[i].file))
            return false;
        s[i].is_projector = strcmp(s[i].file->arch, "clip") == 0;
    }
    return true;
}

static bool take_shards(create *k, shard *s, size_t n)
{
    size_t n_model = 0;
    for (size_t i = 0; i < n; i++)
        n_model += !s[i].is_projector;
    if (n_model == 0)
        return api_problem_set(&k->problem, 400, "none of the files is a model");
    qsort(s, n, sizeof *s, by_number);
    if (!check_set(k, s, n_model))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!create_add_layer(k, i < n_model ? "model" : "projector", s[i].digest, NULL, true))
            return false;
        k->n_param += i < n_model ? s[i].file->n_param : 0;
    }
    k->file = s[0].file;
    s[0].file = NULL;
    return true;
}

bool create_take_ggufs(create *k, const json_value *files)
{
    shard *s = calloc(files->n + 1, sizeof *s);
    if (!s)
        return api_problem_set(&k->problem, 507, "no memory for %zu files", files->n);
    const bool fine = open_all(k, files, s) && take_shards(k, s, files->n);
    for (size_t i = 0; i < files->n; i++)
        api_file_unref(s[i].file);
    free(s);
    return fine;
}
