import { Constants } from "./vendor/spice-html5-0.3.0/enums.js";
import { SpiceConn } from "./vendor/spice-html5-0.3.0/spiceconn.js";
import { SpiceMiniData, SpiceMsgcKeyDown } from "./vendor/spice-html5-0.3.0/spicemsg.js";
import { SharingConnection } from "./clipboard.js";
import { keysOf, pause } from "./keyboard.js";
import { buttons, on, show, socketBeside, watch } from "./page.js";

const CONTROL = 0x1d, ALT = 0x38, SHIFT = 0x2a, DELETE = 0x53, RELEASED = 0x80;  // scan codes
const TICKET_BYTES = Constants.SPICE_TICKET_KEY_PAIR_LENGTH / 8;
const LOOK = 50, LAST_WORD = 1000;  // milliseconds

// Screen, keyboard and the rest are connections of their own, which the library makes without anybody who hears of their errors.
// What ends all of them ends one first; the main one says why.
SpiceConn.prototype.onerror = (error) => {
  if (socket.readyState === WebSocket.OPEN) setTimeout(stop, LAST_WORD, error);
  else connection.stop();
};

// A ticket is as long as the server's key (I2OSP, RFC 8017). The library leaves out the zeros that one in 256 begins with: it was refused.
const sendTicket = SpiceConn.prototype.send_ticket;
SpiceConn.prototype.send_ticket = function (ticket) {
  sendTicket.call(this, [...Array(TICKET_BYTES - ticket.length).fill(0), ...ticket]);
};

function stop(error) {
  if (error instanceof Error && socket.readyState === WebSocket.OPEN) show("closed", `Disconnected. ${error.message}`);
  connection.stop();
}

const connection = new SharingConnection({
  uri: socketBeside(),
  screen_id: "screen",
  dump_id: "dumps",
  message_id: "messages",
  password: "",
  onsuccess: () => connected(),
  onagent: () => { document.getElementById("text-copy").hidden = false; },
});
connection.oncopied = (text) => { document.getElementById("text").value = text; };
const socket = connection.ws;  // the library forgets it when it stops
watch(socket);

// The library listens where the screen is; its element has to have the keyboard.
const screen = document.getElementById("screen");
const focus = () => screen.querySelector("canvas")?.focus();

/** The keyboard's channel opens after the main one; what is typed before is lost. */
function connected() {
  if (connection.inputs?.state === "ready") show("open", "Connected");
  else if (socket.readyState === WebSocket.OPEN) setTimeout(connected, LOOK);
}

function send(kind, code) {
  if (connection.inputs?.state !== "ready") return;
  const key = new SpiceMsgcKeyDown();
  key.code = code;
  const message = new SpiceMiniData();
  message.build_msg(kind, key);
  connection.inputs.send_msg(message);
}
const press = (code) => send(Constants.SPICE_MSGC_INPUTS_KEY_DOWN, code);
const release = (code) => send(Constants.SPICE_MSGC_INPUTS_KEY_UP, RELEASED | code);

function strike(...codes) {
  codes.forEach(press);
  codes.reverse().forEach(release);
}

async function type(text) {
  for (const { scan, shift } of keysOf(text)) {
    strike(...(shift ? [SHIFT, scan] : [scan]));
    await pause();
  }
}

buttons({ type, focus });
on("text-copy", () => { connection.offer(document.getElementById("text").value); focus(); });
on("ctrl-alt-del", () => { strike(CONTROL, ALT, DELETE); focus(); });
