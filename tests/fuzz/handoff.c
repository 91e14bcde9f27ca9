/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of a hand-off from any bytes: the first byte says which decoder gets the rest. */
#include "agent/frame.h"
#include "handoff/wire.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is believed can be said again, and is then believed again. */
static void one_claim(struct segue_reader *r)
{
    static struct segue_layer layers[SEGUE_WIRE_LAYERS_MAX], more[SEGUE_WIRE_LAYERS_MAX];
    static uint8_t bytes[SEGUE_FRAME_MAX];
    struct segue_msg_claim m, again;
    if (segue_claim_read(r, &m, layers) < 0)
        return;
    struct segue_writer w = segue_writer_make(bytes, sizeof bytes);
    segue_claim_write(&w, &m);
    struct segue_reader back = segue_reader_make(bytes, w.len);
    if (w.failed || segue_claim_read(&back, &again, more) < 0 || again.pair != m.pair ||
        again.credits != m.credits || strcmp(again.model, m.model) != 0 ||
        again.geometry.layout.blocks != m.geometry.layout.blocks)
        abort();
}

static void one_accept(struct segue_reader *r)
{
    struct segue_msg_accept m;
    volatile uint64_t sum = 0;
    if (segue_accept_read(r, &m) < 0)
        return;
    for (uint32_t i = 0; i < m.n_runs; i++)
        sum += segue_run_at(&m, i).count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct segue_reader r = segue_reader_make(data + 1, size - 1);
    struct segue_msg_commit commit;
    struct segue_msg_verdict verdict;
    struct segue_msg_end end;
    uint64_t pair;
    switch (data[0] % 6) {
    case SEGUE_FRAME_CLAIM:
        one_claim(&r);
        break;
    case SEGUE_FRAME_ACCEPT:
        one_accept(&r);
        break;
    case SEGUE_FRAME_COMMIT:
        (void)segue_commit_read(&r, &commit);
        break;
    case SEGUE_FRAME_VERDICT:
        if (segue_verdict_read(&r, &verdict) == SEGUE_OK &&
            (!memchr(verdict.why, 0, sizeof verdict.why) ||
             verdict.verdict == SEGUE_VERDICT_NONE))
            abort();
        break;
    case SEGUE_FRAME_CANCEL:
        (void)segue_pair_read(&r, &pair);
        break;
    default:
        (void)segue_end_read(&r, &end);
    }
    return 0;
}
