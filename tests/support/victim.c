/* A program to be traced: known functions, called with known arguments.
 *
 *   victim [TIMES]      prints "ready", waits for a byte on standard input, makes its calls, prints "done", waits for the end of input
 *
 * Built without optimisation by the tests, so that every function is called as it is written.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct point {
    int32_t x;
    int64_t y;
    const char *name;
};

__attribute__((noinline)) uint64_t six(uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f) {
    return a + b + c + d + e + f;
}

__attribute__((noinline)) int64_t negative(int64_t n) { return -n; }

__attribute__((noinline)) int text(const char *words, uint64_t length) { return words ? words[0] + (int)length : -1; }

__attribute__((noinline)) const char *choose(int which) { return which ? "chosen" : "other"; }

__attribute__((noinline)) int64_t look(const struct point *p) { return p->x + p->y; }

int main(int argc, char **argv) {
    int times = argc > 1 ? atoi(argv[1]) : 1;
    char byte;
    static const struct point here = {-3, 1LL << 40, "a point"};
    (void)!write(1, "ready\n", 6);
    if (read(0, &byte, 1) != 1) return 1;
    for (int i = 0; i < times; i++) {
        six(1, 2, 3, 4, 5, 1ULL << 63);
        negative(i);
        text("some words", 4);
        text(NULL, 0);
        choose(i % 2);
        look(&here);
    }
    (void)!write(1, "done\n", 5);
    return read(0, &byte, 1) == 1;
}
