/* A process that makes exactly as many system calls as it is told to.
 *
 *   workload [--wait] [--comm NAME] [--getppid N] [--reads SIZE[,SIZE...]] [--times N] [--sleep-us N] [--gap-us N]
 *            [--forever] [--cycle SIZE[,SIZE...]] [--linger]
 *
 * --wait     print "ready" and begin when a byte comes on standard input
 * --getppid  that many getppid calls
 * --reads    one read of /dev/zero of each size, in turn; --times repeats the list
 * --sleep-us one clock_nanosleep of that length (--times of them)
 * --gap-us   a pause (nanosleep through ppoll) after each getppid
 * --forever  getppid until SIGTERM
 * --cycle    after the nth getppid (from 0) one read of /dev/zero of the nth of these sizes, from the first again after the last
 * --linger   print "done", then stay until standard input is closed
 * At the end it prints the number of getppid calls made.
 *
 * Linked statically and written with raw system calls: nothing else in this program calls read or getppid. It waits with
 * readv and pauses with ppoll, so that traces of read and nanosleep stay exact.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t stopped;
static void stop(int number) { (void)number; stopped = 1; }

static char byte_in(void) {
    char byte = 0;
    struct iovec where = {&byte, 1};
    return readv(0, &where, 1) == 1 ? byte : 0;
}

static void say(const char *text) { (void)!write(1, text, strlen(text)); }

static void pause_for(long microseconds) {
    struct timespec length = {microseconds / 1000000, microseconds % 1000000 * 1000};
    ppoll(NULL, 0, &length, NULL);
}

/* Reads of the size at `at`; where the next one is, or the end of the list. */
static const char *read_size(const char *at) {
    static char buffer[1 << 20];
    static int zero = -1;
    if (zero < 0) zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    char *end;
    long size = strtol(at, &end, 10);
    syscall(SYS_read, zero, buffer, (size_t)size);
    return *end ? end + 1 : end;
}

static void read_sizes(const char *sizes) {
    while (*sizes) sizes = read_size(sizes);
}

int main(int argc, char **argv) {
    long calls = 0, times = 1, sleep_us = 0, gap_us = 0, made = 0;
    int wait = 0, forever = 0, linger = 0, option;
    const char *sizes = "", *cycle = "", *next = "";
    static const struct option options[] = {
        {"wait", no_argument, 0, 'w'},          {"comm", required_argument, 0, 'c'},
        {"getppid", required_argument, 0, 'g'}, {"reads", required_argument, 0, 'r'},
        {"times", required_argument, 0, 't'},   {"sleep-us", required_argument, 0, 's'},
        {"gap-us", required_argument, 0, 'p'},  {"forever", no_argument, 0, 'f'},
        {"linger", no_argument, 0, 'l'},        {"cycle", required_argument, 0, 'y'},
        {0, 0, 0, 0}};
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) switch (option) {
        case 'w': wait = 1; break;
        case 'c': prctl(PR_SET_NAME, optarg, 0, 0, 0); break;
        case 'g': calls = atol(optarg); break;
        case 'r': sizes = optarg; break;
        case 't': times = atol(optarg); break;
        case 's': sleep_us = atol(optarg); break;
        case 'p': gap_us = atol(optarg); break;
        case 'f': forever = 1; break;
        case 'l': linger = 1; break;
        case 'y': cycle = optarg; break;
        default: return 2;
    }
    signal(SIGTERM, stop);
    if (wait) {
        say("ready\n");
        if (!byte_in()) return 1;
    }
    for (; made < calls || (forever && !stopped); made++) {
        syscall(SYS_getppid);
        if (*cycle) next = read_size(*next ? next : cycle);
        if (gap_us) pause_for(gap_us);
    }
    for (long i = 0; i < times; i++) {
        read_sizes(sizes);
        struct timespec length = {sleep_us / 1000000, sleep_us % 1000000 * 1000};
        if (sleep_us) syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &length, NULL);
    }
    if (linger) {
        say("done\n");
        while (byte_in()) {}
    }
    char total[32];
    snprintf(total, sizeof total, "%ld\n", made);
    say(total);
    return 0;
}
