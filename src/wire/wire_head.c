/* Names of frames, fields of heads, errors as heads. */
#include "wire/wire_int.h"

#include <string.h>

const wire_type_row wire_type_table[WIRE_N_TYPE] = {
#define X(name, who) [WIRE_##name] = {#name, WIRE_##who},
    WIRE_TYPES(X)
#undef X
};

const char *wire_type_name(wire_type t)
{
    return t > WIRE_NONE && t < WIRE_N_TYPE ? wire_type_table[t].name : "?";
}

int64_t wire_int(const wire_frame *f, const char *key, int64_t fallback)
{
    const json_value *v = json_get(f->head, key);
    return v && v->kind == JSON_INT ? v->integer : fallback;
}

bool wire_bool(const wire_frame *f, const char *key, bool fallback)
{
    const json_value *v = json_get(f->head, key);
    return v && v->kind == JSON_BOOL ? v->boolean : fallback;
}

const char *wire_str(const wire_frame *f, const char *key, const char *fallback)
{
    const json_value *v = json_get(f->head, key);
    return v && v->kind == JSON_STRING ? v->text : fallback;
}

static const char *const code_names[] = {
#define X(name, status, text) [CAMA_##name] = #name,
    CAMA_ERRORS(X)
#undef X
};

cama_err wire_put_err(buf *head, const err_info *e)
{
    const cama_err code = (unsigned)e->code < CAMA_N_ERR ? e->code : CAMA_ERR_INTERNAL;
    (void)buf_printf(head, "{\"code\":\"%s\",\"text\":", code_names[code]); /* failures stick */
    (void)json_write_string(e->text, strlen(e->text), head);
    (void)buf_putc(head, '}');
    return head->fail;
}

void wire_get_err(const json_value *head, err_info *out)
{
    const json_value *code = json_get(head, "code");
    const json_value *text = json_get(head, "text");
    cama_err e = CAMA_ERR_ENGINE;
    for (size_t i = 1; code && code->kind == JSON_STRING && i < CAMA_N_ERR; i++) {
        if (!strcmp(code->text, code_names[i]))
            e = (cama_err)i;
    }
    const bool says = text && text->kind == JSON_STRING && text->text[0];
    (void)err_set(out, e, "%s", says ? text->text : cama_err_text(e));
}
