/* SPDX-License-Identifier: Apache-2.0 */
/* The choice of paths, row by row: two devices, a plan, a configuration, and the
 * transcript they give. */
#include "test.h"
#include "agent/select.h"
#include "device/device.h"

#include <string.h>

#define SHM (1u << 0)
#define IPC (1u << 1)
#define CMA (1u << 2)
#define TCP (1u << 3)

static const struct segue_select_side host = {"host",
                                              SEGUE_DEVICE_VIEW | SEGUE_DEVICE_MAP_HOST |
                                                  SEGUE_DEVICE_CMA | SEGUE_DEVICE_STRIDED,
                                              SHM | CMA | TCP,
                                              {NULL}};
static const struct segue_select_side cuda = {
    "sim:cuda",
    SEGUE_DEVICE_MAP_HOST | SEGUE_DEVICE_EXPORT | SEGUE_DEVICE_STRIDED,
    SHM | IPC,
    {NULL}};
static const struct segue_select_side cuda_remote = {
    "sim:cuda",
    SEGUE_DEVICE_MAP_HOST | SEGUE_DEVICE_EXPORT | SEGUE_DEVICE_STRIDED,
    IPC,
    {"shm maps host memory, not that of sim:cuda"}};
static const struct segue_select_side gaudi = {
    "sim:gaudi", SEGUE_DEVICE_MAP_HOST, SHM, {NULL}};
static const struct segue_select_side gaudi_remote = {
    "sim:gaudi", SEGUE_DEVICE_MAP_HOST, 0, {NULL}};
static const struct segue_select_side tpu = {"sim:tpu", 0, 0, {NULL}};

static const struct {
    const char *name;
    struct segue_select_input in;
    const char *text;
} rows[] = {
    {"host to host, one layout",
     {host, host, .same_host = true, .run = 65536},
     "shm/mapped chosen\ncma/direct possible\nshm/packed possible\n"
     "tcp/direct possible\ntcp/packed possible\n"
     "ipc/mapped refused: host memory cannot be mapped by another process"},
    {"host to host, short runs: pieces are the last resort",
     {host, host, .same_host = true, .run = 128, .strided = true},
     "shm/mapped chosen\nshm/packed possible\ntcp/packed possible\n"
     "cma/direct possible\ntcp/direct possible\n"
     "ipc/mapped refused: host memory cannot be mapped by another process"},
    {"fp16 to fp32",
     {host, host, .same_host = true, .run = 65536, .converts = true},
     "shm/mapped chosen\nshm/packed possible\ntcp/packed possible\n"
     "ipc/mapped refused: host memory cannot be mapped by another process\n"
     "cma/direct refused: element types differ on the two sides, which only a device "
     "copy "
     "can convert\n"
     "tcp/direct refused: element types differ on the two sides, which only a device "
     "copy "
     "can convert"},
    {"another host",
     {host, host, .run = 65536},
     "tcp/direct chosen\ntcp/packed possible\n"
     "shm/mapped refused: the peer is reached over the network\n"
     "ipc/mapped refused: the peer is reached over the network\n"
     "cma/direct refused: the peer is reached over the network\n"
     "shm/packed refused: the peer is reached over the network"},
    {"cuda to cuda",
     {cuda, cuda_remote, .same_host = true, .run = 128, .strided = true},
     "ipc/mapped chosen\nshm/packed possible\ntcp/packed possible\n"
     "shm/mapped refused: shm maps host memory, not that of sim:cuda\n"
     "cma/direct refused: sim:cuda memory cannot be used by cma\n"
     "tcp/direct refused: sim:cuda memory cannot be used by tcp"},
    {"gaudi to cuda: packed through the ring",
     {cuda, gaudi_remote, .same_host = true, .run = 128, .strided = true},
     "shm/packed chosen\ntcp/packed possible\n"
     "shm/mapped refused: sim:gaudi memory cannot be used by shm\n"
     "ipc/mapped refused: sim:gaudi memory cannot be mapped by another process\n"
     "cma/direct refused: sim:gaudi memory cannot be used by cma\n"
     "tcp/direct refused: sim:gaudi memory cannot be used by tcp"},
    {"cuda to gaudi: it cannot map another vendor's memory",
     {gaudi, cuda_remote, .same_host = true, .run = 65536},
     "shm/packed chosen\ntcp/packed possible\n"
     "shm/mapped refused: shm maps host memory, not that of sim:cuda\n"
     "ipc/mapped refused: sim:gaudi cannot map memory of sim:cuda\n"
     "cma/direct refused: sim:cuda memory cannot be used by cma\n"
     "tcp/direct refused: sim:cuda memory cannot be used by tcp"},
    {"host to gaudi, one layout: contiguous runs it can copy",
     {gaudi, host, .same_host = true, .run = 65536},
     "shm/mapped chosen\nshm/packed possible\ntcp/packed possible\n"
     "ipc/mapped refused: host memory cannot be mapped by another process\n"
     "cma/direct refused: sim:gaudi memory cannot be used by cma\n"
     "tcp/direct refused: sim:gaudi memory cannot be used by tcp"},
    {"host to gaudi, two layouts",
     {gaudi, host, .same_host = true, .run = 128, .strided = true},
     "shm/packed chosen\ntcp/packed possible\n"
     "shm/mapped refused: sim:gaudi copies contiguous runs only, and the two sides "
     "differ "
     "in layout\n"
     "ipc/mapped refused: host memory cannot be mapped by another process\n"
     "cma/direct refused: sim:gaudi memory cannot be used by cma\n"
     "tcp/direct refused: sim:gaudi memory cannot be used by tcp"},
    {"tpu: nothing but copies in and out",
     {tpu, host, .run = 65536},
     "tcp/packed chosen\n"
     "shm/mapped refused: the peer is reached over the network\n"
     "ipc/mapped refused: the peer is reached over the network\n"
     "cma/direct refused: the peer is reached over the network\n"
     "shm/packed refused: the peer is reached over the network\n"
     "tcp/direct refused: sim:tpu memory cannot be used by tcp"},
    {"without shm, by transport",
     {host, host, .same_host = true, .run = 65536, .exclude = "shm, ipc/mapped"},
     "cma/direct chosen\ntcp/direct possible\ntcp/packed possible\n"
     "shm/mapped refused: excluded by configuration\n"
     "ipc/mapped refused: excluded by configuration\n"
     "shm/packed refused: excluded by configuration"},
    {"with tcp only",
     {host, host, .same_host = true, .run = 16, .require = "tcp/packed"},
     "tcp/packed chosen\n"
     "shm/mapped refused: configuration requires tcp/packed\n"
     "ipc/mapped refused: configuration requires tcp/packed\n"
     "cma/direct refused: configuration requires tcp/packed\n"
     "shm/packed refused: configuration requires tcp/packed\n"
     "tcp/direct refused: configuration requires tcp/packed"},
    {"what is required cannot be",
     {cuda, gaudi_remote, .same_host = true, .run = 16, .require = "ipc"},
     "shm/mapped refused: configuration requires ipc\n"
     "ipc/mapped refused: sim:gaudi memory cannot be mapped by another process\n"
     "cma/direct refused: configuration requires ipc\n"
     "shm/packed refused: configuration requires ipc\n"
     "tcp/direct refused: configuration requires ipc\n"
     "tcp/packed refused: configuration requires ipc"},
};

static void each_row_gives_its_transcript(void **state)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct segue_select_output out;
        char text[2048];
        segue_select(&rows[i].in, &out);
        segue_select_text(&out, text, sizeof text);
        if (strcmp(text, rows[i].text) != 0)
            fail_msg("%s: got\n%s\nwant\n%s", rows[i].name, text, rows[i].text);
    }
    printf("cells: %zu\n", sizeof rows / sizeof *rows);
}

static void every_path_is_chosen_or_refused_once(void **state)
{
    const struct segue_select_side *sides[] = {&host,  &cuda,         &cuda_remote,
                                               &gaudi, &gaudi_remote, &tpu};
    for (unsigned n = 0; n < 6 * 6 * 16; n++) {
        struct segue_select_input in = {.local = *sides[n % 6],
                                        .remote = *sides[n / 6 % 6],
                                        .run = n & 512 ? 64 : 1 << 20,
                                        .same_host = n / 36 & 1,
                                        .strided = n / 36 & 2,
                                        .converts = n / 36 & 4};
        struct segue_select_output out;
        segue_select(&in, &out);
        assert_int_equal(out.n + out.n_refused, 6);
        /* Without configuration there always is a way: staging over tcp. */
        assert_true(out.n >= 1);
        for (size_t i = 0; i < out.n_refused; i++)
            assert_true(out.refused[i].why[0] != 0);
    }
}

static void names_and_lists(void **state)
{
    static const char *const all[] = {"shm/mapped", "ipc/mapped", "cma/direct",
                                      "shm/packed", "tcp/direct", "tcp/packed"};
    struct segue_path path;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        assert_true(segue_path_find(all[i], strlen(all[i]), &path));
        assert_string_equal(segue_path_name(path), all[i]);
        assert_ok(segue_path_list_check(all[i]));
    }
    assert_false(segue_path_find("shm/mappe", 9, &path));
    assert_false(segue_path_find("shm", 3, &path));
    assert_string_equal(segue_path_name((struct segue_path){7, SEGUE_WAY_DIRECT}), "?");
    assert_ok(segue_path_list_check(NULL));
    assert_ok(segue_path_list_check(" shm, tcp/packed,,cma "));
    assert_status(segue_path_list_check("shm,rdma"), SEGUE_E_INVALID);
    assert_memory_equal(segue_error_detail(), "'rdma'", 6);
}

static void transcripts_are_cut_where_room_ends(void **state)
{
    struct segue_select_output out;
    char text[40];
    segue_select(&rows[0].in, &out);
    for (size_t cap = 1; cap <= sizeof text; cap++) {
        memset(text, 'x', sizeof text);
        segue_select_text(&out, text, cap);
        assert_int_equal(strlen(text), cap - 1);
        assert_memory_equal(text, rows[0].text, cap - 1);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(each_row_gives_its_transcript),
    cmocka_unit_test(every_path_is_chosen_or_refused_once),
    cmocka_unit_test(names_and_lists),
    cmocka_unit_test(transcripts_are_cut_where_room_ends),
};
TEST_MAIN(tests)
