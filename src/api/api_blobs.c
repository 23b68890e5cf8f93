/* HEAD and POST /api/blobs/:digest: content by its SHA-256. */
#include "api/api_int.h"

#include <stdlib.h>
#include <string.h>

struct api_upload {
    api_call *call; /* holds a reference */
    blob_writer *writer;
    char digest[STORE_DIGEST_BYTES];
    err_info failed; /* code not OK: the rest is dropped */
};

void api_blob_head(api_call *c)
{
    char digest[STORE_DIGEST_BYTES];
    uint64_t size = 0;
    err_info err;
    if (digest_parse(c->request->param, digest, NULL)) {
        api_fail(c, 400, "invalid digest format");
        return;
    }
    const cama_err e = store_blob_size(c->api->store, digest, &size, &err);
    if (e == CAMA_ERR_NOT_FOUND)
        api_fail(c, 404, "blob \"%s\" not found", digest);
    else if (e)
        api_fail(c, cama_err_status(e), "%s", err.text);
    else
        api_reply_empty(c, 200);
}

void api_upload_begin(api_call *c, api_upload **out)
{
    char digest[STORE_DIGEST_BYTES];
    uint64_t size = 0;
    err_info err;
    *out = NULL;
    if (digest_parse(c->request->param, digest, NULL)) {
        api_fail(c, 400, "invalid digest format");
        return;
    }
    if (store_blob_size(c->api->store, digest, &size, NULL) == CAMA_OK) {
        api_reply_empty(c, 200); /* it is there: nobody needs to send it again */
        return;
    }
    api_upload *u = calloc(1, sizeof *u);
    if (!u) {
        api_fail(c, 507, "no memory for an upload");
        return;
    }
    if (blob_writer_open(c->api->store, &u->writer, &err)) {
        api_fail(c, cama_err_status(err.code), "%s", err.text);
        free(u);
        return;
    }
    memcpy(u->digest, digest, sizeof u->digest);
    api_call_ref(c);
    u->call = c;
    *out = u;
}

void api_upload_data(api_upload *u, const char *bytes, size_t n)
{
    if (!u->failed.code)
        (void)blob_writer_append(u->writer, bytes, n, &u->failed); /* looked at in the end */
}

void api_upload_end(api_upload *u, bool complete)
{
    char digest[STORE_DIGEST_BYTES];
    api_call *c = u->call;
    if (!complete || u->failed.code)
        blob_writer_abort(u->writer);
    else
        (void)blob_writer_commit(u->writer, u->digest, digest, &u->failed); /* likewise */
    if (!complete)
        api_fail(c, 400, "unexpected EOF");
    else if (u->failed.code)
        api_fail(c, cama_err_status(u->failed.code), "%s", u->failed.text);
    else
        api_reply_empty(c, 201);
    api_call_unref(c);
    free(u);
}

/* For a body that was collected after all. */
void api_blob_post(api_call *c)
{
    api_upload *u = NULL;
    api_upload_begin(c, &u);
    if (!u)
        return;
    api_upload_data(u, c->request->body ? c->request->body : "", c->request->n_body);
    api_upload_end(u, true);
}
