/* A process of which everything is known: its name, its calls, its functions' arguments, its stack.
 *
 *   work            all of it once
 *   work wait       a getppid, then it sleeps until a signal ends it
 *   work send       a datagram of 32 known bytes to itself over the loopback device, three times
 *
 * Built without optimisation and with frame pointers.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define APART __attribute__((noinline, noclone))

uint32_t word = 77;
uint8_t tiny = 7;
uint16_t half = 300;
uint64_t whole = 1ULL << 40;
uint32_t table[3] = {10, 20, 30};
char nowhere[] = "/nowhere/at all";
const char *greeting = "a greeting";

APART long leaf(void) {
    long made;
    __asm__ volatile("syscall" : "=a"(made) : "0"(SYS_getppid) : "rcx", "r11", "memory");
    return made;
}
APART long middle(void) { return leaf() + 0; }
APART long outer(void) { return middle() + 0; }
APART int text(const char *words, uint64_t length) { return words[0] + (int)length; }
APART uint64_t six(uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f) { return a + b + c + d + e + f; }
APART void address(const unsigned char *mac, const unsigned char *six, const uint32_t *four) { (void)mac; (void)six; (void)four; }

static void send_datagrams(void) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(47811), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bind(one, (struct sockaddr *)&to, sizeof to);
    for (int i = 0; i < 3; i++) sendto(one, "thirty-two bytes that are known.", 32, 0, (struct sockaddr *)&to, sizeof to);
}

int main(int argc, char **argv) {
    static const unsigned char mac[6] = {0x18, 0xc0, 0x4d, 0x08, 0x2e, 0xbb};
    static const unsigned char v6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1};
    static const uint32_t v4 = 0x0100007f;
    prctl(PR_SET_NAME, "known name");
    if (argc > 1 && !strcmp(argv[1], "wait")) {
        outer();
        sleep(5);
        return 1;
    }
    if (argc > 1 && !strcmp(argv[1], "send")) {
        send_datagrams();
        return 0;
    }
    outer();
    (void)!open(nowhere, O_PATH | O_CLOEXEC);
    text("some words", 4);
    six(1, 2, 3, 4, 5, 6);
    address(mac, v6, &v4);
    return 0;
}
