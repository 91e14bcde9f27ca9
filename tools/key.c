/* SPDX-License-Identifier: Apache-2.0 */
/* segue key: makes, shows and replaces cluster keys. */
#include "command.h"

#include <segue/key.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
    const char *verb, *file;
    bool secret, json, help;
};

static void usage(FILE *out)
{
    fprintf(out,
            "usage: segue key new|show|rotate [FILE] [--secret] [--json]\n\n"
            "The cluster key: who has it is a peer. FILE is $SEGUE_KEY when not given; "
            "engines take it\nas --kv-key.\n\n"
            "  new       make FILE, of mode 0600, with a new key\n"
            "  show      say which keys are in FILE, by their ids\n"
            "  rotate    take the next of three steps to a new key: accept it, use it, "
            "forget the old one;\n"
            "            after each, copy FILE to every host before the next\n"
            "  --secret  show the secrets too (show only)\n"
            "  --json    one object on stdout\n");
}

static int wrong(const char *why, const char *what)
{
    fprintf(stderr, "segue key: %s%s; segue key --help says more\n", why, what);
    return EXIT_USAGE;
}

static int failed(enum segue_status status)
{
    fprintf(stderr, "segue key: %s\n", segue_error_detail());
    return status == SEGUE_E_NOT_FOUND ? EXIT_MISSING : EXIT_NOT_SO;
}

static const char *advice(const struct segue_key_info *keys, size_t n)
{
    if (n == 1)
        return NULL;
    return keys[1].role == SEGUE_KEY_NEXT
               ? "copy the file to every host, then rotate again: the next key is used"
               : "copy the file to every host, then rotate again: the previous key is "
                 "forgotten";
}

/* Paths may hold anything. */
static void print_string(const char *text)
{
    putchar('"');
    for (; *text; text++)
        if (*text == '"' || *text == '\\')
            printf("\\%c", *text);
        else if ((unsigned char)*text < ' ')
            printf("\\u%04x", (unsigned)*text);
        else
            putchar(*text);
    putchar('"');
}

static void print_json(const struct options *o, const struct segue_key_info *keys,
                       size_t n)
{
    printf("{\"file\": ");
    print_string(o->file);
    printf(", \"keys\": [");
    for (size_t i = 0; i < n; i++) {
        printf("%s{\"role\": \"%s\", \"id\": \"%s\"", i ? ", " : "",
               segue_key_role_name(keys[i].role), keys[i].id);
        if (o->secret)
            printf(", \"secret\": \"%s\"", keys[i].secret);
        printf("}");
    }
    printf("]}\n");
}

static int show(const struct options *o)
{
    struct segue_key_info keys[SEGUE_KEYS_MAX];
    size_t n;
    enum segue_status status = segue_key_file_read(o->file, keys, &n);
    if (status < 0)
        return failed(status);
    const char *next = advice(keys, n);
    if (o->json)
        print_json(o, keys, n);
    for (size_t i = 0; i < n && !o->json; i++)
        printf("%-8s %s%s%s\n", segue_key_role_name(keys[i].role), keys[i].id,
               o->secret ? " " : "", o->secret ? keys[i].secret : "");
    if (next)
        fprintf(stderr, "segue key: %s\n", next);
    explicit_bzero(keys, sizeof keys);
    return EXIT_WELL;
}

static int parse(struct options *o, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--secret") == 0)
            o->secret = true;
        else if (strcmp(argv[i], "--json") == 0)
            o->json = true;
        else if (strcmp(argv[i], "--help") == 0)
            o->help = true;
        else if (argv[i][0] == '-')
            return wrong("there is no option ", argv[i]);
        else if (!o->verb)
            o->verb = argv[i];
        else if (!o->file)
            o->file = argv[i];
        else
            return wrong("one FILE at a time, not also ", argv[i]);
    }
    if (o->help)
        return EXIT_WELL;
    if (!o->verb)
        return wrong("new, show or rotate?", "");
    if (!o->file)
        o->file = getenv("SEGUE_KEY");
    if (!o->file || !*o->file)
        return wrong("which FILE? Name it, or set SEGUE_KEY", "");
    if (o->secret && strcmp(o->verb, "show") != 0)
        return wrong("--secret goes with show only", "");
    return EXIT_WELL;
}

int command_key(int argc, char **argv)
{
    struct options o = {0};
    enum segue_status status;
    int bad = parse(&o, argc, argv);
    if (bad)
        return bad;
    if (o.help) {
        usage(stdout);
        return EXIT_WELL;
    }
    if (strcmp(o.verb, "show") == 0)
        return show(&o);
    if (strcmp(o.verb, "new") == 0)
        status = segue_key_file_make(o.file);
    else if (strcmp(o.verb, "rotate") == 0)
        status = segue_key_file_rotate(o.file);
    else
        return wrong("new, show or rotate, not ", o.verb);
    return status < 0 ? failed(status) : show(&o);
}
