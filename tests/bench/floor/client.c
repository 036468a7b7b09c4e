/* The least that a program can do to get a token: connect, send a request, read an answer, print what is in it.
 *
 * client SOCKET REQUEST-BYTES ANSWER-BYTES
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char request[65536], answer[65536];

int main(int count, char **words)
{
    struct sockaddr_un place = {.sun_family = AF_UNIX};
    if (count != 4)
        return 2;
    size_t out = strtoul(words[2], NULL, 10), in = strtoul(words[3], NULL, 10);
    if (out > sizeof request || in > sizeof answer || strlen(words[1]) >= sizeof place.sun_path)
        return 2;
    strcpy(place.sun_path, words[1]);
    int socket_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (socket_ < 0 || connect(socket_, (struct sockaddr *)&place, sizeof place) != 0)
        return 1;
    if (write(socket_, request, out) != (ssize_t)out)
        return 1;
    for (size_t held = 0; held < in;) {
        ssize_t got = read(socket_, answer + held, in - held);
        if (got <= 0)
            return 1;
        held += got;
    }
    return write(1, answer, in) == (ssize_t)in ? 0 : 1;
}
