// What messages lead to: an alert with its Acknowledge, its incident and its runbook, for admins who are signed in.
// Everything is shown with textContent: what others wrote is never read as HTML.

import { markdown } from "./on-call.markdown.js";

const FIREBASE = "/__/firebase/11.10.0"; // Hosting serves every release of the SDK below this path
const PATIENCE = 20_000; // milliseconds
const LOCAL = ["127.0.0.1", "localhost", "[::1]"].includes(location.hostname);

const $ = (id) => document.getElementById(id);

/** What the reader is told, with a heading of its own and, where something can be done, a button. */
class Told extends Error {
  constructor(heading, message, action) {
    super(message);
    Object.assign(this, { heading, action });
  }
}

// --- who is signed in

let account = null; // Firebase Authentication, once it is loaded
let localToken = null;

function script(src) {
  return new Promise((resolve, reject) => {
    const tag = Object.assign(document.createElement("script"), { src });
    tag.onload = resolve;
    tag.onerror = () => reject(new Error(src));
    document.head.append(tag);
  });
}

async function loadAccount() {
  try {
    const config = await (await fetch(`${FIREBASE.replace(/\/[^/]*$/, "")}/init.json`)).json();
    await script(`${FIREBASE}/firebase-app-compat.js`);
    await script(`${FIREBASE}/firebase-auth-compat.js`);
    globalThis.firebase.initializeApp(config);
    account = globalThis.firebase.auth();
  } catch {
    const why = "Signing in could not be loaded. Check the connection; if it stays so, see docs/deploy.md.";
    throw new Told("You cannot sign in just now", why, AGAIN);
  }
  await new Promise((resolve) => {
    const stop = account.onAuthStateChanged(() => (stop(), resolve()), resolve);
  });
}

async function token(fresh) {
  if (LOCAL) {
    if (fresh || localToken === null) {
      const answer = await reach("/dev/token", { method: "POST" });
      localToken = answer.ok ? (await answer.json()).token : "";
    }
    return localToken;
  }
  if (account === null) await loadAccount();
  $("sign-out").hidden = account.currentUser === null;
  try {
    return account.currentUser ? await account.currentUser.getIdToken(fresh) : "";
  } catch {
    return ""; // the session has ended: sign in again
  }
}

async function signIn() {
  try {
    await account.signInWithPopup(new globalThis.firebase.auth.GoogleAuthProvider());
  } catch (error) {
    tell(`You are not signed in (${error.code || "no reason given"}). Try again.`);
    return;
  }
  await show();
}

const AGAIN = { label: "Try again", run: () => show() };
const CHANGED = "It has changed";
const SIGN_IN = { label: "Sign in with Google", run: signIn };

// --- asking

async function reach(path, options) {
  try {
    return await fetch(path, { ...options, cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
  } catch {
    throw new Told("No answer", "The server cannot be reached. Check the connection, then try again.", AGAIN);
  }
}

/** The JSON that answers. Throws Told, in plain words. */
async function ask(method, path, missing) {
  let answer = null;
  for (const fresh of [false, true]) {
    const bearer = await token(fresh);
    if (!bearer) break;
    answer = await reach(path, { method, headers: { Authorization: `Bearer ${bearer}` } });
    if (answer.status !== 401) break;
  }
  if (answer === null || answer.status === 401) {
    if (LOCAL) throw new Told("You are signed out", "This server gave no token that holds. Is it `make dev`?", AGAIN);
    throw new Told("You are signed out", "Sign in to see this.", SIGN_IN);
  }
  let body = {};
  try {
    body = await answer.json();
  } catch {
    body = {}; // the status says enough
  }
  if (answer.ok) return body;
  if (answer.status === 403) {
    const words = "You are signed in, but your account is not an admin here. Ask somebody who is one, or sign out and use another account.";
    throw new Told("Not for this account", words);
  }
  if (answer.status === 404) throw new Told("Not found", missing);
  if (answer.status === 409 || answer.status === 412) throw new Told(CHANGED, `Nothing was changed: ${body.detail}.`);
  throw new Told("No answer", `The server could not answer just now (${answer.status}). Try again in a moment.`, AGAIN);
}

/** What is good to know besides; the page stands without it. */
const besides = (path) => (path ? ask("GET", path, "").catch(() => null) : Promise.resolve(null));

// --- showing

function node(tag, text, kind) {
  const made = document.createElement(tag);
  if (text instanceof Node) made.append(text);
  else if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function link(text, ...path) {
  const made = node("a", text);
  made.href = `/on-call/${path.map(encodeURIComponent).join("/")}`;
  return made;
}

function outward(text, address) {
  const made = node("a", text);
  made.href = address;
  return made;
}

function time(iso) {
  const made = node("time", `${iso.slice(0, 10)} ${iso.slice(11, 16)} UTC`);
  made.dateTime = iso;
  return made;
}

function line(kind, ...parts) {
  const made = node("p", undefined, kind);
  made.append(...parts);
  return made;
}

/** A list of names and what they are; what is null is left out. */
function facts(rows) {
  const list = node("dl");
  for (const [name, value] of rows) if (value !== null && value !== undefined) list.append(node("dt", name), node("dd", value));
  return list;
}

function button(label, run, kind) {
  const made = node("button", label, kind);
  made.type = "button";
  made.addEventListener("click", async () => {
    if (made.getAttribute("aria-disabled")) return;
    made.setAttribute("aria-disabled", "true");
    try {
      await run();
    } finally {
      made.removeAttribute("aria-disabled");
    }
  });
  return made;
}

function page(heading, ...parts) {
  $("title").textContent = heading;
  document.title = `${heading} · On call`;
  $("content").replaceChildren(...parts);
}

const tell = (words) => ($("outcome").textContent = words);
const words = (name) => String(name ?? "").replaceAll("_", " ");
const number = (value) => new Intl.NumberFormat("en", { maximumSignificantDigits: 6 }).format(value);
const amount = (value, unit) => `${number(value)}${unit && unit !== "count" ? ` ${unit}` : ""}`;

// --- the pages

async function alerts() {
  const { alerts } = await ask("GET", "/api/ops/alerts?limit=1", "");
  const open = alerts.filter((alert) => ["firing", "pending"].includes(alert.state));
  const list = node("ul");
  for (const alert of open) {
    const item = node("li");
    const taken = alert.acknowledged ? `, acknowledged by ${alert.acknowledged.by}` : "";
    item.append(
      line("", link(alertName(alert), "alerts", alert.alertId)),
      line("", node("span", alert.state, `state ${alert.state}`), ` since `, time(alert.since), taken),
      line("soft", [alert.severity, alert.component].filter(Boolean).join(", ")),
    );
    list.append(item);
  }
  const end = asOf();
  page("Open alerts", open.length ? list : node("p", "Nothing fires now."), end);
  const due = await besides("/api/incidents?postmortem=due&from=-90d&limit=20"); // what fires does not wait for it
  end.before(...owed(due?.incidents || []));
}

/** The post-mortems that are to be written. */
function owed(incidents) {
  const list = node("ul");
  for (const one of incidents) {
    const item = node("li");
    item.append(line("", link(one.title, "incidents", one.id)), line("soft", ...postmortem(one)));
    list.append(item);
  }
  return incidents.length ? [heading("Post-mortems due"), list] : [];
}

function postmortem(one) {
  if (one.postmortemState === "written") return ["written ", time(one.postmortemAt)];
  return [one.postmortemState === "overdue" ? "overdue since " : "due ", time(one.postmortemDueAt)];
}

const alertName = (alert) => (alert.burn ? `${alert.sloName} (${alert.rule})` : alert.sloName);
const asOf = () => line("soft", "As of ", time(new Date().toISOString()), ". Reload the page to see what has changed since.");

async function alert(id, focus) {
  const path = `/api/ops/alerts/${encodeURIComponent(id)}`;
  const known = await ask("GET", path, `No alert of the name “${id}” ever began.`);
  // what F0 Ops says of itself and of costs is of no SLO, and has its own name in the place of one
  const [slo, incident] = await Promise.all([
    besides(known.sloId && known.sloId !== known.alertId && `/api/ops/slos/${encodeURIComponent(known.sloId)}`),
    besides(known.incidentId && `/api/incidents/${encodeURIComponent(known.incidentId)}`),
  ]);
  const change = (method, done) => async () => {
    let others = "";
    let whose = "";
    try {
      const { acknowledged, together } = await ask(method, `${path}/acknowledge`, `No alert of the name “${id}” ever began.`);
      if (acknowledged) whose = ` ${acknowledged.by} has it: it is repeated and passed on no more.`; // maybe somebody was faster
      if (together.length) others = ` The same holds for what fires of its incident: ${together.join(", ")}.`;
    } catch (error) {
      if (!(error instanceof Told)) throw error;
      const why = `${error.heading}. ${error.message}`;
      if (error.heading === CHANGED || error.action === SIGN_IN) await show(why);
      else tell(why);
      return;
    }
    await show(done + whose + others);
  };
  const firing = known.state === "firing";
  const actions = node("div", undefined, "actions");
  let first = null;
  if (known.acknowledged) {
    actions.append(line("", `Acknowledged by ${known.acknowledged.by}, `, time(known.acknowledged.at), known.acknowledged.note ? `: ${known.acknowledged.note}` : ""));
    if (firing) actions.append(button("Give back", change("DELETE", "Given back. The alert is nobody's: it is repeated and passed on again."), "quiet"));
  } else if (firing) {
    first = button("Acknowledge", change("POST", "Acknowledged."));
    actions.append(first);
  } else {
    actions.append(node("p", "It does not fire now, so there is nothing to acknowledge."));
  }
  page(
    alertName(known),
    line("", node("span", known.state, `state ${known.state}`), " since ", time(known.since), `: ${words(known.reason)}`),
    actions,
    heading("What is wrong"),
    facts([
      ["Measured", known.value === null ? "no data" : amount(known.value, known.unit)],
      ["Should be", `${known.comparison === "below" ? "at least" : "at most"} ${amount(known.threshold, known.unit)}`],
      ["Of what", `${[known.aggregation, "of", words(known.metric)].join(" ")}${known.under ? ` within ${known.under}` : ""}${where(known.labels)}`],
      ["Counted", known.total === null ? null : `${number(known.good)} of ${number(known.total)} were good`],
      ["Error budget", slo && budget(slo.budget.left)],
      ["Severity", known.severity],
      ["Component", known.component],
      ["Incident", known.incidentId && link(incident ? incident.title : known.incidentId, "incidents", known.incidentId)],
      ["Runbook", incident && incident.runbook ? link(incident.runbook, "runbooks", incident.runbook) : null],
    ]),
    heading("What each channel was told"),
    told(known),
    heading("What comes next"),
    line("", ...coming(known)),
    asOf(),
  );
  if (focus && first) first.focus();
}

const heading = (text) => node("h2", text);
const where = (labels) => Object.entries(labels || {}).map(([name, value]) => `, ${name} ${value}`).join("");

/** What the alert does by itself if nobody does anything. */
function coming(known) {
  const { escalates, escalatesTo, escalationDue, repeats, speaksAgain } = known.next;
  const again = repeats ? ["It is told again at ", time(repeats), "."] : [];
  if (known.state !== "firing") return ["Nothing: it does not fire."];
  if (speaksAgain) return ["It is told again at ", time(speaksAgain), ", and its incident is open again then: that was resolved, and this fires on."];
  if (known.acknowledged) return ["Nothing but its end: somebody has it."];
  if (!escalates && !repeats) return ["Nothing but its end."];
  const further = escalatesTo.map((channel) => (known.holds[channel] ? `${channel} (held back now: ${held(known.holds[channel])})` : channel));
  const to = further.length ? ` to ${further.join(" and ")}` : "";
  const stuck = escalationDue && escalatesTo.length && escalatesTo.every((channel) => known.holds[channel]);
  if (stuck) return [`Passing it on to ${escalatesTo.join(" and ")} is due since `, time(escalates), `, held back: ${held(known.holds[escalatesTo[0]])}. `, ...again];
  const passed = escalates ? [`It is passed on${to} at `, time(escalates), ". "] : [];
  return [...passed, ...again];
}

function budget(left) {
  if (left === null) return "not known yet";
  if (left <= -1) return `${number(Math.round((1 - left) * 10) / 10)} × the whole budget is spent`;
  if (left < 0) return `overspent by ${number(Math.ceil(-left * 100))} %`;
  return `${number(Math.floor(left * 100))} % is left`;
}

const held = (hold) => [words(hold.reason), ...(hold.by ? [`by ${hold.by}`] : [])].join(" ");

function told(known) {
  const list = node("ul");
  for (const [channel, last] of Object.entries(known.told)) {
    const item = node("li");
    const when = last.deliveredAt ? [", ", time(last.deliveredAt)] : [];
    const why = last.reason ? ` (${words(last.reason)})` : "";
    item.append(line("", node("strong", channel), `: ${words(last.kind)} ${words(last.state)}${why}`, ...when));
    const hold = known.holds[channel];
    if (hold) item.append(line("soft", `Held back now: ${held(hold)}`, ...(hold.until ? [" until ", time(hold.until)] : [])));
    list.append(item);
  }
  return list.children.length ? list : node("p", "Nothing was told to any channel.");
}

async function incident(id) {
  const known = await ask("GET", `/api/incidents/${encodeURIComponent(id)}`, `There is no incident of the name “${id}”.`);
  const timeline = node("ol");
  for (const entry of [...known.updates].reverse()) {
    const item = node("li");
    const other = entry.public ? entry.publicMessage : null; // what the public reads in the place of a text for the team
    const seen = entry.public && !other ? "public" : "internal";
    item.append(line("", node("strong", words(entry.status)), " ", time(entry.timestamp)), node("p", entry.message), node("p", `${entry.author}, ${seen}`, "soft"));
    if (other) item.append(node("p", `The public reads: ${other}`, "soft"));
    timeline.append(item);
  }
  const named = node("span");
  for (const alertId of known.alertIds || []) named.append(...(named.childNodes.length ? [", "] : []), link(alertId, "alerts", alertId));
  page(
    known.title,
    facts([
      ["Status", words(known.status)],
      ["Impact", known.impact],
      ["Components", (known.components || []).join(", ")],
      ["Seen by", known.publicUrl ? outward("everybody, on the status page", known.publicUrl) : "the team only"],
      ["Began", known.startedAt && time(known.startedAt)],
      ["Resolved", known.resolvedAt && time(known.resolvedAt)],
      ["In the hands of", known.acknowledged && line("", `${known.acknowledged.by}, since `, time(known.acknowledged.at))],
      ["Alerts", named.childNodes.length ? named : null],
      ["Runbook", known.runbook ? link(known.runbook, "runbooks", known.runbook) : null],
      ["Post-mortem", known.postmortemState && line("", ...postmortem(known))],
    ]),
    ...todo(known.actionItems || []),
    heading("Timeline, newest first"),
    timeline,
    ...(known.earlierUpdates ? [line("soft", `Entries before these that are not shown: ${known.earlierUpdates}.`)] : []),
    asOf(),
  );
}

function todo(items) {
  const list = node("ul");
  for (const item of items) {
    const by = item.dueAt ? [", due ", item.dueAt.slice(0, 10)] : [];
    list.append(node("li", line("", node("strong", `${item.id} `), item.title)));
    list.lastChild.append(line("soft", `${item.owner || "nobody"}, ${words(item.state)}`, ...by));
  }
  return items.length ? [heading("To do"), list] : [];
}

async function runbook(name) {
  const known = await ask("GET", `/api/runbooks/${encodeURIComponent(name)}`, `There is no runbook of the name “${name}”.`);
  page(known.title, markdown(known.markdown.replace(/^# .*/, ""))); // its first line is the title
  if (location.hash) location.replace(location.hash); // what it names is there only now
}

// --- which page

function wanted() {
  let parts = [];
  try {
    parts = location.pathname.split("/").slice(2).filter(Boolean).map(decodeURIComponent);
  } catch {
    parts = ["?"]; // a % that stands for nothing
  }
  const [kind, id, more] = parts;
  if (parts.length === 0 || (kind === "alerts" && parts.length === 1)) return alerts();
  if (kind === "alerts" && parts.length === 2) return alert(id, false);
  if (kind === "alerts" && parts.length === 3 && more === "acknowledge") return alert(id, $("outcome").textContent === "");
  if (kind === "incidents" && parts.length === 2) return incident(id);
  if (kind === "runbooks" && parts.length === 2) return runbook(id);
  throw new Told("Not found", "There is no page at this address. The open alerts are a good place to begin.");
}

/** Shows the page of this address; `done` is what has just been done, and gets the focus. */
async function show(done = "") {
  tell(done);
  if (done) $("outcome").focus();
  try {
    await wanted();
  } catch (error) {
    const known = error instanceof Told;
    if (!known) console.error(error);
    const parts = known ? [node("p", error.message)] : [node("p", "This page has a fault of its own. The API and the terminal still work.")];
    if (known && error.action) parts.push(line("actions", button(error.action.label, error.action.run)));
    page(known ? error.heading : "Something went wrong", ...parts);
  }
}

$("sign-out").addEventListener("click", async () => {
  await account.signOut();
  $("sign-out").hidden = true;
  await show();
});

await show();
