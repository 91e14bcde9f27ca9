/* SPDX-License-Identifier: Apache-2.0 */
/* kv_transfer_params from any bytes: what is believed can be said again and is then the same ticket. */
#include <segue/ticket.h>

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct segue_ticket ticket, again;
    static char text[8192];
    size_t len;
    if (segue_ticket_params_read((const char *)data, size, &ticket) < 0)
        return 0;
    if (!memchr(ticket.engine_id, 0, sizeof ticket.engine_id) ||
        !memchr(ticket.address, 0, sizeof ticket.address))
        abort();
    if (segue_ticket_params_write(&ticket, NULL, text, sizeof text, &len) < 0 ||
        segue_ticket_params_read(text, len, &again) < 0 ||
        memcmp(&ticket.id, &again.id, sizeof ticket.id) != 0 ||
        memcmp(&ticket.hash, &again.hash, sizeof ticket.hash) != 0 ||
        ticket.tokens != again.tokens || ticket.uses != again.uses ||
        strcmp(ticket.engine_id, again.engine_id) != 0 ||
        strcmp(ticket.address, again.address) != 0)
        abort();
    return 0;
}
