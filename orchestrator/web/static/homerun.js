// The page: reads /api/v1/stream and draws what it says; orders go out as JSON.
//
// The stream is read with fetch rather than EventSource, because it must be able to send the
// token, and because heartbeats then tell a daemon that is quiet from one that is gone.

const API = "/api/v1";
const SILENCE_MS = 40_000;
const WAITS_MS = [500, 1000, 2000, 5000, 10_000];
const JOURNAL_ROWS = 50;
const CURVE_POINTS = 600;

const $ = (id) => document.getElementById(id);

const state = {
  status: null,
  journal: new Map(),
  lastEventId: "",
  points: [],
  curveOf: null,
  runs: [],
  lostSince: null,
};

// --- words and figures ----------------------------------------------------------------------

const UNKNOWN = "–";
const number = (value, digits = 0) =>
  value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const known = (value, write) => (value === null || value === undefined ? UNKNOWN : write(value));

function clock(iso) {
  const when = new Date(iso);
  const time = when.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  if (when.toDateString() === new Date().toDateString()) return time;
  const day = when.toLocaleDateString("en-GB", { weekday: "short", day: "numeric", month: "short" });
  return `${day}, ${time}`;
}

function duration(seconds) {
  const minutes = Math.round(seconds / 60);
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s`;
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h${minutes % 60 ? ` ${minutes % 60} min` : ""}`;
  return `${Math.round(minutes / 1440)} days`;
}

function bytes(size) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const step = size < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(size) / 3));
  return `${number(size / 1000 ** step, step && size / 1000 ** step < 100 ? 1 : 0)} ${units[step]}`;
}

function energy(joules) {
  const wattHours = joules / 3600;
  return wattHours < 1000 ? [number(wattHours, wattHours < 10 ? 1 : 0), "Wh"] : [number(wattHours / 1000, 2), "kWh"];
}

const secondsUntil = (iso) => (new Date(iso) - new Date(state.status.time)) / 1000;
const words = (name) => name.replaceAll("_", " ");

const REASONS = {
  user: "You",
  tariff: "Tariff",
  quiet_hours: "Quiet hours",
  thermal: "Heat",
  gpu_busy: "Another program on the GPU",
  ups: "UPS",
  disk: "Disk",
  drain: "Shutdown",
  crash_loop: "Repeated crashes",
  network: "Network",
};

const EFFECTS = {
  run: "goes on",
  cap: "goes on at less power",
  finish: "stops at the next checkpoint",
  pause: "paused",
  release: "stopped, memory free",
};

// --- drawing --------------------------------------------------------------------------------

function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

function make(tag, content = "", attributes = {}) {
  const element = document.createElement(tag);
  element.textContent = content;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function draw(status) {
  state.status = status;
  const run = status.run;
  const held = !["run", "cap"].includes(status.setpoint.effect);
  document.body.toggleAttribute("data-held", held);
  document.title = run && run.steps ? `${Math.floor(run.progress * 100)} % · ${run.name} · homerun` : "homerun";
  text($("headline"), status.headline);
  for (const id of ["progress", "figures"]) $(id).hidden = !run;
  $("curve-section").hidden = !run || state.points.length < 2;
  if (run) {
    drawProgress(run);
    drawTiles(run);
    drawCurve(run);
  }
  drawHolds(status.holds);
  drawOrders(run, status, held);
  drawRuns();
  const daemon = status.daemon;
  text($("about"), `homerun ${daemon.version}, engine ${daemon.engine} (${daemon.engine_state}), ${daemon.state_dir}`);
}

function drawProgress(run) {
  const bar = $("bar");
  // A fraction of a step counts, so that a run of slow steps is seen to move.
  const within = run.micro_batches ? run.micro / run.micro_batches : 0;
  if (run.steps) bar.value = Math.min(1, (run.step + within) / run.steps);
  else bar.removeAttribute("value");
  const total = run.steps ? ` of ${number(run.steps)} (${number(run.progress * 100, 1)} %)` : "";
  text($("bar-left"), `Step ${number(run.step)}${total}`);
  const phase = [run.phase, run.phase_detail].filter(Boolean).join(": ");
  const part = run.phase_fraction === null ? "" : `, ${number(run.phase_fraction * 100)} %`;
  const micro = run.phase === "train" && run.micro_batches > 1 ? `, micro-batch ${run.micro} of ${run.micro_batches}` : "";
  text($("bar-right"), words(phase) + part + micro);
}

// Each tile: label, value, unit, what stands below.
function tilesOf(run) {
  const [used, unit] = energy(run.energy_joules);
  const { watts, measured, source } = run.power;
  const stands = run.phase === "paused";
  const pace = known(run.step_seconds, (v) => `${number(v, v < 10 ? 2 : 0)} s a step`);
  const seen = `epoch ${number(run.epoch, 2)}, ${number(run.tokens / 1e6, 1)} M tokens`;
  return [
    ["Step", number(run.step), run.steps ? `of ${number(run.steps)}` : "", run.tokens ? seen : ""],
    ["Loss", known(run.loss, (v) => number(v, 3)), "", "nats per token"],
    ["Bits per byte", known(run.bits_per_byte, (v) => number(v, 3)), "", known(run.bits_per_byte_before, (v) => `${number(v, 3)} before training`)],
    ["Speed", known(run.tokens_per_second, (v) => number(v)), "tokens/s", stands ? "when it last ran" : pace],
    ["MFU", known(run.mfu, (v) => `${number(v * 100, 1)} %`), "", stands ? "when it last ran" : run.peak_source && `of ${run.peak_source}`],
    ["Finishes", known(run.eta, clock), "", run.eta ? `in ${duration(secondsUntil(run.eta))}` : stands ? "nobody knows while it is held" : "nobody knows yet"],
    ["Power", known(watts, (v) => number(v)), watts === null ? "" : "W", watts === null ? "no meter answers" : measured ? `measured by ${source}` : "estimated"],
    ["Energy", used, unit, run.energy_measured ? "measured" : "estimated"],
    ["Last checkpoint", saved(run, (c) => duration(-secondsUntil(c.time)), UNKNOWN), saved(run, () => "ago", ""), saved(run, (c) => `step ${number(c.step)}, ${bytes(c.size_bytes)}`, "none yet")],
  ];
}

const saved = (run, write, otherwise) => (run.checkpoint ? write(run.checkpoint) : otherwise);

function drawTiles(run) {
  const list = $("tiles");
  const tiles = tilesOf(run);
  if (list.children.length !== tiles.length) {
    list.replaceChildren(
      ...tiles.map(([label]) => {
        const tile = make("div", "", { class: "tile" });
        const value = make("dd", "", { class: "value" });
        value.append(make("span"), " ", make("small"));
        tile.append(make("dt", label), value, make("dd", "", { class: "sub" }));
        return tile;
      }),
    );
  }
  tiles.forEach(([, value, unit, sub], index) => {
    const tile = list.children[index];
    text(tile.querySelector(".value span"), value);
    text(tile.querySelector(".value small"), unit);
    text(tile.querySelector(".sub"), sub);
  });
}

function whenItEnds(hold) {
  if (hold.until) return `until ${clock(hold.until)}, for another ${duration(secondsUntil(hold.until))}`;
  if (hold.reason === "user" || hold.reason === "crash_loop") return "until you resume";
  return "until it clears";
}

function drawHolds(holds) {
  $("holds-section").hidden = holds.length === 0;
  $("holds").replaceChildren(
    ...holds.map((hold) => {
      const row = make("li");
      const what = hold.cap_watts === null ? EFFECTS[hold.effect] : `at most ${number(hold.cap_watts)} W`;
      row.append(make("b", REASONS[hold.reason] ?? words(hold.reason)), make("span", `${what}, ${whenItEnds(hold)}`));
      const detail = hold.detail ? `${hold.detail} · ` : "";
      const since = `${detail}since ${clock(hold.since)}, from ${hold.source}`;
      row.append(make("p", since, { class: "small" }));
      return row;
    }),
  );
}

function drawOrders(run, status, held) {
  const mine = status.holds.some((hold) => ["user", "crash_loop"].includes(hold.reason));
  const away = state.lostSince !== null;
  for (const button of document.querySelectorAll("[data-order]")) {
    button.disabled = away || (button.dataset.order === "resume" ? !mine : !run);
  }
  const resume = $("resume");
  resume.title = held && !mine ? "No order of yours holds the run" : "";
  $("finish").disabled ||= status.setpoint.effect === "finish";
}

function drawRuns() {
  const waiting = state.status.queue.map((item) => [item.name, `waits, priority ${item.priority}`]);
  const ended = state.runs
    .filter((run) => ["finished", "cancelled"].includes(run.state))
    .slice(0, 5)
    .map((run) => [run.name, run.bits_per_byte === null ? run.state : `${run.state}, ${known(run.bits_per_byte_before, (v) => number(v, 3))} → ${number(run.bits_per_byte, 3)} bits per byte`]);
  const rows = [...waiting, ...ended];
  $("runs-section").hidden = rows.length === 0;
  $("runs").replaceChildren(
    ...rows.map(([name, what]) => {
      const row = make("li");
      row.append(make("span", name), make("span", what, { class: "small" }));
      return row;
    }),
  );
  const done = state.runs.find((run) => run.state === "finished" && run.sample);
  $("sample").hidden = !done;
  if (done) {
    text($("sample-text"), done.sample);
    text($("sample-of"), `Written by ${done.name}. Its weights lie in ${done.model_path ?? UNKNOWN}.`);
  }
}

function drawJournal() {
  const entries = [...state.journal.values()].sort((a, b) => b.id - a.id).slice(0, JOURNAL_ROWS);
  $("journal-empty").hidden = entries.length > 0;
  $("journal").replaceChildren(
    ...entries.map((entry) => {
      const row = make("li", "", { "data-severity": entry.severity });
      const mark = { warning: "Warning: ", error: "Error: " }[entry.severity] ?? "";
      row.append(make("time", clock(entry.time), { datetime: entry.time }), make("span", mark + entry.message));
      return row;
    }),
  );
}

// --- the curve ------------------------------------------------------------------------------

const SVG = "http://www.w3.org/2000/svg";

function shape(tag, attributes, content = "") {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = content;
  return element;
}

function addPoint(run) {
  const last = state.points.at(-1);
  if (run.loss === null || run.name !== state.curveOf || (last && run.step === last[0])) return;
  // After a resume the steps behind the checkpoint are drawn anew.
  while (state.points.length && state.points.at(-1)[0] >= run.step) state.points.pop();
  state.points.push([run.step, run.loss]);
  if (state.points.length > 2 * CURVE_POINTS) state.points = state.points.filter((_, index) => index % 2 === 0);
}

function drawCurve(run) {
  addPoint(run);
  const box = $("curve");
  const [width, height] = [box.clientWidth, box.clientHeight];
  const points = state.points.filter(([, loss]) => Number.isFinite(loss));
  if (points.length < 2 || !width) return;
  const left = 40;
  const bottom = 20;
  const losses = points.map(([, loss]) => loss);
  const [low, high] = [Math.min(...losses), Math.max(...losses)];
  const [first, last] = [points[0][0], points.at(-1)[0]];
  const x = (step) => left + ((step - first) / (last - first)) * (width - left);
  const y = (loss) => 6 + ((high - loss) / (high - low || 1)) * (height - bottom - 12);
  const said = `The loss went from ${number(losses[0], 2)} at step ${number(first)} to ${number(losses.at(-1), 2)} at step ${number(last)}.`;
  const svg = shape("svg", { role: "img", "aria-label": said, viewBox: `0 0 ${width} ${height}` });
  for (const part of [0, 0.5, 1]) {
    const loss = low + part * (high - low);
    svg.append(shape("line", { class: "grid", x1: left, x2: width, y1: y(loss), y2: y(loss) }));
    svg.append(shape("text", { x: 0, y: y(loss) + 4 }, number(loss, 2)));
  }
  const line = points.map(([step, loss]) => `${x(step).toFixed(1)},${y(loss).toFixed(1)}`).join(" ");
  svg.append(shape("polyline", { class: "loss", points: line }));
  svg.append(shape("text", { x: left, y: height - 2 }, `step ${number(first)}`));
  svg.append(shape("text", { x: width, y: height - 2, "text-anchor": "end" }, number(last)));
  box.replaceChildren(svg);
  text($("curve-range"), `nats per token, now ${number(losses.at(-1), 3)}`);
}

// --- talking to the daemon ------------------------------------------------------------------

function headers(extra = {}) {
  const token = localStorage.getItem("homerun-token");
  return token ? { ...extra, authorization: `Bearer ${token}` } : extra;
}

async function ask(path, options = {}) {
  const response = await fetch(API + path, { cache: "no-store", ...options, headers: headers(options.headers) });
  if (response.status === 401 && (await askToken())) return ask(path, options);
  if (!response.ok) {
    const problem = await response.json().catch(() => null);
    const { message = `the daemon answered ${response.status}`, fix = "" } = problem?.error ?? {};
    throw new Error(fix ? `${message} (${fix})` : message);
  }
  return response;
}

let asking = null;

function askToken() {
  const dialog = $("ask");
  if (asking) return asking;
  text($("ask-problem"), localStorage.getItem("homerun-token") ? "The token that this browser kept is not the right one." : "");
  dialog.returnValue = "";
  dialog.showModal();
  asking = new Promise((done) => {
    $("ask-form").onsubmit = (event) => {
      event.preventDefault();
      localStorage.setItem("homerun-token", $("token").value.trim());
      $("token").value = "";
      dialog.close("given");
    };
    dialog.onclose = () => {
      asking = null;
      done(dialog.returnValue === "given");
    };
  });
  return asking;
}

async function order(button) {
  const { order: name, seconds, release } = button.dataset;
  const body = {};
  if (seconds) body.seconds = Number(seconds);
  if (release) body.release = true;
  $("pause-menu").open = false;
  const said = $("said");
  said.classList.remove("problem");
  try {
    const response = await ask(`/${name}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    const answer = await response.json();
    text(said, answered(name, answer));
  } catch (error) {
    said.classList.add("problem");
    text(said, `Not done: ${error.message}`);
  }
}

function answered(name, answer) {
  if (name === "finish") return "It stops at the next checkpoint.";
  if (name === "pause") return answer.until ? `Paused until ${clock(answer.until)}.` : "Paused until you resume.";
  if (answer.holds.length === 0) return "It goes on.";
  const others = answer.holds.map((hold) => (REASONS[hold.reason] ?? words(hold.reason)).toLowerCase());
  return `Your hold is lifted; still held by ${others.join(", ")}.`;
}

function take(event, data, id) {
  if (id) state.lastEventId = id;
  if (event === "status") {
    const status = JSON.parse(data);
    const before = state.status?.run?.name;
    draw(status);
    if (status.run?.name !== before) readRun(status.run?.name).catch(() => {});
  } else if (event === "journal") {
    const entry = JSON.parse(data);
    state.journal.set(entry.id, entry);
    drawJournal();
    if (entry.kind.startsWith("run_")) readRuns().catch(() => {});
  }
}

async function readRuns() {
  state.runs = await (await ask("/runs")).json();
  if (state.status) drawRuns();
}

async function readRun(name) {
  state.curveOf = name ?? null;
  state.points = [];
  if (!name) return;
  const samples = await (await ask(`/runs/${encodeURIComponent(name)}/samples?limit=${CURVE_POINTS}`)).json();
  if (state.curveOf !== name) return;
  state.points = samples.filter(({ loss }) => loss !== null).map(({ step, loss }) => [step, loss]);
  if (state.status) draw(state.status);
}

async function readJournal() {
  const entries = await (await ask(`/journal?limit=${JOURNAL_ROWS}`)).json();
  state.journal = new Map(entries.map((entry) => [entry.id, entry]));
  state.lastEventId = String(entries.at(-1)?.id ?? 0);
  drawJournal();
}

// --- the stream -----------------------------------------------------------------------------

function parse(block) {
  const fields = { event: "message", data: [], id: "" };
  for (const row of block.split("\n")) {
    const [, name, value] = /^(\w+): ?(.*)$/.exec(row) ?? [];
    if (name === "data") fields.data.push(value);
    else if (name) fields[name] = value;
  }
  return fields;
}

async function read(response, alive) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    alive();
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const { event, data, id } = parse(block);
      if (data.length) take(event, data.join("\n"), id);
    }
  }
}

async function listen() {
  const ending = new AbortController();
  let watchdog = 0;
  const alive = () => {
    clearTimeout(watchdog);
    watchdog = setTimeout(() => ending.abort(), SILENCE_MS);
  };
  alive();
  try {
    if (!state.lastEventId) await readJournal();
    const response = await ask("/stream", {
      signal: ending.signal,
      headers: { "last-event-id": state.lastEventId },
    });
    connected();
    readRuns().catch(() => {});
    await read(response, alive);
  } finally {
    clearTimeout(watchdog);
  }
}

function connected() {
  state.lostSince = null;
  document.body.dataset.line = "live";
  text($("line"), "live");
  $("lost").hidden = true;
  if (!state.status) return;
  draw(state.status);
  readRun(state.status.run?.name).catch(() => {});
}

function lost(error) {
  if (state.lostSince === null) state.lostSince = new Date();
  document.body.dataset.line = "lost";
  text($("line"), "no connection");
  const since = state.lostSince.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const why = error && !(error instanceof TypeError) && error.name !== "AbortError" ? ` ${error.message}.` : "";
  text($("lost"), `Lost the daemon at ${since}.${why} What you see is from before; this page tries again by itself.`);
  $("lost").hidden = false;
  for (const button of document.querySelectorAll("[data-order]")) button.disabled = true;
}

async function live() {
  for (let tries = 0; ; tries++) {
    try {
      await listen();
      lost(null);
      tries = 0;
    } catch (error) {
      lost(error);
    }
    await new Promise((done) => setTimeout(done, WAITS_MS[Math.min(tries, WAITS_MS.length - 1)]));
  }
}

// --- start ----------------------------------------------------------------------------------

for (const button of document.querySelectorAll("[data-order]")) {
  button.disabled = true;
  button.addEventListener("click", () => order(button));
}

const menu = $("pause-menu");
menu.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !menu.open) return;
  menu.open = false;
  menu.querySelector("summary").focus();
});
document.addEventListener("click", (event) => {
  if (!menu.contains(event.target)) menu.open = false;
});
new ResizeObserver(() => {
  if (state.status?.run) drawCurve(state.status.run);
}).observe($("curve"));

live();
