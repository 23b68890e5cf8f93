#include "store/store_hash.h"

#include <openssl/evp.h>
#include <string.h>

#define SCHEME "sha256:"
#define N_SCHEME 7
#define N_HEX 64

cama_err store_hash_init(store_hash *h, err_info *err)
{
    *h = (store_hash){EVP_MD_CTX_new()};
    if (!h->ctx)
        return err_set(err, CAMA_ERR_NOMEM, "store: no memory for a SHA-256");
    if (EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL) == 1)
        return CAMA_OK;
    store_hash_done(h);
    return err_set(err, CAMA_ERR_INTERNAL, "store: libcrypto does not start a SHA-256");
}

cama_err store_hash_add(store_hash *h, const void *bytes, size_t n, err_info *err)
{
    if (n == 0 || EVP_DigestUpdate(h->ctx, bytes, n) == 1)
        return CAMA_OK;
    return err_set(err, CAMA_ERR_INTERNAL, "store: libcrypto does not go on with a SHA-256");
}

cama_err store_hash_end(store_hash *h, char out[STORE_DIGEST_BYTES], err_info *err)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char raw[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    const bool ok = EVP_DigestFinal_ex(h->ctx, raw, &n) == 1 && n == N_HEX / 2;
    store_hash_done(h);
    if (!ok)
        return err_set(err, CAMA_ERR_INTERNAL, "store: libcrypto does not end a SHA-256");
    memcpy(out, SCHEME, N_SCHEME);
    for (size_t i = 0; i < N_HEX / 2; i++) {
        out[N_SCHEME + 2 * i] = digits[raw[i] >> 4];
        out[N_SCHEME + 2 * i + 1] = digits[raw[i] & 15];
    }
    out[N_SCHEME + N_HEX] = '\0';
    return CAMA_OK;
}

void store_hash_done(store_hash *h)
{
    EVP_MD_CTX_free(h->ctx);
    h->ctx = NULL;
}

cama_err store_hash_bytes(const void *bytes, size_t n, char out[STORE_DIGEST_BYTES], err_info *err)
{
    store_hash h;
    cama_err e = store_hash_init(&h, err);
    if (e)
        return e;
    e = store_hash_add(&h, bytes, n, err);
    if (!e)
        return store_hash_end(&h, out, err);
    store_hash_done(&h);
    return e;
}

cama_err digest_parse(const char *text, char out[STORE_DIGEST_BYTES], err_info *err)
{
    char digest[STORE_DIGEST_BYTES] = SCHEME;
    bool ok = strlen(text) == N_SCHEME + N_HEX && memcmp(text, SCHEME, N_SCHEME - 1) == 0 &&
              (text[N_SCHEME - 1] == ':' || text[N_SCHEME - 1] == '-');
    for (size_t i = N_SCHEME; ok && i < N_SCHEME + N_HEX; i++) {
        const char c = text[i] >= 'A' && text[i] <= 'F' ? (char)(text[i] + 32) : text[i];
        ok = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
        digest[i] = c;
    }
    if (!ok)
        return err_set(err, CAMA_ERR_ARG, "invalid digest format");
    digest[N_SCHEME + N_HEX] = '\0';
    memcpy(out, digest, sizeof digest);
    return CAMA_OK;
}
