/** What is told about saving, and what happens when others change a picture or the server was started anew. */

import { get } from "./api.js";
import * as dialogs from "./dialogs.js";

const WORDS = { saved: "Saved", saving: "Saving…", failed: "Not saved" };
const FILE = 1500; // ms after which the annotation file should have what is saved

export class Saving {
  constructor(app) {
    this.app = app;
    this.state = document.getElementById("state");
    document.addEventListener("visibilitychange", () => this.refresh());
    window.addEventListener("focus", () => this.refresh());
    window.addEventListener("beforeunload", (event) => app.unsaved.size && event.preventDefault());
  }

  listen(sheet) {
    sheet.addEventListener("state", () => this.show(sheet));
    sheet.addEventListener("refused", () => this.refused(sheet));
    sheet.addEventListener("conflict", () => this.conflict(sheet));
  }

  show(sheet) {
    const { app, state } = this;
    if (sheet.unsaved) app.unsaved.set(sheet.number, sheet);
    else if (app.unsaved.get(sheet.number) === sheet) app.unsaved.delete(sheet.number);
    if (sheet !== app.sheet && !sheet.unsaved) return;
    state.className = `state ${sheet.state}`;
    state.textContent = WORDS[sheet.state];
    state.title = sheet.problem || (sheet.state === "saved" ? `Every change is on the disk (${app.folder.file}).` : "");
    clearTimeout(this.checking);
    if (sheet.state === "saved") this.checking = setTimeout(() => this.checkFile(sheet), FILE);
    if (sheet.state === "failed" && sheet.problem && !sheet.conflict) app.say(`Not saved: ${sheet.problem} Trying again…`, "bad");
  }

  /** The server's word on a picture; nothing where it cannot be reached. */
  status({ number }) {
    return get(`/api/pictures/${number}/status?engine=${encodeURIComponent(this.app.engine.name)}`).catch(() => ({}));
  }

  content({ number }) {
    return get(`/api/pictures/${number}?engine=${encodeURIComponent(this.app.engine.name)}`);
  }

  /** What is saved is safe, but the annotation file may not take it. */
  async checkFile(sheet) {
    const { app, state } = this;
    const { problem } = await this.status(sheet);
    if (!problem || sheet !== app.sheet || sheet.state !== "saved") return;
    Object.assign(state, { className: "state failed", textContent: `Kept, not in ${app.folder.file}`, title: problem });
    app.say(problem, "bad");
  }

  async refused(sheet) {
    this.app.say(sheet.problem, "bad");
    try {
      sheet.resolve(await this.content(sheet), false);
    } catch (error) {
      this.app.say(error.message, "bad");
    }
  }

  /** The tab is looked at again: show what others did meanwhile. */
  async refresh() {
    const { app } = this;
    const { sheet } = app;
    if (!sheet || sheet.unsaved || document.hidden) return;
    const { revision, problem } = await this.status(sheet);
    if (problem) app.say(problem, "bad");
    if (!revision || revision === sheet.revision || sheet.unsaved) return;
    try {
      await app.reload();
      const content = await this.content(sheet);
      if (sheet.unsaved || sheet !== app.sheet || this.adopt(sheet, content)) return;
      sheet.resolve(content, false);
      app.say("This picture was changed elsewhere: the new state is shown.", "note");
    } catch (error) {
      app.say(error.message, "bad");
    }
  }

  /** Whether the server has what it had, though under other names: then all goes on as it was. */
  adopt(sheet, content) {
    const { app } = this;
    const chosen = sheet.items.filter((item) => sheet === app.sheet && app.selected.has(item.uid));
    const same = sheet.adopt(content);
    if (same && chosen.length) app.select(chosen.map((item) => item.uid));
    return same;
  }

  /** Somebody else changed the picture, or the server was started anew: then the edits just go on. */
  async conflict(sheet) {
    const { app } = this;
    try {
      await app.reload();
      if (this.adopt(sheet, await this.content(sheet))) return;
    } catch {
      // the dialog asks again
    }
    dialogs.conflict(sheet.waiting.length, async (merge) => {
      try {
        await app.reload();
        sheet.resolve(await this.content(sheet), merge);
      } catch (error) {
        app.say(error.message, "bad");
        this.conflict(sheet);
      }
    });
  }
}
