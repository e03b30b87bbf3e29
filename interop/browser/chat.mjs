// Drives the page of examples/chat in Chromium: a name that is taken and one that is free, posts of
// the page and of others, and with --stay also a lost connection and the server's end. Prints the
// texts that the page shows as a line of JSON.
import assert from "node:assert/strict";
import { parseArgs } from "node:util";
import { WATCHDOG, drive, protocolOf } from "./drive.mjs";

// The posts of the page: wide characters, and text that would be a script if it were not escaped.
const WIDE = "Grüße 漢字 👩‍👩‍👧 שלום";
const SCRIPT = `<img src=x onerror="alert(1)"><script>alert(2)</script>`;

// The values that the page decodes, and the times that it compares.
const VALUES = ["ok", { message: WIDE }, { message: SCRIPT }];
const TIMES = ["10Z", "10.000000001Z", "10.00000001Z", "10.1Z", "11Z"].map(end => `2026-11-24T00:00:${end}`);

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    http1: { type: "boolean" },
    http2: { type: "boolean" },
    taken: { type: "string" },
    hear: { type: "string", multiple: true, default: [] },
    stay: { type: "boolean" },
    screenshot: { type: "string" },
  },
});
if (positionals.length !== 2 || !options.http1 === !options.http2) {
  console.error(`usage: node chat.mjs --http1|--http2 [OPTIONS] https://localhost:PORT/ NAME
  --taken NAME       first try this name, which somebody has
  --hear TEXT        wait for this post; can be repeated
  --stay             wait until the connection is lost and the name still taken, and say so in a line;
                     wait until the server sends everybody away, and print what the page shows then
  --screenshot FILE  of the page with all posts`);
  process.exit(2);
}
const [url, name] = positionals;
const protocol = options.http2 ? "h2" : "http/1.1";

const webSockets = await drive(protocol, { width: 1000, height: 700 }, async context => {
  await chat(await context.newPage());
});
// A WebSocket that was being opened when the connection was lost has no status.
const answered = webSockets.filter(one => one.status !== undefined);
assert(answered.length >= 1 + Number(!!options.taken) + Number(!!options.stay), "all are in the log");
const status = options.http2 ? 200 : 101;
for (const one of answered) assert.deepEqual(one, { protocol, origin: new URL(url).origin, status });

async function chat(page) {
  // Errors of scripts, violations of the Content-Security-Policy, and scripts in posts that run.
  const faults = [];
  page.on("pageerror", error => faults.push(error.message));
  page.on("dialog", dialog => faults.push(`alert ${dialog.message()}`) && dialog.dismiss());
  page.on("console", message => {
    // Chromium itself reports each attempt while the server cannot be reached.
    const lost = options.stay && /net::ERR_|WebSocket connection/.test(message.text());
    if (message.type() === "error" && !lost) faults.push(message.text());
  });

  await page.goto(url);
  assert.equal(await protocolOf(page), protocol, "the page's protocol");
  assert.deepEqual(await page.evaluate(parts, [VALUES, TIMES]), [VALUES, TIMES]);
  if (options.taken) {
    await enter(page, options.taken);
    await page.waitForSelector("#refusal:not(:empty)");
    assert.equal(await page.textContent("#refusal"), "User already exists.");
  }
  await enter(page, name);
  await page.waitForSelector("[data-state=open]");

  for (const text of [WIDE, SCRIPT, "last of three"]) {
    await page.keyboard.type(text);
    await page.keyboard.press("Enter");
  }
  for (const text of [...options.hear, "last of three"]) await heard(page, text);
  if (options.screenshot) await page.screenshot({ path: options.screenshot });
  const back = refused(page);
  await tell(page);
  if (options.stay) {
    console.log(JSON.stringify({ refused: await back }));
    await page.waitForSelector("[data-state=dismissed]", { timeout: WATCHDOG });
    await page.waitForSelector("text=Join again");
    await tell(page);
  }
  assert.equal(await page.$("#log img, #log script"), null, "a post is text");
  assert.deepEqual(faults, []);
}

// Values from bytes that arrive one by one, and times in their order.
async function parts([values, times]) {
  const { instant, lines } = await import("/wire.js");
  const read = lines();
  const bytes = new TextEncoder().encode(values.map(value => `${JSON.stringify(value)}\n`).join(""));
  const apart = [...bytes].flatMap(byte => read(Uint8Array.of(byte)));
  const inOrder = times.toReversed().sort((one, other) => (instant(one) < instant(other) ? -1 : 1));
  return [apart, inOrder];
}

async function enter(page, as) {
  await page.fill("#name", as);
  await page.keyboard.press("Enter");
}

// Waits for a post with exactly this text.
async function heard(page, text) {
  await page.waitForFunction(wanted => [...document.querySelectorAll(".text")].some(one => one.textContent === wanted), text);
}

// Resolves when a WebSocket that is opened from now on is refused because the name is taken.
function refused(page) {
  return new Promise(resolve => {
    page.on("websocket", socket => socket.on("framereceived", ({ payload }) => {
      if (String(payload).includes("already exists")) resolve(JSON.parse(String(payload)));
    }));
  });
}

// Prints the texts that the page shows.
async function tell(page) {
  const texts = selector => page.locator(selector).allTextContents();
  const [authors, messages] = [await texts(".head b"), await texts(".text")];
  const posts = messages.map((message, at) => [authors[at], message]);
  const state = await page.textContent("#state");
  console.log(JSON.stringify({ state, here: await texts("#names li"), posts, own: await texts(".own .text") }));
}
