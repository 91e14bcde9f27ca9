/* SPDX-License-Identifier: Apache-2.0 */
/* segue layout: what the planner makes of two layouts, as a table and as a picture. */
#include "layout.h"
#include "command.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void usage(FILE *out)
{
    fprintf(out,
            "usage: segue layout FROM TO [--json] [--svg FILE]\n\n"
            "Prints the plan that carries KV from one engine's cache to another's: which "
            "moves, how far\napart, between which tensor-parallel ranks. FROM and TO are "
            "KEY=VALUE,... like those of\nsegue demo; what TO does not say of the model "
            "is as in FROM.\n\n"
            "  order (or layout)   nhd, hnd, or an order of L(ayer) B(lock) H(ead) N "
            "(token), then C (nhd)\n"
            "  kv                  token: K and V side by side for every token; halves: "
            "of a block;\n"
            "                      split: tensors of their own; k: K alone (MLA). Or a "
            "2 in the order,\n"
            "                      where they part: LBH2NC\n"
            "  block               tokens of a block (16)\n"
            "  tp                  tensor-parallel ranks (1)\n"
            "  dtype               fp32, fp16, bf16, fp8, fp8_e5m2, bytes (fp16)\n"
            "  kscale, vscale      what stored K, V elements are multiplied by (1)\n"
            "  layers, heads, dim  of the model: layers, KV heads, elements of a head "
            "(32, 8, 128)\n"
            "  vdim                elements of a head of V (dim)\n\n"
            "  --json      one object on stdout instead of the table\n"
            "  --svg FILE  write a picture of which bytes go where, in miniature\n\n"
            "Exit status 1: there is no such plan; the sentence names what does not "
            "fit.\n");
}

static int wrong(const char *what, const char *why)
{
    fprintf(stderr, "segue layout: %s: %s\n", what, why);
    return EXIT_USAGE;
}

static int failed(void)
{
    fprintf(stderr, "segue layout: %s\n", segue_error_detail());
    return EXIT_NOT_SO;
}

static int draw(const char *path, const struct layout_side *from,
                const struct layout_side *to)
{
    FILE *out = fopen(path, "we");
    enum segue_status status = out ? layout_svg(out, from, to) : SEGUE_OK;
    if (!out || fclose(out) != 0) {
        fprintf(stderr, "segue layout: writing %s failed: %s\n", path, strerror(errno));
        return EXIT_MISSING;
    }
    return status < 0 ? failed() : EXIT_WELL;
}

/* Into memory first, so that a plan that cannot be leaves nothing on stdout. */
static int print(const struct layout_side *from, const struct layout_side *to, bool json)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (!out)
        return failed();
    enum segue_status status = json ? layout_json(out, from, to)
                                    : layout_text(out, from, to);
    fclose(out);
    if (status >= 0)
        fwrite(text, 1, len, stdout);
    free(text);
    return status < 0 ? failed() : EXIT_WELL;
}

int command_layout(int argc, char **argv)
{
    const char *sides[2] = {NULL, NULL}, *svg = NULL;
    unsigned n = 0;
    bool json = false;
    char why[256];
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            usage(stdout);
            return EXIT_WELL;
        }
        if (strcmp(argv[i], "--json") == 0)
            json = true;
        else if (strcmp(argv[i], "--svg") == 0 && argv[i + 1])
            svg = argv[++i];
        else if (argv[i][0] == '-' || n == 2)
            return wrong(argv[i], "is not understood; --help says more");
        else
            sides[n++] = argv[i];
    }
    if (n < 2) {
        usage(stderr);
        return EXIT_USAGE;
    }
    struct layout_side from = {.order = "nhd",
                               .block = 16,
                               .tp = 1,
                               .layers = 32,
                               .heads = 8,
                               .dim = 128,
                               .dtype = SEGUE_DTYPE_FP16};
    if (!layout_side_parse(sides[0], &from, why, sizeof why))
        return wrong(sides[0], why);
    struct layout_side to = {.order = "nhd",
                             .block = from.block,
                             .tp = 1,
                             .layers = from.layers,
                             .heads = from.heads,
                             .dim = from.dim,
                             .vdim = from.vdim,
                             .vdim_said = from.vdim_said,
                             .dtype = from.dtype};
    if (!layout_side_parse(sides[1], &to, why, sizeof why))
        return wrong(sides[1], why);
    int status = print(&from, &to, json);
    return status == EXIT_WELL && svg ? draw(svg, &from, &to) : status;
}
