/* tiny_chat.h - a llama that talks: tiny_llama.h's layers with a vocabulary of bytes and a few
 * words and with a chat template, written to a file of its own. Its answers are noise, and the same
 * noise every time. */
#ifndef TINY_CHAT_H
#define TINY_CHAT_H

#include "test.h"

#include <unistd.h>

#include "tiny_llama.h"
#include "tok_small.h"

static const char tiny_chat_template[] =
    "{{ bos_token }}{% for m in messages %}{{ m['role'] }}: {{ m['content'] | trim }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}";

typedef struct tiny_chat {
    gguf_build b; /* open: keys may be added before tiny_chat_bytes */
    uint32_t n_vocab;
} tiny_chat;

static inline void tiny_chat_strings(gguf_build *b, const char *key, const tok_str *from, size_t n)
{
    char *texts[SMALL_MAX];
    assert_true(n <= SMALL_MAX);
    for (size_t i = 0; i < n; i++) {
        texts[i] = strndup(from[i].text, from[i].n);
        assert_non_null(texts[i]);
    }
    gguf_build_strings(b, key, (const char *const *)texts, n);
    for (size_t i = 0; i < n; i++)
        free(texts[i]);
}

/* Everything but the chat template. arch, model: "llama" and "gpt2", or what a test wants to see
 * refused. */
static inline void tiny_chat_begin(tiny_chat *c, const char *arch, const char *model)
{
    static small_vocab v;
    small_init(&v, SMALL_BPE);
    gguf_build_init(&c->b);
    c->n_vocab = v.def.n_token;
    tiny_state = 1;
    tiny_llama_keys(&c->b, arch, c->n_vocab);
    gguf_build_str(&c->b, "general.name", "Tiny Chat");
    gguf_build_str(&c->b, "tokenizer.ggml.model", model);
    gguf_build_str(&c->b, "tokenizer.ggml.pre", "gpt-2");
    tiny_chat_strings(&c->b, "tokenizer.ggml.tokens", v.tokens, v.def.n_token);
    tiny_chat_strings(&c->b, "tokenizer.ggml.merges", v.merges, v.def.n_merge);
    gguf_build_array(&c->b, "tokenizer.ggml.token_type", 5, c->n_vocab, v.types,
                     c->n_vocab * sizeof v.types[0]);
    gguf_build_u32(&c->b, "tokenizer.ggml.bos_token_id", (uint32_t)v.def.bos);
    gguf_build_u32(&c->b, "tokenizer.ggml.eos_token_id", (uint32_t)v.def.eos);
    gguf_build_bool(&c->b, "tokenizer.ggml.add_bos_token", true);
}

static inline uint8_t *tiny_chat_bytes(tiny_chat *c, size_t *out_n)
{
    tiny_llama_tensors(&c->b, c->n_vocab);
    return gguf_build_finish(&c->b, out_n);
}

static inline void tiny_chat_write(const char *path, const void *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* The whole file under a new name in the folder for such files; the caller unlinks it. */
static inline void tiny_chat_file(char path[64])
{
    tiny_chat c;
    size_t n;
    (void)snprintf(path, 64, "/tmp/cama_tiny_chat_XXXXXX");
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)close(fd);
    tiny_chat_begin(&c, "llama", "gpt2");
    gguf_build_str(&c.b, "tokenizer.chat_template", tiny_chat_template);
    uint8_t *bytes = tiny_chat_bytes(&c, &n);
    tiny_chat_write(path, bytes, n);
    free(bytes);
}

#endif
