// A server of WebSockets by the package ws, with the paths of ../go/main.go.

import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const MOST = 128 << 20;

const http = createServer();
const server = new WebSocketServer({ server: http, maxPayload: MOST });

server.on("connection", (socket, request) => {
  const url = new URL(request.url, "http://localhost");
  // The client may break off.
  socket.on("error", () => {});
  socket.on("message", (message, isBinary) => {
    switch (url.pathname) {
      case "/close":
        return socket.close(Number(url.searchParams.get("status")), "the test says so");
      case "/pinged":
        socket.once("pong", () => {
          socket.send(message, { binary: isBinary });
          socket.close(1000);
        });
        return socket.ping("are you there?");
      default:
        // Take no more than the client takes back.
        if (socket.bufferedAmount > 1 << 20) {
          socket.pause();
        }
        socket.send(message, { binary: isBinary }, () => socket.resume());
    }
  });
});

http.listen(0, "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${http.address().port}`);
});
// The test that has started this ends it so, even if the test is killed.
process.stdin.resume().on("end", () => process.exit(0));
