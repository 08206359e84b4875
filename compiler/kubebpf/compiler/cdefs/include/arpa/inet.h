/* The C library's header where the machine has it; else the kernel's types are enough. */
#if __has_include_next(<arpa/inet.h>)
#include_next <arpa/inet.h>
#else
#include <stdint.h>
#include <sys/socket.h>
#endif
