/* kv.h - the books of what attention and recurrence must remember.
 *
 * This room holds no keys and values: it says which page of a pool holds which tokens of which
 * sequence, and the engine has pools of that many pages. Layers of one shape form a group with a
 * pool of its own. A sequence is a list of pages a group, so a common prefix is stored once; a
 * shared page is copied before it is written to.
 *
 *     group 0, all tokens        group 1, window of 100         states
 *     seq 3:  [0][1][7]          seq 3:  [-][2][4]              seq 3:  9, checkpoints 64:2 128:5
 *     seq 5:  [0][1][4][9]       seq 5:  [-][-][3][5]           seq 5:  5
 *
 * Window groups free the pages that no later row can see. Recurrent state cannot be cut at a
 * position, so a sequence has a current state and a few checkpoints, copies of it at positions
 * that it passed; one number stands for the states of all recurrent layers together.
 *
 * Not every position can be restored: kv_resume says which one can, and kv_fork and kv_rewind go
 * there. A sequence is extended in two acts around the computation:
 *
 *     kv_extend   pages for the new rows; gives the copies to make before computing
 *     kv_settle   after it: frees what lies behind the windows
 *
 * Invariants (kv_check): a page or state is free, or has as many references as sequences and
 * checkpoints name it; only one with a single reference is written to.
 * Memory: everything is taken in kv_open; nothing after that allocates. One thread.
 */
#ifndef KV_KV_H
#define KV_KV_H

#include "base/err.h"

#define KV_PAGE_TOKENS 64
#define KV_MAX_GROUP 32
#define KV_MAX_SEQ 8192
#define KV_MAX_CHECK 8         /* checkpoints of one sequence */
#define KV_CHECK_TOKENS 1024   /* a long answer leaves a checkpoint this often */
#define KV_MAX_CTX (1u << 26)  /* tokens of one sequence */
#define KV_MAX_PAGE (1u << 24) /* pages of one group */

typedef struct kv_cache kv_cache; /* opaque: the struct is in kv_int.h */

typedef struct kv_group_opts {
    uint32_t window; /* a row sees this many tokens, itself included; 0: all before it */
    uint32_t keep; /* with a window: tokens behind it that stay, so that a short rewind is whole */
    uint32_t n_page; /* in the pool */
    uint32_t n_open; /* of them that may be used until kv_raise; 0: all */
} kv_group_opts;

typedef struct kv_opts {
    uint32_t n_seq; /* most sequences alive */
    uint32_t n_ctx; /* most tokens of one */
    const kv_group_opts *groups;
    size_t n_group;
    uint32_t n_state; /* in the pool; 0: no layer is recurrent */
    uint32_t n_check; /* most checkpoints of one sequence, at most KV_MAX_CHECK */
} kv_opts;

/* Pages that a sequence of n_ctx tokens takes at most in such a group, when no step adds more than
 * n_batch tokens; one more for a page that is being copied. */
uint32_t kv_pages_for(const kv_group_opts *g, uint32_t n_ctx, uint32_t n_batch);

/* CAMA_ERR_ARG for options out of range, CAMA_ERR_NOMEM. */
cama_err kv_open(const kv_opts *o, kv_cache **out, err_info *err);
void kv_close(kv_cache *kv); /* accepts NULL */

/* A sequence that begins as the first n_keep tokens of `from` (-1: empty), or as fewer, where that
 * position cannot be restored: kv_len tells. Cost: a step a page. CAMA_ERR_LIMIT when n_seq are
 * alive, CAMA_ERR_ARG when `from` is none or has fewer tokens. */
cama_err kv_fork(kv_cache *kv, int32_t from, int32_t n_keep, int32_t *out_seq, err_info *err);
/* Back to the last restorable position <= want, which is *out_got. Frees what came after. */
cama_err kv_rewind(kv_cache *kv, int32_t seq, int32_t want, int32_t *out_got, err_info *err);
void kv_free(kv_cache *kv, int32_t seq);
/* The largest position <= want that a rewind would reach. */
int32_t kv_resume(const kv_cache *kv, int32_t seq, int32_t want);

typedef struct kv_need {
    int32_t seq;
    int32_t n_new; /* >= 1 */
} kv_need;

/* What the engine must do, in this order, before it writes: all slots of the group. */
typedef struct kv_copy {
    int32_t group; /* -1: states */
    int32_t from;  /* page or state; -1: a fresh state, to be zeroed */
    int32_t to;
} kv_copy;

/* Adds n_new tokens to each sequence; a sequence is named once. All or nothing: CAMA_ERR_CONTEXT
 * past n_ctx, CAMA_ERR_LIMIT when pages or states run out (only checkpoints, which are a cache,
 * may then have been given up), CAMA_ERR_ARG for no such sequence. *out_copies is the cache's until
 * the next call. */
cama_err kv_extend(kv_cache *kv, const kv_need *needs, size_t n_need, const kv_copy **out_copies,
                   size_t *out_n, err_info *err);
/* The last kv_extend of this sequence has been computed: no row before kv_len will be asked for. */
void kv_settle(kv_cache *kv, int32_t seq);

/* From now on n_open pages of the group may be used; fewer than now change nothing. CAMA_ERR_ARG:
 * more than the pool has. */
cama_err kv_raise(kv_cache *kv, size_t group, uint32_t n_open, err_info *err);

bool kv_alive(const kv_cache *kv, int32_t seq);  /* any number */
int32_t kv_len(const kv_cache *kv, int32_t seq); /* tokens */
/* Page of tokens i * KV_PAGE_TOKENS ...; -1: freed behind the window. Valid until the sequence
 * changes. */
const int32_t *kv_table(const kv_cache *kv, int32_t seq, size_t group);
int32_t kv_state(const kv_cache *kv, int32_t seq); /* the current state; -1: none yet */

uint32_t kv_n_alive(const kv_cache *kv);
uint32_t kv_n_open_page(const kv_cache *kv, size_t group);
uint32_t kv_n_free_page(const kv_cache *kv, size_t group); /* of the open ones */
/* Pages that were ever used, all with numbers below this: their memory is taken. */
uint32_t kv_n_touched_page(const kv_cache *kv, size_t group);
uint32_t kv_n_free_state(const kv_cache *kv);

/* For tests: counts every reference again. CAMA_ERR_INTERNAL names the first thing that is wrong.
 */
cama_err kv_check(const kv_cache *kv, err_info *err);

#endif
