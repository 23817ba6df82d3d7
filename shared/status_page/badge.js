(() => {
  const script = document.currentScript.src, at = path => new URL(path, script).href;
  const ROUND = 10000, LONGEST = 300000, OLD = 660, BAD = {degraded: "Degraded", outage: "Outage"};
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(`
    :host { display: inline-block; position: relative; font: 14px/1.4 system-ui, sans-serif; }
    :host([hidden]) { display: none; }
    a { display: block; padding: 6px; border-radius: 50%; color: inherit; }
    a:focus-visible { outline: 2px solid; }
    i { display: block; width: 12px; height: 12px; box-sizing: border-box; border-radius: 50%; background: #8b949e; }
    .operational i { background: #2da44e; }
    .degraded i { background: #f0b429; border: 2px solid #9a6700; }
    .outage i { background: #cf222e; box-shadow: 0 0 0 3px #cf222e55; }
    span { display: none; position: absolute; top: 100%; right: 0; z-index: 9; width: max-content; max-width: 16em;
      padding: 6px 10px; border-radius: 6px; background: #1b1f24; color: #fff; box-shadow: 0 0 0 1px #8885; }
    .open { display: block; }`);
  customElements.define("status-badge", class extends HTMLElement {
    constructor() {
      super();
      const root = this.attachShadow({mode: "open"});
      root.adoptedStyleSheets = [sheet];
      root.innerHTML = "<a><i></i></a><span aria-hidden=true></span>";
      [this.dot, this.tip] = root.children;
      const open = on => this.tip.className = on && this.dot.hasAttribute("tabindex") ? "open" : "";
      for (const event of ["pointerenter", "focusin"]) this.addEventListener(event, () => open(true));
      for (const event of ["pointerleave", "focusout"]) this.addEventListener(event, () => open(false));
      this.addEventListener("keydown", e => e.key == "Escape" && open(false));
      this.wake = () => document.hidden ? clearTimeout(this.timer) : this.poll();
      this.show("unknown", "Status: unknown");
    }
    connectedCallback() {
      this.wait = ROUND;
      document.addEventListener("visibilitychange", this.wake);
      this.wake();
    }
    disconnectedCallback() {
      this.round = clearTimeout(this.timer);
      document.removeEventListener("visibilitychange", this.wake);
    }
    async poll() {
      const round = this.round = {};
      clearTimeout(this.timer);
      try {
        const answer = await fetch(at("/api/status/healthz"), {cache: "no-cache", signal: AbortSignal.timeout(9000)});
        if (!answer.ok) throw 0;
        const health = await answer.json();
        if (this.round != round) return;
        this.read(health);
        this.wait = ROUND;
      } catch {
        if (this.round != round) return;
        this.wait = Math.min(this.wait * 2, LONGEST);
        if (this.wait > ROUND * 4) this.show("unknown", "Status: unknown");
      }
      if (!document.hidden) this.timer = setTimeout(() => this.poll(), this.wait);
    }
    read({status, ageSeconds, components}) {
      const state = ageSeconds < OLD ? status : "unknown", bad = BAD[state];
      const named = p => state == "outage" ? p.status == state : p.status in BAD;
      const parts = Object.entries(components).filter(([, part]) => [part, ...Object.values(part)].some(named))
        .map(([name]) => name.replaceAll("_", " "));
      this.hidden = status == "disabled";
      this.show(state, !bad ? `Status: ${state}` : parts.length ? `${bad}: ${parts.join(", ")}` : bad);
    }
    show(state, text) {
      const {dot, tip} = this, out = state == "outage";
      if (dot.ariaLabel == text) return;
      dot.className = state;
      dot.ariaLabel = tip.textContent = text;
      dot.role = out ? "link" : "img";
      if (state in BAD) dot.tabIndex = 0;
      else dot.removeAttribute("tabindex");
      if (out) dot.href = this.getAttribute("page") || at("/status");
      else dot.removeAttribute("href");
    }
  });
})();
