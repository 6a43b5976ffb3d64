// Chromium under orders: one JSON object a line on standard input, {"value": ...} or {"error": ...} a line on standard output.
//
// Usage: node driver.js FOLDER-OF-NODE-MODULES CHROMIUM [FLAG-OF-CHROMIUM ...]

const path = require("node:path");
const readline = require("node:readline");
const { chromium } = require(path.join(process.argv[2], "playwright-core"));

const FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const SHIFTED = /[A-Z~!@#$%^&*()_+{}|:"<>?]/;
const WAIT = 30_000;

async function main() {
  const browser = await chromium.launch({ executablePath: process.argv[3], headless: true, args: [...FLAGS, ...process.argv.slice(4)] });
  const context = await browser.newContext({ viewport: { width: 1000, height: 620 } });
  const said = [];  // dialogs, uncaught errors, and what a page's policy did not let in
  context.on("dialog", (dialog) => { said.push(`dialog ${dialog.message()}`); dialog.dismiss(); });
  context.on("weberror", (error) => said.push(`error ${error.error().message}`));
  context.on("console", (message) => { if (/Content Security Policy/i.test(message.text())) said.push(message.text()); });
  const pages = [];

  const orders = {
    open: async ({ url }) => {
      const page = await context.newPage();
      page.setDefaultTimeout(WAIT);
      await page.goto(url);
      return pages.push(page) - 1;
    },
    type: async ({ page, text }) => {
      for (const letter of text) {  // as a person does, holding Shift where a US keyboard needs it
        if (SHIFTED.test(letter)) await pages[page].keyboard.press(`Shift+${letter}`, { delay: 30 });
        else await pages[page].keyboard.type(letter, { delay: 30 });
      }
    },
    press: ({ page, key }) => pages[page].keyboard.press(key, { delay: 40 }),
    click: ({ page, selector }) => pages[page].click(selector),
    fill: ({ page, selector, text }) => pages[page].fill(selector, text),
    wait: async ({ page, expression }) => {
      // asked again and again from here: the pages' policy lets nobody evaluate text within them
      for (const end = Date.now() + WAIT; !(await pages[page].evaluate(expression));) {
        if (Date.now() > end) throw new Error(`not so after ${WAIT} ms: ${await pages[page].innerText("header")}`);
        await pages[page].waitForTimeout(200);
      }
    },
    evaluate: ({ page, expression }) => pages[page].evaluate(expression),
    resize: ({ page, width, height }) => pages[page].setViewportSize({ width, height }),
    screenshot: async ({ page, file }) => { await pages[page].screenshot({ path: file }); },
    said: async () => said.splice(0),
    close: ({ page }) => pages[page].close(),
    clear: async () => { for (const page of context.pages()) await page.close(); },
  };
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const order = JSON.parse(line);
    let answer;
    try {
      answer = { value: (await orders[order.do](order)) ?? null };
    } catch (error) {
      answer = { error: String(error) };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
  await browser.close();
}

main().catch((error) => { console.error(error); process.exit(1); });
