// A server of WebSockets over HTTP/2 (RFC 8441) on Node's own `http2`, which knows nothing of
// WebSockets beyond the SETTINGS. It sends every message back, and answers pings and close frames.
// Other requests are refused with 405.
import http2 from 'node:http2';

const server = http2.createServer({ settings: { enableConnectProtocol: true } });

server.on('stream', (stream, headers) => {
  stream.on('error', () => {});
  if (headers[':method'] !== 'CONNECT' || headers[':protocol'] !== 'websocket') {
    stream.respond({ ':status': 405 }, { endStream: true });
    return;
  }
  const fields = { ':status': 200 };
  const offered = (headers['sec-websocket-protocol'] ?? '').split(', ');
  if (offered.includes('h2conn.plain')) fields['sec-websocket-protocol'] = 'h2conn.plain';
  stream.respond(fields);
  let pending = Buffer.alloc(0);
  stream.on('data', (bytes) => {
    pending = Buffer.concat([pending, bytes]);
    for (;;) {
      const length = frame(stream, pending);
      if (length === 0) return;
      pending = pending.subarray(length);
    }
  });
});

// Answers the first frame, if it has come whole, and returns its length.
function frame(stream, bytes) {
  if (bytes.length < 2) return 0;
  const masked = bytes[1] & 0x80;
  let [size, at] = [bytes[1] & 0x7f, 2];
  if (bytes.length < at + 8) {
    if (size > 125) return 0;
  } else if (size === 126) {
    [size, at] = [bytes.readUInt16BE(2), 4];
  } else if (size === 127) {
    [size, at] = [Number(bytes.readBigUInt64BE(2)), 10];
  }
  if (!masked) {
    // RFC 6455 §5.1 holds over HTTP/2 too.
    stream.close(http2.constants.NGHTTP2_PROTOCOL_ERROR);
    return 0;
  }
  if (bytes.length < at + 4 + size) return 0;
  const mask = bytes.subarray(at, at + 4);
  const content = Buffer.from(bytes.subarray(at + 4, at + 4 + size));
  for (let i = 0; i < size; i++) content[i] ^= mask[i % 4];
  const [end, opcode] = [bytes[0] & 0x80, bytes[0] & 0x0f];
  const answer = opcode === 9 ? 10 : opcode;
  if (opcode !== 10) stream.write(Buffer.concat([head(end | answer, size), content]));
  if (opcode === 8) stream.end();
  return at + 4 + size;
}

function head(first, size) {
  if (size < 126) return Buffer.from([first, size]);
  if (size < 65536) return Buffer.from([first, 126, size >> 8, size & 0xff]);
  const long = Buffer.alloc(10);
  [long[0], long[1]] = [first, 127];
  long.writeBigUInt64BE(BigInt(size), 2);
  return long;
}

server.listen(0, '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
