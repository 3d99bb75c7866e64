// The page: reads /api/v1/stream and draws what it says; orders go out as JSON.
//
// The stream is read with fetch rather than EventSource: heartbeats then tell a daemon that is
// quiet from one that is gone, and an answer that is no stream (a login) can be seen.

const API = "/api/v1";
const SILENCE_MS = 40_000;
const WAITS_MS = [500, 1000, 2000, 5000, 10_000];
const JOURNAL_FETCHED = 200;
const JOURNAL_SHOWN = 12;
const CHECKPOINTS_SHOWN = 10;
const CURVE_POINTS = 600;
const PLAN_HOURS = 48;
// What is read again by itself, in seconds. The snapshot and the journal come by the stream.
const EVERY = { house: 10, trail: 15, plan: 60, energy: 60, curve: 900 };

const $ = (id) => document.getElementById(id);

const state = {
  status: null,
  journal: new Map(),
  journalRows: JOURNAL_SHOWN,
  lastEventId: "",
  lostSince: null,
  runs: [],
  chosen: null, // a run that somebody looks at; null: the active one
  shown: null, // whose curves are drawn
  samples: [],
  scores: [],
  checkpoints: [],
  retention: new Map(),
  plan: null,
  curve: null,
  prices: null,
  house: null,
  trail: [],
  energy: null,
  read: {},
};

// --- words and figures ----------------------------------------------------------------------

const UNKNOWN = "–";
const number = (value, digits = 0) =>
  value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const known = (value, write) => (value === null || value === undefined ? UNKNOWN : write(value));
const words = (name) => name.replaceAll("_", " ");
const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

const hours = (when) => when.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });

function clock(iso) {
  const when = new Date(iso);
  if (when.toDateString() === new Date().toDateString()) return hours(when);
  const day = when.toLocaleDateString("en-GB", { weekday: "short", day: "numeric", month: "short" });
  return `${day}, ${hours(when)}`;
}

function about(iso) {
  const when = new Date(iso);
  if (Math.abs(when - new Date()) < 36 * 3600_000) return clock(iso);
  return when.toLocaleDateString("en-GB", { day: "numeric", month: "long" });
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

function money(amount, currency) {
  const digits = Math.abs(amount) < 1 ? 3 : 2;
  return `${number(amount, digits)}${currency ? ` ${currency}` : ""}`;
}

// As the plan's reasons round it: the locale's way may differ in the last digit.
const perKwh = (price, currency) => `${price.toFixed(3)} ${currency ? `${currency}/kWh` : "a kWh"}`;
const moneys = (costs) => costs.map((cost) => money(cost.amount, cost.currency)).join(" + ");
const now = () => (state.status ? new Date(state.status.time) : new Date());
const secondsUntil = (iso) => (new Date(iso) - now()) / 1000;
const seconds = (iso) => new Date(iso).getTime() / 1000;

const REASONS = {
  user: "You",
  tariff: "Tariff",
  quiet_hours: "Quiet hours",
  thermal: "Heat",
  gpu_busy: "Another program on the GPU",
  gpu_lost: "A lost GPU",
  ups: "UPS",
  disk: "Disk",
  drain: "Shutdown",
  crash_loop: "Repeated crashes",
  network: "Network",
  sleep: "Sleep",
};

const EFFECTS = {
  run: "goes on",
  cap: "goes on at less power",
  finish: "stops at the next checkpoint",
  pause: "paused",
  release: "stopped, memory free",
};

const DOINGS = { run: "trains", off: "waits", hold: "held" };

// --- elements -------------------------------------------------------------------------------

function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

function make(tag, content = "", attributes = {}) {
  const element = document.createElement(tag);
  element.textContent = content;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

// Rows by key: a row that did not change stays the same element, so that focus stays in it.
function rows(list, items, write) {
  const old = new Map([...list.children].map((row) => [row.dataset.key, row]));
  const fresh = items.map(([key, ...what]) => {
    const stamp = JSON.stringify(what);
    const before = old.get(String(key));
    if (before?.dataset.stamp === stamp) return before;
    const row = write(key, ...what);
    row.dataset.key = key;
    row.dataset.stamp = stamp;
    const inside = before?.contains(document.activeElement) && document.activeElement.dataset.act;
    if (inside) queueMicrotask(() => row.querySelector(`[data-act="${inside}"]`)?.focus());
    return row;
  });
  if (fresh.length !== list.children.length || fresh.some((row, at) => row !== list.children[at])) {
    list.replaceChildren(...fresh);
  }
}

// --- the sentence and the figures -----------------------------------------------------------

function draw(status) {
  state.status = status;
  const run = status.run;
  const held = !["run", "cap"].includes(status.setpoint.effect);
  document.body.toggleAttribute("data-held", held);
  document.title = run && run.steps ? `${Math.floor(run.progress * 100)} % · ${run.name} · homerun` : "homerun";
  text($("headline"), status.headline);
  for (const id of ["progress", "figures"]) $(id).hidden = !run;
  if (run) {
    drawProgress(run);
    drawTiles(run);
    addSample(run, status.time);
  }
  drawOutlook();
  drawHolds(status.holds);
  drawControls();
  drawRuns();
  const daemon = status.daemon;
  text($("about"), `homerun ${daemon.version}, engine ${daemon.engine} (${daemon.engine_state}), ${daemon.state_dir}`);
}

// What the headline does not say: how it ends, and what that costs.
function drawOutlook() {
  const { plan, status } = state;
  const said = [];
  if (status?.run && plan && plan.run === status.run.name && plan.finish) {
    const costs = plan.cost === null ? "" : ` still costs ${money(plan.cost, plan.currency)}`;
    // A run that trains has its finish in the headline.
    if (!status.run.eta) said.push(`By the plan it finishes ${about(plan.finish)}${costs && ` and${costs}`}`);
    else if (costs) said.push(`By the plan it${costs}`);
    const saves = plan.always_on_cost === null || plan.cost === null ? 0 : plan.always_on_cost - plan.cost;
    if (saves >= 0.005) said[0] += `, ${money(saves, plan.currency)} less than at full power without a break`;
    if (said.length) said[0] += ".";
  }
  const gone = state.energy?.total;
  if (status?.run && !said.length && gone?.costs.length && gone.kwh >= 0.01) said.push(`So far ${number(gone.kwh, 2)} kWh and ${moneys(gone.costs)}.`);
  text($("outlook"), said.join(" "));
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

function meterWords(power) {
  if (power.watts === null) return "no meter answers";
  return power.measured ? `measured by ${power.source}` : power.source;
}

// Each tile: label, value, unit, what stands below, and whether that is a warning label.
function tilesOf(run) {
  const [used, unit] = energy(run.energy_joules);
  const stands = run.phase === "paused";
  const reading = state.house?.gpu?.reading ?? null;
  const pace = run.step_seconds === null ? "" : `${number(run.step_seconds, run.step_seconds < 10 ? 2 : 0)} s a step`;
  const mfu = run.mfu === null ? "" : `, ${number(run.mfu * 100, 1)} % MFU`;
  const bill = state.status.bills?.find((item) => item.run === run.name);
  const limit = reading?.limit_watts ?? null;
  const made = run.power.watts !== null && !run.power.measured;
  const finish = run.eta ?? (state.plan?.run === run.name ? state.plan.finish : null);
  return [
    ["Loss", known(run.loss, (v) => number(v, 3)), "", "nats per token"],
    ["Bits per byte", known(run.bits_per_byte, (v) => number(v, 3)), "", run.bits_per_byte_before === null ? "" : `${number(run.bits_per_byte_before, 3)} before training`],
    ["Speed", known(run.tokens_per_second, (v) => number(v)), run.tokens_per_second === null ? "" : "tokens/s", stands ? "when it last ran" : pace + mfu],
    ["Finishes", known(finish, about), "", finish ? `in ${duration(secondsUntil(finish))}${run.eta ? "" : ", by the plan"}` : stands ? "nobody knows while it is held" : "nobody knows yet"],
    ["Power", known(run.power.watts, (v) => number(v)), run.power.watts === null ? "" : "W", meterWords(run.power), made],
    ["Temperature", known(reading?.temperature_celsius, (v) => number(v)), reading?.temperature_celsius == null ? "" : "°C", reading ? known(limit, (v) => `limit ${number(v)} W`) : "no card answers"],
    ["Energy", used, unit, [run.energy_measured ? "measured" : run.power.source === "simulated" ? "simulated" : "estimated", bill && bill.cost !== null ? money(bill.cost, bill.currency) : ""].filter(Boolean).join(", ")],
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
        const sub = make("dd", "", { class: "sub" });
        sub.append(make("span"));
        value.append(make("span"), " ", make("small"));
        tile.append(make("dt", label), value, sub);
        return tile;
      }),
    );
  }
  tiles.forEach(([, value, unit, sub, label = false], index) => {
    const tile = list.children[index];
    text(tile.querySelector(".value span"), value);
    text(tile.querySelector(".value small"), unit);
    const below = tile.querySelector(".sub span");
    text(below, sub);
    below.classList.toggle("badge", label);
  });
}

function drawHouse() {
  const { ups, volumes = [] } = state.house ?? {};
  const said = volumes.map((v) => `${v.name}: ${bytes(v.free_bytes)} of ${bytes(v.size_bytes)} free`);
  if (ups?.reading) {
    const left = ups.reading.runtime_seconds === null ? "" : `, lasts ${duration(ups.reading.runtime_seconds)}`;
    const full = ups.reading.charge_ratio === null ? "" : ` ${number(ups.reading.charge_ratio * 100)} %`;
    said.unshift(`UPS ${ups.reading.on_battery ? "ON BATTERY" : "on mains"}${full}${left}`);
  } else if (ups) said.unshift("UPS does not answer");
  text($("house"), said.join(" · "));
}

// --- holds and orders -----------------------------------------------------------------------

function whenItEnds(hold) {
  if (hold.until) return `until ${clock(hold.until)}, for another ${duration(secondsUntil(hold.until))}`;
  if (hold.reason === "user" || hold.reason === "crash_loop") return "until you resume";
  return "until it clears";
}

function drawHolds(holds) {
  $("holds-section").hidden = holds.length === 0;
  const items = holds.map((hold, at) => {
    const what = hold.cap_watts === null ? EFFECTS[hold.effect] : `at most ${number(hold.cap_watts)} W`;
    const detail = hold.detail ? `${hold.detail} · ` : "";
    return [at, REASONS[hold.reason] ?? words(hold.reason), `${sentence(what)}, ${whenItEnds(hold)}`, `${detail}since ${clock(hold.since)}, from ${hold.source}`];
  });
  rows($("holds"), items, (key, reason, what, since) => {
    const row = make("li");
    row.append(make("b", reason), make("span", what), make("p", since, { class: "small" }));
    return row;
  });
}

// A control may be used while the daemon is there and it would do something.
function drawControls() {
  const { status } = state;
  const away = state.lostSince !== null || !status;
  const mine = !away && status.holds.some((hold) => ["user", "crash_loop"].includes(hold.reason));
  const finishing = !away && status.setpoint.effect === "finish";
  for (const button of document.querySelectorAll("[data-order], [data-control], [data-act]")) {
    const name = button.dataset.order ?? button.id;
    const needsRun = ["pause", "finish", "save"].includes(name);
    button.disabled =
      away || (name === "resume" ? !mine : needsRun && !status.run) || (name === "finish" && finishing) || button.dataset.idle === "yes";
  }
  $("resume").title = !away && !mine ? "No order of yours holds the run" : "";
}

let sayingUntil = 0;

function say(message, problem = false) {
  const said = $("said");
  said.classList.toggle("problem", problem);
  said.textContent = message;
  clearTimeout(sayingUntil);
  sayingUntil = setTimeout(() => (said.textContent = ""), problem ? 30_000 : 8_000);
}

async function command(path, body, done) {
  try {
    const response = await ask(path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    say(done(await response.json()));
    return true;
  } catch (error) {
    say(`Not done: ${error.message}`, true);
    return false;
  }
}

// The next time that the clocks here show so.
function nextClock(shown) {
  const [hour, minute] = shown.split(":").map(Number);
  const when = new Date();
  when.setHours(hour, minute, 0, 0);
  if (when <= new Date()) when.setDate(when.getDate() + 1);
  return when.toISOString();
}

function order(button) {
  const { order: name, seconds: lasts, release, clock: until } = button.dataset;
  const body = {};
  if (lasts) body.seconds = Number(lasts);
  if (until) body.until = nextClock(until);
  if (release) body.release = true;
  $("pause-menu").open = false;
  $("finish-ask").close();
  return command(`/${name}`, body, (answer) => answered(name, answer));
}

function answered(name, answer) {
  if (name === "finish") return "It stops at the next checkpoint.";
  if (name === "pause") return answer.until ? `Paused until ${clock(answer.until)}.` : "Paused until you resume.";
  if (answer.holds.length === 0) return "It goes on.";
  const others = answer.holds.map((hold) => (REASONS[hold.reason] ?? words(hold.reason)).toLowerCase());
  return `Your hold is lifted; still held by ${others.join(", ")}.`;
}

async function save() {
  say("Saving…");
  await command("/checkpoints/save", {}, (made) => `Saved at step ${number(made.step)}.`);
  await readCheckpoints().catch(() => {});
}

async function pin(name, pinned) {
  const done = () => (pinned ? "It stays until you unpin it." : "Retention decides on it again.");
  await command(`/checkpoints/${pinned ? "pin" : "unpin"}`, { run: state.shown, name }, done);
  await readCheckpoints().catch(() => {});
}

async function prioritize(name, priority) {
  await command(`/runs/${encodeURIComponent(name)}/priority`, { priority }, () => `${name} waits with priority ${priority}.`);
  await readRuns().catch(() => {});
}

// --- runs, checkpoints, journal -------------------------------------------------------------

function act(label, name, act, press, attributes = {}) {
  const button = make("button", label, { type: "button", "data-act": act, "aria-label": name, class: "little", ...attributes });
  button.addEventListener("click", press);
  button.disabled = state.lostSince !== null || attributes["data-idle"] === "yes";
  return button;
}

function tellRun(run) {
  if (run.state === "active") return "has the GPU";
  if (run.state === "queued") return `waits, priority ${run.priority}`;
  if (run.bits_per_byte === null) return run.state;
  return `${run.state}, ${known(run.bits_per_byte_before, (v) => number(v, 3))} → ${number(run.bits_per_byte, 3)} bits per byte`;
}

function drawRuns() {
  const ended = state.runs.filter((run) => ["finished", "cancelled"].includes(run.state)).slice(0, 5);
  const alive = state.runs.filter((run) => !ended.includes(run) && ["active", "queued"].includes(run.state));
  const all = [...alive, ...ended];
  $("runs-section").hidden = all.length === 0 || (all.length === 1 && alive.length === 1);
  rows($("runs"), all.map((run) => [run.name, tellRun(run), run.state, run.priority, run.name === state.shown]), runRow);
  const done = state.runs.find((run) => run.state === "finished" && run.sample);
  $("sample").hidden = !done;
  if (done) {
    text($("sample-text"), done.sample);
    text($("sample-of"), `Written by ${done.name}. Its weights lie in ${done.model_path ?? UNKNOWN}.`);
  }
}

function runRow(name, what, where, priority, shown) {
  const row = make("li", "", shown ? { "data-shown": "" } : {});
  const show = make("button", name, { type: "button", class: "name", "aria-pressed": String(shown), "data-show": "", title: `Show ${name}` });
  show.addEventListener("click", () => choose(name));
  const side = make("span", "", { class: "side" });
  if (where === "queued") {
    side.append(
      act("−", `Lower the priority of ${name}`, "lower", () => prioritize(name, priority - 1)),
      act("+", `Raise the priority of ${name}`, "raise", () => prioritize(name, priority + 1)),
    );
  }
  row.append(show, make("span", what, { class: "small" }), side);
  return row;
}

function choose(name) {
  state.chosen = name === state.status?.run?.name ? null : name;
  readShown().catch(() => {});
}

function drawCheckpoints() {
  const all = state.checkpoints;
  $("saved-section").hidden = !state.shown;
  const items = all.slice(0, CHECKPOINTS_SHOWN).map((item) => {
    const choice = state.retention.get(item.name);
    const fate = !choice ? "" : choice.keep ? (choice.why === "pinned" ? "" : `; stays: ${choice.why}`) : "; goes when room is made";
    return [item.name, item.step, `${clock(item.created)}, ${bytes(item.size_bytes)}, ${words(item.reason)}${fate}`, choice?.pinned ?? null];
  });
  rows($("saved"), items, (name, step, what, pinned) => {
    const row = make("li");
    const label = `Step ${number(step)}`;
    row.append(make("b", label), make("span", what, { class: "small" }));
    if (pinned !== null) {
      row.append(act(pinned ? "Pinned" : "Pin", `${label}: keep it whatever happens`, "pin", () => pin(name, !pinned), { "aria-pressed": String(pinned) }));
    }
    return row;
  });
  const more = all.length - items.length;
  const whose = state.chosen ? `Of ${state.shown}. ` : "";
  text($("saved-read"), whose + (all.length === 0 ? "None yet." : more > 0 ? `And ${more} older ones: homerun checkpoints list.` : ""));
}

function drawJournal() {
  const all = [...state.journal.values()].sort((a, b) => b.id - a.id);
  $("journal-empty").hidden = all.length > 0;
  $("journal-more").hidden = all.length <= state.journalRows;
  const items = all.slice(0, state.journalRows).map((entry) => [entry.id, entry.time, clock(entry.time), entry.severity, entry.message]);
  rows($("journal"), items, (key, time, shown, severity, message) => {
    const row = make("li", "", { "data-severity": severity });
    const mark = { warning: "Warning: ", error: "Error: " }[severity] ?? "";
    row.append(make("time", shown, { datetime: time }), make("span", mark + message));
    return row;
  });
}

function drawEnergy() {
  const { energy: summary } = state;
  $("energy-section").hidden = !summary?.total;
  if (!summary?.total) return;
  const line = (row, head) => {
    row.append(
      head,
      make("td", number(row.what.kwh, 2), { class: "figure" }),
      make("td", moneys(row.what.costs) || UNKNOWN, { class: "figure" }),
      make("td", number(row.what.tokens / 1e6, 1), { class: "figure" }),
    );
    return row;
  };
  const write = (what, label) => line(Object.assign(make("tr"), { what }), make("th", label, { scope: "row" }));
  const day = (label) => new Date(`${label}T12:00:00`).toLocaleDateString("en-GB", { weekday: "short", day: "numeric", month: "short" });
  $("energy-rows").replaceChildren(...summary.lines.slice(-7).reverse().map((what) => write(what, day(what.label))));
  $("energy-total").replaceChildren(write(summary.total, "All"));
  const measured = summary.total.kwh > 0 ? summary.total.measured_kwh / summary.total.kwh : 0;
  const guessed = state.status?.run?.power.source === "simulated" ? "simulated" : "estimated";
  text($("energy-range"), measured > 0.995 ? "measured" : measured < 0.005 ? guessed : `${number(measured * 100)} % of it measured`);
  const mine = summary.avoided.find((item) => item.run === state.status?.run?.name) ?? summary.avoided.at(-1);
  const saving = mine?.avoided_cost;
  text(
    $("energy-read"),
    saving == null || Math.abs(saving) < 0.005 ? "" : `${mine.run}: ${money(Math.abs(saving), mine.currency)} ${saving >= 0 ? "less" : "more"} than the same work at full power from the start.`,
  );
}

// --- charts ---------------------------------------------------------------------------------

const probe = document.createElement("i");
probe.hidden = true;
document.body.append(probe);

// light-dark() only becomes a colour where it is used.
function colour(name) {
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}

function faded(value, alpha) {
  return value.replace(/^rgb\(([^)]+)\)$/, (_, parts) => `rgb(${parts.replaceAll(",", " ")} / ${alpha})`);
}

function hatch(line) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 6;
  const ink = tile.getContext("2d");
  ink.strokeStyle = line;
  ink.lineWidth = 1.5;
  ink.beginPath();
  for (const from of [-6, 0, 6]) {
    ink.moveTo(from, 6);
    ink.lineTo(from + 6, 0);
  }
  ink.stroke();
  return ink.createPattern(tile, "repeat");
}

const plots = new Map();

// Draw ``data`` into #id-chart. ``options`` is asked again only when the theme changed.
function plot(name, said, data, options) {
  const host = $(`${name}-chart`);
  host.setAttribute("role", "img");
  host.setAttribute("aria-label", said);
  if (typeof uPlot === "undefined") {
    host.hidden = true;
    return;
  }
  const [width, height] = [host.clientWidth, host.clientHeight];
  if (!width || !height) return;
  let known = plots.get(name);
  if (!known) {
    host.replaceChildren();
    const made = new uPlot({ width, height, ...options() }, data, host);
    known = { made, width, height };
    plots.set(name, known);
    return;
  }
  if (known.width !== width || known.height !== height) {
    Object.assign(known, { width, height });
    known.made.setSize({ width, height });
  }
  known.made.setData(data);
}

function repaint() {
  for (const { made } of plots.values()) made.destroy();
  plots.clear();
  drawCharts();
}

const font = () => `12px ${getComputedStyle(document.body).fontFamily}`;

function axis(extra) {
  return { stroke: colour("soft"), font: font(), ticks: { show: false }, grid: { stroke: colour("rule"), width: 1 }, gap: 6, size: 28, ...extra };
}

const plainly = (plot, splits) => splits.map((value) => (value === null ? "" : number(value)));
const dates = (u, splits, at, space, incr) =>
  splits.map((value, index) => {
    const when = new Date(value * 1000);
    const first = index === 0 || new Date(splits[index - 1] * 1000).toDateString() !== when.toDateString();
    const day = when.toLocaleDateString("en-GB", { weekday: "short", day: "numeric" });
    if (incr >= 86400) return when.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
    if (incr < 60) return when.toLocaleTimeString("en-GB");
    return first && when.getHours() + when.getMinutes() === 0 ? day : hours(when);
  });

// What all charts have: no legend of their own, a readout in words below.
function common(readout, rest) {
  return {
    legend: { show: false },
    padding: [10, 18, 0, 0],
    cursor: { drag: { x: false, y: false }, points: { size: 6 }, y: false },
    hooks: { setCursor: [(u) => readout(u.cursor.idx ?? null, u.cursor.left ?? -1, u)], ...rest.hooks },
    ...Object.fromEntries(Object.entries(rest).filter(([key]) => key !== "hooks")),
  };
}

function drawCharts() {
  for (const draw of [drawPlan, drawCost, drawLoss, drawSpeed, drawPower]) draw();
}

// Live points come several times a second; eyes do not.
let drawing = 0;
function drawSoon() {
  if (drawing || document.hidden) return;
  drawing = setTimeout(() => {
    drawing = 0;
    drawLoss();
    drawSpeed();
  }, 900);
}

function addSample(run, time) {
  const last = state.samples.at(-1);
  if (run.loss === null || run.name !== state.shown || state.chosen || (last && run.step === last.step)) return;
  // After a resume the steps behind the checkpoint are drawn anew.
  while (state.samples.length && state.samples.at(-1).step >= run.step) state.samples.pop();
  state.samples.push({ step: run.step, time, loss: run.loss, tokens_per_second: run.tokens_per_second });
  if (state.samples.length > 2 * CURVE_POINTS) state.samples = state.samples.filter((_, index) => index % 2 === 0);
  const scored = state.scores.at(-1);
  if (run.bits_per_byte !== null && scored?.bits_per_byte !== run.bits_per_byte) {
    state.scores.push({ step: run.step, bits_per_byte: run.bits_per_byte });
  }
  drawSoon();
}

// --- loss, speed, power ---------------------------------------------------------------------

// The mean of the neighbours; at the steep beginning as many on either side, so that it has no lag.
function smooth(values) {
  const sums = [0];
  for (const value of values) sums.push(sums.at(-1) + value);
  const widest = Math.round(values.length / 40);
  return values.map((_, at) => {
    const reach = Math.min(widest, at);
    const end = Math.min(at + reach + 1, values.length);
    return (sums[end] - sums[at - reach]) / (end - at + reach);
  });
}

// The very first losses would press all the others flat.
function lossRange(values) {
  const sorted = values.filter((value) => Number.isFinite(value)).sort((a, b) => a - b);
  const [low, high] = [sorted[0], sorted[Math.floor((sorted.length - 1) * 0.985)]];
  const room = Math.max(0.05, (high - low) * 0.08);
  return [low - room, high + room];
}

const whose = () => (state.chosen ? `of ${state.shown}, ` : "");

function drawLoss() {
  const points = state.samples.filter(({ loss }) => Number.isFinite(loss));
  $("loss-section").hidden = points.length < 2;
  if (points.length < 2) return;
  const score = new Map(state.scores.map((item) => [item.step, item.bits_per_byte]));
  const loss = new Map(points.map((item) => [item.step, item.loss]));
  const steps = [...new Set([...loss.keys(), ...score.keys()])].sort((a, b) => a - b);
  const raw = steps.map((step) => loss.get(step) ?? null);
  const smoothed = smooth(points.map((item) => item.loss));
  const evenly = new Map(points.map((item, at) => [item.step, smoothed[at]]));
  const even = steps.map((step) => evenly.get(step) ?? null);
  const bits = steps.map((step) => score.get(step) ?? null);
  const [first, last] = [points[0], points.at(-1)];
  const said = `The loss went from ${number(first.loss, 2)} at step ${number(first.step)} to ${number(last.loss, 2)} at step ${number(last.step)}.`;
  text($("loss-range"), `${whose()}now ${number(smoothed.at(-1), 3)} nats per token`);
  const [low, high] = lossRange(raw);
  state.lossRange = [low, high];
  const rest = () => {
    const scored = [...score.values()].at(-1);
    return scored === undefined ? "Smoothed, with each step behind it." : `Line: loss, smoothed. Dots: bits per byte, last ${number(scored, 3)}.`;
  };
  const read = (at) => {
    const [xs, ys, zs, bs] = state.lossData;
    if (at === null) return text($("loss-read"), rest());
    const part = bs[at] === null ? "" : `, ${number(bs[at], 4)} bits per byte`;
    return text($("loss-read"), `Step ${number(xs[at])}: ${known(ys[at], (v) => number(v, 3))}, smoothed ${known(zs[at], (v) => number(v, 3))}${part}`);
  };
  state.lossData = [steps, raw, even, bits];
  plot("loss", said, state.lossData, () =>
    common(read, {
      scales: { x: { time: false }, y: { range: () => state.lossRange } },
      axes: [
        axis({ values: plainly, space: 70, grid: { show: false } }),
        axis({ size: 42, values: (u, splits) => splits.map((v) => number(v, 1)) }),
        axis({ size: 42, scale: "bits", side: 1, grid: { show: false }, stroke: colour("second"), values: (u, splits) => splits.map((v) => number(v, 2)) }),
      ],
      series: [
        {},
        { stroke: faded(colour("accent"), 0.28), width: 1, points: { show: false }, spanGaps: true },
        { stroke: colour("accent"), width: 2, points: { show: false }, spanGaps: true },
        { scale: "bits", stroke: colour("second"), width: 1, spanGaps: true, points: { show: true, size: 5, fill: colour("second") } },
      ],
    }),
  );
  read(null);
}

function drawSpeed() {
  const points = state.samples.filter((sample) => Number.isFinite(sample.tokens_per_second));
  $("speed-section").hidden = points.length < 2;
  if (points.length < 2) return;
  const speeds = points.map((point) => point.tokens_per_second);
  state.speedData = [points.map((point) => point.step), speeds];
  const last = speeds.at(-1);
  const mean = speeds.reduce((sum, speed) => sum + speed, 0) / speeds.length;
  text($("speed-range"), `${whose()}now ${number(last)} tokens/s`);
  const read = (at) => {
    const [xs, ys] = state.speedData;
    return text($("speed-read"), at === null ? `${number(mean)} tokens/s in the mean.` : `Step ${number(xs[at])}: ${number(ys[at])} tokens/s`);
  };
  plot("speed", `Now ${number(last)} tokens a second, ${number(mean)} in the mean.`, state.speedData, () =>
    common(read, {
      scales: { x: { time: false }, y: { range: (u, low, high) => [0, Math.max(1, high) * 1.15] } },
      axes: [axis({ values: plainly, space: 70, grid: { show: false } }), axis({ size: 56, values: plainly })],
      series: [{}, { stroke: colour("accent"), width: 1.5, fill: faded(colour("accent"), 0.08), points: { show: false } }],
    }),
  );
  read(null);
}

// A time of which nobody knows anything is a gap in the line.
function withGaps(points, of) {
  const times = points.map((point) => seconds(point.time));
  const gaps = times.slice(1).map((time, at) => time - times[at]).sort((a, b) => a - b);
  const long = Math.max(60, 8 * (gaps[Math.floor(gaps.length / 2)] ?? 0));
  const [xs, ...ys] = [[], ...of.map(() => [])];
  points.forEach((point, at) => {
    if (at > 0 && times[at] <= xs.at(-1)) return;
    if (at > 0 && times[at] - times[at - 1] > long) {
      xs.push(times[at - 1] + 1);
      ys.forEach((column) => column.push(null));
    }
    xs.push(times[at]);
    ys.forEach((column, index) => column.push(of[index](point)));
  });
  return [xs, ...ys];
}

function drawPower() {
  const points = state.trail.filter((point) => point.watts !== null || point.celsius !== null);
  $("power-section").hidden = points.length < 2;
  if (points.length < 2) return;
  const data = withGaps(points, [(point) => point.watts, (point) => point.celsius, (point) => point.limit_watts]);
  state.powerData = data;
  const last = points.at(-1);
  const power = state.status?.run?.power;
  const label = $("power-range");
  label.classList.toggle("badge", Boolean(power && power.watts !== null && !power.measured));
  text(label, power ? meterWords(power) : "");
  const write = (watts, celsius, limit) =>
    [known(watts, (v) => `${number(v)} W`), known(celsius, (v) => `${number(v)} °C`), limit == null ? "" : `limit ${number(limit)} W`].filter(Boolean).join(", ");
  const read = (at) => {
    const [xs, watts, celsius, limit] = state.powerData;
    if (at === null) return text($("power-read"), `Now ${write(last.watts, last.celsius, last.limit_watts)}.`);
    return text($("power-read"), `${clock(xs[at] * 1000)}: ${write(watts[at], celsius[at], limit[at])}`);
  };
  plot("power", `Now ${write(last.watts, last.celsius, null)}.`, data, () =>
    common(read, {
      scales: { y: { range: (u, low, high) => [0, Math.max(50, high) * 1.15] }, celsius: { range: (u, low, high) => [20, Math.max(90, high + 5)] } },
      axes: [
        axis({ values: dates, space: 70, grid: { show: false } }),
        axis({ size: 42, values: (u, splits) => splits.map((v) => number(v)) }),
        axis({ size: 42, scale: "celsius", side: 1, grid: { show: false }, stroke: colour("second"), values: (u, splits) => splits.map((v) => `${number(v)}°`) }),
      ],
      series: [
        {},
        { stroke: colour("accent"), width: 1.5, fill: faded(colour("accent"), 0.08), points: { show: false } },
        { scale: "celsius", stroke: colour("second"), width: 1.5, points: { show: false } },
        { stroke: colour("soft"), width: 1, dash: [4, 4], points: { show: false } },
      ],
    }),
  );
  read(null);
}

// --- prices and plan ------------------------------------------------------------------------

// One shape for both: the plan's slots, or mere prices where there is no plan.
function slots() {
  if (state.plan?.slots.length) return state.plan.slots;
  const report = state.prices;
  const currency = report?.source.currency ?? "";
  return (report?.slots ?? []).map((slot) => ({ ...slot, currency, forecast: slot.source === "forecast", state: null, cap_watts: null, reason: "" }));
}

const planned = () => Boolean(state.plan?.mode);

function slotWords(slot) {
  const price = slot.price === null ? "price unknown" : perKwh(slot.price, slot.currency);
  const cap = slot.cap_watts === null ? "" : ` at ${number(slot.cap_watts)} W`;
  const doing = slot.state ? `, ${DOINGS[slot.state]}${cap}` : "";
  return `${price}${slot.forecast ? " (forecast)" : ""}${doing}`;
}

const remarkOf = (remark) => (remark ? sentence(remark).replace(/[^.!?]$/, "$&.") : "");

function planRest(all) {
  const slot = all.find((item) => new Date(item.end) > now()) ?? all[0];
  const change = state.plan?.next_change ? ` Next change ${clock(state.plan.next_change)}.` : "";
  const remark = planned() ? "" : ` ${remarkOf(state.plan?.remark) || "No plan is followed: homerun deadline sets a goal."}`;
  return slot ? `Now ${slotWords(slot)}.${change}${remark}` : remark.trim();
}

function drawPlan() {
  const all = slots();
  const priced = all.filter((slot) => slot.price !== null);
  const reach = state.plan?.known_until ?? state.prices?.source.known_until;
  $("plan-section").hidden = !state.plan && !state.prices;
  $("plan-chart").hidden = priced.length === 0;
  $("plan-hours").hidden = all.length === 0;
  $("plan-legend").hidden = !planned() || priced.length === 0;
  text($("plan-range"), reach ? `published until ${clock(reach)}` : "");
  if (priced.length === 0) {
    const none = state.prices?.source.configured === false ? "No tariff is configured, so there are no prices to draw." : "No prices are known.";
    text($("plan-read"), [none, planned() ? "" : remarkOf(state.plan?.remark)].filter(Boolean).join(" "));
    drawHours(all);
    return;
  }
  drawHours(all);
  const prices = priced.map((slot) => slot.price);
  const [low, high] = [Math.min(...prices), Math.max(...prices)];
  const cheapest = priced.find((slot) => slot.price === low);
  const said = `Prices of the next hours: ${perKwh(low, cheapest.currency)} at ${clock(cheapest.start)} to ${perKwh(high, cheapest.currency)}. ${planRest(all)}`;
  const read = (at, left, u) => {
    if (left < 0 || !u) return text($("plan-read"), planRest(slots()));
    const time = u.posToVal(left, "x") * 1000;
    const slot = slots().find((item) => new Date(item.start) <= time && time < new Date(item.end));
    return text($("plan-read"), slot ? `${clock(slot.start)} to ${hours(new Date(slot.end))}: ${slotWords(slot)}${slot.reason ? ` · ${slot.reason}` : ""}` : "");
  };
  const data = [[...all.map((slot) => seconds(slot.start)), seconds(all.at(-1).end)], [...all.map((slot) => slot.price), all.at(-1).price]];
  plot("plan", said, data, () =>
    common(read, {
      scales: { y: { range: (u, least, most) => [Math.min(0, least * 1.1), Math.max(0.01, most) * 1.12] } },
      axes: [axis({ values: dates, space: 64, grid: { show: false } }), axis({ size: 46, values: (u, splits) => splits.map((v) => number(v, 2)) })],
      series: [{}, { paths: () => null, points: { show: false } }],
      cursor: { drag: { x: false, y: false }, points: { show: false }, y: false },
      hooks: { draw: [paintSlots] },
    }),
  );
  read(null, -1);
}

function paintSlots(u) {
  const ink = u.ctx;
  const shades = { run: colour("accent"), off: colour("faint"), hold: hatch(colour("soft")), none: faded(colour("second"), 0.35) };
  // Without a plan there is nothing to tell apart but what holds it.
  const shade = (slot) => shades[!slot.state || (slot.state !== "hold" && !planned()) ? "none" : slot.state];
  const floor = u.valToPos(0, "y", true);
  const right = u.bbox.left + u.bbox.width;
  ink.save();
  for (const slot of slots()) {
    if (slot.price === null) continue;
    const from = Math.max(u.bbox.left, u.valToPos(seconds(slot.start), "x", true));
    const to = Math.min(right, u.valToPos(seconds(slot.end), "x", true));
    const top = u.valToPos(slot.price, "y", true);
    ink.globalAlpha = slot.forecast ? 0.45 : 1;
    ink.fillStyle = shade(slot);
    const gap = to - from > 8 ? 1.5 * devicePixelRatio : 0;
    ink.fillRect(from, Math.min(top, floor), Math.max(1, to - from - gap), Math.max(1, Math.abs(floor - top)));
  }
  ink.globalAlpha = 1;
  const here = u.valToPos(now() / 1000, "x", true);
  if (here >= u.bbox.left && here <= right) {
    ink.strokeStyle = colour("ink");
    ink.lineWidth = 1.5 * devicePixelRatio;
    ink.beginPath();
    ink.moveTo(here, u.bbox.top);
    ink.lineTo(here, u.bbox.top + u.bbox.height);
    ink.stroke();
  }
  ink.restore();
}

function drawHours(all) {
  text($("plan-unit"), all[0]?.currency ? `${all[0].currency}/kWh` : "Price");
  const items = all.map((slot) => [
    slot.start,
    clock(slot.start),
    slot.price === null ? UNKNOWN : slot.price.toFixed(3) + (slot.forecast ? "?" : ""),
    slot.state ? DOINGS[slot.state] + (slot.cap_watts === null ? "" : `, ${number(slot.cap_watts)} W`) : UNKNOWN,
    slot.reason,
  ]);
  rows($("plan-rows"), items, (key, from, price, what, why) => {
    const row = make("tr");
    row.append(make("th", from, { scope: "row" }), make("td", price, { class: "figure" }), make("td", what), make("td", why));
    return row;
  });
}

// What each finish date would cost, the earliest first.
function drawCost() {
  const curve = state.curve;
  const points = curve?.points ?? [];
  $("cost-section").hidden = points.length === 0 && !(planned() && curve?.remark);
  text($("cost-read"), curve?.remark ?? "");
  $("cost-chart").hidden = points.length < 2;
  if (points.length < 2) return;
  const byTime = new Map(points.map((point) => [seconds(point.finish ?? point.by), point]));
  const times = [...byTime.keys()].sort((a, b) => a - b);
  const costs = times.map((time) => byTime.get(time).cost);
  state.costData = [times, costs];
  text($("cost-range"), curve.deadline ? `deadline ${about(curve.deadline)}` : "");
  const read = (at) => {
    if (at === null) return text($("cost-read"), state.curve.remark);
    const [xs, ys] = state.costData;
    return text($("cost-read"), `Done ${clock(xs[at] * 1000)}: ${money(ys[at], state.curve.currency)}`);
  };
  const said = `Done ${clock(times[0] * 1000)} it costs ${money(costs[0], curve.currency)}; done ${clock(times.at(-1) * 1000)}, ${money(costs.at(-1), curve.currency)}. ${curve.remark}`;
  plot("cost", said, state.costData, () =>
    common(read, {
      scales: { y: { range: (u, low, high) => [Math.min(0, low), high * 1.12] } },
      axes: [axis({ values: dates, space: 76, grid: { show: false } }), axis({ size: 46, values: (u, splits) => splits.map((v) => number(v, 2)) })],
      series: [{}, { stroke: colour("accent"), width: 2, fill: faded(colour("accent"), 0.08), points: { show: true, size: 5, fill: colour("accent") } }],
      hooks: { draw: [markFinish] },
    }),
  );
  read(null);
}

function markFinish(u) {
  const { finish, cost } = state.plan ?? {};
  if (!finish || cost === null || cost === undefined) return;
  const [x, y] = [u.valToPos(seconds(finish), "x", true), u.valToPos(cost, "y", true)];
  if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) return;
  const ink = u.ctx;
  ink.save();
  ink.strokeStyle = ink.fillStyle = colour("ink");
  ink.lineWidth = 2 * devicePixelRatio;
  ink.beginPath();
  ink.arc(x, y, 5 * devicePixelRatio, 0, 2 * Math.PI);
  ink.stroke();
  ink.font = `${12 * devicePixelRatio}px ${getComputedStyle(document.body).fontFamily}`;
  const late = x > u.bbox.left + u.bbox.width * 0.7;
  ink.textAlign = late ? "right" : "left";
  ink.fillText("the plan", x + (late ? -10 : 10) * devicePixelRatio, y - 8 * devicePixelRatio);
  ink.restore();
}

// --- talking to the daemon ------------------------------------------------------------------

async function ask(path, options = {}) {
  const response = await fetch(API + path, { cache: "no-store", ...options });
  if (response.status === 401) {
    // The cookie has ended: the daemon now shows its form in place of the page.
    location.reload();
    throw new Error("this browser has to log in again");
  }
  if (!response.ok) {
    const problem = await response.json().catch(() => null);
    const { message = `the daemon answered ${response.status}`, fix = "" } = problem?.error ?? {};
    throw new Error(fix ? `${message} (${fix})` : message);
  }
  return response;
}

const get = async (path) => (await ask(path)).json();

function take(event, data, id) {
  if (id) state.lastEventId = id;
  if (event === "status") {
    const status = JSON.parse(data);
    draw(status);
    if (!state.chosen && (status.run?.name ?? null) !== state.shown) readShown().catch(() => {});
  } else if (event === "journal") {
    const entry = JSON.parse(data);
    state.journal.set(entry.id, entry);
    drawJournal();
    if (entry.kind.startsWith("run_")) readRuns().catch(() => {});
    if (/^(checkpoint|pruned|pinned|unpinned|restored)/.test(entry.kind)) readCheckpoints().catch(() => {});
    if (/^(hold|plan|goal|run)/.test(entry.kind)) state.read.plan = 0;
  }
}

async function readRuns() {
  state.runs = await get("/runs");
  if (state.status) drawRuns();
}

// Curves and checkpoints of the run that is looked at.
async function readShown() {
  const name = state.chosen ?? state.status?.run?.name ?? null;
  state.shown = name;
  state.samples = [];
  state.scores = [];
  drawRuns();
  if (name) {
    const path = `/runs/${encodeURIComponent(name)}`;
    const [samples, scores] = await Promise.all([get(`${path}/samples?limit=${CURVE_POINTS}`), get(`${path}/scores`)]);
    if (state.shown !== name) return;
    Object.assign(state, { samples, scores });
  }
  drawLoss();
  drawSpeed();
  await readCheckpoints();
}

async function readCheckpoints() {
  const name = state.shown;
  if (!name) {
    state.checkpoints = [];
    return drawCheckpoints();
  }
  const query = `?run=${encodeURIComponent(name)}`;
  const [found, choices] = await Promise.all([get(`/checkpoints${query}`), get(`/checkpoints/retention${query}`).catch(() => [])]);
  if (state.shown !== name) return;
  state.checkpoints = found;
  state.retention = new Map(choices.map((choice) => [choice.name, choice]));
  drawCheckpoints();
}

async function readJournal() {
  const entries = await get(`/journal?limit=${JOURNAL_FETCHED}`);
  state.journal = new Map(entries.map((entry) => [entry.id, entry]));
  state.lastEventId = String(entries.at(-1)?.id ?? 0);
  drawJournal();
}

const READERS = {
  async house() {
    state.house = await get("/surroundings");
    drawHouse();
    if (state.status?.run) drawTiles(state.status.run);
  },
  async trail() {
    state.trail = await get("/trail");
    drawPower();
  },
  async plan() {
    state.plan = await get(`/schedule?hours=${PLAN_HOURS}`).catch(() => null);
    if (!state.plan?.slots.some((slot) => slot.price !== null)) state.prices = await get(`/prices?hours=${PLAN_HOURS}`);
    drawPlan();
    drawCost();
    drawOutlook();
    if (state.status?.run) drawTiles(state.status.run);
  },
  async energy() {
    state.energy = await get("/energy?by=day");
    drawEnergy();
    drawOutlook();
    if (state.status?.run) drawTiles(state.status.run);
  },
  async curve() {
    state.curve = await get("/schedule/curve").catch(() => null);
    drawCost();
  },
};

async function readDue() {
  if (state.lostSince !== null || document.hidden || !state.status) return;
  const time = performance.now() / 1000;
  const due = Object.keys(READERS).filter((name) => !state.read[name] || time - state.read[name] >= EVERY[name]);
  for (const name of due) {
    state.read[name] = time;
    await READERS[name]().catch(() => {});
  }
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
  state.read = {};
  if (!state.status) return;
  draw(state.status);
  readShown().catch(() => {});
}

function lost(error) {
  if (state.lostSince === null) state.lostSince = new Date();
  document.body.dataset.line = "lost";
  text($("line"), "no connection");
  const since = state.lostSince.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const why = error && !(error instanceof TypeError) && error.name !== "AbortError" ? ` ${error.message}.` : "";
  text($("lost"), `Lost the daemon at ${since}.${why} What you see is from before; this page tries again by itself.`);
  $("lost").hidden = false;
  drawControls();
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

// --- theme and keyboard ---------------------------------------------------------------------

const THEMES = ["", "light", "dark"];

function setTheme(name) {
  if (name) document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
  localStorage.setItem("homerun-theme", name);
  $("theme").setAttribute("aria-label", `Colours: ${name || "as the system"}`);
  $("theme").title = $("theme").getAttribute("aria-label");
  repaint();
}

const nextTheme = () => setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme ?? "") + 1) % 3]);

const KEYS = {
  p() {
    if (menu.querySelector("button").disabled) return;
    menu.open = true;
    menu.querySelector("button").focus();
  },
  r: () => $("resume").click(),
  f: () => $("finish").click(),
  s: () => $("save").click(),
  t: nextTheme,
};

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, dialog")) return;
  if (event.key === "?") $("keys").showModal();
  else if ($("keys-on").checked && KEYS[event.key]) {
    event.preventDefault();
    KEYS[event.key]();
  }
}

// --- start ----------------------------------------------------------------------------------

for (const button of document.querySelectorAll("[data-order]")) button.addEventListener("click", () => order(button));
for (const button of document.querySelectorAll("[data-close]")) button.addEventListener("click", () => button.closest("dialog").close());

$("save").addEventListener("click", save);
$("finish").addEventListener("click", () => $("finish-ask").showModal());
$("theme").addEventListener("click", nextTheme);
$("help").addEventListener("click", () => $("keys").showModal());
$("journal-more").addEventListener("click", () => {
  state.journalRows += 25;
  drawJournal();
});
$("until-form").addEventListener("submit", (event) => {
  event.preventDefault();
  $("pause-menu").open = false;
  command("/pause", { until: nextClock($("until").value) }, (answer) => answered("pause", answer));
});
$("keys-on").checked = localStorage.getItem("homerun-keys") !== "off";
$("keys-on").addEventListener("change", () => localStorage.setItem("homerun-keys", $("keys-on").checked ? "on" : "off"));

const menu = $("pause-menu");
menu.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !menu.open) return;
  menu.open = false;
  menu.querySelector("summary").focus();
});
document.addEventListener("click", (event) => {
  if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", pressed);
document.addEventListener("visibilitychange", readDue);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);

let resized = 0;
new ResizeObserver(() => {
  clearTimeout(resized);
  resized = setTimeout(drawCharts, 100);
}).observe($("main"));

$("no-charts").hidden = typeof uPlot !== "undefined";
setTheme(THEMES.includes(localStorage.getItem("homerun-theme")) ? localStorage.getItem("homerun-theme") : "");
drawControls();
setInterval(readDue, 1000);
live();
