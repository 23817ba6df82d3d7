(() => {
  const zone = new Intl.DateTimeFormat([], {day: "numeric", month: "short", year: "numeric", hour: "2-digit",
    minute: "2-digit", timeZoneName: "short"});
  const all = (e, what) => [...e.querySelectorAll(what)], byId = id => document.getElementById(id), seen = {};
  const name = e => e.href || e.parentNode.id, parts = page => all(page, "[data-part]");
  const local = part => all(part, "time").map(t => {
    t.title = t.textContent;
    t.textContent = zone.format(new Date(t.dateTime));
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
    let lost = false;
    try {
      const signal = AbortSignal.timeout(9000);
      const text = await (await fetch(location.href, {cache: "no-cache", signal})).text();
      const page = new DOMParser().parseFromString(text, "text/html");
      const done = parts(page).map(p => p.innerHTML === (seen[p.id] ??= p.innerHTML) || replace(byId(p.id), p.innerHTML));
      if (!done.length) throw 0;
      document.title = page.title;
    } catch { lost = true; }
    byId("offline").hidden = !lost;
  };
  setInterval(refresh, 10000);
  document.addEventListener("visibilitychange", refresh);
})();
