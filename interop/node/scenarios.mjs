// The peer's scenarios, by name. The result of a scenario is printed. Without a result, both
// directions must end in order.

import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { addAbortSignal } from "node:stream";

const MUCH = 8 << 20;

// Waits until the stream has taken the bytes.
function write(conn, bytes) {
  return new Promise((resolve, reject) => {
    conn.write(bytes, (error) => (error ? reject(error) : resolve()));
  });
}

// Reads to the end, and fails if the stream ends in another way.
async function readAll(conn) {
  const pieces = [];
  for await (const bytes of conn) pieces.push(bytes);
  return Buffer.concat(pieces);
}

// Reads this many bytes. Leaving `for await` with a break would destroy the stream.
async function read(conn, length) {
  for (;;) {
    const bytes = conn.read(length);
    if (bytes?.length === length) return bytes;
    if (bytes || conn.readableEnded || conn.destroyed) throw new Error("the end came early");
    await Promise.race([once(conn, "readable"), once(conn, "close")]);
  }
}

async function expect(conn, word) {
  const heard = await readAll(conn);
  if (heard.toString() !== word) throw new Error(`${heard} came, and not ${word}`);
}

async function* lines(conn) {
  let rest = "";
  for await (const text of conn.setEncoding("utf8")) {
    const parts = (rest + text).split("\n");
    rest = parts.pop();
    yield* parts;
  }
  if (rest) yield rest;
}

// Writes and reads bytes of its own at once. The last 32 bytes in each direction are a digest.
async function transfer(conn) {
  const digest = (bytes) => createHash("sha256").update(bytes).digest();
  const said = randomBytes(MUCH);
  const writing = write(conn, Buffer.concat([said, digest(said)])).then(() => conn.end());
  const heard = await readAll(conn);
  await writing;
  const bytes = heard.subarray(0, -32);
  if (bytes.length !== MUCH || !digest(bytes).equals(heard.subarray(-32))) {
    throw new Error(`${bytes.length} bytes came, or others`);
  }
}

// Writes a word that must arrive before the failure.
async function word(conn) {
  await write(conn, "a word");
  await read(conn, 1);
}

export const scenarios = {
  async echo(conn) {
    for await (const bytes of conn) await write(conn, bytes);
  },

  // Counts JSON values, each on a line of its own.
  async json(conn) {
    let number = 0;
    for await (const line of lines(conn)) {
      const value = JSON.parse(line);
      await write(conn, JSON.stringify({ number: ++number, value }) + "\n");
    }
  },

  async ask(conn) {
    conn.end("question");
    await expect(conn, "answer");
  },

  async answer(conn) {
    await expect(conn, "question");
    conn.end("answer");
  },

  transfer,

  // stream.close(code) would send END_STREAM first, so that the reset would follow a good end.
  async fail(conn) {
    await word(conn);
    conn.destroy(new Error("as asked for"));
    return "reset";
  },

  async cancel(conn) {
    await word(conn);
    const controller = new AbortController();
    addAbortSignal(controller.signal, conn);
    controller.abort();
    return "reset";
  },

  // Writes nothing more until it is killed.
  async hold(conn) {
    await word(conn);
    await readAll(conn);
  },

  // Reads a word, confirms it, and then accepts only a reset.
  async "expect-reset"(conn) {
    await read(conn, 6);
    conn.write("!");
    const end = await readAll(conn).then(
      (bytes) => `${bytes.length} bytes and the end`,
      () => undefined,
    );
    if (end) throw new Error(`${end} came where a reset was due`);
    return `reset with ${conn.rstCode}`;
  },
};
