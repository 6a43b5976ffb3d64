// SPICE, and text of the clipboards of both sides, where the guest has an agent (spice-vdagent; the protocol's "clipboard by demand").

import { Constants } from "./vendor/spice-html5-0.3.0/enums.js";
import { SpiceMainConn } from "./vendor/spice-html5-0.3.0/main.js";
import { VDAgentAnnounceCapabilities } from "./vendor/spice-html5-0.3.0/spicemsg.js";

const HEADER = 20, TYPE_AT = 4, SIZE_AT = 16;  // bytes of a message of the agent's
const MOST = 1 << 20;  // bytes of a message that is looked at
const NOTHING = 0, TEXT = 1;  // kinds of what is in a clipboard
const CAPABILITIES = [
  Constants.VD_AGENT_CAP_MOUSE_STATE,
  Constants.VD_AGENT_CAP_MONITORS_CONFIG,
  Constants.VD_AGENT_CAP_REPLY,
  Constants.VD_AGENT_CAP_CLIPBOARD_BY_DEMAND,
].reduce((bits, place) => bits | (1 << place), 0);

/** A message's body as the library wants it: numbers of 32 bits, then bytes. */
class Body {
  constructor(numbers, bytes = new Uint8Array()) {
    Object.assign(this, { numbers, bytes });
  }

  buffer_size() { return 4 * this.numbers.length + this.bytes.length; }

  to_buffer(buffer, at) {
    const view = new DataView(buffer);
    this.numbers.forEach((number, place) => view.setUint32(at + 4 * place, number, true));
    new Uint8Array(buffer).set(this.bytes, at + 4 * this.numbers.length);
  }
}

/** The library's connection; `oncopied` is given what the guest has copied. */
export class SharingConnection extends SpiceMainConn {
  rest = new Uint8Array();
  passed = 0;  // bytes still to come of a message that is too large
  offered = "";
  oncopied = () => {};

  /** Let the guest paste a text. */
  offer(text) {
    this.offered = text;
    this.send_agent_message(Constants.VD_AGENT_CLIPBOARD_GRAB, new Body([TEXT]));
  }

  announce_agent_capabilities(request) {
    const told = new VDAgentAnnounceCapabilities(request, CAPABILITIES);
    this.send_agent_message(Constants.VD_AGENT_ANNOUNCE_CAPABILITIES, told);
  }

  process_channel_message(message) {
    if (message.type !== Constants.SPICE_MSG_MAIN_AGENT_DATA) return super.process_channel_message(message);
    for (const whole of this.whole(new Uint8Array(message.data))) this.hear(whole);
    return true;
  }

  /** The agent's messages that are complete with these bytes. */
  * whole(bytes) {
    const late = Math.min(this.passed, bytes.length);
    this.passed -= late;
    let rest = new Uint8Array(this.rest.length + bytes.length - late);
    rest.set(this.rest);
    rest.set(bytes.subarray(late), this.rest.length);
    while (rest.length >= HEADER) {
      const size = HEADER + new DataView(rest.buffer).getUint32(SIZE_AT, true);
      if (size > MOST) {
        this.passed = Math.max(0, size - rest.length);
        rest = rest.slice(size);
      } else if (rest.length < size) break;
      else {
        yield rest.slice(0, size);
        rest = rest.slice(size);
      }
    }
    this.rest = rest;
  }

  hear(whole) {
    const view = new DataView(whole.buffer);
    const type = view.getUint32(TYPE_AT, true);
    const numbers = Array.from({ length: (whole.length - HEADER) >> 2 }, (_, place) => view.getUint32(HEADER + 4 * place, true));
    switch (type) {
      case Constants.VD_AGENT_CLIPBOARD_GRAB:
        if (numbers.includes(TEXT)) this.send_agent_message(Constants.VD_AGENT_CLIPBOARD_REQUEST, new Body([TEXT]));
        break;
      case Constants.VD_AGENT_CLIPBOARD_REQUEST: {
        const words = numbers[0] === TEXT ? new TextEncoder().encode(this.offered) : new Uint8Array();
        this.send_agent_message(Constants.VD_AGENT_CLIPBOARD, new Body([words.length ? TEXT : NOTHING], words));
        break;
      }
      case Constants.VD_AGENT_CLIPBOARD:
        if (numbers[0] === TEXT) this.oncopied(new TextDecoder().decode(whole.subarray(HEADER + 4)));
        break;
      case Constants.VD_AGENT_CLIPBOARD_RELEASE:
        break;
      default:
        super.process_channel_message({ type: Constants.SPICE_MSG_MAIN_AGENT_DATA, data: whole.buffer });
    }
  }
}
