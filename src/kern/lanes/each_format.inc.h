/* each_format.inc.h - FORMAT_BODY once for each format that formats.inc.h has a step for, with
 * FORMAT as its name. FORMAT_QUADS: the format has a step for four blocks together. */

#define FORMAT Q4_0
#include FORMAT_BODY
#define FORMAT Q4_1
#define FORMAT_QUADS
#include FORMAT_BODY
#define FORMAT Q5_0
#include FORMAT_BODY
#define FORMAT Q5_1
#include FORMAT_BODY
#define FORMAT Q8_0
#include FORMAT_BODY
#define FORMAT IQ4_NL
#include FORMAT_BODY
#define FORMAT Q4_K
#include FORMAT_BODY
#define FORMAT Q5_K
#include FORMAT_BODY
#define FORMAT Q6_K
#include FORMAT_BODY
#define FORMAT A4G64_F32
#include FORMAT_BODY
#define FORMAT A4G64_F16
#include FORMAT_BODY
#define FORMAT A4G64_BF16
#include FORMAT_BODY
#define FORMAT A8G64_F32
#include FORMAT_BODY
#define FORMAT A8G64_F16
#include FORMAT_BODY
#define FORMAT A8G64_BF16
#include FORMAT_BODY

#undef FORMAT_BODY
