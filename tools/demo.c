/* SPDX-License-Identifier: Apache-2.0 */
/* segue demo: hands requests over between engines on this machine and shows that the
 * answers are those of one engine alone. */
#include "demo.h"
#include "command.h"
#include "demo_child.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

/* The dynamic loader of the engines looks there first. */
static void use_fake_drivers(const char *folder)
{
    const char *old = getenv("LD_LIBRARY_PATH");
    char path[4096], *real = realpath(folder, NULL);
    if (!real)
        return;
    snprintf(path, sizeof path, "%s%s%s", real, old && *old ? ":" : "", old ? old : "");
    setenv("LD_LIBRARY_PATH", path, 1);
    free(real);
}

static int perform(struct demo_run *runs, size_t count,
                   const struct demo_options *options)
{
    int status = EXIT_WELL;
    for (size_t i = 0; i < count; i++)
        if (!demo_tp_fits(&runs[i]))
            return EXIT_USAGE;
    for (size_t i = 0; i < count && !status; i++) {
        status = demo_run(&runs[i], options);
        if (!status && !options->json) {
            demo_text_run(stdout, &runs[i], i + 1, count);
            fflush(stdout);
        }
    }
    if (status)
        return status;
    if (options->json)
        demo_json(stdout, runs, count, options);
    else
        demo_text_end(stdout, runs, count, options);
    for (size_t i = 0; i < count; i++)
        if (!runs[i].parity)
            status = EXIT_NOT_SO;
    return status;
}

static int demo(const struct demo_options *options)
{
    struct demo_model model, tiny;
    struct demo_run runs[DEMO_RUNS];
    struct demo_path path = demo_model_path();
    int status = demo_model_read(&model, options->model ? options->model : path.text,
                                 "`make demo` fetches one, --model FILE names another");
    path = demo_tiny_path();
    if (!status && !options->custom)
        status = demo_model_read(&tiny, path.text, "build or install segue again");
    if (status)
        return status;
    if (options->fake_drivers)
        use_fake_drivers(options->fake_drivers);
    signals_catch();
    curl_global_init(CURL_GLOBAL_DEFAULT);
    size_t count = demo_plan(runs, options, &model, &tiny);
    status = perform(runs, count, options);
    for (size_t i = 0; i < count; i++)
        demo_run_free(&runs[i]);
    curl_global_cleanup();
    return status;
}

int command_demo(int argc, char **argv)
{
    struct demo_options options;
    int status = demo_parse(argc, argv, &options);
    if (!status && options.help)
        demo_help(stdout);
    else if (!status)
        status = demo(&options);
    demo_options_free(&options);
    signals_obey();
    return status;
}
