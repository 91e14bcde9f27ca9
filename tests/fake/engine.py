# SPDX-License-Identifier: Apache-2.0
"""Fake engines for the router's tests: HTTP servers that behave like vLLM where a router can see it.

They keep account of KV leases: prefill offers blocks when it answers, decode claims them when it admits the request.
What is offered and never claimed is stranded. An engine whose client closes, or half-closes, before it has answered
aborts the request, as uvicorn does. What an engine does with its next requests is a list of dicts, `script`; without one
it does what `default` says. Keys:

  delay      seconds until it answers (prefill) or until its first byte (decode)
  admit      seconds until decode has claimed the blocks, within delay
  status     answer with this status and `body`; `code` makes the body an error envelope with that error.code
  type       Content-Type of that answer
  params     kv_transfer_params of a prefill: a dict in place of the usual one, or None
  blocks     how many block ids the usual one holds
  chunks     pieces of a stream (default 3), `gap` seconds apart, each with `fat` more bytes
  reset      "request": reset when the request is there; "reused": the same, if the connection served before; "headers":
             after the header; "body": within the body; an int: after so many pieces
  torn       a stream that ends with these bytes and a reset
  hold       an asyncio.Event to wait for: before the answer of a prefill, after the first piece of a stream
  admitting  an asyncio.Event set when decode has the request, before it claims the blocks
  admit_hold an asyncio.Event that decode waits for before it claims them
  deaf       it does not notice a client that closes before the answer
  close      close the connection after the answer although the client may keep it
  chunked    answer without Content-Length
"""
import asyncio
import itertools
import json
import socket
import struct


class Ledger:
    """Who holds whose blocks."""

    def __init__(self):
        self.leases = {}
        self.ids = itertools.count(1)
        self.aborted = 0

    def offer(self):
        lease = f"lease-{next(self.ids)}"
        self.leases[lease] = "offered"
        return lease

    def claim(self, lease):
        if self.leases.get(lease) != "offered":
            return False
        self.leases[lease] = "claimed"
        return True

    def stranded(self):
        return [lease for lease, state in self.leases.items() if state == "offered"]


class Engine:
    def __init__(self, role, ledger, name=None, **default):
        self.role, self.ledger, self.name = role, ledger, name or role
        self.default, self.script = default, []
        self.requests = []  # {method, path, headers, raw, body}
        self.active = 0
        self.connections = 0
        self.server = None
        self.port = None
        self.writers = set()

    async def start(self, port=0):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", port or self.port or 0, backlog=1024,
                                                 limit=1 << 26)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def stop(self):
        """Refuses new connections and resets those it has."""
        self.server.close()
        for writer in list(self.writers):
            self._reset(writer)
        await asyncio.sleep(0)

    def _reset(self, writer):
        sock = writer.get_extra_info("socket")
        if sock is not None and sock.fileno() != -1:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async def _serve(self, reader, writer):
        self.connections += 1
        self.writers.add(writer)
        served = 0
        try:
            while await self._one(reader, writer, served):
                served += 1
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.writers.discard(writer)
            writer.close()

    async def _read(self, reader):
        head = await reader.readuntil(b"\r\n\r\n")
        line, *rows = head.decode("latin-1").split("\r\n")
        method, path, _ = line.split(" ", 2)
        headers = {}
        for row in rows:
            if row:
                key, _, value = row.partition(":")
                headers.setdefault(key.lower(), []).append(value.strip())
        raw = await reader.readexactly(int(headers.get("content-length", ["0"])[0]))
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            body = None
        request = {"method": method, "path": path, "headers": headers, "raw": raw, "body": body}
        self.requests.append(request)
        return request

    async def _one(self, reader, writer, served):
        try:
            request = await self._read(reader)
        except asyncio.IncompleteReadError:
            return False
        act = dict(self.default)
        if self.script:
            act.update(self.script.pop(0))
        if act.get("reset") == "reused" and not served:
            self.script.insert(0, {"reset": "reused"})
        elif act.get("reset") in ("request", "reused"):
            self._reset(writer)
            return False
        self.active += 1
        watch = asyncio.ensure_future(reader.read(1))  # only EOF can come: nobody pipelines here
        work = asyncio.ensure_future(self._answer(request, act, writer))
        try:
            await asyncio.wait({work} if act.get("deaf") else {watch, work}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                self.ledger.aborted += 1
                work.cancel()
                await asyncio.wait({work})
                return False
            if watch.done():
                work.result()
                return False
            return work.result() and not act.get("close")
        finally:
            self.active -= 1
            work.cancel()
            watch.cancel()
            await asyncio.wait({watch, work})  # the reader takes one waiter at a time

    def _problem(self, body):
        if not isinstance(body, dict):
            return "no JSON object"
        if body.get("min_tokens", 0) > body.get("max_tokens", 16):
            return "min_tokens above max_tokens"
        if body.get("stream_options") is not None and not body.get("stream"):
            return "Stream options can only be defined when stream=True"
        return None

    async def _answer(self, request, act, writer):
        if "status" in act:
            if act.get("delay"):
                await asyncio.sleep(act["delay"])
            body = act.get("body", b"")
            if "code" in act:
                body = json.dumps({"error": {"message": "scripted", "type": "x", "param": None,
                                             "code": act["code"]}}).encode()
            lease = self._lease(request)
            if lease:
                self.ledger.claim(lease)  # a refusal ends the hand-off too: the engine tells prefill
            return self._send(writer, act["status"], body, act)
        if request["method"] == "GET":
            return self._send(writer, 200, json.dumps({"path": request["path"], "engine": self.name}).encode(), act)
        problem = self._problem(request["body"])
        if problem:
            return self._send(writer, 400, json.dumps({"error": {"message": problem, "type": "BadRequestError",
                                                                 "param": None, "code": 400}}).encode(), act)
        if self.role == "prefill":
            return await self._prefill(request, act, writer)
        return await self._decode(request, act, writer)

    def _lease(self, request):
        body = request["body"]
        params = body.get("kv_transfer_params") if isinstance(body, dict) else None
        return params.get("remote_request_id") if isinstance(params, dict) else None

    async def _prefill(self, request, act, writer):
        await asyncio.sleep(act.get("delay", 0))
        if "hold" in act:
            await act["hold"].wait()
        answer = {"id": "cmpl-1", "object": "text_completion", "choices": [{"index": 0, "text": "x"}]}
        if "params" in act:
            if act["params"] != "absent":
                answer["kv_transfer_params"] = act["params"]
        else:
            answer["kv_transfer_params"] = {
                "do_remote_prefill": True, "do_remote_decode": False, "remote_engine_id": self.name,
                "remote_block_ids": list(range(act.get("blocks", 4))), "remote_host": "127.0.0.1", "remote_port": 1,
                "remote_request_id": self.ledger.offer(), "tp_size": 1}
        return self._send(writer, 200, json.dumps(answer).encode(), act)

    async def _decode(self, request, act, writer):
        delay, admit = act.get("delay", 0), act.get("admit", act.get("delay", 0) / 2)
        if "admitting" in act:
            act["admitting"].set()
        if "admit_hold" in act:
            await act["admit_hold"].wait()
        await asyncio.sleep(admit)
        lease = self._lease(request)
        if lease:
            self.ledger.claim(lease)
        await asyncio.sleep(delay - admit)
        if not request["body"].get("stream"):
            text = f"{self.name} says"
            answer = {"id": "cmpl-1", "object": "text_completion", "model": "fake",
                      "choices": [{"index": 0, "text": text, "finish_reason": "length"}]}
            return self._send(writer, 200, json.dumps(answer).encode(), act)
        return await self._stream(act, writer)

    async def _stream(self, act, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
                     b"X-Request-Id: engine-made\r\nTransfer-Encoding: chunked\r\n\r\n")
        if act.get("reset") == "headers":
            await writer.drain()
            self._reset(writer)
            return False
        if "torn" in act:
            self._chunk(writer, act["torn"])
            await writer.drain()
            await asyncio.sleep(0.02)
            self._reset(writer)
            return False
        for i in range(act.get("chunks", 3)):
            if i and act.get("gap"):
                await asyncio.sleep(act["gap"])
            if act.get("reset") == i:
                await writer.drain()
                await asyncio.sleep(0.02)
                self._reset(writer)
                return False
            if i == 1 and "hold" in act:
                await act["hold"].wait()
            self._chunk(writer, b"data: " + json.dumps({"choices": [{"index": 0, "text": f" {i}" + "." * act.get("fat", 0)}]}).encode() + b"\n\n")
            await writer.drain()
        self._chunk(writer, b"data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    def _chunk(self, writer, data):
        writer.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _send(self, writer, status, body, act):
        if act.get("reset") == "body":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"a\"")
            writer.close()
            return False
        head = f"HTTP/1.1 {status} Status\r\nContent-Type: {act.get('type', 'application/json')}\r\n"
        if act.get("close"):
            head += "Connection: close\r\n"
        if act.get("chunked"):
            writer.write(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
            for at in range(0, len(body), 700):
                self._chunk(writer, body[at:at + 700])
            writer.write(b"0\r\n\r\n")
        else:
            writer.write(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        return True
