// Drives the page of examples/browser that talks in JSON, in Chromium: text messages with a value each, a token among the
// subprotocols, and pages without a token. Prints its observations as a line of JSON.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { drive, protocolOf } from "./drive.mjs";

// Quotes in a value, and characters outside of ASCII.
const LINE = `Grüße "h2conn" 漢字`;

// A line that the server sends in several frames, which the page must not see.
const LONG = 300_000;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { http1: { type: "boolean" }, http2: { type: "boolean" } },
});
if (positionals.length !== 1 || !options.http1 === !options.http2) {
  console.error("usage: node json.mjs --http1|--http2 https://localhost:PORT/");
  process.exit(2);
}
const page = new URL("/json", positionals[0]);
const protocol = options.http2 ? "h2" : "http/1.1";

let seen;
const webSockets = await drive(protocol, { width: 800, height: 450 }, async context => {
  seen = await talk(await context.newPage());
});
const { origin } = page;
const status = options.http2 ? 200 : 101;
assert.deepEqual(webSockets, [
  { protocol, origin, status },
  { protocol, origin, status },
  { protocol, origin, status },
  { protocol, origin, status: 401 },
  { protocol, origin, status: 401 },
  // A token alone: the server has no subprotocol to answer with, and Chromium ends the connection. It does not log that answer
  // over HTTP/1.1.
  { protocol, origin, status: options.http2 ? status : undefined },
]);
console.log(JSON.stringify({ ...seen, webSocket: protocol }));

async function talk(tab) {
  const [sent, received] = messages(tab);
  await tab.goto(page.href);
  assert.equal(await protocolOf(tab), protocol, "the page's protocol");
  await heard(tab, "HELLO\n");
  await tab.fill("input", LINE);
  await tab.keyboard.press("Enter");
  await heard(tab, `HELLO\n${LINE.toUpperCase()}\n`);
  assert.equal(await tab.textContent("output"), "message 2, in the subprotocol json");
  // Strings are text messages; binary ones would be buffers.
  assert.deepEqual(sent.map(read), [{ text: "hello" }, { text: LINE }]);
  assert.deepEqual(received.map(read), [{ number: 1, text: "HELLO" }, { number: 2, text: LINE.toUpperCase() }]);

  const texts = received.length;
  const token = await tab.evaluate(async () => (await fetch("/token")).text());
  const long = await tab.evaluate(longLine, [token, LONG]);
  assert.deepEqual(long, { messages: 1, length: LONG });
  assert.deepEqual(await codeOfTheGuide(tab), ["{number: 1, text: HELLO}", "closed, 1000 "]);
  const outcomes = [];
  for (const offered of [["json"], ["json", "bearer.wrong"], [`bearer.${token}`]]) {
    outcomes.push(await tab.evaluate(outcome, offered));
  }
  return { page: protocol, messages: texts, long: long.messages, outcomes };
}

// The messages that the WebSockets of a page send and receive.
function messages(tab) {
  const [sent, received] = [[], []];
  tab.on("websocket", socket => {
    socket.on("framesent", ({ payload }) => sent.push(payload));
    socket.on("framereceived", ({ payload }) => received.push(payload));
  });
  return [sent, received];
}

function read(payload) {
  assert.equal(typeof payload, "string", "a text message");
  return JSON.parse(payload);
}

function heard(tab, text) {
  return tab.waitForFunction(expected => document.querySelector("pre").textContent === expected, text);
}

// The lines that the code in docs/guide.md logs: for the first message, and for the end, which is asked for here.
async function codeOfTheGuide(tab) {
  const guide = await readFile(new URL("../../docs/guide.md", import.meta.url), "utf8");
  const [, code] = guide.match(/```js\n(.*?)```/s);
  const logged = [];
  tab.on("console", message => logged.push(message.text()));
  const next = tab.waitForEvent("console");
  await tab.evaluate(`(async () => {
    const token = await (await fetch("/token")).text();
    ${code}
    globalThis.socketOfTheGuide = socket;
  })()`);
  await next;
  const last = tab.waitForEvent("console");
  await tab.evaluate(() => globalThis.socketOfTheGuide.close(1000));
  await last;
  return logged;
}

// How a line of so many characters comes back: in how many messages, and how long.
function longLine([token, length]) {
  const socket = new WebSocket(`wss://${location.host}/live`, ["json", `bearer.${token}`]);
  return new Promise((resolve, reject) => {
    let [messages, heard] = [0, 0];
    socket.onopen = () => socket.send(JSON.stringify({ text: "ü".repeat(length) }));
    socket.onmessage = ({ data }) => {
      messages += 1;
      try {
        heard = JSON.parse(data).text.length;
      } catch (error) {
        reject(`a message of ${data.length} characters: ${error}`);
      }
      socket.close();
    };
    socket.onclose = ({ code }) => messages ? resolve({ messages, length: heard }) : reject(`code ${code}`);
  });
}

// The end of a WebSocket that offers these subprotocols: whether it was opened, and its code.
function outcome(offered) {
  const socket = new WebSocket(`wss://${location.host}/live`, offered);
  return new Promise(resolve => {
    let opened = false;
    socket.onopen = () => opened = true;
    socket.onclose = ({ code }) => resolve([opened, code]);
  });
}
