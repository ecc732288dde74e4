#include "proxy/cli/cli.h"

int main(int argc, char** argv) { return dragoman::cli_main(argc, argv); }
