/* POST /api/copy and DELETE /api/delete: names in the store. */
#include "api/api_int.h"

#include <string.h>

enum { SOURCE, DESTINATION };
static const api_field copy_fields[] = {
    [SOURCE] = {"source", API_STRING, NULL}, [DESTINATION] = {"destination", API_STRING, NULL}};
const api_struct api_copy_request = {"api", "CopyRequest", copy_fields,
                                     sizeof copy_fields / sizeof *copy_fields};

enum { MODEL, NAME };
static const api_field delete_fields[] = {
    [MODEL] = {"model", API_STRING, NULL}, [NAME] = {"name", API_STRING, NULL}};
const api_struct api_delete_request = {"api", "DeleteRequest", delete_fields,
                                       sizeof delete_fields / sizeof *delete_fields};

static void fail_store(api_call *c, const err_info *err)
{
    /* What is malformed is in the store, not in the request. */
    const int status = err->code == CAMA_ERR_FORMAT ? 500 : cama_err_status(err->code);
    api_fail(c, status, "%s", err->text);
}

static bool parse(const char *text, model_name *out)
{
    api_problem p;
    bool cloud = false;
    return *text &&
           (api_name_parse(text, out, &cloud, &p) && (!cloud || !name_parse(text, out, NULL)));
}

void api_copy(api_call *c)
{
    api_values v;
    model_name from;
    model_name to;
    err_info err;
    if (!api_read_body(c, &api_copy_request, false, &v))
        return;
    const char *source = api_text(v.at[SOURCE]);
    const char *destination = api_text(v.at[DESTINATION]);
    if (!parse(source, &from)) {
        api_fail(c, 400, "source \"%s\" is invalid", source);
        return;
    }
    if (!parse(destination, &to)) {
        api_fail(c, 400, "destination \"%s\" is invalid", destination);
        return;
    }
    const cama_err e = store_copy(c->api->store, &from, &to, &err);
    if (e == CAMA_ERR_NOT_FOUND)
        api_fail(c, 404, "model \"%s\" not found", source);
    else if (e)
        fail_store(c, &err);
    else
        api_reply_empty(c, 200);
}

/* A model that is loaded stays so: its runner has the file open. */
void api_delete(api_call *c)
{
    api_values v;
    model_name name;
    err_info err;
    if (!api_read_body(c, &api_delete_request, false, &v))
        return;
    const char *typed = *api_text(v.at[MODEL]) ? api_text(v.at[MODEL]) : api_text(v.at[NAME]);
    if (!*typed) {
        api_fail(c, 400, "model is required");
        return;
    }
    if (!parse(typed, &name)) {
        api_fail(c, 400, "name \"%s\" is invalid", typed);
        return;
    }
    const cama_err e = store_remove(c->api->store, &name, &err);
    if (e == CAMA_ERR_NOT_FOUND)
        api_fail(c, 404, "model '%s' not found", typed);
    else if (e)
        fail_store(c, &err);
    else
        api_reply_empty(c, 200);
}
