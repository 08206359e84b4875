/* A program for the image of a container: for every byte on standard input it calls `sell` and passes its usdt probe once.
 * With an argument it waits for one byte, then sells all the time, with pauses of so many microseconds, until
 * standard input is closed, and prints how often it did. Linked statically, so that one file is a whole image. */
#define _GNU_SOURCE
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PROBE(value) \
    asm volatile("990: nop\n.pushsection .note.stapsdt,\"?\",\"note\"\n.balign 4\n.4byte 992f-991f, 994f-993f, 3\n" \
                 "991: .asciz \"stapsdt\"\n992: .balign 4\n993: .8byte 990b, _.stapsdt.base, 0\n" \
                 ".asciz \"shop\"\n.asciz \"sale\"\n.asciz \"-4@%[v]\"\n994: .balign 4\n.popsection\n" \
                 ".ifndef _.stapsdt.base\n.pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n" \
                 ".weak _.stapsdt.base\n.hidden _.stapsdt.base\n_.stapsdt.base: .space 1\n.size _.stapsdt.base, 1\n" \
                 ".popsection\n.endif\n" ::[v] "r"(value))

__attribute__((noinline, noclone)) int sell(int price) {
    asm volatile("" ::: "memory");
    PROBE(price);
    return price;
}

static int sell_until_closed(long pause_us) {
    char byte;
    if (read(0, &byte, 1) != 1) return 1;
    struct pollfd input = {0, POLLIN, 0};
    struct timespec pause = {pause_us / 1000000, pause_us % 1000000 * 1000};
    long sold = 0;
    for (; ppoll(&input, 1, &pause, NULL) == 0; sold++) sell('*');
    printf("%ld\n", sold);
    return 0;
}

int main(int argc, char **argv) {
    char byte;
    (void)!write(1, "ready\n", 6);
    if (argc > 1) return sell_until_closed(atol(argv[1]));
    while (read(0, &byte, 1) == 1) {
        sell(byte);
        (void)!write(1, "sold\n", 5);
    }
    return 0;
}
