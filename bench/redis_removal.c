/* The peer of bench/redis_removal.py, with nothing between it and the socket:
 *
 *   redis_removal PORT PATTERN COUNT     SCAN, UNLINK of what it found, SCAN …; prints how many keys went
 *
 * REDIS_PASSWORD is read from the environment.
 */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 1 << 24 };

static char in[MOST], out[MOST];
static size_t held, at; /* `in` holds so much, of which so much is read */
static int server;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void open_connection(int port) {
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons(port)};
    int on = 1;
    there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    server = socket(AF_INET, SOCK_STREAM, 0);
    if (server < 0 || connect(server, (struct sockaddr *)&there, sizeof there)) fail("connect");
    setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static void say(const char *bytes, size_t length) {
    while (length) {
        ssize_t sent = write(server, bytes, length);
        if (sent <= 0) fail("write");
        bytes += sent;
        length -= sent;
    }
}

static void hear(void) {
    ssize_t got = held < MOST ? read(server, in + held, MOST - held) : -1;
    if (got <= 0) fail("read");
    held += got;
}

/* A line of the answer, without its CR LF. */
static char *line(void) {
    for (size_t looked = at;;) {
        char *end = memchr(in + looked, '\n', held - looked);
        if (end) {
            char *begin = in + at;
            at = end + 1 - in;
            end[-1] = 0;
            if (*begin == '-') {
                fprintf(stderr, "redis: %s\n", begin + 1);
                exit(1);
            }
            return begin;
        }
        looked = held;
        hear();
    }
}

/* The length of a bulk string, whose text then begins at `at` and is there. */
static size_t bulk(void) {
    size_t length = strtoul(line() + 1, 0, 10);
    while (held - at < length + 2) hear();
    return length;
}

int main(int count, char **given) {
    char cursor[32] = "0", *password = getenv("REDIS_PASSWORD");
    unsigned long removed = 0;
    if (count != 4 || !password) return fprintf(stderr, "redis_removal PORT PATTERN COUNT\n"), 2;
    open_connection(atoi(given[1]));
    say(out, sprintf(out, "*2\r\n$4\r\nAUTH\r\n$%zu\r\n%s\r\n", strlen(password), password));
    line();
    do {
        held = at = 0;
        say(out, sprintf(out, "*6\r\n$4\r\nSCAN\r\n$%zu\r\n%s\r\n$5\r\nMATCH\r\n$%zu\r\n%s\r\n$5\r\nCOUNT\r\n$%zu\r\n%s\r\n",
                         strlen(cursor), cursor, strlen(given[2]), given[2], strlen(given[3]), given[3]));
        line();
        size_t length = bulk();
        memcpy(cursor, in + at, length);
        cursor[length] = 0;
        at += length + 2;
        unsigned long keys = strtoul(line() + 1, 0, 10);
        size_t used = sprintf(out, "*%lu\r\n$6\r\nUNLINK\r\n", keys + 1);
        for (unsigned long key = 0; key < keys; key++) {
            length = bulk();
            if (used + length + 32 > MOST) return fprintf(stderr, "too many keys at once\n"), 1;
            used += sprintf(out + used, "$%zu\r\n", length);
            memcpy(out + used, in + at, length + 2);
            used += length + 2;
            at += length + 2;
        }
        if (keys) {
            say(out, used);
            removed += strtoul(line() + 1, 0, 10);
        }
    } while (strcmp(cursor, "0"));
    printf("%lu\n", removed);
    return 0;
}
