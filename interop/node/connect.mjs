// One end of an extended CONNECT (RFC 8441) with Node alone, for tests/it/extended_connect.
//
//   node connect.mjs serve NAME          prints its address; echoes, and resets requests for /reset
//   node connect.mjs connect NAME URL    sends 1 MiB, ends its side, expects the same and the end

import http2 from "node:http2";
import { randomBytes } from "node:crypto";

const [role, name, url] = process.argv.slice(2);

function serve() {
  const server = http2.createServer({ settings: { enableConnectProtocol: true } });
  server.on("stream", (stream, headers) => {
    if (headers[":method"] !== "CONNECT" || headers[":protocol"] !== name) {
      stream.respond({ ":status": 501 }, { endStream: true });
      return;
    }
    stream.on("error", () => {});
    stream.respond({ ":status": 200 });
    if (headers[":path"] === "/reset") {
      // stream.close(code) would send END_STREAM first, and after that a reset is no error.
      stream.destroy(new Error("as asked for"));
    } else {
      stream.pipe(stream);
    }
  });
  server.listen(0, "127.0.0.1", () => console.log(`127.0.0.1:${server.address().port}`));
}

function connect() {
  const session = http2.connect(url);
  session.once("remoteSettings", (settings) => {
    if (!settings.enableConnectProtocol) {
      throw new Error("extended CONNECT is not offered");
    }
    const { host, pathname } = new URL(url);
    const stream = session.request({
      ":method": "CONNECT",
      ":protocol": name,
      ":scheme": "http",
      ":path": pathname,
      ":authority": host,
    });
    const said = randomBytes(1 << 20);
    const heard = [];
    let status;
    stream.on("response", (headers) => (status = headers[":status"]));
    stream.on("data", (bytes) => heard.push(bytes));
    stream.on("end", () => {
      const same = Buffer.concat(heard).equals(said);
      console.log(`${status}, and ${same ? "all" : "not all"} came back`);
      session.close();
    });
    stream.end(said);
  });
}

role === "serve" ? serve() : connect();
