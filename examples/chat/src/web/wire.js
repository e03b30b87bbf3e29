// The data that arrives over the connection.

// Takes bytes that are cut anywhere, and returns the JSON values of all complete lines.
export function lines() {
  const decoder = new TextDecoder();
  let rest = "";
  return bytes => {
    const pieces = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = pieces.pop();
    return pieces.map(piece => JSON.parse(piece));
  };
}

// A time of the server as text that can be compared, because a Date has only milliseconds. The Z is
// removed: the fraction may be missing, and a Z would sort after its point.
export function instant(time) {
  return time.replace("Z", "");
}
