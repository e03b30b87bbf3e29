// Sends the requests of its input, one JSON object a line, and prints the responses in the same way:
//
//   node requests.mjs 1.1|2 CERTIFICATE
//
// It is a client of tests/it/serve/foreign.rs.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import http2 from "node:http2";
import https from "node:https";
import { createInterface } from "node:readline";

const [, , version, roots] = process.argv;
const ca = readFileSync(roots);
const agent = new https.Agent({ ca, keepAlive: true });
let session;

// The pieces of a request's content.
function content({ body, fill }) {
  return body === null ? null : Buffer.concat([Buffer.from(body), Buffer.alloc(fill, 7)]);
}

// The fields as node wants them: a list for a name that occurs more than once.
function gathered(fields) {
  const all = {};
  for (const [name, value] of fields) {
    all[name] = name in all ? [].concat(all[name], value) : value;
  }
  return all;
}

function listed(fields) {
  const all = [];
  for (const [name, value] of Object.entries(fields ?? {})) {
    if (!name.startsWith(":")) all.push(...[].concat(value).map((one) => `${name}: ${one}`));
  }
  return all.sort();
}

async function read(stream, heard) {
  const sum = createHash("sha256");
  try {
    for await (const chunk of stream) {
      heard.len += chunk.length;
      sum.update(chunk);
    }
  } catch (error) {
    heard.error = String(error);
  }
  heard.sum = sum.digest("hex");
}

async function byHttp2(want) {
  const heard = { status: 0, fields: [], len: 0, sum: "", trailers: [], error: "" };
  const url = new URL(want.url);
  // The stream reports the session's errors too.
  session ??= http2.connect(url.origin, { ca }).on("error", () => {});
  const body = content(want);
  const fields = gathered(want.fields);
  const head = { ...fields, ":method": want.method, ":path": url.pathname + url.search };
  const trailers = want.trailers.length > 0;
  const stream = session.request(head, { endStream: body === null && !trailers, waitForTrailers: trailers });
  stream.on("wantTrailers", () => stream.sendTrailers(gathered(want.trailers)));
  stream.on("response", (fields) => {
    heard.status = fields[":status"];
    heard.fields = listed(fields);
  });
  stream.on("trailers", (fields) => (heard.trailers = listed(fields)));
  stream.on("error", (error) => (heard.error = String(error)));
  stream.end(body ?? undefined);
  await read(stream, heard);
  return heard;
}

function byHttp1(want) {
  const heard = { status: 0, fields: [], len: 0, sum: "", trailers: [], error: "" };
  return new Promise((resolve) => {
    const failed = (error) => {
      heard.error = String(error);
      resolve(heard);
    };
    const request = https.request(want.url, { agent, method: want.method, headers: gathered(want.fields) });
    request.on("error", failed);
    request.on("response", async (response) => {
      heard.status = response.statusCode;
      heard.fields = listed(response.headers);
      await read(response, heard);
      heard.trailers = listed(response.trailers);
      resolve(heard);
    });
    request.end(content(want) ?? undefined);
  });
}

for await (const line of createInterface({ input: process.stdin })) {
  const want = JSON.parse(line);
  const heard = version === "2" ? await byHttp2(want) : await byHttp1(want);
  console.log(JSON.stringify(heard));
}
session?.close();
agent.destroy();
