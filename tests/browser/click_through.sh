#!/usr/bin/env bash
# Tests the HTML page of a sweep in a browser: both sliders, by keyboard and mouse, show the right picture.
#
#     tests/browser/click_through.sh [PAGE [SHOTS]]
#
# PAGE is a page with two axes; without it, a test writes one. SHOTS is a folder for screenshots.
# Needs Chromium, Node and playwright-core, with NODE_PATH set to its node_modules; exits with 77 without them.
set -euo pipefail
cd "$(dirname "$0")/../.."

missing() {
    echo "skipped: $1" >&2
    exit 77
}

CHROMIUM=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || missing "no Chromium"
command -v node >/dev/null || missing "no Node"
node -e 'require("playwright-core")' 2>/dev/null || missing "no playwright-core: npm install it, and set NODE_PATH"

own=$(mktemp -d)
trap 'rm -rf "$own"' EXIT
page=${1:-}
if [[ -z $page ]]; then
    page=$own/page.html
    TXT2IMG_PAGE=$page cargo test --quiet --test files -- --ignored a_page_to_click_through
fi

CHROMIUM=$CHROMIUM PROFILE=$own/profile PAGE=$(realpath "$page") SHOTS=${2:-} node - <<'JS'
const assert = require("node:assert/strict");
const { pathToFileURL } = require("node:url");
const { chromium } = require("playwright-core");

const { CHROMIUM, PROFILE, PAGE, SHOTS } = process.env;
const address = pathToFileURL(PAGE).href;

async function clickThrough(browser) {
  const page = await browser.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  page.on("request", (request) => {
    if (!/^(file|data|about):/.test(request.url())) errors.push(`fetches ${request.url()}`);
  });

  await page.goto(address);
  const sweep = await page.evaluate(() => JSON.parse(document.getElementById("sweep").textContent));
  const axes = [sweep.columns, sweep.rows];
  const sliders = [page.locator("#column"), page.locator("#row")];
  const last = axes.map((axis) => axis.values.length - 1);

  // The picture shown is the one of these values, and all that is written says so.
  async function shows(column, row) {
    const at = `column ${column}, row ${row}`;
    const values = [sweep.columns.values[column], sweep.rows.values[row]];
    const image = await page.locator("img").evaluate(async (image) => {
      await image.decode();
      return { src: image.src, alt: image.alt, width: image.clientWidth };
    });
    assert.ok(image.src === sweep.pictures[row * axes[0].values.length + column].src, `another picture at ${at}`);
    assert.ok(image.width > 100, `the picture is ${image.width} pixels wide`);
    for (const [i, slider] of sliders.entries()) {
      const said = `${axes[i].name} = ${values[i]}`;
      assert.equal(await page.locator("output").nth(i).textContent(), values[i], at);
      assert.equal(await slider.getAttribute("aria-valuetext"), said, at);
      assert.ok(image.alt.includes(said), `"${image.alt}" does not say ${said}`);
    }
    await page.waitForFunction((hash) => location.hash === hash, `#${column + 1},${row + 1}`);
  }

  async function press(...keys) {
    for (const key of keys) await page.keyboard.press(key);
  }

  // At the end of the slider, at its start or in between.
  async function click(slider, part) {
    const box = await slider.boundingBox();
    await page.mouse.click(box.x + 2 + (box.width - 4) * part, box.y + box.height / 2);
  }

  assert.equal(await page.title(), sweep.title.replace(/\s+/g, " ").trim(), "the title is the prompt, as text");
  assert.equal(await page.locator("h1").textContent(), sweep.title);

  await shows(0, 0);
  // The keys work anywhere, and stop at the ends.
  await press("ArrowRight");
  await shows(1, 0);
  await press("ArrowUp");
  await shows(1, 1);
  await press("ArrowLeft", "ArrowLeft", "ArrowDown", "ArrowDown");
  await shows(0, 0);
  // Other keys, and keys with others held, are the browser's.
  await press("Control+ArrowRight", "PageDown", "a");
  await shows(0, 0);

  // Each slider by itself.
  await press("Tab");
  assert.ok(await sliders[0].evaluate((slider) => slider === document.activeElement));
  await press("End");
  await shows(last[0], 0);
  await press("ArrowLeft", "ArrowUp");
  await shows(last[0] - 1, 1);
  await press("Tab", "ArrowLeft");
  await shows(last[0] - 1, 0);
  await press("ArrowRight", "ArrowDown", "End");
  await shows(last[0] - 1, last[1]);

  await click(sliders[0], 0);
  await shows(0, last[1]);
  await click(sliders[1], 0);
  await shows(0, 0);
  await click(sliders[0], 1);
  await click(sliders[1], 1);
  await shows(last[0], last[1]);
  const { x, y, width, height } = await sliders[0].boundingBox();
  await page.mouse.move(x + width - 8, y + height / 2);
  await page.mouse.down();
  await page.mouse.move(x + 8, y + height / 2, { steps: 30 });
  await page.mouse.up();
  await shows(0, last[1]);

  // A place can be linked to, before and after the page is there; a wrong one leads to the nearest.
  await page.goto(`${address}#2,1`);
  await shows(1, 0);
  await page.goto("about:blank");
  await page.goto(`${address}#2,2`);
  await shows(1, 1);
  await page.evaluate(() => { location.hash = "#999,-5"; });
  await shows(last[0], 0);
  await page.evaluate(() => { location.hash = "#what"; });
  await shows(0, 0);

  assert.deepEqual(errors, []);
  await page.close();
}

// At desktop and phone width, light and dark, nothing sticks out.
async function look(browser) {
  for (const [device, width, height] of [["desktop", 1280, 800], ["phone", 390, 844]]) {
    for (const colorScheme of ["light", "dark"]) {
      const page = await browser.newPage();
      await page.setViewportSize({ width, height });
      await page.emulateMedia({ colorScheme });
      await page.goto(`${address}#3,2`);
      await page.locator("img").evaluate((image) => image.decode());
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(wide <= width, `the page is ${wide} pixels wide on a ${device}`);
      if (SHOTS) await page.screenshot({ path: `${SHOTS}/${device}-${colorScheme}.png` });
      await page.close();
    }
  }
}

(async () => {
  const quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
                 "--disable-component-update", "--disable-sync"];
  const browser = await chromium.launchPersistentContext(PROFILE, { executablePath: CHROMIUM, headless: true, args: quiet });
  try {
    await clickThrough(browser);
    await look(browser);
    console.log("the page shows what its sliders say");
  } finally {
    await browser.close();
  }
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
JS
