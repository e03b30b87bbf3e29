// A place in the room, through a WebSocket in JSON. It is taken again whenever the connection is
// lost, until one side ends it.

import { lines } from "./wire.js";

const TAKEN = "user already exists";

// The pause before the next attempt, in milliseconds. It doubles each time.
const FIRST_DELAY = 250;
const LAST_DELAY = 8_000;

// How long the server may take to notice that a connection is gone, and to free its name.
const PATIENCE = 60_000;

// The status with which the server closes a dismissed connection: in order, or with
// ENHANCE_YOUR_CALM.
const DISMISSALS = [1000, 4011];

// Joins as `name`. `isBack` is true for a user who has been in the room before. Calls `on.post`
// with each post, and `on.state` with a word and a reason:
//
//   connecting   for the first time, or again
//   open         in the room
//   waiting      to try again
//   refused      by the server, or the server cannot be reached
//   dismissed    by the server
//
// After the last three, `retry` tries again at once.
export function join(name, isBack, on) {
  let socket, timer;
  let delay = FIRST_DELAY;
  let lost = performance.now();
  let state, left = false;

  function enter(next, reason) {
    state = next;
    on.state(state, reason);
  }

  async function connect() {
    clearTimeout(timer);
    enter("connecting");
    // Chromium opens a WebSocket over HTTP/2 only if it already has a connection.
    await fetch("/", { method: "HEAD", signal: AbortSignal.timeout(LAST_DELAY) }).catch(() => {});
    if (left) return;
    let welcome, refusal, last;
    const read = lines();
    socket = new WebSocket(`wss://${location.host}/json`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => send(name);
    socket.onmessage = ({ data }) => {
      for (const value of read(data)) {
        if (welcome) {
          last = value;
          on.post(value);
        } else if (value === "ok") {
          welcome = performance.now();
          isBack = true;
          enter("open");
        } else {
          refusal = value;
        }
      }
    };
    socket.onclose = ({ code }) => {
      if (left) return;
      const now = performance.now();
      if (welcome) lost = now;
      if (now - welcome > LAST_DELAY) delay = FIRST_DELAY;
      if (welcome && DISMISSALS.includes(code)) {
        enter("dismissed", lastWord(last));
      } else if (refusal && !(refusal === TAKEN && isBack && now - lost < PATIENCE)) {
        enter("refused", refusal);
      } else if (isBack) {
        enter("waiting");
        // Clients must not all connect at the same time when the server is back.
        timer = setTimeout(connect, delay * (0.5 + Math.random() / 2));
        delay = Math.min(2 * delay, LAST_DELAY);
      } else {
        enter("refused", "the server cannot be reached, or has no room");
      }
    };
  }

  function send(value) {
    socket.send(new TextEncoder().encode(`${JSON.stringify(value)}\n`));
  }

  function retry() {
    if (["waiting", "refused", "dismissed"].includes(state)) connect();
  }

  function online() {
    if (state === "waiting") connect();
  }

  window.addEventListener("online", online);
  connect();
  return {
    // Returns whether the message is on its way. It has arrived when it comes back as a post.
    post(message) {
      const open = state === "open" && socket.readyState === WebSocket.OPEN;
      if (open) send({ message });
      return open;
    },
    retry,
    leave() {
      left = true;
      clearTimeout(timer);
      window.removeEventListener("online", online);
      socket?.close();
    },
  };
}

// The reason of a dismissal: the last post, if it was such a reason.
function lastWord(post) {
  const isWord = post?.user === "System" && !post.here && !post.came && !post.went;
  return isWord ? post.message : "the server has ended the connection";
}
