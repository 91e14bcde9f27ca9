# SPDX-License-Identifier: Apache-2.0
"""A second implementation of hand-offs between layouts, in NumPy, against the planner and the kernel.

It knows axes and strides only: every side is a strided view [part][layer, block, token, head, element], tokens are
looked up in the block lists one by one, and elements are converted by NumPy's own float16 and float32, or by tables
made from the definition of the type. usage: numpy_plan.py APPLY
"""
import hashlib
import itertools
import os
import random
import subprocess
import sys
import time

try:
    import numpy as np
except ImportError:
    print("skipped: numpy is missing (python3-numpy)")
    sys.exit(77)

CASES = int(os.environ.get("SEGUE_TEST_CASES", "2000"))
BYTES, FP32, FP16, BF16, E4M3, E5M2 = range(6)
SIZE = {BYTES: 1, FP32: 4, FP16: 2, BF16: 2, E4M3: 1, E5M2: 1}


def small_table(mantissa, bias, nan_from, infinity):
    """Value of every byte of an fp8 type."""
    values = []
    for byte in range(256):
        size, sign = byte & 0x7F, -1.0 if byte & 0x80 else 1.0
        exponent, part = size >> mantissa, (size & ((1 << mantissa) - 1)) / (1 << mantissa)
        value = (1 + part) * 2.0 ** (exponent - bias) if exponent else part * 2.0 ** (1 - bias)
        value = float("nan") if size >= nan_from else float("inf") if size == infinity else value
        values.append(sign * value)
    return np.array(values, dtype=np.float32)


TABLES = {E4M3: small_table(3, 7, 0x7F, None), E5M2: small_table(2, 15, 0x7D, 0x7C)}
MOST = {E4M3: 0x7E, E5M2: 0x7B}


def widen(raw, dtype):
    """Elements as bytes [..., n * size] -> float32 [..., n]."""
    raw = np.ascontiguousarray(raw)
    if dtype == FP32:
        return raw.view(np.float32)
    if dtype == FP16:
        return raw.view(np.float16).astype(np.float32)
    if dtype == BF16:
        return (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return TABLES[dtype][raw]


def narrow(values, dtype):
    if dtype == FP32:
        return values.astype(np.float32).view(np.uint8)
    if dtype == FP16:
        with np.errstate(over="ignore"):
            return values.astype(np.float16).view(np.uint8)
    if dtype == BF16:
        bits = values.astype(np.float32).view(np.uint32).astype(np.uint64)
        return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16).view(np.uint8)
    table = TABLES[dtype][: MOST[dtype] + 1].astype(np.float64)
    size = np.minimum(np.abs(values).astype(np.float64), table[-1])
    high = np.clip(np.searchsorted(table, size), 1, len(table) - 1)
    low = high - 1
    below, above = size - table[low], table[high] - size
    take_high = (above < below) | ((above == below) & (high % 2 == 0))
    byte = np.where(take_high, high, low).astype(np.uint8)
    byte = np.where(size == table[high], high, byte)
    return (byte | (np.signbit(values).astype(np.uint8) << 7)).astype(np.uint8)


class Side:
    def __init__(self, rng, model, dtype):
        self.dtype, self.scale = dtype, (1.0, 1.0)
        if dtype != BYTES and rng.random() < 0.2:
            self.scale = (rng.choice((0.5, 1.0, 2.0)), rng.choice((0.25, 1.0, 4.0)))
        self.first_layer = rng.randrange(model["layers"]) if rng.random() < 0.3 else 0
        self.layers = rng.randint(1, model["layers"] - self.first_layer)
        self.first_head = rng.randrange(model["heads"]) if rng.random() < 0.3 else 0
        self.heads = rng.randint(1, model["heads"] - self.first_head)
        self.blocks, self.tokens = rng.randint(1, 8), rng.choice((1, 2, 3, 4, 6, 8, 16))
        self.rows = [model["k"] * SIZE[dtype], model["v"] * SIZE[dtype]]
        counts = {"L": self.layers, "B": self.blocks, "H": self.heads, "N": self.tokens}
        order = rng.sample("LBHN2", 5)
        strides, inner = [{}, {}], list(self.rows)
        parted = False
        self.offset = [0, 0]
        for axis in reversed(order):
            if axis == "2":
                self.offset[1] = inner[0] if self.rows[1] else 0
                inner = [sum(inner)] * 2
                parted = True
                continue
            for part in (0, 1):
                strides[part][axis] = inner[part]
                inner[part] *= counts[axis]
            if parted:
                inner[1] = inner[0]
        self.strides, self.len = strides, inner[0]
        self.ids = rng.sample(range(self.blocks), self.blocks) if rng.random() < 0.6 else list(range(self.blocks))

    def words(self, model):
        out = [self.layers, self.blocks, self.tokens, self.heads]
        for part in (0, 1):
            there = self.rows[part] > 0
            out += [self.rows[part], self.offset[part]]
            out += [self.strides[part][axis] if there else 0 for axis in "LBHN"]
        return out + [self.first_layer, model["layers"], self.first_head, model["heads"], *self.scale]

    def view(self, memory, part):
        s = self.strides[part]
        return np.lib.stride_tricks.as_strided(
            memory[self.offset[part]:], (self.layers, self.blocks, self.tokens, self.heads, self.rows[part]),
            (s["L"], s["B"], s["N"], s["H"], 1), writeable=True)


def carry(src, dst, model, tokens, first, memory):
    """What the destination is when every token has been looked up and written by itself."""
    out = np.full(dst.len, 0xEE, np.uint8)
    layers = range(max(src.first_layer, dst.first_layer),
                   min(src.first_layer + src.layers, dst.first_layer + dst.layers))
    heads = range(max(src.first_head, dst.first_head), min(src.first_head + src.heads, dst.first_head + dst.heads))
    if not layers or not heads:
        return out
    for part in (0, 1):
        if not src.rows[part]:
            continue
        a, b = src.view(memory, part), dst.view(out, part)
        factor = np.float32(src.scale[part]) / np.float32(dst.scale[part])
        same = src.dtype == dst.dtype and factor == 1
        for layer, t in itertools.product(layers, range(first, first + tokens)):
            row = a[layer - src.first_layer, src.ids[t // src.tokens], t % src.tokens,
                    heads.start - src.first_head: heads.stop - src.first_head]
            if not same:
                values = widen(row, src.dtype)
                row = narrow(values if factor == 1 else values * factor, dst.dtype)
            b[layer - dst.first_layer, dst.ids[t // dst.tokens], t % dst.tokens,
              heads.start - dst.first_head: heads.stop - dst.first_head] = row
    return out


def clean(memory, src):
    """Without NaN and infinity, whose bits two implementations may write differently."""
    for part in (0, 1):
        if src.rows[part] and src.dtype not in (BYTES,):
            view = src.view(memory, part)
            values = widen(view, src.dtype)
            raw = narrow(np.where(np.isfinite(values), values, np.float32(1)), src.dtype)
            view[...] = np.where(np.repeat(np.isfinite(values), SIZE[src.dtype], axis=-1), view, raw)
    return memory


def one_case(rng):
    model = {"layers": rng.randint(1, 4), "heads": rng.randint(1, 6), "k": rng.choice((1, 2, 8, 16, 32))}
    model["v"] = model["k"] if rng.random() < 0.8 else rng.choice((0, 4, 24))
    kinds = [rng.choice((BYTES, FP32, FP16, BF16, E4M3, E5M2))] * 2
    if kinds[0] != BYTES and rng.random() < 0.4:
        kinds = [rng.choice((FP32, FP16, BF16, E4M3, E5M2)) for _ in kinds]
    src, dst = Side(rng, model, kinds[0]), Side(rng, model, kinds[1])
    room = min(src.blocks * src.tokens, dst.blocks * dst.tokens)
    first = rng.randrange(room) if rng.random() < 0.5 else 0
    tokens, seed = rng.randint(1, room - first), rng.randrange(1 << 32)
    line = [*kinds, *src.words(model), *dst.words(model), tokens, first, len(src.ids), *src.ids, len(dst.ids),
            *dst.ids, src.len, dst.len, seed]
    memory = ((np.arange(src.len, dtype=np.uint64) * 2654435761 + seed) & 0xFFFFFFFF) >> 7
    memory = memory.astype(np.uint8)
    converts = kinds[0] != kinds[1] or src.scale != dst.scale
    if converts and any(not np.isfinite(widen(src.view(memory, p), src.dtype)).all() for p in (0, 1) if src.rows[p]):
        return None
    with np.errstate(all="ignore"):
        out = carry(src, dst, model, tokens, first, memory)
    return " ".join(map(str, line)), hashlib.sha256(out.tobytes()).hexdigest()


def main():
    seed = int(os.environ.get("SEGUE_TEST_SEED", time.time_ns() & 0xFFFFFFFF))
    rng, cases = random.Random(seed), []
    print(f"seed: {seed}", flush=True)
    while len(cases) < CASES:
        case = one_case(rng)
        if case:
            cases.append(case)
    done = subprocess.run([sys.argv[1]], input="\n".join(line for line, _ in cases) + "\n", text=True,
                          capture_output=True, check=True, timeout=300)
    answers = done.stdout.split("\n")
    wrong = [(line, want, got) for (line, want), got in zip(cases, answers) if want != got]
    print(f"cells: {len(cases)}")
    for line, want, got in wrong[:3]:
        print(f"{line}\n  numpy {want}\n  segue {got}")
    print(f"{len(wrong)} of {len(cases)} differ")
    sys.exit(bool(wrong) or len(answers) < len(cases))


main()
