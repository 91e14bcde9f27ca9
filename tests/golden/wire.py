# SPDX-License-Identifier: Apache-2.0
"""A second decoder, written from docs/wire.md alone: every recorded frame of every version means the same to it and to the
library, with a later version's bytes behind it and cut short at each byte (R21).

usage: wire.py WIRE_FRAMES FOLDER      FOLDER/*.txt: lines `name service type body`, body in hexadecimal
"""

import json
import pathlib
import struct
import subprocess
import sys


class Malformed(Exception):
    pass


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        if self.at + n > len(self.data):
            raise Malformed(f"{n} bytes at {self.at} of {len(self.data)}")
        self.at += n
        return self.data[self.at - n:self.at]

    def left(self):
        return len(self.data) - self.at

    def number(self, code):
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def u8(self):
        return self.number("B")

    def u16(self):
        return self.number("H")

    def u32(self):
        return self.number("I")

    def u64(self):
        return self.number("Q")

    def i32(self):
        return self.number("i")

    def bytes(self, most):
        n = self.u16()
        if n > most:
            raise Malformed(f"{n} bytes where {most} are allowed")
        return self.take(n)

    def str(self, most):
        text = self.bytes(most)
        if b"\0" in text:
            raise Malformed("a NUL in a text")
        return text.decode()

    def id(self):
        return self.take(16).hex()


def must(holds, what):
    if not holds:
        raise Malformed(what)


# ---- service 0 ----

def hello(r):
    must(r.take(4) == b"SGUE", "magic")
    out = {"version": r.u16(), "version_min": r.u16(), "incarnation": r.id(), "agent": r.id(),
           "boot": r.id(), "engine": r.str(63), "port": r.u16()}
    must(out["version_min"] <= 1 <= out["version"], "no version in common")
    return out


def error(r):
    return {"status": r.i32(), "why": r.str(199)}


def later_u8(r):
    """A field of a later version that is 0 where it is missing."""
    return r.u8() if r.left() else 0


def stream_ask(r):
    return {"transport": r.str(15), "secure": later_u8(r)}


def stream_grant(r):
    return {"transport": r.str(15), "port": r.u16(), "secret": r.id(), "why": r.str(127), "secure": later_u8(r)}


def stream_want(r):
    return {"transport": r.str(15)}


def empty(r):
    return {}


# ---- service 1 ----

def window(r):
    names = "layer_first layers layers_total head_first heads heads_total group".split()
    out = {name: r.u32() for name in names}
    must(out["layer_first"] + out["layers"] <= out["layers_total"], "layers beyond the model's")
    must(out["head_first"] + out["heads"] <= out["heads_total"], "heads beyond the model's")
    return out


def geometry(r):
    r = Reader(r.take(r.u32()))
    out = {"dtype": r.u32(), "layers": r.u32(), "blocks": r.u32(), "block_tokens": r.u32(), "heads": r.u32()}
    must(0 < out["layers"] <= 4096, "layers")
    for part in "kv":
        out[part] = [r.u32()] + [r.u64() for _ in range(5)]
    for name in "layer_first", "layers_total", "head_first", "heads_total":
        out[name] = r.u32()
    places = r.u32()
    must(places in (0, out["layers"], 2 * out["layers"]), "places")
    out["places"] = [[r.u32(), r.u64()] for _ in range(places)]
    must(all(region < 8 for region, _ in out["places"]), "a place in no region")
    for name in "group", "kind", "window":
        out[name] = r.u32() if r.left() else 0
    scales = r.u32() if r.left() else 0
    must(scales in (0, 2 * out["layers"]), "scales")
    out["scales"] = [struct.unpack("<f", r.take(4))[0] for _ in range(scales)]
    return out


def tell(r):
    out = {"cache": r.u32(), "model": r.str(127), "convention": r.str(127), "rank": r.u32(), "ranks": r.u32()}
    must(out["rank"] < out["ranks"], "rank")
    out.update(geometry(r))
    out.update(device=r.str(31), abilities=r.u32())
    n = r.u32()
    must(1 <= n <= 8, "regions")
    out["regions"] = [r.u64() for _ in range(n)]
    reasons = [(r.str(15), r.str(119)) for _ in range(r.u32())]
    out["reasons"] = {transport: why for transport, why in reasons if why}
    return out


def handles(r):
    out = {"cache": r.u32(), "transport": r.str(15), "handles": []}
    for _ in range(r.u32()):
        blob = r.bytes(256)
        fds = r.u32()
        must(fds <= 16, "descriptors")
        out["handles"].append([blob.hex(), fds])
    must(sum(fds for _, fds in out["handles"]) == 1, "the frame's descriptors, none over")
    return out


def cache_only(r):
    return {"cache": r.u32()}


def member(r):
    return {"address": r.str(107), "rank": r.u32(), **window(r)}


def join(r):
    return {"rank": r.u32(), "ranks": r.u32(), "address": r.str(107), "network": r.str(63)}


def have(r):
    return {"cache": r.u32(), **window(r)}


# ---- service 2 ----

def offer(r):
    return {"incarnation": r.id(), "sequence": r.u64()}


def claim(r):
    out = {"pair": r.u64(), "tag": r.u64(), **offer(r), "hash": r.id(), "tokens": r.u32(), "first": r.u32(),
           "cache": r.u32(), "digest": r.u8(), "transport": r.u8(), "way": r.u8(), "piece": r.u32(),
           "credits": r.u32(), "model": r.str(127), "convention": r.str(127)}
    must(out["first"] < out["tokens"] and out["digest"] <= 2 and out["way"] <= 3, "range")
    out.update(geometry(r))
    out.update(use=r.u64(), counts=r.u32())
    out["from"] = r.u32()
    must(out["counts"] >= 1, "counts")
    return out


def accept(r):
    out = {"pair": r.u64(), "lease": r.u64()}
    n = r.u32()
    must(n <= 65536, "runs")
    out["runs"] = [[r.u32(), r.u32()] for _ in range(n)]
    return out


def commit(r):
    return {"pair": r.u64(), "bytes": r.u64(), "digest": r.u64()}


def verdict(r):
    out = {"pair": r.u64(), "verdict": r.u8(), "digest": r.u64(), "why": r.str(255)}
    must(1 <= out["verdict"] <= 7, "verdict")
    return out


def pair_only(r):
    return {"pair": r.u64()}


def end(r):
    out = {**offer(r), "group": r.u64(), "verdict": r.u8(), "hash": r.id(), "counts": r.u32()}
    must(out["verdict"] <= 7 and out["counts"] >= 1, "range")
    return out


def relay(r):
    out = {"type": r.u8(), "engine": r.id()}
    must(out["type"] in (7, 8), "type")
    return {**out, **(offer(r) if out["type"] == 7 else end(r))}


# ---- service 3 ----

def ring(r):
    out = {"slots": r.u32(), "blob": r.bytes(256).hex()}
    must(1 <= out["slots"] <= 65536, "slots")
    return out


def full(r):
    return {"pair": r.u64(), "piece": r.u32(), "slot": r.u32()}


def free(r):
    return {"pair": r.u64(), "slot": r.u32()}


DECODERS = {
    0: {1: hello, 2: error, 3: stream_ask, 4: stream_grant, 5: stream_want, 6: empty, 7: empty},
    1: {1: empty, 2: tell, 3: handles, 4: empty, 5: cache_only, 6: member, 7: join, 8: have, 9: cache_only},
    2: {1: claim, 2: accept, 3: commit, 4: verdict, 5: pair_only, 6: pair_only, 7: offer, 8: end,
        9: cache_only, 10: cache_only, 11: relay},
    3: {1: ring, 2: full, 3: free},
}


def cuts(decode, body):
    """Which beginnings of the body are messages too: of those whose last fields came in a later version."""
    for n in range(len(body)):
        try:
            decode(Reader(body[:n]))
            yield n
        except Malformed:
            pass


def read(path):
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            name, service, kind, *body = line.split(" ")
            yield name, int(service), int(kind), bytes.fromhex("".join(body))


def check(tool, path):
    run = subprocess.run([tool, path], capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"{path.name}: {run.stderr.strip()}")
    theirs = [json.loads(line) for line in run.stdout.splitlines()]
    ours, kinds = [], set()
    for name, service, kind, body in read(path):
        decode = DECODERS[service][kind]
        kinds.add((service, kind))
        for behind in b"", b"\xa5\xa5\xa5":
            got = {"name": name, **decode(Reader(body + behind)), "cuts": list(cuts(decode, body))}
            if behind and got != ours[-1]:
                sys.exit(f"{path.name}: {name}: with more behind it is read otherwise")
            if not behind:
                ours.append(got)
    if len(ours) != len(theirs):
        sys.exit(f"{path.name}: {len(ours)} frames, the library has read {len(theirs)}")
    for a, b in zip(ours, theirs):
        if a != b:
            differ = {k for k in {*a, *b} if a.get(k) != b.get(k)}
            sys.exit(f"{path.name}: {a['name']}: {sorted(differ)}:\n  from the page: {a}\n  the library:   {b}")
    return len(ours), kinds


def main():
    tool, folder = sys.argv[1:]
    total, kinds = 0, set()
    paths = sorted(pathlib.Path(folder).glob("*.txt"))
    if not paths:
        sys.exit(f"{folder}: no recorded frames")
    for path in paths:
        n, seen = check(tool, path)
        total, kinds = total + n, kinds | seen
    missing = {(s, k) for s, all_ in DECODERS.items() for k in all_} - kinds
    if missing:
        sys.exit(f"no frame is recorded of (service, type) {sorted(missing)}")
    print(f"cells: {total}")


main()
