// The page: the login, the list of members, and their posts.

import { Posts } from "./posts.js";
import { join } from "./room.js";

const element = id => document.getElementById(id);
const [login, name, refusal] = ["login", "name", "refusal"].map(element);
const [room, state, again, leave] = ["room", "state", "again", "leave"].map(element);
const [people, here, count, names] = ["people", "here", "count", "names"].map(element);
const [log, say, message, send] = ["log", "say", "message", "send"].map(element);

const { compare } = new Intl.Collator();

// The last name, if this tab is in the room under it, for example after a reload.
const inRoom = storage(() => sessionStorage.getItem("name"));
name.value = inRoom ?? storage(() => localStorage.getItem("name")) ?? "";
if (inRoom) enter(inRoom, true);
else ask();

login.addEventListener("submit", event => {
  event.preventDefault();
  const wanted = name.value.trim().toWellFormed();
  if (!wanted) return ask("A name is needed.");
  login.inert = true;
  refusal.textContent = "";
  enter(wanted, false);
});

people.addEventListener("click", () => {
  people.ariaExpanded = String(here.classList.toggle("shown"));
});

function ask(reason = "") {
  show(login);
  login.inert = false;
  refusal.textContent = reason;
  name.ariaInvalid = String(reason !== "");
  name.focus();
  name.select();
}

function show(part) {
  [login.hidden, room.hidden] = [part !== login, part !== room];
}

function enter(own, isBack) {
  const present = new Set();
  // The lines that have not come back as posts yet, in their order.
  let sent = [];
  let posts;
  if (isBack) begin();

  const place = join(own, isBack, {
    state(now, reason) {
      if (now === "refused" && !posts) return ask(sentence(reason));
      if (now === "open" && !posts) begin();
      room.dataset.state = now;
      state.textContent = {
        connecting: "Connecting…",
        open: `Here as ${own}`,
        waiting: "The connection is lost. Trying again…",
      }[now] ?? sentence(reason);
      again.textContent = now === "waiting" ? "Try now" : "Join again";
      again.hidden = now === "connecting" || now === "open";
      send.disabled = now !== "open";
      // Earlier posts must not be read aloud.
      if (now === "connecting") log.ariaBusy = "true";
    },
    post(post) {
      const isNew = posts.add(post);
      if (isNew && post.user === own) sent.shift();
      if (post.here) greet(post.here);
      if (post.came) present.add(post.came);
      if (post.went) present.delete(post.went);
      if (post.here || post.came || post.went) list();
    },
  });

  // Only for a user who is or was in the room.
  function begin() {
    posts = new Posts(log, own);
    show(room);
    message.focus();
    again.addEventListener("click", () => place.retry());
    leave.addEventListener("click", () => {
      place.leave();
      storage(() => sessionStorage.removeItem("name"));
      location.reload();
    });
    say.addEventListener("submit", event => {
      event.preventDefault();
      const text = message.value.trim().toWellFormed();
      // Text that cannot be sent now stays in the field.
      if (!text || !place.post(text)) return;
      sent.push(text);
      message.value = "";
      posts.goDown();
    });
  }

  function greet(everybody) {
    storage(() => sessionStorage.setItem("name", own));
    storage(() => localStorage.setItem("name", own));
    log.ariaBusy = "false";
    present.clear();
    for (const one of everybody) present.add(one);
    // Lines that are not among the posts were lost with the connection.
    message.value = [...sent, message.value].filter(Boolean).join(" ");
    sent = [];
  }

  let frame = 0;

  function list() {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      people.textContent = `${present.size} here`;
      count.textContent = people.textContent;
      names.replaceChildren(...[...present].sort(compare).map(one => person(one, one === own)));
    });
  }
}

function person(one, isOwn) {
  const item = document.createElement("li");
  item.textContent = one;
  item.dir = "auto";
  item.className = isOwn ? "own" : "";
  return item;
}

// A reason of the server begins in lower case and has no full stop.
function sentence(reason) {
  return `${reason.charAt(0).toUpperCase()}${reason.slice(1)}.`;
}

// Runs `act` if the browser lets pages store data.
function storage(act) {
  try {
    return act();
  } catch {
    return null;
  }
}
