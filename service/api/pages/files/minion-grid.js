// A grid of minions, a cell each: hundreds at a glance, and of thousands only those that can be seen are there.

import { el } from "./dom.js";

const CELL = 22;
const SPARE_ROWS = 4;

// onChoose(id): called with the minion that was chosen.
export class MinionGrid {
  constructor(onChoose) {
    this.onChoose = onChoose;
    this.statuses = new Map();
    this.ids = [];
    this.filter = "";
    this.at = 0;
    this.cells = new Map();
    this.inside = el("div", { class: "cells" });
    this.element = el("div", { class: "grid", role: "listbox", "aria-label": "Minions", tabindex: "0" }, this.inside);
    this.element.addEventListener("scroll", () => this.draw());
    this.element.addEventListener("keydown", (event) => this.move(event));
    new ResizeObserver(() => this.draw()).observe(this.element);
  }

  // statuses: of each minion, by id; only what changed is drawn again.
  set(statuses) {
    let isSorted = !this.filter;
    for (const [id, status] of Object.entries(statuses)) {
      isSorted &&= this.statuses.has(id);
      this.statuses.set(id, status);
    }
    if (isSorted) this.soon();
    else this.choose(this.filter);
  }

  choose(filter) {
    this.filter = filter;
    this.ids = [...this.statuses.keys()].filter((id) => !filter || this.statuses.get(id) === filter).sort();
    this.at = Math.min(this.at, Math.max(0, this.ids.length - 1));
    this.soon();
  }

  // Once in a frame, however much has happened.
  soon() {
    if (!this.waiting) this.waiting = requestAnimationFrame(() => this.draw());
  }

  get columns() {
    return Math.max(1, Math.floor((this.element.clientWidth - 2) / CELL));
  }

  draw() {
    this.waiting = null;
    const { columns, ids } = this;
    this.inside.style.height = `${Math.ceil(ids.length / columns) * CELL}px`;
    const first = Math.max(0, Math.floor(this.element.scrollTop / CELL) - SPARE_ROWS) * columns;
    const last = Math.min(ids.length, first + (Math.ceil(this.element.clientHeight / CELL) + 2 * SPARE_ROWS) * columns);
    const seen = new Set();
    for (let index = first; index < last; index += 1) {
      seen.add(ids[index]);
      this.place(ids[index], index, columns);
    }
    for (const [id, cell] of this.cells) {
      if (!seen.has(id)) {
        cell.remove();
        this.cells.delete(id);
      }
    }
  }

  place(id, index, columns) {
    const status = this.statuses.get(id);
    let cell = this.cells.get(id);
    if (!cell) {
      cell = el("div", { role: "option", id: `cell-${id}`, onclick: () => this.go(this.ids.indexOf(id)) });
      this.cells.set(id, cell);
      this.inside.append(cell);
    }
    const look = `cell ${status}${index === this.at ? " at" : ""}`;
    if (cell.className !== look) {
      cell.className = look;
      cell.title = `${id}: ${status.replaceAll("_", " ")}`;
      cell.setAttribute("aria-label", cell.title);
      cell.setAttribute("aria-selected", index === this.at);
    }
    cell.style.transform = `translate(${(index % columns) * CELL}px, ${Math.floor(index / columns) * CELL}px)`;
  }

  go(index) {
    if (index < 0 || index >= this.ids.length) return;
    this.at = index;
    const top = Math.floor(index / this.columns) * CELL;
    if (top < this.element.scrollTop) this.element.scrollTop = top;
    if (top + CELL > this.element.scrollTop + this.element.clientHeight) this.element.scrollTop = top + CELL - this.element.clientHeight;
    this.draw();
    this.element.setAttribute("aria-activedescendant", `cell-${this.ids[index]}`);
    this.onChoose(this.ids[index]);
  }

  move(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.columns, ArrowUp: -this.columns, Home: -this.at, End: this.ids.length - 1 - this.at, Enter: 0 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    this.go(this.at + step);
  }
}
