"""The one script of our pages. Everything works without it; with it pages refresh themselves.

It asks for the page it stands on and replaces the parts that differ. On a curtain an answer without our mark
means that the application is live: then the page is loaded anew. 502 to 504 without it come from the load
balancer between two tasks, and only count when they persist. Focus, opened lines and what is typed are kept.
A double click sends a form once.
"""

from __future__ import annotations

SCRIPT = """(() => {
"use strict";
const MARK = "X-Qa-Env", SLOWEST = 60000, TYPING = 250, PATIENCE = 5;
const body = document.body;
const byId = (id) => document.getElementById(id);
const main = () => byId("main");
let timer = 0, typing = 0, misses = 0, question = null;

document.documentElement.classList.add("scripted");

const setText = (element, text) => { if (element.textContent !== text) element.textContent = text; };
const interval = () => Number(main().dataset.refresh || 0) * 1000;

function plan(wait) {
  clearTimeout(timer);
  if (wait && !document.hidden) timer = setTimeout(look, wait);
}

function lost(wait) {
  misses += 1;
  setText(byId("lost"), body.dataset.lost);
  body.classList.add("is-lost");
  main().removeAttribute("aria-busy");
  plan(wait || Math.min(SLOWEST, interval() * 2 ** Math.min(misses, 5)));
}

function found() {
  misses = 0;
  setText(byId("lost"), "");
  body.classList.remove("is-lost");
  main().removeAttribute("aria-busy");
  plan(interval());
}

function focusPlace() {
  const active = document.activeElement, holder = active && active.closest("main [id]");
  if (!holder || active === holder) return active && active.id ? () => byId(active.id) : null;
  const inside = (element) => [...element.querySelectorAll("a, button, summary, [tabindex]")];
  const id = holder.id, place = inside(holder).indexOf(active);
  return () => byId(id) && inside(byId(id))[place];
}

function replace(old, fresh) {
  if (old.innerHTML === fresh.innerHTML) return;
  const back = old.contains(document.activeElement) ? focusPlace() : null;
  const open = [...old.querySelectorAll("details[open][id]")].map((one) => one.id);
  old.replaceChildren(...fresh.childNodes);
  open.forEach((id) => { if (byId(id)) byId(id).open = true; });
  const again = back && back();
  if (again) again.focus({ preventScroll: true });
}

function show(text) {
  const fresh = new DOMParser().parseFromString(text, "text/html"), next = fresh.getElementById("main");
  if (!next) return;
  const same = next.dataset.page === main().dataset.page;
  const parts = (root) => [...root.querySelectorAll("[data-part]")];
  const names = (root) => parts(root).map((one) => one.dataset.part).join();
  if (same && names(next) === names(main())) {
    const olds = parts(main());
    parts(next).forEach((one, place) => replace(olds[place], one));
  } else {
    replace(main(), next);
    main().dataset.page = next.dataset.page;
    body.className = fresh.body.className;
  }
  if (next.dataset.refresh) main().dataset.refresh = next.dataset.refresh;
  else delete main().dataset.refresh;
  if (document.title !== fresh.title) document.title = fresh.title;
}

async function look() {
  if (question) question.abort();
  const mine = question = new AbortController();
  try {
    const headers = { Accept: "text/html", [MARK]: "refresh" };
    const options = { headers, cache: "no-store", redirect: "manual", signal: mine.signal };
    const answer = await fetch(location.href.split("#")[0], options);
    const mark = answer.headers.get(MARK);
    if (!mark) return strange(answer);
    if (mark === "error") return lost();
    const text = await answer.text();
    if (mine !== question) return;
    show(text);
    found();
  } catch (error) {
    if (mine === question && error.name !== "AbortError") lost();
  }
}

function strange(answer) {
  const waits = ["curtain", "error"].includes(main().dataset.page);
  const between = [502, 503, 504].includes(answer.status) && misses < PATIENCE;
  if (waits && !between) location.reload();
  else lost(interval());
}

function ask() {
  clearTimeout(typing);
  const form = byId("filter"), asked = new URLSearchParams();
  new FormData(form).forEach((value, name) => {
    if (value && !(name === "sort" && value === "age")) asked.set(name, value);
  });
  const query = asked.toString();
  history.replaceState(null, "", location.pathname + (query ? "?" + query : ""));
  main().setAttribute("aria-busy", "true");
  look();
}

function select(element) {
  const range = document.createRange();
  range.selectNodeContents(element);
  getSelection().removeAllRanges();
  getSelection().addRange(range);
}

async function copy(button) {
  const thing = button.previousElementSibling, text = thing.href || thing.textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const held = document.createElement("span");
    held.textContent = text;
    held.className = "hidden";
    body.append(held);
    select(held);
    const copied = document.execCommand("copy");
    held.remove();
    if (!copied) return select(thing);
  }
  setText(byId("spoken"), "");
  setText(byId("spoken"), body.dataset.copied);
  button.classList.add("is-copied");
  setTimeout(() => button.classList.remove("is-copied"), 1500);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest(".copy");
  if (button) copy(button);
});
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.id === "filter") {
    event.preventDefault();
    ask();
  } else if (form.dataset.sent) event.preventDefault();
  else form.dataset.sent = "yes";
});
addEventListener("pageshow", () => {
  document.querySelectorAll("form[data-sent]").forEach((form) => { delete form.dataset.sent; });
});
document.addEventListener("input", (event) => {
  if (!event.target.closest("#filter")) return;
  clearTimeout(typing);
  typing = setTimeout(ask, event.target.id === "q" ? TYPING : 0);
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && interval()) look();
  else clearTimeout(timer);
});
plan(interval());
})();"""
