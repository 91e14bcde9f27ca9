/* SPDX-License-Identifier: Apache-2.0 */
/* The client's body in one piece: where nginx has it, or put together from its buffers
 * and its temporary file. */
#include "ngx_http_segue.h"

static ngx_int_t append(ngx_http_request_t *r, ngx_buf_t *b, ngx_str_t *text)
{
    if (!b->in_file) {
        size_t len = (size_t)(b->last - b->pos);
        ngx_memcpy(text->data + text->len, b->pos, len);
        text->len += len;
        return NGX_OK;
    }
    off_t at = b->file_pos;
    while (at < b->file_last) {
        ssize_t n = ngx_read_file(b->file, text->data + text->len,
                                  (size_t)(b->file_last - at), at);
        if (n <= 0)
            return NGX_ERROR;
        text->len += (size_t)n;
        at += n;
    }
    return NGX_OK;
}

ngx_int_t ngx_http_segue_body_gather(ngx_http_request_t *r, ngx_str_t *text)
{
    ngx_chain_t *bufs = r->request_body ? r->request_body->bufs : NULL;
    ngx_str_null(text);
    if (bufs == NULL)
        return NGX_OK;
    if (bufs->next == NULL && !bufs->buf->in_file) {
        text->data = bufs->buf->pos;
        text->len = (size_t)(bufs->buf->last - bufs->buf->pos);
        return NGX_OK;
    }
    off_t size = 0;
    for (ngx_chain_t *cl = bufs; cl; cl = cl->next)
        size += ngx_buf_size(cl->buf);
    text->data = ngx_pnalloc(r->pool, (size_t)size + 1);
    if (text->data == NULL)
        return NGX_ERROR;
    for (ngx_chain_t *cl = bufs; cl; cl = cl->next)
        if (append(r, cl->buf, text) != NGX_OK)
            return NGX_ERROR;
    return NGX_OK;
}
