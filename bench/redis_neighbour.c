/* Another client of the server: GET every millisecond until its input ends, then the microseconds of each.
 *
 *   redis_neighbour PORT
 *
 * REDIS_PASSWORD is read from the environment.
 */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 600000 };

static unsigned took[MOST];

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

/* One command whose answer fits a packet. */
static void ask(int server, const char *command) {
    char answer[256];
    size_t length = strlen(command);
    if (write(server, command, length) != (ssize_t)length) exit(1);
    ssize_t got = read(server, answer, sizeof answer);
    if (got <= 0 || *answer == '-') exit(1);
}

int main(int count, char **given) {
    char command[256], *password = getenv("REDIS_PASSWORD");
    int number = 0, on = 1, server = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in there = {.sin_family = AF_INET};
    struct pollfd input = {.fd = 0, .events = POLLIN};
    struct timespec millisecond = {.tv_nsec = 1000000};
    if (count != 2 || !password || strlen(password) > 200) return fprintf(stderr, "redis_neighbour PORT\n"), 2;
    prctl(PR_SET_TIMERSLACK, 1);
    there.sin_port = htons(atoi(given[1]));
    there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(server, (struct sockaddr *)&there, sizeof there)) return perror("connect"), 1;
    setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    sprintf(command, "*2\r\n$4\r\nAUTH\r\n$%zu\r\n%s\r\n", strlen(password), password);
    ask(server, command);
    while (number < MOST && !poll(&input, 1, 0)) {
        double began = now();
        ask(server, "*2\r\n$3\r\nGET\r\n$6\r\nstg0:1\r\n");
        took[number++] = now() - began;
        clock_nanosleep(CLOCK_MONOTONIC, 0, &millisecond, 0);
    }
    for (int one = 0; one < number; one++) printf("%u\n", took[one]);
    return 0;
}
