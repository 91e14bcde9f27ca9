/* SPDX-License-Identifier: Apache-2.0 */
/* Lines to a peer's stdin, lines from its stdout. */
#include "bench/peer.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ARGUMENTS_MAX = 16 };

/* In the build folder, or where it was installed. */
static bool find(const char *script, char *path, size_t cap)
{
    static const char *const places[] = {"bench/peers/", "../" SEGUE_DATADIR "/segue/"};
    char self[400];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    self[len > 0 ? len : 0] = '\0';
    char *slash = strrchr(self, '/');
    if (slash)
        slash[1] = '\0';
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(path, cap, "%s%s%s", self, places[i], script);
        if (access(path, R_OK) == 0)
            return true;
    }
    return false;
}

_Noreturn static void run(int fd, char **argv)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGINT, SIG_IGN); /* the parent ends it */
    if (dup2(fd, STDIN_FILENO) >= 0 && dup2(fd, STDOUT_FILENO) >= 0)
        execvp(argv[0], argv);
    _exit(127);
}

static bool line(struct bench_peer *peer, char *text, size_t cap)
{
    if (fgets(text, (int)cap, peer->out)) {
        text[strcspn(text, "\n")] = '\0';
        return true;
    }
    snprintf(peer->why, sizeof peer->why, "the peer ended; its reason is above");
    return false;
}

bool bench_peer_open(struct bench_peer *peer, const char *script,
                     const char *const *arguments)
{
    const char *python = getenv("SEGUE_BENCH_PYTHON");
    char path[600], *argv[ARGUMENTS_MAX + 3] = {(char *)python, path};
    int fds[2];
    *peer = (struct bench_peer){0};
    if (!python || !*python) {
        snprintf(peer->why, sizeof peer->why,
                 "SEGUE_BENCH_PYTHON is not set; make bench-deps says to what");
        return false;
    }
    if (!find(script, path, sizeof path)) {
        snprintf(peer->why, sizeof peer->why, "%s is not there", script);
        return false;
    }
    for (int i = 0; arguments[i] && i < ARGUMENTS_MAX; i++)
        argv[2 + i] = (char *)arguments[i];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
        snprintf(peer->why, sizeof peer->why, "no socket: %s", strerror(errno));
        return false;
    }
    fflush(NULL);
    peer->pid = fork();
    if (peer->pid == 0)
        run(fds[1], argv);
    close(fds[1]);
    peer->in = fdopen(fds[0], "w");
    peer->out = fdopen(dup(fds[0]), "r");
    if (peer->pid > 0 && peer->in && peer->out &&
        line(peer, peer->libraries, sizeof peer->libraries))
        return true;
    bench_peer_close(peer);
    return false;
}

void bench_peer_close(struct bench_peer *peer)
{
    if (peer->in)
        fclose(peer->in);
    if (peer->out)
        fclose(peer->out);
    if (peer->pid > 0) {
        kill(peer->pid, SIGKILL); /* it has nothing to tidy */
        waitpid(peer->pid, NULL, 0);
    }
    peer->in = peer->out = NULL;
    peer->pid = 0;
}

bool bench_peer_has(const struct bench_peer *peer, const char *library)
{
    return strstr(peer->libraries, library) != NULL;
}

double bench_peer_run(struct bench_peer *peer, const char *library, unsigned threads)
{
    char text[64];
    if (fprintf(peer->in, "%s %u\n", library, threads) < 0 || fflush(peer->in) != 0 ||
        !line(peer, text, sizeof text))
        return 0;
    return strtod(text, NULL);
}
