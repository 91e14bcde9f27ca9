# SPDX-License-Identifier: Apache-2.0
"""Runs `segue route` (a real nginx) between fake engines, and speaks HTTP to it byte by byte."""
import asyncio
import json
import logging
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.environ.get("TESTS", os.path.join(os.path.dirname(__file__), "../..")), "fake"))
from engine import Engine, Ledger  # noqa: E402

SEGUE = os.environ.get("SEGUE", "build/segue")
WAIT = 30  # seconds before a test gives up on something that should come


def environment():
    """A sanitized module needs its runtime in nginx, which is not sanitized."""
    env = dict(os.environ)
    if os.environ.get("ROUTER_PRELOAD"):
        env["LD_PRELOAD"] = os.environ["ROUTER_PRELOAD"]
        env["ASAN_OPTIONS"] = "detect_leaks=0:detect_odr_violation=0"
    return env


class Answer:
    def __init__(self, status, headers, body, whole):
        self.status, self.headers, self.body, self.whole = status, headers, body, whole

    def header(self, name):
        values = self.headers.get(name, [])
        assert len(values) <= 1, f"{name} is there {len(values)} times"
        return values[0] if values else None

    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        assert self.header("content-type").startswith("application/json"), self.headers
        error = self.json()["error"]
        assert set(error) >= {"message", "type", "param", "code"}, error
        return error["code"]

    def events(self):
        return [block for block in self.body.decode().split("\n\n") if block]


class Client:
    """One connection."""

    def __init__(self, port):
        self.port = port

    async def open(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 26)
        return self

    def send(self, body=b"", path="/v1/completions", method="POST", headers=(), chunked=False):
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        rows = [f"{method} {path} HTTP/1.1", "Host: router", *headers]
        if chunked:
            rows.append("Transfer-Encoding: chunked")
            raw = b"".join(b"%x\r\n%s\r\n" % (len(raw[i:i + 50000]), raw[i:i + 50000])
                           for i in range(0, len(raw), 50000)) + b"0\r\n\r\n"
        elif method != "GET" or raw:
            rows.append(f"Content-Length: {len(raw)}")
        self.writer.write("\r\n".join(rows).encode() + b"\r\n\r\n" + raw)

    async def head(self):
        text = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), WAIT)
        line, *rows = text.decode("latin-1").rstrip().split("\r\n")
        headers = {}
        for row in rows:
            key, _, value = row.partition(":")
            headers.setdefault(key.lower(), []).append(value.strip())
        return int(line.split()[1]), headers

    async def piece(self):
        """The next chunk of a chunked body; b"" at its end, None when it broke off."""
        try:
            size = int(await asyncio.wait_for(self.reader.readuntil(b"\r\n"), WAIT), 16)
            data = (await asyncio.wait_for(self.reader.readexactly(size + 2), WAIT))[:-2]
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return data

    async def answer(self, method="POST"):
        status, headers = await self.head()
        body, whole = b"", True
        if method == "HEAD":
            pass
        elif "transfer-encoding" in headers:
            while True:
                data = await self.piece()
                if not data:
                    whole = data is not None
                    break
                body += data
        elif "content-length" in headers:
            try:
                body = await asyncio.wait_for(self.reader.readexactly(int(headers["content-length"][0])), WAIT)
            except asyncio.IncompleteReadError as error:
                body, whole = error.partial, False
        else:
            body = await asyncio.wait_for(self.reader.read(), WAIT)
        return Answer(status, headers, body, whole)

    def close(self):
        self.writer.close()

    def reset(self):
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class Router:
    def __init__(self, *arguments):
        self.arguments = arguments

    async def start(self):
        self.folder = tempfile.TemporaryDirectory(prefix="segue-test-")
        os.chmod(self.folder.name, 0o755)
        self.log_path = os.path.join(self.folder.name, "access.log")
        self.errors_path = os.path.join(self.folder.name, "errors.log")
        with open(self.errors_path, "wb") as errors:
            self.process = await asyncio.create_subprocess_exec(
                SEGUE, "route", "--port", "0", "--json", "--access-log", self.log_path, *map(str, self.arguments),
                stdout=subprocess.PIPE, stderr=errors, env=environment())
        line = await asyncio.wait_for(self.process.stdout.readline(), WAIT)
        if not line:
            raise RuntimeError(self.errors())
        self.port = json.loads(line)["port"]
        self.pid = json.loads(line)["pid"]
        assert self.pid == self.process.pid
        return self

    def errors(self):
        return pathlib.Path(self.errors_path).read_text()

    async def stop(self, how=signal.SIGTERM):
        if self.process.returncode is None:
            self.process.send_signal(how)
        status = await asyncio.wait_for(self.process.wait(), WAIT)
        errors = self.errors()
        self.folder.cleanup()
        for word in ("[alert]", "[emerg]", "AddressSanitizer", "runtime error"):
            lines = [line for line in errors.splitlines() if word in line and "found the KV" not in line]
            assert not lines, lines
        return status

    async def client(self):
        return await Client(self.port).open()

    async def ask(self, body=b"", **how):
        client = await self.client()
        client.send(body, **how)
        answer = await client.answer(how.get("method", "POST"))
        client.close()
        return answer

    async def log(self, count=None):
        """The lines so far, when there are `count` of them."""
        async def read():
            while True:
                with open(self.log_path, encoding="utf-8") as log:
                    lines = [json.loads(line) for line in log]
                if count is None or len(lines) >= count:
                    return lines
                await asyncio.sleep(0.01)
        return await asyncio.wait_for(read(), WAIT)

    async def metrics(self):
        answer = await self.ask(method="GET", path="/segue/metrics")
        rows = {}
        for line in answer.body.decode().splitlines():
            if not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                rows[name.removeprefix("segue_router_")] = int(value)
        return rows

    async def idle(self):
        """Waits until nothing is counted as in flight and returns the metrics of then."""
        async def settle():
            while True:
                rows = await self.metrics()
                if rows["requests_in_flight"] == 0 and not any(
                        value for name, value in rows.items()
                        if name.startswith(("engine_requests{", "engine_tokens{"))):
                    return rows
                await asyncio.sleep(0.02)
        try:
            return await asyncio.wait_for(settle(), WAIT)
        except asyncio.TimeoutError:
            raise AssertionError(f"never idle: {await self.metrics()}") from None


async def until(condition, what):
    async def wait():
        while not condition():
            await asyncio.sleep(0.01)
    try:
        await asyncio.wait_for(wait(), WAIT)
    except asyncio.TimeoutError:
        raise AssertionError(f"did not come: {what}") from None


class RouterTest(unittest.IsolatedAsyncioTestCase):
    prefills, decodes, arguments = 1, 1, ()

    async def asyncSetUp(self):
        asyncio.get_running_loop().set_debug(False)  # unittest turns it on; a storm takes minutes then
        self.ledger = Ledger()
        self.P = [await Engine("prefill", self.ledger, f"p{i}").start() for i in range(self.prefills)]
        self.D = [await Engine("decode", self.ledger, f"d{i}").start() for i in range(self.decodes)]
        self.p, self.d = self.P[0], self.D[0]
        self.router = await Router(*self.flags(), *self.arguments).start()

    def flags(self):
        local = "127.0.0.1"
        return ("--prefiller-hosts", *[local] * len(self.P), "--prefiller-ports", *[e.port for e in self.P],
                "--decoder-hosts", *[local] * len(self.D), "--decoder-ports", *[e.port for e in self.D])

    async def asyncTearDown(self):
        await self.router.stop()
        for engine in self.P + self.D:
            await engine.stop()

    async def ask(self, body=None, **how):
        return await self.router.ask({"model": "m", "prompt": "hello", "max_tokens": 7} if body is None else body, **how)

    def stranded(self):
        return self.ledger.stranded()


def main():
    """unittest's main, but 77 with a reason where nginx or the module is missing."""
    check = subprocess.run([SEGUE, "route", "--check"], capture_output=True, text=True, env=environment())
    if check.returncode == 3:
        print("skipped:", check.stderr.strip())
        sys.exit(77)
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    unittest.main(verbosity=2)
