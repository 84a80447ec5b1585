// The page: who is there, and which view the address asks for.

import { ask } from "./api.js";
import { PREFIX, el, say } from "./dom.js";
import { helpView } from "./help-view.js";
import { jobView } from "./job-view.js";
import { jobsView } from "./jobs-view.js";
import { loginView } from "./login-view.js";
import { minionsView } from "./minions-view.js";

const VIEWS = [
  [/^\/v1\/jobs\/([0-9]+)$/, jobView],
  [/^\/ui\/minions$/, minionsView],
  [/^\/ui\/help$/, helpView],
  [/^\/ui\/?$/, jobsView],
];
const main = document.getElementById("main");

// Shows the view of the address; logs in first where that is needed.
async function show() {
  const path = location.pathname.slice(PREFIX.length);
  const [pattern, view] = VIEWS.find(([one]) => one.test(path)) ?? VIEWS.at(-1);
  markCurrent();
  try {
    const session = await ask("GET", "/v1/session");
    showWho(session);
    main.replaceChildren(await view(session, ...(path.match(pattern)?.slice(1) ?? [])));
  } catch (fault) {
    if (fault.status === 401) main.replaceChildren(loginView(show));
    else showFault(fault);
  }
  main.focus({ preventScroll: true });
}

function markCurrent() {
  for (const link of document.querySelectorAll("nav a")) {
    if (link.pathname === location.pathname) link.setAttribute("aria-current", "page");
  }
}

function showWho(session) {
  const out = el("button", { type: "button", onclick: logOut }, "Log out");
  document.getElementById("who").replaceChildren(el("span", {}, `${session.eauth}:${session.user}`), out);
}

async function logOut() {
  await ask("POST", "/logout").catch(() => {});
  document.getElementById("who").replaceChildren();
  await show();
}

function showFault(fault) {
  const again = el("button", { type: "button", onclick: show }, "Try again");
  main.replaceChildren(el("section", { class: "fault", role: "alert" }, el("h1", {}, "This did not work"), el("p", {}, fault.message), again));
  say(fault.message);
}

await show();
