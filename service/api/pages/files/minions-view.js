// The minions whose keys the master has accepted.

import { ask } from "./api.js";
import { el, say } from "./dom.js";

export async function minionsView() {
  const list = el("ul", { class: "minions" });
  const match = el("input", { name: "match", type: "search", placeholder: "web*" });
  async function load() {
    const found = await ask("GET", `/v1/minions?match=${encodeURIComponent(match.value || "*")}`);
    list.replaceChildren(...found.minions.map((id) => el("li", {}, id)));
    say(`${found.minions.length} minions.`);
  }
  match.addEventListener("change", load);
  await load();
  return el("section", {}, el("h1", {}, "Minions"), el("form", { class: "filters", onsubmit: (event) => event.preventDefault() }, el("label", {}, "Id", match)), list);
}
