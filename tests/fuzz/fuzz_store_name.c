/* Any text as the name of a model: one that is taken reads back as the same from both of its
 * written forms, and none of its parts leads out of the folder. */
#include "store/name.h"

#include <stdlib.h>
#include <string.h>

#include "store/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_again(const model_name *n, const char *text)
{
    model_name again;
    if (name_parse(text, &again, NULL) || !name_equal(n, &again))
        abort();
}

static void check_part(const char *part)
{
    if (!*part || *part == '.' || strchr(part, '/'))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    model_name n;
    err_info err;
    if (name_parse(text, &n, &err) == CAMA_OK) {
        char shown[NAME_BYTES];
        name_format(&n, shown);
        check_again(&n, shown);
        name_format_full(&n, shown);
        check_again(&n, shown);
        check_part(n.host);
        check_part(n.space);
        check_part(n.model);
        check_part(n.tag);
    }
    char digest[STORE_DIGEST_BYTES];
    char digest_again[STORE_DIGEST_BYTES];
    if (digest_parse(text, digest, &err) == CAMA_OK &&
        (digest_parse(digest, digest_again, &err) || strcmp(digest, digest_again) != 0))
        abort();
    free(text);
    return 0;
}
