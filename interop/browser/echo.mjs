// Drives examples/browser.html in Chromium: a line, 10 MB both ways at once, the ends that a browser
// gives a WebSocket, and a page of another origin. Prints what it saw as a line of JSON.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { handshakes } from "./netlog.mjs";

// What no run takes, unless something hangs.
const WATCHDOG = 60_000;
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
// The same server by another name, which is another origin.
const elsewhere = new URL(here.href.replace("localhost", "127.0.0.1"));
const protocol = options.http2 ? "h2" : "http/1.1";

setTimeout(() => {
  console.error(`not done within ${WATCHDOG / 1000} s`);
  process.exit(1);
}, WATCHDOG).unref();

const directory = await mkdtemp(join(tmpdir(), "h2conn-browser-"));
try {
  const log = join(directory, "net-log.json");
  const seen = await browse(log);
  // The log is whole when the browser has gone.
  const webSockets = handshakes(JSON.parse(await readFile(log, "utf8")));
  const status = options.http2 ? 200 : 101;
  assert.deepEqual(webSockets, [
    ...Array(3).fill({ protocol, origin: here.origin, status }),
    { protocol, origin: elsewhere.origin, status },
    // From there to here.
    { protocol, origin: elsewhere.origin, status: 403 },
  ]);
  console.log(JSON.stringify({ ...seen, webSocket: protocol, refused: 403 }));
} finally {
  await rm(directory, { recursive: true });
}

async function browse(log) {
  const args = ["--disable-gpu", "--disable-quic", `--log-net-log=${log}`];
  if (options.http1) args.push("--disable-http2");
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  const browser = await chromium.launch({ executablePath, args });
  try {
    const viewport = { width: 800, height: 450 };
    const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport });
    const seen = await echo(await context.newPage());
    await leave(await context.newPage());
    await knock(await context.newPage());
    return seen;
  } finally {
    await browser.close();
  }
}

// A line, 10 MB, and an end by close().
async function echo(page) {
  const hashes = digests(page);
  await open(page, here);
  const navigation = () => performance.getEntriesByType("navigation")[0].nextHopProtocol;
  assert.equal(await page.evaluate(navigation), protocol, "the page's protocol");

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
  // What DevTools saw come and go: the page is not to be the only judge.
  const [sent, received] = hashes.map(hash => hash.digest("hex"));
  assert.equal(received, sent, "the digests of what was sent and of what came back");
  return { page: protocol, bytes: SIZE, identical: true, milliseconds: Number(milliseconds), close: 1000 };
}

// The digests of what the WebSockets of a page send and receive.
function digests(page) {
  const [sent, received] = [createHash("sha256"), createHash("sha256")];
  page.on("websocket", socket => {
    socket.on("framesent", ({ payload }) => sent.update(payload));
    socket.on("framereceived", ({ payload }) => received.update(payload));
  });
  return [sent, received];
}

// A user who goes to another page, and one who closes the tab.
async function leave(page) {
  await open(page, here);
  await page.goto("about:blank");
  await open(page, here);
  await page.close();
}

// A page of another origin, which has its own server, gets no WebSocket from ours.
async function knock(page) {
  await open(page, elsewhere);
  const outcome = await page.evaluate(async url => {
    // Only where there is a connection of HTTP/2 already, Chromium takes it for a WebSocket.
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
