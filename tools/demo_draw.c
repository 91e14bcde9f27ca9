/* SPDX-License-Identifier: Apache-2.0 */
/* Sets the demo's report in ASCII, 88 columns wide. */
#include "demo_draw.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

enum { WIDTH = 88, LABEL = 14, BOX = 19 };

void draw_title(FILE *out, const struct demo_run *run, size_t number, size_t of)
{
    const struct model_config *c = &run->model->config;
    char title[64];
    if (of > 1)
        snprintf(title, sizeof title, "%zu of %zu: %s", number, of, run->name);
    else
        snprintf(title, sizeof title, "%s", run->name);
    fprintf(out, "== %s ", title);
    for (size_t i = strlen(title) + 4; i < WIDTH; i++)
        fputc('=', out);
    fprintf(out,
            "\n  %s: %" PRIu32 " layers, %" PRIu32 " query and %" PRIu32
            " KV heads of %" PRIu32 "\n\n",
            run->model->name, c->layers, c->heads, c->kv_heads, c->head_dim);
}

static void side_title(char *out, size_t size, const char *role, uint32_t count)
{
    if (count > 1)
        snprintf(out, size, "%u x %s", count, role);
    else
        snprintf(out, size, "%s", role);
}

static void side_lines(char lines[4][BOX + 1], const char *role, uint32_t count,
                       const struct demo_geometry *g)
{
    char full[4][64];
    side_title(full[0], sizeof full[0], role, count);
    snprintf(full[1], sizeof full[1], "%s", g->device);
    snprintf(full[2], sizeof full[2], "block %" PRIu32 ", %s", g->block,
             demo_layout_name(g->order));
    snprintf(full[3], sizeof full[3], "TP %" PRIu32 ", %s", g->tp,
             cache_dtype_name(g->dtype));
    for (int i = 0; i < 4; i++)
        snprintf(lines[i], BOX + 1, "%.*s", BOX, full[i]);
}

void draw_picture(FILE *out, const struct demo_run *run)
{
    const char *path = run->count ? run->requests[0].handoff.path : "";
    char left[4][BOX + 1], right[4][BOX + 1];
    side_lines(left, "prefill", run->topology.prefill, &run->prefill);
    side_lines(right, "decode", run->topology.decode, &run->decode);
    fprintf(out, "                                client\n"
                 "                                  |\n"
                 "                           +------v------+\n"
                 "                           | segue route |\n"
                 "                           +---+-----+---+\n"
                 "                1. prompt      |     |      2. prompt + ticket\n"
                 "        +----------------------v+   +v----------------------+\n");
    for (int i = 0; i < 4; i++)
        fprintf(out, "        |  %-*s  |%s|  %-*s  |\n", BOX, left[i],
                i == 2 ? "==>" : "   ", BOX, right[i]);
    fprintf(out, "        +-----------------------+   +-----------------------+\n");
    fprintf(out, "%*s3. KV%s%s\n", path[0] ? 29 - (int)strlen(path) / 2 : 31, "",
            path[0] ? " over " : "", path);
}

static void label_column(FILE *out, const char *label)
{
    fprintf(out, "    %-*s ", LABEL - 1, label);
}

/* Prints one paragraph beside the label, folded at spaces. */
static void fold(FILE *out, const char **label, const char *text, size_t len)
{
    const size_t room = WIDTH - LABEL - 4;
    do {
        size_t cut = 0, columns = 0, space = 0;
        for (; cut < len && columns < room; cut++) {
            columns += ((unsigned char)text[cut] & 0xc0) != 0x80;
            if (text[cut] == ' ')
                space = cut;
        }
        while (cut < len && ((unsigned char)text[cut] & 0xc0) == 0x80)
            cut++;
        if (cut < len && text[cut] != ' ' && space)
            cut = space;
        label_column(out, *label);
        *label = "";
        fprintf(out, "%.*s\n", (int)cut, text);
        while (cut < len && text[cut] == ' ')
            cut++;
        text += cut;
        len -= cut;
    } while (len);
}

void draw_line(FILE *out, const char *label, const char *format, ...)
{
    char line[1024];
    va_list list;
    va_start(list, format);
    vsnprintf(line, sizeof line, format, list);
    va_end(list);
    fold(out, &label, line, strlen(line));
}

/* Control characters, also those of two bytes (C2 80 .. C2 9F), become dots. */
static void calm(char *text, size_t len)
{
    unsigned char *at = (unsigned char *)text;
    for (size_t i = 0; i < len; i++) {
        if ((at[i] < 0x20 && at[i] != '\n') || at[i] == 0x7f)
            at[i] = '.';
        if (at[i] == 0xc2 && i + 1 < len && at[i + 1] >= 0x80 && at[i + 1] < 0xa0)
            at[i] = at[i + 1] = '.';
    }
}

void draw_text(FILE *out, const char *label, const char *text, size_t len)
{
    char copy[8192], *rest = copy;
    if (len >= sizeof copy)
        len = sizeof copy - 1;
    memcpy(copy, text, len);
    copy[len] = '\0';
    calm(copy, len);
    for (char *line; (line = strsep(&rest, "\n"));)
        fold(out, &label, line, strlen(line));
}
