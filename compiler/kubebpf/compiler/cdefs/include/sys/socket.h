/* The C library's header where the machine has it, else the constants alone. */
#if __has_include_next(<sys/socket.h>)
#include_next <sys/socket.h>
#else
#include <linux/socket.h>
#endif
