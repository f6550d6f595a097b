// Uses the page as people do, in a browser, and tells what it showed.
//
//   node drive.mjs BROWSER URL FOLDER
//
// FOLDER has the inputs: photographs, texts.json with landmarks by name, camera.mjpeg. Files that
// the page has saved and pictures of it go there; what it said is printed, as JSON.

import fs from "node:fs";
import path from "node:path";
import { chromium } from "playwright-core";

const [browserPath, url, folder] = process.argv.slice(2);
const input = name => path.join(folder, name);
const texts = JSON.parse(fs.readFileSync(input("texts.json"), "utf8"));
const seen = { requests: [], errors: [], blocked: [] };

function launch(...more) {
  return chromium.launch({
    executablePath: browserPath, timeout: 20_000,
    args: ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync", "--use-angle=swiftshader",
      "--enable-unsafe-swiftshader", ...more],
  });
}

async function open(browser, options = {}, script = undefined) {
  const context = await browser.newContext({ acceptDownloads: true, ...options });
  if (script) await context.addInitScript(script);
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  page.on("request", request => seen.requests.push(request.url()));
  page.on("pageerror", error => seen.errors.push(String(error)));
  page.on("console", message => message.type() === "error" && seen.errors.push(message.text()));
  await page.goto(url);
  await page.waitForFunction(() => document.body.dataset.loaded, null, { timeout: 60_000 });
  return page;
}

/** Does something, waits until the page says something else, and reads it. */
async function after(page, act) {
  const box = page.locator("#message");
  await box.evaluate(element => { element.textContent = ""; });
  await act();
  await page.waitForFunction(() => {
    const text = document.querySelector("#message").textContent;
    return text && !/^Looking/.test(text);
  });
  return {
    message: await box.textContent(), isError: await box.evaluate(e => e.className === "error"),
    verdict: await page.locator("#verdict").isVisible() ?
      await page.locator("#verdict").textContent() : null,
    numbers: await page.locator("dd").allTextContents(),
    canSave: await page.locator("[data-save=json]").isEnabled(),
  };
}

async function saved(page, as, ...more) {
  for (const kind of ["json", ...more]) {
    const [download] = await Promise.all([
      page.waitForEvent("download"), page.click(`[data-save=${kind}]`)]);
    await download.saveAs(input(`${as}.${kind}`));
    (seen.names ??= []).push(download.suggestedFilename());
  }
}

const choose = (page, ...names) => after(page,
  () => page.setInputFiles("#file", names.map(input)));
const paste = (page, text) => after(page, async () => {
  await page.evaluate(() => { document.querySelector("#pasted").open = true; });
  await page.fill("#text", text);
  await page.click("#lift");
});
const picture = (page, selector, name) => page.locator(selector).screenshot({ path: input(name) });

async function ordinary(browser) {
  const page = await open(browser, { viewport: { width: 1280, height: 800 } });
  await page.evaluate(() => addEventListener("securitypolicyviolation",
    event => (globalThis.blocked ??= []).push(event.effectiveDirective)));
  seen.ready = await page.textContent("#message");
  seen.loaded = await page.locator("#loaded tbody tr").allInnerTexts();
  await page.context().setOffline(true); // from here on
  seen.camera = await after(page, () => page.click("#camera"));
  seen.hopper = await choose(page, "hopper.jpg");
  await saved(page, "hopper", "obj");
  await page.click("[data-view=front]");
  await picture(page, "#view", "front.png");
  await page.focus("#view");
  for (let i = 0; i < 5; i++) await page.keyboard.press("ArrowRight");
  await picture(page, "#view", "turned.png");
  await page.click("[data-view=side]");
  await picture(page, "#view", "side.png");
  await page.uncheck("#uncertainty");
  await picture(page, "#view", "bare.png");
  await page.check("#uncertainty");
  await page.uncheck("#jaw");
  seen.collins = await choose(page, "collins.jpg");
  await saved(page, "collins");
  seen.broken = await choose(page, "broken.jpg");
  seen.blank = await choose(page, "blank.png");
  seen.two = await choose(page, "two.png");
  seen.second = await after(page, async () => {
    await page.selectOption("#face", "1");
    // It says nothing new: the numbers are what changes.
    await page.waitForFunction(n => document.querySelector("#yaw").textContent !== n,
      seen.two.numbers[0]);
    await page.evaluate(() => { document.querySelector("#message").textContent = "done"; });
  });
  await saved(page, "second");
  seen.dropped = await after(page, async () => {
    const data = await page.evaluateHandle(text => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([text], "dropped.pts"));
      return transfer;
    }, fs.readFileSync(input("collins.pts"), "utf8"));
    await page.dispatchEvent("body", "drop", { dataTransfer: data });
  });
  await saved(page, "dropped");
  seen.pasted = {};
  for (const [name, text] of Object.entries(texts)) {
    seen.pasted[name] = await paste(page, text);
    if (name === "placed") await picture(page, "#picture", "picture.png");
    if (!seen.pasted[name].isError) await saved(page, `pasted_${name}`);
  }
  seen.smuggled = await page.evaluate(() => fetch("https://example.org/").then(
    () => "sent", () => "kept")); // by the policy; that it is offline would not be reported
  seen.blocked = await page.evaluate(() => globalThis.blocked ?? []);
  await page.context().close();
}

/** Whether all is in one column, and what sticks out, is too small for a finger or has no name. */
async function layout(page) {
  const [first, second] = await Promise.all(
    [0, 1].map(i => page.locator(".panel").nth(i).boundingBox()));
  return {
    column: first.x === second.x && second.y > first.y + first.height - 1,
    wide: await page.evaluate(() => document.documentElement.scrollWidth),
    small: await page.evaluate(() => [...document.querySelectorAll(
      "button, select, summary, .row label")]
      .filter(e => e.offsetHeight && e.offsetHeight < 36).map(e => e.textContent)),
    nameless: await page.evaluate(() => [...document.querySelectorAll("button, input, select, " +
      "textarea, canvas")].filter(e => e.offsetHeight && !(e.ariaLabel || e.labels?.length ||
      e.textContent.trim())).map(e => e.outerHTML)),
  };
}

/** Draws a finger over the 3D face. */
async function swipe(page) {
  await page.locator("#view").scrollIntoViewIfNeeded();
  const { x, y, width, height } = await page.locator("#view").boundingBox();
  const devtools = await page.context().newCDPSession(page);
  const touch = (type, at) => devtools.send("Input.dispatchTouchEvent", { type,
    touchPoints: at === null ? [] : [{ x: x + at * width, y: y + height / 2 }] });
  await touch("touchStart", 0.3);
  for (const at of [0.4, 0.5, 0.6]) await touch("touchMove", at);
  await touch("touchEnd", null);
}

async function withoutWebGL(browser) {
  const page = await open(browser, {}, () => {
    const original = HTMLCanvasElement.prototype.getContext;
    HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
      return /webgl/.test(kind) ? null : original.call(this, kind, ...rest);
    };
  });
  await page.context().setOffline(true);
  seen.flatReady = await page.textContent("#message");
  seen.flat = await paste(page, texts.placed);
  await saved(page, "flat", "obj");
  seen.flatLines = await page.locator("#flat line").count();
  seen.flatPhotograph = await choose(page, "hopper.jpg");
  await page.context().close();
}

async function phone(browser) {
  const page = await open(browser, { permissions: ["camera"], isMobile: true, hasTouch: true,
    viewport: { width: 390, height: 844 } });
  await page.context().setOffline(true);
  seen.filming = await after(page, () => page.tap("#camera"));
  await page.waitForFunction(() => document.querySelector("#yaw").textContent.length > 1);
  await page.tap("#camera");
  seen.stopped = await page.textContent("#camera");
  await saved(page, "camera");
  seen.layout = await layout(page);
  await picture(page, "#view", "still.png");
  await swipe(page);
  await picture(page, "#view", "swiped.png");
  await page.context().close();
}

async function use(act, ...flags) {
  const browser = await launch(...flags);
  try {
    for (const step of act) await step(browser);
  } finally {
    await browser.close();
  }
}

await use([ordinary, withoutWebGL]);
await use([phone], "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
  `--use-file-for-fake-video-capture=${input("camera.mjpeg")}`);
console.log(JSON.stringify(seen));
