// What the pages share: where the WebSocket is, and how it goes.

/** The address of a WebSocket on this page's own origin: `path` from its root on, whatever else is in it. */
export function socketAt(path) {
  const url = new URL(location.origin);
  const [, folder, query] = /^[/\\]*([^?#]*)(\?[^#]*)?/.exec(path);
  url.pathname = `/${folder}`;
  url.search = query ?? "";
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}

/** The same for a page whose token is in its own address. */
export function socketBeside() {
  const token = new URLSearchParams(location.search).get("token") ?? "";
  const folder = location.pathname.slice(0, location.pathname.lastIndexOf("/") + 1);
  return socketAt(`${folder}?token=${encodeURIComponent(token)}`);
}

export function show(state, text) {
  const status = document.getElementById("status");
  status.dataset.state = state;
  status.textContent = text;
}

export const CLOSED = "Disconnected. The address of a console serves for a short time; ask for a new one.";
