/* A program with usdt probes, parameters of all kinds, and symbols, for tests; `targets VALUE` makes each call once. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What <sys/sdt.h> makes, with the operands as written. */
#define USDT(name, semaphore, operands) \
    "990: nop\n.pushsection .note.stapsdt,\"?\",\"note\"\n.balign 4\n.4byte 992f-991f, 994f-993f, 3\n" \
    "991: .asciz \"stapsdt\"\n992: .balign 4\n993: .8byte 990b, _.stapsdt.base, " semaphore "\n" \
    ".asciz \"app\"\n.asciz \"" name "\"\n.asciz \"" operands "\"\n994: .balign 4\n.popsection\n" \
    ".ifndef _.stapsdt.base\n.pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n.weak _.stapsdt.base\n" \
    ".hidden _.stapsdt.base\n_.stapsdt.base: .space 1\n.size _.stapsdt.base, 1\n.popsection\n.endif\n"
#define USED asm volatile("" ::: "memory")
#define APART __attribute__((noinline, noclone))

unsigned short users __attribute__((section(".probes"), used));
int word = 77;
unsigned char tiny = 7;
static const int table[] = {10, 20, 30};

enum color { RED, GREEN = 5 };
struct inner { int8_t a; uint16_t b; };
struct big { long x[4]; int tail; };
struct pair { int first; short second; char name[8]; };
struct bits { unsigned a : 3; int b : 5; unsigned long c : 40; };
struct node { int value; struct node *next; struct inner in; char text[8]; union { int whole; char low; }; };

APART int ints(int8_t a, uint8_t b, short c, unsigned d, long e, bool f, int g, int8_t h) { USED; return a + b + c + d + e + f + g + h; }
APART int pointers(const char *s, struct node *n, int *array, enum color c) { USED; return n->value + array[0] + c + s[0]; }
APART int values(struct inner i, struct big b, struct pair p, double d, int last) { USED; return i.a + b.tail + p.first + d + last; }
APART struct big returned(int x, struct bits *b) { USED; struct big r = {{x + b->b}}; return r; }

APART void places(int x) {
    asm volatile(USDT("places", "0", "-4@%[x]") ::[x] "r"(x));
    asm volatile(USDT("places", "0", "-4@$-5"));
}

APART void forms(void) {
    asm volatile(USDT("forms", "0",
        "-1@%%al 1@%%al -2@%%ax 2@%%ax -4@%%eax 4@%%eax -8@%%rax -4@$-9 -4@4(%%rbx) 2@(%%rbx,%%rcx,4) 1@%%ah -4@word(%%rip)")
        ::"a"(-2l), "b"(table), "c"(2l));
    asm volatile(USDT("floating", "0", "8f@%%xmm0 -4@$3")::);
}

int main(int argc, char **argv) {
    int x = argc > 1 ? atoi(argv[1]) : 1;
    struct node two = {2, 0, {3, 4}, "two", {7}}, one = {1, &two, {-5, 6}, "one", {66}};
    struct inner i = {-1, 2};
    struct big b = {{1, 2, 3, 4}, 9};
    struct pair p = {11, 12, "pair"};
    struct bits bits = {5, -7, 1ul << 35};
    int array[] = {10, 20, 30};
    ints(-1, 255, -300, 4000000000u, -5, true, -77, -8);
    pointers("a string", &one, array, GREEN);
    values(i, b, p, 1.5, 42);
    returned(33, &bits);
    places(x);
    forms();
    if (users)
        asm volatile(USDT("guarded", "users", "8@%[s]") ::[s] "r"("guarded text"));
    printf("%d\n", users);
    return 0;
}
