# SPDX-License-Identifier: Apache-2.0
"""The command itself: flags, exit statuses, its private folder, and what the module lets out."""
import asyncio
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import unittest

from harness import SEGUE, WAIT, Router, RouterTest, environment, main, until


def route(*arguments, env=None):
    return subprocess.run([SEGUE, "route", *arguments], capture_output=True, text=True, timeout=WAIT,
                          env=environment() | (env or {}))


def folder_of(router):
    base = "/tmp" if os.geteuid() == 0 else os.environ.get("XDG_RUNTIME_DIR", "/tmp")
    return pathlib.Path(base) / f"segue-route-{router.pid}"


class Flags(unittest.TestCase):
    def test_help_names_every_flag_of_the_toy_proxy(self):
        done = route("--help")
        self.assertEqual(done.returncode, 0)
        for flag in ("--host", "--port", "--prefiller-hosts", "--prefiller-host", "--prefiller-ports", "--prefiller-port",
                     "--decoder-hosts", "--decoder-host", "--decoder-ports", "--decoder-port"):
            self.assertIn(flag + ("," if flag in done.stdout and flag + "," in done.stdout else " "), done.stdout)

    def test_the_line_people_use_for_the_toy_proxy(self):
        done = route("--prefiller-hosts", "localhost", "localhost", "--prefiller-ports", "7101", "7102",
                     "--decoder-host", "localhost", "--decoder-port", "7201", "--host", "localhost", "--port", "7300",
                     "--print-config")
        self.assertEqual(done.returncode, 0, done.stderr)
        for line in ("server 127.0.0.1:7101;", "server 127.0.0.1:7102;", "server 127.0.0.1:7201;"):
            self.assertIn(line, done.stdout)

    def test_usage(self):
        for arguments in (["--nonsense"], ["--port"], ["--port", "99999"], ["--port", "x"], ["stray"],
                          ["--prefiller-hosts", "a", "b", "--prefiller-ports", "1"], ["--decoder-ports", "0"],
                          ["--idle-timeout", "0"], ["--max-body", "1x"], ["--workers", "0"]):
            done = route(*arguments, "--print-config")
            self.assertEqual(done.returncode, 2, arguments)
            self.assertIn("segue route: ", done.stderr)

    def test_check(self):
        self.assertEqual(route("--check", "--port", "0").returncode, 0)
        self.assertEqual(route("--check", "--decode-policy", "nonsense").returncode, 1)
        self.assertEqual(route("--decoder-host", "no.such.host.invalid").returncode, 1)

    def test_missing_nginx(self):
        done = route("--nginx", "/nowhere/nginx")
        self.assertEqual(done.returncode, 3)
        self.assertIn("nginx is missing", done.stderr)

    def test_port_in_use(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            done = route("--port", str(taken.getsockname()[1]))
        self.assertEqual(done.returncode, 1)
        self.assertIn("in use", done.stderr)

    def test_module_exports_only_what_nginx_looks_up(self):
        module = pathlib.Path(SEGUE).resolve().parent / "router/nginx/ngx_http_segue_module.so"
        symbols = subprocess.run(["nm", "-D", "--defined-only", module], capture_output=True, text=True, check=True).stdout
        names = {line.split()[-1] for line in symbols.splitlines()}
        self.assertEqual(names & {"ngx_modules", "ngx_module_names", "ngx_module_order"},
                         {"ngx_modules", "ngx_module_names", "ngx_module_order"})
        self.assertEqual([name for name in names if not name.startswith(("ngx_module", "__asan", "__odr", "__ubsan"))], [])


class Life(unittest.IsolatedAsyncioTestCase):
    async def test_folder_comes_and_goes(self):
        for how in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            router = await Router().start()
            await router.ask(b"", method="GET", path="/segue/metrics")
            folder = folder_of(router)
            self.assertEqual(folder.stat().st_mode & 0o777, 0o700)
            self.assertTrue((folder / "body").is_dir())
            self.assertEqual(await router.stop(how), 0)
            self.assertFalse(folder.exists())

    async def test_a_killed_router_is_swept_up(self):
        router = await Router("--workers", "2").start()
        await router.ask(b"", method="GET", path="/segue/metrics")
        folder = folder_of(router)
        router.process.kill()
        await router.process.wait()
        self.assertTrue(folder.exists())
        second = await Router().start()
        await second.ask(b"", method="GET", path="/segue/metrics")
        self.assertFalse(folder.exists())
        await second.stop()
        router.folder.cleanup()

    async def test_two_at_once(self):
        one, two = await Router().start(), await Router().start()
        self.assertNotEqual(one.port, two.port)
        for router in (one, two):
            self.assertEqual((await router.metrics())["workers"], 1)
            await router.stop()

    async def test_log_to_stderr(self):
        with tempfile.TemporaryFile() as errors:
            process = await asyncio.create_subprocess_exec(SEGUE, "route", "--port", "0", "--json", stdout=subprocess.PIPE,
                                                           stderr=errors, env=environment())
            port = json.loads(await process.stdout.readline())["port"]
            router = Router()
            router.port = port
            self.assertEqual((await router.ask(b"x")).status, 400)
            process.terminate()
            await process.wait()
            errors.seek(0)
            lines = [json.loads(line) for line in errors.read().decode().splitlines() if line.startswith("{")]
        self.assertEqual([line["status"] for line in lines], [400])


class Reload(RouterTest):
    async def test_a_stream_survives(self):
        hold = asyncio.Event()
        self.d.script = [{"hold": hold}]
        client = await self.router.client()
        client.send({"prompt": "a", "stream": True})
        await client.head()
        await client.piece()
        old = pathlib.Path(f"/proc/{self.router.pid}/task/{self.router.pid}/children").read_text().split()
        os.kill(self.router.pid, signal.SIGHUP)

        async def taken_over():
            while (await self.router.metrics())["workers"] != 2:
                await asyncio.sleep(0.02)
        await asyncio.wait_for(taken_over(), WAIT)
        self.assertEqual((await self.ask()).status, 200)
        hold.set()
        rest = b""
        while piece := await client.piece():
            rest += piece
        self.assertTrue(rest.endswith(b"data: [DONE]\n\n"))
        client.close()
        await until(lambda: not os.path.exists(f"/proc/{old[0]}"), "the old worker gone")
        rows = await self.router.idle()
        self.assertEqual((rows["handoffs_total"], rows["requests_total"]), (2, 2))


class Workers(RouterTest):
    arguments = ("--workers", "3")

    async def test_no_worker_waits_in_accept(self):
        await self.router.idle()
        sockets = [fd for fd in pathlib.Path(f"/proc/{self.router.pid}/fd").iterdir()
                   if os.readlink(fd).startswith("socket:")]
        listening = pathlib.Path(f"/proc/{self.router.pid}/net/tcp").read_text().splitlines()
        inode = next(line.split()[9] for line in listening
                     if line.split()[1].endswith(f":{self.router.port:04X}") and line.split()[3] == "0A")
        fd = next(fd.name for fd in sockets if os.readlink(fd) == f"socket:[{inode}]")
        flags = re.search(r"flags:\s+(\d+)", pathlib.Path(f"/proc/{self.router.pid}/fdinfo/{fd}").read_text())
        self.assertTrue(int(flags[1], 8) & os.O_NONBLOCK)

    async def test_a_worker_that_dies_leaves_no_counts(self):
        self.p.default = {"hold": asyncio.Event()}
        clients = [await self.router.client() for _ in range(12)]
        for client in clients:
            client.send({"prompt": "a"})
        while (await self.router.metrics())["requests_in_flight"] < 12:
            await asyncio.sleep(0.01)
        workers = [int(pid) for pid in
                   pathlib.Path(f"/proc/{self.router.pid}/task/{self.router.pid}/children").read_text().split()]
        self.assertEqual(len(workers), 3)
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        self.p.default = {}
        while True:  # until the last of the new ones has swept up
            rows = await self.router.idle()
            now = pathlib.Path(f"/proc/{self.router.pid}/task/{self.router.pid}/children").read_text().split()
            if rows["workers"] == 3 and len(now) == 3 and not set(map(int, now)) & set(workers):
                break
            await asyncio.sleep(0.02)
        self.assertEqual(rows["requests_total"], 12)
        self.assertEqual((await self.ask()).status, 200)
        for client in clients:
            client.close()

    async def asyncTearDown(self):
        try:
            await super().asyncTearDown()
        except AssertionError as error:
            if "exited on signal 9" not in str(error):
                raise


if __name__ == "__main__":
    main()
