/* kv_int.h - the structs of kv.c and kv_check.c. */
#ifndef KV_KV_INT_H
#define KV_KV_INT_H

#include "kv/kv.h"

/* Things that are counted by references: the pages of a group, or the states. Those from n_open on
 * are neither free nor used. */
typedef struct kv_pool {
    uint32_t n;
    uint32_t n_open;
    uint32_t n_touched; /* all below were used once, none above */
    uint32_t n_free;
    uint32_t *n_ref; /* [n] */
    int32_t *free;   /* [n], a stack: the first n_free are free */
} kv_pool;

typedef struct kv_check_point {
    int32_t pos;
    int32_t state;
    uint64_t stamp; /* when it was made: the oldest is given up first */
} kv_check_point;

typedef struct kv_seq {
    bool alive;
    bool grew_by_many; /* the last extension was a piece of a prompt */
    int32_t n_token;
    int32_t state; /* -1: none */
    int32_t n_check;
    kv_check_point check[KV_MAX_CHECK]; /* ascending positions, all > 0 */
    int32_t first[KV_MAX_GROUP];        /* first page kept of each group */
} kv_seq;

struct kv_cache {
    uint32_t n_seq, n_ctx, n_group, n_check;
    uint32_t table_len; /* pages of a full sequence */
    uint32_t n_alive;
    uint64_t stamp;
    kv_group_opts group[KV_MAX_GROUP];
    kv_pool page[KV_MAX_GROUP];
    kv_pool state;     /* n = 0: no layer is recurrent */
    kv_seq *seq;       /* [n_seq] */
    int32_t *table;    /* [n_seq][n_group][table_len] */
    uint8_t *in_batch; /* [n_seq], zero between calls: finds a sequence named twice */
    kv_copy *copies;   /* [max_copy] */
    size_t max_copy, n_copy;
};

static inline int32_t *kv_row(const kv_cache *kv, int32_t seq, size_t group)
{
    return kv->table + ((size_t)seq * kv->n_group + group) * kv->table_len;
}

static inline int32_t kv_pages_of(int32_t n_token)
{
    return (int32_t)(((uint32_t)n_token + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS);
}

#endif
