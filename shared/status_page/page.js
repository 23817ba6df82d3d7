(() => {
  const zone = new Intl.DateTimeFormat([], {day: "numeric", month: "short", year: "numeric", hour: "2-digit",
    minute: "2-digit", timeZoneName: "short"});
  const byId = id => document.getElementById(id), seen = {};
  const local = part => part.querySelectorAll("time").forEach(t => {
    t.title = t.textContent;
    t.textContent = zone.format(new Date(t.dateTime));
  });
  const replace = (part, html) => {
    const open = [...part.querySelectorAll("[open]")].map(d => d.id), at = document.activeElement;
    const focus = part.contains(at) && at.parentNode.id;
    part.innerHTML = seen[part.id] = html;
    local(part);
    open.map(byId).forEach(d => { if (d) d.open = true; });
    if (focus && byId(focus)) byId(focus).firstElementChild.focus({preventScroll: true});
  };
  document.querySelectorAll("[data-part]").forEach(p => { seen[p.id] = p.innerHTML; local(p); });
  const refresh = async () => {
    if (document.hidden) return;
    try {
      const text = await (await fetch(location.href, {cache: "no-cache"})).text();
      const page = new DOMParser().parseFromString(text, "text/html");
      if (!page.getElementById("banner")) throw 0;
      page.querySelectorAll("[data-part]").forEach(p => {
        if (p.innerHTML !== seen[p.id]) replace(byId(p.id), p.innerHTML);
      });
      document.title = page.title;
      byId("offline").hidden = true;
    } catch { byId("offline").hidden = false; }
  };
  setInterval(refresh, 10000);
  document.addEventListener("visibilitychange", refresh);
})();
