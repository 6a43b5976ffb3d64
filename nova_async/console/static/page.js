// What the pages share: where the WebSocket is, how it goes, and the buttons.

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

const REFUSED = "Refused. The address of a console serves for a short time, and only while the server runs as it did; ask for a new one.";
const BROKEN = "The connection broke.";
const LASTING = 1;

/** Show how a WebSocket goes: refused is one that never opened, and what ends one is its own word. */
export function watch(socket) {
  let opened = socket.readyState === LASTING;
  socket.addEventListener("open", () => { opened = true; });
  socket.addEventListener("close", (event) => {
    show("closed", opened ? `Disconnected. ${event.reason || BROKEN}` : REFUSED);
  });
}

/** `state`: open or closed. What was closed first stays. */
export function show(state, text) {
  const status = document.getElementById("status");
  if (status.dataset.state === "closed") return;
  status.dataset.state = state;
  status.textContent = text;
  for (const button of document.querySelectorAll("#text-open, #text-type, #text-copy, #ctrl-alt-del")) {
    button.disabled = state !== "open";
  }
}

/** The buttons that every page has; `type` is given the words of the text field, `focus` takes the keyboard back. */
export function buttons({ type, focus }) {
  const panel = document.getElementById("text-panel");
  const text = document.getElementById("text");
  on("text-open", () => {
    panel.hidden = !panel.hidden;
    (panel.hidden ? focus : () => text.focus())();
  });
  on("text-type", () => { type(text.value); focus(); });
  on("full-screen", async () => {
    if (document.fullscreenElement) await document.exitFullscreen();
    else await document.documentElement.requestFullscreen();
    focus();
  });
}

export function on(button, act) {
  document.getElementById(button).addEventListener("click", act);
}
