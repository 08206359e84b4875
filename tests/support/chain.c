/* A known chain of calls down to a system call: main -> outer -> middle -> leaf. Waits for a byte first, and for the end of its
 * input last. With LIBRARY only the chain is compiled, with PROGRAM only main. With an argument, main calls a function that it
 * wrote into fresh memory itself, as a just-in-time compiler does, and that calls outer. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define KEPT __attribute__((noinline, noclone))

void outer(void);

#ifndef PROGRAM
volatile int depth;

KEPT void leaf(void)
{
	long result = 110; /* getppid */
	__asm__ volatile("syscall" : "+a"(result) : : "rcx", "r11", "memory");
	depth += result != 0;
}

KEPT void middle(void)
{
	leaf();
	depth++;
}

KEPT void outer(void)
{
	middle();
	depth++;
}
#endif

#ifndef LIBRARY
static void written(void)
{
	/* push %rbp; mov %rsp,%rbp; movabs $outer,%rax; call *%rax; pop %rbp; ret */
	unsigned char code[] = {0x55, 0x48, 0x89, 0xe5, 0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xd0, 0x5d, 0xc3};
	void (*function)(void) = outer;
	char path[64];
	void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memcpy(code + 6, &function, 8);
	memcpy(memory, code, sizeof code);
	snprintf(path, sizeof path, "/tmp/perf-%d.map", getpid());
	FILE *map = fopen(path, "w");
	fprintf(map, "%lx %zx made up at run time\n", (unsigned long)memory, sizeof code);
	fclose(map);
	((void (*)(void))memory)();
	__asm__ volatile("" : : : "memory"); /* no tail call */
}

int main(int argc, char **argv)
{
	char byte;

	puts("ready");
	fflush(stdout);
	if (read(0, &byte, 1) != 1)
		return 1;
	if (argc > 1)
		written();
	else
		outer();
	puts("done");
	fflush(stdout);
	while (read(0, &byte, 1) == 1)
		;
	return 0;
}
#endif
