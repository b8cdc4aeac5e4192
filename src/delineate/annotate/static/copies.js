/** Objects that are carried to other pictures, and what is hidden for a while. */

import { Mask } from "./mask.js";
import { newUid } from "./sheet.js";

const APART = 8; // picture pixels between an object and its copy in the same picture

export class Copies {
  kept = [];

  constructor(app) {
    this.app = app;
  }

  take() {
    const { app } = this;
    const chosen = app.sheet?.items.filter((item) => app.selected.has(item.uid) && item.mask.area) ?? [];
    if (!chosen.length) return;
    this.kept = chosen.map(({ label, mask }) => ({ label, mask }));
    this.number = app.sheet.number;
    app.say(`${named(chosen.length)} copied. Ctrl+V puts ${chosen.length === 1 ? "it" : "them"} into any picture.`, "good");
  }

  put() {
    const { app } = this;
    const { sheet } = app;
    if (!sheet || !this.kept.length) return;
    const apart = this.number === sheet.number ? APART : 0;
    const edits = [];
    for (const { label, mask } of this.kept) {
      const counts = placed(mask, sheet, apart);
      if (counts && label < app.folder.classes.length) edits.push({ op: "put", uid: newUid(), label, counts });
    }
    app.commitIf(edits);
    app.select(edits.map(({ uid }) => uid));
    if (edits.length < this.kept.length) app.say("Some copies lie outside of this picture and were left out.", "note");
  }
}

export const named = (count) => (count === 1 ? "1 object" : `${count.toLocaleString("en")} objects`);

/** The run lengths of a mask on another canvas, moved and cut to it; empty where nothing is left. */
function placed(mask, { height, width }, apart) {
  if (!apart && mask.height === height && mask.width === width) return mask.text;
  const [x0, y0, x1, y1] = mask.box;
  const box = [x0, y0, Math.min(x1, width - apart), Math.min(y1, height - apart)];
  if (box[2] <= x0 || box[3] <= y0) return "";
  const crop = mask.crop(box);
  const moved = Mask.fromCrop({ ...crop, x: crop.x + apart, y: crop.y + apart }, height, width);
  return moved.area ? moved.text : "";
}
