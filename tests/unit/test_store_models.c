/* Models: written, found, listed, copied, removed, pruned; what others left behind. */
#include "store_rig.h"

#include <pthread.h>
#include <sys/file.h>
#include <sys/wait.h>

#include "store/store_manifest.h"

static size_t list(store_rig *r, store_model **out)
{
    size_t n;
    err_info err = {0};
    if (store_list(r->s, &r->rig_arena, out, &n, NULL, NULL, &err))
        fail_msg("%s", err.text);
    return n;
}

static bool is_there(store_rig *r, const char *name)
{
    const model_name n = rig_name(name);
    store_model m;
    return store_find(r->s, &n, &r->rig_arena, &m, NULL) == CAMA_OK;
}

static store_model find(store_rig *r, const char *name)
{
    const model_name n = rig_name(name);
    store_model m;
    err_info err = {0};
    if (store_find(r->s, &n, &r->rig_arena, &m, &err))
        fail_msg("%s", err.text);
    return m;
}

static cama_err remove_model(store_rig *r, const char *name, err_info *err)
{
    const model_name n = rig_name(name);
    return store_remove(r->s, &n, err);
}

static cama_err copy_model(store_rig *r, const char *from, const char *to, err_info *err)
{
    const model_name a = rig_name(from);
    const model_name b = rig_name(to);
    return store_copy(r->s, &a, &b, err);
}

static void test_write_find(void **state)
{
    (void)state;
    store_rig r;
    rig_open(&r);
    const char *weights = rig_blob(&r, "weights");
    const char *template = rig_blob(&r, "{{ .Prompt }}");
    assert_int_equal(list(&r, &(store_model *){NULL}), 0);
    assert_false(is_there(&r, "x"));
    rig_write(&r, "x", weights, template);
    const store_model m = find(&r, "X:LATEST");
    assert_string_equal(m.name.model, "x");
    assert_string_equal(m.name.tag, "latest");
    assert_int_equal(m.n_layer, 2);
    assert_string_equal(store_layer_of(&m, "template")->digest, template);
    assert_string_equal(store_layer_of(&m, "model")->digest, weights);
    assert_null(store_layer_of(&m, "system"));
    assert_int_equal(store_layer_of(&m, "template")->size, 13);
    assert_string_equal(m.config.kind, "config");
    assert_int_equal(m.size, 7 + 13 + m.config.size);
    assert_string_equal(json_get(m.config_json, "model_family")->text, "llama");
    assert_string_equal(json_get(m.config_json, "architecture")->text, "amd64");
    assert_true(m.modified_ns > (int64_t)1600000000 * 1000000000);
    assert_int_equal(rig_count_temps(&r), 0);
    rig_close(&r);
}

static void test_write_refused(void **state)
{
    (void)state;
    store_rig r;
    rig_open(&r);
    const char *weights = rig_blob(&r, "weights");
    static const char absent[] =
        "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    err_info err = {0};
    rig_write(&r, "x", weights, NULL);
    assert_int_equal(rig_try_write(&r, "x", absent, NULL, &err), CAMA_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, absent));
    assert_int_equal(rig_try_write(&r, "x", "sha256:no", NULL, &err), CAMA_ERR_ARG);
    assert_string_equal(find(&r, "x").layers[0].digest, weights);
    const model_name n = rig_name("y");
    assert_int_equal(store_write(r.s, &n, json_new_null(&r.rig_arena), NULL, 0, false, &err),
                     CAMA_ERR_ARG);
    assert_int_equal(store_write(r.s, &n, json_new_object(&r.rig_arena), NULL, 0, false, &err),
                     CAMA_OK);
    assert_int_equal(find(&r, "y").n_layer, 0);
    rig_close(&r);
}

static void test_replace(void **state)
{
    (void)state;
    store_rig r;
    rig_open(&r);
    const char *a = rig_blob(&r, "a");
    const char *b = rig_blob(&r, "b");
    const char *c = rig_blob(&r, "c");
    rig_write(&r, "x", a, b);
    rig_write(&r, "other", a, NULL);
    rig_write(&r, "x", c, NULL);
    assert_true(rig_has_blob(&r, a)); /* other's */
    assert_false(rig_has_blob(&r, b));
    assert_true(rig_has_blob(&r, c));
    /* keep_unused */
    const model_name n = rig_name("x");
    const store_layer_def layer = {"model", a, "base:v1", NULL};
    assert_int_equal(store_write(r.s, &n, rig_config(&r, "qwen3"), &layer, 1, true, NULL), CAMA_OK);
    assert_true(rig_has_blob(&r, c));
    assert_string_equal(find(&r, "x").layers[0].from, "base:v1");
    rig_close(&r);
}

/* Media types that are not Ollama's come through, and layers with names (tensors). */
static void test_foreign_layers(void **state)
{
    (void)state;
    store_rig r;
    rig_open(&r);
    const char *a = rig_blob(&r, "a");
    const model_name n = rig_name("x");
    const store_layer_def layers[] = {{"application/vnd.example+json", a, NULL, NULL},
                                      {"tensor", a, NULL, "blk.0.attn_q.weight"}};
    assert_int_equal(store_write(r.s, &n, rig_config(&r, "llama"), layers, 2, false, NULL),
                     CAMA_OK);
    const store_model m = find(&r, "x");
    assert_string_equal(m.layers[0].media_type, "application/vnd.example+json");
    assert_string_equal(m.layers[0].kind, "");
    assert_string_equal(store_layer_of(&m, "tensor")->name, "blk.0.attn_q.weight");
    rig_close(&r);
}

/* ---- names ---- */

static void test_case(void **state)
{
    (void)state;
    store_rig r;
    rig_open(&r);
    const char *a = rig_blob(&r, "a");
    model_name out;
    rig_write(&r, "ns/mod:tag", a, NULL);
    rig_write(&r, "me/Mixed:Tag", a, NULL); /* the tag takes the case of the other model's */
    assert_string_equal(find(&r, "ME/mixed:TAG").name.model, "Mixed");
    assert_string_equal(find(&r, "ME/mixed:TAG").name.tag, "tag");
    rig_write(&r, "ME/MIXED:TAG", a, NULL);
    store_model *models;
    assert_int_equal(list(&r, &models), 2);
    const model_name n = rig_name("NS/New:TAG");
    assert_int_equal(store_canonical(r.s, &n, &out, NULL), CAMA_OK);
    assert_string_equal(out.space, "ns");
    assert_string_equal(out.model, "New");
    assert_string_equal(out.tag, "tag");
    assert_string_equal(out.host, "registry.ollama.ai");
    rig_close(&r);
}

/* Two spellings side by side, as a store of older times may have them: the exact one is meant. */
static void test_two_spellings(void **state)
{
    (void)state;
    store_rig r;
    rig_open(&r);
    const char *a = rig_blob(&r, "a");
    const char *b = rig_blob(&r, "b");
    rig_write(&r, "me/one:v1", a, NULL);
    rig_write(&r, "me/two:v2", b, NULL);
    const char *folder = rig_path(&r, "manifests/registry.ollama.ai/me");
    char from[STORE_PATH_BYTES];
    char to[STORE_PATH_BYTES];
    (void)snprintf(from, sizeof from, "%s/two", folder);
    (void)snprintf(to, sizeof to, "%s/ONE", folder);
    assert_int_equal(rename(from, to), 0);
    (void)snprintf(from, sizeof from, "%s/ONE/v2", folder);
    (void)snprintf(to, sizeof to, "%s/ONE/V1", folder);
    assert_int_equal(rename(from, to), 0);
    if (!rig_exists(rig_path(&r, "manifests/registry.ollama.ai/me/one/V1"))) { /* case counts */
        assert_string_equal(find(&r, "me/one:v1").layers[0].digest, a);
        assert_string_equal(find(&r, "me/ONE:V1").layers[0].digest, b);
        assert_string_equal(find(&r, "me/ONE:v1").layers[0].digest, b);
        assert_string_equal(find(&r, "me/One:v1").layers[0].digest, a);
    }
    rig_close(&r);
}

/* ---- the list ---- */

static void test_order(void **state)
{
    (void)state;
    store_rig r;
    rig_open(&r);
    const char *a = rig_blob(&r, "a");
    store_model *models;
    rig_write(&r, "old", a, NULL);
    rig_write(&r, "new", a, NULL);
    rig_write(&r, "b", a, NULL);
    rig_write(&r, "a", a, NULL);
    const char *library = rig_path(&r, "manifests/registry.ollama.ai/library");
    static const struct {
        const char *name;
        long age_s;
    } ages[] = {{"old", 300}, {"new", 100}, {"a", 200}, {"b", 200}};
    const time_t now = time(NULL);
    for (size_t i = 0; i < TEST_COUNT(ages); i++) {
        char path[STORE_PATH_BYTES];
        struct timespec t[2] = {{.tv_sec = now - ages[i].age_s}, {.tv_sec = now - ages[i].age_s}};
        (void)snprintf(path, sizeof path, "%s/%s/latest", library, ages[i].name);
        assert_int_equal(utimensat(AT_FDCWD, path, t, 0), 0);
    }
    assert_int_equal(list(&r, &models), 4);
    static const char *const want[] = {"new", "a", "b", "old"};
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(models[i].name.model, want[i]);
    rig_close(&r);
}

typedef struct bad_list {
    size_t n;
    char text[16][ERR_TEXT_BYTES];
} bad_list;

static void on_bad(void *user, const char *text)
{
    bad_list *b = user;
    assert_true(b->n < TEST_COUNT(b->text));
    (void)snprintf(b->text[b->n++], ERR_TEXT_BYTES, "%s", text);
}

static bool was_told(const bad_list *b, const char *part)
{
    for (size_t i = 0; i < b->n; i++)
        if (strstr(b->text[i], part))
            return true;
    return false;
}

static const char *manifest_path(store_rig *r, const char *model)
{
    char below[256];
    (void)snprintf(below, sizeof below, "manifests/registry.ollama.ai/library/%s/latest", model);
    return rig_path(r, below);
}

/* Each way to be corrupt, with the place that the text names. */
static const struct {
    const char *text, *place;
} corrupt[] = {
    {"", "unexpected end of JSON input"},
    {"{\"layers\":[{\"digest\":", "unexpected end of JSON input"},
    {"[]", "no JSON object"},
    {"{\"layers\":7}", "layers is no array"},
    {"{\"layers\":[7]}", "layers[0] is no object"},
    {"{\"layers\":[{}]}", "layers[0].digest"},
    {"{\"layers\":[{\"digest\":\"sha256:zz\"}]}", "layers[0].digest 'sha256:zz'"},
    {"{\"layers\":[{\"digest\":1}]}", "layers[0].digest is no string"},
    {"{\"layers\":[{\"size\":-1}]}", "layers[0].size"},
    {"{\"config\":{\"digest\":\"sha256:0000000000000000000000000000000000000000000000000000000000"
     "000000\",\"size\":1}}",
     "config"},
    {"\x01", "invalid character"},
};

static void test_corrupt(void **state)
{
    (void)state;
    for (size_t i = 0; i < TEST_COUNT(corrupt); i++) {
        store_rig r;
        rig_open(&r);
        const char *a = rig_blob(&r, "a");
        rig_write(&r, "good", a, NULL);
        rig_write(&r, "bad", a, NULL);
        rig_write_file(manifest_path(&r, "bad"), corrupt[i].text);
        store_model *models;
        store_model m;
        size_t n;
        bad_list told = {0};
        err_info err = {0};
        const model_name bad = rig_name("bad");
        assert_int_equal(store_list(r.s, &r.rig_arena, &models, &n, on_bad, &told, &err), CAMA_OK);
        assert_int_equal(n, 1);
        assert_string_equal(models[0].name.model, "good");
        assert_int_equal(told.n, 1);
        assert_true(was_told(&told, "bad"));
        assert_int_equal(store_find(r.s, &bad, &r.rig_arena, &m, &err), CAMA_ERR_FORMAT);
        if (!strstr(err.text, corrupt[i].place) || !strstr(err.text, "bad"))
            fail_msg("'%s' does not name %s", err.text, corrupt[i].place);
        assert_int_equal(copy_model(&r, "good", "better", &err), CAMA_OK);
        assert_int_equal(remove_model(&r, "bad", &err), CAMA_OK);
        assert_int_equal(list(&r, &models), 2);
        rig_close(&r);
    }
}

static void test_corrupt_config(void **state)
{
    (void)state;
    store_rig r;
    rig_open(&r);
    const char *a = rig_blob(&r, "a");
    char path[STORE_PATH_BYTES];
    err_info err = {0};
    store_model m;
    const model_name n = rig_name("x");
    rig_write(&r, "x", a, NULL);
    m = find(&r, "x");
    assert_int_equal(store_blob_path(r.s, m.config.digest, path, sizeof path, NULL), CAMA_OK);
    rig_write_file(path, "{\"model_family\":");
    assert_int_equal(store_find(r.s, &n, &r.rig_arena, &m, &err), CAMA_ERR_FORMAT);
    assert_non_null(strstr(err.text, path));
    rig_write_file(path, "{\"model_family\":[]}");
    assert_int_equal(store_find(r.s, &n, &r.rig_arena, &m, &err), CAMA_ERR_FORMAT);
    assert_non_null(strstr(err.text, "model_family is no string"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(store_find(r.s, &n, &r.rig_arena, &m, &err), CAMA_ERR_FORMAT);
    assert_non_null(strstr(err.text, "not there"));
    rig_close(&r);
}

/* Names that none of ours has, a manifest without a config, old keys. */
static void test_what_others_left(void **state)
{
    (void)state;
    store_rig r;
    rig_open(&r);
    const char *a = rig_blob(&r, "a");
    bad_list told = {0};
    store_model *models;
    size_t n;
    rig_write(&r, "good", a, NULL);
    rig_write_file(rig_path(&r, "manifests/stray"), "x");
    rig_write_file(rig_path(&r, "manifests/registry.ollama.ai/.DS_Store"), "x");
    rig_write_file(rig_path(&r, "manifests/registry.ollama.ai/library/good/.DS_Store"), "x");
    rig_write_file(rig_path(&r, "manifests/registry.ollama.ai/library/good/bad name!"), "{}");
    assert_int_equal(mkdir(rig_path(&r, "manifests/registry.ollama.ai/library/good/dir"), 0755), 0);
    rig_write_file(rig_path(&r, "manifests/registry.ollama.ai/library/good/none"),
                   "{\"schemaVersion\":2,\"config\":{\"digest\":\"\"},\"layers\":null,\"x\":[1]}");
    assert_int_equal(store_list(r.s, &r.rig_arena, &models, &n, on_bad, &told, NULL), CAMA_OK);
    assert_int_equal(n, 2);
    assert_int_equal(told.n, 1);
    assert_true(was_told(&told, "bad name!"));
    const store_model m = find(&r, "good:none");
    assert_int_equal(m.n_layer, 0);
    assert_int_equal(m.size, 0);
    assert_null(json_get(m.config_json, "model_family"));
    rig_close(&r);
}

/* ---- copies ---- */

static void test_copy(void **state)
{
    (void)state;
    store_rig r;
    rig_open(&r);
    const char *a = rig_blob(&r, "a");
    const char *b = rig_blob(&r, "b");
    err_info err = {0};
    rig_write(&r, "x", a, NULL);
    char text[1024];
    (void)snprintf(text, sizeof text,
                   "{ \"schemaVersion\": 2, \"annotations\": {\"k\": \"v\"},\n \"layers\": "
                   "[{\"digest\": \"%s\", \"size\": 1, \"mediaType\": \"%smodel\", \"new\": 1}]}",
                   a, STORE_MEDIA_PREFIX);
    rig_write_file(manifest_path(&r, "x"), text);
    assert_int_equal(copy_model(&r, "X", "me/y:v2", &err), CAMA_OK);
    store_text copied;
    assert_int_equal(store_file_read(rig_path(&r, "manifests/registry.ollama.ai/me/y/v2"), 4096,
                                     &r.rig_arena, &copied, NULL),
                     CAMA_OK);
    assert_string_equal(copied.text, text);
    assert_string_equal(find(&r, "me/y:v2").digest, find(&r, "x").digest);
    /* onto itself, from nothing, over another */
    assert_int_equal(copy_model(&r, "x", "X", &err), CAMA_OK);
    assert_int_equal(copy_model(&r, "none", "z", &err), CAMA_ERR_NOT_FOUND);
    assert_string_equal(err.text, "model 'none:latest' not found");
    rig_write(&r, "z", b, NULL);
    assert_int_equal(copy_model(&r, "x", "z", &err), CAMA_OK);
    assert_false(rig_has_blob(&r, b));
    assert_true(rig_has_blob(&r, a));
    rig_close(&r);
}

/* ---- removing ---- */

static void test_remove(void **state)
{
    (void)state;
    store_rig r;
    rig_open(&r);
    const char *a = rig_blob(&r, "a");
    const char *b = rig_blob(&r, "b");
    err_info err = {0};
    rig_write(&r, "me/x", a, b);
    rig_write(&r, "y", a, NULL);
    assert_int_equal(remove_model(&r, "ME/X", &err), CAMA_OK);
    assert_false(is_there(&r, "me/x"));
    assert_true(rig_has_blob(&r, a));
    assert_false(rig_has_blob(&r, b));
    assert_false(rig_exists(rig_path(&r, "manifests/registry.ollama.ai/me")));
    assert_int_equal(remove_model(&r, "me/x", &err), CAMA_ERR_NOT_FOUND);
    assert_int_equal(remove_model(&r, "y", &err), CAMA_OK);
    assert_int_equal(rig_count(rig_path(&r, "blobs"), ""), 0);
    assert_int_equal(rig_count(rig_path(&r, "manifests"), ""), 0);
    rig_close(&r);
}

/* A manifest that cannot be read may need any blob: none is removed. */
static void test_remove_beside_corrupt(void **state)
{
    (void)state;
    store_rig r;
    rig_open(&r);
    const char *a = rig_blob(&r, "a");
    rig_write(&r, "x", a, NULL);
    rig_write(&r, "bad", a, NULL);
    rig_write_file(manifest_path(&r, "bad"), "{");
    assert_int_equal(remove_model(&r, "x", NULL), CAMA_OK);
    assert_true(rig_has_blob(&r, a));
    rig_close(&r);
}

/* ---- pruning ---- */

static const char *blob_file(store_rig *r, const char *digest)
{
    char below[128];
    (void)snprintf(below, sizeof below, "blobs/sha256-%s", digest + 7);
    return rig_path(r, below);
}

static void test_prune(void **state)
{
    (void)state;
    store_rig r;
    rig_open(&r);
    const char *used = rig_blob(&r, "used");
    const char *young = rig_blob(&r, "young");
    const char *old = rig_blob(&r, "old");
    store_pruned done = {0};
    err_info err = {0};
    rig_write(&r, "x", used, NULL);
    rig_make_old(blob_file(&r, used), 7200);
    rig_make_old(blob_file(&r, old), 7200);
    rig_write_file(rig_path(&r, "blobs/sha256-12345"), "at work");
    rig_write_file(rig_path(&r, "blobs/sha256-partial"), "left");
    rig_make_old(rig_path(&r, "blobs/sha256-partial"), 7200);
    assert_int_equal(mkdir(rig_path(&r, "manifests/host.example"), 0755), 0);
    assert_int_equal(mkdir(rig_path(&r, "manifests/host.example/ns"), 0755), 0);
    assert_int_equal(mkdir(rig_path(&r, "manifests/host.example/ns/model"), 0755), 0);
    rig_make_old(rig_path(&r, "manifests/host.example/ns/model"), 7200);
    rig_make_old(rig_path(&r, "manifests/host.example/ns"), 7200);
    rig_make_old(rig_path(&r, "manifests/host.example"), 7200);
    assert_int_equal(mkdir(rig_path(&r, "manifests/young.example"), 0755), 0);
    if (store_prune(r.s, 3600, &done, &err))
        fail_msg("%s", err.text);
    assert_int_equal(done.n_blob, 2);
    assert_int_equal(done.bytes, 3 + 4);
    assert_true(rig_has_blob(&r, used));
    assert_true(rig_has_blob(&r, young));
    assert_false(rig_has_blob(&r, old));
    assert_true(rig_exists(rig_path(&r, "blobs/sha256-12345")));
    assert_false(rig_exists(rig_path(&r, "blobs/sha256-partial")));
    assert_false(rig_exists(rig_path(&r, "manifests/host.example")));
    assert_true(rig_exists(rig_path(&r, "manifests/young.example")));
    assert_true(is_there(&r, "x"));
    assert_int_equal(store_prune(r.s, 0, &done, &err), CAMA_OK);
    assert_false(rig_has_blob(&r, young));
    rig_close(&r);
}

static void test_prune_refuses(void **state)
{
    (void)state;
    static const char *const bad[] = {"manifests/registry.ollama.ai/library/x/latest",
                                      "manifests/registry.ollama.ai/library/x/no tag"};
    for (size_t i = 0; i < TEST_COUNT(bad); i++) {
        store_rig r;
        rig_open(&r);
        const char *a = rig_blob(&r, "a");
        const char *old = rig_blob(&r, "old");
        err_info err = {0};
        rig_write(&r, "x", a, NULL);
        rig_make_old(blob_file(&r, old), 7200);
        rig_write_file(rig_path(&r, bad[i]), "{");
        assert_int_equal(store_prune(r.s, 0, NULL, &err), CAMA_ERR_FORMAT);
        assert_non_null(strstr(err.text, bad[i]));
        assert_true(rig_has_blob(&r, old));
        rig_close(&r);
    }
}

/* Temporary files: those of a living writer stay, whatever their age. */
static void test_prune_temps(void **state)
{
    (void)state;
    store_rig r;
    rig_open(&r);
    blob_writer *b;
    const char *dead_blob =
        rig_path(&r, "blobs/" STORE_BLOB_TEMP "00112233445566778899aabbccddeeff");
    rig_blob(&r, "a");
    rig_write(&r, "x", rig_blob(&r, "b"), NULL);
    assert_int_equal(blob_writer_open(r.s, &b, NULL), CAMA_OK);
    assert_int_equal(blob_writer_append(b, "hello", 5, NULL), CAMA_OK);
    rig_write_file(dead_blob, "half");
    rig_write_file(rig_path(&r, "manifests/" STORE_MANIFEST_TEMP "00"), "{");
    assert_int_equal(rig_count_temps(&r), 3);
    assert_int_equal(store_prune(r.s, 0, NULL, NULL), CAMA_OK);
    assert_int_equal(rig_count_temps(&r), 1);
    assert_int_equal(blob_writer_commit(b, NULL, NULL, NULL), CAMA_OK);
    assert_int_equal(rig_count_temps(&r), 0);
    rig_close(&r);
}

/* The names of old stores. */
static void test_prune_old_form(void **state)
{
    (void)state;
    store_rig r;
    rig_open(&r);
    const char *a = rig_blob(&r, "a");
    char from[STORE_PATH_BYTES];
    rig_write(&r, "x", a, NULL);
    (void)snprintf(from, sizeof from, "%s/blobs/%s", r.root, a);
    assert_int_equal(rename(blob_file(&r, a), from), 0);
    assert_false(rig_has_blob(&r, a));
    assert_int_equal(store_prune(r.s, 3600, NULL, NULL), CAMA_OK);
    assert_true(rig_has_blob(&r, a));
    rig_close(&r);
}

/* ---- stores of newer Ollamas ---- */

/* A manifest as a blob, and a link to it. */
static const char *link_v2(store_rig *r, const char *name, const char *layer)
{
    char text[1024];
    char folder[STORE_PATH_BYTES];
    char target[STORE_PATH_BYTES];
    (void)snprintf(text, sizeof text,
                   "{\"schemaVersion\":2,\"layers\":[{\"mediaType\":\"%smodel\",\"digest\":\"%s\","
                   "\"size\":1}],\"runner\":\"ollama\"}\n",
                   STORE_MEDIA_PREFIX, layer);
    const char *digest = rig_blob(r, text);
    (void)snprintf(folder, sizeof folder, "manifests-v2/registry.ollama.ai/library/%s", name);
    assert_int_equal(store_file_make_folder(rig_path(r, folder), NULL), CAMA_OK);
    (void)snprintf(target, sizeof target, "../../../../blobs/sha256-%s", digest + 7);
    (void)snprintf(folder, sizeof folder, "manifests-v2/registry.ollama.ai/library/%s/latest",
                   name);
    assert_int_equal(symlink(target, rig_path(r, folder)), 0);
    return digest;
}

static void test_v2(void **state)
{
    (void)state;
    store_rig r;
    rig_open(&r);
    const char *a = rig_blob(&r, "a");
    const char *b = rig_blob(&r, "b");
    const char *c = rig_blob(&r, "c");
    store_model *models;
    err_info err = {0};
    rig_write(&r, "both", a, NULL);
    rig_write(&r, "old", c, NULL);
    const char *both = link_v2(&r, "both", b);
    const char *newer = link_v2(&r, "new", b);
    assert_int_equal(list(&r, &models), 3);
    assert_string_equal(find(&r, "both").layers[0].digest, b);
    assert_string_equal(find(&r, "both").digest, both);
    assert_string_equal(find(&r, "NEW").digest, newer);
    /* nothing of either is garbage */
    if (store_prune(r.s, 0, NULL, &err))
        fail_msg("%s", err.text);
    assert_true(rig_has_blob(&r, a) && rig_has_blob(&r, b) && rig_has_blob(&r, both));
    /* a copy is a file of its own; a model written over a linked one is seen */
    assert_int_equal(copy_model(&r, "new", "copy", &err), CAMA_OK);
    assert_string_equal(find(&r, "copy").digest, newer);
    rig_write(&r, "new", a, NULL);
    assert_string_equal(find(&r, "new").layers[0].digest, a);
    assert_true(rig_has_blob(&r, both));
    assert_int_equal(remove_model(&r, "both", &err), CAMA_OK);
    assert_false(is_there(&r, "both"));
    assert_true(
        rig_has_blob(&r, both)); /* it has the digest of the copy, which is enough to stay */
    assert_int_equal(remove_model(&r, "copy", &err), CAMA_OK);
    assert_false(rig_has_blob(&r, both));
    assert_false(rig_has_blob(&r, b));
    assert_int_equal(list(&r, &models), 2);
    rig_close(&r);
}

/* One manifest for several engines: told, not read, and nothing that it may need is removed. */
static void test_manifest_list(void **state)
{
    (void)state;
    store_rig r;
    rig_open(&r);
    const char *a = rig_blob(&r, "a");
    store_model *models;
    store_model m;
    size_t n;
    bad_list told = {0};
    err_info err = {0};
    const model_name name = rig_name("many");
    rig_write(&r, "x", a, NULL);
    rig_write(&r, "many", a, NULL);
    rig_write_file(manifest_path(&r, "many"), "{\"schemaVersion\":2,\"manifests\":[]}");
    assert_int_equal(store_list(r.s, &r.rig_arena, &models, &n, on_bad, &told, &err), CAMA_OK);
    assert_int_equal(n, 1);
    assert_true(was_told(&told, "list of manifests"));
    assert_int_equal(store_find(r.s, &name, &r.rig_arena, &m, &err), CAMA_ERR_UNSUPPORTED);
    assert_int_equal(store_prune(r.s, 0, NULL, &err), CAMA_ERR_FORMAT);
    assert_int_equal(remove_model(&r, "x", &err), CAMA_OK);
    assert_true(rig_has_blob(&r, a));
    rig_close(&r);
}

/* ---- at once ---- */

#define N_WORKER 4

typedef struct worker {
    store_rig *r;
    int index;
} worker;

/* Its own model comes and goes; the shared blob stays while anybody's model names it. */
static void *work(void *arg)
{
    const worker *w = arg;
    char name[32];
    (void)snprintf(name, sizeof name, "w%d", w->index);
    const model_name n = rig_name(name);
    const model_name copy = rig_name("shared:copy");
    arena a;
    arena_init(&a, (size_t)1 << 26);
    for (int i = 0; i < 20; i++) {
        char digest[STORE_DIGEST_BYTES];
        char text[64];
        store_model *models;
        size_t n_model;
        (void)snprintf(text, sizeof text, "of %d in turn %d", w->index, i % 3);
        assert_int_equal(store_blob_put(w->r->s, text, strlen(text), digest, NULL), CAMA_OK);
        const store_layer_def layer = {"model", digest, NULL, NULL};
        json_value *config = json_new_object(&a);
        assert_int_equal(store_write(w->r->s, &n, config, &layer, 1, false, NULL), CAMA_OK);
        assert_int_equal(store_copy(w->r->s, &n, &copy, NULL), CAMA_OK);
        assert_int_equal(store_list(w->r->s, &a, &models, &n_model, NULL, NULL, NULL), CAMA_OK);
        assert_true(n_model >= 1);
        assert_int_equal(store_prune(w->r->s, 3600, NULL, NULL), CAMA_OK);
        assert_int_equal(store_remove(w->r->s, &n, NULL), CAMA_OK);
    }
    arena_done(&a);
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    store_rig r;
    rig_open(&r);
    pthread_t threads[N_WORKER];
    worker workers[N_WORKER];
    for (int i = 0; i < N_WORKER; i++) {
        workers[i] = (worker){&r, i};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < N_WORKER; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    store_model *models;
    assert_int_equal(list(&r, &models), 1);
    assert_true(rig_has_blob(&r, models[0].layers[0].digest));
    assert_int_equal(rig_count_temps(&r), 0);
    rig_close(&r);
}

/* Another program makes and removes models in the same folder: ours stay, and nothing fails. */
static void test_beside_another(void **state)
{
    (void)state;
    store_rig r;
    rig_open(&r);
    const char *ours = rig_blob(&r, "ours");
    rig_write(&r, "ours", ours, NULL);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        err_info err = {0};
        cama_err e = CAMA_OK;
        for (int i = 0; i < 40 && !e; i++) {
            e = rig_try_write(&r, "other/theirs", rig_blob(&r, "theirs"), NULL, &err);
            if (!e)
                e = remove_model(&r, "other/theirs", &err);
        }
        if (e)
            print_error("the other program: %s\n", err.text);
        _exit(e ? 1 : 0);
    }
    int status = 0;
    for (int i = 0; waitpid(pid, &status, WNOHANG) == 0; i++) {
        store_model *models;
        const size_t n = list(&r, &models);
        assert_true(n == 1 || n == 2);
        assert_true(is_there(&r, "OURS"));
        (void)rmdir(rig_path(&r, "manifests/registry.ollama.ai/other/theirs"));
        (void)rmdir(rig_path(&r, "manifests/registry.ollama.ai/other"));
        assert_int_equal(store_prune(r.s, 3600, NULL, NULL), CAMA_OK);
        if (i % 4 == 0)
            rig_write(&r, "ours", ours, NULL);
        if (i % 50 == 49) { /* lists stay in the arena */
            arena_done(&r.rig_arena);
            ours = rig_blob(&r, "ours");
        }
    }
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_true(rig_has_blob(&r, ours));
    assert_int_equal(rig_count_temps(&r), 0);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write_find),
        cmocka_unit_test(test_write_refused),
        cmocka_unit_test(test_replace),
        cmocka_unit_test(test_foreign_layers),
        cmocka_unit_test(test_case),
        cmocka_unit_test(test_two_spellings),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_corrupt),
        cmocka_unit_test(test_corrupt_config),
        cmocka_unit_test(test_what_others_left),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_remove),
        cmocka_unit_test(test_remove_beside_corrupt),
        cmocka_unit_test(test_prune),
        cmocka_unit_test(test_prune_refuses),
        cmocka_unit_test(test_prune_temps),
        cmocka_unit_test(test_prune_old_form),
        cmocka_unit_test(test_v2),
        cmocka_unit_test(test_manifest_list),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_beside_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
