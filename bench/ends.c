// SPDX-License-Identifier: MIT
// The ends of a tunnel in C: what bench/endpoints.py does in Python, for less of the processors.
//
//   ends serve                             answers on a port of its own, which it prints first
//   ends churn COUNT BESIDE PORT BEHIND    opens, uses and closes COUNT connections, BESIDE at a time
//   ends flows COUNT EACH PORT             downloads EACH bytes by COUNT connections at once
//
// The last two print the seconds that they took. A BEHIND that is not 0 is asked for by SOCKS 5. What is
// said on a connection stands in endpoints.py. One thread each, on epoll; both sides are on this machine.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 256 << 10, WISH = 9, ECHO = 4096, EVENTS = 64, MOST = 1 << 16 };

static const char SAID[] = "a few words that come back";
enum { WORDS = sizeof SAID - 1 };

static char block[BLOCK];
static int watch;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static void attend(int operation, int fd, uint32_t events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(watch, operation, fd, &event)) fail("epoll_ctl");
}

static struct sockaddr_in place(int port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return at;
}

static void without_delay(int fd) {
    int one = 1;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one)) fail("TCP_NODELAY");
}

// ---- the server ---------------------------------------------------------------------------------

// By descriptor. ``left`` is what is still to be sent (D), to come (U), or to be sent back (E).
struct client {
    uint64_t left;
    uint32_t heard, waits;
    unsigned char wish[WISH];
    char echo[ECHO];
};
static struct client *clients[MOST];

static void forget(int fd) {
    free(clients[fd]);
    clients[fd] = NULL;
    close(fd);
}

// Send what is left, from memory that stays; false when the other side has gone.
static int send_left(int fd, struct client *one, const char *from, size_t most) {
    while (one->left) {
        ssize_t count = send(fd, from, one->left < most ? one->left : most, MSG_NOSIGNAL);
        if (count < 0) {
            if (errno != EAGAIN) return 0;
            if (!one->waits) attend(EPOLL_CTL_MOD, fd, EPOLLOUT);
            one->waits = 1;
            return 1;
        }
        one->left -= (uint64_t)count;
        if (from == one->echo && one->left) memmove(one->echo, one->echo + count, one->left);
        // Of what is long, one block a turn: the others wait.
        if (from == block) break;
    }
    if (!one->left && one->waits) {
        attend(EPOLL_CTL_MOD, fd, EPOLLIN);
        one->waits = 0;
    } else if (one->left && !one->waits) {
        attend(EPOLL_CTL_MOD, fd, EPOLLOUT);
        one->waits = 1;
    }
    return 1;
}

// One turn of one connection; false when it is over.
static int serve_one(int fd, struct client *one) {
    if (one->heard < WISH) {
        ssize_t count = recv(fd, one->wish + one->heard, WISH - one->heard, 0);
        if (count <= 0) return count < 0 && errno == EAGAIN;
        one->heard += (uint32_t)count;
        if (one->heard < WISH) return 1;
        for (int at = 1; at < WISH; at++) one->left = one->left << 8 | one->wish[at];
        if (one->wish[0] == 'E') one->left = 0;
        // What follows the wish is mostly there already.
    }
    if (one->wish[0] == 'D') {
        if (one->left) return send_left(fd, one, block, BLOCK);
        return recv(fd, one->echo, ECHO, 0) > 0;
    }
    if (one->wish[0] == 'E' && one->left) return send_left(fd, one, one->echo, ECHO);
    ssize_t count = one->wish[0] == 'U' ? recv(fd, block, BLOCK, 0) : recv(fd, one->echo, ECHO, 0);
    if (count <= 0) return count < 0 && errno == EAGAIN;
    if (one->wish[0] == 'E') {
        one->left = (uint64_t)count;
        return send_left(fd, one, one->echo, ECHO);
    }
    if (one->left && (one->left -= (uint64_t)count) == 0) return send(fd, ".", 1, MSG_NOSIGNAL) == 1;
    return 1;
}

static void serve(void) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in at = place(0);
    socklen_t size = sizeof at;
    without_delay(listener);  // and with it whatever is accepted
    if (bind(listener, (struct sockaddr *)&at, size) || listen(listener, 1024)) fail("listen");
    if (getsockname(listener, (struct sockaddr *)&at, &size)) fail("getsockname");
    attend(EPOLL_CTL_ADD, listener, EPOLLIN);
    attend(EPOLL_CTL_ADD, STDIN_FILENO, EPOLLIN);
    printf("{\"port\": %d}\n", ntohs(at.sin_port));
    fflush(stdout);
    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(watch, events, EVENTS, -1);
        for (int each = 0; each < count; each++) {
            int fd = events[each].data.fd;
            if (fd == STDIN_FILENO) return;  // its end: whoever started us is done
            if (fd != listener) {
                if (!serve_one(fd, clients[fd])) forget(fd);
                continue;
            }
            int made = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
            if (made < 0) continue;
            if (made >= MOST || !(clients[made] = calloc(1, sizeof **clients))) fail("accept");
            attend(EPOLL_CTL_ADD, made, EPOLLIN);
        }
    }
}

// ---- who connects -------------------------------------------------------------------------------

static int join(int port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = place(port);
    if (fd < 0 || fd >= MOST || connect(fd, (struct sockaddr *)&at, sizeof at)) fail("connect");
    without_delay(fd);
    return fd;
}

static void say(int fd, const void *data, size_t size) {
    if (send(fd, data, size, MSG_NOSIGNAL) != (ssize_t)size) fail("send");
}

static void say_wish(int fd, char letter, uint64_t number, const char *words, size_t size) {
    char wish[WISH + WORDS] = {letter};
    for (int at = WISH - 1; at; at--, number >>= 8) wish[at] = (char)number;
    if (size) memcpy(wish + WISH, words, size);
    say(fd, wish, WISH + size);
}

// What is still to come in each step of a connection: two answers of a proxy, and the words.
static const uint64_t STEPS[] = {2, 10, WORDS};
static unsigned char step[MOST];
static uint64_t still[MOST];

static void take_step(int fd, unsigned char next, int behind) {
    const unsigned char hello[] = {5, 1, 0};
    const unsigned char target[] = {
        5, 1, 0, 1, 127, 0, 0, 1, (unsigned char)(behind >> 8), (unsigned char)behind};
    step[fd] = next;
    still[fd] = STEPS[next];
    if (next == 0) say(fd, hello, sizeof hello);
    if (next == 1) say(fd, target, sizeof target);
    if (next == 2) say_wish(fd, 'E', 0, SAID, WORDS);
}

static void begin(int port, int behind) {
    int fd = join(port);
    attend(EPOLL_CTL_ADD, fd, EPOLLIN);
    take_step(fd, behind ? 0 : 2, behind);
}

// Take what has come for a step; true when it is whole.
static int hear(int fd) {
    ssize_t count = recv(fd, block, still[fd], 0);
    if (count <= 0) {
        fprintf(stderr, "%lu bytes are missing at the end\n", (unsigned long)still[fd]);
        exit(1);
    }
    size_t from = STEPS[step[fd]] - still[fd];
    still[fd] -= (uint64_t)count;
    if (step[fd] == 2 && memcmp(block, SAID + from, (size_t)count)) fail("other words came back");
    if (step[fd] < 2 && from < 2 && count > 1 && block[1]) fail("the proxy refuses");
    return !still[fd];
}

static double churn(long count, long beside, int port, int behind) {
    double started = now();
    long begun = 0, done = 0;
    while (begun < count && begun < beside) begun++, begin(port, behind);
    while (done < count) {
        struct epoll_event events[EVENTS];
        int found = epoll_wait(watch, events, EVENTS, 60000);
        if (found <= 0) fail("nothing came for a minute");
        for (int each = 0; each < found; each++) {
            int fd = events[each].data.fd;
            if (!hear(fd)) continue;
            if (step[fd] < 2) {
                take_step(fd, step[fd] + 1, behind);
                continue;
            }
            close(fd);
            done++;
            if (begun < count) begun++, begin(port, behind);
        }
    }
    return now() - started;
}

static double flows(long count, uint64_t each, int port) {
    int *made = calloc((size_t)count, sizeof *made);
    if (!made) fail("calloc");
    for (long at = 0; at < count; at++) {
        made[at] = join(port);
        still[made[at]] = each;
        attend(EPOLL_CTL_ADD, made[at], EPOLLIN);
    }
    double started = now();
    for (long at = 0; at < count; at++) say_wish(made[at], 'D', each, NULL, 0);
    for (long left = count; left;) {
        struct epoll_event events[EVENTS];
        int found = epoll_wait(watch, events, EVENTS, 60000);
        if (found <= 0) fail("nothing came for a minute");
        for (int at = 0; at < found; at++) {
            int fd = events[at].data.fd;
            ssize_t got = recv(fd, block, BLOCK, 0);
            if (got <= 0 || (uint64_t)got > still[fd]) fail("a flow ended wrongly");
            still[fd] -= (uint64_t)got;
            if (still[fd]) continue;
            attend(EPOLL_CTL_DEL, fd, 0);
            left--;
        }
    }
    return now() - started;
}

int main(int count, char **words) {
    watch = epoll_create1(EPOLL_CLOEXEC);
    if (count == 2 && !strcmp(words[1], "serve")) {
        serve();
    } else if (count == 6 && !strcmp(words[1], "churn")) {
        printf("%.6f\n", churn(atol(words[2]), atol(words[3]), atoi(words[4]), atoi(words[5])));
    } else if (count == 5 && !strcmp(words[1], "flows")) {
        printf("%.6f\n", flows(atol(words[2]), strtoull(words[3], NULL, 10), atoi(words[4])));
    } else {
        fprintf(stderr, "what is asked for stands at the top of ends.c\n");
        return 2;
    }
    return 0;
}
