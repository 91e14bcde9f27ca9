/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segue route: becomes an nginx that runs Segue's module, configured from the command
 * line, in the foreground. The port is bound here and handed to nginx, so that it is
 * known, and taken, before nginx starts.
 */
#include "command.h"
#include "route.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <netdb.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define MODULE "ngx_http_segue_module.so"

/* "127.0.0.1:80" or "[::1]:80". */
static void address_text(const struct sockaddr *address, int port, char *out, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "";
    bool six = address->sa_family == AF_INET6;
    const void *from =
        six ? (const void *)&((const struct sockaddr_in6 *)address)->sin6_addr
            : (const void *)&((const struct sockaddr_in *)address)->sin_addr;
    inet_ntop(address->sa_family, from, host, sizeof host);
    snprintf(out, size, six ? "[%s]:%d" : "%s:%d", host, port);
}

/* The first IPv4 address of a host, else its first one. */
static bool resolve(const char *host, struct sockaddr_storage *out, socklen_t *len)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    int rc = getaddrinfo(host, NULL, &hints, &list);
    if (rc != 0) {
        fprintf(stderr, "segue route: %s: %s\n", host, gai_strerror(rc));
        return false;
    }
    const struct addrinfo *best = NULL;
    for (const struct addrinfo *ai = list; ai; ai = ai->ai_next) {
        if (ai->ai_family != AF_INET && ai->ai_family != AF_INET6)
            continue;
        if (best == NULL || (ai->ai_family == AF_INET && best->ai_family != AF_INET))
            best = ai;
    }
    if (best) {
        memcpy(out, best->ai_addr, best->ai_addrlen);
        *len = best->ai_addrlen;
    } else {
        fprintf(stderr, "segue route: %s has no address\n", host);
    }
    freeaddrinfo(list);
    return best != NULL;
}

static bool resolve_engines(struct route_engines *engines)
{
    for (size_t i = 0; i < engines->host_count; i++) {
        struct sockaddr_storage address;
        socklen_t len;
        if (!resolve(engines->hosts[i], &address, &len))
            return false;
        address_text((struct sockaddr *)&address, engines->ports[i],
                     engines->addresses[i], sizeof engines->addresses[i]);
    }
    return true;
}

bool route_resolve(struct route_options *options)
{
    return resolve_engines(&options->prefill) && resolve_engines(&options->decode);
}

/* A listening socket that nginx inherits; -1 after it has said why not. */
static int listen_on(struct route_options *options, char *text, size_t size)
{
    struct sockaddr_storage address;
    socklen_t len;
    int yes = 1;
    if (!resolve(options->host, &address, &len))
        return -1;
    if (address.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&address)->sin6_port = htons((uint16_t)options->port);
    else
        ((struct sockaddr_in *)&address)->sin_port = htons((uint16_t)options->port);

    /* nginx leaves an inherited socket as it is, and must never wait in accept: with two
     * workers one of them finds that the other was faster. */
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd != -1 && address.ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes);
    if (fd == -1 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
        bind(fd, (struct sockaddr *)&address, len) != 0 || listen(fd, 4096) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
        fprintf(stderr, "segue route: listening on %s port %d failed: %s\n",
                options->host, options->port, strerror(errno));
        if (fd != -1)
            close(fd);
        return -1;
    }
    options->port = ntohs(address.ss_family == AF_INET6
                              ? ((struct sockaddr_in6 *)&address)->sin6_port
                              : ((struct sockaddr_in *)&address)->sin_port);
    address_text((struct sockaddr *)&address, options->port, text, size);
    return fd;
}

/* The module lies beside this executable in a build tree, under lib when installed. */
static bool find_module(char *out, size_t size)
{
    static const char *const places[] = {"router/nginx/", "../" SEGUE_LIBDIR "/segue/"};
    char self[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    if (len <= 0)
        return false;
    self[len] = '\0';
    char *slash = strrchr(self, '/');
    slash[1] = '\0';
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if ((size_t)snprintf(out, size, "%s%s%s", self, places[i], MODULE) < size &&
            access(out, R_OK) == 0)
            return true;
    return false;
}

static bool find_nginx(char *out, size_t size)
{
    const char *path = getenv("PATH");
    char list[4096];
    snprintf(list, sizeof list, "%s:/usr/sbin:/usr/local/sbin", path ? path : "");
    char *rest = list;
    for (char *folder; (folder = strsep(&rest, ":"));)
        if (*folder && (size_t)snprintf(out, size, "%s/nginx", folder) < size &&
            access(out, X_OK) == 0)
            return true;
    return false;
}

/* The user workers run as: nobody when we are root, ourselves else. */
struct worker {
    uid_t uid;
    gid_t gid;
    char names[128]; /* for the user directive; "" when there is nothing to change */
};

static struct worker worker_of_root(void)
{
    struct worker worker = {.uid = geteuid(), .gid = getegid()};
    if (worker.uid != 0)
        return worker;
    struct passwd *user = getpwnam("nobody");
    struct group *group = user ? getgrgid(user->pw_gid) : NULL;
    if (user == NULL || group == NULL) {
        snprintf(worker.names, sizeof worker.names, "root");
        return worker;
    }
    worker.uid = user->pw_uid;
    worker.gid = user->pw_gid;
    snprintf(worker.names, sizeof worker.names, "%s %s", user->pw_name, group->gr_name);
    return worker;
}

/* What follows access_log. nginx opens a path: a stderr that is a socket has none, and one
 * that another user opened may not be opened again. */
static void access_log_text(const char *asked, char *out, size_t size)
{
    if (strcmp(asked, "off") == 0) {
        snprintf(out, size, "off");
        return;
    }
    if (strcmp(asked, "-") != 0) {
        snprintf(out, size, "\"%s\" segue", asked);
        return;
    }
    int fd = open("/dev/stderr", O_WRONLY | O_APPEND | O_CLOEXEC);
    if (fd == -1)
        fprintf(stderr, "segue route: no access log: /dev/stderr can't be opened: %s\n",
                strerror(errno));
    else
        close(fd);
    snprintf(out, size, fd == -1 ? "off" : "/dev/stderr segue");
}

static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static bool write_config(const struct route_options *options, const char *dir,
                         const char *listen, const struct worker *worker, char *path,
                         size_t size)
{
    char log[PATH_MAX + 16];
    access_log_text(options->access_log, log, sizeof log);
    snprintf(path, size, "%s/nginx.conf", dir);
    FILE *out = fopen(path, "we");
    if (out == NULL) {
        fprintf(stderr, "segue route: writing %s failed: %s\n", path, strerror(errno));
        return false;
    }
    route_config(out, options, dir, listen, worker->names[0] ? worker->names : NULL, log);
    return fclose(out) == 0;
}

static int check_config(char **arguments, const char *dir)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        execv(arguments[0], arguments);
        _exit(127);
    }
    if (pid == -1 || waitpid(pid, &status, 0) != pid)
        status = -1;
    route_dir_remove(dir);
    return status == 0 ? EXIT_WELL : EXIT_NOT_SO;
}

static int run(struct route_options *options, const char *nginx)
{
    struct worker worker = worker_of_root();
    char dir[256], listen_text[80], config[300], inherited[32];
    int fd = listen_on(options, listen_text, sizeof listen_text);
    if (fd == -1)
        return EXIT_NOT_SO;
    if (!route_dir_make(dir, sizeof dir, worker.uid, worker.gid))
        return EXIT_NOT_SO;
    if (!write_config(options, dir, listen_text, &worker, config, sizeof config)) {
        route_dir_remove(dir);
        return EXIT_NOT_SO;
    }
    char *arguments[] = {(char *)nginx, "-e", "stderr", "-p",
                         dir,           "-c", config,   options->check ? "-t" : NULL,
                         NULL};
    raise_file_limit();
    if (options->check) {
        close(fd); /* nginx binds it itself to see that it can */
        return check_config(arguments, dir);
    }
    if (options->json)
        printf("{\"port\":%d,\"pid\":%ld}\n", options->port, (long)getpid());
    else
        fprintf(stderr, "segue route: listening on http://%s\n", listen_text);
    fflush(stdout);
    snprintf(inherited, sizeof inherited, "%d;", fd);
    setenv("NGINX", inherited, 1);
    execv(nginx, arguments);
    fprintf(stderr, "segue route: running %s failed: %s\n", nginx, strerror(errno));
    route_dir_remove(dir);
    return EXIT_MISSING;
}

int command_route(int argc, char **argv)
{
    struct route_options options;
    char nginx[PATH_MAX], module[PATH_MAX], listen_text[80];
    if (!route_parse(argc, argv, &options))
        return EXIT_USAGE;
    if (options.help) {
        route_help(stdout);
        return EXIT_WELL;
    }
    if (options.nginx == NULL && find_nginx(nginx, sizeof nginx))
        options.nginx = nginx;
    if (options.nginx == NULL || access(options.nginx, X_OK) != 0) {
        fprintf(stderr, "segue route: nginx is missing: install the package nginx-light "
                        "or give --nginx\n");
        return EXIT_MISSING;
    }
    if (!find_module(module, sizeof module)) {
        fprintf(stderr, "segue route: " MODULE " is missing: it is built where nginx-dev "
                        "is installed\n");
        return EXIT_MISSING;
    }
    options.module = module;
    if (!route_resolve(&options))
        return EXIT_NOT_SO;
    if (options.print_config) {
        snprintf(listen_text, sizeof listen_text, "%s:%d", options.host, options.port);
        route_config(stdout, &options, "/run/segue-route", listen_text, NULL, "off");
        return EXIT_WELL;
    }
    return run(&options, options.nginx);
}
