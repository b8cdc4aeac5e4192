/** Help, export, names of classes, and what to do about a conflict. */

import { get } from "./api.js";
import { element } from "./lists.js";

const KEYS = [
  ["Tools", [["V", "choose objects"], ["C", "click or box: the model draws"], ["B", "brush"], ["E", "eraser"], ["P", "polygon"], ["N", "move corners"]]],
  ["While drawing", [["Enter", "take it, close the polygon"], ["Esc", "drop it, choose nothing"], ["Tab", "another answer to a click"], ["Shift-click", "not this"], ["[ ]", "brush size"], ["Alt", "brush erases"], ["← ↑ → ↓", "a pointer without a mouse (Alt: finer)"], ["X", "press it, hold it to drag"]]],
  ["Objects", [["1 … 0", "class"], ["L", "find a class"], ["+", "add a class"], ["F2", "rename the class"], ["Del", "delete"], ["J", "join the selected"], ["Shift+↑ ↓", "to the front, to the back"], ["Ctrl+A", "choose all"], ["Ctrl+C", "copy"], ["Ctrl+V", "put in, here or in another picture"]]],
  ["View", [["Wheel", "zoom (or pinch)"], ["Space-drag", "move the picture"], ["F", "fit"], ["Z", "zoom to the selected"], ["- =", "zoom out, in"], ["H", "hide all masks"], ["Shift+H", "hide all but the selected"], ["O", "outlines only"], ["R", "light and contrast as they are"]]],
  ["Pictures", [["D", "done, next picture"], [", .", "previous, next"], ["Shift+.", "next that is to do"], ["/", "search"], ["G", "find objects"], ["Ctrl+Z", "undo"], ["Ctrl+Shift+Z", "redo"], ["?", "this help"]]],
];

const TITLES = {
  coco: ["COCO", "one JSON file; keeps everything"],
  yolo: ["YOLO", "text files and data.yaml"],
  labelme: ["LabelMe", "a JSON file for each picture"],
  voc: ["Pascal VOC", "XML files and masks as PNG"],
  cvat: ["CVAT", "XML for images"],
  label_studio: ["Label Studio", "JSON with brush masks"],
  via: ["VGG Image Annotator", "JSON project"],
  geojson: ["GeoJSON", "polygons, as for QuPath"],
  label_maps: ["Label maps", "16-bit pictures, as for Cellpose"],
  png_per_object: ["PNG per object", "a picture for each mask"],
};

const by = (id) => document.getElementById(id);

function show(id, title, ...content) {
  const dialog = by(id);
  const heading = element("h2", { id: id.replace("-dialog", "-title") }, title);
  const close = element("button", { class: "quiet", "data-icon": "cross", "aria-label": "Close", onclick: () => dialog.close() }, "✕");
  close.removeAttribute("data-icon");
  dialog.replaceChildren(element("div", { class: "row" }, heading, close), ...content);
  dialog.onclick = (event) => event.target === dialog && dialog.close();
  if (!dialog.open) dialog.showModal();
  return dialog;
}

export function help() {
  const groups = KEYS.map(([title, rows]) =>
    element("section", {}, element("h3", {}, title), element("dl", {}, ...rows.flatMap(([keys, what]) => [element("dt", {}, ...keys.split(" ").map((key) => element("kbd", {}, key))), element("dd", {}, what)]))),
  );
  show("help-dialog", "Keys", element("div", { class: "keys" }, ...groups));
}

export function exporting(app) {
  const note = element("p", { class: "dim note" }, "Pictures are not in the download.");
  const rows = app.folder.exports.map((name) => {
    const [title, what] = TITLES[name] || [name, ""];
    return element("button", { class: "choice", onclick: () => download(name, note, app) }, element("b", {}, title), element("span", { class: "dim" }, what));
  });
  show("export-dialog", "Export all annotations", element("div", { class: "choices" }, ...rows), note);
}

async function download(name, note, app) {
  const [title] = TITLES[name] || [name];
  try {
    const { losses } = await get(`/api/losses?format=${name}`);
    note.classList.toggle("warn", losses.length > 0);
    note.textContent = losses.length ? `${title} cannot hold ${losses.join("; ")}.` : `${title} holds everything.`;
    const answer = await fetch(`/api/export?format=${name}`);
    if (!answer.ok) throw new Error((await answer.json()).error);
    const file = /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition"))[1];
    const address = URL.createObjectURL(await answer.blob());
    element("a", { href: address, download: file }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
    app.say(`${file} is in your downloads.`, "good");
  } catch (error) {
    note.classList.add("warn");
    note.textContent = error.message;
  }
}

/** Ask for a name; the promise gives it, or null. */
export function askName(title, given = "") {
  return new Promise((resolve) => {
    const field = element("input", { type: "text", value: given, maxlength: "100", "aria-label": title, autocomplete: "off" });
    let name = null;
    const take = () => {
      name = field.value.trim() || null;
      dialog.close();
    };
    field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault(); // else it would press what has the focus next
      take();
    });
    const form = element("div", { class: "field" }, field, element("button", { class: "main", onclick: take }, "OK"));
    const dialog = show("class-dialog", title, form);
    dialog.addEventListener("close", () => resolve(name), { once: true });
    field.focus();
    field.select();
  });
}

/** What to do when somebody else changed the picture. */
export function conflict(count, choose) {
  const mine = count === 1 ? "1 change" : `${count} changes`;
  const pick = (merge) => () => {
    dialog.close();
    choose(merge);
  };
  const dialog = show(
    "conflict-dialog",
    "The picture was changed elsewhere",
    element("p", {}, `Another tab or person saved this picture since you opened it. ${mine} of yours ${count === 1 ? "is" : "are"} not saved yet.`),
    element("div", { class: "row end" }, element("button", { onclick: pick(false) }, "Show theirs, drop mine"), element("button", { class: "main", onclick: pick(true) }, "Add mine to theirs")),
  );
  dialog.oncancel = (event) => event.preventDefault();
  dialog.onclick = null;
  dialog.querySelector('[aria-label="Close"]').remove();
}
