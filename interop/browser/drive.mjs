// The parts that the scripts share: Chromium with one version of HTTP, its log, and a watchdog.
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { handshakes } from "./netlog.mjs";

// No run takes this long unless it hangs: other processes can use most of the machine.
export const WATCHDOG = 600_000;

// Lets `play` drive a browser, and returns the handshakes of all its WebSockets. The protocol is
// "h2", or "http/1.1" for a browser without HTTP/2. `viewport` is the size of its pages.
export async function drive(protocol, viewport, play) {
  setTimeout(() => {
    console.error(`not done within ${WATCHDOG / 1000} s`);
    process.exit(1);
  }, WATCHDOG).unref();

  const directory = await mkdtemp(join(tmpdir(), "h2conn-browser-"));
  try {
    const log = join(directory, "net-log.json");
    const args = ["--disable-gpu", "--disable-quic", `--log-net-log=${log}`];
    if (protocol !== "h2") args.push("--disable-http2");
    const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
    const browser = await chromium.launch({ executablePath, args });
    try {
      const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport });
      context.setDefaultTimeout(WATCHDOG);
      await play(context);
    } finally {
      await browser.close();
    }
    // The log is complete when the browser has ended.
    return handshakes(JSON.parse(await readFile(log, "utf8")));
  } finally {
    await rm(directory, { recursive: true });
  }
}

// The protocol with which a page was loaded.
export function protocolOf(page) {
  return page.evaluate(() => performance.getEntriesByType("navigation")[0].nextHopProtocol);
}
