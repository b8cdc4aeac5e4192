/** Colours that stay apart, also for eyes that see red and green alike (after Okabe and Ito, and Tol). */

const NAMED = ["#4cb5f5", "#ff9e1b", "#2fd19a", "#f0679e", "#f2e14c", "#a58bff", "#ff6b57", "#7ee0e8", "#b7d968", "#d9a5ff"];

export const ofClass = (label) =>
  label < NAMED.length ? NAMED[label] : `oklch(${0.7 + (label % 4) * 0.05} 0.15 ${(label * 137.508) % 360})`;

/** A colour for each object; neighbours in number are far apart in hue. */
export function ofItem(uid) {
  let hash = 2166136261;
  for (let i = 0; i < uid.length; i++) hash = Math.imul(hash ^ uid.charCodeAt(i), 16777619) >>> 0;
  return `oklch(${0.72 + (hash % 4) * 0.04} ${0.14 + ((hash >> 2) % 3) * 0.025} ${(hash * 137.508) % 360})`;
}
