#include "store/name.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "store/name_int.h"

#define DEFAULT_HOST "registry.ollama.ai"
#define DEFAULT_SPACE "library"
#define DEFAULT_TAG "latest"

static const struct {
    const char *name; /* for texts */
    size_t max;
} parts[] = {
    [NAME_HOST] = {"host", NAME_MAX_HOST},
    [NAME_SPACE] = {"namespace", NAME_MAX_PART},
    [NAME_MODEL] = {"model", NAME_MAX_PART},
    [NAME_TAG] = {"tag", NAME_MAX_PART},
};

/* Not isalnum: names are ASCII whatever the locale. */
static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static bool is_allowed(name_part part, char c, bool first)
{
    if (is_word(c))
        return true;
    if (first)
        return false;
    return c == '-' || (c == '.' && part != NAME_SPACE) || (c == ':' && part == NAME_HOST);
}

bool name_part_valid(name_part part, const char *text, size_t n)
{
    if (n < 1 || n > parts[part].max)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!is_allowed(part, text[i], i == 0))
            return false;
    return true;
}

char *name_part_of(model_name *n, name_part part)
{
    switch (part) {
    case NAME_HOST:
        return n->host;
    case NAME_SPACE:
        return n->space;
    case NAME_MODEL:
        return n->model;
    case NAME_TAG:
        break;
    }
    return n->tag;
}

int name_compare(const model_name *a, const model_name *b)
{
    int d = strcmp(a->host, b->host);
    if (!d)
        d = strcmp(a->space, b->space);
    if (!d)
        d = strcmp(a->model, b->model);
    return d ? d : strcmp(a->tag, b->tag);
}

/* What stands behind the last c in *text of *n bytes; both are cut before it. Without one, all. */
static const char *cut_last(const char *text, size_t *n, char c, size_t *out_n, bool *out_found)
{
    size_t at = *n;
    while (at > 0 && text[at - 1] != c)
        at--;
    *out_found = at > 0;
    *out_n = *n - at;
    *n = at > 0 ? at - 1 : 0;
    return text + at;
}

static cama_err set_part(const char *whole, name_part part, const char *text, size_t n,
                         model_name *out, err_info *err)
{
    if (n < 1 || n > parts[part].max)
        return err_set(err, CAMA_ERR_ARG,
                       "invalid model name '%.400s': the %s has %zu characters, allowed are 1 to "
                       "%zu",
                       whole, parts[part].name, n, parts[part].max);
    for (size_t i = 0; i < n; i++)
        if (!is_allowed(part, text[i], i == 0))
            return err_set(err, CAMA_ERR_ARG,
                           "invalid model name '%.400s': character %zu of the %s may not %s", whole,
                           i + 1, parts[part].name,
                           i == 0 ? "begin it: use a letter, a digit or _" : "stand there");
    memcpy(name_part_of(out, part), text, n);
    name_part_of(out, part)[n] = '\0';
    return CAMA_OK;
}

/* [scheme://]host: what the scheme says is the business of whoever connects. */
static const char *skip_scheme(const char *text, size_t *n)
{
    for (size_t i = 0; i + 3 <= *n; i++) {
        if (memcmp(text + i, "://", 3) == 0) {
            *n -= i + 3;
            return text + i + 3;
        }
    }
    return text;
}

/* A tag's : stands right of the last /, else it belongs to the host. */
static bool has_tag(const char *text, size_t n)
{
    while (n > 0 && text[n - 1] != ':' && text[n - 1] != '/')
        n--;
    return n > 0 && text[n - 1] == ':';
}

cama_err name_parse(const char *text, model_name *out, err_info *err)
{
    model_name name = {DEFAULT_HOST, DEFAULT_SPACE, "", DEFAULT_TAG};
    size_t n = strlen(text);
    size_t n_part;
    bool more;
    cama_err e = CAMA_OK;
    if (has_tag(text, n)) {
        const char *tag = cut_last(text, &n, ':', &n_part, &more);
        e = set_part(text, NAME_TAG, tag, n_part, &name, err);
    }
    const char *part = cut_last(text, &n, '/', &n_part, &more);
    if (!e)
        e = set_part(text, NAME_MODEL, part, n_part, &name, err);
    if (!e && more) {
        part = cut_last(text, &n, '/', &n_part, &more);
        e = set_part(text, NAME_SPACE, part, n_part, &name, err);
        if (!e && more) {
            part = skip_scheme(text, &n);
            e = set_part(text, NAME_HOST, part, n, &name, err);
        }
    }
    if (!e)
        *out = name;
    return e;
}

void name_format(const model_name *n, char out[NAME_BYTES])
{
    if (strcasecmp(n->host, DEFAULT_HOST) != 0)
        name_format_full(n, out);
    else if (strcasecmp(n->space, DEFAULT_SPACE) != 0)
        (void)snprintf(out, NAME_BYTES, "%s/%s:%s", n->space, n->model, n->tag);
    else
        (void)snprintf(out, NAME_BYTES, "%s:%s", n->model, n->tag);
}

void name_format_full(const model_name *n, char out[NAME_BYTES])
{
    /* NAME_BYTES is the sum of the limits of the parts: nothing is cut */
    (void)snprintf(out, NAME_BYTES, "%s/%s/%s:%s", n->host, n->space, n->model, n->tag);
}

bool name_equal(const model_name *a, const model_name *b)
{
    return strcasecmp(a->host, b->host) == 0 && strcasecmp(a->space, b->space) == 0 &&
           strcasecmp(a->model, b->model) == 0 && strcasecmp(a->tag, b->tag) == 0;
}
