import RFB from "./vendor/novnc-1.7.0/core/rfb.js";
import { CLOSED, show, socketAt } from "./page.js";

const path = new URLSearchParams(location.search).get("path") ?? "";
const rfb = new RFB(document.getElementById("screen"), socketAt(path), { wsProtocols: ["binary"] });
rfb.scaleViewport = true;
rfb.addEventListener("connect", () => { show("open", "Connected"); rfb.focus(); });
rfb.addEventListener("disconnect", () => show("closed", CLOSED));
rfb.addEventListener("securityfailure", () => show("closed", "The server does not show its screen."));
rfb.addEventListener("desktopname", (event) => { document.getElementById("name").textContent = event.detail.name; });
document.getElementById("ctrl-alt-del").addEventListener("click", () => { rfb.sendCtrlAltDel(); rfb.focus(); });
