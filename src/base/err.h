/* err.h - operating errors as values.
 *
 * A function that can fail returns cama_err and takes an err_info of its caller, which may be NULL.
 * The text names the thing, the value and the limit: "tensor 'blk.3.ffn_up' ends at 912, past the
 * file's 800 bytes". Nothing here allocates.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdarg.h>

#include "cama.h"

#define ERR_TEXT_BYTES CAMA_ERROR_BYTES

typedef cama_error err_info; /* its text is cut at a whole UTF-8 character */

#if defined(__GNUC__)
#define ERR_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define ERR_PRINTF(fmt, args)
#endif

/* Fills *err (when not NULL) and returns code, so that a failing path is one line. What could steer
 * a terminal, and what is no UTF-8, is written as '?': names in the text come from files. */
cama_err err_set(err_info *err, cama_err code, const char *fmt, ...) ERR_PRINTF(3, 4);
/* The same for a function that has `...` of its own. */
cama_err err_vset(err_info *err, cama_err code, const char *fmt, va_list args) ERR_PRINTF(3, 0);

/* Puts "fmt...: " before the text that a lower room left; code is kept and returned. */
cama_err err_wrap(err_info *err, cama_err code, const char *fmt, ...) ERR_PRINTF(3, 4);

#ifdef __clang_analyzer__ /* it does not look into err.c: what comes back is the code itself */
#define err_set(err, code, ...) (err_set(err, code, __VA_ARGS__), (code))
#define err_vset(err, code, fmt, args) (err_vset(err, code, fmt, args), (code))
#define err_wrap(err, code, ...) (err_wrap(err, code, __VA_ARGS__), (code))
#endif

#endif
