/* gotmpl_int.h - inside the interpreter of Go's text/template: tree, values, one render.
 *
 *     source -> gotmpl_lex.c -> tokens -> gotmpl_parse.c, gotmpl_expr.c -> tree of gnode
 *     tree + data -> gotmpl_exec.c (actions), gotmpl_eval.c (pipelines) -> text
 *
 * A template shows the types of the data it runs over: errors name them, printing follows them, and
 * a value that is held by an interface behaves otherwise than the same value alone. So a gval has
 * the type it would have in Go, and `iface` says that it is seen through interface{}.
 * Errors stick: the first one of a parse or a render is kept, later steps give nothing at once.
 * All that a render makes lies in its arena. The tree lies in the template's arena.
 */
#ifndef CHAT_GOTMPL_INT_H
#define CHAT_GOTMPL_INT_H

#include "chat/gotmpl.h"

#include "base/arena.h"

#define GOTMPL_MAX_SOURCE (4u << 20)
#define GOTMPL_MAX_NEST 200u           /* blocks, else ifs and parentheses inside each other */
#define GOTMPL_MAX_VARS 500u           /* variables in one scope: they are looked up one by one */
#define GOTMPL_MAX_DEFINED 1000u       /* templates in one source, likewise */
#define GOTMPL_MAX_TREE (512u << 20)   /* bytes of the tree of a template */
#define GOTMPL_ERROR_BYTES (64u << 10) /* of a value or a node in an error, before it is cut */
#define GOTMPL_MAX_WIDTH 1000000       /* of a printf verb, as in Go */

typedef struct gstr {
    const char *p;
    size_t n;
} gstr;
#define GSTR(literal) ((gstr){(literal), sizeof(literal) - 1})
bool gstr_is(gstr s, const char *text);
bool gstr_same(gstr a, gstr b);

/* ---- types and values ---- */

typedef enum gkind {
    G_BOOL,
    G_INT,
    G_UINT8,
    G_FLOAT,
    G_COMPLEX,
    G_STRING,
    G_SLICE,
    G_MAP,
    G_STRUCT,
    G_PTR
} gkind;

typedef struct gtype gtype;
typedef struct gfield {
    const char *name;
    const char *key;   /* in JSON */
    bool omit_empty;   /* in JSON */
    const gtype *type; /* NULL: interface{} */
} gfield;

typedef enum gstringer { GS_NONE, GS_JSON, GS_PROPERTY_TYPE } gstringer;

struct gtype {
    gkind kind;
    const char *name;
    const gtype *elem; /* slices, maps (whose keys are strings), pointers; NULL: interface{} */
    const gfield *fields;
    size_t n_field;
    gstringer stringer; /* what its String method gives */
    bool in_order;      /* a map that keeps the order of its keys */
    bool script_type;   /* it has a method ToTypeScriptType */
    bool json_unwrap;   /* a list of one is written as its element */
};

typedef struct gval gval;
typedef struct gentry gentry;

struct gval {
    const gtype *type; /* NULL and !iface: no value at all; NULL and iface: a nil interface */
    bool iface;
    bool nil; /* slices, maps, pointers */
    union {
        bool b;
        int64_t i; /* G_INT, G_UINT8 */
        double f;
        struct {
            double re;
            double im;
        } c;
        gstr s;
        struct {
            const gval *items;
            size_t n;
            size_t cap;
        } l;
        struct {
            const gentry *entries; /* sorted by key, but for types that keep their order */
            size_t n;
        } m;
        const gval *fields; /* G_STRUCT: as many as its type has */
        const gval *ref;    /* G_PTR */
    } u;
};

struct gentry {
    gstr key;
    gval value;
};

extern const gtype gotmpl_bool, gotmpl_int, gotmpl_uint8, gotmpl_float, gotmpl_complex,
    gotmpl_string, gotmpl_any_slice, gotmpl_any_map;
extern const gtype gochat_property_type; /* of a tool's parameter; it holds others of its kind */

gval gval_none(void);
gval gval_bool(bool b);
gval gval_int(int64_t i);
gval gval_float(double f);
gval gval_string(gstr s);
gval gval_zero(const gtype *type);                                /* NULL: a nil interface */
gval gval_of_json(arena *mem, const json_value *v, bool *out_ok); /* as Go reads it into any */
/* Sorts the entries of a map that was just made. */
void gval_sort(gentry *entries, size_t n);

const char *gval_type_name(gval v);    /* of its static type */
gval gval_unwrap(gval v);              /* what an interface holds */
gval gval_indirect(gval v, bool *nil); /* through pointers and interfaces */
bool gval_true(gval v);
bool gval_is_nil(gval v);
bool gval_lookup(gval map, gstr key, gval *out); /* false: absent */
gval gval_elem(gval list, size_t i);
gval gval_field(gval v, size_t i); /* of a struct */

/* ---- tree ---- */

typedef enum gnode_kind {
    GN_TEXT,
    GN_ACTION,
    GN_BOOL,
    GN_CHAIN,
    GN_COMMAND,
    GN_DOT,
    GN_ELSE,
    GN_END,
    GN_FIELD,
    GN_IDENT,
    GN_IF,
    GN_LIST,
    GN_NIL,
    GN_NUMBER,
    GN_PIPE,
    GN_RANGE,
    GN_STRING,
    GN_TEMPLATE,
    GN_VARIABLE,
    GN_WITH,
    GN_BREAK,
    GN_CONTINUE
} gnode_kind;

typedef struct gnumber {
    bool is_int;
    bool is_uint;
    bool is_float;
    bool is_complex;
    int64_t i;
    double f;
    double im; /* the real part is f */
} gnumber;

typedef struct gfunc gfunc;
typedef struct gnode gnode;

struct gnode {
    gnode_kind kind;
    bool flag;    /* GN_BOOL: its value; GN_PIPE: assigns, does not declare */
    uint32_t pos; /* byte in the source */
    gnode *pipe;  /* action, if, range, with, template; of a chain what it begins with */
    gnode *list;  /* if, range, with */
    gnode *other; /* else */
    gnode **kids; /* list: nodes; pipe: commands; command: its words */
    size_t n;
    gnode **decl; /* pipe: variables */
    size_t n_decl;
    gstr *idents; /* field, variable, chain */
    size_t n_ident;
    gstr text;   /* text, string (unquoted), function, template's name, number as written */
    gstr quoted; /* string as written */
    gnumber number;
    const gfunc *fn;
};

typedef struct gtree {
    gstr name;
    gnode *root; /* a list */
} gtree;

struct gotmpl {
    arena mem;
    gstr source;
    gtree *trees; /* the unnamed one is the template itself */
    size_t n_tree;
    gnode *root;
    gnode *root_cut;   /* root up to .Response, for the last turn of a legacy template */
    bool add_response; /* names neither .Messages nor .Response */
};

/* What a node looks like in an error: Go's Node.String(). */
void gotmpl_print_node(const gnode *n, buf *out);
bool gotmpl_empty_tree(const gnode *n);

/* ---- tokens ---- */

typedef enum gtoken_kind {
    GT_ERROR,
    GT_BOOL,
    GT_CHAR,
    GT_CHAR_CONST,
    GT_COMPLEX,
    GT_ASSIGN,
    GT_DECLARE,
    GT_EOF,
    GT_FIELD,
    GT_IDENT,
    GT_LEFT_DELIM,
    GT_LEFT_PAREN,
    GT_NUMBER,
    GT_PIPE,
    GT_RAW_STRING,
    GT_RIGHT_DELIM,
    GT_RIGHT_PAREN,
    GT_SPACE,
    GT_STRING,
    GT_TEXT,
    GT_VARIABLE,
    GT_KEYWORD, /* only a mark: what follows are keywords */
    GT_BLOCK,
    GT_BREAK,
    GT_CONTINUE,
    GT_DOT,
    GT_DEFINE,
    GT_ELSE,
    GT_END,
    GT_IF,
    GT_NIL,
    GT_RANGE,
    GT_TEMPLATE,
    GT_WITH
} gtoken_kind;

typedef struct gtoken {
    gtoken_kind kind;
    uint32_t pos;
    uint32_t line;
    gstr text; /* GT_ERROR: the error */
} gtoken;

typedef struct glexer {
    gstr in;
    size_t pos;
    size_t start;
    uint32_t line;
    uint32_t start_line;
    uint32_t parens;
    bool in_action;
    char error[160];
} glexer;

void gotmpl_lex_init(glexer *l, gstr source);
/* After an error it gives GT_EOF for ever. Texts point into the source, or into l for an error. */
gtoken gotmpl_lex_next(glexer *l);

/* ---- parser ---- */

/* A source has one lexer and one look-ahead; each definition in it has its own variables. */
typedef struct gparser {
    arena *mem;
    glexer lex;
    gtoken tok[3];
    int n_peek;
    uint32_t action_line;
    uint32_t n_range; /* ranges around that a break may leave */
    uint32_t nest;
    gstr *vars;
    size_t n_var;
    size_t cap_var;
    gtree *trees;
    size_t n_tree;
    size_t cap_tree;
    cama_err fail;
    err_info *err;
} gparser;

gtoken gparse_next(gparser *p);
void gparse_backup(gparser *p);
void gparse_backup2(gparser *p, gtoken t1);
void gparse_backup3(gparser *p, gtoken t2, gtoken t1);
gtoken gparse_peek(gparser *p);
gtoken gparse_next_solid(gparser *p); /* not white space */
gtoken gparse_peek_solid(gparser *p);
/* All give NULL, so that `return gparse_error(...)` is one line. */
void *gparse_error(gparser *p, const char *fmt, ...) ERR_PRINTF(2, 3);
void *gparse_unexpected(gparser *p, gtoken t, const char *context);
void *gparse_nomem(gparser *p);
bool gparse_descend(gparser *p); /* p->nest, which the caller lowers again */
gnode *gparse_node(gparser *p, gnode_kind kind, uint32_t pos);
/* A growing list in the arena. */
bool gparse_push(gparser *p, gnode ***list, size_t *n, gnode *node);
bool gparse_push_var(gparser *p, gstr name);
/* Fills trees and root of t from its source. */
cama_err gotmpl_parse(gotmpl *t, err_info *err);
/* `{{ ... end`: the pipeline up to a token of kind end, which is eaten. */
gnode *gparse_pipeline(gparser *p, const char *context, gtoken_kind end);
/* strconv.Unquote; false after an error was set. */
bool gparse_unquote(gparser *p, gstr quoted, gstr *out);

/* ---- Go's strconv ---- */

/* NULL, or the error's text (may point into text_buf). */
const char *gotmpl_number(gstr text, gtoken_kind kind, gnumber *out, char text_buf[128]);
/* Without the quotes around, into out (of at least n bytes); false: invalid syntax. */
bool gotmpl_unquote(gstr quoted, char *out, size_t *out_n);
void gotmpl_quote(gstr s, bool ascii_only, buf *out);
void gotmpl_quote_rune(uint32_t cp, bool ascii_only, buf *out);
bool gotmpl_is_print(uint32_t cp);
bool gotmpl_is_space(uint32_t cp); /* unicode.IsSpace */
bool gotmpl_is_word(uint32_t cp);  /* what identifiers are made of */
/* One code point as Go decodes it: a bad byte is U+FFFD of width 1. */
size_t gotmpl_decode(gstr s, size_t at, uint32_t *out_cp);
/* strconv.FormatFloat(f, fmt, -1, 64): the shortest digits that read back; fmt 'e', 'f' or 'g'. */
void gotmpl_float_text(double f, char fmt, char out[400]);

/* ---- render ---- */

typedef struct gvar {
    gstr name;
    gval value;
} gvar;

typedef struct grun {
    const gotmpl *t;
    gstr tree_name;    /* of the template that runs */
    const gnode *node; /* where errors happen */
    arena mem;
    buf *out;
    gvar *vars;
    size_t n_var;
    size_t cap_var;
    size_t base; /* the first variable of this template */
    uint64_t n_step;
    uint64_t max_steps;
    uint32_t depth;
    uint32_t max_depth;
    int64_t now_s;
    cama_err fail;
    err_info *err;
    bool call_failed; /* a function's own error, until its caller has told it */
    char call_error[512];
} grun;

gval grun_fail(grun *r, const char *fmt, ...) ERR_PRINTF(2, 3);
gval grun_nomem(grun *r);
/* One level deeper; who enters lowers r->depth again. */
bool grun_enter(grun *r);
gval grun_limit(grun *r, const char *fmt, ...) ERR_PRINTF(2, 3);
/* The error of a function called by the template. */
gval grun_call_fail(grun *r, const char *fmt, ...) ERR_PRINTF(2, 3);
bool grun_step(grun *r);                  /* false when no more may be done */
void grun_charge(grun *r, size_t n_byte); /* steps for work on so many bytes */
/* A scratch buffer for text that becomes a value, and its text in the arena. */
gval grun_text(grun *r, buf *b);

/* One pipeline; gotmpl_exec.c calls it for each action. */
gval geval_pipeline(grun *r, gval dot, const gnode *pipe);
void geval_push(grun *r, gstr name, gval v);
void geval_set(grun *r, gstr name, gval v);

typedef enum gparam { GP_VALUE, GP_ANY, GP_STRING } gparam;

struct gfunc {
    const char *name;
    gval (*fn)(grun *r, const gval *argv, size_t n);
    uint8_t n_fixed;
    bool variadic;
    gparam fixed;
    gparam rest;
};

const gfunc *gotmpl_find_func(gstr name);
gval gotmpl_script_type(grun *r, gval property);

/* ---- printing: Go's fmt and encoding/json ---- */

typedef struct gformat {
    buf *out;
    bool minus;
    bool plus;
    bool sharp;
    bool space;
    bool zero;
    bool plus_v;
    bool sharp_v;
    bool has_width;
    bool has_prec;
    int width;
    int prec;
} gformat;

void gfmt_pad(const gformat *f, gstr s);
void gfmt_integer(const gformat *f, uint64_t u, bool negative,
                  uint32_t verb);                                     /* b c d o O q U x X v */
void gfmt_float(const gformat *f, double v, uint32_t verb, int prec); /* prec -1: the shortest */
void gfmt_text(const gformat *f, gstr s, uint32_t verb);              /* s q x X v */

void gotmpl_print(gval v, buf *out); /* %v */
void gotmpl_print_verb(gval v, char verb, buf *out);
void gotmpl_sprint(const gval *argv, size_t n, bool line, buf *out);
void gotmpl_sprintf(gstr fmt, const gval *argv, size_t n, buf *out);
void gotmpl_stringer(gval v, buf *out); /* of a type that has one */
/* false: json.Marshal would refuse it. */
bool gotmpl_json(gval v, buf *out);
void gotmpl_print_action(gval v, buf *out);

typedef struct gexec_opts {
    const gnode *root;
    gval data;
    int64_t now_s;
    const tmpl_limits *limits;
} gexec_opts;

/* Appends to out what root makes of the data. */
cama_err gotmpl_exec(const gotmpl *t, const gexec_opts *o, buf *out, err_info *err);

#endif
