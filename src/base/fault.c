/* SPDX-License-Identifier: Apache-2.0 */
/* Fault schedules: read, and asked. */
#include "base/fault.h"

#include "base/log.h"
#include "base/status.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES 63
#define RULES_MAX      256

enum unit { NONE, TIME, COUNT };

static const struct {
    const char *word;
    enum unit unit;
    uint64_t amount; /* when none is given; times in ms */
    enum segue_fault_doer doer;
} whats[] = {
#define ROW(id, word, unit, amount, doer) {word, unit, amount, SEGUE_FAULT_##doer},
    SEGUE_FAULT_MAP(ROW)
#undef ROW
};

struct rule {
    char who[NAME_MAX_BYTES + 1];
    const struct segue_fault_step *step;
    uint32_t nth; /* 0: every time */
    struct segue_fault fault;
    atomic_uint passed;
};

struct segue_faults {
    atomic_uint owners;
    size_t n;
    char who[NAME_MAX_BYTES + 1];
    struct rule rule[];
};

/* ---- reading ---- */

struct word {
    const char *at;
    size_t len;
};

struct line {
    unsigned number;
    const char *at, *end;
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* A '#' at the beginning of a word begins a comment; inside one it says which time. */
static struct word next_word(struct line *line)
{
    while (line->at < line->end && is_space(*line->at))
        line->at++;
    if (line->at < line->end && *line->at == '#')
        line->at = line->end;
    struct word word = {line->at, 0};
    while (line->at < line->end && !is_space(*line->at))
        line->at++;
    word.len = (size_t)(line->at - word.at);
    return word;
}

static bool is(struct word word, const char *text)
{
    return strlen(text) == word.len && memcmp(text, word.at, word.len) == 0;
}

static int shown(struct word word)
{
    return word.len > 60 ? 60 : (int)word.len;
}

static enum segue_status bad(const struct line *line, struct word word, const char *want)
{
    if (!word.len)
        return segue_fail(SEGUE_E_INVALID, "fault schedule, line %u: %s is missing",
                          line->number, want);
    return segue_fail(SEGUE_E_INVALID, "fault schedule, line %u: '%.*s' is no %s",
                      line->number, shown(word), word.at, want);
}

/* Digits; false when there are none, or too many. */
static bool take_number(struct word *word, uint64_t *out)
{
    size_t n = 0;
    uint64_t value = 0;
    while (n < word->len && n < 12 && word->at[n] >= '0' && word->at[n] <= '9')
        value = value * 10 + (uint64_t)(word->at[n++] - '0');
    word->at += n;
    word->len -= n;
    *out = value;
    return n > 0;
}

static enum segue_status read_step(const struct line *line, struct word word,
                                   const struct segue_fault_step *steps,
                                   struct rule *rule)
{
    const char *hash = memchr(word.at, '#', word.len);
    struct word name = {word.at, hash ? (size_t)(hash - word.at) : word.len};
    uint64_t nth = 1;
    if (hash) {
        struct word times = {hash + 1, word.len - name.len - 1};
        if (is(times, "*"))
            nth = 0;
        else if (!take_number(&times, &nth) || times.len || nth == 0 || nth > UINT32_MAX)
            return bad(line, word, "step with #N or #*");
    }
    rule->nth = (uint32_t)nth;
    for (rule->step = steps; rule->step->name; rule->step++)
        if (is(name, rule->step->name))
            return SEGUE_OK;
    return bad(line, word, "step of a hand-off");
}

static enum segue_status read_what(const struct line *line, struct word word,
                                   struct rule *rule)
{
    for (int i = 0; i < SEGUE_FAULT_COUNT; i++)
        if (is(word, whats[i].word)) {
            rule->fault.what = (enum segue_fault_what)i;
            if (whats[i].doer & ~rule->step->doers)
                return segue_fail(SEGUE_E_INVALID,
                                  "fault schedule, line %u: '%s' cannot be done at %s",
                                  line->number, whats[i].word, rule->step->name);
            return SEGUE_OK;
        }
    return bad(line, word, "fault");
}

static enum segue_status read_amount(const struct line *line, struct word word,
                                     struct rule *rule)
{
    static const struct {
        const char *word;
        uint64_t ns;
    } units[] = {{"us", 1000}, {"ms", 1000000}, {"s", 1000000000}};
    enum unit unit = whats[rule->fault.what].unit;
    uint64_t amount = whats[rule->fault.what].amount, ns = unit == TIME ? 1000000 : 1;
    struct word rest = word;
    if (word.len) {
        bool known = unit == COUNT;
        if (unit == NONE || !take_number(&rest, &amount))
            return bad(line, word, unit == NONE ? "part of that fault" : "amount");
        for (size_t i = 0; unit == TIME && i < sizeof units / sizeof *units; i++)
            if (is(rest, units[i].word)) {
                ns = units[i].ns;
                known = true;
                rest.len = 0;
            }
        if (!known || rest.len || amount > UINT64_C(86400000000000) / ns)
            return bad(line, word, unit == TIME ? "time, as 300ms or 2s" : "number");
    }
    rule->fault.amount = amount * ns;
    return SEGUE_OK;
}

/* An empty line is no rule: *used stays false. */
static enum segue_status read_rule(struct line *line,
                                   const struct segue_fault_step *steps,
                                   struct rule *rule, bool *used)
{
    struct word who = next_word(line);
    *used = who.len > 0;
    if (!*used)
        return SEGUE_OK;
    if (who.len > NAME_MAX_BYTES || memchr(who.at, 0, who.len))
        return bad(line, who, "engine's name");
    memcpy(rule->who, who.at, who.len);
    SEGUE_TRY(read_step(line, next_word(line), steps, rule));
    SEGUE_TRY(read_what(line, next_word(line), rule));
    SEGUE_TRY(read_amount(line, next_word(line), rule));
    struct word more = next_word(line);
    return more.len ? bad(line, more, "part of a rule") : SEGUE_OK;
}

static size_t count_lines(const char *text, size_t len)
{
    size_t n = 1;
    for (size_t i = 0; i < len; i++)
        n += text[i] == '\n' || text[i] == ';';
    return n;
}

enum segue_status segue_faults_parse(const char *text, size_t len, const char *who,
                                     const struct segue_fault_step *steps,
                                     struct segue_faults **out)
{
    size_t room = count_lines(text, len);
    room = room < RULES_MAX ? room : RULES_MAX;
    struct segue_faults *f = calloc(1, sizeof *f + room * sizeof *f->rule);
    if (!f)
        return segue_fail(SEGUE_E_MEMORY, "no memory for a fault schedule");
    atomic_init(&f->owners, 1);
    snprintf(f->who, sizeof f->who, "%s", who);
    const char *at = text, *end = text + len;
    enum segue_status status = SEGUE_OK;
    for (unsigned number = 1; at <= end && status >= 0;) {
        const char *stop = at;
        while (stop < end && *stop != '\n' && *stop != ';')
            stop++;
        struct line line = {number, at, stop};
        struct rule rule = {0};
        bool used;
        status = read_rule(&line, steps, &rule, &used);
        at = stop + 1;
        number += stop < end && *stop == '\n';
        if (status < 0 || !used ||
            (strcmp(rule.who, "*") != 0 && strcmp(rule.who, f->who) != 0))
            continue;
        if (f->n == room) {
            status = segue_fail(SEGUE_E_LIMIT,
                                "fault schedule: more than %d rules for one engine",
                                RULES_MAX);
            continue;
        }
        memcpy(f->rule[f->n].who, rule.who, sizeof rule.who);
        f->rule[f->n].step = rule.step;
        f->rule[f->n].nth = rule.nth;
        f->rule[f->n++].fault = rule.fault;
    }
    if (status < 0) {
        free(f);
        return status;
    }
    *out = f;
    return SEGUE_OK;
}

struct segue_faults *segue_faults_retain(struct segue_faults *faults)
{
    if (faults)
        atomic_fetch_add(&faults->owners, 1);
    return faults;
}

void segue_faults_release(struct segue_faults *faults)
{
    if (faults && atomic_fetch_sub(&faults->owners, 1) == 1)
        free(faults);
}

/* ---- asking ---- */

bool segue_faults_name(const struct segue_faults *faults, const char *const *steps)
{
    for (size_t i = 0; faults && i < faults->n; i++)
        for (const char *const *step = steps; *step; step++)
            if (strcmp(faults->rule[i].step->name, *step) == 0)
                return true;
    return false;
}

bool segue_fault_at(struct segue_faults *faults, const char *step,
                    struct segue_fault *out)
{
    bool mine = false;
    for (size_t i = 0; faults && i < faults->n; i++) {
        struct rule *rule = &faults->rule[i];
        if (strcmp(rule->step->name, step) != 0)
            continue;
        unsigned passed = atomic_fetch_add(&rule->passed, 1) + 1;
        if (rule->nth && rule->nth != passed)
            continue;
        SEGUE_LOG(INFO, "fault", "%s %s#%u %s", faults->who, step, passed,
                  whats[rule->fault.what].word);
        if (whats[rule->fault.what].doer == SEGUE_FAULT_PROCESS) {
            segue_fault_process(&rule->fault);
        } else if (!mine) { /* one rule a passing: the first that is written */
            *out = rule->fault;
            mine = true;
        }
    }
    return mine;
}
