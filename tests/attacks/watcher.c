/* The first process of a container that looks at whatever else is in its pid namespace, again and
 * again and as fast as it can: "watcher HOW FILE". Each thing that is seen is written down once.
 *
 * HOW is
 *   watch    look at exe, cmdline, comm, cwd, root, environ, maps, and at every descriptor
 *   attach   trace whatever is the finish list (ptrace(2)), and say so when that works
 *   steal    take a copy of its sockets by pidfd_getfd(2), and keep them open
 *   kill     SIGKILL to whatever comes
 *   fork     look at nothing, and use up what its limit of processes allows
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int out;
static char seen[1 << 20];
static size_t length;

static void note(const char *kind, const char *what) {
    char line[4400];
    int size = snprintf(line, sizeof line, "\n%s %s\n", kind, what);
    if (memmem(seen, length, line, size) || length + size > sizeof seen) return;
    memcpy(seen + length, line, size);
    length += size;
    if (write(out, line + 1, size - 1) < 0) _exit(3);
}

/* Or what we are not allowed to look at: that is tried, too. */
static int is_list(const char *pid) {
    char path[64], target[256];
    snprintf(path, sizeof path, "/proc/%s/exe", pid);
    ssize_t size = readlink(path, target, sizeof target - 1);
    if (size < 0) return errno == EACCES;
    target[size] = 0;
    return strstr(target, "memfd:") != NULL;
}

static void look_at_link(const char *pid, const char *name, const char *kind) {
    char path[320], target[4096];
    snprintf(path, sizeof path, "/proc/%s/%s", pid, name);
    ssize_t size = readlink(path, target, sizeof target - 1);
    if (size < 0) return;
    target[size] = 0;
    char *number = strstr(target, ":[");  /* pipe:[1234] */
    if (number) number[1] = 0;
    note(kind, target);
    if (!strcmp(name, "exe") && strstr(target, "memfd:")) note("list", pid);
}

static void look_at_text(const char *pid, const char *name) {
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/%s/%s", pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    ssize_t size = read(fd, text, sizeof text - 1);
    close(fd);
    if (size <= 0) return;
    for (ssize_t at = 0; at < size; at++)
        if (!isprint((unsigned char)text[at])) text[at] = ' ';
    text[size] = 0;
    note(name, text);
}

static void look_at_maps(const char *pid) {
    char path[64], line[4400];
    snprintf(path, sizeof path, "/proc/%s/maps", pid);
    FILE *file = fopen(path, "re");
    if (!file) return;
    while (fgets(line, sizeof line, file)) {
        char *name = line;
        for (int field = 0; field < 5 && name; field++) {
            name = strchr(name, ' ');
            while (name && *name == ' ') name++;
        }
        if (!name || *name == '\n') continue;
        name[strcspn(name, "\n")] = 0;
        note("maps", name);
    }
    fclose(file);
}

static void each_descriptor(const char *pid, void (*act)(const char *, const char *)) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%s/fd", pid);
    DIR *directory = opendir(path);
    struct dirent *entry;
    if (!directory) return;
    while ((entry = readdir(directory)))
        if (isdigit((unsigned char)entry->d_name[0])) act(pid, entry->d_name);
    closedir(directory);
}

static void look_at_descriptor(const char *pid, const char *number) {
    char name[300], kind[300];
    snprintf(name, sizeof name, "fd/%s", number);
    snprintf(kind, sizeof kind, "fd %s", atoi(number) < 3 ? number : "more");
    look_at_link(pid, name, kind);
}

static void watch(const char *pid) {
    look_at_link(pid, "exe", "exe");
    look_at_text(pid, "comm");
    look_at_text(pid, "cmdline");
    look_at_text(pid, "environ");
    look_at_link(pid, "cwd", "cwd");
    look_at_link(pid, "root", "root");
    look_at_maps(pid);
    each_descriptor(pid, look_at_descriptor);
}

static void attach(const char *pid) {
    if (!is_list(pid)) return;
    if (ptrace(PTRACE_SEIZE, atoi(pid), 0, 0) < 0) {
        note("refused", "ptrace");
        return;
    }
    ptrace(PTRACE_INTERRUPT, atoi(pid), 0, 0);
    if (waitpid(atoi(pid), NULL, __WALL) <= 0) return;
    /* It may have become its program since we looked, and that is the container's to trace. */
    if (is_list(pid)) note("attached", pid);
    ptrace(PTRACE_DETACH, atoi(pid), 0, 0);
}

static void take(const char *pid, const char *number) {
    char path[320], target[64];
    snprintf(path, sizeof path, "/proc/%s/fd/%s", pid, number);
    ssize_t size = readlink(path, target, sizeof target - 1);
    if (size < 7 || strncmp(target, "socket:", 7)) return;
    int process = syscall(SYS_pidfd_open, atoi(pid), 0);
    if (process < 0) return;
    int copy = syscall(SYS_pidfd_getfd, process, atoi(number), 0);
    close(process);
    note(copy < 0 ? "refused" : "stolen", target);
}

static void steal(const char *pid) {
    if (is_list(pid)) each_descriptor(pid, take);
}

static void fork_as_fast_as_it_goes(void) {
    for (;;) {
        pid_t pid = fork();
        if (pid == 0) _exit(0);
        while (waitpid(-1, NULL, pid < 0 ? 0 : WNOHANG) > 0) {}
    }
}

static void kill_it(const char *pid) { kill(atoi(pid), SIGKILL); }

int main(int count, char **words) {
    if (count != 3) return 2;
    out = open(words[2], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (out < 0) return 2;
    void (*act)(const char *) = !strcmp(words[1], "watch")    ? watch
                                : !strcmp(words[1], "attach") ? attach
                                : !strcmp(words[1], "steal")  ? steal
                                                              : kill_it;
    note("begun", words[1]);
    if (!strcmp(words[1], "fork")) fork_as_fast_as_it_goes();
    DIR *processes = opendir("/proc");
    struct dirent *entry;
    if (!processes) return 2;
    for (;;) {
        rewinddir(processes);
        while ((entry = readdir(processes)))
            if (isdigit((unsigned char)entry->d_name[0]) && strcmp(entry->d_name, "1"))
                act(entry->d_name);
    }
}
