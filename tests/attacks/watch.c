/*
 * Watches every process that comes into this pid namespace, as fast as it can, and prints once what
 * it sees of any of them: what it runs, maps, holds open, and where its root is.
 *
 * Ends when the file /stop is there, or after two minutes.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char seen[8192][256];
static int count;

static void say(const char *kind, const char *what)
{
    char line[256];

    snprintf(line, sizeof line, "%s %s\n", kind, what);
    for (int i = 0; i < count; i++)
        if (!strcmp(seen[i], line))
            return;
    if (count < 8192)
        strcpy(seen[count++], line);
    write(1, line, strlen(line));
}

static void say_link(int pid, const char *kind, const char *name)
{
    char path[64], to[200];

    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    ssize_t n = readlink(path, to, sizeof to - 1);
    if (n < 0)
        return;
    to[n] = 0;
    if (!strncmp(to, "socket:", 7) || !strncmp(to, "pipe:", 5))
        *strchr(to, ':') = 0;
    say(kind, to);
}

static ssize_t content(int pid, const char *name, char *to, size_t size)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return -1;
    ssize_t n = read(fd, to, size - 1);
    close(fd);
    to[n < 0 ? 0 : n] = 0;
    return n;
}

static void say_words(int pid, const char *name)
{
    char text[4096];
    ssize_t n = content(pid, name, text, sizeof text);

    for (ssize_t at = 0; at < n; at += strlen(text + at) + 1)
        say(name, text + at);
}

static void say_maps(int pid)
{
    static char text[65536];

    if (content(pid, "maps", text, sizeof text) <= 0)
        return;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        char *file = strpbrk(line, "/[");
        if (file)
            say("map", file);
    }
}

static void say_root(int pid)
{
    char path[64], what[64];
    struct stat st;

    snprintf(path, sizeof path, "/proc/%d/root", pid);
    if (stat(path, &st))
        return;
    snprintf(what, sizeof what, "%lu:%lu", (unsigned long)st.st_dev, (unsigned long)st.st_ino);
    say("root", what);
}

static void say_descriptors(int pid)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *directory = opendir(path);
    if (!directory)
        return;
    for (struct dirent *entry; (entry = readdir(directory));) {
        snprintf(path, sizeof path, "fd/%.20s", entry->d_name);
        if (entry->d_name[0] != '.')
            say_link(pid, "fd", path);
    }
    closedir(directory);
}

int main(void)
{
    char text[128];

    alarm(120);
    say("ready", "");
    for (unsigned turn = 0; turn % 256 || access("/stop", F_OK); turn++) {
        int fd = open("/proc/loadavg", O_RDONLY);
        ssize_t n = read(fd, text, sizeof text - 1);
        close(fd);
        if (n <= 0)
            return 1;
        text[n] = 0;
        int last = atoi(strrchr(text, ' '));
        for (int pid = last > 4 ? last - 3 : 2; pid <= last + 1; pid++) {
            say_link(pid, "exe", "exe");
            say_descriptors(pid);
            say_maps(pid);
            say_root(pid);
            say_words(pid, "cmdline");
            say_words(pid, "comm");
            say_words(pid, "environ");
        }
    }
    say("end", "");
    return 0;
}
