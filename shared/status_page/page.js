(() => {
  const clock = {hour: "2-digit", minute: "2-digit", timeZoneName: "short"};
  const full = {day: "numeric", month: "short", year: "numeric", ...clock};
  const all = (e, what) => [...e.querySelectorAll(what)], byId = id => document.getElementById(id), seen = {};
  const name = e => e.href || e.parentNode.id, parts = page => all(page, "[data-part]");
  const local = part => all(part, "time").map(t => {
    t.title = t.textContent;
    t.textContent = new Date(t.dateTime).toLocaleString([], t.className ? clock : full);
  });
  const replace = (part, html) => {
    const open = all(part, "[open]").map(d => d.id), at = document.activeElement, focus = part.contains(at) && name(at);
    part.innerHTML = seen[part.id] = html;
    local(part);
    all(part, "details").map(d => d.open = open.includes(d.id));
    if (focus) all(part, "a,summary").find(e => name(e) === focus)?.focus({preventScroll: true});
  };
  parts(document).map(p => { seen[p.id] = p.innerHTML; local(p); });
  const refresh = async () => {
    if (document.hidden) return;
    let fine;
    try {
      const got = await fetch(location.href, {cache: "no-cache", signal: AbortSignal.timeout(9000)});
      const page = new DOMParser().parseFromString(got.status < 429 && await got.text(), "text/html");
      const done = parts(page).map(p => p.innerHTML === (seen[p.id] ??= p.innerHTML) || replace(byId(p.id), p.innerHTML));
      if (!done.length) throw 0;
      document.title = page.title;
      fine = true;
    } catch {}
    byId("offline").hidden = fine;
  };
  setInterval(refresh, 10000);
  document.addEventListener("visibilitychange", refresh);
})();
