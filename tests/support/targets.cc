// Functions of C++ for tests: overloads, methods, base classes, templates.
#include <cstdio>
#define USED asm volatile("" ::: "memory")
namespace ns {
struct Base { int base; };
struct Object : Base {
    int x;
    const char *name;
    __attribute__((noinline)) int get(int by) { USED; return x + by; }
};
__attribute__((noinline)) int f(int a) { USED; return a; }
__attribute__((noinline)) int f(char a, const Object &o) { USED; return a + o.x; }
template <class T> __attribute__((noinline)) T twice(T a) { USED; return a + a; }
}
int main() {
    ns::Object o;
    o.base = 3, o.x = 4, o.name = "object";
    std::printf("%d %d %d %ld\n", ns::f(1), ns::f(2, o), o.get(7), ns::twice<long>(9));
}
