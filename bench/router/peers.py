# SPDX-License-Identifier: Apache-2.0
"""The routers that are measured beside each other. Each is started on one core between two fake engines."""
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

CACHE = pathlib.Path(os.environ.get("SEGUE_CACHE", pathlib.Path.home() / ".cache/segue")) / "bench-router"
VLLM_ROUTER = "0.1.17"


class Missing(Exception):
    """A peer that can't be had here; says why."""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def venv(packages):
    """A virtual environment of our own, made once."""
    home = CACHE / "venv"
    python = home / "bin/python"
    try:
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", home], check=True, capture_output=True, timeout=120)
        subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True, capture_output=True, timeout=300)
    except (OSError, subprocess.SubprocessError) as error:
        raise Missing(f"pip install {' '.join(packages)} failed: {error}") from None
    return python


class Peer:
    name = None
    legs = 2  # requests to engines for one of the client

    def __init__(self, core, engine_ports):
        self.core, self.port = core, free_port()
        self.prefill, self.decode = engine_ports
        self.folder = tempfile.TemporaryDirectory(prefix="segue-bench-")
        self.log = open(os.path.join(self.folder.name, "log"), "wb")
        self.process = subprocess.Popen(["taskset", "-c", str(core), *map(str, self.command())], stdout=self.log,
                                        stderr=self.log)
        self.wait()

    def wait(self):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/v1/completions",
                                         data=json.dumps({"model": "m", "prompt": "x", "max_tokens": 4}).encode(),
                                         headers={"Content-Type": "application/json"})
        reason = None
        for _ in range(300):
            if self.process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(request, timeout=5) as answer:
                    if answer.status == 200:
                        return
            except (OSError, urllib.error.HTTPError) as error:
                reason = error
            time.sleep(0.1)
        self.log.flush()
        said = pathlib.Path(self.log.name).read_text(errors="replace").strip().splitlines()[-3:]
        self.stop()
        raise Missing(f"{self.name} does not answer: {reason}; it said: {' | '.join(said)}")

    def pids(self):
        found, queue = [], [self.process.pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            try:
                for task in os.listdir(f"/proc/{pid}/task"):
                    queue += map(int, pathlib.Path(f"/proc/{pid}/task/{task}/children").read_text().split())
            except OSError:
                pass
        return found

    def cpu(self):
        """Seconds of CPU so far, of all its processes and threads."""
        total = 0
        for pid in self.pids():
            for stat in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"):
                try:
                    total += int(stat.read_text().split()[0])
                except OSError:
                    pass
        return total * 1e-9

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        self.folder.cleanup()


class Segue(Peer):
    name = "segue"

    def command(self):
        return [os.environ.get("SEGUE", "build/segue"), "route", "--port", self.port, "--access-log", "off",
                "--prefiller-hosts", "127.0.0.1", "--prefiller-ports", self.prefill,
                "--decoder-hosts", "127.0.0.1", "--decoder-ports", self.decode]


class Nginx(Peer):
    """One hop of a plain nginx: what a request costs before anything is done with it."""
    name = "nginx"
    legs = 1

    def command(self):
        nginx = shutil.which("nginx") or "/usr/sbin/nginx"
        temp = "".join(f"{kind}_temp_path {self.folder.name}/{kind};\n"
                       for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        config = pathlib.Path(self.folder.name) / "nginx.conf"
        config.write_text(f"""
            daemon off; worker_processes 1; pid {self.folder.name}/pid; error_log stderr;
            {"user root;" if os.geteuid() == 0 else ""}
            events {{ worker_connections 8192; }}
            http {{
              {temp} access_log off; keepalive_requests 1000000; client_body_buffer_size 1m; tcp_nodelay on;
              upstream engine {{ server 127.0.0.1:{self.decode}; keepalive 256; keepalive_requests 1000000; }}
              server {{
                listen 127.0.0.1:{self.port};
                location / {{
                  proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection "";
                  proxy_buffering off; proxy_buffer_size 16k; proxy_buffers 8 16k;
                }}
              }}
            }}""")
        return [nginx, "-e", "stderr", "-p", self.folder.name, "-c", config]


class VllmRouter(Peer):
    name = "vllm-router"

    def command(self):
        python = venv([f"vllm-router=={VLLM_ROUTER}"])
        # Told to be quiet, to check nobody's health and to keep no policy: what is left is the routing.
        return [python.parent / "vllm-router", "--host", "127.0.0.1", "--port", self.port, "--vllm-pd-disaggregation",
                "--prefill", f"http://127.0.0.1:{self.prefill}", "--decode", f"http://127.0.0.1:{self.decode}", "--policy", "round_robin", "--log-level", "error",
                "--prometheus-port", free_port()]


def toy_proxy():
    """vLLM's tests/v1/kv_connector/nixl_integration/toy_proxy_server.py: SEGUE_TOY_PROXY, or fetched once."""
    named = os.environ.get("SEGUE_TOY_PROXY")
    if named:
        if not os.path.exists(named):
            raise Missing(f"SEGUE_TOY_PROXY names {named}, which is not there")
        return named
    fetch = pathlib.Path(__file__).resolve().parents[2] / "scripts/fetch-toy-proxy"
    done = subprocess.run([fetch], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise Missing(done.stderr.strip().splitlines()[-1])
    return done.stdout.strip()


class ToyProxy(Peer):
    """vLLM's own small proxy for trying connectors."""
    name = "toy-proxy"

    def command(self):
        script = toy_proxy()
        python = venv(["fastapi", "httpx", "uvicorn"])
        return [python, script, "--host", "127.0.0.1", "--port", self.port, "--prefiller-hosts", "127.0.0.1",
                "--prefiller-ports", self.prefill, "--decoder-hosts", "127.0.0.1", "--decoder-ports", self.decode]


PEERS = (Segue, Nginx, VllmRouter, ToyProxy)


class Engine:
    """tests/fake/engine_fast: both roles, faster than any router."""

    def __init__(self, core, chunks, gap_ms):
        path = os.environ.get("ENGINE_FAST", "build/bench/router/fake-engine-fast")
        self.process = subprocess.Popen(["taskset", "-c", str(core), path, str(chunks), str(gap_ms)],
                                        stdout=subprocess.PIPE, text=True)
        self.ports = [int(self.process.stdout.readline()) for _ in range(2)]  # prefill, decode

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


class Load:
    """wrk with one thread: requests, seconds and latencies."""
    units = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}

    def __init__(self, core, port, connections, seconds, body):
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
            script.write(f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\nwrk.body = {lua(body)}\n')
            script.flush()
            done = subprocess.run(["taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout",
                                   "30s", "--latency", "-s", script.name, f"http://127.0.0.1:{port}/v1/completions"],
                                  capture_output=True, text=True, check=True)
        text = done.stdout
        found = re.search(r"(\d+) requests in ([\d.]+)(\w+)", text)
        self.requests = int(found[1])
        self.seconds = float(found[2]) * self.units[found[3]] / 1e3
        size = re.search(r", ([\d.]+)([KMG]?)B read", text)
        self.bytes = float(size[1]) * {"": 1, "K": 2 ** 10, "M": 2 ** 20, "G": 2 ** 30}[size[2]]
        self.p50, self.p99 = self.latency(text, "50%"), self.latency(text, "99%")
        bad = re.search(r"Non-2xx or 3xx responses: (\d+)|Socket errors: (.*)", text)
        self.trouble = bad[0] if bad else None

    def latency(self, text, which):
        found = re.search(rf"^\s+{which}\s+([\d.]+)(us|ms|s|m)$", text, re.M)
        return float(found[1]) * self.units[found[2]] if found else float("nan")


def lua(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
