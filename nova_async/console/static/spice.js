import { SpiceMainConn, sendCtrlAltDel } from "./vendor/spice-html5-0.3.0/main.js";
import { CLOSED, show, socketBeside } from "./page.js";

const connection = new SpiceMainConn({
  uri: socketBeside(),
  screen_id: "screen",
  dump_id: "dumps",
  message_id: "messages",
  password: "",
  onsuccess: () => show("open", "Connected"),
  onerror: () => { connection.stop(); show("closed", CLOSED); },
});
document.getElementById("ctrl-alt-del").addEventListener("click", () => sendCtrlAltDel(connection));
