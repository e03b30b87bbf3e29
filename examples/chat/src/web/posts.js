// The posts on the page. The last ones stay at the bottom, unless the reader has scrolled up.

import { instant } from "./wire.js";

// How many posts the page keeps. The server keeps fewer.
const MAX_POSTS = 1_000;

// A reader this close to the bottom, in pixels, is at the bottom.
const AT_BOTTOM = 40;

const clock = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit" });
const calendar = new Intl.DateTimeFormat([], { weekday: "long", day: "numeric", month: "long" });
const full = new Intl.DateTimeFormat([], { dateStyle: "full", timeStyle: "medium" });

export class Posts {
  #log;
  #list;
  #newer;
  #own;
  #atBottom = true;
  #frame = 0;
  // The instant of the last post.
  #last = "";
  // The author of the last post, and its minute by the reader's clock.
  #author;
  #minute;
  #day = calendar.format(new Date());

  // `log` contains a list. The button after it leads to the end of the list. `own` is the reader's
  // name.
  constructor(log, own) {
    const [list, newer] = [log.querySelector("ol"), log.nextElementSibling];
    [this.#log, this.#list, this.#newer, this.#own] = [log, list, newer, own];
    log.addEventListener("scroll", () => {
      this.#atBottom = log.scrollHeight - log.scrollTop - log.clientHeight < AT_BOTTOM;
      if (this.#atBottom) newer.hidden = true;
    });
    newer.addEventListener("click", () => {
      this.goDown();
      log.focus();
    });
    // The keyboard on the screen appears, or the window changes its size.
    new ResizeObserver(() => this.#stay()).observe(log);
  }

  // Shows a post, unless it is an earlier one that is already shown.
  add(post) {
    const at = instant(post.time);
    if (post.earlier && at <= this.#last) return false;
    this.#last = at;
    const date = new Date(post.time);
    const day = calendar.format(date);
    if (day !== this.#day) {
      this.#day = day;
      this.#append(element("li", "day", day));
      this.#author = undefined;
    }
    this.#append(post.user === "System" ? this.#notice(post, date) : this.#post(post, date));
    return true;
  }

  goDown() {
    this.#atBottom = true;
    this.#newer.hidden = true;
    this.#stay();
  }

  #post({ user, message }, date) {
    const time = timeOf(date);
    const item = element("li", "post");
    if (user === this.#own) item.classList.add("own");
    // Further posts of the same author need no name.
    if (user === this.#author && time.textContent === this.#minute) item.classList.add("more");
    [this.#author, this.#minute] = [user, time.textContent];
    const head = element("p", "head");
    const author = element("b", "", user);
    author.style.setProperty("--hue", hue(user));
    head.append(author, " ", time);
    item.append(head, element("p", "text", message));
    return item;
  }

  #notice({ message }, date) {
    this.#author = undefined;
    const item = element("li", "system", message);
    item.append(" ", timeOf(date));
    return item;
  }

  #append(item) {
    this.#list.append(item);
    while (this.#list.childElementCount > MAX_POSTS) {
      this.#list.firstElementChild.remove();
      this.#list.firstElementChild.classList.remove("more");
    }
    if (this.#atBottom) this.#stay();
    else this.#newer.hidden = false;
  }

  // Runs once for all posts before the next frame.
  #stay() {
    if (!this.#atBottom || this.#frame) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      if (this.#atBottom) this.#log.scrollTop = this.#log.scrollHeight;
    });
  }
}

function timeOf(date) {
  const time = element("time", "", clock.format(date));
  time.dateTime = date.toISOString();
  time.title = full.format(date);
  return time;
}

// The same colour for the same name, on every page.
function hue(name) {
  let sum = 0;
  for (const character of name) sum = (sum * 31 + character.codePointAt(0)) % 360;
  return sum;
}

function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  // Names and posts can be in any script.
  made.dir = "auto";
  return made;
}
