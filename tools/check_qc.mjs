// The page of a batch in a real browser, driven over a pipe:
//     node check_qc.mjs FOLDER_OF_NODE_MODULES CHROMIUM qc.html FOLDER_OF_RESULTS
// It loads, sorts, filters, obeys the keyboard, keeps notes over a reload and nobody else's, exports and loads CSV;
// no error on the console, no request. Writes qc.csv, screenshot.png and large.png into the folder, for batch
// --only and for eyes.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [modules, executablePath, file, folder] = process.argv.slice(2);
const { chromium } = createRequire(path.resolve(modules, "package.json"))("playwright-core");
const address = pathToFileURL(file).href;
const browser = await chromium.launch({ executablePath, chromiumSandbox: false, headless: true });
const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, acceptDownloads: true, offline: true });
const errors = [];
const requests = [];

async function open() {
  const page = await context.newPage();
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && errors.push(message.text()));
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("request", (request) => {
    if (request.url() !== address && !/^(data|blob):/.test(request.url())) requests.push(request.url());
  });
  page.on("dialog", (dialog) => dialog.accept());
  await page.goto(address);
  await page.locator("#cases tr[aria-current]").waitFor();
  return page;
}

const names = (page) => page.locator("#cases .case").allTextContents();
const selected = (page) => page.locator("tr[aria-current] .case").textContent();
const count = async (page) => Number((await page.locator("#count").textContent()).split(" ")[0]);

const begun = performance.now();
const page = await open();
const loaded = performance.now() - begun;
const report = JSON.parse(await page.locator("#report").textContent());
const all = report.cases.map((entry) => entry.case);
assert.deepEqual(await names(page), all, "a row a case, in the manifest's order");
const doubtful = report.cases.filter((entry) => entry.doubtful > 0).map((entry) => entry.case);
const failed = report.cases.filter((entry) => entry.status !== "done").map((entry) => entry.case);
assert.ok(doubtful.length > 0 && failed.length > 0 && doubtful.length + failed.length < all.length);

// Pictures are decoded near the view alone, and every one has its place before.
await page.waitForFunction(() => document.querySelector("#cases img")?.naturalWidth > 0);
const decoded = () => page.evaluate(() => [...document.querySelectorAll("#cases img")].filter((image) => image.src).length);
const pictures = report.cases.filter((entry) => entry.sheet).length;
assert.ok((await decoded()) < Math.min(pictures, 30), `${await decoded()} of ${pictures} pictures at once`);
assert.ok(await page.evaluate(() => [...document.querySelectorAll("#cases img")].every((image) => image.getAttribute("height") > 50)));
await page.screenshot({ path: path.join(folder, "screenshot.png") });

// Sorting by each column, both ways, by mouse and keys.
const value = {
  // Names are numbers of different lengths, which natural order takes as numbers.
  case: (entry) => Number(entry.case),
  volume: (entry) => entry.targets.reduce((sum, target) => sum + (target.mm3 ?? target.voxels), 0),
  doubtful: (entry) => (entry.status === "done" ? 0 : 1e9) + entry.doubtful * 1e4 + entry.warnings.length,
};
const cases = new Map(report.cases.map((entry) => [entry.case, entry]));
let redrawn = 0;
for (const [id, of] of Object.entries(value)) {
  const heads = page.locator(`th[data-column=${id}]`);
  for (let turn = 0; turn < 2; turn++) {
    redrawn = Math.max(redrawn, await page.evaluate((id) => {
      const start = performance.now();
      document.querySelector(`th[data-column=${id}] button`).click();
      document.body.getBoundingClientRect();
      return performance.now() - start;
    }, id));
    const order = (await names(page)).map((name) => of(cases.get(name)));
    const sign = (await heads.getAttribute("aria-sort")) === "ascending" ? 1 : -1;
    const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
    assert.ok(order.every((own, at) => !at || sign * compare(order[at - 1], own) <= 0), `sorted by ${id}`);
  }
}
await page.keyboard.press("s");
assert.ok(await page.locator("th[data-column=decision][aria-sort]").count(), "s goes on to the next column");

// Filters.
await page.reload();
await page.keyboard.press("d");
assert.deepEqual(await names(page), doubtful);
await page.keyboard.press("d");
await page.locator("#show button", { hasText: "No mask" }).click();
assert.deepEqual(await names(page), failed);
await page.locator("#show button", { hasText: "All" }).click();
await page.keyboard.press("/");
await page.keyboard.type(all[7]);
assert.ok((await names(page)).includes(all[7]) && (await count(page)) < all.length);
await page.locator("#search").fill("");

// Keys: decisions and a note, whose letters are no keys.
await page.keyboard.press("Escape");
await page.keyboard.press("Home");
assert.equal(await selected(page), all[0]);
await page.keyboard.press("a");
assert.equal(await selected(page), all[1], "accepted, and on to the next");
await page.keyboard.press("r");
await page.keyboard.press("j");
await page.keyboard.press("k");
assert.equal(await selected(page), all[2]);
await page.keyboard.press("r");
await page.keyboard.press("k");
await page.keyboard.press("n");
const note = '=1+1, "leaks" into the jar\nand akjr ü';
await page.keyboard.type(note);
await page.keyboard.press("Escape");
assert.equal(await selected(page), all[2], "letters of a note move nothing");
await page.keyboard.press("ArrowDown");
await page.keyboard.press("a");
await page.keyboard.press("k");
await page.keyboard.press("u");
assert.equal(await page.locator("#decided").textContent(), `3 of ${all.length} decided`);
await page.keyboard.press("Home");
await page.keyboard.press("Enter");
await page.locator("#large[open]").waitFor();
await page.waitForFunction(() => document.querySelector("#large img").naturalWidth > 0);
await page.screenshot({ path: path.join(folder, "large.png") });
await page.keyboard.press("Enter");
assert.equal(await page.locator("#large[open]").count(), 0);
await page.keyboard.press("?");
await page.locator("#keys[open]").waitFor();
await page.keyboard.press("Escape");

// A reload keeps decisions and note; what others stored in the same browser is not touched.
await page.evaluate(() => localStorage.setItem("medsegx-qc:another", "[]"));
await page.reload();
const decision = (name) => page.locator("tr", { has: page.getByText(name, { exact: true }) }).getAttribute("data-decision");
assert.deepEqual(await Promise.all(all.slice(0, 4).map(decision)), ["accept", "redo", "redo", ""]);
assert.equal(await page.locator("textarea").nth(2).inputValue(), note);
await page.keyboard.press("o");
assert.equal(await count(page), all.length - 3);
await page.keyboard.press("o");

// CSV out, forgotten, and back in.
async function exported(name) {
  const [download] = await Promise.all([page.waitForEvent("download"), page.keyboard.press("e")]);
  await download.saveAs(path.join(folder, name));
  return fs.readFileSync(path.join(folder, name), "utf8");
}
const csv = await exported("qc.csv");
assert.ok(csv.startsWith("\uFEFFcase,decision,note,mask_sha256,report\r\n") && csv.endsWith("\r\n"));
assert.ok(csv.includes(`${all[2]},redo,"'=1+1, ""leaks"" into the jar\nand akjr ü",${report.cases[2].mask},`), csv);
await page.locator("#clear").click();
assert.equal(await page.locator("#decided").textContent(), `0 of ${all.length} decided`);
assert.equal(await page.evaluate(() => Object.keys(localStorage).join()), "medsegx-qc:another");
await page.locator("#file").setInputFiles(path.join(folder, "qc.csv"));
await page.locator("#notice:not([hidden])").waitFor();
assert.equal(await exported("again.csv"), csv, "what was exported comes back");
fs.writeFileSync(path.join(folder, "other.csv"), csv.replaceAll(report.cases[0].mask, "0".repeat(64)));
await page.locator("#file").setInputFiles(path.join(folder, "other.csv"));
await page.getByText("whose mask is another now").waitFor();
assert.equal(await decision(all[0]), "", "another mask has no decision yet");

// The end of a long page comes into view with its picture.
await page.keyboard.press("End");
assert.equal(await selected(page), all.at(-1));
await page.waitForFunction(() => {
  const last = [...document.querySelectorAll("#cases img")].at(-1);
  return last.naturalWidth > 0;
});

// Where nothing can be kept the page says so and works.
const barred = await context.newPage();
barred.on("pageerror", (error) => errors.push(String(error)));
await barred.addInitScript(() => {
  Object.defineProperty(window, "localStorage", { get() { throw new DOMException("no", "SecurityError"); } });
});
await barred.goto(address);
await barred.keyboard.press("a");
assert.ok((await barred.locator("#notice").textContent()).includes("not kept"));
assert.ok((await barred.locator("#decided").textContent()).startsWith("1 of"));

// The page forbids what it does not do itself.
const before = errors.length;
assert.equal(await barred.evaluate(() => fetch("file:///etc/hostname").then(() => "read", () => "refused")), "refused");
await page.evaluate(() => {
  const script = document.createElement("script");
  script.textContent = "window.injected = true";
  document.body.append(script);
});
assert.equal(await page.evaluate(() => window.injected), undefined, "a script that is not the page's own");
assert.ok(errors.splice(before).every((text) => /Content.Security.Policy/i.test(text)));

assert.deepEqual(errors, []);
assert.deepEqual(requests, []);
await browser.close();
const megabytes = (fs.statSync(file).size / 1e6).toFixed(1);
console.log(
  `${all.length} cases, ${megabytes} MB: loaded in ${(loaded / 1000).toFixed(2)} s, sorted and drawn in at most ` +
    `${redrawn.toFixed(0)} ms; filters, keys, notes over a reload, CSV out and in; no error, no request`,
);
