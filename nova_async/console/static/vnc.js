import RFB from "./vendor/novnc-1.7.0/core/rfb.js";
import { keysOf, pause } from "./keyboard.js";
import { buttons, on, show, socketAt, watch } from "./page.js";

const SHIFT = 0xffe1;
const SYMBOLS = { "\n": 0xff0d, "\t": 0xff09 };  // of X11; the others are their characters' numbers

const path = new URLSearchParams(location.search).get("path") ?? "";
const socket = new WebSocket(socketAt(path), ["binary"]);
watch(socket);
const rfb = new RFB(document.getElementById("screen"), socket);
rfb.scaleViewport = true;
rfb.background = "transparent";
const focus = () => rfb.focus();

rfb.addEventListener("connect", () => { show("open", "Connected"); focus(); });
rfb.addEventListener("securityfailure", () => show("closed", "The server does not show its screen."));
rfb.addEventListener("desktopname", (event) => {
  document.getElementById("name").textContent = event.detail.name;
  document.title = `${event.detail.name} – noVNC`;
});
rfb.addEventListener("clipboard", (event) => { document.getElementById("text").value = event.detail.text; });

async function type(text) {
  for (const { letter, shift } of keysOf(text)) {
    if (shift) rfb.sendKey(SHIFT, "ShiftLeft", true);
    rfb.sendKey(SYMBOLS[letter] ?? letter.charCodeAt(0), null);
    if (shift) rfb.sendKey(SHIFT, "ShiftLeft", false);
    await pause();
  }
}

buttons({ type, focus });
on("text-copy", () => { rfb.clipboardPasteFrom(document.getElementById("text").value); focus(); });
on("ctrl-alt-del", () => { rfb.sendCtrlAltDel(); focus(); });
