/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The private folder of a router: its configuration, its pid file, bodies too long for
 * memory. It is named after the process, which stays the same when nginx takes it over;
 * nginx removes it at its end (segue_runtime_dir), and the next router sweeps what a
 * killed one left.
 */
#include "route.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME "segue-route-"

static int remove_one(const char *path, const struct stat *info, int kind,
                      struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

void route_dir_remove(const char *dir)
{
    nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* A folder of a dead process; as root it may belong to the workers' user. */
static bool is_stale(const char *base, const char *name, uid_t worker)
{
    char path[512], *end;
    struct stat info;
    if (strncmp(name, NAME, sizeof NAME - 1) != 0)
        return false;
    long pid = strtol(name + sizeof NAME - 1, &end, 10);
    if (*end || pid <= 0 || kill((pid_t)pid, 0) == 0 || errno != ESRCH)
        return false;
    if ((size_t)snprintf(path, sizeof path, "%s/%s", base, name) >= sizeof path)
        return false;
    return lstat(path, &info) == 0 && S_ISDIR(info.st_mode) &&
           (info.st_uid == geteuid() || info.st_uid == worker);
}

static void sweep(const char *base, uid_t worker)
{
    DIR *dir = opendir(base);
    if (dir == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[512];
        if (!is_stale(base, entry->d_name, worker) ||
            (size_t)snprintf(path, sizeof path, "%s/%s", base, entry->d_name) >=
                sizeof path)
            continue;
        route_dir_remove(path);
    }
    closedir(dir);
}

bool route_dir_make(char *dir, size_t size, uid_t uid, gid_t gid)
{
    const char *base = getenv("XDG_RUNTIME_DIR");
    if (base == NULL || base[0] != '/' || access(base, W_OK | X_OK) != 0 ||
        geteuid() == 0)
        base = "/tmp"; /* root's runtime folder is closed to the workers */
    sweep(base, uid);
    if ((size_t)snprintf(dir, size, "%s/" NAME "%ld", base, (long)getpid()) >= size ||
        strpbrk(dir, "\"\\$\n")) {
        fprintf(stderr, "segue route: %s can't hold the router's folder\n", base);
        return false;
    }
    if (mkdir(dir, 0700) != 0) {
        fprintf(stderr, "segue route: making %s failed: %s\n", dir, strerror(errno));
        return false;
    }
    if (geteuid() == 0 && chown(dir, uid, gid) != 0) {
        fprintf(stderr, "segue route: giving %s to the workers failed: %s\n", dir,
                strerror(errno));
        rmdir(dir);
        return false;
    }
    return true;
}
