/** Requests to the server of this page. */

export class Failure extends Error {
  constructor(status, message) {
    super(message);
    this.status = status; // 0: the server cannot be reached
  }
}

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, { credentials: "same-origin", ...options });
  } catch {
    throw new Failure(0, "The server cannot be reached.");
  }
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Failure(answer.status, content.error || `The server answered ${answer.status}.`);
  return content;
}

export const get = (path, options) => ask(path, options);

export const post = (path, body = {}, options = {}) =>
  ask(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Delineate": "1" },
    body: JSON.stringify(body),
    ...options,
  });
