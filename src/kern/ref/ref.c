#include "kern/ref/ref.h"

void kern_init_ref(kern_table *k)
{
    k->tier = "reference";
    k->row_step = 1;
    k->w_step = 1;
    ref_init_matmul(k);
    ref_init_rows(k);
    ref_init_act(k);
    ref_init_kv(k);
    ref_init_state(k);
}
