/* SPDX-License-Identifier: Apache-2.0 */
/* Work on a sim device is late: who does not wait reads what was there before. */
#include "device.h"

#include <segue/sim.h>
#include <string.h>
#include "base/clock.h"

#define LONG_NS (60 * SEGUE_NS_PER_S)

/* A gate that a stream stands before until the test opens it. */
struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool open;
    char *bytes;
    char value;
};

static void pass(void *user)
{
    struct gate *gate = user;
    pthread_mutex_lock(&gate->lock);
    while (!gate->open)
        pthread_cond_wait(&gate->changed, &gate->lock);
    pthread_mutex_unlock(&gate->lock);
    if (gate->bytes)
        memset(gate->bytes, gate->value, 64);
}

static void open_gate(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    gate->open = true;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
}
#define GATE_INIT                                                                        \
    {                                                                                    \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, NULL, 0              \
    }

static int open_cuda(void **state)
{
    static struct opened opened;
    opened = device_open("sim:cuda");
    *state = &opened;
    return 0;
}

static int close_cuda(void **state)
{
    device_close(*state);
    return 0;
}

static void read_device(struct segue_device *dev, char *out, void *addr)
{
    assert_ok(segue_copy(dev, out, 0, addr, 0, 64, 1));
}

static void who_does_not_wait_reads_the_old(void **state)
{
    struct segue_device *dev = ((struct opened *)*state)->dev;
    char *addr, seen[64];
    void *view;
    assert_ok(segue_alloc(dev, 64, (void **)&addr));
    assert_ok(segue_device_view(dev, addr, 64, &view));
    segue_sim_stream *stream;
    segue_sim_event *event;
    struct gate gate = GATE_INIT;
    gate.bytes = view;
    gate.value = 5;
    assert_ok(segue_sim_stream_create(dev, &stream));
    assert_ok(segue_sim_launch(stream, pass, &gate, 0));
    assert_ok(segue_sim_event_record(stream, &event));
    struct ending ending = ENDING_INIT;
    struct segue_wait wait = {.done = wait_ended, .user = &ending};
    struct segue_sync sync = {SEGUE_SYNC_EVENT, dev, event};
    assert_ok(segue_device_sync(dev, &sync, &wait));
    segue_sim_event_destroy(event); /* the wait keeps it */
    read_device(dev, seen, addr);
    assert_int_equal(seen[0], 0);
    assert_int_equal(ending_times(&ending), 0);
    assert_status(segue_sim_stream_wait(stream, 1000), SEGUE_E_TIMEOUT);
    open_gate(&gate);
    assert_ok(ending_wait(&ending));
    read_device(dev, seen, addr);
    assert_int_equal(seen[0], 5);
    assert_int_equal(seen[63], 5);
    segue_sim_stream_destroy(stream);
    segue_free(dev, addr);
}

/* The stream's tail is captured at the call: later work is not waited for. */
static void a_stream_is_captured_at_the_call(void **state)
{
    struct segue_device *dev = ((struct opened *)*state)->dev;
    segue_sim_stream *stream;
    struct gate first = GATE_INIT, second = GATE_INIT;
    assert_ok(segue_sim_stream_create(dev, &stream));
    assert_ok(segue_sim_launch(stream, pass, &first, 0));
    struct ending ending = ENDING_INIT;
    struct segue_wait wait = {.done = wait_ended, .user = &ending};
    struct segue_sync sync = {SEGUE_SYNC_STREAM, dev, stream};
    assert_ok(segue_device_sync(dev, &sync, &wait));
    assert_ok(segue_sim_launch(stream, pass, &second, 0));
    assert_int_equal(ending_times(&ending), 0);
    open_gate(&first);
    assert_ok(ending_wait(&ending));
    assert_status(segue_sim_stream_wait(stream, 1000), SEGUE_E_TIMEOUT);
    open_gate(&second);
    assert_ok(segue_sim_stream_wait(stream, LONG_NS));
    /* an empty stream, and an event that retired long ago, end from the device's thread */
    struct ending empty = ENDING_INIT, old = ENDING_INIT;
    struct segue_wait a = {.done = wait_ended, .user = &empty};
    struct segue_wait b = {.done = wait_ended, .user = &old};
    assert_ok(segue_device_sync(dev, &sync, &a));
    assert_ok(ending_wait(&empty));
    segue_sim_event *event;
    assert_ok(segue_sim_event_record(stream, &event));
    assert_ok(segue_sim_stream_wait(stream, LONG_NS));
    assert_ok(
        segue_device_sync(dev, &(struct segue_sync){SEGUE_SYNC_EVENT, dev, event}, &b));
    assert_ok(ending_wait(&old));
    segue_sim_event_destroy(event);
    segue_sim_stream_destroy(stream);
}

static void an_unwaited_wait_never_ends(void **state)
{
    struct segue_device *dev = ((struct opened *)*state)->dev;
    segue_sim_stream *stream;
    struct gate gate = GATE_INIT;
    assert_ok(segue_sim_stream_create(dev, &stream));
    assert_ok(segue_sim_launch(stream, pass, &gate, 0));
    struct ending dropped = ENDING_INIT, kept = ENDING_INIT;
    struct segue_wait a = {.done = wait_ended, .user = &dropped};
    struct segue_wait b = {.done = wait_ended, .user = &kept};
    struct segue_sync sync = {SEGUE_SYNC_STREAM, dev, stream};
    assert_ok(segue_device_sync(dev, &sync, &a));
    assert_ok(segue_device_sync(dev, &sync, &b));
    segue_device_unwait(dev, &a);
    open_gate(&gate);
    assert_ok(ending_wait(&kept));
    assert_int_equal(ending_times(&dropped), 0);
    segue_device_unwait(dev, &b); /* after the end it is harmless */
    segue_sim_stream_destroy(stream);
}

static void note_time(void *user)
{
    *(uint64_t *)user = segue_now_ns();
}

static void delays_are_kept(void **state)
{
    struct segue_device *dev = ((struct opened *)*state)->dev;
    segue_sim_stream *stream;
    uint64_t first = 0, second = 0, start = segue_now_ns();
    assert_ok(segue_sim_stream_create(dev, &stream));
    assert_ok(segue_sim_launch(stream, note_time, &first, 10 * SEGUE_NS_PER_MS));
    assert_ok(segue_sim_launch(stream, note_time, &second, 10 * SEGUE_NS_PER_MS));
    segue_sim_stream_destroy(stream); /* waits until it is empty */
    assert_true(first >= start + 10 * SEGUE_NS_PER_MS);
    assert_true(second >= first + 10 * SEGUE_NS_PER_MS);
}

static void streams_do_not_wait_for_each_other(void **state)
{
    struct segue_device *dev = ((struct opened *)*state)->dev;
    segue_sim_stream *slow, *fast;
    uint64_t never = 0, soon = 0;
    assert_ok(segue_sim_stream_create(dev, &slow));
    assert_ok(segue_sim_stream_create(dev, &fast));
    assert_ok(segue_sim_launch(slow, note_time, &never, 300 * SEGUE_NS_PER_MS));
    assert_ok(segue_sim_launch(fast, note_time, &soon, 0));
    assert_ok(segue_sim_stream_wait(fast, LONG_NS));
    segue_sim_stream_destroy(slow);
    assert_true(soon != 0 && soon < never);
    segue_sim_stream_destroy(fast);
}

static void pace_is_kept(void **state)
{
    struct opened slow = device_open("sim:cuda,gbps=1,latency_us=2000");
    enum { BYTES = 4 << 20 };
    static char bytes[BYTES];
    void *addr;
    assert_ok(segue_alloc(slow.dev, BYTES, &addr));
    uint64_t start = segue_now_ns();
    assert_ok(segue_copy(slow.dev, addr, 0, bytes, 0, BYTES, 1));
    assert_true(segue_now_ns() - start >= BYTES + 2000 * SEGUE_NS_PER_US);
    segue_free(slow.dev, addr);
    device_close(&slow);
}

static void a_paced_copy_can_be_cancelled(void **state)
{
    struct opened slow = device_open("sim:cuda,latency_us=60000000");
    char bytes[64] = {1};
    struct ending ending = ENDING_INIT;
    struct segue_move move = {.src_token = 64, .dst_token = 64, .run = 64};
    struct segue_span span = {.tokens = 1};
    void *addr;
    assert_ok(segue_alloc(slow.dev, 64, &addr));
    struct segue_extent src = {bytes, 64}, dst = {addr, 64};
    struct segue_copy_job job = {.transfer = {&move, 1, &span, 1},
                                 .src = &src,
                                 .dst = &dst,
                                 .n_src = 1,
                                 .n_dst = 1,
                                 .done = copy_ended,
                                 .user = &ending};
    assert_ok(segue_device_copy(slow.dev, &job));
    atomic_store(&job.cancelled, true);
    assert_int_equal(ending_wait(&ending), SEGUE_E_CANCELLED);
    segue_free(slow.dev, addr);
    device_close(&slow);
}

static void handles_of_others_are_refused(void **state)
{
    struct segue_device *dev = ((struct opened *)*state)->dev;
    struct opened other = device_open("sim:cuda"), host = device_open("host");
    segue_sim_stream *stream;
    segue_sim_event *event;
    struct ending ending = ENDING_INIT;
    struct segue_wait wait = {.done = wait_ended, .user = &ending};
    assert_status(segue_sim_stream_create(host.dev, &stream), SEGUE_E_INVALID);
    assert_ok(segue_sim_stream_create(other.dev, &stream));
    assert_ok(segue_sim_event_record(stream, &event));
    assert_status(segue_device_sync(
                      dev, &(struct segue_sync){SEGUE_SYNC_STREAM, dev, stream}, &wait),
                  SEGUE_E_INVALID);
    assert_status(
        segue_device_sync(dev, &(struct segue_sync){SEGUE_SYNC_EVENT, dev, event}, &wait),
        SEGUE_E_INVALID);
    segue_sim_stream_destroy(stream);
    segue_sim_event_destroy(event);
    segue_sim_stream_destroy(NULL);
    segue_sim_event_destroy(NULL);
    device_close(&other);
    device_close(&host);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(who_does_not_wait_reads_the_old),
    cmocka_unit_test(a_stream_is_captured_at_the_call),
    cmocka_unit_test(an_unwaited_wait_never_ends),
    cmocka_unit_test(delays_are_kept),
    cmocka_unit_test(streams_do_not_wait_for_each_other),
    cmocka_unit_test(pace_is_kept),
    cmocka_unit_test(a_paced_copy_can_be_cancelled),
    cmocka_unit_test(handles_of_others_are_refused),
};
TEST_MAIN_AROUND(tests, open_cuda, close_cuda)
