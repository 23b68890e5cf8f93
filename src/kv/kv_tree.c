#include "kv/kv_tree.h"

#include <stdlib.h>
#include <string.h>

/* A run of keys below its parent. Roots have a scope and no keys. A node without children has a
 * sequence, a node without a sequence has two children or more: so the tree stays as small as what
 * it holds. */
typedef struct node {
    struct node *parent; /* NULL: a root */
    struct node *child;  /* first of a list */
    struct node *next;   /* sibling; roots are siblings too */
    kv_scope scope;      /* roots only */
    uint64_t *keys;
    size_t n_key;
    struct entry *entry; /* sequences that end here, a list */
} node;

typedef struct entry {
    struct node *at; /* NULL: this place is unused */
    struct entry *next;
    int32_t seq;
    uint64_t used; /* when it was added or matched last */
} entry;

struct kv_tree {
    node *roots;
    entry *entries; /* [max_seq] */
    uint32_t max_seq, n_seq;
    uint64_t max_key, n_key;
    uint64_t clock;
};

cama_err kv_tree_open(uint32_t max_seq, uint64_t max_key, kv_tree **out, err_info *err)
{
    kv_tree *t = calloc(1, sizeof *t);
    if (t)
        t->entries = calloc(max_seq ? max_seq : 1, sizeof *t->entries);
    if (!t || !t->entries) {
        free(t);
        return err_set(err, CAMA_ERR_NOMEM, "prefix tree: no memory for %u sequences", max_seq);
    }
    t->max_seq = max_seq;
    t->max_key = max_key;
    *out = t;
    return CAMA_OK;
}

static void node_free(node *n)
{
    if (n)
        free(n->keys);
    free(n);
}

static node *node_new(const uint64_t *keys, size_t n_key)
{
    node *n = calloc(1, sizeof *n);
    if (!n || n_key == 0)
        return n;
    n->keys = malloc(n_key * sizeof *keys);
    if (!n->keys) {
        free(n);
        return NULL;
    }
    memcpy(n->keys, keys, n_key * sizeof *keys);
    n->n_key = n_key;
    return n;
}

static void link_child(node *parent, node *child)
{
    child->parent = parent;
    child->next = parent->child;
    parent->child = child;
}

static void unlink_node(kv_tree *t, node *n)
{
    node **at = n->parent ? &n->parent->child : &t->roots;
    while (*at != n)
        at = &(*at)->next;
    *at = n->next;
}

void kv_tree_close(kv_tree *t)
{
    if (!t)
        return;
    int32_t seq;
    while (kv_tree_evict(t, &seq)) {
        /* every node goes with the last sequence below it */
    }
    free(t->entries);
    free(t);
}

static node *find_root(const kv_tree *t, const kv_scope *scope)
{
    for (node *r = t->roots; r; r = r->next)
        if (r->scope.adapter == scope->adapter && r->scope.rope == scope->rope &&
            r->scope.tenant == scope->tenant)
            return r;
    return NULL;
}

static node *find_child(const node *n, uint64_t key)
{
    node *c = n->child;
    while (c && c->keys[0] != key)
        c = c->next;
    return c;
}

static size_t common(const uint64_t *a, size_t n_a, const uint64_t *b, size_t n_b)
{
    const size_t n = n_a < n_b ? n_a : n_b;
    size_t i = 0;
    while (i < n && a[i] == b[i])
        i++;
    return i;
}

/* Walks keys down from *at as far as they go. *at: the last node reached; *out_n: keys matched in
 * all; *out_in: of them within the last node (n_key when it was walked to its end). */
static void walk(node **at, const uint64_t *keys, size_t n, size_t *out_n, size_t *out_in)
{
    size_t done = 0;
    size_t in = 0;
    while (done < n && in == (*at)->n_key) {
        node *c = find_child(*at, keys[done]);
        if (!c)
            break;
        *at = c;
        in = common(c->keys, c->n_key, keys + done, n - done);
        done += in;
    }
    *out_n = done;
    *out_in = in;
}

/* The next node of the subtree below top in depth-first order, or NULL. */
static node *next_below(node *n, const node *top)
{
    if (n->child)
        return n->child;
    while (n != top && !n->next)
        n = n->parent;
    return n == top ? NULL : n->next;
}

static entry *newest_below(node *top)
{
    entry *best = NULL;
    for (node *n = top; n; n = next_below(n, top))
        for (entry *e = n->entry; e; e = e->next)
            if (!best || e->used > best->used)
                best = e;
    return best;
}

bool kv_tree_match(kv_tree *t, const kv_scope *scope, const uint64_t *keys, size_t n,
                   int32_t *out_seq, size_t *out_n)
{
    node *at = find_root(t, scope);
    size_t n_match = 0;
    size_t in = 0;
    if (at)
        walk(&at, keys, n, &n_match, &in);
    if (n_match == 0)
        return false;
    entry *e = newest_below(at);
    e->used = ++t->clock;
    *out_seq = e->seq;
    *out_n = n_match;
    return true;
}

/* Gives n an upper half of its first `in` keys, which becomes its parent; NULL: no memory. */
static node *split(kv_tree *t, node *n, size_t in)
{
    node *upper = node_new(n->keys, in);
    uint64_t *rest = malloc((n->n_key - in) * sizeof *rest);
    if (!upper || !rest) {
        node_free(upper);
        free(rest);
        return NULL;
    }
    unlink_node(t, n);
    memcpy(rest, n->keys + in, (n->n_key - in) * sizeof *rest);
    free(n->keys);
    n->keys = rest;
    n->n_key -= in;
    link_child(n->parent, upper);
    link_child(upper, n);
    return upper;
}

static entry *find_entry(const kv_tree *t, int32_t seq)
{
    for (uint32_t i = 0; i < t->max_seq; i++)
        if (t->entries[i].at && t->entries[i].seq == seq)
            return &t->entries[i];
    return NULL;
}

static void put_entry(kv_tree *t, node *at, int32_t seq)
{
    entry *e = t->entries;
    while (e->at)
        e++;
    *e = (entry){.at = at, .next = at->entry, .seq = seq, .used = ++t->clock};
    at->entry = e;
    t->n_seq++;
}

static node *add_root(kv_tree *t, const kv_scope *scope)
{
    node *r = node_new(NULL, 0);
    if (!r)
        return NULL;
    r->scope = *scope;
    r->next = t->roots;
    t->roots = r;
    return r;
}

/* Takes away what no longer holds anything, from n upwards, and joins a node with its only child.
 */
static void prune(kv_tree *t, node *n)
{
    while (n && !n->entry && !n->child) {
        node *parent = n->parent;
        unlink_node(t, n);
        t->n_key -= n->n_key;
        node_free(n);
        n = parent;
    }
    if (!n || !n->parent || n->entry || n->child->next)
        return;
    node *c = n->child;
    uint64_t *keys = realloc(n->keys, (n->n_key + c->n_key) * sizeof *keys);
    if (!keys)
        return; /* two nodes in a row are as true as one, only longer to walk */
    memcpy(keys + n->n_key, c->keys, c->n_key * sizeof *keys);
    free(c->keys);
    c->keys = keys;
    c->n_key += n->n_key;
    n->keys = NULL;
    unlink_node(t, c);
    unlink_node(t, n);
    link_child(n->parent, c);
    node_free(n);
}

cama_err kv_tree_add(kv_tree *t, const kv_scope *scope, const uint64_t *keys, size_t n, int32_t seq,
                     err_info *err)
{
    if (n == 0 || find_entry(t, seq))
        return err_set(err, CAMA_ERR_ARG,
                       "prefix tree: sequence %d is in it already, or %zu keys are none", seq, n);
    node *root = find_root(t, scope);
    node *at = root;
    size_t n_match = 0;
    size_t in = 0;
    if (at)
        walk(&at, keys, n, &n_match, &in);
    if (t->n_seq == t->max_seq || n - n_match > t->max_key - t->n_key)
        return err_set(err, CAMA_ERR_LIMIT,
                       "prefix tree: holds %u sequences of %llu keys, limits are %u and %llu",
                       t->n_seq, (unsigned long long)t->n_key, t->max_seq,
                       (unsigned long long)t->max_key);
    node *rest = n_match < n ? node_new(keys + n_match, n - n_match) : NULL;
    if (!root)
        root = at = add_root(t, scope);
    if (at && in < at->n_key)
        at = split(t, at, in);
    if (!at || (n_match < n && !rest)) {
        node_free(rest);
        if (root)
            prune(t, at ? at : root);
        return err_set(err, CAMA_ERR_NOMEM, "prefix tree: no memory for %zu keys", n);
    }
    if (rest) {
        link_child(at, rest);
        t->n_key += rest->n_key;
        at = rest;
    }
    put_entry(t, at, seq);
    return CAMA_OK;
}

static void forget(kv_tree *t, entry *e)
{
    node *n = e->at;
    entry **at = &n->entry;
    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    *e = (entry){0};
    t->n_seq--;
    prune(t, n);
}

void kv_tree_remove(kv_tree *t, int32_t seq)
{
    entry *e = find_entry(t, seq);
    if (e)
        forget(t, e);
}

bool kv_tree_evict(kv_tree *t, int32_t *out_seq)
{
    entry *oldest = NULL;
    for (uint32_t i = 0; i < t->max_seq; i++) {
        entry *e = &t->entries[i];
        if (e->at && (!oldest || e->used < oldest->used))
            oldest = e;
    }
    if (!oldest)
        return false;
    *out_seq = oldest->seq;
    forget(t, oldest);
    return true;
}

uint32_t kv_tree_n_seq(const kv_tree *t)
{
    return t->n_seq;
}

uint64_t kv_tree_n_key(const kv_tree *t)
{
    return t->n_key;
}

static cama_err check_node(const kv_tree *t, const node *n, err_info *err)
{
    if (!n->child && !n->entry)
        return err_set(err, CAMA_ERR_INTERNAL, "prefix tree: a node holds nothing");
    if (n->parent && n->n_key == 0)
        return err_set(err, CAMA_ERR_INTERNAL, "prefix tree: a node without keys");
    for (const node *c = n->child; c; c = c->next) {
        if (c->parent != n)
            return err_set(err, CAMA_ERR_INTERNAL, "prefix tree: a child of another");
        for (const node *d = c->next; d; d = d->next)
            if (d->keys[0] == c->keys[0])
                return err_set(err, CAMA_ERR_INTERNAL, "prefix tree: two edges for one key");
    }
    for (const entry *e = n->entry; e; e = e->next)
        if (e->at != n || e < t->entries || e >= t->entries + t->max_seq)
            return err_set(err, CAMA_ERR_INTERNAL, "prefix tree: sequence %d is elsewhere", e->seq);
    return CAMA_OK;
}

cama_err kv_tree_check(const kv_tree *t, err_info *err)
{
    uint64_t n_key = 0;
    uint32_t n_seq = 0;
    for (node *root = t->roots; root; root = root->next)
        for (node *n = root; n; n = next_below(n, root)) {
            const cama_err e = check_node(t, n, err);
            if (e)
                return e;
            n_key += n->n_key;
            for (const entry *s = n->entry; s; s = s->next)
                n_seq++;
        }
    if (n_key != t->n_key || n_seq != t->n_seq)
        return err_set(err, CAMA_ERR_INTERNAL,
                       "prefix tree: %u sequences and %llu keys, the books say %u and %llu", n_seq,
                       (unsigned long long)n_key, t->n_seq, (unsigned long long)t->n_key);
    return CAMA_OK;
}
