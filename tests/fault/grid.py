# SPDX-License-Identifier: Apache-2.0
"""The grid: at every step of a hand-off, over one path (argument), the prefill engine, the decode engine, the router or the
client goes away, by SIGKILL or by hanging up. Two engines of two ranks and a router; a fault schedule stops the hand-off
exactly at the step. Each cell ends as PROTOCOL section 5 says: the client is told or gets the right tokens, every block,
descriptor and mapping of who survives comes back, and the next request is served by the same address.
"""

import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.environ["TESTS"], "e2e"))
from engine_process import Engine  # noqa: E402

TEXT = "The history of the world in ten words, and what you should do about it: " * 2
SLOW = 5  # seconds of a cell worth a line
WAIT = 40  # seconds for what should come soon; a loaded machine is given more

# step, who passes it, the Nth time (both ranks' verdicts are there), whether the prefill engine is still needed
STEPS = [
    ("offer", "prefill", 1, True), ("named", "prefill", 1, True),
    ("send:claim", "decode", 1, True), ("recv:claim", "prefill", 1, True),
    ("send:accept", "prefill", 1, True), ("recv:accept", "decode", 1, True),
    ("first-byte", "decode", 1, True), ("mid-copy", "decode", 1, True), ("last-byte", "decode", 1, True),
    ("arrived", "decode", 1, True),
    ("send:commit", "decode", 1, True), ("recv:commit", "prefill", 1, True),
    ("send:verdict", "prefill", 1, True), ("recv:verdict", "decode", 2, False),
    ("send:end", "decode", 1, False), ("recv:end", "prefill", 1, False),
    ("released", "decode", 2, False), ("ended", "prefill", 1, False),
]
BYTES = ("first-byte", "mid-copy", "last-byte")
WHO = ("prefill", "decode", "router", "client")
PATHS = {
    "shm": ("shm/mapped", "host"), "cma": ("cma/direct", "host"), "tcp": ("tcp/direct", "host"),
    "ipc": ("ipc/mapped", "sim:cuda"), "packed": ("shm/packed", "host"),
}


def until(condition, what):
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        got = condition()
        if got:
            return got
        time.sleep(0.005)
    raise AssertionError(f"did not come: {what}")


def free_port():
    """Below those that the kernel gives away, so that it is still free when its owner starts again."""
    while True:
        port = random.randrange(11000, 32000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class Process:
    """An engine or the router: started again at the same port, seen through /proc."""

    def __init__(self, folder, name):
        self.folder, self.name, self.port, self.process = folder, name, free_port(), None
        self.log = os.path.join(folder, name + ".log")

    def start(self, command, env=None):
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([*command, "--port", str(self.port), "--json"], stdout=subprocess.PIPE,
                                            stderr=log, text=True, env=env)
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"{self.name} ended at once: {self.said()}")
        self.port = json.loads(line)["port"]

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def dead(self):
        return self.process is None or self.process.poll() is not None

    def end(self, how):
        if not self.dead():
            self.process.send_signal(how)
            if how == signal.SIGTERM:
                self.process.send_signal(signal.SIGCONT)
        status = self.process.wait(WAIT)
        self.process.stdout.close()
        return status

    def stopped(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as stat:
            return stat.read().rsplit(") ", 1)[1][0] == "T"

    def holds(self):
        """Descriptors, and mappings of shared memory."""
        pid = self.process.pid
        with open(f"/proc/{pid}/maps", encoding="utf-8") as maps:
            mapped = sum("memfd:" in line for line in maps)
        return len(os.listdir(f"/proc/{pid}/fd")), mapped


class Grid:
    def __init__(self, path, folder):
        self.require, self.device = PATHS[path]
        self.engines = {name: Process(folder, name) for name in ("prefill", "decode")}
        self.router = Process(folder, "router")
        self.folder, self.plan = folder, {}
        self.alone = Engine().__enter__()
        self.usual = {}
        self.tokens_next = None

    # ---- processes ----

    def start_engine(self, name, schedule=""):
        process = self.engines[name]
        if not process.dead():
            status = process.end(signal.SIGTERM)
            assert status == 0, f"{name} ended with {status}: {process.said()}"
        file = os.path.join(self.folder, name + ".faults")
        with open(file, "w", encoding="ascii") as out:
            out.write(schedule)
        command = [os.environ["SEGUE"], "engine", "--model", os.environ["TINY_MODEL"], "--threads", "1", "--tp", "2",
                   "--role", name, "--engine-id", name, "--ipc-dir", self.folder, "--device", self.device,
                   "--require", self.require, "--no-prefix-caching", "--digest", "full", "--fault", file,
                   "--max-seqs", "4"]
        command += (["--block-size", "32", "--kv-blocks", "40"] if name == "prefill" else
                    ["--block-size", "8", "--layout", "hnd", "--kv-blocks", "160"])
        process.start(command, {**os.environ, "SEGUE_LEASE_NS": "1500ms", "SEGUE_RENEW_NS": "300ms",
                                "SEGUE_LOG": "fault:info"})
        self.plan[name] = schedule

    def start_router(self):
        env = dict(os.environ)
        if env.get("ROUTER_PRELOAD"):
            env.update(LD_PRELOAD=env["ROUTER_PRELOAD"], ASAN_OPTIONS="detect_leaks=0:detect_odr_violation=0")
        self.router.start([os.environ["SEGUE"], "route", "--access-log", "off",
                           "--prefiller-hosts", "127.0.0.1", "--prefiller-ports", str(self.engines["prefill"].port),
                           "--decoder-hosts", "127.0.0.1", "--decoder-ports", str(self.engines["decode"].port)], env)

    def open(self):
        self.start_engine("prefill")
        self.start_engine("decode")
        self.start_router()
        self.check_next()
        self.usual = {name: process.holds() for name, process in self.engines.items()}

    def close(self):
        for process in (self.router, *self.engines.values()):
            if process.process is not None and not process.dead():
                process.end(signal.SIGTERM)
        self.alone.stop()

    # ---- one request ----

    def ask(self, prompt):
        """(status, answer); status 0: nobody answered."""
        connection = http.client.HTTPConnection("127.0.0.1", self.router.port, timeout=WAIT)
        try:
            connection.request("POST", "/v1/completions", json.dumps(
                {"prompt": prompt, "max_tokens": 4, "temperature": 0, "return_token_ids": True}))
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        except (OSError, http.client.HTTPException):
            return 0, None
        finally:
            connection.close()

    def check_next(self):
        """The survivors serve, and everything comes back."""
        if self.tokens_next is None:
            self.tokens_next = self.alone.tokens(TEXT, max_tokens=4)

        def served():
            status, answer = self.ask(TEXT)
            return answer if status == 200 else None  # a breaker may rest for a second
        answer = until(served, "the next answer")
        assert answer["choices"][0]["token_ids"] == self.tokens_next, answer
        for name in self.engines:
            until(lambda name=name: self.idle(name), f"{name} idle: {self.metrics(name)}")
        until(lambda: self.router_idle(), "the router idle")
        for name, usual in self.usual.items():
            until(lambda name=name, usual=usual: self.holds_no_more(name, usual),
                  f"{name} holds {self.engines[name].holds()}, before it were {usual}")

    def holds_no_more(self, name, usual):
        pump = 2 if self.require.startswith("tcp") and any(s in self.plan[name] for s in BYTES) else 0
        fds, mapped = self.engines[name].holds()
        return fds <= usual[0] + pump and mapped <= usual[1]

    def metrics(self, name):
        engine = Engine()
        engine.port = self.engines[name].port
        return engine.metrics()

    def idle(self, name):
        m = self.metrics(name)
        return (m["vllm:num_requests_running"] == 0 and m["vllm:num_requests_waiting"] == 0 and
                m['segue_engine_kv_blocks{state="free"}'] == m['segue_engine_kv_blocks{state="total"}'])

    def router_idle(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.router.port, timeout=WAIT)
        connection.request("GET", "/segue/metrics")
        page = connection.getresponse().read().decode()
        connection.close()
        return all(re.search(r" 0$", line) for line in page.splitlines()
                   if re.match(r"segue_router_(requests_in_flight|engine_requests\{|engine_tokens\{)", line))

    def verdict(self):
        """Of the decode engine's last hand-off; None: it has made none."""
        engine = Engine()
        engine.port = self.engines["decode"].port
        _, reports = engine.get("/segue/handoffs")
        return reports[-1]["verdict"] if reports else None

    # ---- one cell ----

    def cell(self, number, step, owner, nth, needed, who):
        itself = who == owner
        # Held bytes go on at once when their peer dies; a client that has gone is noticed at the answer's first byte.
        held = "delay 20s" if who == "prefill" else "delay 800ms"
        what = "kill" if itself else held if step in BYTES else "stop"
        self.start_engine(owner, f"{owner} {step}#{nth} {what}")
        prompt = f"{number} {TEXT}"
        answer = []
        client = threading.Thread(target=lambda: answer.append(self.ask(prompt)), daemon=True)
        client.start() if who != "client" else self.begin(prompt)
        process = self.engines[owner]
        if itself:
            until(process.dead, f"{owner} dies at {step}")
        elif step in BYTES:
            until(lambda: "fault: " in process.said(), f"{owner} comes to {step}")
        else:
            until(process.stopped, f"{owner} stops at {step}")
        self.act(who, itself)
        if not itself and not process.dead():
            process.process.send_signal(signal.SIGCONT)
        if who != "client":
            client.join(2 * WAIT)
            assert answer, "no answer, no error"
            self.judge(answer[0], prompt, needed, who)
        self.heal(who)
        self.check_next()
        assert not self.seen or self.seen[0] in self.seen[1], f"verdict {self.seen[0]}, not one of {self.seen[1]}"

    def begin(self, prompt):
        body = json.dumps({"prompt": prompt, "max_tokens": 400, "temperature": 0}).encode()
        self.client = socket.create_connection(("127.0.0.1", self.router.port))
        self.client.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: r\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    def act(self, who, itself):
        if who == "client":
            self.client.close()
        elif who == "router":
            self.router.end(signal.SIGKILL)
        elif not itself:
            self.engines[who].end(signal.SIGKILL)

    def judge(self, answer, prompt, needed, who):
        status, body = answer
        self.seen = None
        if status == 200:
            want = self.alone.tokens(prompt, max_tokens=4)
            assert body["choices"][0]["token_ids"] == want, f"wrong tokens: {body}"
            assert who != "prefill" or not needed, "an answer without the prefill engine's KV"
        elif who == "router":
            assert status == 0, answer
        else:
            assert status in (502, 503, 504), answer
            assert body["error"]["code"], answer
            assert who != "prefill" or needed, f"the KV had been judged valid: {answer}"
        if who == "prefill":
            last = self.verdict()
            self.seen = (last, ("lost", "valid", None) if needed else ("valid",))
            if needed and last == "valid":  # of the request before
                self.seen = None

    def heal(self, who):
        self.seen = getattr(self, "seen", None)
        if who in self.engines and self.engines[who].dead():
            self.engines[who].process.stdout.close()
            self.start_engine(who)
        if who == "router":
            self.start_router()


def main():
    path = sys.argv[1]
    only = sys.argv[2:]
    check = subprocess.run([os.environ["SEGUE"], "route", "--check"], capture_output=True, text=True, check=False)
    if check.returncode == 3:
        print("skipped:", check.stderr.strip())
        return 77
    cells, slowest, began = 0, 0.0, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="segue-grid-") as folder:
        grid = Grid(path, folder)
        try:
            grid.open()
            for step, owner, nth, needed in STEPS:
                for who in WHO:
                    if only and f"{step}:{who}" not in only and who not in only and step not in only:
                        continue
                    start = time.monotonic()
                    try:
                        grid.cell(cells, step, owner, nth, needed, who)
                    except Exception as error:
                        raise AssertionError(f"{path}: {who} at {step}: {error}") from error
                    took = time.monotonic() - start
                    slowest = max(slowest, took)
                    if took > SLOW:
                        print(f"{path}: {who} at {step} took {took:.1f} s", flush=True)
                    cells += 1
        finally:
            grid.close()
    print(f"cells: {cells} ({path}; {time.monotonic() - began:.0f} s, the slowest {slowest:.1f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
