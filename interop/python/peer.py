"""The other end of the tests in tests/it/python.rs.

    python peer.py serve [IDENTITY]               prints its URL; plays the scenario of each path
    python peer.py connect SCENARIO URL [ROOTS]

IDENTITY is a file with a certificate and its key, for TLS. ROOTS is a file with certificates to
trust. All of them are in PEM. For each connection the script prints the scenario and its result,
which is "ok" if all went well.
"""

import asyncio
import ssl
import sys

from client import connect
from scenarios import SCENARIOS
from server import serve

# No scenario takes this long, unless it hangs.
WATCHDOG = 25


async def play(name, conn):
    try:
        said = await SCENARIOS[name](conn)
        if not said:
            await conn.finish()
        print(f"{name}: {said or 'ok'}", flush=True)
    except Exception as error:
        print(f"{name}: {error!r}", flush=True)
        raise


async def run_server(identity=None):
    tls = None
    if identity:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(identity)
    server = await serve(lambda conn: play(conn.headers[":path"][1:], conn), "127.0.0.1", 0, tls)
    scheme = "https" if tls else "http"
    port = server.sockets[0].getsockname()[1]
    print(f"listening on {scheme}://127.0.0.1:{port}", flush=True)
    await server.serve_forever()


async def run_client(name, url, roots=None):
    tls = ssl.create_default_context(cafile=roots) if roots else None
    async with connect(url, tls) as conn:
        await play(name, conn)


async def main(role, *arguments):
    run = {"serve": run_server, "connect": run_client}[role]
    await asyncio.wait_for(run(*arguments), WATCHDOG)


asyncio.run(main(*sys.argv[1:]))
