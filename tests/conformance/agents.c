/* SPDX-License-Identifier: Apache-2.0 */
/* Agents and their links: in two processes and in one, from first contact to every way a
 * link ends. */
#include "agents.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static size_t stream_row(segue_agent *agent)
{
    for (size_t row = 0; row < SEGUE_ROWS_MAX; row++)
        if (agent->transports[row] &&
            agent->transports[row]->caps & SEGUE_TRANSPORT_STREAM)
            return row;
    fail_msg("no transport of streams");
    return 0;
}

static void two_processes_say_hello(void **state)
{
    struct child child;
    struct segue_link *link, *again;
    spawn(&child, "p0", NULL);
    segue_agent *agent = make_agent("d0");
    assert_ok(get_link(agent, child.address, child.incarnation, &link));
    assert_string_equal(link->peer.engine_id, "p0");
    assert_int_equal(link->pid, child.pid);
    assert_memory_equal(link->peer.incarnation, child.incarnation, 16);
    assert_memory_equal(link->peer.boot_id, agent->boot_id, 16);
    assert_true(link->peer.data_port != 0);
    assert_ok(get_link(agent, child.address, NULL, &again));
    assert_ptr_equal(again, link);
    segue_agent_destroy(agent);
    assert_int_equal(end_child(&child), 0);
}

static void another_start_is_stale(void **state)
{
    struct child child;
    struct segue_link *link;
    uint8_t other[16] = {0xab, 0xcd};
    spawn(&child, "p0", NULL);
    segue_agent *agent = make_agent("d0");
    /* Both before there is a link and beside one. */
    assert_status(get_link(agent, child.address, other, &link), SEGUE_E_STALE);
    assert_non_null(strstr(segue_error_detail(), "abcd0000"));
    assert_ok(get_link(agent, child.address, child.incarnation, &link));
    assert_status(get_link(agent, child.address, other, &link), SEGUE_E_STALE);
    assert_ok(get_link(agent, child.address, child.incarnation, &link));
    segue_agent_destroy(agent);
    assert_int_equal(end_child(&child), 0);
}

static void streams_are_shared_by_both_ends(void **state)
{
    struct child child;
    struct segue_link *link;
    struct segue_connection *stream, *again, *other;
    int before = open_fds();
    spawn(&child, "p0", NULL);
    segue_agent *agent = make_agent("d0");
    size_t row = stream_row(agent);
    assert_ok(get_link(agent, child.address, NULL, &link));
    assert_ok(get_connection(agent, link, row, &stream));
    assert_ok(get_connection(agent, link, row, &again));
    assert_ptr_equal(stream, again);
    for (size_t i = 0; i < row; i++)
        if (agent->transports[i])
            assert_ok(get_connection(agent, link, i, &other));
    assert_status(get_connection(agent, link, SEGUE_ROWS_MAX - 1, &other),
                  SEGUE_E_UNSUPPORTED);
    segue_agent_destroy(agent);
    assert_int_equal(end_child(&child), 0);
    assert_int_equal(open_fds(), before);
}

static void an_agent_may_link_to_itself(void **state)
{
    int before = open_fds();
    segue_agent *agent = make_agent("both");
    struct probe probe;
    struct segue_link *link;
    struct segue_connection *ours, *theirs;
    listen_with(agent, &probe);
    assert_ok(get_link(agent, agent->address, agent->incarnation, &link));
    assert_ok(say(agent, link, "hello", 5));
    assert_true(wait_for(&probe.heard));
    assert_ptr_not_equal(probe.link, link);
    assert_false(probe.link->dialled);
    /* The accepted end is the one in need: it asks the other to dial. */
    size_t row = stream_row(agent);
    assert_ok(get_connection(agent, probe.link, row, &theirs));
    assert_ok(get_connection(agent, link, row, &ours));
    assert_ptr_not_equal(ours, theirs);
    segue_agent_destroy(agent);
    assert_int_equal(probe.gone, 2);
    assert_int_equal(probe.forgotten, 2);
    assert_int_equal(open_fds(), before);
}

static void a_killed_peer_is_gone(void **state)
{
    struct child child;
    struct segue_link *link;
    struct segue_connection *stream;
    struct probe probe;
    spawn(&child, "p0", NULL);
    segue_agent *agent = make_agent("d0");
    listen_with(agent, &probe);
    assert_ok(get_link(agent, child.address, NULL, &link));
    assert_ok(get_connection(agent, link, stream_row(agent), &stream));
    uint64_t killed = segue_now_ns();
    kill_child(&child);
    assert_true(wait_for(&probe.lost));
    printf("gone after %.1f ms: %s\n", (double)(segue_now_ns() - killed) / 1e6,
           probe.why);
    assert_int_equal(probe.gone, 1);
    assert_non_null(strstr(probe.why, "engine 'p0'"));
    assert_status(get_link(agent, child.address, NULL, &link), SEGUE_E_LOST);
    segue_agent_destroy(agent);
}

/* Keeps the sockets of its parent open after that has died. */
static void forks(segue_agent *agent, int orders)
{
    char order;
    if (read(orders, &order, 1) == 1 && fork() == 0) {
        while (read(orders, &order, 1) < 0)
            ;
        _exit(0);
    }
}

static void a_fork_that_keeps_the_socket_hides_no_death(void **state)
{
    struct child child;
    struct segue_link *link;
    struct probe probe;
    spawn(&child, "p0", &(struct role){.serve = forks});
    segue_agent *agent = make_agent("d0");
    listen_with(agent, &probe);
    assert_ok(get_link(agent, child.address, NULL, &link));
    assert_int_equal(write(child.orders, "f", 1), 1);
    /* It has forked once it sleeps in its second read; if not, this is the test above. */
    usleep(100000);
    kill(child.pid, SIGKILL);
    assert_true(wait_for(&probe.lost));
    assert_non_null(strstr(probe.why, "engine 'p0'"));
    segue_agent_destroy(agent);
    kill_child(&child);
}

static void a_peer_that_does_not_read_is_dropped(void **state)
{
    static char body[SEGUE_FRAME_MAX];
    struct child child;
    struct segue_link *link;
    struct probe probe;
    spawn(&child, "p0", NULL);
    segue_agent *agent = make_agent("d0");
    listen_with(agent, &probe);
    assert_ok(get_link(agent, child.address, NULL, &link));
    kill(child.pid, SIGSTOP);
    enum segue_status status = SEGUE_OK;
    for (int i = 0; i < 100 && status == SEGUE_OK; i++)
        status = say(agent, link, body, sizeof body);
    assert_true(status < 0);
    assert_true(wait_for(&probe.lost));
    assert_non_null(strstr(probe.why, "does not read"));
    segue_agent_destroy(agent);
    kill_child(&child);
}

static void idle_links_close_and_busy_ones_do_not(void **state)
{
    struct child child;
    struct segue_link *link;
    struct probe probe;
    segue_agent *agent;
    spawn(&child, "p0", NULL);
    struct segue_agent_opts opts = quick_opts("d0");
    opts.idle_ns = 30 * SEGUE_NS_PER_MS;
    assert_ok(segue_agent_create(&opts, &agent));
    listen_with(agent, &probe);
    assert_ok(get_link(agent, child.address, NULL, &link));
    assert_true(wait_for(&probe.lost));
    assert_non_null(strstr(probe.why, "no business"));
    assert_ok(get_link(agent, child.address, NULL, &link));
    segue_agent_destroy(agent);
    assert_int_equal(end_child(&child), 0);
}

static void addresses_that_may_not_be_followed(void **state)
{
    char file[128], long_path[200];
    struct segue_link *link;
    segue_agent *agent = make_agent("d0");
    snprintf(file, sizeof file, "unix:%s/file", test_folder);
    fclose(fopen(file + 5, "w"));
    memset(long_path, 'x', sizeof long_path);
    memcpy(long_path, "unix:/", 6);
    long_path[sizeof long_path - 1] = 0;
    const struct {
        const char *address;
        enum segue_status want;
    } rows[] = {
        {"", SEGUE_E_REFUSED},
        {"tcp:10.0.0.1:1", SEGUE_E_REFUSED},
        {"unix:relative", SEGUE_E_REFUSED},
        {"unix:", SEGUE_E_REFUSED},
        {long_path, SEGUE_E_REFUSED},
        {file, SEGUE_E_REFUSED},
        {"unix:/nowhere/at/all.sock", SEGUE_E_LOST},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_status(get_link(agent, rows[i].address, NULL, &link), rows[i].want);
    unlink(file + 5);
    segue_agent_destroy(agent);
}

static void who_never_says_hello_is_given_up(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char name[128];
    struct segue_link *link;
    segue_agent *agent;
    int before = open_fds(), silent = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(name, sizeof name, "unix:%s/silent", test_folder);
    memcpy(address.sun_path, name + 5, strlen(name + 5));
    assert_int_equal(bind(silent, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(silent, 1), 0);
    struct segue_agent_opts opts = quick_opts("d0");
    opts.connect_ns = 50 * SEGUE_NS_PER_MS;
    assert_ok(segue_agent_create(&opts, &agent));
    /* The second and third meet a full queue and try again until their time is up. */
    for (int i = 0; i < 3; i++)
        assert_status(get_link(agent, name, NULL, &link), SEGUE_E_TIMEOUT);
    segue_agent_destroy(agent);
    close(silent);
    unlink(address.sun_path);
    assert_int_equal(open_fds(), before);
}

static void folders_and_names(void **state)
{
    struct segue_agent_opts opts = quick_opts("../a b");
    segue_agent *first, *second;
    char path[128];
    assert_ok(segue_agent_create(&opts, &first));
    assert_ok(segue_agent_create(&opts, &second));
    snprintf(path, sizeof path, "unix:%s/_._a_b.sock", test_folder);
    assert_string_equal(segue_agent_address(first), path);
    assert_string_not_equal(segue_agent_address(second), path);
    assert_string_equal(segue_agent_engine_id(second), "../a b");
    segue_agent_destroy(first);
    segue_agent_destroy(second);

    snprintf(path, sizeof path, "%s/open", test_folder);
    opts.ipc_dir = path;
    assert_int_equal(mkdir(path, 0755), 0);
    chmod(path, 0750);
    assert_status(segue_agent_create(&opts, &first), SEGUE_E_REFUSED);
    assert_non_null(strstr(segue_error_detail(), "0750"));
    rmdir(path);
    assert_int_equal(symlink(test_folder, path), 0);
    assert_status(segue_agent_create(&opts, &first), SEGUE_E_REFUSED);
    unlink(path);
    opts.ipc_dir = "/proc/nowhere";
    assert_status(segue_agent_create(&opts, &first), SEGUE_E_SYSTEM);
    opts.ipc_dir = "/tmp/this-folder-is-so-long-that-a-socket-in-it-would-have-a-longer-"
                   "path-than-any-address-can-be";
    assert_true(segue_agent_create(&opts, &first) < 0);
    rmdir(opts.ipc_dir);
}

/* Sockets are found dead and replaced; those of the living never are. */
static void a_restart_takes_over_its_name(void **state)
{
    struct child first, second;
    struct segue_link *old, *link;
    struct probe probe;
    spawn(&first, "p0", NULL);
    kill(first.pid, SIGKILL);
    close(first.orders);
    waitpid(first.pid, NULL, 0);
    spawn(&second, "p0", NULL);
    assert_string_equal(first.address, second.address);
    assert_memory_not_equal(first.incarnation, second.incarnation, 16);
    segue_agent *agent = make_agent("d0");
    listen_with(agent, &probe);
    assert_status(get_link(agent, second.address, first.incarnation, &old),
                  SEGUE_E_STALE);
    assert_ok(get_link(agent, second.address, second.incarnation, &link));
    segue_agent_destroy(agent);
    assert_int_equal(end_child(&second), 0);
}

enum { RANKS = 6 };

static void *create_one(void *arg)
{
    struct segue_agent_opts opts = quick_opts("rank");
    segue_agent *agent = NULL;
    segue_agent_create(&opts, &agent);
    *(segue_agent **)arg = agent;
    return NULL;
}

static void ranks_that_start_at_once_have_sockets_of_their_own(void **state)
{
    segue_agent *agents[RANKS];
    pthread_t threads[RANKS];
    struct segue_link *link;
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < RANKS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, create_one, &agents[i]),
                             0);
        for (int i = 0; i < RANKS; i++)
            pthread_join(threads[i], NULL);
        for (int i = 0; i < RANKS; i++)
            assert_ok(get_link(agents[i], segue_agent_address(agents[(i + 1) % RANKS]),
                               agents[(i + 1) % RANKS]->incarnation, &link));
        for (int i = 0; i < RANKS; i++)
            segue_agent_destroy(agents[i]);
    }
}

static double cpu_ms(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e3 +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e3;
}

static void an_idle_pair_sleeps(void **state)
{
    struct child child;
    struct segue_link *link;
    spawn(&child, "p0", NULL);
    segue_agent *agent = make_agent("d0");
    assert_ok(get_link(agent, child.address, NULL, &link));
    double before = cpu_ms();
    usleep(2000000);
    printf("idle for 2 s: %.3f ms of CPU\n", cpu_ms() - before);
    segue_agent_destroy(agent);
    assert_int_equal(end_child(&child), 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(two_processes_say_hello),
    cmocka_unit_test(another_start_is_stale),
    cmocka_unit_test(streams_are_shared_by_both_ends),
    cmocka_unit_test(an_agent_may_link_to_itself),
    cmocka_unit_test(a_killed_peer_is_gone),
    cmocka_unit_test(a_fork_that_keeps_the_socket_hides_no_death),
    cmocka_unit_test(a_peer_that_does_not_read_is_dropped),
    cmocka_unit_test(idle_links_close_and_busy_ones_do_not),
    cmocka_unit_test(addresses_that_may_not_be_followed),
    cmocka_unit_test(who_never_says_hello_is_given_up),
    cmocka_unit_test(folders_and_names),
    cmocka_unit_test(a_restart_takes_over_its_name),
    cmocka_unit_test(ranks_that_start_at_once_have_sockets_of_their_own),
    cmocka_unit_test(an_idle_pair_sleeps),
};

TEST_MAIN_AROUND(tests, make_folder, drop_folder)
