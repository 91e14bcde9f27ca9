/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of `segue route`: one table is parser and help. The spelling of hosts
 * and ports is that of vLLM's toy proxy, so that it drops in. */
#include "route.h"

#include <stdlib.h>
#include <string.h>

enum kind { TEXT, PORT, COUNT, SIZE, SECONDS, FLAG, HOSTS, PORTS };

struct option_row {
    const char *name, *alias;
    enum kind kind;
    size_t offset;
    const char *argument, *help;
};

#define AT(member) offsetof(struct route_options, member)

static const struct option_row rows[] = {
    {"--host", NULL, TEXT, AT(host), "HOST", "address to listen on (127.0.0.1)"},
    {"--port", NULL, PORT, AT(port), "PORT", "port to listen on (8000); 0 picks one"},
    {"--prefiller-hosts", "--prefiller-host", HOSTS, AT(prefill), "HOST...",
     "prefill engines (localhost)"},
    {"--prefiller-ports", "--prefiller-port", PORTS, AT(prefill), "PORT...",
     "their ports, one a host (8100)"},
    {"--decoder-hosts", "--decoder-host", HOSTS, AT(decode), "HOST...",
     "decode engines (localhost)"},
    {"--decoder-ports", "--decoder-port", PORTS, AT(decode), "PORT...",
     "their ports, one a host (8200)"},
    {"--prefill-policy", NULL, TEXT, AT(prefill.policy), "NAME",
     "prefill_tokens (default), sequences or round_robin"},
    {"--decode-policy", NULL, TEXT, AT(decode.policy), "NAME",
     "sequences (default), prefill_tokens or round_robin"},
    {"--prefill-limit", NULL, COUNT, AT(prefill.limit), "N",
     "requests one prefill engine gets at once (0: no limit)"},
    {"--decode-limit", NULL, COUNT, AT(decode.limit), "N",
     "requests one decode engine gets at once (0: no limit)"},
    {"--workers", NULL, COUNT, AT(workers), "N", "worker processes (1)"},
    {"--max-body", NULL, SIZE, AT(max_body), "SIZE",
     "largest request body; k, m and g are understood (64m)"},
    {"--connect-timeout", NULL, SECONDS, AT(connect_ms), "S",
     "seconds to connect to an engine (2)"},
    {"--prefill-timeout", NULL, SECONDS, AT(prefill_ms), "S",
     "seconds until a prefill has answered (300)"},
    {"--first-byte-timeout", NULL, SECONDS, AT(first_byte_ms), "S",
     "seconds until decode's first byte (300)"},
    {"--idle-timeout", NULL, SECONDS, AT(idle_ms), "S",
     "seconds between two pieces of an answer (60)"},
    {"--total-timeout", NULL, SECONDS, AT(total_ms), "S",
     "seconds for a request in all (3600)"},
    {"--access-log", NULL, TEXT, AT(access_log), "FILE",
     "a line of JSON a request; - is stderr, off is none (-)"},
    {"--nginx", NULL, TEXT, AT(nginx), "FILE", "the nginx to run (found in PATH)"},
    {"--json", NULL, FLAG, AT(json), NULL, "say port and pid as JSON on stdout"},
    {"--check", NULL, FLAG, AT(check), NULL, "check the configuration and end"},
    {"--print-config", NULL, FLAG, AT(print_config), NULL,
     "print the nginx configuration and end"},
    {"--help", "-h", FLAG, AT(help), NULL, "this list"},
};

void route_help(FILE *out)
{
    fprintf(out,
            "usage: segue route [OPTIONS]\n\n"
            "An OpenAI-compatible router for prefill and decode engines, in front of "
            "nginx. Every request\nto /v1/completions and /v1/chat/completions is "
            "prefilled on one engine and decoded on another;\nother paths go to a "
            "decode engine. /segue/metrics has the router's own counters.\n\n");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char left[80];
        snprintf(left, sizeof left, "%s%s%s %s", rows[i].name, rows[i].alias ? ", " : "",
                 rows[i].alias ? rows[i].alias : "",
                 rows[i].argument ? rows[i].argument : "");
        fprintf(out, "  %-46s %s\n", left, rows[i].help);
    }
    fprintf(out, "\nExit status: 0 ended as asked, 1 nginx refused the configuration, 2 "
                 "usage, 3 something is\nmissing here. docs/router.md says more.\n");
}

static bool fail(const char *name, const char *value, const char *what)
{
    fprintf(stderr, "segue route: %s %s: %s\n", name, value, what);
    return false;
}

static bool whole_number(const char *text, long max, int *out)
{
    char *end;
    long value = strtol(text, &end, 10);
    if (end == text || *end || value < 0 || value > max)
        return false;
    *out = (int)value;
    return true;
}

static bool size_of(const char *text, int64_t *out)
{
    char *end;
    double value = strtod(text, &end);
    double unit = 1;
    if (*end == 'k' || *end == 'K')
        unit = 1024;
    else if (*end == 'm' || *end == 'M')
        unit = 1024 * 1024;
    else if (*end == 'g' || *end == 'G')
        unit = 1024.0 * 1024 * 1024;
    if (end == text || (unit > 1 ? end[1] : *end) || !(value > 0) ||
        value * unit > (double)(INT64_C(1) << 40))
        return false;
    *out = (int64_t)(value * unit);
    return true;
}

static bool seconds(const char *text, int64_t *out)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value > 0) || value > 1e6)
        return false;
    *out = (int64_t)(value * 1000 + 0.5);
    return *out > 0;
}

/* One value of an option; list options are called once for each. */
static bool take(const struct option_row *row, const char *value,
                 struct route_options *options)
{
    char *field = (char *)options + row->offset;
    struct route_engines *engines = (struct route_engines *)field;
    switch (row->kind) {
    case TEXT:
        *(const char **)field = value;
        return true;
    case PORT:
        return whole_number(value, 65535, (int *)field) ||
               fail(row->name, value, "a port is 0 to 65535");
    case COUNT:
        return whole_number(value, 1000000, (int *)field) ||
               fail(row->name, value, "this takes a whole number");
    case SIZE:
        return size_of(value, (int64_t *)field) ||
               fail(row->name, value, "a size is a number and k, m or g");
    case SECONDS:
        return seconds(value, (int64_t *)field) ||
               fail(row->name, value, "this takes seconds, above 0");
    case HOSTS:
        if (engines->host_count == ROUTE_ENGINES)
            return fail(row->name, value, "too many engines");
        engines->hosts[engines->host_count++] = value;
        return true;
    case PORTS:
        if (engines->port_count == ROUTE_ENGINES)
            return fail(row->name, value, "too many engines");
        if (!whole_number(value, 65535, &engines->ports[engines->port_count]) ||
            engines->ports[engines->port_count] == 0)
            return fail(row->name, value, "a port is 1 to 65535");
        engines->port_count++;
        return true;
    case FLAG:
        break;
    }
    return false;
}

static const struct option_row *row_find(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if ((strlen(rows[i].name) == len && strncmp(rows[i].name, name, len) == 0) ||
            (rows[i].alias && strlen(rows[i].alias) == len &&
             strncmp(rows[i].alias, name, len) == 0))
            return &rows[i];
    return NULL;
}

/* A list begins anew each time its option is given, as argparse has it. */
static void begin_list(const struct option_row *row, struct route_options *options)
{
    struct route_engines *engines = (struct route_engines *)((char *)options +
                                                             row->offset);
    if (row->kind == HOSTS)
        engines->host_count = 0;
    if (row->kind == PORTS)
        engines->port_count = 0;
}

/* Option number `i`; returns the index of what follows it, 0 when it is wrong. */
static int take_option(int argc, char **argv, int i, struct route_options *options)
{
    const char *equals = strchr(argv[i], '=');
    size_t len = equals ? (size_t)(equals - argv[i]) : strlen(argv[i]);
    const struct option_row *row = row_find(argv[i], len);
    if (row == NULL) {
        fprintf(stderr, "segue route: %s is no option; --help lists them\n", argv[i]);
        return 0;
    }
    if (row->kind == FLAG) {
        *((bool *)((char *)options + row->offset)) = true;
        return i + 1;
    }
    begin_list(row, options);
    if (equals)
        return take(row, equals + 1, options) ? i + 1 : 0;
    bool list = row->kind == HOSTS || row->kind == PORTS;
    int first = ++i;
    while (i < argc && (i == first || list) && strncmp(argv[i], "--", 2) != 0)
        if (!take(row, argv[i++], options))
            return 0;
    if (i == first) {
        fprintf(stderr, "segue route: %s takes %s\n", row->name, row->argument);
        return 0;
    }
    return i;
}

static bool pair(struct route_engines *engines, const char *role, int default_port)
{
    if (engines->host_count == 0)
        engines->hosts[engines->host_count++] = "localhost";
    if (engines->port_count == 0)
        engines->ports[engines->port_count++] = default_port;
    if (engines->host_count == engines->port_count)
        return true;
    fprintf(stderr, "segue route: %zu %s hosts, but %zu ports: give one port a host\n",
            engines->host_count, role, engines->port_count);
    return false;
}

bool route_parse(int argc, char **argv, struct route_options *options)
{
    *options = (struct route_options){
        .host = "127.0.0.1",
        .port = 8000,
        .workers = 1,
        .max_body = 64 * 1024 * 1024,
        .connect_ms = 2000,
        .prefill_ms = 300000,
        .first_byte_ms = 300000,
        .idle_ms = 60000,
        .total_ms = 3600000,
        .access_log = "-",
    };
    for (int i = 1; i < argc;) {
        i = take_option(argc, argv, i, options);
        if (i == 0)
            return false;
    }
    if (options->workers == 0) {
        fprintf(stderr, "segue route: --workers 0: at least one is needed\n");
        return false;
    }
    return pair(&options->prefill, "prefiller", 8100) &&
           pair(&options->decode, "decoder", 8200);
}
