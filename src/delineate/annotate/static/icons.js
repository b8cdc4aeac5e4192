/** Icons as strokes on a 24 x 24 grid. */

const SHAPES = {
  select: "M5 3l6 17 2.2-7.3L20.500 10.500z",
  click: "M14 14l6 6M9 3v2.500M3 9h2.500M4.800 4.800l1.700 1.700M13.200 4.800l-1.700 1.700M4.800 13.200l1.700-1.700M9 9l10.500 4-4.700 1.800L13 19.500z",
  brush: "M20 4c-5 2-9 6-11 9l2.500 2.500C15 13.500 18.500 9 20 4zM8 14c-2.500 0-4 1.800-4 4 0 1-.5 1.800-1.500 2C7 21 11 19.800 11 16.800z",
  eraser: "M9 20h11M5.300 15.300l9-9a1.800 1.800 0 0 1 2.600 0l3 3a1.800 1.800 0 0 1 0 2.600L12 20H8.500l-3.200-3.200a1 1 0 0 1 0-1.500zM10 10.500l5.500 5.500",
  polygon: "M5 8l8-4 7 7-4 9-10-2zM5 8h.01M13 4h.01M20 11h.01M16 20h.01M6 18h.01",
  points: "M6 17C7 9 13 5 18 7M4.500 15.500h3v3h-3zM16.500 5.500h3v3h-3zM12 18.500l3-3 3 3-3 3z",
  undo: "M8 5L4 9l4 4M4 9h10a5.500 5.500 0 0 1 0 11h-3",
  redo: "M16 5l4 4-4 4M20 9H10a5.500 5.500 0 0 0 0 11h3",
  find: "M12 3l1.800 5.200L19 10l-5.200 1.800L12 17l-1.800-5.200L5 10l5.200-1.800zM19 16l.8 2.200L22 19l-2.200.8L19 22l-.8-2.200L16 19l2.200-.8z",
  export: "M12 15V4M8 8l4-4 4 4M5 14v4.500A1.500 1.500 0 0 0 6.500 20h11a1.500 1.500 0 0 0 1.500-1.500V14",
  help: "M9.200 9a2.900 2.900 0 1 1 4.300 2.600c-.9.5-1.500 1.100-1.500 2.200M12 17.300v.01M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z",
  theme: "M12 4V2M12 22v-2M4 12H2M22 12h-2M6.300 6.300L4.900 4.900M19.100 19.100l-1.400-1.400M6.300 17.700l-1.400 1.400M19.100 4.900l-1.400 1.400M12 16.500a4.500 4.500 0 1 0 0-9 4.500 4.500 0 0 0 0 9z",
  eye: "M2.500 12S6 5.500 12 5.500 21.500 12 21.500 12 18 18.500 12 18.500 2.500 12 2.500 12zM12 15a3 3 0 1 0 0-6 3 3 0 0 0 0 6z",
  hidden: "M4 4l16 16M9.500 5.900A9 9 0 0 1 12 5.500c6 0 9.500 6.500 9.500 6.500a17 17 0 0 1-3 3.800M6.200 7.600A16 16 0 0 0 2.500 12S6 18.500 12 18.500a9 9 0 0 0 3.900-.9M10 10a3 3 0 0 0 4.100 4.100",
  remove: "M5 7h14M10 11v6M14 11v6M7 7l.8 12a1.500 1.500 0 0 0 1.500 1.400h5.400a1.500 1.500 0 0 0 1.500-1.400L17 7M9.500 7V4.500h5V7",
  raise: "M12 19V6M6.500 11.500L12 6l5.500 5.500",
  lower: "M12 5v13M6.500 12.500L12 18l5.500-5.500",
  join: "M4 9a5 5 0 0 1 9.500-2.200A6 6 0 1 1 10.200 17 5 5 0 0 1 4 14z",
  add: "M12 5v14M5 12h14",
  left: "M14.500 5.500L8 12l6.500 6.500",
  right: "M9.500 5.500L16 12l-6.500 6.500",
  done: "M5 12.500l4.500 4.500L19 7.500",
  fit: "M4 9V5.500A1.500 1.500 0 0 1 5.500 4H9M15 4h3.500A1.500 1.500 0 0 1 20 5.500V9M20 15v3.500a1.500 1.500 0 0 1-1.500 1.500H15M9 20H5.500A1.500 1.500 0 0 1 4 18.500V15",
  list: "M4 6h16M4 12h16M4 18h16",
  panel: "M5.500 4h13A1.500 1.500 0 0 1 20 5.500v13a1.500 1.500 0 0 1-1.500 1.500h-13A1.500 1.500 0 0 1 4 18.500v-13A1.500 1.500 0 0 1 5.500 4zM14.500 4v16",
  rename: "M4 20l1-4.500L15.500 5a2 2 0 0 1 3 0l.5.5a2 2 0 0 1 0 3L8.500 19z",
  cross: "M6 6l12 12M18 6L6 18",
};

export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const drawing = document.createElementNS(space, "svg");
  const shape = document.createElementNS(space, "path");
  drawing.setAttribute("viewBox", "0 0 24 24");
  drawing.setAttribute("aria-hidden", "true");
  drawing.classList.add("icon");
  shape.setAttribute("d", SHAPES[name]);
  drawing.append(shape);
  return drawing;
}

/** Put the icons into elements that name one. */
export function furnish(root = document) {
  for (const element of root.querySelectorAll("[data-icon]")) {
    if (!element.querySelector("svg")) element.prepend(icon(element.dataset.icon));
  }
}
