# SPDX-License-Identifier: Apache-2.0
"""Hand-offs between engines of every pair of layouts: the tokens must be those of one engine alone, the digests equal.

On the tiny model all ordered pairs of six orders, times block sizes, times TP; with `model` six pairs on the reference
model. Prefix caching is on, and prompts begin alike, so that later hand-offs find a part of theirs there already.
usage: SEGUE=build/segue TINY_MODEL=... layout_grid.py [model]
"""
import os
import sys
import tempfile
from contextlib import ExitStack

from engine_process import Engine

ORDERS = "LBHNC", "LBNHC", "LHBNC", "BLHNC", "BLNHC", "BHLNC"
BLOCKS = (16, 128), (128, 16), (24, 64)
TINY_TP = (1, 2), (2, 1), (4, 2), (1, 8)
MODEL_TP = (1, 3), (3, 1)
PREFILL = {"do_remote_decode": True, "do_remote_prefill": False, "remote_engine_id": None,
           "remote_block_ids": None, "remote_host": None, "remote_port": None}
STORY = "Once upon a time there was a cache that nobody could find, because every engine kept it somewhere else. "
cells, prefixed = 0, 0


def prompt_of(number, sentences):
    """Some hundred tokens; the first sentences are common to all, and so are whole blocks of them."""
    return STORY * sentences + f"Part {number}: " + STORY[number:]


class Alone:
    """What one engine says by itself; asked once a prompt."""

    def __init__(self, model, tokens):
        self.engine, self.max_tokens, self.known = Engine(model=model).__enter__(), tokens, {}

    def tokens(self, prompt):
        if prompt not in self.known:
            self.known[prompt] = self.engine.tokens(prompt, max_tokens=self.max_tokens, ignore_eos=True)
        return self.known[prompt]


def hand_over(prefill, decode, alone, prompt, what):
    global cells, prefixed
    first = prefill.complete(prompt, max_tokens=1, kv_transfer_params=PREFILL)
    got = decode.tokens(prompt, max_tokens=alone.max_tokens, ignore_eos=True,
                        kv_transfer_params=first["kv_transfer_params"])
    if got != alone.tokens(prompt):
        raise AssertionError(f"{what}: {got} instead of {alone.tokens(prompt)}")
    report = decode.get("/segue/handoffs")[1][-1]
    digest = report["kv_digest"]
    if report["verdict"] != "valid" or digest["producer"] != digest["consumer"] or int(digest["producer"], 16) == 0:
        raise AssertionError(f"{what}: {report}")
    if report["bytes"]["moved"] != report["bytes"]["expected"] or report["bytes"]["moved"] == 0:
        raise AssertionError(f"{what}: {report['bytes']}")
    prefixed += report["bytes"]["moved"] < report["tokens"] * decode.token_bytes
    cells += 1


def open_engine(stack, folder, role, name, order, block, tp, model, room):
    engine = Engine("--role", role, "--engine-id", name, "--ipc-dir", folder, "--layout", order, "--block-size",
                    str(block), "--tp", str(tp), "--kv-blocks", str(room // block + 4), "--digest", "full", model=model)
    return stack.enter_context(engine)


def batch(pairs, blocks, tp, alone, model, token_bytes):
    """Every pair of (producer's order, consumer's order) between engines of one pair of block sizes and TP."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        sides = [{}, {}]
        for number, (role, side) in enumerate(zip(("prefill", "decode"), sides)):
            for order in sorted({pair[number] for pair in pairs}):
                side[order] = open_engine(stack, folder, role, role[0] + order, order, blocks[number], tp[number],
                                          model, 2048)
                side[order].token_bytes = token_bytes
        for i, (source, target) in enumerate(pairs):
            hand_over(sides[0][source], sides[1][target], alone, prompt_of(i, 7 if model else 2),
                      f"{source}/{blocks[0]}/TP{tp[0]} to {target}/{blocks[1]}/TP{tp[1]}")


def main():
    model = os.environ["MODEL"] if sys.argv[1:] == ["model"] else None
    alone = Alone(model, 8 if model else 12)
    try:
        if model:
            pairs = list(zip(ORDERS, ORDERS[1:] + ORDERS[:1])) * 2  # the second time with a prefix
            for i, tp in enumerate(MODEL_TP):
                batch(pairs, BLOCKS[2 * i], tp, alone, model, 30 * 3 * 2 * 64 * 2)
        else:
            pairs = [(a, b) for a in ORDERS for b in ORDERS]
            for blocks in BLOCKS:
                for tp in TINY_TP:
                    batch(pairs, blocks, tp, alone, None, 4 * 4 * 2 * 16 * 2)
    finally:
        alone.engine.stop()
    if prefixed == 0:
        raise AssertionError("no hand-off found a prefix there already")
    print(f"cells: {cells} ({prefixed} with a prefix there already)")


main()
