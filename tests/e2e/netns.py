# SPDX-License-Identifier: Apache-2.0
"""Prefill and decode on two hosts, as far as the kernel can tell: a network namespace and a
folder of sockets each, a wire between them, the cluster key, a router in the middle.

The whole test runs in a third namespace of its own, made by `unshare`; namespaces and wires
end with the processes that hold them, so nothing is left behind, whatever happens.
"""

import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

from engine_process import Engine

INSIDE = "SEGUE_TEST_NETNS"
TEXT = "A wire between two rooms, and what goes over it: " * 4
PREFILL = {"do_remote_decode": True, "do_remote_prefill": False, "remote_engine_id": None,
           "remote_block_ids": None, "remote_host": None, "remote_port": None}


def run(*command):
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


class Host:
    """A namespace with one wire to here: we are 10.77.N.1, it is 10.77.N.2."""

    def __init__(self, number):
        self.number, self.address, self.wire = number, f"10.77.{number}.2", f"segue{number}"

    def __enter__(self):
        # It ends with us, also when we are killed.
        self.holder = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo ready; exec cat >/dev/null"],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.holder.stdout.readline()
        pid = str(self.holder.pid)
        run("ip", "link", "add", self.wire, "type", "veth", "peer", "name", "wire", "netns", pid)
        run("ip", "addr", "add", f"10.77.{self.number}.1/24", "dev", self.wire)
        run("ip", "link", "set", self.wire, "up")
        self.folder = tempfile.mkdtemp(prefix=f"segue-host{self.number}-")
        for command in (["addr", "add", self.address + "/24", "dev", "wire"], ["link", "set", "wire", "up"],
                        ["link", "set", "lo", "up"], ["route", "add", "default", "via", f"10.77.{self.number}.1"]):
            run(*self.inside("ip", *command))
        return self

    def inside(self, *command):
        return ["nsenter", "-t", str(self.holder.pid), "-n", *command]

    def cut(self):
        run("ip", "link", "set", self.wire, "down")

    def mend(self):
        run("ip", "link", "set", self.wire, "up")

    def __exit__(self, *_):
        self.holder.communicate()
        shutil.rmtree(self.folder)


class Engine_(Engine):
    """An engine on such a host."""

    def __init__(self, host, *options):
        super().__init__("--host", host.address, "--ipc-dir", host.folder, *options)
        self.host = host
        self.command = host.inside(*self.command)

    def open(self):
        return http.client.HTTPConnection(self.host.address, self.port, timeout=120)


class Router:
    def __init__(self, prefill, decode):
        environment = dict(os.environ)
        if os.environ.get("ROUTER_PRELOAD"):
            environment["LD_PRELOAD"] = os.environ["ROUTER_PRELOAD"]
            environment["ASAN_OPTIONS"] = "detect_leaks=0:detect_odr_violation=0"
        self.process = subprocess.Popen(
            [os.environ["SEGUE"], "route", "--json", "--host", "127.0.0.1", "--port", "0",
             "--prefiller-hosts", prefill.host.address, "--prefiller-ports", str(prefill.port),
             "--decoder-hosts", decode.host.address, "--decoder-ports", str(decode.port)],
            stdout=subprocess.PIPE, text=True, env=environment)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the router ended at once: {self.process.wait()}")
        self.port = json.loads(line)["port"]

    def complete(self, prompt, **fields):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request("POST", "/v1/completions", json.dumps(
            {"prompt": prompt, "temperature": 0, "return_token_ids": True, **fields}),
            {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = json.loads(response.read())
        connection.close()
        return response.status, answer

    def close(self):
        self.process.terminate()
        self.process.wait(timeout=60)
        self.process.stdout.close()


class TwoHosts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        enter = cls.enterClassContext
        cls.hosts = [enter(Host(1)), enter(Host(2))]
        cls.key = os.path.join(cls.hosts[0].folder, "cluster.key")
        run(os.environ["SEGUE"], "key", "new", cls.key)
        keyed = ("--kv-key", cls.key, "--kv-listen")
        p, d = cls.hosts
        cls.alone = enter(Engine())
        cls.prefill = enter(Engine_(p, "--role", "prefill", "--engine-id", "p", "--block-size", "32", "--layout", "nhd",
                                    *keyed, p.address + ":0"))
        cls.decode = enter(Engine_(d, "--role", "decode", "--engine-id", "d", "--block-size", "8", "--layout", "hnd",
                                   "--tp", "2", "--digest", "full", *keyed, d.address + ":0"))

    def report(self):
        return self.decode.get("/segue/handoffs")[1][-1]

    def ticket(self, prompt):
        return self.prefill.complete(prompt, max_tokens=1, kv_transfer_params=PREFILL)["kv_transfer_params"]

    def test_1_the_tokens_of_one_engine(self):
        self.assertTrue(self.prefill.ready["kv_address"].startswith("tcp:10.77.1.2:"))
        for i in range(4):
            prompt = f"{i} {TEXT}"
            got = self.decode.tokens(prompt, max_tokens=24, ignore_eos=True, kv_transfer_params=self.ticket(prompt))
            self.assertEqual(got, self.alone.tokens(prompt, max_tokens=24, ignore_eos=True))
            report = self.report()
            self.assertEqual(report["verdict"], "valid")
            self.assertTrue(report["path"].startswith("tcp/"), report["path"])
            self.assertEqual(report["kv_digest"]["producer"], report["kv_digest"]["consumer"])
            self.assertEqual(report["bytes"]["moved"], report["bytes"]["expected"])

    def test_2_through_the_router(self):
        if subprocess.run([os.environ["SEGUE"], "route", "--check", "--port", "0"], capture_output=True).returncode == 3:
            self.skipTest("nginx is missing")
        router = Router(self.prefill, self.decode)
        try:
            for i in range(3):
                prompt = f"router {i} {TEXT}"
                status, answer = router.complete(prompt, max_tokens=24, ignore_eos=True)
                self.assertEqual(status, 200, answer)
                self.assertEqual(answer["choices"][0]["token_ids"],
                                 self.alone.tokens(prompt, max_tokens=24, ignore_eos=True))
                self.assertTrue(self.report()["path"].startswith("tcp/"))
            # What a client says of transfers does not count: the answer is that of a prefill of our own.
            stolen = self.ticket("somebody else's " + TEXT)
            status, answer = router.complete("client " + TEXT, max_tokens=8, ignore_eos=True, kv_transfer_params=stolen)
            self.assertEqual(status, 200, answer)
            self.assertEqual(answer["choices"][0]["token_ids"],
                             self.alone.tokens("client " + TEXT, max_tokens=8, ignore_eos=True))
        finally:
            router.close()

    def test_3_another_key_is_named(self):
        other = os.path.join(self.hosts[1].folder, "other.key")
        run(os.environ["SEGUE"], "key", "new", other)
        with Engine_(self.hosts[1], "--role", "decode", "--engine-id", "x", "--kv-key", other) as stranger:
            status, answer = stranger.post("/v1/completions", {
                "prompt": TEXT, "max_tokens": 4, "kv_transfer_params": self.ticket(TEXT)})
            self.assertEqual((status, answer["error"]["code"]), (400, "kv_refused"), answer)
            self.assertIn("wrong key", json.dumps(answer))
        with Engine_(self.hosts[1], "--role", "decode", "--engine-id", "y") as stranger:
            status, answer = stranger.post("/v1/completions", {
                "prompt": TEXT, "max_tokens": 4, "kv_transfer_params": self.ticket(TEXT)})
            self.assertEqual((status, answer["error"]["code"]), (400, "kv_refused"), answer)
            self.assertIn("has no cluster key", json.dumps(answer))
        os.unlink(other)

    def test_4_a_host_falls_silent(self):
        """No byte, no reset, nothing: R18, R21b."""
        self.decode.tokens("before " + TEXT, max_tokens=4, kv_transfer_params=self.ticket("before " + TEXT))
        params = self.ticket("cut " + TEXT)
        self.hosts[0].cut()
        began = time.monotonic()
        status, answer = self.decode.post("/v1/completions", {
            "prompt": "cut " + TEXT, "max_tokens": 4, "kv_transfer_params": params})
        took = time.monotonic() - began
        print(f"a silent host: verdict after {took:.2f} s", file=sys.stderr)
        self.assertEqual(status, 503, answer)
        self.assertIn(answer["error"]["code"], ("kv_lost", "kv_timeout"))
        self.hosts[0].mend()
        self.prefill.wait_idle()
        prompt = "after " + TEXT
        got = self.decode.tokens(prompt, max_tokens=8, ignore_eos=True, kv_transfer_params=self.ticket(prompt))
        self.assertEqual(got, self.alone.tokens(prompt, max_tokens=8, ignore_eos=True))
        self.decode.wait_idle()


def main():
    if os.environ.get(INSIDE):
        for command in ("ip link set lo up", "sysctl -qw net.ipv4.ip_forward=1"):
            if subprocess.run(command.split()).returncode != 0 and "sysctl" in command:
                with open("/proc/sys/net/ipv4/ip_forward", "w") as file:
                    file.write("1")
        unittest.main()
    for tool in ("unshare", "nsenter", "ip"):
        if shutil.which(tool) is None:
            print(f"skipped: {tool} is missing (util-linux, iproute2)")
            sys.exit(77)
    probe = "ip link add near0 type veth peer name far0"
    done = subprocess.run(["unshare", "-n", "sh", "-c", probe], capture_output=True, text=True)
    if done.returncode != 0:
        print(f"skipped: no network namespaces with a wire between them here: {done.stderr.strip()}")
        sys.exit(77)
    os.environ[INSIDE] = "1"
    os.environ["SEGUE_LEASE_NS"] = "8s"  # how long an offer outlives a consumer that is gone
    os.execvp("unshare", ["unshare", "-n", sys.executable, *sys.argv])


if __name__ == "__main__":
    main()
