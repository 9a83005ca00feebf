// The page: wires the server, the viewer, the prompt box and the list of masks.

import { PromptBox } from "./prompts.js";
import { Results } from "./results.js";
import { Server } from "./server.js";
import { Viewer } from "./viewer.js";
import { droppedFiles, zip } from "./zip.js";

const element = (name) => document.getElementById(name);
const viewer = new Viewer(element("canvas"), (text) => { element("place").textContent = text; });
const results = new Results(element("results"), viewer, () => {
  element("download-form").hidden = !results.prompts.length;
});
const box = new PromptBox(element("prompt"), element("suggestions"));
const state = { server: null, image: null, name: "scan", job: null, busy: false };

function say(text, isError = false) {
  element("status").textContent = text;
  element("status").classList.toggle("error", isError);
}

function progress(done, total) {
  const bar = element("progress");
  bar.hidden = done === null;
  if (total) {
    bar.max = total;
    bar.value = done;
  } else {
    bar.removeAttribute("value");
  }
}

// Runs one thing at a time, and says what went wrong.
async function busy(work) {
  if (state.busy) return;
  state.busy = true;
  refresh();
  try {
    await work();
  } catch (error) {
    if (error.status === 404 && state.image) state.image = null;
    say(error.message, true);
  } finally {
    state.busy = false;
    state.job = null;
    progress(null);
    refresh();
  }
}

function refresh() {
  const ready = state.server !== null && state.image !== null;
  element("prompt").disabled = !ready;
  element("ask").disabled = !ready || state.busy;
  element("cancel").hidden = state.job === null;
  for (const name of ["open-file", "open-folder"]) {
    element(name).disabled = state.server === null || state.busy;
  }
}

async function connect(token) {
  const server = new Server(token);
  const found = await server.json("/capabilities");
  state.server = server;
  element("model").textContent = `${found.model} on ${found.device}`;
  sessionStorage.setItem("token", token);
  element("token-form").hidden = true;
  refresh();
  box.know(await server.json("/vocabulary"));
}

async function start() {
  await viewer.start();
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  history.replaceState(null, "", location.pathname); // not into bookmarks or pictures of the screen
  try {
    await connect(token || sessionStorage.getItem("token") || "");
  } catch (error) {
    element("token-form").hidden = false;
    say(error.message, true);
  }
}

function open(files) {
  if (!files.length) return undefined;
  if (!state.server) return say("There is no connection to the server yet.", true);
  return busy(async () => {
    const first = files[0];
    const folder = first.webkitRelativePath.split("/")[0];
    say("Reading …");
    progress(0, 0);
    const body = files.length === 1 ? first : await zip(files);
    if (state.image) await state.server.request("DELETE", `/images/${state.image}`).catch(() => {});
    state.image = null;
    results.clear();
    viewer.clear();
    const image = await state.server.upload(body, progress);
    progress(0, 0);
    say("Checking the scan …");
    await viewer.showScan(await state.server.buffer(`/images/${image}/scan`));
    applyWindow();
    state.image = image;
    state.name = files.length === 1 ? first.name : folder || "DICOM series";
    element("scan-name").textContent = state.name;
    say("Type what you are looking for.");
    element("prompt").disabled = false;
    element("prompt").focus();
  });
}

// One job; resolves with its id when it is done.
async function run(prompts, format) {
  state.job = await state.server.submit(state.image, prompts, format);
  refresh();
  const last = await state.server.follow(state.job, (event) => {
    if (event.event !== "progress") return;
    progress(event.done, event.total);
    const left = event.eta_s > 1 ? `, about ${Math.ceil(event.eta_s)} s left` : "";
    say(`${event.stage} ${event.done}/${event.total}${left}`);
  });
  if (last.event === "cancelled") throw new Error("Cancelled.");
  if (last.event !== "done") {
    const rule = last.rule ? ` (rule ${last.rule}: ${last.expected})` : "";
    throw new Error(`the job failed: ${last.kind || "deleted"}${rule} [log entry ${last.id}]`);
  }
  return state.job;
}

function ask() {
  if (!state.image || state.busy || !element("prompt").value.trim()) return undefined;
  const typed = element("prompt").value;
  return busy(async () => {
    const prompts = box.read();
    try {
      const job = await run(prompts, "nifti");
      const record = await state.server.json(`/jobs/${job}/record`);
      for (const [number, entry] of record.prompts.entries()) {
        const mask = entry.mask && await state.server.buffer(`/jobs/${job}/masks/${number}`);
        await results.add(entry, mask || null);
      }
      const words = record.prompts.map((entry) => `${entry.text}: ${entry.status}`);
      say([...words, ...record.warnings].join(". "));
    } catch (error) {
      element("prompt").value = typed;
      throw error;
    }
  });
}

function download() {
  if (!results.prompts.length || state.busy) return undefined;
  return busy(async () => {
    const job = await run(results.prompts, element("format").value);
    const content = await state.server.buffer(`/jobs/${job}/result`);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content], { type: "application/zip" }));
    link.download = `${state.name.replace(/(\.nii)?\.\w+$/, "")}-masks.zip`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    say("Saved.");
  });
}

function cancel() {
  if (state.job) state.server.request("POST", `/jobs/${state.job}/cancel`).catch(() => {});
}

function applyWindow() {
  const text = element("window").value;
  viewer.window(text ? text.split(",").map(Number) : null);
}

function choose(name, value) {
  const select = element(name);
  select.value = value;
  select.dispatchEvent(new Event("change"));
}

const KEYS = {
  "/": () => element("prompt").focus(),
  "?": () => element("help").showModal(),
  o: () => element("file").click(),
  f: () => element("folder").click(),
  d: download,
  m: () => results.toggleAll(),
  1: () => choose("layout", "all"),
  2: () => choose("layout", "axial"),
  3: () => choose("layout", "coronal"),
  4: () => choose("layout", "sagittal"),
  5: () => choose("layout", "render"),
  s: () => choose("window", "-160,240"),
  l: () => choose("window", "-1000,400"),
  b: () => choose("window", "-500,1300"),
  w: () => choose("window", ""),
};

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !element("help").open) cancel();
  const typing = event.target.matches("input:not([type=checkbox], [type=range]), select, dialog *");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(KEYS, event.key)) return;
  event.preventDefault();
  KEYS[event.key]();
});

for (const [name, input] of [["open-file", "file"], ["open-folder", "folder"]]) {
  element(name).addEventListener("click", () => element(input).click());
  element(input).addEventListener("change", async ({ target }) => {
    const files = [...target.files];
    target.value = "";
    await open(files);
  });
}
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  element("drop").classList.add("over");
});
document.addEventListener("dragleave", () => element("drop").classList.remove("over"));
document.addEventListener("drop", async (event) => {
  event.preventDefault();
  element("drop").classList.remove("over");
  open(await droppedFiles(event.dataTransfer));
});
element("prompt-form").addEventListener("submit", (event) => { event.preventDefault(); ask(); });
element("download-form").addEventListener("submit", (event) => { event.preventDefault(); download(); });
element("token-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  await connect(element("token").value.trim()).then(() => say("Drop a scan to begin."), (error) => say(error.message, true));
});
element("cancel").addEventListener("click", cancel);
element("help-button").addEventListener("click", () => element("help").showModal());
element("layout").addEventListener("change", ({ target }) => viewer.layout(target.value));
element("window").addEventListener("change", applyWindow);
element("opacity").addEventListener("input", ({ target }) => viewer.setOpacity(Number(target.value)));
element("radiological").addEventListener("change", ({ target }) => viewer.radiological(target.checked));
globalThis.textseg3dPage = { viewer, results, state };
start();
