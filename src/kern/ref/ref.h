/* ref.h - the reference tier: every slot of kern.h in plain C, the slow obvious way.
 *
 * It is the definition that the other tiers are tested against, and what they fall back to for
 * slots that they do not overwrite. kern_init_ref fills the table from these pieces.
 */
#ifndef KERN_REF_REF_H
#define KERN_REF_REF_H

#include "kern/kern.h"

void kern_init_ref(kern_table *k);

/* For tiers that leave a rare case to the reference. */
void ref_act(kern_act_fn fn, const float *x, size_t n, float *out);
void ref_glu(kern_act_fn fn, const float *gate, const float *up, size_t n, float *out);
void ref_delta(const kern_delta *d);
void ref_attend(const kern_attend *a);

/* The parts, one a file. */
void ref_init_matmul(kern_table *k);
void ref_init_rows(kern_table *k);
void ref_init_act(kern_table *k);
void ref_init_kv(kern_table *k);
void ref_init_state(kern_table *k);

#endif
