// The client's end of a connection.

import http2 from "node:http2";
import { once } from "node:events";

// Opens a connection, which is a Duplex. `options` are those of http2.connect, such as `ca`.
export async function connect(url, options) {
  const session = http2.connect(url, options);
  session.on("error", () => {}); // the stream reports it too
  const { pathname, search } = new URL(url);
  const stream = session.request({ ":method": "POST", ":path": pathname + search });
  stream.on("close", () => session.close());
  const [headers] = await once(stream, "response");
  const status = headers[":status"];
  if (status < 200 || status > 299) {
    stream.destroy();
    throw new Error(`the server refused with ${status}`);
  }
  stream.on("error", () => {}); // reads and writes report it too
  return stream;
}
