"""The server's end of connections."""

import asyncio

from h2.errors import ErrorCodes

from conn import Link


async def serve(handler, host, port, tls=None):
    """Calls `handler` with each connection; `tls` is an ssl.SSLContext. When the handler returns,
    ends the connection and waits for the client's end. An exception resets the connection."""

    async def play(conn):
        try:
            await handler(conn)
            if not conn.error:
                await conn.finish()
        except Exception:
            await conn.reset(ErrorCodes.INTERNAL_ERROR)

    async def on_link(reader, writer):
        tasks = set()  # asyncio keeps only weak references to tasks

        def on_request(conn):
            link.h2.send_headers(conn.stream_id, [(":status", "200")])
            task = asyncio.create_task(play(conn))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        link = Link(reader, writer, client=False, on_request=on_request)
        await link.run()

    if tls:
        tls.set_alpn_protocols(["h2"])
    return await asyncio.start_server(on_link, host, port, ssl=tls)
