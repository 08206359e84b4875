// What is measured has to run in small processes of its own: a child's peak memory counts what its parent had when it forked.
//
//   meter time FD CMD ARG...    run a command; write its wall time in ns and its exit status to a descriptor
//   meter weigh FD CMD ARG...   run a command; write its peak memory in KiB and its exit status to a descriptor: the resident memory of the
//                               command and all its descendants together, looked at every millisecond
//   meter calls CPU COUNT       make COUNT getppid calls on one CPU
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int exit_status(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128; }

static pid_t start(int report, char **command) {
  fcntl(report, F_SETFD, FD_CLOEXEC);
  pid_t child = fork();
  if (child == 0) {
    execvp(command[0], command);
    _exit(127);
  }
  return child;
}

static int measure_time(int report, char **command) {
  int status;
  long long before = now_ns();
  pid_t child = start(report, command);
  if (child < 0 || waitpid(child, &status, 0) != child) return 1;
  dprintf(report, "%lld %d\n", now_ns() - before, exit_status(status));
  return 0;
}

// Pages that a parent and its forked child share count twice; the figure is then too high, never too low.
static long resident_kib(pid_t pid) {
  char path[64];
  long pages = 0, total = 0, child;
  snprintf(path, sizeof path, "/proc/%d/statm", pid);
  FILE *file = fopen(path, "r");
  if (!file) return 0;
  if (fscanf(file, "%*d %ld", &pages) == 1) total = pages * (sysconf(_SC_PAGESIZE) / 1024);
  fclose(file);
  snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid, pid);
  if (!(file = fopen(path, "r"))) return total;
  while (fscanf(file, "%ld", &child) == 1) total += resident_kib(child);
  fclose(file);
  return total;
}

static int measure_memory(int report, char **command) {
  struct timespec pause = {.tv_nsec = 1000000};
  struct rusage used;
  long peak = 0, now;
  int status;
  pid_t child = start(report, command), ended;
  if (child < 0) return 1;
  while ((ended = wait4(child, &status, WNOHANG, &used)) == 0) {
    if ((now = resident_kib(child)) > peak) peak = now;
    nanosleep(&pause, NULL);
  }
  if (ended != child) return 1;
  if (used.ru_maxrss > peak) peak = used.ru_maxrss;  // the largest process, between two looks
  dprintf(report, "%ld %d\n", peak, exit_status(status));
  return 0;
}

static int calls(int cpu, long count) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  if (sched_setaffinity(0, sizeof one, &one)) return 1;
  while (count-- > 0) syscall(SYS_getppid);
  return 0;
}

int main(int argc, char **argv) {
  if (argc > 3 && !strcmp(argv[1], "time")) return measure_time(atoi(argv[2]), argv + 3);
  if (argc > 3 && !strcmp(argv[1], "weigh")) return measure_memory(atoi(argv[2]), argv + 3);
  if (argc == 4 && !strcmp(argv[1], "calls")) return calls(atoi(argv[2]), atol(argv[3]));
  fprintf(stderr, "usage: meter time|weigh FD CMD ARG... | meter calls CPU COUNT\n");
  return 2;
}
