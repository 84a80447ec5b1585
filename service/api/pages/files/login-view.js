// Logs in as rest_cherrypy's clients do; the token comes back as a cookie that no script can read.

import { ask } from "./api.js";
import { el, say } from "./dom.js";

// onDone(): called when the session has begun.
export function loginView(onDone) {
  const fault = el("p", { class: "fault", role: "alert" });
  const field = (name, label, attributes) => el("label", {}, label, el("input", { name, required: true, ...attributes }));
  const form = el(
    "form",
    { class: "login" },
    el("h1", {}, "Log in"),
    field("username", "User", { autocomplete: "username", autocapitalize: "none", spellcheck: "false" }),
    field("password", "Password", { type: "password", autocomplete: "current-password" }),
    field("eauth", "Known to (eauth)", { value: localStorage.getItem("eauth") ?? "pam", autocapitalize: "none", spellcheck: "false" }),
    el("button", {}, "Log in"),
    fault,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const sent = Object.fromEntries(new FormData(form));
    try {
      await ask("POST", "/login", sent);
      localStorage.setItem("eauth", sent.eauth);
      say("Logged in.");
      await onDone();
    } catch (problem) {
      fault.textContent = problem.status === 401 ? "Wrong user, password or eauth." : problem.message;
    }
  });
  return form;
}
