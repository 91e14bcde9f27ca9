/* SPDX-License-Identifier: Apache-2.0 */
/* Children: started with pipes, watched, ended, and their folder removed. */
#include "demo_child.h"
#include "command.h"
#include "demo_progress.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LOG_LINES = 12, TICK_MS = 100 };
static const double stop_seconds = 5;

static volatile sig_atomic_t caught;

static void on_signal(int number)
{
    caught = number;
}

void signals_catch(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = on_signal};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaction(numbers[i], &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

bool interrupted(void)
{
    return caught != 0;
}

void signals_obey(void)
{
    if (!caught)
        return;
    signal(caught, SIG_DFL);
    raise(caught);
}

bool children_open(struct children *children, bool keep)
{
    *children = (struct children){.keep = keep};
    if (folder_make(&children->folder, "segue-demo"))
        return true;
    fprintf(stderr, "segue demo: making a folder failed: %m\n");
    return false;
}

void child_log_path(const struct children *children, const struct child *child, char *out)
{
    snprintf(out, CHILD_LOG_PATH, "%s/%s.log", children->folder.path, child->name);
}

/* In the child, between fork and exec: only calls that are safe there. */
static _Noreturn void become(const char *const *argv, int out, int log, pid_t parent)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        signal(numbers[i], SIG_DFL);
    /* A group of its own: a Ctrl-C is for the demo, which ends its children in order. */
    setpgid(0, 0);
    /* SIGTERM and not SIGKILL, so that nginx takes its workers along. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    int null = open("/dev/null", O_RDONLY);
    if (getppid() == parent && null >= 0 && dup2(null, STDIN_FILENO) >= 0 &&
        dup2(out, STDOUT_FILENO) >= 0 && dup2(log, STDERR_FILENO) >= 0)
        execv("/proc/self/exe", (char *const *)argv);
    _exit(EXIT_MISSING);
}

struct child *child_start(struct children *children, const char *name,
                          const char *const *argv)
{
    if (children->count == CHILDREN_MOST)
        return NULL;
    struct child *child = &children->list[children->count];
    *child = (struct child){.out = -1};
    snprintf(child->name, sizeof child->name, "%s", name);
    char path[CHILD_LOG_PATH];
    child_log_path(children, child, path);
    int pipes[2] = {-1, -1};
    int log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    pid_t parent = getpid();
    if (log >= 0 && pipe2(pipes, O_CLOEXEC) == 0)
        child->pid = fork();
    if (child->pid == 0 && getpid() != parent)
        become(argv, pipes[1], log, parent);
    if (child->pid <= 0) {
        fprintf(stderr, "segue demo: starting %s failed: %m\n", name);
        child->pid = 0;
        close(pipes[0]);
        pipes[0] = -1;
    }
    close(log);
    close(pipes[1]);
    child->out = pipes[0];
    children->count++;
    return child->pid ? child : NULL;
}

/* Reaps it if it has ended. */
static bool has_ended(struct child *child)
{
    if (child->pid && waitpid(child->pid, &child->status, WNOHANG) == child->pid)
        child->pid = 0;
    return child->pid == 0;
}

void child_show_log(const struct children *children, const struct child *child)
{
    char path[CHILD_LOG_PATH], text[8192];
    child_log_path(children, child, path);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    off_t size = file < 0 ? 0 : lseek(file, 0, SEEK_END);
    off_t from = size > (off_t)sizeof text ? size - (off_t)sizeof text : 0;
    ssize_t len = file < 0 ? 0 : pread(file, text, sizeof text, from);
    if (file >= 0)
        close(file);
    while (len > 0 && text[len - 1] == '\n')
        len--;
    ssize_t begin = len;
    for (int lines = 0; begin > 0; begin--)
        if (text[begin - 1] == '\n' && ++lines == LOG_LINES)
            break;
    if (len > 0)
        fprintf(stderr, "the last words of %s:\n%.*s\n", child->name, (int)(len - begin),
                text + begin);
}

int child_verdict(const struct child *child)
{
    return child->pid == 0 && WIFEXITED(child->status) &&
                   WEXITSTATUS(child->status) == EXIT_MISSING
               ? EXIT_MISSING
               : EXIT_NOT_SO;
}

/* The first line, once it is there whole. */
static json_t *first_line(const struct child *child)
{
    const char *end = memchr(child->line, '\n', child->used);
    return end ? json_loadb(child->line, (size_t)(end - child->line), 0, NULL) : NULL;
}

static void read_line(struct child *child, int wait_ms)
{
    struct pollfd fd = {.fd = child->out, .events = POLLIN};
    if (poll(&fd, 1, wait_ms) != 1)
        return;
    ssize_t len = read(child->out, child->line + child->used,
                       sizeof child->line - child->used);
    if (len > 0)
        child->used += (size_t)len;
    else
        usleep(TICK_MS * 1000); /* it closed its output: the reaping tells why */
}

json_t *child_ready(struct children *children, struct child *child, double seconds)
{
    double deadline = demo_now() + seconds;
    while (!interrupted()) {
        read_line(child, TICK_MS);
        json_t *line = first_line(child);
        if (line)
            return line;
        demo_progress_tick();
        bool ended = has_ended(child);
        if (!ended && demo_now() < deadline)
            continue;
        demo_progress_break();
        if (ended)
            fprintf(stderr, "segue demo: %s ended before it was ready\n", child->name);
        else
            fprintf(stderr, "segue demo: %s was not ready within %.0f s\n", child->name,
                    seconds);
        child_show_log(children, child);
        break;
    }
    return NULL;
}

struct child *children_dead(struct children *children)
{
    for (size_t i = 0; i < children->count; i++)
        if (has_ended(&children->list[i]))
            return &children->list[i];
    return NULL;
}

static void signal_all(const struct children *children, int number)
{
    for (size_t i = 0; i < children->count; i++)
        if (children->list[i].pid)
            kill(children->list[i].pid, number);
}

void children_stop(struct children *children)
{
    double deadline = demo_now() + stop_seconds;
    bool forced = false;
    signal_all(children, SIGTERM);
    for (size_t left = 1; left;) {
        left = 0;
        for (size_t i = 0; i < children->count; i++)
            left += !has_ended(&children->list[i]);
        if (left && !forced && demo_now() > deadline) {
            signal_all(children, SIGKILL);
            forced = true;
        }
        if (left)
            usleep(10 * 1000);
    }
    for (size_t i = 0; i < children->count; i++)
        close(children->list[i].out);
    children->count = 0;
}

void children_close(struct children *children)
{
    children_stop(children);
    if (!children->folder.path[0])
        return;
    if (children->keep) {
        folder_keep(&children->folder);
        fprintf(stderr, "segue demo: logs are kept in %s\n", children->folder.path);
        children->folder.path[0] = '\0';
    } else {
        folder_remove(&children->folder);
    }
}
