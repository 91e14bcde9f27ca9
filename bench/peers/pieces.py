#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What reading many small pieces of another process costs with NIXL, for `segue bench relayout`.

usage: pieces.py COUNT BYTES

A second process holds COUNT pieces of BYTES each in DRAM, registered with a NIXL agent; both sides are in random order.
Prints "nixl" when it is ready and has read them all once and compared them. For each line "nixl THREADS" on stdin it
reads them all with one READ, prepared beforehand, and prints the seconds.
"""
import os
import sys
import time

os.environ.setdefault("UCX_MODULES", "^ib")  # which crashes at exit where there is no device


def agent(name):
    from nixl._api import nixl_agent, nixl_agent_config
    return nixl_agent(name, nixl_agent_config(enable_prog_thread=False, backends=["UCX"]))


def pages(size):
    """An array of whole pages: misaligned sides cost a copy several times as much."""
    import numpy
    room = numpy.ones(size + 4096, numpy.uint8)
    return room[-room.ctypes.data % 4096:][:size]


def descriptors(base, count, size, seed):
    import numpy
    order = numpy.random.default_rng(seed).permutation(count).astype(numpy.uint64)
    return numpy.stack([base + order * size, numpy.full(count, size, numpy.uint64), numpy.zeros(count, numpy.uint64)], 1)


def owner(count, size, tell, hear):
    import numpy
    memory = pages(count * size)
    memory[:] = numpy.random.default_rng(3).integers(0, 255, memory.size, numpy.uint8)
    nixl = agent("owner")
    nixl.register_memory([(memory.ctypes.data, memory.size, 0, "")], "DRAM")
    metadata = nixl.get_agent_metadata()
    os.write(tell, memory.ctypes.data.to_bytes(8, "little") + len(metadata).to_bytes(8, "little") + metadata)
    os.set_blocking(hear, False)
    while True:
        nixl.get_new_notifs()  # its progress, which the first contact needs
        time.sleep(0.001)
        try:
            if not os.read(hear, 1):
                os._exit(0)
        except BlockingIOError:
            pass


def read_all(nixl, handle):
    state = nixl.transfer(handle)
    while state == "PROC":
        state = nixl.check_xfer_state(handle)
    if state != "DONE":
        sys.exit(f"pieces.py: the READ ended as {state}")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    count, size = map(int, sys.argv[1:])
    say = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what NIXL prints is no answer
    hear, tell = os.pipe()
    alive, end = os.pipe()
    if os.fork() == 0:
        os.close(end)
        owner(count, size, tell, alive)
    os.close(tell)
    os.close(alive)
    with os.fdopen(hear, "rb") as pipe:
        base = int.from_bytes(pipe.read(8), "little")
        metadata = pipe.read(int.from_bytes(pipe.read(8), "little"))
    if not metadata:
        sys.exit("pieces.py: the owner of the pieces ended; its reason is above")
    memory = pages(count * size)
    nixl = agent("reader")
    nixl.register_memory([(memory.ctypes.data, memory.size, 0, "")], "DRAM")
    name = nixl.add_remote_agent(metadata)
    from_, to = descriptors(base, count, size, 1), descriptors(memory.ctypes.data, count, size, 2)
    near, far = nixl.prep_xfer_dlist("NIXL_INIT_AGENT", to, "DRAM"), nixl.prep_xfer_dlist(name, from_, "DRAM")
    indices = list(range(count))
    handle = nixl.make_prepped_xfer("READ", near, indices, far, indices)
    read_all(nixl, handle)
    import numpy
    want = numpy.random.default_rng(3).integers(0, 255, memory.size, numpy.uint8).reshape(count, size)
    got = memory.reshape(count, size)[((to[:, 0] - memory.ctypes.data) // size).astype(int)]
    if not (got == want[((from_[:, 0] - base) // size).astype(int)]).all():
        sys.exit("pieces.py: NIXL brought other bytes")
    print("nixl", file=say, flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        read_all(nixl, handle)
        print(time.perf_counter() - start, file=say, flush=True)
    os._exit(0)  # without the exit handlers of UCX


main()
