"""The client's end of a connection."""

import asyncio
import ssl
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from conn import Link


@asynccontextmanager
async def connect(url, tls=None):
    """Opens a connection on a link of its own; `tls` is an ssl.SSLContext. At the end of the block,
    ends the connection and waits for the server's end. An exception resets the connection."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        tls = tls or ssl.create_default_context()
        tls.set_alpn_protocols(["h2"])
    port = parts.port or (443 if tls else 80)
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=tls)
    link = Link(reader, writer, client=True)
    running = asyncio.create_task(link.run())
    try:
        conn = await link.request([
            (":method", "POST"),
            (":scheme", parts.scheme),
            (":authority", parts.netloc),
            (":path", (parts.path or "/") + (f"?{parts.query}" if parts.query else "")),
        ])
        if not conn.headers[":status"].startswith("2"):
            raise ConnectionRefusedError(f"the server refused with {conn.headers[':status']}")
        try:
            yield conn
            if not conn.error:
                await conn.finish()
        except BaseException:
            await conn.reset()
            raise
    finally:
        await link.close()
        await running
