/* SPDX-License-Identifier: Apache-2.0 */
/* Turns chat messages into a prompt, for the one template known here: ChatML. A template is
 * a program in the model file; it is recognised by its text, not run. */
#ifndef ENGINE_CHAT_H
#define ENGINE_CHAT_H

#include "gguf.h"

struct chat_template {
    bool known;
    char *system; /* the message put first when there is no system message; NULL: none */
    char problem[192]; /* why not known: a sentence for the client */
};

struct chat_message {
    const char *role, *content;
    size_t content_length;
};

/* Looks at tokenizer.chat_template. -1: no memory. */
int chat_open(struct chat_template *chat, const struct gguf *gguf);
int chat_recognise(struct chat_template *chat, const char *text, size_t length);
void chat_close(struct chat_template *chat);

/* The prompt of these messages, which ends where the assistant's answer begins when
 * `generation`; malloc'ed. NULL: no memory. The template is known. */
char *chat_prompt(const struct chat_template *chat, const struct chat_message *messages,
                  size_t count, bool generation, size_t *length);

#endif
