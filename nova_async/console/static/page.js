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

const BUSY = "The console did not open; try again.";
const AWAY = "The consoles' server does not answer.";
const BROKEN = "The connection broke.";
const LASTING = 1;
const LATER = 3000;  // milliseconds until it is known what became of a server whose console ended

/** Show how a WebSocket goes: refused is one that never opened, and what ends one is its own word. */
export function watch(socket) {
  let opened = socket.readyState === LASTING;
  socket.addEventListener("open", () => { opened = true; });
  socket.addEventListener("close", async (event) => {
    if (!opened) show("closed", `Refused. ${await why(socket.url, BUSY)}`);
    else {
      show("closed", `Disconnected. ${event.reason || BROKEN}`);
      setTimeout(async () => { document.getElementById("status").append(` ${await why(socket.url, "")}`); }, LATER);
    }
  });
}

/** Why the address of a WebSocket opens no console, and what to do, as its server says; `nothing` where it would open one. */
async function why(url, nothing) {
  try {
    const answer = await fetch(url.replace(/^ws/, "http"), { method: "POST" });
    return (await answer.text()) || nothing;
  } catch {
    return AWAY;
  }
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
