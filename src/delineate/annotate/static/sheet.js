/** The objects of one picture: edits, undo and redo, and the queue that brings edits to the server one after another. */

import { Failure, post } from "./api.js";
import { Mask, around } from "./mask.js";

const HISTORY = 2_000_000; // characters of it that outlive a reload
const random = (length) => Array.from(crypto.getRandomValues(new Uint8Array(length)), (n) => (n % 36).toString(36)).join("");

export const newUid = () => `n${random(10)}`;

export class Sheet extends EventTarget {
  constructor(content) {
    super();
    Object.assign(this, { number: content.number, height: content.height, width: content.width });
    Object.assign(this, { version: content.version, view: content.view, tile: content.tile });
    Object.assign(this, { undos: [], redos: [], waiting: [], sending: null, state: "saved", problem: "" });
    this.take(content);
    this.recall();
  }

  /** Show what the server has. */
  take(content) {
    this.revision = content.revision;
    this.items = content.items.map((item) => this.made(item));
    this.known = new Map(content.items.map(({ uid, label, counts }) => [uid, `${label} ${counts}`])); // of the server
    this.dirty = null;
  }

  /** Follow what the server has taken. */
  follow(edits) {
    for (const { op, uid, label, counts } of edits) {
      if (op === "drop") this.known.delete(uid);
      else if (op === "put") this.known.set(uid, `${label} ${counts ?? this.known.get(uid)?.split(" ")[1] ?? this.get(uid)?.mask.text}`);
    }
  }

  /** The names that a server which was started anew has for the objects that it had before, as far as it has them. */
  names(content) {
    const places = new Map();
    for (const { uid, label, counts } of content.items) {
      const key = `${label} ${counts}`;
      places.set(key, [...(places.get(key) ?? []), uid]);
    }
    const found = [...this.known].map(([uid, key]) => [uid, places.get(key)?.shift()]);
    return new Map(found.filter(([, name]) => name !== undefined));
  }

  rename(names) {
    const steps = [...this.undos, ...this.redos].flatMap((step) => [...step.edits, ...step.inverse]);
    for (const edit of new Set([...this.waiting, ...steps])) {
      if (edit.uid) edit.uid = names.get(edit.uid) ?? edit.uid;
      if (edit.uids) edit.uids = edit.uids.map((uid) => names.get(uid) ?? uid);
    }
  }

  /** Go on with a server that was started anew. Nothing is done, and false comes back, if it has other objects now. */
  adopt(content) {
    const names = this.names(content);
    if (names.size !== this.known.size || names.size !== content.items.length) return false;
    this.rename(names);
    for (const item of this.items) item.uid = names.get(item.uid) ?? item.uid;
    this.known = new Map([...this.known].map(([uid, key]) => [names.get(uid), key]));
    Object.assign(this, { revision: content.revision, conflict: false, key: null, problem: "" });
    this.state = this.waiting.length ? "saving" : "saved";
    this.tell("items");
    this.tell("state");
    if (this.waiting.length) this.sending ??= this.deliver();
    return true;
  }

  made({ uid, label, counts, score, box }) {
    const mask = new Mask(counts, this.height, this.width);
    return { uid, label, mask, score, box: mask.area ? null : box && [box[0], box[1], box[0] + box[2], box[1] + box[3]] };
  }

  get(uid) {
    return this.items.find((item) => item.uid === uid);
  }

  /** Do edits, remember how to undo them, and save. */
  edit(edits) {
    if (!edits.length) return;
    const step = { edits, inverse: [] };
    this.undos.push(step);
    if (this.undos.length > 1000) this.undos.shift();
    this.redos = [];
    step.inverse = this.apply(edits);
    this.send(edits);
  }

  undo() {
    const step = this.undos.pop();
    if (!step) return;
    this.redos.push(step);
    this.apply(step.inverse);
    this.send(step.inverse);
  }

  redo() {
    const step = this.redos.pop();
    if (!step) return;
    this.undos.push(step);
    this.apply(step.edits);
    this.send(step.edits);
  }

  apply(edits) {
    const inverse = [];
    for (const edit of edits) inverse.unshift(...this.applyOne(edit));
    this.tell("items");
    return inverse;
  }

  /** What has to be drawn again. */
  touch({ mask, box }) {
    const own = box || mask.box;
    this.dirty = this.dirty ? around(this.dirty, own, Infinity, Infinity) : own;
  }

  applyOne(edit) {
    if (edit.op === "order") {
      this.items.forEach((item) => this.touch(item));
      const former = this.items.map((item) => item.uid);
      const known = new Map(this.items.map((item) => [item.uid, item]));
      const named = edit.uids.map((uid) => known.get(uid)).filter(Boolean);
      const rest = new Set(named);
      this.items = [...named, ...this.items.filter((item) => !rest.has(item))];
      return [{ op: "order", uids: former }];
    }
    const at = this.items.findIndex((item) => item.uid === edit.uid);
    const item = this.items[at];
    if (edit.op === "drop") {
      if (!item) return [];
      this.touch(item);
      this.items.splice(at, 1);
      return [{ op: "put", uid: item.uid, label: item.label, counts: item.mask.text, at }];
    }
    if (!item) {
      const made = this.made({ uid: edit.uid, label: edit.label, counts: edit.counts });
      this.items.splice(edit.at ?? this.items.length, 0, made);
      this.touch(made);
      return [{ op: "drop", uid: edit.uid }];
    }
    const former = { op: "put", uid: item.uid, label: item.label };
    const changed = edit.counts && edit.counts !== item.mask.text;
    if (changed) former.counts = item.mask.text;
    const next = changed ? this.made(edit) : { ...item, label: edit.label };
    this.items[at] = { ...next, hidden: item.hidden };
    this.touch(item);
    this.touch(next);
    return [former];
  }

  send(edits) {
    this.waiting.push(...edits);
    this.state = "saving";
    this.tell("state");
    this.sending ??= this.deliver();
  }

  async deliver() {
    await null; // so that what is under way is known before it ends
    let pause = 500;
    while (this.waiting.length && !this.conflict) {
      const edits = this.waiting.slice(0, 5000);
      this.key ??= random(16);
      try {
        const { revision } = await post(`/api/pictures/${this.number}/edits`, { revision: this.revision, key: this.key, edits });
        this.revision = revision;
        this.waiting.splice(0, edits.length);
        this.follow(edits);
        Object.assign(this, { key: null, problem: "", state: this.waiting.length ? "saving" : "saved" });
        pause = 500;
      } catch (error) {
        this.problem = error instanceof Failure ? error.message : String(error);
        this.state = "failed";
        if (error.status === 409) {
          this.conflict = true;
          this.key = null;
          this.tell("conflict");
        } else if (error.status === 422 || error.status === 400) {
          this.waiting = []; // it would be refused again; what the server has counts
          this.key = null;
          this.tell("refused");
        } else {
          this.tell("state");
          await new Promise((done) => setTimeout(done, pause));
          pause = Math.min(pause * 2, 8000);
        }
      }
      this.tell("state");
    }
    this.sending = null;
    if (this.state === "saved") this.remember();
  }

  /** After a conflict: what the server has, with the edits that are not saved yet on top of it, or without them. */
  resolve(content, merge) {
    this.rename(this.names(content));
    const edits = merge ? this.waiting : [];
    Object.assign(this, { waiting: [], conflict: false, undos: [], redos: [], state: "saved", problem: "" });
    this.take(content);
    this.tell("items");
    this.tell("state");
    const known = new Set(this.items.map((item) => item.uid));
    const fitting = edits.filter((edit) => edit.op === "order" || known.has(edit.uid) || edit.counts);
    if (fitting.length) this.edit(fitting);
  }

  get unsaved() {
    return this.waiting.length > 0;
  }

  /** Undo goes on after a reload, as long as nobody else changed the picture. */
  remember() {
    try {
      const text = JSON.stringify({ revision: this.revision, undos: this.undos.slice(-200), redos: this.redos.slice(-50) });
      sessionStorage.setItem(`history ${this.number}`, text.length < HISTORY ? text : "");
    } catch {
      sessionStorage.clear(); // full: history of this session only
    }
  }

  recall() {
    try {
      const known = JSON.parse(sessionStorage.getItem(`history ${this.number}`) || "{}");
      if (known.revision === this.revision) Object.assign(this, { undos: known.undos, redos: known.redos });
    } catch {
      // damaged: no history
    }
  }

  tell(type) {
    this.dispatchEvent(new Event(type));
  }
}
