/* One tensor: in which form the folder holds it, and its rows as blocks of a GGUF. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "import/import_int.h"
#include "quant/f16.h"

static const safet_tensor *find(importer *m, const char *base, const char *suffix)
{
    char name[SAFET_MAX_NAME_BYTES + 1];
    const int n = snprintf(name, sizeof name, "%s%s", base, suffix);
    return n > 0 && (size_t)n < sizeof name ? safet_find(m->weights, name) : NULL;
}

/* The same, and it is used now. */
static const safet_tensor *take(importer *m, const char *base, const char *suffix)
{
    const safet_tensor *t = find(m, base, suffix);
    if (t)
        m->used[t - safet_tensor_at(m->weights, 0)] = true;
    return t;
}

bool import_has(importer *m, const char *base, const char *suffix)
{
    return find(m, base, suffix) != NULL;
}

/* ---- dense ---- */

/* [n_out, n_col], or of all experts [n_expert, n_out, n_col]. */
static bool is_matrix(const safet_tensor *s, const import_tensor *t, uint64_t n_col)
{
    const uint32_t n = t->n_expert ? 3 : 2;
    return s->n_dims == n && s->shape[n - 1] == n_col && s->shape[n - 2] == t->n_out &&
           (n == 2 || s->shape[0] == t->n_expert);
}

static bool has_shape(importer *m, const safet_tensor *s, const import_tensor *t)
{
    const bool fine =
        t->n_dims == 1 ? s->n_dims == 1 && s->shape[0] == t->n_in : is_matrix(s, t, t->n_in);
    return fine || import_fail(m, CAMA_ERR_FORMAT,
                               "tensor '%.80s' is [%llu, %llu] in %u dimensions, by config.json it "
                               "must be [%llu, %llu]",
                               s->name, (unsigned long long)(s->n_dims ? s->shape[0] : 0),
                               (unsigned long long)(s->n_dims > 1 ? s->shape[1] : 1), s->n_dims,
                               (unsigned long long)(t->n_dims == 1 ? t->n_in : t->n_out),
                               (unsigned long long)(t->n_dims == 1 ? 1 : t->n_in));
}

/* QUANT_N_TYPE: no float that weights come in. */
static quant_type float_type(safet_type t)
{
    return t == SAFET_F32    ? QUANT_F32
           : t == SAFET_F16  ? QUANT_F16
           : t == SAFET_BF16 ? QUANT_BF16
                             : QUANT_N_TYPE;
}

static bool take_dense(importer *m, import_tensor *t)
{
    t->form = IMPORT_DENSE;
    t->type = float_type(t->from.codes->type);
    if (t->type == QUANT_N_TYPE)
        return import_fail(m, CAMA_ERR_UNSUPPORTED,
                           "tensor '%.80s' is %s: F32, F16, BF16 and MLX's quantised forms can be "
                           "imported",
                           t->from.codes->name, safet_type_name(t->from.codes->type));
    if (t->n_dims == 1)
        t->type = QUANT_F32;
    return has_shape(m, t->from.codes, t);
}

/* ---- quantised ---- */

/* What config.json says of one tensor: its own entry under "quantization", else the general one. */
static const json_value *settings_of(const importer *m, const char *base)
{
    const json_value *own = json_get(m->quant, base);
    return own && own->kind == JSON_OBJECT ? own : m->quant;
}

static const char *mode_of(const importer *m, const char *base)
{
    const char *own = import_text(settings_of(m, base), "mode");
    const char *general = import_text(m->quant, "mode");
    return own ? own : general ? general : "affine";
}

static bool is_part(const safet_tensor *s, safet_type type, const import_tensor *t, uint64_t n_col)
{
    return s && s->type == type && is_matrix(s, t, n_col);
}

static bool bad_parts(importer *m, const char *base, const char *mode, uint64_t bits,
                      uint64_t group)
{
    return import_fail(m, CAMA_ERR_FORMAT,
                       "tensor '%.80s': weight, scales and biases do not fit config.json, which "
                       "says %.16s of %llu bits in groups of %llu",
                       base, mode, (unsigned long long)bits, (unsigned long long)group);
}

static bool take_affine(importer *m, const char *base, import_tensor *t)
{
    const json_value *q = settings_of(m, base);
    const uint64_t bits = import_u64(m, q, "bits", 64, import_u64(m, m->quant, "bits", 64, 4));
    const uint64_t group =
        import_u64(m, q, "group_size", 4096, import_u64(m, m->quant, "group_size", 4096, 64));
    const quant_type scale = float_type(t->from.scales->type);
    t->form = IMPORT_AFFINE;
    t->from.biases = take(m, base, ".biases");
    t->type = scale == QUANT_N_TYPE ? QUANT_N_TYPE
                                    : quant_affine_type((uint32_t)bits, (uint32_t)group, scale);
    if (m->err.code)
        return false;
    if (t->type == QUANT_N_TYPE)
        return import_fail(m, CAMA_ERR_UNSUPPORTED,
                           "tensor '%.80s': affine %llu-bit in groups of %llu with scales of %s is "
                           "no form that MLX has",
                           base, (unsigned long long)bits, (unsigned long long)group,
                           safet_type_name(t->from.scales->type));
    const uint64_t n_group = t->n_in / group;
    const bool fine = t->n_in % group == 0 &&
                      is_part(t->from.codes, SAFET_U32, t, t->n_in * bits / 32) &&
                      is_part(t->from.scales, t->from.scales->type, t, n_group) &&
                      is_part(t->from.biases, t->from.scales->type, t, n_group);
    return fine || bad_parts(m, base, "affine", bits, group);
}

typedef struct float_mode {
    const char *name;
    import_form form;
    quant_type type;
    uint32_t bits, group;
} float_mode;

static const float_mode float_modes[] = {
    {"mxfp4", IMPORT_MXFP4, QUANT_MXFP4, 4, 32},
    {"mxfp8", IMPORT_MXFP8, QUANT_MXFP8, 8, 32},
    {"nvfp4", IMPORT_NVFP4, QUANT_NVFP4, 4, 16},
};

static bool take_float(importer *m, const char *base, const float_mode *f, import_tensor *t)
{
    t->form = f->form;
    t->type = f->type;
    const uint32_t block = quant_table[f->type].block_n;
    if (t->n_in % block)
        return import_fail(m, CAMA_ERR_UNSUPPORTED,
                           "tensor '%.80s': %s in rows of %llu weights, which must be a multiple "
                           "of %u",
                           base, f->name, (unsigned long long)t->n_in, block);
    const bool fine = is_part(t->from.codes, SAFET_U32, t, t->n_in * f->bits / 32) &&
                      is_part(t->from.scales, SAFET_U8, t, t->n_in / f->group);
    return fine || bad_parts(m, base, f->name, f->bits, f->group);
}

static bool take_quantised(importer *m, const char *base, import_tensor *t)
{
    const char *mode = mode_of(m, base);
    if (!m->quant)
        return import_fail(m, CAMA_ERR_FORMAT,
                           "tensor '%.80s' has scales, and config.json has no 'quantization'",
                           base);
    if (t->n_dims == 1)
        return import_fail(m, CAMA_ERR_FORMAT, "tensor '%.80s' is a vector with scales", base);
    if (!strcmp(mode, "affine"))
        return take_affine(m, base, t);
    for (size_t i = 0; i < sizeof float_modes / sizeof *float_modes; i++) {
        if (!strcmp(mode, float_modes[i].name))
            return take_float(m, base, &float_modes[i], t);
    }
    return import_fail(
        m, CAMA_ERR_UNSUPPORTED,
        "tensor '%.80s': quantised as '%.16s'; affine, mxfp4, mxfp8 and nvfp4 can be "
        "imported",
        base, mode);
}

bool import_find_weight(importer *m, const char *base, const char *suffix, import_tensor *t)
{
    t->from.codes = take(m, base, suffix);
    if (!t->from.codes)
        return import_fail(m, CAMA_ERR_FORMAT, "tensor '%.80s%s' is missing", base, suffix);
    if (!strcmp(suffix, ".weight"))
        t->from.scales = take(m, base, ".scales");
    return t->from.scales ? take_quantised(m, base, t) : take_dense(m, t);
}

bool import_find_experts(importer *m, const char *each, const char *end, import_tensor *t)
{
    import_source *from = import_take(m, (size_t)t->n_expert, sizeof *from);
    for (uint64_t i = 0; from && i < t->n_expert; i++) {
        char base[SAFET_MAX_NAME_BYTES];
        import_tensor one = *t;
        one.n_expert = 0;
        (void)snprintf(base, sizeof base, "%s%llu%s", each, (unsigned long long)i, end);
        if (!import_find_weight(m, base, ".weight", &one))
            return false;
        if (i && (one.type != t->type || one.form != t->form))
            return import_fail(m, CAMA_ERR_UNSUPPORTED,
                               "tensor '%.80s' is %s, that of the first expert %s", base,
                               quant_table[one.type].name, quant_table[t->type].name);
        t->type = one.type;
        t->form = one.form;
        from[i] = one.from;
    }
    t->each = from;
    return from != NULL;
}

/* ---- rows ---- */

/* The tensors that hold a row of all, and its number among theirs. */
static const import_source *source_of(const import_tensor *t, uint64_t row, uint64_t *out_row)
{
    *out_row = t->each ? row % t->n_out : row;
    return t->each ? &t->each[row / t->n_out] : &t->from;
}

/* Bytes a row: codes, scales, biases. */
static void source_bytes(const import_tensor *t, const import_source *s, size_t out[3])
{
    const safet_tensor *parts[3] = {s->codes, s->scales, s->biases};
    const uint64_t n_row = t->each ? t->n_out : import_n_row(t);
    for (int i = 0; i < 3; i++)
        out[i] = parts[i] ? (size_t)(parts[i]->n_bytes / n_row) : 0;
}

/* llama.cpp turns pairs of neighbours, transformers pairs half a head apart: row 2i + k of a head
 * comes from row k * n / 2 + i. A bias is one row of such columns. */
static uint64_t turned(uint64_t row, uint64_t n_head_row)
{
    const uint64_t in = row % n_head_row;
    return row - in + in % 2 * (n_head_row / 2) + in / 2;
}

size_t import_rows_at_once(const import_tensor *t)
{
    const size_t row = quant_row_bytes(t->type, t->n_in);
    const size_t n = row && row < IMPORT_CHUNK_BYTES ? IMPORT_CHUNK_BYTES / row : 1;
    return t->n_out < n ? (size_t)t->n_out : n;
}

size_t import_scratch_bytes(const import_tensor *t)
{
    size_t bytes[3] = {0};
    if (t->form != IMPORT_MADE)
        source_bytes(t, t->each ? t->each : &t->from, bytes);
    return import_rows_at_once(t) * (bytes[0] + bytes[1] + bytes[2]) + 64;
}

/* Rows [rows[0], rows[0] + rows[1]) of the part, of so many bytes. */
static cama_err read_part(importer *m, const import_tensor *t, const safet_tensor *part,
                          const uint64_t rows[2], size_t bytes, uint8_t *out)
{
    const uint64_t row = rows[0], n = rows[1];
    err_info err;
    cama_err e = CAMA_OK;
    if (!t->n_turn || t->n_dims == 1) {
        e = safet_read(m->weights, part, row * bytes, out, (size_t)n * bytes, &err);
    } else {
        for (uint64_t i = 0; !e && i < n; i++)
            e = safet_read(m->weights, part, turned(row + i, t->n_out / t->n_turn) * bytes,
                           out + i * bytes, bytes, &err);
    }
    if (e)
        (void)import_fail(m, e, "%s", err.text);
    return e;
}

/* A vector as f32. */
static void make_vector(const import_tensor *t, const void *from, float *out)
{
    const uint16_t *half = from;
    for (uint64_t i = 0; i < t->n_in; i++) {
        const uint64_t at = t->n_turn ? turned(i, t->n_in / t->n_turn) : i;
        float v;
        if (t->from.codes->type == SAFET_F32)
            memcpy(&v, (const uint8_t *)from + 4 * at, 4);
        else
            v = t->from.codes->type == SAFET_F16 ? f16_to_f32(half[at]) : bf16_to_f32(half[at]);
        out[i] = t->plus != 0 ? v + t->plus : v;
    }
}

/* Nibble i of MLX's stream. */
static unsigned nibble(const uint8_t *q, size_t i)
{
    return q[i / 2] >> 4 * (i % 2) & 15u;
}

/* The same values: GGUF's blocks have weights half a run apart in one byte. */
static void make_mxfp4(size_t n_block, const uint8_t *q, const uint8_t *scales, uint8_t *out)
{
    for (size_t b = 0; b < n_block; b++, q += 16, out += 17) {
        out[0] = scales[b];
        for (size_t j = 0; j < 16; j++)
            out[1 + j] = (uint8_t)(nibble(q, j) | nibble(q, 16 + j) << 4);
    }
}

static void make_mxfp8(size_t n_block, const uint8_t *q, const uint8_t *scales, uint8_t *out)
{
    for (size_t b = 0; b < n_block; b++, q += 32, out += 33) {
        out[0] = scales[b];
        memcpy(out + 1, q, 32);
    }
}

/* GGUF's scales have no sign and no NaN; MLX never writes either. */
static cama_err make_nvfp4(importer *m, const import_tensor *t, size_t n_block, const uint8_t *q,
                           const uint8_t *scales, uint8_t *out)
{
    for (size_t b = 0; b < n_block; b++, q += 32, scales += 4, out += 36) {
        for (size_t s = 0; s < 4; s++) {
            if (scales[s] >= 0x7F) {
                (void)import_fail(m, CAMA_ERR_UNSUPPORTED,
                                  "tensor '%.80s' has a scale of NaN, or below zero", t->name);
                return m->err.code;
            }
            out[s] = scales[s];
            for (size_t j = 0; j < 8; j++)
                out[4 + 8 * s + j] =
                    (uint8_t)(nibble(q, 16 * s + j) | nibble(q, 16 * s + 8 + j) << 4);
        }
    }
    return CAMA_OK;
}

static cama_err make_blocks(importer *m, const import_tensor *t, uint64_t n_row,
                            const uint8_t *const parts[3], void *out)
{
    const size_t n_block = (size_t)(t->n_in / quant_table[t->type].block_n * n_row);
    switch (t->form) {
    case IMPORT_AFFINE:
        quant_affine_pack(t->type, n_block, parts[0], parts[1], parts[2], out);
        return CAMA_OK;
    case IMPORT_MXFP4:
        make_mxfp4(n_block, parts[0], parts[1], out);
        return CAMA_OK;
    case IMPORT_MXFP8:
        make_mxfp8(n_block, parts[0], parts[1], out);
        return CAMA_OK;
    case IMPORT_NVFP4:
        return make_nvfp4(m, t, n_block, parts[0], parts[1], out);
    case IMPORT_DENSE:
    case IMPORT_MADE:
        break;
    }
    memcpy(out, parts[0], (size_t)n_row * quant_row_bytes(t->type, t->n_in));
    return CAMA_OK;
}

cama_err import_read_rows(importer *m, const import_tensor *t, uint64_t row, uint64_t n, void *out,
                          void *scratch)
{
    if (t->form == IMPORT_MADE) {
        memcpy(out, t->made, t->n_in * sizeof *t->made);
        return CAMA_OK;
    }
    uint64_t first;
    const import_source *s = source_of(t, row, &first);
    const safet_tensor *const from[3] = {s->codes, s->scales, s->biases};
    const uint8_t *parts[3] = {scratch, scratch, scratch}; /* of those that are there */
    size_t bytes[3];
    uint8_t *at = scratch;
    source_bytes(t, s, bytes);
    for (int i = 0; i < 3; i++) {
        if (!from[i])
            continue;
        if (read_part(m, t, from[i], (const uint64_t[]){first, n}, bytes[i], at))
            return m->err.code;
        parts[i] = at;
        at += (size_t)n * bytes[i];
    }
    if (t->n_dims == 1) {
        make_vector(t, scratch, out);
        return CAMA_OK;
    }
    return make_blocks(m, t, n, parts, out);
}
