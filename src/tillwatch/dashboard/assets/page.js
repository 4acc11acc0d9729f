// A page that is live: it hears which parts have changed, asks for these, and changes what differs, in place.
import { draw, drawAll } from "./chart.js";

const parts = [...document.querySelectorAll("[data-live]")];
const live = document.getElementById("live");
const known = {};
const asked = new Set();
let stream = null;

function say(text, on) {
  if (document.getElementById("live-text").textContent !== text) document.getElementById("live-text").textContent = text;
  live.classList.toggle("on", on);
}

async function renew(part) {
  if (asked.has(part)) return;
  asked.add(part);
  try {
    do {
      part.again = false;
      const answer = await fetch(part.dataset.src, { headers: { accept: "text/html" } });
      if (answer.ok) {
        const fresh = new DOMParser().parseFromString(`<div>${await answer.text()}</div>`, "text/html").body.firstChild;
        patch(part, fresh);
        drawAll(part);
      }
    } while (part.again);
  } catch {
    /* the stream says that the server is away; the next news ask again */
  } finally {
    asked.delete(part);
  }
}

// Makes the children of `old` those of `fresh`, leaving alone what is the same and what a script keeps.
function patch(old, fresh) {
  const now = [...old.childNodes];
  const next = [...fresh.childNodes];
  next.forEach((node, at) => {
    const there = now[at];
    if (!there) old.append(node);
    else if (there.nodeType !== node.nodeType || there.nodeName !== node.nodeName || there.id !== node.id) there.replaceWith(node);
    else if (node.nodeType === Node.TEXT_NODE) {
      if (there.data !== node.data) there.data = node.data;
    } else if (node.nodeType === Node.ELEMENT_NODE) {
      same(there, node);
      if (!("keep" in there.dataset)) patch(there, node);
    }
  });
  now.slice(next.length).forEach((node) => node.remove());
}

function same(old, fresh) {
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS")) old.removeAttribute(name);
  }
}

function heard(event) {
  say("live", true);
  const news = JSON.parse(event.data);
  for (const part of parts) {
    const name = part.dataset.live;
    // At first too: it may have changed since the page was made.
    if (known[name] !== news[name]) {
      part.again = true;
      renew(part);
    }
  }
  Object.assign(known, news);
}

function listen() {
  if (stream || !parts.length) return;
  stream = new EventSource("/live");
  stream.addEventListener("parts", heard);
  stream.onerror = () => say("not connected", false);
}

function rest() {
  stream?.close();
  stream = null;
}

document.addEventListener("visibilitychange", () => (document.hidden ? rest() : listen()));
addEventListener("pagehide", rest);
addEventListener("pageshow", listen);

// What is loaded when it is asked for, such as what has to be worked out from the landing zone.
for (const button of document.querySelectorAll("button[data-load]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const place = document.getElementById(button.getAttribute("aria-controls"));
    button.disabled = true;
    place.setAttribute("aria-busy", "true");
    place.textContent = "Working it out …";
    try {
      const answer = await fetch(button.dataset.load);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      place.replaceChildren(...(fresh.querySelector("main") ?? fresh.body).childNodes);
      drawAll(place);
    } catch {
      place.textContent = "The dashboard does not answer.";
    }
    place.removeAttribute("aria-busy");
    button.disabled = false;
  });
}

const themes = ["auto", "light", "dark"];
const button = document.getElementById("theme");
if (button) {
  const shown = () => (button.textContent = `Theme: ${localStorage.getItem("theme") ?? "auto"}`);
  button.hidden = false;
  shown();
  button.addEventListener("click", () => {
    const next = themes[(themes.indexOf(localStorage.getItem("theme") ?? "auto") + 1) % 3];
    if (next === "auto") localStorage.removeItem("theme");
    else localStorage.setItem("theme", next);
    if (next === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    shown();
    document.dispatchEvent(new Event("themed"));
  });
}

live.hidden = !parts.length;
say("connecting", false);
drawAll(document);
listen();
document.addEventListener("themed", () => drawAll(document, true));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll(document, true));
export { draw };
