/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of `segue demo`. */
#include "command.h"
#include "demo.h"
#include "fail.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MOST_PROMPT = 1 << 20, MOST_BLOCK = 4096, MOST_TP = 64, MOST_TOKENS = 8192 };

static const char *const digests[] = {"off", "sample", "full", NULL};
static const char *const corruptions[] = {"flip", "swap", "cross", NULL};
static const char *const devices[] = {
    "host", "sim:cuda", "sim:xpu", "sim:gaudi", "sim:tpu", "cuda", "levelzero",
    "hip",  "gaudi",    "cpu",     "xpu",       "hpu",     NULL};

static int word_index(const char *const *words, const char *word)
{
    for (int i = 0; words[i]; i++)
        if (strcmp(words[i], word) == 0)
            return i;
    return -1;
}

/* A whole number 1..most. */
static bool number(const char *text, uint32_t most, uint32_t *out)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (end == text || *end || text[0] < '0' || text[0] > '9' || errno || value < 1 ||
        value > most)
        return false;
    *out = (uint32_t)value;
    return true;
}

bool demo_topology_parse(const char *text, struct demo_topology *out, char *why,
                         size_t size)
{
    struct demo_topology t = {0};
    char p = 0, d = 0;
    int used = 0;
    if (sscanf(text, "%1u%c%1u%c%n", &t.prefill, &p, &t.decode, &d, &used) != 4 ||
        text[used] || text[0] < '1' || text[2] < '1' || (p != 'p' && p != 'P') ||
        (d != 'd' && d != 'D') || t.prefill > DEMO_ENGINES || t.decode > DEMO_ENGINES) {
        snprintf(why, size,
                 "a topology is written 2p1d, with 1 to %d engines of each kind",
                 DEMO_ENGINES);
        return false;
    }
    *out = t;
    return true;
}

static bool set_key(struct demo_geometry *g, const char *key, const char *value,
                    char *why, size_t size)
{
    if (strcmp(key, "block") == 0) {
        if (number(value, MOST_BLOCK, &g->block))
            return true;
        snprintf(why, size, "block=%s: a block has 1 to %d tokens", value, MOST_BLOCK);
    } else if (strcmp(key, "tp") == 0) {
        if (number(value, MOST_TP, &g->tp))
            return true;
        snprintf(why, size, "tp=%s: TP is 1 to %d", value, MOST_TP);
    } else if (strcmp(key, "layout") == 0) {
        if (cache_order_parse(&g->order, value) == 0)
            return true;
        snprintf(why, size, "layout=%s: %s", value, engine_error());
    } else if (strcmp(key, "dtype") == 0) {
        if (cache_dtype_parse(&g->dtype, value) == 0)
            return true;
        snprintf(why, size, "dtype=%s: %s", value, engine_error());
    } else if (strcmp(key, "device") == 0) {
        if (word_index(devices, value) >= 0) {
            snprintf(g->device, sizeof g->device, "%s", value);
            return true;
        }
        snprintf(why, size,
                 "device=%s: a device is host or sim:cuda, sim:xpu, sim:gaudi, "
                 "sim:tpu",
                 value);
    } else {
        snprintf(why, size, "'%s' is no key; there are block, layout, tp, device, dtype",
                 key);
    }
    return false;
}

bool demo_geometry_parse(const char *text, struct demo_geometry *out, char *why,
                         size_t size)
{
    struct demo_geometry g = *out;
    char copy[256], *rest = copy;
    if (snprintf(copy, sizeof copy, "%s", text) >= (int)sizeof copy || !text[0]) {
        snprintf(why, size,
                 "a geometry is written block=16,layout=hnd,tp=3,"
                 "device=sim:cuda,dtype=fp16");
        return false;
    }
    for (char *pair; (pair = strsep(&rest, ","));) {
        char *equals = strchr(pair, '=');
        if (!equals) {
            snprintf(why, size, "'%s' is no KEY=VALUE", pair);
            return false;
        }
        *equals = '\0';
        if (!set_key(&g, pair, equals + 1, why, size))
            return false;
    }
    *out = g;
    return true;
}

const char *demo_layout_name(enum cache_order order)
{
    if (order == CACHE_LBHNC)
        return "hnd";
    return order == CACHE_LBNHC ? "nhd" : cache_order_name(order);
}

/* The whole file, which must be text that JSON can hold. */
static char *read_prompt(const char *path, char *why, size_t size)
{
    FILE *in = fopen(path, "re");
    char *text = in ? malloc(MOST_PROMPT + 1) : NULL;
    size_t len = text ? fread(text, 1, MOST_PROMPT + 1, in) : 0;
    if (!in || ferror(in))
        snprintf(why, size, "reading %s failed: %s", path, strerror(errno));
    else if (len > MOST_PROMPT)
        snprintf(why, size, "%s is longer than 1 MiB", path);
    else if (memchr(text, '\0', len))
        snprintf(why, size, "%s is no text: it has a zero byte", path);
    else {
        text[len] = '\0';
        fclose(in);
        return text;
    }
    if (in)
        fclose(in);
    free(text);
    return NULL;
}

static bool check_prompt(const struct demo_options *options, char *why, size_t size)
{
    if (!options->prompt)
        return true;
    json_t *string = json_string(options->prompt);
    json_decref(string);
    if (string && options->prompt[0])
        return true;
    snprintf(why, size, string ? "the prompt is empty" : "the prompt is not UTF-8");
    return false;
}

static bool take_prompt(struct demo_options *options, char *prompt)
{
    free(options->prompt);
    options->prompt = prompt;
    return prompt != NULL;
}

static bool take_custom(const char *name, const char *value, struct demo_options *options,
                        char *why, size_t size)
{
    options->custom = true;
    if (strcmp(name, "--topology") == 0)
        return demo_topology_parse(value, &options->topology, why, size);
    if (strcmp(name, "--prefill") == 0)
        return demo_geometry_parse(value, &options->prefill, why, size);
    if (strcmp(name, "--decode") == 0)
        return demo_geometry_parse(value, &options->decode, why, size);
    if (strcmp(name, "--prompt") == 0)
        return take_prompt(options, strdup(value));
    return take_prompt(options, read_prompt(value, why, size));
}

/* One option with a value. */
static bool take(const char *name, const char *value, struct demo_options *options,
                 char *why, size_t size)
{
    if (strcmp(name, "--max-tokens") == 0) {
        if (number(value, MOST_TOKENS, &options->max_tokens))
            return true;
        snprintf(why, size, "it takes 1 to %d tokens", MOST_TOKENS);
    } else if (strcmp(name, "--model") == 0) {
        options->model = value;
        return true;
    } else if (strcmp(name, "--digest") == 0) {
        int index = word_index(digests, value);
        options->digest = (enum demo_digest)index;
        if (index >= 0)
            return true;
        snprintf(why, size, "it takes off, sample or full");
    } else if (strcmp(name, "--corrupt") == 0) {
        options->corrupt = value;
        if (word_index(corruptions, value) >= 0)
            return true;
        snprintf(why, size, "it takes flip, swap or cross");
    } else if (strcmp(name, "--fake-drivers") == 0) {
        struct stat info;
        options->fake_drivers = value;
        if (stat(value, &info) == 0 && S_ISDIR(info.st_mode))
            return true;
        snprintf(why, size, "there is no such folder");
    } else {
        return take_custom(name, value, options, why, size);
    }
    return false;
}

static bool *flag_of(const char *name, struct demo_options *options)
{
    if (strcmp(name, "--keep") == 0)
        return &options->keep;
    if (strcmp(name, "--json") == 0)
        return &options->json;
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return &options->help;
    return NULL;
}

static bool takes_value(const char *name)
{
    static const char *const names[] = {
        "--topology",     "--prefill",    "--decode", "--prompt",
        "--prompt-file",  "--model",      "--digest", "--corrupt",
        "--fake-drivers", "--max-tokens", NULL};
    return word_index(names, name) >= 0;
}

/* Option number *i, which moves to the next one. */
static bool take_option(int argc, char **argv, int *i, struct demo_options *options)
{
    char name[32], why[384] = "";
    const char *equals = strncmp(argv[*i], "--", 2) == 0 ? strchr(argv[*i], '=') : NULL;
    size_t len = equals ? (size_t)(equals - argv[*i]) : strlen(argv[*i]);
    snprintf(name, sizeof name, "%.*s", (int)(len < 31 ? len : 31), argv[*i]);
    bool *flag = equals ? NULL : flag_of(name, options);
    const char *value = equals ? equals + 1 : argv[*i + 1]; /* argv ends with NULL */
    if (flag) {
        *flag = true;
        ++*i;
        return true;
    }
    if (!takes_value(name))
        fprintf(stderr, "segue demo: %s is no option; --help lists them\n", argv[*i]);
    else if (!value)
        fprintf(stderr, "segue demo: %s takes a value\n", name);
    else if (!take(name, value, options, why, sizeof why) ||
             !check_prompt(options, why, sizeof why))
        fprintf(stderr, "segue demo: %s %.80s: %s\n", name,
                strcmp(name, "--prompt") == 0 ? "" : value, why);
    else {
        *i += equals ? 1 : 2;
        return true;
    }
    return false;
}

int demo_parse(int argc, char **argv, struct demo_options *options)
{
    *options = (struct demo_options){
        .topology = {1, 1},
        .prefill = {128, 1, CACHE_LBNHC, CACHE_FP16, "sim:gaudi"},
        .decode = {16, 1, CACHE_LBHNC, CACHE_FP16, "sim:cuda"},
        .max_tokens = 100,
        .digest = DEMO_DIGEST_FULL,
    };
    for (int i = 1; i < argc;)
        if (!take_option(argc, argv, &i, options))
            return EXIT_USAGE;
    if (options->corrupt && options->digest != DEMO_DIGEST_FULL &&
        strcmp(options->corrupt, "cross") != 0) {
        fprintf(stderr, "segue demo: --corrupt %s is only found with --digest full\n",
                options->corrupt);
        return EXIT_USAGE;
    }
    return EXIT_WELL;
}

void demo_options_free(struct demo_options *options)
{
    free(options->prompt);
    options->prompt = NULL;
}

void demo_help(FILE *out)
{
    fprintf(
        out,
        "usage: segue demo [OPTIONS]\n\n"
        "Starts prefill engines, decode engines and the router on this machine, hands "
        "requests over, and\ncompares each answer with the answer of one engine "
        "alone. Without topology, geometry or prompt it\nmakes its built-in runs; "
        "with any of them one run, which sends the prompt as it is.\n\n"
        "  --topology 2p1d      how many prefill and decode engines (1p1d)\n"
        "  --prefill K=V,...    the prefill engines' KV cache; keys block, layout, tp, "
        "device, dtype\n"
        "                       (block=128,layout=nhd,tp=1,device=sim:gaudi,"
        "dtype=fp16)\n"
        "  --decode K=V,...     the decode engines'\n"
        "                       (block=16,layout=hnd,tp=1,device=sim:cuda,"
        "dtype=fp16)\n"
        "  --prompt TEXT        the prompt, without a template\n"
        "  --prompt-file FILE   the same from a file\n"
        "  --max-tokens N       tokens to generate (100)\n"
        "  --model FILE         a GGUF model (the one that scripts/fetch-model "
        "fetches)\n"
        "  --digest WHICH       what both sides hash: off, sample, full (full)\n"
        "  --corrupt HOW        spoil the hand-off on purpose: flip, swap, cross; must "
        "end with status 1\n"
        "  --fake-drivers DIR   engines load vendor drivers from here first; the "
        "report says FAKE\n"
        "  --keep               keep the folder with the logs\n"
        "  --json               one JSON object on stdout instead of the report\n\n"
        "Exit status: 0 parity in every run, 1 no parity, 2 usage, 3 something is "
        "missing here.\ndocs/demo.md explains the report.\n");
}
