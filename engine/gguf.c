/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parses a GGUF file once and checks everything in it:
 *
 *   "GGUF" | version u32 | tensors u64 | entries u64
 *   entries:  key string | kind u32 | value          string = length u64 | bytes
 *   tensors:  name string | n u32 | n dims u64 | type u32 | offset u64
 *   padding to general.alignment | tensor data, each at its offset from here
 */
#include "gguf_inside.h"
#include "fail.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    HEADER_BYTES = 24,
    LEAST_ENTRY_BYTES = 8 + 4 + 1, /* an empty key and a bool */
    LEAST_TENSOR_BYTES = 8 + 4 + 8 + 4 + 8,
    DEFAULT_ALIGNMENT = 32,
    MOST_ALIGNMENT = 1 << 20,
};

struct cursor {
    const uint8_t *at, *end;
};

static bool take(struct cursor *from, void *to, size_t n)
{
    if ((size_t)(from->end - from->at) < n)
        return false;
    memcpy(to, from->at, n);
    from->at += n;
    return true;
}

static bool skip(struct cursor *from, uint64_t n)
{
    if ((uint64_t)(from->end - from->at) < n)
        return false;
    from->at += n;
    return true;
}

static bool take_text(struct cursor *from, struct gguf_text *out)
{
    uint64_t len;
    if (!take(from, &len, 8))
        return false;
    out->at = (const char *)from->at;
    out->len = len;
    return skip(from, len);
}

/* How much of a name goes into a sentence. */
static int shown(struct gguf_text text)
{
    return text.len < 64 ? (int)text.len : 64;
}

static int truncated(const struct gguf *gguf, const char *where)
{
    return engine_fail("%s: the file ends inside %s: fetch it again", gguf->name, where);
}

static size_t kind_bytes(uint32_t kind)
{
    switch (kind) {
    case GGUF_U8:
    case GGUF_I8:
    case GGUF_BOOL:
        return 1;
    case GGUF_U16:
    case GGUF_I16:
        return 2;
    case GGUF_U32:
    case GGUF_I32:
    case GGUF_F32:
        return 4;
    case GGUF_U64:
    case GGUF_I64:
    case GGUF_F64:
        return 8;
    default:
        return 0;
    }
}

static int parse_array(struct gguf *gguf, struct cursor *from, struct gguf_entry *entry)
{
    uint32_t kind;
    uint64_t count, bytes;
    if (!take(from, &kind, 4) || !take(from, &count, 8))
        return truncated(gguf, "the metadata");
    if (kind != GGUF_STRING && !kind_bytes(kind))
        return engine_fail("%s: %.*s is an array of kind %u, which is not supported",
                           gguf->name, shown(entry->key), entry->key.at, kind);
    entry->array = (struct gguf_array){kind, count, from->at, NULL};
    if (kind == GGUF_STRING) {
        struct gguf_text text;
        for (uint64_t i = 0; i < count; i++)
            if (!take_text(from, &text))
                return truncated(gguf, "an array of strings");
    } else if (__builtin_mul_overflow(count, (uint64_t)kind_bytes(kind), &bytes) ||
               !skip(from, bytes)) {
        return truncated(gguf, "an array");
    }
    entry->array.end = from->at;
    return 0;
}

static int parse_entry(struct gguf *gguf, struct cursor *from, struct gguf_entry *entry)
{
    uint32_t kind;
    struct gguf_text text;
    if (!take_text(from, &entry->key) || !take(from, &kind, 4))
        return truncated(gguf, "the metadata");
    entry->kind = kind;
    entry->at = from->at;
    if (kind == GGUF_ARRAY)
        return parse_array(gguf, from, entry);
    if (kind == GGUF_STRING)
        return take_text(from, &text) ? 0 : truncated(gguf, "a string of the metadata");
    if (!kind_bytes(kind))
        return engine_fail("%s: %.*s has the unknown kind %u", gguf->name,
                           shown(entry->key), entry->key.at, kind);
    return skip(from, kind_bytes(kind)) ? 0 : truncated(gguf, "the metadata");
}

/* Bytes of one row of dims[0] elements; 0 when the type is not supported. */
static size_t block_of(uint32_t type, size_t *bytes)
{
    switch (type) {
    case TENSOR_F32:
        *bytes = 4;
        return 1;
    case TENSOR_F16:
        *bytes = 2;
        return 1;
    case TENSOR_Q4_1:
        *bytes = 20;
        return 32;
    case TENSOR_Q8_0:
        *bytes = 34;
        return 32;
    default:
        return 0;
    }
}

static int check_tensor(const struct gguf *gguf, struct gguf_tensor *tensor)
{
    size_t block_bytes;
    size_t block = block_of(tensor->type, &block_bytes);
    if (!block)
        return engine_fail(
            "%s: tensor %.*s has type %u; only F32, F16, Q8_0 and Q4_1 are "
            "supported",
            gguf->name, shown(tensor->name), tensor->name.at, tensor->type);
    if (tensor->dims[0] % block)
        return engine_fail(
            "%s: tensor %.*s has rows of %llu elements, no multiple of %zu", gguf->name,
            shown(tensor->name), tensor->name.at, (unsigned long long)tensor->dims[0],
            block);
    uint64_t size = tensor->dims[0] / block;
    bool fits = !__builtin_mul_overflow(size, (uint64_t)block_bytes, &size);
    for (int i = 1; i < 4; i++)
        fits = fits && !__builtin_mul_overflow(size, tensor->dims[i], &size);
    if (!fits || !size || size > gguf->size)
        return engine_fail("%s: tensor %.*s does not fit into the file", gguf->name,
                           shown(tensor->name), tensor->name.at);
    tensor->size = size;
    return 0;
}

/* Leaves the tensor's offset in *offset: where the data begins is not known yet. */
static int parse_tensor(struct gguf *gguf, struct cursor *from,
                        struct gguf_tensor *tensor, uint64_t *offset)
{
    uint32_t type;
    if (!take_text(from, &tensor->name) || !take(from, &tensor->n_dims, 4))
        return truncated(gguf, "the list of tensors");
    if (tensor->n_dims < 1 || tensor->n_dims > 4)
        return engine_fail("%s: tensor %.*s has %u dimensions, not 1 to 4", gguf->name,
                           shown(tensor->name), tensor->name.at, tensor->n_dims);
    for (uint32_t i = 0; i < 4; i++) {
        tensor->dims[i] = 1;
        if (i < tensor->n_dims && !take(from, &tensor->dims[i], 8))
            return truncated(gguf, "the list of tensors");
    }
    if (!take(from, &type, 4) || !take(from, offset, 8))
        return truncated(gguf, "the list of tensors");
    tensor->type = type;
    return check_tensor(gguf, tensor);
}

int gguf_text_compare(struct gguf_text a, struct gguf_text b)
{
    int order = memcmp(a.at, b.at, a.len < b.len ? a.len : b.len);
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare_entries(const void *a, const void *b)
{
    return gguf_text_compare(((const struct gguf_entry *)a)->key,
                             ((const struct gguf_entry *)b)->key);
}

static int compare_tensors(const void *a, const void *b)
{
    return gguf_text_compare(((const struct gguf_tensor *)a)->name,
                             ((const struct gguf_tensor *)b)->name);
}

static int parse_entries(struct gguf *gguf, struct cursor *from)
{
    for (size_t i = 0; i < gguf->n_entries; i++)
        if (parse_entry(gguf, from, &gguf->entries[i]))
            return -1;
    qsort(gguf->entries, gguf->n_entries, sizeof *gguf->entries, compare_entries);
    for (size_t i = 1; i < gguf->n_entries; i++)
        if (!compare_entries(&gguf->entries[i - 1], &gguf->entries[i]))
            return engine_fail("%s: the key %.*s occurs twice", gguf->name,
                               shown(gguf->entries[i].key), gguf->entries[i].key.at);
    return 0;
}

static int alignment_of(const struct gguf *gguf, uint32_t *out)
{
    *out = DEFAULT_ALIGNMENT;
    if (!gguf_has(gguf, "general.alignment"))
        return 0;
    if (gguf_u32(gguf, "general.alignment", out) || *out < 1 || *out > MOST_ALIGNMENT ||
        (*out & (*out - 1)))
        return engine_fail("%s: general.alignment is no power of two up to %d",
                           gguf->name, MOST_ALIGNMENT);
    return 0;
}

static int parse_tensors(struct gguf *gguf, struct cursor *from, uint64_t *offsets)
{
    uint32_t alignment;
    if (alignment_of(gguf, &alignment))
        return -1;
    for (size_t i = 0; i < gguf->n_tensors; i++)
        if (parse_tensor(gguf, from, &gguf->tensors[i], &offsets[i]))
            return -1;
    uint64_t begin = (uint64_t)(from->at - gguf->bytes);
    begin = (begin + alignment - 1) / alignment * alignment;
    for (size_t i = 0; i < gguf->n_tensors; i++) {
        struct gguf_tensor *tensor = &gguf->tensors[i];
        uint64_t room = begin < gguf->size ? gguf->size - begin : 0;
        if (offsets[i] % alignment)
            return engine_fail("%s: tensor %.*s is not aligned to %u bytes", gguf->name,
                               shown(tensor->name), tensor->name.at, alignment);
        if (offsets[i] > room || tensor->size > room - offsets[i])
            return engine_fail(
                "%s: the file ends before tensor %.*s does: fetch it again", gguf->name,
                shown(tensor->name), tensor->name.at);
        tensor->data = gguf->bytes + begin + offsets[i];
    }
    qsort(gguf->tensors, gguf->n_tensors, sizeof *gguf->tensors, compare_tensors);
    for (size_t i = 1; i < gguf->n_tensors; i++)
        if (!compare_tensors(&gguf->tensors[i - 1], &gguf->tensors[i]))
            return engine_fail("%s: the tensor %.*s occurs twice", gguf->name,
                               shown(gguf->tensors[i].name), gguf->tensors[i].name.at);
    return 0;
}

static int parse(struct gguf *gguf)
{
    struct cursor from = {gguf->bytes, gguf->bytes + gguf->size};
    uint32_t version;
    uint64_t n_tensors, n_entries;
    if (gguf->size < 4 || memcmp(gguf->bytes, "GGUF", 4))
        return engine_fail("%s is not a GGUF file", gguf->name);
    from.at += 4;
    if (gguf->size < HEADER_BYTES || !take(&from, &version, 4) ||
        !take(&from, &n_tensors, 8) || !take(&from, &n_entries, 8))
        return truncated(gguf, "its header");
    if (version != 2 && version != 3)
        return engine_fail(
            "%s is GGUF version %u%s; versions 2 and 3, little endian, are "
            "supported",
            gguf->name, version,
            version >> 24 && !(version & 0xffff) ? " (big endian)" : "");
    /* Counts are held against the file's size before anything is allocated for them. */
    if (n_entries > gguf->size / LEAST_ENTRY_BYTES)
        return engine_fail("%s says it has %llu metadata entries, more than fit into it",
                           gguf->name, (unsigned long long)n_entries);
    if (n_tensors > gguf->size / LEAST_TENSOR_BYTES)
        return engine_fail("%s says it has %llu tensors, more than fit into it",
                           gguf->name, (unsigned long long)n_tensors);
    gguf->n_entries = n_entries;
    gguf->n_tensors = n_tensors;
    gguf->entries = calloc(n_entries + 1, sizeof *gguf->entries);
    gguf->tensors = calloc(n_tensors + 1, sizeof *gguf->tensors);
    uint64_t *offsets = calloc(n_tensors + 1, sizeof *offsets);
    int status = -1;
    if (!gguf->entries || !gguf->tensors || !offsets)
        engine_fail("out of memory for the index of %s", gguf->name);
    else if (!parse_entries(gguf, &from))
        status = parse_tensors(gguf, &from, offsets);
    free(offsets);
    return status;
}

int gguf_open_bytes(struct gguf **out, const void *bytes, size_t size, const char *name)
{
    struct gguf *gguf = calloc(1, sizeof *gguf);
    if (!gguf || !(gguf->name = strdup(name))) {
        free(gguf);
        return engine_fail("out of memory for %s", name);
    }
    gguf->bytes = bytes;
    gguf->size = size;
    if (parse(gguf)) {
        gguf_close(gguf);
        return -1;
    }
    *out = gguf;
    return 0;
}

int gguf_open(struct gguf **out, const char *path)
{
    struct stat stat;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return engine_fail("cannot open the model %s: %s", path, strerror(errno));
    if (fstat(fd, &stat) || !S_ISREG(stat.st_mode) || stat.st_size < HEADER_BYTES) {
        close(fd);
        return engine_fail("%s is not a GGUF file", path);
    }
    size_t size = (size_t)stat.st_size;
    void *bytes = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    int cause = errno;
    close(fd);
    if (bytes == MAP_FAILED)
        return engine_fail("cannot map the model %s: %s", path, strerror(cause));
    if (gguf_open_bytes(out, bytes, size, path)) {
        munmap(bytes, size);
        return -1;
    }
    (*out)->mapped = true;
    return 0;
}

void gguf_close(struct gguf *gguf)
{
    if (!gguf)
        return;
    if (gguf->mapped)
        munmap((void *)gguf->bytes, gguf->size);
    free(gguf->entries);
    free(gguf->tensors);
    free(gguf->name);
    free(gguf);
}
