#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a relayout costs as tensor operations, for `segue bench relayout`.

usage: relayout.py LAYERS HEADS CONTENT TOKENS FROM_ORDER FROM_BLOCK TO_ORDER TO_BLOCK

Keeps a cache of each geometry (16-bit elements, CONTENT of them a head and token; orders nhd and hnd; blocks in random
order) and prints the names of the libraries there are. For each line "NAME THREADS" on stdin it brings all tokens from
one to the other with that library, layer by layer, and prints the seconds: blocks are gathered (which stands for the
transfer), permuted and put in their places, the steps vLLM's connector takes after a transfer. Each destination is
compared with the other library's once, before the first name is printed.
"""
import sys
import time

ORDERS = ("nhd", "hnd")


class Cache:
    def __init__(self, order, block, tokens, heads, content, seed):
        if order not in ORDERS or tokens % block:
            sys.exit(f"relayout.py: no cache of {tokens} tokens in {order} blocks of {block}")
        self.hnd, self.block, self.blocks = order == "hnd", block, tokens // block
        self.shape = (self.blocks, heads, block, content) if self.hnd else (self.blocks, block, heads, content)
        self.order = list(range(self.blocks))
        for i in range(self.blocks - 1, 0, -1):  # Fisher and Yates; the same in every run
            seed = (seed * 6364136223846793005 + 1442695040888963407) % 2**64
            j = (seed >> 33) % (i + 1)
            self.order[i], self.order[j] = self.order[j], self.order[i]


def permute(gathered, src, dst, place):
    """Both libraries: from the order of `src` to that of `dst`. `place` makes one copy, with the two middle axes exchanged."""
    heads, content = src.shape[1 if src.hnd else 2], src.shape[3]
    if src.hnd:
        gathered = place(gathered)
    gathered = gathered.reshape(dst.blocks, dst.block, heads, content)
    return place(gathered) if dst.hnd else gathered


# Each makes its copies in memory it has kept: what fresh memory costs is not counted.


class Numpy:
    def __init__(self, src, dst, layers):
        import numpy
        self.numpy, self.src, self.dst = numpy, src, dst
        self.from_order, self.to_order = numpy.array(src.order), numpy.array(dst.order)
        some = numpy.random.default_rng(1).integers(0, 2**15, src.shape, dtype=numpy.int16)
        self.layers = [(some + layer, numpy.ones(dst.shape, numpy.int16)) for layer in range(layers)]
        self.gathered, self.placed = numpy.ones(src.shape, numpy.int16), numpy.ones(some.size, numpy.int16)

    def threads(self, n):
        return n == 1

    def place(self, x):
        x = x.transpose(0, 2, 1, 3)
        placed = self.placed.reshape(x.shape)
        self.numpy.copyto(placed, x)
        return placed

    def bring(self):
        for src, dst in self.layers:
            self.numpy.take(src, self.from_order, axis=0, out=self.gathered, mode="clip")  # "raise" copies once more
            dst[self.to_order] = permute(self.gathered, self.src, self.dst, self.place)


class Torch:
    def __init__(self, src, dst, arrays):
        import torch
        self.torch, self.src, self.dst = torch, src, dst
        self.from_order, self.to_order = torch.tensor(src.order), torch.tensor(dst.order)
        self.layers = [(torch.from_numpy(a), torch.ones(dst.shape, dtype=torch.int16)) for a, _ in arrays]
        self.gathered = torch.ones(src.shape, dtype=torch.int16)
        self.placed = torch.ones(self.gathered.numel(), dtype=torch.int16)

    def threads(self, n):
        self.torch.set_num_threads(n)
        return True

    def place(self, x):
        x = x.permute(0, 2, 1, 3)
        return self.placed.view(x.shape).copy_(x)

    def bring(self):
        for src, dst in self.layers:
            self.torch.index_select(src, 0, self.from_order, out=self.gathered)
            dst.index_copy_(0, self.to_order, permute(self.gathered, self.src, self.dst, self.place))


def main():
    if len(sys.argv) != 9:
        sys.exit(__doc__)
    layers, heads, content, tokens = map(int, sys.argv[1:5])
    src = Cache(sys.argv[5], int(sys.argv[6]), tokens, heads, content, 11)
    dst = Cache(sys.argv[7], int(sys.argv[8]), tokens, heads, content, 23)
    peers = {"numpy": Numpy(src, dst, layers)}
    peers["numpy"].bring()
    try:
        peers["torch"] = Torch(src, dst, peers["numpy"].layers)
        peers["torch"].bring()
        for (_, a), (_, b) in zip(peers["numpy"].layers, peers["torch"].layers):
            if not (a == b.numpy()).all():
                sys.exit("relayout.py: torch and numpy differ")
    except ImportError:
        pass
    print(*peers, flush=True)
    for line in sys.stdin:
        name, threads = line.split()
        if not peers[name].threads(int(threads)):
            sys.exit(f"relayout.py: {name} does not run on {threads} threads")
        start = time.perf_counter()
        peers[name].bring()
        print(time.perf_counter() - start, flush=True)


main()
