// The other end of the tests in tests/it/node.rs.
//
//   node peer.mjs serve [IDENTITY]               prints its URL; plays the scenario of each path
//   node peer.mjs connect SCENARIO URL [ROOTS]
//
// IDENTITY is a file with a certificate and its key, for TLS. ROOTS is a file with certificates to
// trust. All of them are in PEM. For each connection the script prints the scenario and its result,
// which is "ok" if all went well.

import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect } from "./client.mjs";
import { scenarios } from "./scenarios.mjs";
import { createServer } from "./server.mjs";

// No scenario takes this long, unless it hangs.
const WATCHDOG = 25_000;

async function play(name, conn) {
  const closed = once(conn, "close");
  closed.catch(() => {});
  try {
    const said = await scenarios[name](conn);
    if (!said) {
      conn.end();
      conn.resume();
      await closed;
    }
    console.log(`${name}: ${said ?? (conn.rstCode || "ok")}`);
  } catch (error) {
    console.log(`${name}: ${error.stack}`);
  }
}

setTimeout(() => {
  console.log(`not done within ${WATCHDOG} ms`);
  process.exit(1);
}, WATCHDOG).unref();

const [role, ...rest] = process.argv.slice(2);
if (role === "serve") {
  const pem = rest[0] && readFileSync(rest[0]);
  const options = pem && { key: pem, cert: pem };
  const server = createServer((conn, headers) => play(headers[":path"].slice(1), conn), options);
  server.listen(0, "127.0.0.1", () => {
    const scheme = pem ? "https" : "http";
    console.log(`listening on ${scheme}://127.0.0.1:${server.address().port}`);
  });
} else {
  const [name, url, roots] = rest;
  await play(name, await connect(url, { ca: roots && readFileSync(roots) }));
}
