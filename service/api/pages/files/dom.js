// Makes elements, and writes times and numbers. What comes from minions only ever becomes text.

export const PREFIX = document.querySelector("meta[name=prefix]").content;

// el("a", {href: "/x", class: "y", onclick: f}, "text", another): an element with attributes, listeners and children.
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

// An element of SVG.
export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

export function moment(text) {
  return el("time", { datetime: text, title: text }, new Date(text).toLocaleString());
}

export function duration(seconds) {
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min ${Math.round(seconds % 60)} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

// For who listens instead of looking.
export function say(text) {
  document.getElementById("said").textContent = text;
}

export function badge(status) {
  return el("span", { class: `badge ${status}` }, status.replaceAll("_", " "));
}

// Words for people out of what a request holds: functions and targets may be lists.
export function words(value) {
  return value === null || value === undefined ? "" : Array.isArray(value) ? value.join(", ") : String(value);
}
