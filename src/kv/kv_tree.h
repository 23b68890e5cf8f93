/* kv_tree.h - which cached sequence begins as a new request does.
 *
 * A prefix tree over keys: one key for each token, its id or a hash of the media it stands for. An
 * edge holds a run of keys; a cached sequence hangs on the node where its keys end.
 *
 *     scope 1 --[1 5 9]--+--[7 7]     seq 4 holds 1 5 9 7 7
 *                        +--[8]       seq 2 holds 1 5 9 8
 *
 * A scope keeps apart what must never share: another adapter set, RoPE variant or tenant is another
 * root. The tree names engine sequences by number and neither forks nor frees them: a match is a
 * proposal, the engine says how much of it can be resumed (windows, recurrent state), and whoever
 * evicts a sequence here frees it there. Least recently used goes first: adding and matching are
 * uses. Engine thread only.
 */
#ifndef KV_KV_TREE_H
#define KV_KV_TREE_H

#include "base/err.h"

typedef struct kv_tree kv_tree; /* opaque: the struct is in kv_tree.c */

typedef struct kv_scope {
    int32_t adapter; /* adapter set */
    uint32_t rope;   /* RoPE variant */
    uint64_t tenant;
} kv_scope;

/* At most max_seq sequences with max_key keys in all. CAMA_ERR_NOMEM. */
cama_err kv_tree_open(uint32_t max_seq, uint64_t max_key, kv_tree **out, err_info *err);
void kv_tree_close(kv_tree *t); /* accepts NULL */

/* The sequence that shares the most keys with keys[0..n), *out_n of them; of several the most
 * recently used. false: none shares any. Cost: the keys compared, and a step a branch. */
bool kv_tree_match(kv_tree *t, const kv_scope *scope, const uint64_t *keys, size_t n,
                   int32_t *out_seq, size_t *out_n);

/* From now on seq holds exactly keys[0..n), n >= 1. CAMA_ERR_LIMIT when the tree is full (evict
 * first), CAMA_ERR_NOMEM, CAMA_ERR_ARG when seq is in it already; nothing was changed then. */
cama_err kv_tree_add(kv_tree *t, const kv_scope *scope, const uint64_t *keys, size_t n, int32_t seq,
                     err_info *err);
/* Forgets seq; nothing happens when it is not in the tree. */
void kv_tree_remove(kv_tree *t, int32_t seq);
/* Forgets the least recently used sequence, which is *out_seq; false: the tree is empty. */
bool kv_tree_evict(kv_tree *t, int32_t *out_seq);

uint32_t kv_tree_n_seq(const kv_tree *t);
uint64_t kv_tree_n_key(const kv_tree *t); /* stored, common prefixes once */

/* For tests: CAMA_ERR_INTERNAL names the first thing that is wrong. */
cama_err kv_tree_check(const kv_tree *t, err_info *err);

#endif
