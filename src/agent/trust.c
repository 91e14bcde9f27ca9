/* SPDX-License-Identifier: Apache-2.0 */
/* The keys an agent has, and when they are read. */
#include "agent/trust.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A file as it was when it was read. */
struct version {
    dev_t device;
    ino_t file;
    struct timespec changed;
};

struct segue_trust {
    struct segue_keys cluster;
    struct version seen;
    struct segue_keys folder;    /* of the folder asked about last */
    struct segue_tls_setup *tls; /* NULL: not needed yet */
};

static struct version version_of(const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return (struct version){0};
    return (struct version){st.st_dev, st.st_ino, st.st_ctim};
}

static bool same_version(const struct version *a, const struct version *b)
{
    return a->device == b->device && a->file == b->file &&
           a->changed.tv_sec == b->changed.tv_sec &&
           a->changed.tv_nsec == b->changed.tv_nsec;
}

enum segue_status segue_trust_open(struct segue_agent *agent)
{
    const char *path = agent->opts.key;
    agent->trust = calloc(1, sizeof *agent->trust);
    if (!agent->trust)
        return segue_fail(SEGUE_E_MEMORY, "no memory for keys");
    if (!path || !*path)
        return SEGUE_OK;
    /* Looked at before it is read: a change in between is seen next time. */
    agent->trust->seen = version_of(path);
    return segue_keys_read(path, &agent->trust->cluster);
}

void segue_trust_close(struct segue_agent *agent)
{
    if (!agent->trust)
        return;
    segue_keys_wipe(&agent->trust->cluster);
    segue_keys_wipe(&agent->trust->folder);
    segue_tls_setup_destroy(agent->trust->tls);
    free(agent->trust);
    agent->trust = NULL;
}

const struct segue_keys *segue_trust_keys(struct segue_agent *agent)
{
    struct segue_trust *trust = agent->trust;
    if (trust->cluster.n == 0)
        return &trust->cluster;
    struct version now = version_of(agent->opts.key);
    if (same_version(&now, &trust->seen))
        return &trust->cluster;
    trust->seen = now;
    struct segue_keys keys = {0};
    char text[40];
    if (segue_keys_read(agent->opts.key, &keys) < 0) {
        SEGUE_LOG(ERROR, "agent", "the key file has changed, the old keys stay: %s",
                  segue_error_detail());
    } else {
        trust->cluster = keys;
        segue_keys_text(&keys, text, sizeof text);
        SEGUE_LOG(INFO, "agent", "the key file has changed: %s", text);
    }
    segue_keys_wipe(&keys);
    return &trust->cluster;
}

enum segue_status segue_trust_tls(struct segue_agent *agent, int fd, bool server,
                                  const struct segue_keys *keys, struct segue_tls **out)
{
    struct segue_trust *trust = agent->trust;
    if (!trust->tls)
        SEGUE_TRY(segue_tls_setup_create(&trust->tls));
    return segue_tls_open(trust->tls, fd, server, keys, out);
}

/* ---- the folder of the sockets ---- */

static enum segue_status make_folder_key(const char *path, struct segue_keys *out)
{
    enum segue_status status = segue_key_file_make(path);
    /* Another agent may just have been quicker. */
    if (status < 0 && status != SEGUE_E_BUSY)
        return status;
    return segue_keys_read(path, out);
}

enum segue_status segue_trust_own_key(struct segue_agent *agent,
                                      const struct segue_key **out)
{
    const struct segue_keys *cluster = segue_trust_keys(agent);
    struct segue_keys *folder = &agent->trust->folder;
    char path[256];
    if (cluster->n) {
        *out = &cluster->key[0];
        return SEGUE_OK;
    }
    snprintf(path, sizeof path, "%.200s/%s", agent->opts.ipc_dir, SEGUE_TICKET_KEY_FILE);
    enum segue_status status = segue_keys_read(path, folder);
    if (status == SEGUE_E_NOT_FOUND)
        status = make_folder_key(path, folder);
    *out = &folder->key[0];
    return status;
}

static enum segue_status unknown_key(struct segue_agent *agent, const uint8_t *id)
{
    const struct segue_keys *cluster = &agent->trust->cluster;
    char theirs[9], ours[40];
    segue_key_id_text(id, theirs);
    segue_keys_text(cluster, ours, sizeof ours);
    return cluster->n
               ? segue_fail(SEGUE_E_REFUSED,
                            "wrong key: it was made with key %s, we have %s", theirs,
                            ours)
               : segue_fail(SEGUE_E_REFUSED,
                            "it was made with key %s, and this engine has no cluster "
                            "key: give both the same key file (option key)",
                            theirs);
}

enum segue_status segue_trust_find(struct segue_agent *agent, const char *path,
                                   const uint8_t id[SEGUE_KEY_ID_BYTES],
                                   const struct segue_key **out)
{
    const char *end = path ? strrchr(path, '/') : NULL;
    struct segue_keys *folder = &agent->trust->folder;
    char file[256];
    *out = segue_keys_find(segue_trust_keys(agent), id);
    if (!*out && end && end - path < 200) {
        snprintf(file, sizeof file, "%.*s/%s", (int)(end - path), path,
                 SEGUE_TICKET_KEY_FILE);
        if (segue_keys_read(file, folder) >= 0)
            *out = segue_keys_find(folder, id);
    }
    return *out ? SEGUE_OK : unknown_key(agent, id);
}
