/* SPDX-License-Identifier: Apache-2.0 */
/* Removing the private folder of `segue route` when the router ends. */
#define _XOPEN_SOURCE 700
#include "ngx_http_segue.h"

#include <ftw.h>

static int remove_one(const char *path, const struct stat *info, int kind,
                      struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

void ngx_http_segue_remove_tree(const char *path, ngx_log_t *log)
{
    if (nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) == -1)
        ngx_log_error(NGX_LOG_ERR, log, ngx_errno, "removing %s failed", path);
}
