/* A way to a local server that is longer than it is: what the client says arrives so many microseconds later.
 *
 *   tcp_delay LISTEN_PORT SERVER_PORT MICROSECONDS
 *
 * Three processes per connection: one notes when each piece came, one hands it on when it is due (a pipe
 * between them is the queue), one brings the answers back at once.
 */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct piece {
    struct timespec due;
    ssize_t length;
    char bytes[65536];
};

static struct piece piece;

static void all(int to, const char *bytes, size_t length) {
    while (length) {
        ssize_t sent = write(to, bytes, length);
        if (sent <= 0) exit(0);
        bytes += sent;
        length -= sent;
    }
}

static int whole(int from, char *bytes, size_t length) {
    while (length) {
        ssize_t got = read(from, bytes, length);
        if (got <= 0) return 0;
        bytes += got;
        length -= got;
    }
    return 1;
}

static void note(int client, int queue, long microseconds) {
    while ((piece.length = read(client, piece.bytes, sizeof piece.bytes)) > 0) {
        clock_gettime(CLOCK_MONOTONIC, &piece.due);
        piece.due.tv_nsec += microseconds * 1000;
        piece.due.tv_sec += piece.due.tv_nsec / 1000000000;
        piece.due.tv_nsec %= 1000000000;
        all(queue, (char *)&piece, (piece.bytes - (char *)&piece) + piece.length);
    }
}

static void hand_on(int queue, int server) {
    while (whole(queue, (char *)&piece, piece.bytes - (char *)&piece) && whole(queue, piece.bytes, piece.length)) {
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &piece.due, 0);
        all(server, piece.bytes, piece.length);
    }
    shutdown(server, SHUT_WR);
}

static void bring_back(int server, int client) {
    ssize_t got;
    while ((got = read(server, piece.bytes, sizeof piece.bytes)) > 0) all(client, piece.bytes, got);
    shutdown(client, SHUT_WR);
}

static void serve(int client, struct sockaddr_in *there, long microseconds) {
    int queue[2], on = 1, server = socket(AF_INET, SOCK_STREAM, 0);
    if (pipe(queue) || connect(server, (struct sockaddr *)there, sizeof *there)) exit(1);
    setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (!fork()) {
        close(queue[0]);
        note(client, queue[1], microseconds);
        exit(0);
    }
    close(queue[1]);
    if (!fork()) {
        bring_back(server, client);
        exit(0);
    }
    hand_on(queue[0], server);
}

int main(int count, char **given) {
    struct sockaddr_in here = {.sin_family = AF_INET}, there = {.sin_family = AF_INET};
    int on = 1, listening = socket(AF_INET, SOCK_STREAM, 0);
    if (count != 4) return fprintf(stderr, "tcp_delay LISTEN_PORT SERVER_PORT MICROSECONDS\n"), 2;
    here.sin_port = htons(atoi(given[1]));
    there.sin_port = htons(atoi(given[2]));
    here.sin_addr.s_addr = there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listening, (struct sockaddr *)&here, sizeof here) || listen(listening, 16)) return perror("listen"), 1;
    prctl(PR_SET_TIMERSLACK, 1);
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        int client = accept(listening, 0, 0);
        if (client < 0) continue;
        if (!fork()) {
            close(listening);
            serve(client, &there, atol(given[3]));
            exit(0);
        }
        close(client);
    }
}
