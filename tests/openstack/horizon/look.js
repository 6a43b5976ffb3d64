// Log in to Horizon with headless Chromium and open panels: look.js URL PASSWORD FOLDER PANEL...
// Prints a JSON line for each: {panel, status, title, messages, bad}; `bad` are the answers of 400 and more that it met.
// Leaves a picture of each in FOLDER. Needs playwright-core (NODE_PATH) and Debian's chromium.
const { chromium } = require('playwright-core');
const path = require('path');

const [base, password, folder, ...panels] = process.argv.slice(2);
const MESSAGES = '.messages .alert, .toast-message, .alert-danger';

(async () => {
  const browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'],
  });
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
  page.setDefaultTimeout(180000);
  const bad = [];
  page.on('response', (answer) => { if (answer.status() >= 400) bad.push(`${answer.status()} ${answer.url()}`); });

  await page.goto(`${base}/auth/login/`);
  await page.fill('#id_username', 'admin');
  await page.fill('#id_password', password);
  if (await page.$('#id_domain')) await page.fill('#id_domain', 'default');
  await Promise.all([page.waitForURL((url) => !url.pathname.startsWith('/auth/')), page.click('#loginBtn')]);

  for (const panel of panels) {
    bad.length = 0;
    const answer = await page.goto(`${base}/${panel}`, { waitUntil: 'networkidle' });
    const messages = await page.$$eval(MESSAGES, (found) => found.map((one) => one.innerText.replace(/\s+/g, ' ').trim()));
    console.log(JSON.stringify({ panel, status: answer.status(), title: await page.title(), messages, bad: [...bad] }));
    await page.screenshot({ path: path.join(folder, `${panel.replace(/\W+/g, '-').replace(/-$/, '')}.png`) });
  }
  await browser.close();
})().catch((error) => { console.error(String(error)); process.exit(1); });
