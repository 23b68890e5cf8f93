/* store_manifest.h - the bytes of manifests and configs: read with care, written as Ollama does. */
#ifndef STORE_STORE_MANIFEST_H
#define STORE_STORE_MANIFEST_H

#include "store/store.h"

#define STORE_MAX_LAYERS 65536
#define STORE_MEDIA_PREFIX "application/vnd.ollama.image."
#define STORE_MEDIA_CONFIG "application/vnd.docker.container.image.v1+json"

/* Sets layers, n_layer, config (digest NULL: it names none) and size of out. Unknown keys are
 * skipped. CAMA_ERR_FORMAT names the place; CAMA_ERR_UNSUPPORTED: a list of manifests;
 * CAMA_ERR_NOMEM. */
cama_err store_manifest_parse(const char *text, size_t n, arena *a, store_model *out,
                              err_info *err);
/* An object whose known fields have their kinds. CAMA_ERR_FORMAT. */
cama_err store_config_parse(const char *text, size_t n, arena *a, const json_value **out,
                            err_info *err);

/* Byte for byte what Ollama 0.32.7 writes for the same model. */
cama_err store_manifest_encode(const store_layer *config, const store_layer *layers, size_t n_layer,
                               buf *out, err_info *err);
/* Known fields in the order of Ollama's struct, the others dropped as it does. CAMA_ERR_ARG: a
 * field of another kind. */
cama_err store_config_encode(const json_value *config, buf *out, err_info *err);

#endif
