// Chromium's log of its network stack (--log-net-log) has the header fields of every request as
// they were sent. DevTools, in contrast, shows a WebSocket over HTTP/2 as an HTTP/1.1 request.

// The handshakes of all WebSockets: the protocol, the origin, and the status.
export function handshakes({ constants: { logEventTypes: types }, events }) {
  const seen = [];
  const answer = (source, stream, status) => {
    const request = seen.find(one => one.source === source.id && one.stream === stream);
    if (request) request.status ??= Number(status);
  };
  const readers = {
    [types.HTTP2_SESSION_SEND_HEADERS](source, { headers, stream_id: stream }) {
      if (field(headers, ":protocol") !== "websocket") return;
      seen.push({ protocol: "h2", origin: field(headers, "origin"), source: source.id, stream });
    },
    [types.HTTP2_SESSION_RECV_HEADERS](source, { headers, stream_id: stream }) {
      answer(source, stream, field(headers, ":status"));
    },
    [types.HTTP_TRANSACTION_SEND_REQUEST_HEADERS](source, { headers }) {
      if (field(headers, "upgrade") !== "websocket") return;
      seen.push({ protocol: "http/1.1", origin: field(headers, "origin"), source: source.id });
    },
    [types.HTTP_TRANSACTION_READ_RESPONSE_HEADERS](source, { headers }) {
      answer(source, undefined, headers[0].split(" ")[1]);
    },
    [types.WEBSOCKET_UPGRADE_FAILURE](source, { message }) {
      // Other failures come after an answer, such as one without a subprotocol that was offered.
      const [, status] = message.match(/response code: (\d+)/) ?? [];
      if (status) answer(source, undefined, status);
    },
  };
  for (const { type, source, params } of events) readers[type]?.(source, params);
  return seen.map(({ protocol, origin, status }) => ({ protocol, origin, status }));
}

// In the log, header fields are lines.
function field(headers, name) {
  const line = headers.find(line => line.toLowerCase().startsWith(`${name}: `));
  return line?.slice(name.length + 2);
}
