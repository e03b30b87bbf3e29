// Drives a page of the application in tests/it/serve/application.rs, in Chromium: compressed text, a large file and a part of
// one, JSON, server-sent events over several requests, events that wait for the page, and a live route. Prints its observations
// as a line of JSON.
import assert from "node:assert/strict";
import { parseArgs } from "node:util";
import { drive, protocolOf } from "./drive.mjs";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { http1: { type: "boolean" }, http2: { type: "boolean" } },
});
if (positionals.length !== 1 || !options.http1 === !options.http2) {
  console.error("usage: node application.mjs --http1|--http2 https://localhost:PORT/");
  process.exit(2);
}
const [url] = positionals;
const protocol = options.http2 ? "h2" : "http/1.1";

let seen;
const webSockets = await drive(protocol, { width: 800, height: 450 }, async context => {
  const tab = await context.newPage();
  await tab.goto(url);
  assert.equal(await tab.title(), "application");
  assert.equal(await protocolOf(tab), protocol, "the page's protocol");
  seen = {
    text: await tab.evaluate(text),
    file: await tab.evaluate(file),
    part: await tab.evaluate(part),
    json: await tab.evaluate(json),
    events: await tab.evaluate(events),
    steps: await tab.evaluate(steps),
    live: await tab.evaluate(live),
  };
});
assert.equal(seen.text.length, 30_000);
assert.ok(seen.text.isCompressed, "compressed text");
assert.deepEqual(seen.part, [206, "ne 0"]);
assert.deepEqual(seen.json, [{ a: ["ü", null] }]);
assert.deepEqual(seen.events, Array.from({ length: 9 }, (_, at) => [`${at + 1}`, `${at + 1}\nof all`]));
assert.deepEqual(seen.steps, ["0", "1", "2"]);
assert.deepEqual(seen.live, { bytes: 300_000, identical: true });
const handshakes = webSockets.map(({ protocol, status }) => [protocol, status]);
assert.deepEqual(handshakes, [[protocol, options.http2 ? 200 : 101]]);
console.log(JSON.stringify({ ...seen, handshakes }));

async function text() {
  const { length } = await (await fetch("/text")).text();
  const { encodedBodySize, decodedBodySize } = performance.getEntriesByName(new URL("/text", location).href).at(-1);
  return { length, isCompressed: encodedBodySize > 0 && encodedBodySize < decodedBodySize / 2 };
}

async function file() {
  const content = await (await fetch("/files/large.bin")).arrayBuffer();
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  return [content.byteLength, Array.from(digest, byte => byte.toString(16).padStart(2, "0")).join("")];
}

async function part() {
  const response = await fetch("/files/small.txt", { headers: { range: "bytes=2-5" } });
  return [response.status, await response.text()];
}

async function json() {
  const body = JSON.stringify({ a: ["ü", null] });
  return (await fetch("/json", { method: "POST", headers: { "content-type": "application/json" }, body })).json();
}

// The server ends each response after three events, and the browser asks for the next ones by the identifier of the last.
function events() {
  const source = new EventSource("/events");
  const heard = [];
  return new Promise(resolve => {
    source.addEventListener("tick", ({ lastEventId, data }) => {
      heard.push([lastEventId, data]);
      if (heard.length === 9) {
        source.close();
        resolve(heard);
      }
    });
  });
}

// Each event comes only after the page has told of the one before, so none may wait in a buffer.
function steps() {
  const source = new EventSource("/steps");
  const heard = [];
  return new Promise(resolve => {
    source.onmessage = async ({ data }) => {
      heard.push(data);
      if (heard.length === 3) {
        source.close();
        return resolve(heard);
      }
      await fetch("/heard", { method: "POST" });
    };
  });
}

// Bytes that an echo sends back.
function live() {
  const sent = new Uint8Array(300_000).map((_, at) => at * 31);
  const socket = new WebSocket(`wss://${location.host}/live`);
  socket.binaryType = "arraybuffer";
  const got = [];
  return new Promise((resolve, reject) => {
    socket.onopen = () => socket.send(sent);
    socket.onclose = ({ code }) => reject(`code ${code}`);
    socket.onmessage = ({ data }) => {
      got.push(...new Uint8Array(data));
      if (got.length < sent.length) return;
      resolve({ bytes: got.length, identical: sent.every((byte, at) => byte === got[at]) });
      socket.close();
    };
  });
}
