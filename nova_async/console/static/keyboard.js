// A US keyboard: what has to be pressed for a character. Scan codes of set 1.

const ROWS = [
  [0x02, "1234567890-=", "!@#$%^&*()_+"],
  [0x10, "qwertyuiop[]", "QWERTYUIOP{}"],
  [0x1e, "asdfghjkl;'`", "ASDFGHJKL:\"~"],
  [0x2b, "\\zxcvbnm,./", "|ZXCVBNM<>?"],
  [0x39, " ", ""],
  [0x0f, "\t", ""],
  [0x1c, "\n", ""],
];
const KEYS = new Map();
for (const [first, plain, shifted] of ROWS) {
  [...plain].forEach((letter, place) => KEYS.set(letter, { scan: first + place, shift: false }));
  [...shifted].forEach((letter, place) => KEYS.set(letter, { scan: first + place, shift: true }));
}

/** For each character that the keyboard has: `letter`, `scan`, and whether `shift` is held. */
export function* keysOf(text) {
  for (const letter of text.replaceAll(/\r\n?/g, "\n")) {
    const key = KEYS.get(letter);
    if (key) yield { letter, ...key };
  }
}

/** How long to wait between two keys, in milliseconds: guests' keyboards keep 16 bytes, about four keys with Shift, and lose what is more. */
export const PAUSE = 50;

export const pause = () => new Promise((go) => { setTimeout(go, PAUSE); });
