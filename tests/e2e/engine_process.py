# SPDX-License-Identifier: Apache-2.0
"""Starts `segue engine` on a free port for a test, and talks to it."""

import http.client
import json
import os
import re
import signal
import subprocess
import time


class Engine:
    """One engine process; `with Engine("--tp", "2") as engine`."""

    def __init__(self, *options, model=None):
        self.command = [os.environ["SEGUE"], "engine", "--model",
                        model or os.environ["TINY_MODEL"], "--port", "0", "--json",
                        "--threads", "1", *options]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the engine ended at once: {self.process.wait()}")
        self.ready = json.loads(line)
        self.port = self.ready["port"]
        return self

    def __exit__(self, *_):
        status = self.stop()
        if status != 0:
            raise AssertionError(f"the engine ended with status {status}")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=60)
        self.process.stdout.close()
        return status

    def open(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def raw(self, method, path, body=None, headers=None):
        """Status, headers and bytes of one exchange."""
        connection = self.open()
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        data = response.read()
        connection.close()
        return response.status, response.headers, data

    def get(self, path):
        status, _, data = self.raw("GET", path)
        return status, json.loads(data)

    def post(self, path, body):
        status, _, data = self.raw("POST", path, body)
        return status, json.loads(data)

    def complete(self, prompt, **fields):
        """The answer of /v1/completions; greedy unless told otherwise."""
        body = {"prompt": prompt, "temperature": 0, "return_token_ids": True, **fields}
        status, answer = self.post("/v1/completions", body)
        if status != 200:
            raise AssertionError(f"{status}: {answer}")
        return answer

    def tokens(self, prompt, **fields):
        return self.complete(prompt, **fields)["choices"][0]["token_ids"]

    def stream(self, path, body):
        """The events of a stream, parsed; the last is the string [DONE]."""
        connection = self.open()
        connection.request("POST", path, json.dumps({**body, "stream": True}))
        response = connection.getresponse()
        if response.status != 200:
            raise AssertionError(f"{response.status}: {response.read()}")
        kind = response.headers["Content-Type"]
        if not kind.startswith("text/event-stream"):
            raise AssertionError(f"a stream of type {kind}")
        events = []
        for event in response.read().decode().split("\n\n"):
            if event:
                name, data = event.split(": ", 1)
                assert name == "data", event
                events.append(data if data == "[DONE]" else json.loads(data))
        connection.close()
        return events

    def metrics(self):
        """name, or name{state} -> value."""
        _, _, page = self.raw("GET", "/metrics")
        values = {}
        for line in page.decode().splitlines():
            if not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                values[re.sub(r'\{model_name="[^"]*"\}', "", name)] = float(value)
        return values

    def wait_idle(self):
        """Until nothing runs and every block is free: hangs when one is lost."""
        while True:
            m = self.metrics()
            if (m["vllm:num_requests_running"] == 0 and m["vllm:num_requests_waiting"] == 0 and
                    m['segue_engine_kv_blocks{state="free"}'] ==
                    m['segue_engine_kv_blocks{state="total"}']):
                return m
            time.sleep(0.01)
