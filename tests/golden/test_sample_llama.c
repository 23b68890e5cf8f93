/* Every chain of tests/data/sample/cases.txt chooses the tokens that llama.cpp's samplers chose:
 * from whole logits, and from as many of the best candidates as the sampler asks for. */
#include "test.h"

#include "sample/sample.h"

#define MAX_LIST 256

typedef struct golden_case {
    sample_params p;
    uint32_t n_vocab;
    uint64_t logits;
    int32_t history[MAX_LIST], chosen[MAX_LIST];
    size_t n_history, n_chosen;
} golden_case;

static size_t read_list(const char *text, int32_t *out)
{
    size_t n = 0;
    while (*text && *text != '\n') {
        char *end;
        assert_true(n < MAX_LIST);
        out[n++] = (int32_t)strtol(text, &end, 10);
        assert_true(end > text);
        text = *end == ',' ? end + 1 : end;
    }
    return n;
}

static void set_value(golden_case *c, const char *key, const char *value)
{
    const struct {
        const char *key;
        float *at;
    } floats[] = {
        {"repeat", &c->p.repeat_penalty},
        {"freq", &c->p.frequency_penalty},
        {"pres", &c->p.presence_penalty},
        {"sigma", &c->p.top_n_sigma},
        {"typ", &c->p.typical_p},
        {"p", &c->p.top_p},
        {"min", &c->p.min_p},
        {"xtcp", &c->p.xtc_probability},
        {"xtct", &c->p.xtc_threshold},
        {"temp", &c->p.temperature},
        {"range", &c->p.dynatemp_range},
        {"exp", &c->p.dynatemp_exponent},
    };
    for (size_t i = 0; i < TEST_COUNT(floats); i++) {
        if (!strcmp(key, floats[i].key)) {
            *floats[i].at = strtof(value, NULL);
            return;
        }
    }
    if (!strcmp(key, "n"))
        c->n_vocab = (uint32_t)atoi(value);
    else if (!strcmp(key, "logits"))
        c->logits = strtoull(value, NULL, 10);
    else if (!strcmp(key, "seed"))
        c->p.seed = strtoll(value, NULL, 10);
    else if (!strcmp(key, "last_n"))
        c->p.repeat_last_n = atoi(value);
    else if (!strcmp(key, "k"))
        c->p.top_k = atoi(value);
    else if (!strcmp(key, "history"))
        c->n_history = read_list(value, c->history);
    else if (!strcmp(key, "chosen"))
        c->n_chosen = read_list(value, c->chosen);
    else
        fail_msg("unknown key '%s'", key);
}

static void read_case(char *line, golden_case *c)
{
    memset(c, 0, sizeof *c);
    c->p = sample_params_init();
    for (char *word = strtok(line, " \n"); word; word = strtok(NULL, " \n")) {
        char *eq = strchr(word, '=');
        assert_non_null(eq);
        *eq = '\0';
        set_value(c, word, eq + 1);
    }
}

/* The floats of make_sample.py: a linear congruence, and exact arithmetic on it. */
static void make_logits(uint64_t number, uint32_t n, float *out)
{
    for (uint32_t i = 0; i < n; i++) {
        int64_t total = 0;
        for (int k = 0; k < 4; k++) {
            number = number * 6364136223846793005u + 1442695040888963407u;
            total += (int64_t)(number >> 40);
        }
        out[i] = (float)((double)(total - 33554430) / 2097152.0);
    }
}

static int by_logit(const void *a, const void *b)
{
    const sample_cand *x = a;
    const sample_cand *y = b;
    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static size_t n_run[2];

/* How the row is handed over. */
enum { LOGITS, CANDIDATES };

static void run_case(const golden_case *c, int how, int line)
{
    err_info err = {0};
    sampler *s;
    assert_int_equal(sample_new(&c->p, c->n_vocab, &s, &err), CAMA_OK);
    for (size_t i = 0; i < c->n_history; i++)
        sample_accept(s, c->history[i]);
    float *logits = calloc(c->n_vocab, sizeof *logits);
    sample_cand *cand = calloc(c->n_vocab, sizeof *cand);
    assert_true(logits && cand);
    const bool run = how == LOGITS || sample_need(s) > 0;
    for (size_t i = 0; run && i < c->n_chosen; i++) {
        make_logits(c->logits + i, c->n_vocab, logits);
        for (uint32_t k = 0; k < c->n_vocab; k++)
            cand[k] = (sample_cand){(int32_t)k, logits[k]};
        qsort(cand, c->n_vocab, sizeof *cand, by_logit);
        const sample_row row = how == LOGITS ? (sample_row){.logits = logits}
                                             : (sample_row){.cand = cand, .n_cand = sample_need(s)};
        int32_t id = -1;
        assert_int_equal(sample_next(s, &row, &id, &err), CAMA_OK);
        if (id != c->chosen[i])
            fail_msg("line %d, draw %zu, how %d: chose %d, llama.cpp %d", line, i, how, id,
                     c->chosen[i]);
        sample_accept(s, id);
        n_run[how]++;
    }
    free(logits);
    free(cand);
    sample_free(s);
}

static void test_cases(void **state)
{
    (void)state;
    FILE *f = fopen(TEST_DATA("sample/cases.txt"), "r");
    assert_non_null(f);
    static char line[8192];
    static golden_case c;
    for (int n = 1; fgets(line, sizeof line, f); n++) {
        if (line[0] == '#')
            continue;
        read_case(line, &c);
        run_case(&c, LOGITS, n);
        run_case(&c, CANDIDATES, n);
    }
    fclose(f);
    print_message("%zu choices from logits, %zu from candidates\n", n_run[0], n_run[1]);
    assert_true(n_run[LOGITS] > 2500 && n_run[CANDIDATES] > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
