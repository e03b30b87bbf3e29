// The server's end of a connection.

import http2 from "node:http2";

// Calls `handler` with each connection, a Duplex, and the header fields of its request. When
// the handler returns, the connection is ended; if the handler throws, it is reset. With the
// `options` of http2.createSecureServer, such as `key` and `cert`, the server speaks TLS.
export function createServer(handler, options) {
  const server = options ? http2.createSecureServer(options) : http2.createServer();
  server.on("stream", async (stream, headers) => {
    stream.on("error", () => {}); // reads and writes report it too
    stream.respond({ ":status": 200 }); // at once, because the client waits for it
    try {
      await handler(stream, headers);
      stream.end();
    } catch (error) {
      stream.destroy(error);
    }
  });
  return server;
}
