/* SPDX-License-Identifier: Apache-2.0 */
/* Prints a benchmark's rows as a table or as the one JSON object of docs/cli.md. */
#include "bench/report.h"
#include "command.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

/* ---- this machine ---- */

static void cpu_name(char *text, size_t cap)
{
    snprintf(text, cap, "unknown");
    FILE *file = fopen("/proc/cpuinfo", "re");
    char line[256];
    while (file && fgets(line, sizeof line, file)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon && colon[1] == ' ') {
            snprintf(text, cap, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
            break;
        }
    }
    if (file)
        fclose(file);
    for (char *at = text; *at; at++) /* it stands in JSON as it is */
        if (*at < ' ' || *at > '~' || *at == '"' || *at == '\\')
            *at = '?';
}

struct host {
    char cpu[128];
    struct utsname name;
    long cores;
    double memory_gb;
};

static struct host host(void)
{
    struct host h = {.cores = sysconf(_SC_NPROCESSORS_ONLN)};
    cpu_name(h.cpu, sizeof h.cpu);
    uname(&h.name);
    h.memory_gb = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / 1e9;
    return h;
}

/* ---- targets ---- */

static bool has_target(const struct bench_row *row)
{
    for (int i = 0; i < row->n_ratios; i++)
        if (row->ratio[i].target > 0)
            return true;
    return row->limit > 0;
}

static bool met(const struct bench_row *row)
{
    for (int i = 0; i < row->n_ratios; i++)
        if (row->ratio[i].target > 0 && row->ratio[i].is.hi < row->ratio[i].target)
            return false;
    return !(row->limit > 0 && row->is.lo > row->limit);
}

static const char *mark(const struct bench_row *row)
{
    return !has_target(row) ? "" : met(row) ? "  met" : "  MISSED";
}

/* ---- rows ---- */

static void print_row(FILE *out, const struct bench_row *row)
{
    fprintf(out, "%-34s %4zu  %8.3f %8.3f %8.3f %-5s", row->name, row->n, row->is.min,
            row->is.median, row->is.max, row->unit);
    for (int i = 0; i < row->n_ratios; i++) {
        const struct bench_ratio *r = &row->ratio[i];
        fprintf(out, "  %s %.3f (%.3f..%.3f)", r->name, r->is.median, r->is.lo, r->is.hi);
        if (r->target > 0)
            fprintf(out, " of %.2f", r->target);
    }
    if (row->limit > 0)
        fprintf(out, "  (%.3f..%.3f) below %g", row->is.lo, row->is.hi, row->limit);
    fprintf(out, "%s\n", mark(row));
    fflush(out);
}

void bench_report_begin(const struct bench_report *report)
{
    struct host h = host();
    if (report->json)
        return;
    printf("segue bench %s on %s, %ld cores, Linux %s, %.1f GB\n", report->bench, h.cpu,
           h.cores, h.name.release, h.memory_gb);
    printf("%-34s %4s  %8s %8s %8s %-5s  ratio (90 %% interval)\n", "case", "n", "min",
           "median", "max", "unit");
}

void bench_report_row(struct bench_report *report, const struct bench_row *row)
{
    print_row(report->json ? stderr : stdout, row);
    if (report->n_rows == BENCH_ROWS_MAX)
        return;
    report->rows[report->n_rows++] = *row;
    report->n_missed += !met(row);
}

void bench_report_absent(struct bench_report *report, const char *name, const char *why)
{
    fprintf(stderr, "%-34s not measured: %s\n", name, why);
    report->n_absent++;
}

/* ---- the whole ---- */

static void json_ratios(const struct bench_row *row, const char *key,
                        double (*value)(const struct bench_ratio *ratio))
{
    printf(", \"%s\": {", key);
    const char *comma = "";
    for (int i = 0; i < row->n_ratios; i++) {
        double x = value(&row->ratio[i]);
        if (x <= 0)
            continue;
        printf("%s\"%s\": %.4f", comma, row->ratio[i].name, x);
        comma = ", ";
    }
    printf("}");
}

static double ratio_median(const struct bench_ratio *ratio)
{
    return ratio->is.median;
}

static double ratio_lo(const struct bench_ratio *ratio)
{
    return ratio->is.lo;
}

static double ratio_hi(const struct bench_ratio *ratio)
{
    return ratio->is.hi;
}

static double ratio_target(const struct bench_ratio *ratio)
{
    return ratio->target;
}

static void json_row(const struct bench_row *row)
{
    printf("    {\"case\": \"%s\", \"unit\": \"%s\", \"n\": %zu, \"min\": %.4f, "
           "\"median\": %.4f, \"max\": %.4f, \"provenance\": \"measured\"",
           row->name, row->unit, row->n, row->is.min, row->is.median, row->is.max);
    json_ratios(row, "ratio", ratio_median);
    json_ratios(row, "lo", ratio_lo);
    json_ratios(row, "hi", ratio_hi);
    if (has_target(row)) {
        json_ratios(row, "target", ratio_target);
        if (row->limit > 0)
            printf(", \"limit\": %g", row->limit);
        printf(", \"met\": %s", met(row) ? "true" : "false");
    }
    printf("}");
}

static void json(const struct bench_report *report)
{
    struct host h = host();
    printf("{\n  \"bench\": \"%s\",\n", report->bench);
    printf("  \"host\": {\"cpu\": \"%s\", \"cores\": %ld, \"kernel\": \"%s\", "
           "\"memory_gb\": %.1f},\n  \"rows\": [\n",
           h.cpu, h.cores, h.name.release, h.memory_gb);
    for (int i = 0; i < report->n_rows; i++) {
        json_row(&report->rows[i]);
        printf(i + 1 < report->n_rows ? ",\n" : "\n");
    }
    printf("  ]\n}\n");
}

int bench_report_end(const struct bench_report *report)
{
    if (report->json)
        json(report);
    if (report->n_missed)
        fprintf(stderr, "segue bench %s: %d of %d cases missed their target\n",
                report->bench, report->n_missed, report->n_rows);
    return report->n_missed ? EXIT_NOT_SO : report->n_absent ? EXIT_MISSING : EXIT_WELL;
}
