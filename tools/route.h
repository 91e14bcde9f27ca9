/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of `segue route` share: the options, the nginx configuration made from
 * them, and the private folder nginx runs in. */
#ifndef TOOLS_ROUTE_H
#define TOOLS_ROUTE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#define ROUTE_ENGINES 64 /* of one role; the module's limit too */

struct route_engines {
    const char *hosts[ROUTE_ENGINES];
    int ports[ROUTE_ENGINES];
    size_t host_count, port_count;
    const char *policy; /* NULL: the module's default for the role */
    int limit;          /* requests an engine may hold at once; 0: any number */
    char addresses[ROUTE_ENGINES][64]; /* resolved, as nginx writes them */
};

struct route_options {
    const char *host;
    int port, workers;
    struct route_engines prefill, decode;
    int64_t max_body;
    int64_t connect_ms, prefill_ms, first_byte_ms, idle_ms, total_ms;
    const char *access_log; /* a file, "-" for stderr, "off" */
    const char *nginx, *module;
    bool json, check, print_config, help;
};

/* What: reads the command line. Returns false after it has said on stderr what is wrong. */
bool route_parse(int argc, char **argv, struct route_options *options);
void route_help(FILE *out);

/* What: resolves every engine's host. IPv4 goes first for a name that has both. Returns
 * false after it has said on stderr what is wrong. */
bool route_resolve(struct route_options *options);

/* What: writes the nginx configuration. `dir` is the private folder, `listen` the address
 * nginx finds among the sockets it inherits, `user` the user directive's arguments or
 * NULL, `access_log` what follows that directive. */
void route_config(FILE *out, const struct route_options *options, const char *dir,
                  const char *listen, const char *user, const char *access_log);

/* What: makes the private folder (0700) for this process and removes those that dead
 * processes left. As root it belongs to `uid`, under which the workers run. Returns false
 * after it has said on stderr what is wrong. */
bool route_dir_make(char *dir, size_t size, uid_t uid, gid_t gid);
void route_dir_remove(const char *dir);

#endif
