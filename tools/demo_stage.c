/* SPDX-License-Identifier: Apache-2.0 */
/* Starts the engines of a run, the reference, and the router before them. */
#include "demo_stage.h"
#include "command.h"
#include "demo_progress.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const double ready_seconds = 120, log_seconds = 2;

enum { MOST_ARGUMENTS = 64 };

/* The words of a command line, with the texts of its numbers. */
struct arguments {
    const char *list[MOST_ARGUMENTS];
    char texts[MOST_ARGUMENTS][32];
    size_t count;
};

/* Either may be NULL. */
static void say(struct arguments *arguments, const char *name, const char *value)
{
    if (name)
        arguments->list[arguments->count++] = name;
    if (value)
        arguments->list[arguments->count++] = value;
}

static void say_number(struct arguments *arguments, const char *name, uint32_t value)
{
    char *text = arguments->texts[arguments->count];
    snprintf(text, sizeof arguments->texts[0], "%" PRIu32, value);
    say(arguments, name, text);
}

static const char *digest_name(enum demo_digest digest)
{
    static const char *const names[] = {"off", "sample", "full"};
    return names[digest];
}

static void engine_arguments(struct arguments *a, const struct stage *stage,
                             const struct demo_geometry *geometry, const char *role,
                             const char *name, const char *ipc)
{
    say(a, "segue", "engine");
    say(a, "--model", stage->run->model->path);
    say(a, "--host", "127.0.0.1");
    say(a, "--port", "0");
    say(a, "--role", role);
    say(a, "--engine-id", name);
    say(a, "--ipc-dir", ipc);
    say_number(a, "--block-size", geometry->block);
    say_number(a, "--tp", geometry->tp);
    say(a, "--layout", cache_order_name(geometry->order));
    say(a, "--dtype", cache_dtype_name(geometry->dtype));
    say_number(a, "--kv-blocks", demo_blocks(stage->run, geometry));
    say(a, "--no-prefix-caching", NULL); /* copies of one prompt are all to move */
    say(a, "--json", NULL);
}

static bool start_engine(struct stage *stage, struct server *server, const char *role,
                         const char *name)
{
    struct arguments a = {0};
    char ipc[128];
    bool reference = strcmp(role, "both") == 0;
    bool prefill = strcmp(role, "prefill") == 0;
    const struct demo_run *run = stage->run;
    const struct demo_geometry *geometry = prefill ? &run->prefill : &run->decode;
    snprintf(ipc, sizeof ipc, "%s/ipc", stage->children.folder.path);
    engine_arguments(&a, stage, geometry, role, name, ipc);
    say(&a, "--device", reference ? "host" : geometry->device);
    if (reference && run->prefill.dtype != run->decode.dtype)
        say(&a, "--kv-round", cache_dtype_name(run->prefill.dtype));
    if (!reference)
        say(&a, "--digest", digest_name(stage->options->digest));
    if (!reference && stage->options->corrupt)
        say(&a, "--corrupt", stage->options->corrupt);
    server->child = child_start(&stage->children, name, a.list);
    return server->child != NULL;
}

static bool start_engines(struct stage *stage)
{
    char name[DEMO_ENGINE_NAME];
    for (uint32_t i = 0; i < stage->run->topology.prefill; i++) {
        snprintf(name, sizeof name, "prefill-%u", i + 1);
        if (!start_engine(stage, &stage->prefill[i], "prefill", name))
            return false;
    }
    for (uint32_t i = 0; i < stage->run->topology.decode; i++) {
        snprintf(name, sizeof name, "decode-%u", i + 1);
        if (!start_engine(stage, &stage->decode[i], "decode", name))
            return false;
    }
    return start_engine(stage, &stage->reference, "both", "reference");
}

/* Waits for its line; an exit status. */
static int await(struct stage *stage, struct server *server)
{
    json_t *line = child_ready(&stage->children, server->child, ready_seconds);
    const char *model = json_string_value(json_object_get(line, "model"));
    if (!line)
        return child_verdict(server->child);
    server->port = (int)json_integer_value(json_object_get(line, "port"));
    if (model)
        snprintf(stage->model, sizeof stage->model, "%s", model);
    json_decref(line);
    return EXIT_WELL;
}

static int await_engines(struct stage *stage)
{
    int status = await(stage, &stage->reference);
    for (uint32_t i = 0; i < stage->run->topology.prefill && !status; i++)
        status = await(stage, &stage->prefill[i]);
    for (uint32_t i = 0; i < stage->run->topology.decode && !status; i++)
        status = await(stage, &stage->decode[i]);
    return status;
}

static int start_router(struct stage *stage)
{
    struct arguments a = {0};
    say(&a, "segue", "route");
    say(&a, "--host", "127.0.0.1");
    say(&a, "--port", "0");
    say(&a, "--json", NULL);
    say(&a, "--prefiller-hosts", NULL);
    for (uint32_t i = 0; i < stage->run->topology.prefill; i++)
        say(&a, "127.0.0.1", NULL);
    say(&a, "--prefiller-ports", NULL);
    for (uint32_t i = 0; i < stage->run->topology.prefill; i++)
        say_number(&a, NULL, (uint32_t)stage->prefill[i].port);
    say(&a, "--decoder-hosts", NULL);
    for (uint32_t i = 0; i < stage->run->topology.decode; i++)
        say(&a, "127.0.0.1", NULL);
    say(&a, "--decoder-ports", NULL);
    for (uint32_t i = 0; i < stage->run->topology.decode; i++)
        say_number(&a, NULL, (uint32_t)stage->decode[i].port);
    stage->router.child = child_start(&stage->children, "router", a.list);
    return stage->router.child ? await(stage, &stage->router) : EXIT_NOT_SO;
}

int stage_open(struct stage *stage, const struct demo_run *run,
               const struct demo_options *options)
{
    *stage = (struct stage){.run = run, .options = options};
    if (!children_open(&stage->children, options->keep))
        return EXIT_NOT_SO;
    demo_progress("%s: starting %u engines and the router", run->name,
                  run->topology.prefill + run->topology.decode + 1);
    if (!start_engines(stage))
        return EXIT_NOT_SO;
    int status = await_engines(stage);
    return status ? status : start_router(stage);
}

static json_t *find_line(FILE *log, const char *id)
{
    json_t *found = NULL;
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, log) > 0) {
        json_t *object = line[0] == '{' ? json_loads(line, 0, NULL) : NULL;
        const char *its = json_string_value(json_object_get(object, "id"));
        if (its && strcmp(its, id) == 0) {
            json_decref(found);
            found = json_incref(object);
        }
        json_decref(object);
    }
    free(line);
    return found;
}

json_t *stage_routed(const struct stage *stage, const char *id)
{
    char path[CHILD_LOG_PATH];
    json_t *line = NULL;
    double deadline = demo_now() + log_seconds;
    child_log_path(&stage->children, stage->router.child, path);
    for (bool again = true; again && !line; again = demo_now() < deadline) {
        FILE *log = fopen(path, "re");
        if (log) {
            line = find_line(log, id);
            fclose(log);
        }
        if (!line)
            usleep(10 * 1000);
    }
    return line;
}

const char *stage_engine(const struct stage *stage, const json_t *address)
{
    const char *text = json_string_value(address);
    const char *colon = text ? strrchr(text, ':') : NULL;
    int port = colon ? atoi(colon + 1) : 0;
    for (uint32_t i = 0; i < stage->run->topology.prefill; i++)
        if (port && stage->prefill[i].port == port)
            return stage->prefill[i].child->name;
    for (uint32_t i = 0; i < stage->run->topology.decode; i++)
        if (port && stage->decode[i].port == port)
            return stage->decode[i].child->name;
    return "";
}

void stage_close(struct stage *stage)
{
    children_close(&stage->children);
}

bool stage_broken(void *user)
{
    struct stage *stage = user;
    if (interrupted())
        return true;
    if (!stage->dead)
        stage->dead = children_dead(&stage->children);
    return stage->dead != NULL;
}
