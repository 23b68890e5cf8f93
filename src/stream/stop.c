#include "stream/stop.h"

#include <stdlib.h>
#include <string.h>

#include "stream/stream.h"

static cama_err init_string(stop_string *s, const char *text, size_t n, int32_t index)
{
    s->text = malloc(n);
    s->next = calloc(n + 1, sizeof *s->next);
    if (!s->text || !s->next)
        return CAMA_ERR_NOMEM;
    memcpy(s->text, text, n);
    s->n = (uint16_t)n;
    s->index = index;
    for (uint16_t i = 1, k = 0; i < s->n; i++) {
        while (k && text[i] != text[k])
            k = s->next[k];
        k = (uint16_t)(k + (text[i] == text[k]));
        s->next[i + 1] = k;
    }
    return CAMA_OK;
}

cama_err stop_init(stop_set *s, const char *const *stop, size_t n_stop, err_info *err)
{
    *s = (stop_set){0};
    if (n_stop > STREAM_MAX_STOP)
        return err_set(err, CAMA_ERR_LIMIT, "%zu stop strings, at most %d", n_stop,
                       STREAM_MAX_STOP);
    if (!n_stop)
        return CAMA_OK;
    s->strings = calloc(n_stop, sizeof *s->strings);
    if (!s->strings)
        return err_set(err, CAMA_ERR_NOMEM, "stream: no memory for stop strings");
    for (size_t i = 0; i < n_stop; i++) {
        const size_t n = strlen(stop[i]);
        cama_err e = CAMA_OK;
        if (n > STREAM_MAX_STOP_BYTES)
            e = err_set(err, CAMA_ERR_LIMIT, "stop string %zu has %zu bytes, at most %d", i, n,
                        STREAM_MAX_STOP_BYTES);
        else if (n && init_string(&s->strings[s->n++], stop[i], n, (int32_t)i))
            e = err_set(err, CAMA_ERR_NOMEM, "stream: no memory for stop strings");
        if (e) {
            stop_done(s);
            return e;
        }
    }
    return CAMA_OK;
}

void stop_done(stop_set *s)
{
    for (size_t i = 0; i < s->n; i++) {
        free(s->strings[i].text);
        free(s->strings[i].next);
    }
    free(s->strings);
    *s = (stop_set){0};
}

const stop_string *stop_byte(stop_set *s, char c)
{
    const stop_string *found = NULL;
    for (size_t i = 0; i < s->n; i++) {
        stop_string *t = &s->strings[i];
        while (t->at && (t->at == t->n || t->text[t->at] != c))
            t->at = t->next[t->at];
        t->at = (uint16_t)(t->at + (t->text[t->at] == c));
        if (t->at == t->n && (!found || t->n > found->n))
            found = t;
    }
    return found;
}

size_t stop_held(const stop_set *s)
{
    size_t held = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (s->strings[i].at > held)
            held = s->strings[i].at;
    }
    return held;
}
