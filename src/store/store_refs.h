/* store_refs.h - which blobs the manifests name. */
#ifndef STORE_STORE_REFS_H
#define STORE_STORE_REFS_H

#include "base/strmap.h"
#include "store/store.h"

typedef struct store_refs {
    strmap digests;   /* keys "sha256:.." in the arena */
    arena refs_arena; /* the manifests' texts and trees */
    err_info *why;
    bool complete;
} store_refs;

/* Reads every manifest. *out_complete: false when one could not be read; err (may be NULL) says
 * which, though CAMA_OK is given. */
cama_err store_refs_init(store_refs *r, const store *s, bool *out_complete, err_info *err);
void store_refs_done(store_refs *r);
bool store_refs_has(const store_refs *r, const char *digest);

#endif
