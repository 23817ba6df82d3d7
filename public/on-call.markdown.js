// The Markdown of runbooks as elements: headings, paragraphs, lists, fenced code with a Copy, tables, and what stands in a line.
// All text becomes text nodes, so that HTML in it is read and never run. What is not known here is shown as it is written.

const FENCE = /^(`{3,}|~{3,})[^`]*$/;
const HEADING = /^(#{1,6}) +(.+?)(?: +#+)?$/;
const ITEM = /^(?:([-*+])|(\d{1,9})[.)]) +(?=\S)/;
const RULE = /^(?:-{3,}|\*{3,})$/;
const UNDER_HEAD = /^\|?(?: *:?-+:? *\|)+(?: *:?-+:? *)?$/;
// code, **bold**, *emphasis* or _emphasis_, [label](address), <address>, an escaped sign
const INLINE =
  /(?<tick>`+)(?<code>.+?)(?<!`)\k<tick>(?!`)|\*\*(?=\S)(?<strong>.+?)(?<=\S)\*\*|\*(?=\S)(?<em>.+?)(?<=\S)\*|(?<!\w)_(?=\S)(?<under>.+?)(?<=\S)_(?!\w)|\[(?<label>(?:`[^`]*`|[^\]`])+)\]\((?<to>[^\s()]*)\)|<(?<bare>https:\/\/[^\s<>]+)>|\\(?<sign>[!-/:-@[-`{-~])/;

function element(tag, ...inside) {
  const made = document.createElement(tag);
  made.append(...inside);
  return made;
}

/** An element with the whole text; a link to a heading of it that is not there is shown as text. */
export function markdown(text) {
  const whole = element("div", ...blocks(text.replaceAll("\r\n", "\n").replaceAll("\t", "    ").split("\n")));
  whole.className = "runbook";
  const parts = new Set([...whole.querySelectorAll("[id]")].map((heading) => heading.id));
  for (const link of whole.querySelectorAll('a[href^="#"]')) if (!parts.has(link.getAttribute("href").slice(1))) link.replaceWith(...link.childNodes);
  return whole;
}

// --- blocks

const isTable = (lines, at) => lines[at].startsWith("|") && UNDER_HEAD.test(lines[at + 1]?.trim() ?? "");
const begins = (lines, at) => [FENCE, HEADING, ITEM, RULE].some((kind) => kind.test(lines[at])) || isTable(lines, at);

function blocks(lines) {
  const made = [];
  let at = 0;
  /** The lines from here for which `more` holds, `most` of them; they are used up. */
  const take = (more, most = Infinity) => {
    const first = at;
    while (at < lines.length && at - first < most && more(at)) at += 1;
    return lines.slice(first, at);
  };
  while (at < lines.length) {
    const line = lines[at];
    const fence = line.match(FENCE);
    const title = line.match(HEADING);
    if (!line.trim()) {
      at += 1;
    } else if (fence) {
      at += 1;
      made.push(code(take((n) => !lines[n].startsWith(fence[1])).join("\n")));
      at += 1; // the closing fence
    } else if (title) {
      at += 1;
      made.push(heading(title[1].length, inline(title[2])));
    } else if (RULE.test(line)) {
      at += 1;
      made.push(element("hr"));
    } else if (isTable(lines, at)) {
      made.push(table(take((n) => lines[n].startsWith("|"))));
    } else if (ITEM.test(line)) {
      made.push(list(lines, line.match(ITEM)[2], take));
    } else {
      const first = at;
      made.push(element("p", ...inline(take((n) => lines[n].trim() && (n === first || !begins(lines, n))).map((one) => one.trim()).join(" "))));
    }
  }
  return made;
}

function heading(level, inside) {
  const made = element(`h${Math.max(2, level)}`, ...inside); // the page's own title is its only h1
  made.id = part(made.textContent);
  return made;
}

/** The id of a heading: its name as Markdown's links know it, apart from the page's own ids. */
const part = (text) => `part-${text.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-")}`;

/** Its items are the ones of its kind that follow each other; what is indented below one belongs to it. */
function list(lines, number, take) {
  const made = element(number ? "ol" : "ul");
  if (number) made.start = Number(number);
  const same = (n) => Boolean(lines[n].match(ITEM)?.[2]) === Boolean(number) && ITEM.test(lines[n]);
  const indented = (n) => n < lines.length && /^ {2}/.test(lines[n]);
  const goesOn = (n) => (lines[n].trim() ? indented(n) || (lines[n - 1].trim() !== "" && !begins(lines, n)) : indented(n + 1));
  for (let [head] = take(same, 1); head !== undefined; [head] = take(same, 1)) {
    const width = head.match(ITEM)[0].length;
    const below = take(goesOn).map((line) => line.replace(new RegExp(`^ {1,${width}}`), ""));
    made.append(element("li", ...blocks([head.slice(width), ...below])));
    take((n) => !lines[n].trim()); // what is empty between two items
  }
  return made;
}

function code(text) {
  const block = element("pre", element("code", text));
  const said = element("span");
  said.setAttribute("role", "status");
  const copy = element("button", "Copy");
  copy.type = "button";
  copy.className = "quiet";
  copy.setAttribute("aria-label", `Copy ${text.split("\n")[0]}`);
  copy.addEventListener("click", async () => {
    said.textContent = ""; // so that it is said again
    try {
      await navigator.clipboard.writeText(text);
      said.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(block);
      said.textContent = "Not copied: it is selected, copy it by hand";
    }
  });
  const made = element("div", block, copy, said);
  made.className = "code";
  return made;
}

const cells = (row) => row.trim().replace(/^\||(?<!\\)\|$/g, "").split(/(?<!\\)\|/).map((cell) => inline(cell.trim().replaceAll("\\|", "|")));

/** In a frame of its own, which scrolls where the screen is narrow. */
function table([head, , ...rows]) {
  const names = element("tr", ...cells(head).map((name) => element("th", ...name)));
  for (const name of names.children) name.scope = "col";
  const body = rows.map((row) => element("tr", ...cells(row).map((cell) => element("td", ...cell))));
  const frame = element("div", element("table", element("thead", names), element("tbody", ...body)));
  frame.className = "scroll";
  frame.tabIndex = 0; // arrow keys scroll it
  frame.setAttribute("role", "group");
  frame.setAttribute("aria-label", `Table: ${[...names.children].map((name) => name.textContent).join(", ")}`);
  return frame;
}

// --- what stands in a line

function inline(text) {
  const found = text.match(INLINE);
  if (!found) return text ? [text] : [];
  const { code, strong, em, under, label, to, bare, sign } = found.groups;
  let made = [sign];
  if (code) made = [element("code", code)];
  else if (strong) made = [element("strong", ...inline(strong))];
  else if (em || under) made = [element("em", ...inline(em || under))];
  else if (label) made = link(inline(label), to);
  else if (bare) made = link([bare], bare);
  return [...inline(text.slice(0, found.index)), ...made, ...inline(text.slice(found.index + found[0].length))];
}

/** To https, to another runbook, or to a heading; any other address is text behind its label. */
function link(label, to) {
  const [, name, heading] = to.match(/^(?:\.\/)?(?:([a-z0-9][a-z0-9-]*)\.md)?(?:#([^#]+))?$/) ?? [];
  const known = (name ? `/on-call/runbooks/${name}` : "") + (heading ? `#${part(heading)}` : "");
  if (!known && !/^https:\/\//.test(to)) return [...label, ` (${to})`];
  const made = element("a", ...label);
  made.href = known || to;
  if (!known) made.rel = "noreferrer";
  return [made];
}
