/* The C library's header where the machine has it; else the kernel's types are enough. */
#if __has_include_next(<sys/types.h>)
#include_next <sys/types.h>
#else
#include <stddef.h>
#include <stdint.h>
#endif
