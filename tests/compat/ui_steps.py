"""What people do on the page of `/ui/`, in a real browser: they log in, look for something, and time how long they saw nothing."""

from __future__ import annotations

from collections.abc import Mapping

from tests.compat.browser import Browser

# Waits for an element with such a text; gives the page's text, or what is there in its place.
SEE = """async (selector, text) => {
    for (let tries = 0; tries < 600; tries += 1) {
        const found = [...document.querySelectorAll(selector)].find((one) => one.textContent.includes(text) || one.className?.includes?.(text));
        if (found) return "seen";
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return `no ${selector} with ${text}: ${document.body.innerText}`;
}"""
FILL = """async (fields) => {
    for (const [name, value] of Object.entries(fields)) document.querySelector(`[name=${name}]`).value = value;
    document.querySelector("form.login button").click();
}"""
# Milliseconds from the navigation to the first paint with content in it, and to the largest of all so far. Source: W3C, Paint Timing and Largest Contentful Paint.
PAINTS = """async () => {
    const largest = new Promise((resolve) => {
        new PerformanceObserver((list) => resolve(list.getEntries().at(-1).startTime)).observe({ type: "largest-contentful-paint", buffered: true });
    });
    const [first] = performance.getEntriesByName("first-contentful-paint");
    return [first.startTime, await largest];
}"""


def see(window: Browser, selector: str, text: str = "") -> None:
    """Wait for an element with a text, or of such a class."""
    assert window.call(SEE, selector, text) == "seen"


def log_in(window: Browser, url: str, who: Mapping[str, str], path: str = "/ui/") -> None:
    """Open a view of the page, and log in where it asks for that. who: as a low has it."""
    window.leave()
    window.devtools("Network.clearBrowserCookies")
    window.open(f"{url}{path}")
    see(window, "form.login")
    window.call(FILL, {name: who[name] for name in ("username", "password", "eauth")})
    see(window, "#who", who["username"])


def paints(window: Browser, url: str, there: str) -> tuple[float, float]:
    """Open a page as somebody who never saw it; return the milliseconds to its first paint, and to the largest until the element *there* is."""
    window.devtools("Network.clearBrowserCache")
    window.open(url)
    see(window, there)
    first, largest = window.call(PAINTS)
    return first, largest
