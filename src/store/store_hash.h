/* store_hash.h - SHA-256 on the way, and digests as text. */
#ifndef STORE_STORE_HASH_H
#define STORE_STORE_HASH_H

#include "store/store.h"

typedef struct store_hash {
    void *ctx; /* libcrypto's; NULL when done */
} store_hash;

/* CAMA_ERR_NOMEM; CAMA_ERR_INTERNAL: libcrypto has no SHA-256. */
cama_err store_hash_init(store_hash *h, err_info *err);
cama_err store_hash_add(store_hash *h, const void *bytes, size_t n, err_info *err);
/* "sha256:.." of all that was added; h is done. */
cama_err store_hash_end(store_hash *h, char out[STORE_DIGEST_BYTES], err_info *err);
void store_hash_done(store_hash *h); /* accepts what is done already */

/* In one call. */
cama_err store_hash_bytes(const void *bytes, size_t n, char out[STORE_DIGEST_BYTES], err_info *err);

#endif
