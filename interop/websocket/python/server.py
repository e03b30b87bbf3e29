"""A server of WebSockets by the package websockets, with the paths of ../go/main.go."""

import asyncio
import sys
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import serve

MOST = 128 << 20


async def handle(socket):
    url = urlsplit(socket.request.path)
    async for message in socket:
        if url.path == "/close":
            status = int(parse_qs(url.query)["status"][0])
            await socket.close(status, "the test says so")
            return
        if url.path == "/pinged":
            await (await socket.ping(b"are you there?"))
            await socket.send(message)
            return
        await socket.send(message)


def select(socket, offered):
    return "chat" if "chat" in offered else None


async def main():
    async with serve(handle, "127.0.0.1", 0, max_size=MOST, select_subprotocol=select) as server:
        port = server.sockets[0].getsockname()[1]
        print(f"listening on http://127.0.0.1:{port}", flush=True)
        # The test that has started this ends it so, even if the test is killed.
        await asyncio.to_thread(sys.stdin.read)


asyncio.run(main())
