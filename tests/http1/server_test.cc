#include "tests/http1/http1_support.h"
