/** What a person sets up once: remembered by the browser. */

const by = (id) => document.getElementById(id);

function recall() {
  try {
    return JSON.parse(localStorage.getItem("delineate") || "{}");
  } catch {
    return {};
  }
}

/** Light and contrast of the picture as it is shown: nothing else changes, and a reload forgets it. */
function lighting(app) {
  const values = ["light", "contrast"].map(by);
  const show = () => {
    const [light, contrast] = values.map(({ value }) => 2 ** Number(value));
    by("picture").style.filter = light === 1 && contrast === 1 ? "" : `brightness(${light}) contrast(${contrast})`;
  };
  for (const slider of values) {
    slider.title = "For the eye only. Double-click: as the file is";
    slider.addEventListener("input", show);
    slider.addEventListener("dblclick", () => app.plainLight());
  }
  app.plainLight = () => {
    for (const slider of values) slider.value = 0;
    show();
  };
}

export function settings(app) {
  const known = recall();
  const keep = (name, value) => {
    known[name] = value;
    try {
      localStorage.setItem("delineate", JSON.stringify(known));
    } catch {
      // not remembered, then
    }
  };
  const { shown } = app.painter;
  const range = (id, factor) => {
    if (Number.isFinite(known[id])) shown[id] = known[id];
    by(id).value = shown[id] * factor;
    by(id).addEventListener("input", () => {
      shown[id] = by(id).value / factor;
      keep(id, shown[id]);
      app.painter.changed();
    });
  };
  range("opacity", 100);
  range("outline", 1);
  if (["auto", "class", "object"].includes(known.by)) shown.by = known.by;
  by("by").value = shown.by;
  by("by").addEventListener("input", () => {
    shown.by = by("by").value;
    keep("by", shown.by);
    app.painter.changed();
    app.objects.update();
  });
  lighting(app);
  const theme = (name) => {
    document.documentElement.dataset.theme = name;
  };
  theme(known.theme ?? (matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark"));
  by("theme").addEventListener("click", () => {
    theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    keep("theme", document.documentElement.dataset.theme);
  });
}
