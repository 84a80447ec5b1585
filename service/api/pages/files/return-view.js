// What one minion returned: its states with their durations and changes, or the value as it is.

import { ask } from "./api.js";
import { badge, duration, el } from "./dom.js";

const MOST_STATES = 2000;

// live: makes a list of the states that are told of while the minion has not returned.
export async function returnView(jid, minion, live) {
  const part = await ask("GET", `/v1/jobs/${jid}/minions/${encodeURIComponent(minion)}`);
  const why = part.reason ?? part.why;
  const head = [el("h2", {}, minion), badge(part.status), why ? ` ${why.replaceAll("_", " ")}` : "", part.unverified ? " (from the job cache)" : ""];
  return el("article", { class: "return", "aria-label": `Return of ${minion}` }, el("div", { class: "line" }, head), ...body(part, () => live(minion)));
}

function body(part, live) {
  if (part.omitted) return [el("p", {}, "Its return was too large to be kept.")];
  if (!("return" in part)) return [el("p", {}, "It has not returned."), live()];
  const raw = el("details", {}, el("summary", {}, "The return as it came"), el("pre", {}, JSON.stringify(part.return, null, 2)));
  const states = statesOf(part.return);
  return states ? [timeline(states), raw] : [el("pre", {}, typeof part.return === "string" ? part.return : JSON.stringify(part.return, null, 2)), raw];
}

function statesOf(returned) {
  const all = returned !== null && typeof returned === "object" && !Array.isArray(returned) ? Object.values(returned) : [];
  if (!all.length || !all.every((state) => state !== null && typeof state === "object" && "result" in state)) return null;
  return all.sort((one, other) => (one.__run_num__ ?? 0) - (other.__run_num__ ?? 0)).slice(0, MOST_STATES);
}

function timeline(states) {
  const longest = Math.max(...states.map(took), 0.001);
  return el("ol", { class: "states" }, states.map((state) => stateLine(state, longest)));
}

function took(state) {
  return typeof state.duration === "number" ? state.duration / 1000 : Number.parseFloat(state.duration) / 1000 || 0;
}

function stateLine(state, longest) {
  const changes = state.changes && Object.keys(state.changes).length ? state.changes : null;
  const word = state.result === null ? "would change" : state.result === false ? "failed" : changes ? "changed" : "ok";
  const bar = el("meter", { min: 0, max: longest, value: took(state), title: duration(took(state)), "aria-label": "Duration" });
  const title = `${state.__id__ ?? ""}: ${state.name ?? ""}`;
  const row = stateRow(word.replaceAll(" ", "_"), title, duration(took(state)), String(state.comment ?? ""), bar);
  if (changes) row.append(el("pre", { class: "diff" }, ...diff(changes)));
  return row;
}

// A state as an item of a list: how it ended, and its comment where it says more than that all is well.
export function stateRow(word, title, took, comment, bar = null) {
  const line = el("div", { class: "line" }, badge(word), el("code", {}, title), bar, el("span", { class: "took" }, took));
  return el("li", {}, line, word === "ok" ? null : el("p", {}, comment));
}

// A diff that a state made is coloured line by line; other changes are written as they are.
function diff(changes) {
  const text = typeof changes.diff === "string" ? changes.diff : JSON.stringify(changes, null, 2);
  return text.split("\n").map((line) => el("span", { class: line.startsWith("+") ? "added" : line.startsWith("-") ? "removed" : "same" }, `${line}\n`));
}
