/* The C library's header where the machine has it; else the kernel's types are enough. */
#if __has_include_next(<netinet/in.h>)
#include_next <netinet/in.h>
#else
#include <stdint.h>
#include <sys/socket.h>
#endif
