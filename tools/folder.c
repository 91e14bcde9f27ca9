/* SPDX-License-Identifier: Apache-2.0 */
/* A folder belongs to whoever holds the lock (flock) of its descriptor. */
#include "folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RANDOM = 6 }; /* characters that mkdtemp chooses */

static const char *base(void)
{
    const char *tmp = getenv("TMPDIR");
    return tmp && tmp[0] == '/' && strlen(tmp) < 40 ? tmp : "/tmp";
}

static int remove_one(const char *path, const struct stat *info, int kind,
                      struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

static void remove_tree(const char *path)
{
    nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* -1: not there, or somebody has it. */
static int take(const char *path, int how)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && flock(fd, LOCK_EX | how) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static bool is_ours(int fd)
{
    struct stat info;
    return fstat(fd, &info) == 0 && info.st_uid == geteuid() && info.st_nlink > 0;
}

void folder_sweep(const char *name)
{
    size_t len = strlen(name);
    DIR *dir = opendir(base());
    for (struct dirent *e; dir && (e = readdir(dir));) {
        char path[320];
        if (strncmp(e->d_name, name, len) != 0 || e->d_name[len] != '-' ||
            strlen(e->d_name) != len + 1 + RANDOM)
            continue;
        snprintf(path, sizeof path, "%s/%s", base(), e->d_name);
        int fd = take(path, LOCK_NB);
        if (fd < 0)
            continue;
        if (is_ours(fd))
            remove_tree(path);
        close(fd);
    }
    if (dir)
        closedir(dir);
}

bool folder_make(struct folder *folder, const char *name)
{
    folder_sweep(name);
    /* A sweep may come between making one and locking it: then the next one. */
    for (int i = 0; i < 8; i++) {
        snprintf(folder->path, sizeof folder->path, "%s/%s-XXXXXX", base(), name);
        if (!mkdtemp(folder->path))
            break;
        folder->lock = take(folder->path, 0);
        if (folder->lock >= 0 && is_ours(folder->lock))
            return true;
        if (folder->lock >= 0)
            close(folder->lock);
        errno = EAGAIN;
    }
    folder->path[0] = '\0';
    return false;
}

void folder_remove(struct folder *folder)
{
    if (!folder->path[0])
        return;
    remove_tree(folder->path);
    folder_forget(folder);
}

void folder_keep(struct folder *folder)
{
    char kept[sizeof folder->path + 8];
    snprintf(kept, sizeof kept, "%s-kept", folder->path);
    if (rename(folder->path, kept) == 0)
        snprintf(folder->path, sizeof folder->path, "%.*s", (int)sizeof folder->path - 1,
                 kept);
    close(folder->lock);
}

void folder_forget(struct folder *folder)
{
    if (folder->path[0])
        close(folder->lock);
    folder->path[0] = '\0';
}
