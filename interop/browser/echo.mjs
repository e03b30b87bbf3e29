// Drives the page of examples/browser in Chromium: a line, 10 MB in both directions at once, the ends that
// a browser gives a WebSocket, and a page of another origin. Prints its observations as a line of
// JSON.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { parseArgs } from "node:util";
import { drive, protocolOf } from "./drive.mjs";

const LINE = "Grüße, h2conn";
const SIZE = 10_000_000;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    http1: { type: "boolean" },
    http2: { type: "boolean" },
    screenshot: { type: "string" },
  },
});
if (positionals.length !== 1 || !options.http1 === !options.http2) {
  console.error("usage: node echo.mjs --http1|--http2 [--screenshot FILE] https://localhost:PORT/");
  process.exit(2);
}
const here = new URL(positionals[0]);
// The same server under another name, which is another origin.
const elsewhere = new URL(here.href.replace("localhost", "127.0.0.1"));
const protocol = options.http2 ? "h2" : "http/1.1";

let seen;
const webSockets = await drive(protocol, { width: 800, height: 450 }, async context => {
  seen = await echo(await context.newPage());
  await leave(await context.newPage());
  await knock(await context.newPage());
});
const status = options.http2 ? 200 : 101;
assert.deepEqual(webSockets, [
  ...Array(3).fill({ protocol, origin: here.origin, status }),
  { protocol, origin: elsewhere.origin, status },
  // From the other origin to this one.
  { protocol, origin: elsewhere.origin, status: 403 },
]);
console.log(JSON.stringify({ ...seen, webSocket: protocol, refused: 403 }));

// A line, 10 MB, and an end with close().
async function echo(page) {
  const hashes = digests(page);
  await open(page, here);
  assert.equal(await protocolOf(page), protocol, "the page's protocol");

  await page.fill("input", LINE);
  await page.keyboard.press("Enter");
  await page.waitForFunction(line => heard.textContent === line, `${LINE}\n`);

  await page.click("text=10 MB");
  await page.waitForSelector("body:not([data-state=busy])");
  const said = await page.textContent("output");
  const [, bytes, milliseconds] = said.match(/^(\d+) bytes back, identical, in (\d+) ms$/) ?? [];
  assert.equal(Number(bytes), SIZE, `after 10 MB the page says: ${said}`);
  if (options.screenshot) await page.screenshot({ path: options.screenshot });

  await page.evaluate(() => socket.close(1000));
  await page.waitForSelector("[data-state=closed]");
  const end = await page.textContent("output");
  assert.equal(end, "closed well, code 1000", "after socket.close(1000)");
  // Compare the frames that DevTools saw, so that the page is not the only judge.
  const [sent, received] = hashes.map(hash => hash.digest("hex"));
  assert.equal(received, sent, "the digests of what was sent and of what came back");
  return { page: protocol, bytes: SIZE, identical: true, milliseconds: Number(milliseconds), close: 1000 };
}

// The digests of all bytes that the WebSockets of a page send and receive.
function digests(page) {
  const [sent, received] = [createHash("sha256"), createHash("sha256")];
  page.on("websocket", socket => {
    socket.on("framesent", ({ payload }) => sent.update(payload));
    socket.on("framereceived", ({ payload }) => received.update(payload));
  });
  return [sent, received];
}

// A user who goes to another page, and a user who closes the tab.
async function leave(page) {
  await open(page, here);
  await page.goto("about:blank");
  await open(page, here);
  await page.close();
}

// A page of another origin, which has a server of its own, gets no WebSocket from ours.
async function knock(page) {
  await open(page, elsewhere);
  const outcome = await page.evaluate(async url => {
    // Chromium uses HTTP/2 for a WebSocket only if there already is such a connection.
    await fetch(url, { mode: "no-cors", credentials: "include" });
    const socket = new WebSocket(new URL("/echo", url.replace("https:", "wss:")));
    return new Promise(resolve => {
      socket.onopen = () => resolve("open");
      socket.onerror = () => resolve("refused");
    });
  }, here.href);
  assert.equal(outcome, "refused", `a WebSocket to ${here.origin} from ${elsewhere.origin}`);
}

async function open(page, url) {
  await page.goto(url.href);
  await page.waitForSelector("[data-state=open]");
}
