/* say TEXT ...: send each text to $NOTIFY_SOCKET, as sd_notify(3) does. */
#include <err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

int main(int argc, char **argv)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    const char *path = getenv("NOTIFY_SOCKET");
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

    if (!path)
        errx(2, "NOTIFY_SOCKET is not set");
    strncpy(to.sun_path, path, sizeof(to.sun_path) - 1);
    for (int i = 1; i < argc; i++)
        if (sendto(fd, argv[i], strlen(argv[i]), 0, (struct sockaddr *)&to, sizeof(to)) < 0)
            err(1, "%s", path);
    return 0;
}
