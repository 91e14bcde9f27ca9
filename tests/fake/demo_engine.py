# SPDX-License-Identifier: Apache-2.0
"""A fake `segue engine` for the demo's tests: it serves what the demo asks, without a model or a hand-off.

Takes the real one's flags. An answer's tokens follow from the prompt alone, so that fake engines agree with each other.
FAKE_ENGINE names what goes wrong, as ROLE:WHAT with the role prefill, decode or both:

  end      ends at once with status 3         silent   never says that it is ready
  die      ends when the first request comes  hang     never answers
  digest   reports unequal digests            token    a wrong sixth token
  tie      a wrong sixth token; all gaps 0    corrupt  answers 503 kv_corrupt
  mute     knows no hand-offs                 short    a stream that ends in the middle
"""
import argparse
import http.server
import json
import os
import sys
import threading
import time

ARGUMENTS = argparse.ArgumentParser()
for name in ("model", "host", "port", "role", "engine-id", "ipc-dir", "block-size", "tp", "layout", "dtype", "kv-blocks",
             "device", "digest", "corrupt", "kv-round"):
    ARGUMENTS.add_argument("--" + name)
ARGUMENTS.add_argument("--no-prefix-caching", action="store_true")
ARGUMENTS.add_argument("--json", action="store_true")
OPTIONS = ARGUMENTS.parse_args()
role, _, what = os.environ.get("FAKE_ENGINE", "").partition(":")
WRONG = what if role == OPTIONS.role else ""
HANDOFFS = []


def tokens_of(body):
    prompt = body.get("prompt") or json.dumps(body["messages"])
    tokens = [(sum(prompt.encode()) + 7 * i) % 500 for i in range(body["max_tokens"])]
    if WRONG in ("token", "tie") and len(tokens) > 5:
        tokens[5] += 1
    return tokens, len(prompt.split())


def decode_report(request_id, prompt_tokens):
    verdict = "corrupt" if WRONG == "corrupt" else "valid"
    return {"request_id": request_id, "role": "decode", "verdict": verdict, "detail": "", "path": "shm/packed",
            "tokens": prompt_tokens, "bytes": {"expected": 0, "moved": prompt_tokens * 4 * 4 * 64 * 2, "staged_host": 0,
                                               "engine": 0, "digest": 0},
            "kv_digest": {"producer": "00000000000000aa", "consumer": "bb" if WRONG == "digest" else "00000000000000aa"},
            "ms": {"claim_wait": 0.5, "copy": 2.5, "commit": 0.25, "first_token": 9.0},
            "explain": ["shm/packed chosen", "shm/mapped refused: a fake cannot be mapped"]}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body, kind="application/json"):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        if WRONG == "mute":
            return self.answer(404, {"error": {"message": "no"}})
        return self.answer(200, HANDOFFS)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request_id = self.headers.get("X-Request-Id", "")
        if WRONG == "die":
            os._exit(1)
        if WRONG == "hang":
            time.sleep(3600)
        tokens, prompt_tokens = tokens_of(body)
        params = body.get("kv_transfer_params") or {}
        if OPTIONS.role == "prefill":
            HANDOFFS.append({"request_id": request_id, "role": "prefill", "ms": {"prefill": 12.0, "ticket": 0.1}})
            given = {"do_remote_prefill": True, "do_remote_decode": False, "segue": {"ticket": "fake", "uses": 1}}
            return self.answer(200, {"choices": [{"text": "", "token_ids": []}], "kv_transfer_params": given})
        if params.get("do_remote_prefill"):
            HANDOFFS.append(decode_report(request_id, prompt_tokens))
        if WRONG == "corrupt":
            return self.answer(503, {"error": {"message": "block 3 differs", "code": "kv_corrupt"}})
        return self.stream(tokens, prompt_tokens) if body.get("stream") else self.whole(body, tokens, prompt_tokens)

    def whole(self, body, tokens, prompt_tokens):
        gap = 0 if os.environ.get("FAKE_ENGINE", "").endswith("tie") else 0.5
        text = "".join(f" w{t}" for t in tokens)
        choice = {"index": 0, "token_ids": tokens, "finish_reason": "length"}
        if "messages" in body:
            top = [{"token": "a", "logprob": -1.0}, {"token": "b", "logprob": -1.0 - gap}]
            choice["message"] = {"role": "assistant", "content": text}
            choice["logprobs"] = {"content": [{"token": "a", "logprob": -1.0, "top_logprobs": top}] * len(tokens)}
        else:
            choice["text"] = text
            choice["logprobs"] = {"top_logprobs": [{"a": -1.0, "b": -1.0 - gap}] * len(tokens)}
        self.answer(200, {"choices": [choice], "usage": {"prompt_tokens": prompt_tokens}})

    def stream(self, tokens, prompt_tokens):
        chunks = [{"choices": [{"delta": {"content": f" w{t}"}, "token_ids": [t]}]} for t in tokens]
        chunks.append({"choices": [], "usage": {"prompt_tokens": prompt_tokens}})
        lines = [f"data: {json.dumps(c)}\n\n" for c in chunks] + ["data: [DONE]\n\n"]
        if WRONG == "short":
            lines = lines[:3]
        self.answer(200, "".join(lines).encode(), "text/event-stream")


def main():
    if WRONG == "end":
        print("segue engine: a part is missing here", file=sys.stderr)
        sys.exit(3)
    os.makedirs(OPTIONS.ipc_dir, exist_ok=True)
    if WRONG == "silent":
        time.sleep(3600)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"host": "127.0.0.1", "port": server.server_address[1], "pid": os.getpid(), "model": "fake"}), flush=True)
    while True:
        time.sleep(3600)


main()
