// What comes over the connection.

// Takes bytes that are cut anywhere, and gives the JSON values of the lines that are complete.
export function lines() {
  const decoder = new TextDecoder();
  let rest = "";
  return bytes => {
    const pieces = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = pieces.pop();
    return pieces.map(piece => JSON.parse(piece));
  };
}

// A time of the server's as text that can be compared, where a Date has no more than milliseconds.
// The fraction of a second may be missing, and the Z would come after its point.
export function instant(time) {
  return time.replace("Z", "");
}
