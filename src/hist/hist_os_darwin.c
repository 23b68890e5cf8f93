#include "hist/hist_int.h"

const char hist_os_folder[] = "Library/Application Support";
const char *const hist_os_variable = NULL;
