import { Terminal } from "./vendor/xterm-6.0.0/xterm.mjs";
import { FitAddon } from "./vendor/xterm-6.0.0/addon-fit.mjs";
import { buttons, show, socketBeside, watch } from "./page.js";

// The terminal makes style elements, which the page's policy lets in by the page's nonce only.
const nonce = document.getElementById("nonce").content;
const make = document.createElement.bind(document);
document.createElement = (name, options) => {
  const element = make(name, options);
  if (name === "style") element.nonce = nonce;
  return element;
};

const terminal = new Terminal({ cursorBlink: true, scrollback: 5000 });
const fit = new FitAddon();
terminal.loadAddon(fit);
terminal.open(document.getElementById("terminal"));
fit.fit();
new ResizeObserver(() => fit.fit()).observe(document.getElementById("terminal"));

const socket = new WebSocket(socketBeside(), ["binary"]);
socket.binaryType = "arraybuffer";
watch(socket);
const words = new TextEncoder();
socket.addEventListener("open", () => { show("open", "Connected. Press Enter where nothing is shown."); terminal.focus(); });
socket.addEventListener("message", (event) => terminal.write(new Uint8Array(event.data)));
const send = (data) => { if (socket.readyState === WebSocket.OPEN) socket.send(data); };
terminal.onData((text) => send(words.encode(text)));
terminal.onBinary((text) => send(Uint8Array.from(text, (letter) => letter.charCodeAt(0))));
buttons({ type: (text) => terminal.paste(text), focus: () => terminal.focus() });
