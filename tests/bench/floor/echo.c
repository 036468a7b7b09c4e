/* The least that a server can do: for each request of so many bytes, an answer of so many bytes. One thread, epoll.
 *
 * echo SOCKET REQUEST-BYTES ANSWER-BYTES
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char request[65536], answer[65536];
static size_t held[65536];

int main(int count, char **words)
{
    struct sockaddr_un place = {.sun_family = AF_UNIX};
    struct epoll_event event = {.events = EPOLLIN}, events[64];
    if (count != 4)
        return 2;
    size_t in = strtoul(words[2], NULL, 10), out = strtoul(words[3], NULL, 10);
    if (in > sizeof request || out > sizeof answer || strlen(words[1]) >= sizeof place.sun_path)
        return 2;
    memset(answer, 'a', sizeof answer);
    strcpy(place.sun_path, words[1]);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&place, sizeof place) != 0 || listen(listener, 1024) != 0)
        return 1;
    int ready = epoll_create1(EPOLL_CLOEXEC);
    event.data.fd = listener;
    if (ready < 0 || epoll_ctl(ready, EPOLL_CTL_ADD, listener, &event) != 0)
        return 1;
    for (;;) {
        int happened = epoll_wait(ready, events, 64, -1);
        for (int i = 0; i < happened; i++) {
            int peer = events[i].data.fd;
            if (peer == listener) {
                peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
                if (peer < 0 || (size_t)peer >= sizeof held / sizeof *held)
                    continue;
                held[peer] = 0;
                event.data.fd = peer;
                epoll_ctl(ready, EPOLL_CTL_ADD, peer, &event);
                continue;
            }
            ssize_t got = read(peer, request, in - held[peer]);
            if (got <= 0) {
                close(peer);
                continue;
            }
            held[peer] += got;
            if (held[peer] < in)
                continue;
            held[peer] = 0;
            if (write(peer, answer, out) != (ssize_t)out)
                close(peer);
        }
    }
}
