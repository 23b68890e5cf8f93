/* tmpl_int.h - inside the template interpreter: values, tree, and the state of one render.
 *
 *     source -> tmpl_lex.c -> tokens -> tmpl_parse.c, tmpl_expr.c -> tree of tnode
 *     tree + vars -> tmpl_exec.c (statements), tmpl_eval.c (expressions) -> text
 *
 * The tree lies in the tmpl's arena. Values follow Python, which is what templates are written for:
 * strings are code points, bool is a kind of int, lists and dicts are shared by reference. All that
 * a render makes lives in the arena of its trun and is dropped with it, so nothing is counted.
 * Errors stick: the first tmpl_fail of a render (or a parse) is kept, every later step sees
 * r->fail and gives an undefined value at once, and the public function looks at the end.
 * Loops test r->fail; straight code need not.
 */
#ifndef CHAT_TMPL_INT_H
#define CHAT_TMPL_INT_H

#include "chat/tmpl.h"

#include "base/arena.h"

typedef struct tnode tnode;
typedef struct trun trun;
typedef struct tval tval;

/* ---- values ---- */

typedef enum tkind {
    V_ABSENT, /* an argument that was not given; never visible to a template */
    V_UNDEF,
    V_NONE,
    V_BOOL,
    V_INT,
    V_BIG, /* an integer past int64, as text: prints and serialises, does not compute */
    V_FLOAT,
    V_STR,
    V_LIST,
    V_TUPLE,
    V_DICT,
    V_VIEW, /* dict.keys() and its like */
    V_RANGE,
    V_GEN,   /* what map, select and their like give: read once, no length */
    V_SPACE, /* namespace() */
    V_LOOP,
    V_MACRO,
    V_FUNC,
    V_METHOD,
    V_CYCLER,
    V_JOINER
} tkind;

/* Immutable UTF-8, not NUL-terminated. n_cp == n means ASCII. */
typedef struct tstr {
    const char *p;
    size_t n;
    size_t n_cp;
} tstr;

typedef struct tundef { /* why a value is undefined, for the error text */
    const char *type;   /* of the object that lacks the name; NULL: a variable, or hint is all */
    const tstr *name;
    const char *hint;
} tundef;

typedef struct tlist tlist;
typedef struct tdict tdict;
typedef struct tview tview;
typedef struct trange trange;
typedef struct tgen tgen;
typedef struct tloop tloop;
typedef struct tmacro tmacro;
typedef struct tmethod tmethod;
typedef struct tcycler tcycler;
typedef struct tbuiltin tbuiltin;

struct tval {
    tkind kind;
    bool markup; /* V_STR: markupsafe.Markup, escapes what is added to it; V_TUPLE: of groupby */
    union {
        const tundef *undef;
        bool b;
        int64_t i;
        double f;
        const tstr *s; /* V_STR, V_BIG */
        tlist *list;   /* V_LIST, V_TUPLE */
        tdict *dict;   /* V_DICT, V_SPACE */
        tview *view;
        trange *range;
        tgen *gen;
        tloop *loop;
        tmacro *macro;
        const tbuiltin *fn;
        tmethod *method;
        tcycler *cycler; /* V_CYCLER, V_JOINER */
    } u;
};

struct tlist {
    tval *items;
    size_t n;
    size_t cap;
};

typedef struct tentry {
    tval key;
    tval value;
    uint64_t hash;
} tentry;

struct tdict { /* insertion order; index is built past a few entries */
    tentry *entries;
    size_t n;
    size_t cap;
    uint32_t *index; /* entry + 1, 0 empty */
    size_t n_index;  /* a power of two, or 0: no index */
};

struct tview {
    tdict *dict;
    enum { VIEW_KEYS, VIEW_VALUES, VIEW_ITEMS } of;
};

struct trange {
    int64_t start;
    int64_t step;
    size_t n;
    int64_t stop;
};

struct tgen {
    tlist *list;
    size_t next;
    const char *type; /* as Python names it */
};

struct tmethod {
    tval self;
    const tbuiltin *fn;
};

struct tcycler { /* of joiner, items holds the separator */
    tlist *items;
    size_t pos;
};

/* ---- functions written in C ---- */

#define TMPL_MAX_PARAMS 6

typedef struct tkw {
    const tstr *name;
    tval value;
} tkw;

typedef struct tcall {
    tval self;       /* of a method; the filtered or tested value */
    const tval *pos; /* as given */
    size_t n_pos;
    const tkw *kw;
    size_t n_kw;
    tval in[TMPL_MAX_PARAMS]; /* bound to params; V_ABSENT when not given */
} tcall;

typedef tval (*tmpl_fn)(trun *r, tcall *c);

struct tbuiltin {
    const char *name;
    tmpl_fn fn;
    uint8_t n_required;
    const char *params; /* names, separated by spaces; NULL: fn reads pos and kw itself */
};

/* ---- tree ---- */

typedef enum tnode_kind {
    N_BLOCK,
    N_TEXT,
    N_PRINT,
    N_IF,
    N_FOR,
    N_SET,
    N_SET_BLOCK,
    N_MACRO,
    N_CALL_BLOCK,
    N_FILTER_BLOCK,
    N_WITH,
    N_GENERATION,
    N_BREAK,
    N_CONTINUE,
    N_CONST,
    N_NAME,
    N_LIST,
    N_TUPLE,
    N_DICT,
    N_ATTR,
    N_ITEM,
    N_SLICE,
    N_CALL,
    N_FILTER,
    N_TEST,
    N_COND,
    N_AND,
    N_OR,
    N_NOT,
    N_NEG,
    N_POS,
    N_BINARY,
    N_CONCAT,
    N_COMPARE
} tnode_kind;

/* Operators, also as tokens. */
typedef enum top {
    OP_NONE,
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_DIV,
    OP_FLOORDIV,
    OP_MOD,
    OP_POW,
    OP_TILDE,
    OP_EQ,
    OP_NE,
    OP_LT,
    OP_LE,
    OP_GT,
    OP_GE,
    OP_IN,
    OP_NOT_IN,
    OP_ASSIGN,
    OP_DOT,
    OP_COMMA,
    OP_COLON,
    OP_PIPE,
    OP_SEMICOLON,
    OP_LPAREN,
    OP_RPAREN,
    OP_LBRACKET,
    OP_RBRACKET,
    OP_LBRACE,
    OP_RBRACE
} top;

typedef struct targs {
    tnode **pos;
    size_t n_pos;
    const tstr **kw_names;
    tnode **kw;
    size_t n_kw;
    tnode *star;      /* *args */
    tnode *star_star; /* **kwargs */
} targs;

typedef struct tsig { /* a macro's or a call block's parameters */
    const tstr *name; /* NULL: a caller */
    uint32_t *params;
    tnode **defaults; /* per parameter; NULL: none */
    size_t n;
    bool varargs; /* the body reads that name */
    bool kwargs;
    bool caller;
} tsig;

/* One shape for every kind; the comments in tmpl_parse.c and tmpl_expr.c say which fields it uses.
 */
struct tnode {
    tnode_kind kind;
    uint32_t line;
    top op;
    bool flag;
    uint32_t name; /* interned */
    tnode *a;
    tnode *b;
    tnode *c;
    tnode **kids;
    top *ops; /* N_COMPARE: one for each kid past the first */
    size_t n;
    const tstr *text;
    tval value;         /* N_CONST */
    const tbuiltin *fn; /* N_FILTER, N_TEST; NULL: no such one, an error when it is reached */
    targs *args;
    tsig *sig;
};

struct tmpl {
    arena mem;
    tnode *root;
    const tstr **names; /* of interned ids */
    size_t n_name;
};

/* Names every template knows by number. */
enum { NAME_LOOP, NAME_CALLER, NAME_VARARGS, NAME_KWARGS, TMPL_N_FIXED_NAMES };

/* ---- tokens ---- */

typedef enum ttoken_kind {
    T_EOF,
    T_DATA,
    T_PRINT_BEGIN,
    T_PRINT_END,
    T_BLOCK_BEGIN,
    T_BLOCK_END,
    T_NAME,
    T_STRING,
    T_NUMBER,
    T_OP
} ttoken_kind;

typedef struct ttoken {
    ttoken_kind kind;
    top op;
    uint32_t line;
    const tstr *text; /* T_DATA, T_NAME, T_STRING */
    tval value;       /* T_NUMBER */
} ttoken;

typedef struct ttokens {
    ttoken *of; /* ends with T_EOF; free with free() */
    size_t n;
    size_t cap;
} ttokens;

/* Strings go to mem. On failure of is still to be freed. */
cama_err tmpl_lex(const char *source, size_t n, arena *mem, ttokens *out, err_info *err);

/* ---- parser ---- */

typedef struct tparser {
    arena *mem;
    const ttoken *tok; /* the current one */
    uint32_t nest;
    uint32_t n_loop; /* loops around that a break may leave */
    tsig *sigs[64];  /* macros around, which a read of caller or varargs marks */
    size_t n_sig;
    const tstr **names;
    size_t n_name;
    size_t cap_name;
    cama_err fail;
    err_info *err;
} tparser;

#define TMPL_MAX_NAMES 10000u /* different ones: they are looked up one by one */
#define TMPL_MAX_NEST 200u    /* parentheses, blocks and the like in the source */

tnode *tmpl_new_node(tparser *p, tnode_kind kind);
/* Gives NULL, so that `return tmpl_syntax(...)` is one line. */
void *tmpl_syntax(tparser *p, const char *fmt, ...) ERR_PRINTF(2, 3);
void *tmpl_parse_nomem(tparser *p);
/* One level deeper (p->nest, which the caller lowers again); false when it may not. */
bool tmpl_descend(tparser *p);
uint32_t tmpl_intern(tparser *p, const tstr *name);
bool tmpl_is_op(const tparser *p, top op);
bool tmpl_is_name(const tparser *p, const char *word);
bool tmpl_skip_op(tparser *p, top op);
bool tmpl_skip_name(tparser *p, const char *word);
bool tmpl_want_op(tparser *p, top op, const char *what);
/* Appends to a list in the arena; cap is what a power of two above *n gives. */
bool tmpl_push_node(tparser *p, tnode ***list, size_t *n, tnode *node);

/* What tmpl_parse_tuple may take. */
enum {
    TUPLE_COND = 1,
    TUPLE_PAREN = 2,
    TUPLE_STOP_IN = 4,
    TUPLE_STOP_RECURSIVE = 8,
    TUPLE_TARGET = 16
};
tnode *tmpl_parse_expression(tparser *p);
tnode *tmpl_parse_tuple(tparser *p, unsigned how);
/* A chain of filters, the first one without its '|' when value is NULL (set and filter blocks). */
tnode *tmpl_parse_filter(tparser *p, tnode *value, bool inlined);
tnode *tmpl_parse_unary(tparser *p);
/* All of the template; NULL with p->fail set. */
tnode *tmpl_parse_body(tparser *p);

/* ---- one render ---- */

typedef struct tvar {
    uint32_t name;
    tval value;
} tvar;

typedef struct tscope {
    struct tscope *up;
    tvar *vars;
    size_t n;
    size_t cap;
    bool captured; /* a macro closed over it: it may not be used again */
} tscope;

struct tloop {
    tlist *items;
    size_t i;
    int64_t depth0;
    const tnode *node; /* of a recursive loop, else NULL */
    tscope *scope;     /* where it was defined */
    tlist *changed;    /* last arguments of changed(); NULL at first */
};

struct tmacro {
    const tsig *sig;
    const tnode *body;
    tscope *scope;
};

struct trun {
    const tmpl *t;
    arena mem;
    uint64_t n_step;
    uint64_t max_steps;
    uint32_t depth; /* calls and blocks */
    uint32_t max_depth;
    uint32_t level; /* C recursion */
    uint32_t line;
    int64_t now_s;
    buf *out;
    tscope *scope;
    tval *globals; /* per interned name; V_ABSENT: unknown */
    char *tail;    /* end of the newest grown string, and the room behind it */
    size_t tail_spare;
    cama_err fail;
    err_info *err;
};

#define TMPL_MAX_LEVEL 1500u       /* C recursion of evaluation, some 300 bytes of stack each */
#define TMPL_MAX_RANGE 100000      /* as jinja2's sandbox */
#define TMPL_MAX_SOURCE (4u << 20) /* bytes of a template */
#define TMPL_TREE_BYTES (64u << 20)

/* Records the first failure; gives an undefined value. */
tval tmpl_fail(trun *r, const char *fmt, ...) ERR_PRINTF(2, 3);
void tmpl_fail_code(trun *r, cama_err code, const char *fmt, ...) ERR_PRINTF(3, 4);
/* Counts work; false once the limit is passed or the render has failed. */
bool tmpl_step(trun *r, size_t n);
/* Around anything that recurses in C. leave only after an enter that gave true. */
bool tmpl_enter(trun *r);
void tmpl_leave(trun *r);

/* tmpl_value.c: making */
void *tmpl_take(trun *r, size_t n);
void *tmpl_take_array(trun *r, size_t n, size_t size);
tval tmpl_none(void);
tval tmpl_bool(bool b);
tval tmpl_int(int64_t i);
tval tmpl_float(double f);
tval tmpl_undef(trun *r, const char *hint);
tval tmpl_undef_attr(trun *r, tval of, const tstr *name);
tval tmpl_str_val(const tstr *s);
tval tmpl_str(trun *r, const char *p, size_t n);        /* copied */
tval tmpl_str_static(trun *r, const char *p, size_t n); /* p outlives the render */
tval tmpl_text(trun *r, const char *literal);
tval tmpl_buf_str(trun *r, buf *b); /* copied; b is done with; its error becomes the render's */
tval tmpl_concat(trun *r, const tstr *a, const tstr *b);
tval tmpl_substr(trun *r, const tstr *s, size_t from_cp, size_t to_cp);
size_t tmpl_byte_at(const tstr *s, size_t cp); /* offset of a code point */
size_t tmpl_count_cp(const char *p, size_t n);
tlist *tmpl_list_new(trun *r, size_t cap);
bool tmpl_list_add(trun *r, tlist *l, tval v);
tval tmpl_list_val(tlist *l);
tval tmpl_tuple_val(tlist *l);
tval tmpl_pair(trun *r, tval a, tval b);
tval tmpl_gen_val(trun *r, tlist *l);
tval tmpl_named_gen(trun *r, tlist *l, const char *type);
tval tmpl_from_json(trun *r, const json_value *j);

/* tmpl_dict.c */
tdict *tmpl_dict_new(trun *r);
bool tmpl_dict_put(trun *r, tdict *d, tval key, tval value);
bool tmpl_dict_get(trun *r, const tdict *d, tval key, tval *out); /* false: absent (or failed) */
bool tmpl_dict_get_text(trun *r, const tdict *d, const tstr *key, tval *out);
bool tmpl_dict_remove(trun *r, tdict *d, tval key, tval *out);

/* tmpl_compare.c: looking */
bool tmpl_truth(trun *r, tval v);
const char *tmpl_type(tval v); /* as Python names it */
bool tmpl_is_str(tval v, const char *text);
bool tmpl_is_number(tval v);   /* bool, int, float */
double tmpl_as_double(tval v); /* of a number */
bool tmpl_is_intlike(tval v);  /* bool, int */
int64_t tmpl_as_int(tval v);   /* of bool, int */
bool tmpl_equal(trun *r, tval a, tval b);
bool tmpl_same(tval a, tval b);                          /* Python's `is` */
int tmpl_order(trun *r, tval a, tval b, const char *op); /* -1, 0, 1 */
bool tmpl_contains(trun *r, tval set, tval v);
/* The elements as a list, which may be v's own: not to be changed. NULL: failed. */
tlist *tmpl_iter(trun *r, tval v);
bool tmpl_has_len(tval v);
tval tmpl_len(trun *r, tval v);
tval tmpl_no_use(trun *r, tval v); /* fails with the text of an undefined value */

/* tmpl_repr.c: str(), repr(), json.dumps() */
void tmpl_put_str(trun *r, tval v, buf *out);
void tmpl_put_repr(trun *r, tval v, buf *out);
const tstr *tmpl_to_str(trun *r, tval v);
const tstr *tmpl_to_repr(trun *r, tval v);
typedef struct tjson_style {
    bool ascii;
    bool sort_keys;
    const tstr *indent; /* NULL: one line */
    const tstr *item;   /* separators */
    const tstr *key;
} tjson_style;
void tmpl_put_json(trun *r, tval v, const tjson_style *style, buf *out);

/* tmpl_op.c, tmpl_attr.c */
tval tmpl_binary(trun *r, top op, tval a, tval b);
tval tmpl_negate(trun *r, tval v);
const tstr *tmpl_escape(trun *r, tval v); /* HTML, unless it is markup */
/* What getattr() of Python finds, without items; V_ABSENT: AttributeError. */
tval tmpl_own_attr(trun *r, tval v, const tstr *name);
tval tmpl_get_attr(trun *r, tval v, const tstr *name);
tval tmpl_get_item(trun *r, tval v, tval key);
tval tmpl_slice(trun *r, tval v, tval start, tval stop, tval step);
/* 'a.b.0' of filters' attribute= arguments; an absent default leaves undefined. */
tval tmpl_get_path(trun *r, tval v, tval path, tval fallback);

/* tmpl_eval.c, tmpl_exec.c, tmpl_call.c */
tval tmpl_eval(trun *r, const tnode *n);
tval tmpl_apply_filter(trun *r, const tnode *filter, tval value);
void tmpl_set_var(trun *r, uint32_t name, tval value);
typedef enum tflow { FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE } tflow;
tflow tmpl_exec(trun *r, const tnode *n);
tscope *tmpl_push_scope(trun *r, tscope *up);
tval tmpl_loop_again(trun *r, tloop *l, tval items);
tval tmpl_call_value(trun *r, tval f, const tval *pos, size_t n_pos, const tkw *kw, size_t n_kw);
tval tmpl_call_node(trun *r, tval f, const targs *args, const tkw *extra, size_t n_extra);
tval tmpl_call_builtin(trun *r, const tbuiltin *f, tcall *c);
tval tmpl_make_macro(trun *r, const tsig *sig, const tnode *body);

/* Tables; NULL: no such name. */
const tbuiltin *tmpl_find(const tbuiltin *table, size_t n, const tstr *name);
const tbuiltin *tmpl_find_filter(const tstr *name);
const tbuiltin *tmpl_find_text_filter(const tstr *name);
const tbuiltin *tmpl_find_test(const tstr *name);
const tbuiltin *tmpl_find_global(const tstr *name);
const tbuiltin *tmpl_find_str_method(const tstr *name);
const tbuiltin *tmpl_find_method(tkind kind, const tstr *name); /* all kinds but V_STR */

/* tmpl_format.c */
tval tmpl_percent(trun *r, const tstr *fmt, tval args);
tval tmpl_format(trun *r, const tstr *fmt, const tcall *c);
tval tmpl_strftime(trun *r, const tstr *fmt);

/* tmpl_unicode.c */
bool tmpl_is_space(uint32_t cp);
bool tmpl_is_alpha(uint32_t cp);
bool tmpl_is_digit(uint32_t cp);
bool tmpl_is_upper(uint32_t cp);
bool tmpl_is_lower(uint32_t cp);
bool tmpl_is_printable(uint32_t cp);
bool tmpl_is_word(uint32_t cp); /* \w of Python's re */
typedef enum tcase {
    CASE_UPPER,
    CASE_LOWER,
    CASE_TITLE,
    CASE_CAPITALIZE,
    CASE_SWAP,
    CASE_FOLD
} tcase;
tval tmpl_recase(trun *r, const tstr *s, tcase how);
/* Without white space, or without chars, at its ends: sides 1 left, 2 right. Shares the bytes. */
tval tmpl_strip(trun *r, const tstr *s, const tstr *chars, unsigned sides);

/* Helpers shared by filters and methods. */
const tstr *tmpl_arg_str(trun *r, tval v, const char *who);
int64_t tmpl_arg_int(trun *r, tval v, int64_t absent, const char *who);
/* Counts what looking for n_what bytes in n may cost at worst. */
bool tmpl_step_search(trun *r, size_t n, size_t n_what);
int64_t tmpl_find_bytes(const char *p, size_t n, const char *what, size_t n_what);
tval tmpl_replace(trun *r, const tstr *s, const tstr *from, const tstr *to, int64_t count);
/* strict: every element must be a string, as for str.join; else each is printed. */
tval tmpl_join(trun *r, const tstr *sep, const tlist *l, bool strict);
/* The lines of s, without their ends unless keep. */
tlist *tmpl_splitlines(trun *r, const tstr *s, bool keep);
/* Stable; keys are sorted and items follow. */
void tmpl_sort(trun *r, tval *keys, tval *items, size_t n, bool reverse);

#endif
