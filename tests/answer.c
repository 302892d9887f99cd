/* answer TEXT: accept one connection to the socket that is descriptor 3, as sd_listen_fds(3) has it,
 * and write TEXT, and what is said of the descriptors, to it. */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    const char *fds = getenv("LISTEN_FDS"), *pid = getenv("LISTEN_PID");
    int fd = accept(3, NULL, NULL);

    if (fd < 0)
        err(1, "accept");
    if (argc != 2 || !fds || !pid || atoi(pid) != getpid())
        errx(2, "no text, or no descriptors for us");
    dprintf(fd, "%s: %s\n", argv[1], fds);
    return close(fd) != 0;
}
