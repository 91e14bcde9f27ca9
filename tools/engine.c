/* SPDX-License-Identifier: Apache-2.0 */
/* segue engine: the reference engine as a server. */
#include "command.h"
#include "engine.h"
#include "fail.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct options {
    struct engine_opts engine;
    bool json, help;
};

enum kind { TEXT, CONTENT, COUNT, PORT, SIZE, FLAG, ROLE, ORDER, DTYPE, WORD };

struct row {
    const char *name;
    enum kind kind;
    size_t at;
    const char *argument, *help; /* help NULL: made for tests, not listed */
};

#define ENGINE(member) offsetof(struct options, engine.member)

/* Parser and help in one. */
static const struct row rows[] = {
    {"--model", TEXT, ENGINE(model), "FILE",
     "the model, a GGUF of the llama architecture"},
    {"--served-model-name", TEXT, ENGINE(served_name), "NAME",
     "what clients call it (the file's name)"},
    {"--host", TEXT, ENGINE(host), "ADDRESS", "address to listen on (127.0.0.1)"},
    {"--port", PORT, ENGINE(port), "N", "port to listen on (8000); 0 picks one"},
    {"--role", ROLE, ENGINE(role), "ROLE",
     "its part in hand-offs: both, prefill or decode (both)"},
    {"--block-size", COUNT, ENGINE(block_tokens), "N", "tokens in a KV block (16)"},
    {"--layout", ORDER, ENGINE(order), "ORDER",
     "nhd, hnd, or LBHNC LBNHC LHBNC BLHNC BLNHC BHLNC (nhd)"},
    {"--tp", COUNT, ENGINE(tp), "N", "tensor-parallel ranks (1)"},
    {"--dtype", DTYPE, ENGINE(dtype), "TYPE", "of K and V: fp32, fp16, bf16, fp8 (fp16)"},
    {"--kv-round", DTYPE, ENGINE(round), "TYPE",
     "precision a prompt's K and V had in the engine they are thought to come from"},
    {"--device", TEXT, ENGINE(device), "DEVICE", "where K and V live (host)"},
    {"--kv-blocks", COUNT, ENGINE(blocks), "N", "blocks of the KV cache"},
    {"--kv-memory", SIZE, ENGINE(cache_bytes), "SIZE",
     "or its size, as 256MiB or 1GB (256MiB)"},
    {"--threads", COUNT, ENGINE(threads), "N", "per rank (the processors, shared)"},
    {"--max-batched-tokens", COUNT, ENGINE(max_tokens), "N", "most tokens a step (512)"},
    {"--max-seqs", COUNT, ENGINE(max_seqs), "N", "most requests a step (32)"},
    {"--max-model-len", COUNT, ENGINE(context), "N",
     "most tokens of prompt and answer (the model's)"},
    {"--max-body", SIZE, ENGINE(body_most), "SIZE", "largest request body (16MiB)"},
    {"--no-prefix-caching", FLAG, ENGINE(no_prefix_caching), NULL,
     "compute every prompt from its start"},
    {"--recompute", FLAG, ENGINE(recompute), NULL,
     "compute a prompt here when its KV does not come, rather than fail"},
    {"--engine-id", TEXT, ENGINE(engine_id), "ID", "its name among engines (random)"},
    {"--ipc-dir", TEXT, ENGINE(ipc_dir), "DIR", "folder of its control socket"},
    {"--require", TEXT, ENGINE(require), "PATHS",
     "hand over by these paths only, as shm/mapped,tcp"},
    {"--exclude", TEXT, ENGINE(exclude), "PATHS", "or never by these"},
    {"--kv-listen", TEXT, ENGINE(network.listen), "ADDRESS:PORT",
     "hand over to engines on other hosts"},
    {"--kv-advertise", TEXT, ENGINE(network.advertise), "ADDRESS",
     "where they reach it, when that is another"},
    {"--kv-key", TEXT, ENGINE(network.key), "FILE",
     "the cluster key: segue key new makes one"},
    {"--kv-encrypt", WORD, ENGINE(network.encrypt), "control|data",
     "on the way to other hosts: the KV too? (control)"},
    {"--kv-insecure", FLAG, ENGINE(network.insecure), NULL,
     "talk to other hosts without a key"},
    {"--digest", WORD, ENGINE(digest), "off|sample|full",
     "how much of what arrives is proved by hash (off)"},
    {"--corrupt", WORD, ENGINE(corrupt), "off|flip|swap|cross",
     "break every hand-off on purpose: a negative control (off)"},
    {"--fault", CONTENT, ENGINE(fault), "FILE", NULL},
    {"--json", FLAG, offsetof(struct options, json), NULL,
     "say host, port, pid and model as JSON on stdout"},
    {"--help", FLAG, offsetof(struct options, help), NULL, "this list"},
};

static void usage(FILE *out)
{
    fprintf(out, "usage: segue engine --model FILE [OPTIONS]\n\n"
                 "Serves the OpenAI API over one model. SIGTERM ends it.\n\n");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char left[40];
        if (rows[i].help == NULL)
            continue;
        snprintf(left, sizeof left, "%s %s", rows[i].name,
                 rows[i].argument != NULL ? rows[i].argument : "");
        fprintf(out, "  %-26s %s\n", left, rows[i].help);
    }
}

static int number(const char *name, const char *text, uint64_t least, uint64_t most,
                  uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || n < least ||
        n > most)
        return engine_fail("%s takes a number from %llu to %llu, not '%s'", name,
                           (unsigned long long)least, (unsigned long long)most, text);
    *out = n;
    return 0;
}

static int size(const char *name, const char *text, uint64_t *out)
{
    static const struct {
        const char *unit;
        uint64_t bytes;
    } units[] = {{"", 1},          {"B", 1},         {"KiB", 1 << 10},
                 {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1ull << 40},
                 {"KB", 1000},     {"MB", 1000000},  {"GB", 1000000000}};
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    for (size_t i = 0; text[0] >= '0' && text[0] <= '9' && errno == 0 &&
                       i < sizeof units / sizeof *units;
         i++)
        if (strcmp(end, units[i].unit) == 0 && n > 0 &&
            n <= UINT64_MAX / units[i].bytes) {
            *out = n * units[i].bytes;
            return 0;
        }
    return engine_fail("%s takes a size, as 256MiB or 1GB, not '%s'", name, text);
}

/* One of the words of the row's argument; its number. */
static int word(const struct row *row, const char *text, uint32_t *out)
{
    uint32_t i = 0;
    for (const char *at = row->argument; *at != '\0'; i++) {
        size_t length = strcspn(at, "|");
        if (strlen(text) == length && memcmp(at, text, length) == 0) {
            *out = i;
            return 0;
        }
        at += length + (at[length] == '|');
    }
    return engine_fail("%s is one of %s, not '%s'", row->name, row->argument, text);
}

/* What a file says, kept as long as the program runs. */
static int content(const char *name, const char *path, const char **out)
{
    enum { MOST = 1 << 16 };
    static char room[MOST];
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return engine_fail("%s: cannot open %s: %s", name, path, strerror(errno));
    size_t n = fread(room, 1, sizeof room, file);
    fclose(file);
    if (n == sizeof room || memchr(room, '\0', n) != NULL)
        return engine_fail("%s: %s is no text of less than %d bytes", name, path, MOST);
    room[n] = '\0';
    *out = room;
    return 0;
}

static int role(const char *text, enum engine_role *out)
{
    static const char *const names[] = {"both", "prefill", "decode"};
    for (int i = 0; i < 3; i++)
        if (strcmp(text, names[i]) == 0) {
            *out = (enum engine_role)i;
            return 0;
        }
    return engine_fail("--role is both, prefill or decode, not '%s'", text);
}

static int set(struct options *options, const struct row *row, const char *text)
{
    void *at = (char *)options + row->at;
    uint64_t n = 0;
    switch (row->kind) {
    case TEXT:
        *(const char **)at = text;
        return 0;
    case CONTENT:
        return content(row->name, text, at);
    case COUNT:
        if (number(row->name, text, 1, UINT32_MAX / 2, &n) != 0)
            return -1;
        *(uint32_t *)at = (uint32_t)n;
        return 0;
    case PORT:
        if (number(row->name, text, 0, UINT16_MAX, &n) != 0)
            return -1;
        *(uint16_t *)at = (uint16_t)n;
        return 0;
    case SIZE:
        return size(row->name, text, at);
    case ROLE:
        return role(text, at);
    case WORD:
        return word(row, text, at);
    case ORDER:
        return cache_order_parse(at, text);
    case DTYPE:
        return cache_dtype_parse(at, text);
    default:
        *(bool *)at = true;
        return 0;
    }
}

static int parse(struct options *options, int argc, char **argv)
{
    engine_defaults(&options->engine);
    for (int i = 1; i < argc; i++) {
        const char *equals = strchr(argv[i], '=');
        size_t length = equals != NULL ? (size_t)(equals - argv[i]) : strlen(argv[i]);
        const struct row *row = NULL;
        for (size_t k = 0; k < sizeof rows / sizeof *rows && row == NULL; k++)
            if (strlen(rows[k].name) == length &&
                memcmp(rows[k].name, argv[i], length) == 0)
                row = &rows[k];
        if (row == NULL)
            return engine_fail("there is no option %s", argv[i]);
        const char *value = equals != NULL ? equals + 1 : NULL;
        if (row->argument != NULL && value == NULL && ++i < argc)
            value = argv[i];
        if ((row->argument != NULL) != (value != NULL))
            return engine_fail("%s takes %s", row->name,
                               row->argument != NULL ? row->argument : "no value");
        if (set(options, row, value) != 0)
            return -1;
    }
    if (options->engine.model == NULL && !options->help)
        return engine_fail("--model FILE is missing");
    return 0;
}

static void announce(const struct options *options, const struct engine *engine)
{
    struct engine_facts facts;
    engine_facts(engine, &facts);
    const char *host = options->engine.host;
    bool v6 = strchr(host, ':') != NULL;
    fprintf(stderr,
            "segue engine: %s, context %u, %u KV blocks of %u tokens (%.1f MB), %u x "
            "%u threads\n",
            facts.model, facts.context, facts.blocks, options->engine.block_tokens,
            (double)facts.cache_bytes / 1e6, options->engine.tp, facts.threads);
    fprintf(stderr, "segue engine: listening on http://%s%s%s:%u\n", v6 ? "[" : "", host,
            v6 ? "]" : "", facts.port);
    if (facts.kv_address[0])
        fprintf(stderr, "segue engine: other engines reach it at %s%s\n",
                facts.kv_address, options->engine.network.key ? "" : ", without a key");
    if (!options->json)
        return;
    printf("{\"host\": \"%s\", \"port\": %u, \"pid\": %ld, \"model\": \"%s\", "
           "\"context\": %u, \"kv_blocks\": %u, \"block_size\": %u, "
           "\"kv_address\": \"%s\"}\n",
           host, facts.port, (long)getpid(), facts.model, facts.context, facts.blocks,
           options->engine.block_tokens, facts.kv_address);
    fflush(stdout);
}

int command_engine(int argc, char **argv)
{
    struct options options = {0};
    if (parse(&options, argc, argv) != 0) {
        fprintf(stderr, "segue engine: %s; segue engine --help lists the options\n",
                engine_error());
        return EXIT_USAGE;
    }
    if (options.help) {
        usage(stdout);
        return EXIT_WELL;
    }
    /* Blocked before any thread starts, so that only sigwait sees them. */
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ends, NULL);
    signal(SIGPIPE, SIG_IGN);
    struct engine *engine;
    bool missing = false;
    if (engine_open(&engine, &options.engine, &missing) != 0) {
        fprintf(stderr, "segue engine: %s\n", engine_error());
        return missing ? EXIT_MISSING : EXIT_NOT_SO;
    }
    announce(&options, engine);
    int which;
    sigwait(&ends, &which);
    engine_close(engine);
    return EXIT_WELL;
}
