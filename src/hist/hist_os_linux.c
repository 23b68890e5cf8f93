#include "hist/hist_int.h"

const char hist_os_folder[] = ".local/share";
const char *const hist_os_variable = "XDG_DATA_HOME";
