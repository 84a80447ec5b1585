// The states of a job as its minions tell of them, one by one: of the minion that is looked at all are shown, of the others the last one.

import { duration, el } from "./dom.js";
import { stateRow } from "./return-view.js";

const MOST_STATES = 1000;

export class LiveStates {
  constructor() {
    this.told = new Map();
    this.rows = null;
    this.minion = null;
    this.last = null;
    this.element = el("p", { class: "latest" });
  }

  // event: of a state that has ended.
  add(event) {
    const known = this.told.get(event.minion) ?? [];
    if (known.length < MOST_STATES) known.push(event);
    this.told.set(event.minion, known);
    this.last = event;
    this.soon();
  }

  // A list of what a minion has told, which grows from now on.
  of(minion) {
    this.minion = minion;
    this.rows = el("ol", { class: "states", "aria-label": `States of ${minion} so far` });
    this.draw();
    return this.rows;
  }

  // What a minion has returned says more.
  forget(minion) {
    this.told.delete(minion);
  }

  // Once in a frame, however much has happened.
  soon() {
    this.waiting ??= requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.waiting = null;
    if (this.last) this.element.textContent = `${this.last.minion}: ${place(this.last)}, ${wordOf(this.last).replaceAll("_", " ")}: ${titleOf(this.last)}`;
    const known = this.told.get(this.minion) ?? [];
    this.rows?.append(...known.slice(this.rows.childElementCount).map(row));
  }
}

function place(told) {
  return told.of ? `state ${told.number + 1} of ${told.of}` : `state ${told.number + 1}`;
}

function wordOf(told) {
  return told.result === "unchanged" ? "ok" : told.result;
}

function titleOf(told) {
  return [...new Set([told.id, told.name].filter(Boolean))].join(": ");
}

function row(told) {
  return stateRow(wordOf(told), titleOf(told), told.seconds === undefined ? "" : duration(told.seconds), told.comment ?? "");
}
