/* The header alone, twice, and from a second unit (twice.c is compiled and linked beside api.c). */
#include <medsegx.h>
#include <medsegx.h>

uint32_t abi_of_the_second_unit(void);
uint32_t abi_of_the_second_unit(void) { return medsegx_abi_version(); }
