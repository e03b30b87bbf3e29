"""The peer's scenarios, by name. The result of a scenario is printed. Without a result, both
directions must end in order."""

import asyncio
import hashlib
import json
import os

from h2.errors import ErrorCodes

from conn import Reset

MUCH = 8 << 20


async def read_all(conn):
    heard = bytearray()
    while data := await conn.read():
        heard += data
    return bytes(heard)


async def expect(conn, word):
    heard = await read_all(conn)
    assert heard == word, f"{heard} came, and not {word}"


async def echo(conn):
    while data := await conn.read():
        await conn.write(data)


async def lines(conn):
    rest = bytearray()
    while data := await conn.read():
        *whole, last = data.split(b"\n")
        for line in whole:
            yield bytes(rest + line)
            rest.clear()
        rest += last
    if rest:
        yield bytes(rest)


async def count_json(conn):
    """Numbers JSON values, each on a line of its own."""
    number = 0
    async for line in lines(conn):
        number += 1
        answer = {"number": number, "value": json.loads(line)}
        await conn.write(json.dumps(answer).encode() + b"\n")


async def ask(conn):
    await conn.write(b"question")
    await conn.end()
    await expect(conn, b"answer")


async def answer(conn):
    await expect(conn, b"question")
    await conn.write(b"answer")


async def transfer(conn):
    """Writes and reads its own bytes at once. The last 32 bytes of each direction are a digest."""

    async def write():
        said = os.urandom(MUCH)
        await conn.write(said + hashlib.sha256(said).digest())
        await conn.end()

    _, heard = await asyncio.gather(write(), read_all(conn))
    said, digest = heard[:-32], heard[-32:]
    assert len(said) == MUCH, f"{len(said)} bytes came"
    assert hashlib.sha256(said).digest() == digest, "other bytes came"


async def say_a_word(conn):
    """Writes a word that must arrive before the failure."""
    await conn.write(b"a word")
    assert await conn.read() == b"!"


async def fail(conn):
    await say_a_word(conn)
    await conn.reset(ErrorCodes.INTERNAL_ERROR)
    return "reset"


async def cancel(conn):
    await say_a_word(conn)
    await conn.reset(ErrorCodes.CANCEL)
    return "reset"


async def hold(conn):
    """Writes nothing more until it is killed."""
    await say_a_word(conn)
    await read_all(conn)


async def expect_reset(conn):
    """Reads a word, confirms it, and then accepts only a reset."""
    heard = b""
    while len(heard) < 6:
        heard += await conn.read()
    await conn.write(b"!")
    try:
        rest = await read_all(conn)
    except Reset as reset:
        return f"reset with {int(reset.code)}"
    raise AssertionError(f"{rest} and the end came where a reset was due")


SCENARIOS = {
    "echo": echo,
    "json": count_json,
    "ask": ask,
    "answer": answer,
    "transfer": transfer,
    "fail": fail,
    "cancel": cancel,
    "hold": hold,
    "expect-reset": expect_reset,
}
