// Asks the API with the session's cookie, which only pages of this address can use.

import { PREFIX } from "./dom.js";

// What the API answered that is no success. status: HTTP's.
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail ?? body.return ?? `HTTP ${status}`);
    this.status = status;
  }
}

// ask("GET", "/v1/session"): what it answers. Throws Problem, and TypeError while nobody answers.
export async function ask(method, path, body, headers = {}) {
  const sent = { method, headers: { Accept: "application/json", ...headers }, cache: "no-store" };
  if (body !== undefined) {
    sent.body = JSON.stringify(body);
    sent.headers["Content-Type"] = "application/json";
  }
  const answer = await fetch(PREFIX + path, sent);
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Problem(answer.status, content);
  return content;
}
