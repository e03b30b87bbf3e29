"""Sends the requests of its input, one JSON object a line, by httpx, and prints the responses in the
same way: requests_peer.py 1.1|2 CERTIFICATE. It is a client of tests/it/serve/foreign.rs."""

import hashlib
import json
import ssl
import sys

import httpx


def send(client, want):
    body = want["body"]
    content = None if body is None else body.encode() + bytes([7]) * want["fill"]
    heard = {"status": 0, "fields": [], "len": 0, "sum": "", "trailers": [], "error": ""}
    total = hashlib.sha256()
    try:
        fields = [(name, value) for name, value in want["fields"]]
        with client.stream(want["method"], want["url"], headers=fields, content=content) as response:
            heard["status"] = response.status_code
            heard["fields"] = sorted(f"{n}: {v}" for n, v in response.headers.multi_items())
            for chunk in response.iter_raw():
                heard["len"] += len(chunk)
                total.update(chunk)
    except httpx.HTTPError as error:
        heard["error"] = repr(error)
    heard["sum"] = total.hexdigest()
    return heard


def main():
    version, roots = sys.argv[1:]
    tls = ssl.create_default_context(cafile=roots)
    with httpx.Client(http1=version == "1.1", http2=version == "2", verify=tls) as client:
        for line in sys.stdin:
            print(json.dumps(send(client, json.loads(line))), flush=True)


main()
