// The list of masks: colour, presence, volume, warnings, and what can be done with each.

const COLOURS = [
  [230, 25, 75], [60, 180, 75], [67, 99, 216], [255, 225, 25], [245, 130, 49], [66, 212, 244],
  [240, 50, 230], [191, 239, 69], [250, 190, 212], [70, 153, 144], [220, 190, 255], [154, 99, 36],
];
const MEANINGS = {
  empty: "looked for, not found",
  negated: "the text says that there is none",
  unknown: "the model does not know this",
};

function make(tag, text, name) {
  const element = document.createElement(tag);
  element.textContent = text;
  if (name) element.className = name;
  return element;
}

function swatch([red, green, blue]) {
  const space = "http://www.w3.org/2000/svg";
  const picture = document.createElementNS(space, "svg");
  const square = document.createElementNS(space, "rect");
  square.setAttribute("width", "100%");
  square.setAttribute("height", "100%");
  square.setAttribute("fill", `rgb(${red},${green},${blue})`);
  picture.setAttribute("aria-hidden", "true");
  picture.append(square);
  return picture;
}

export class Results {
  constructor(list, viewer, onChange) {
    this.list = list;
    this.viewer = viewer;
    this.onChange = onChange;
    this.items = new Map(); // prompt → {entry, colour, element, box}
    this.made = 0;
  }

  get prompts() {
    return [...this.items.keys()];
  }

  // Shows an entry of a record; buffer is its mask file or null.
  async add(entry, buffer) {
    const old = this.items.get(entry.text);
    const colour = old ? old.colour : COLOURS[this.made++ % COLOURS.length];
    if (old) this.remove(entry.text);
    if (buffer) await this.viewer.showMask(entry.text, buffer, colour);
    const element = document.createElement("li");
    const item = { entry, colour, element, box: null };
    element.append(this.title(item, buffer !== null), make("p", facts(entry), "facts"));
    for (const warning of entry.warnings) element.append(make("p", warning, "warning"));
    element.append(this.actions(entry));
    this.items.set(entry.text, item);
    this.list.append(element);
    if (buffer && entry.instances.length) this.viewer.goTo(entry.instances[0].centroid_mm_lps);
    this.onChange();
  }

  title(item, shown) {
    const label = document.createElement("label");
    if (shown) {
      item.box = document.createElement("input");
      item.box.type = "checkbox";
      item.box.checked = true;
      item.box.addEventListener("change", () =>
        this.viewer.setVisible(item.entry.text, item.box.checked));
      label.append(item.box, swatch(item.colour));
    }
    label.append(make("span", item.entry.text));
    return label;
  }

  actions(entry) {
    const row = make("div", "", "actions");
    const button = (text, action) => {
      const made = make("button", text);
      made.type = "button";
      made.setAttribute("aria-label", `${text} ${entry.text}`);
      made.addEventListener("click", action);
      row.append(made);
    };
    if (entry.instances.length) {
      button("Go to", () => this.viewer.goTo(entry.instances[0].centroid_mm_lps));
    }
    button("Remove", () => this.remove(entry.text));
    return row;
  }

  remove(text) {
    this.viewer.removeMask(text);
    this.items.get(text)?.element.remove();
    this.items.delete(text);
    this.onChange();
  }

  clear() {
    for (const text of this.prompts) this.remove(text);
    this.made = 0;
  }

  // Hides all masks, or shows all if none is shown.
  toggleAll() {
    const boxes = [...this.items.values()].map((item) => item.box).filter(Boolean);
    const show = !boxes.some((box) => box.checked);
    for (const box of boxes) {
      box.checked = show;
      box.dispatchEvent(new Event("change"));
    }
  }
}

function facts(entry) {
  if (entry.presence === null) return MEANINGS[entry.status] || entry.status;
  const words = [`present ${entry.presence.toFixed(2)}`, `${entry.volume_ml.toFixed(1)} ml`];
  const parts = entry.instances.length;
  if (parts > 1) words.push(`${parts} parts`);
  if (entry.status !== "ok") words.push(MEANINGS[entry.status] || entry.status);
  return words.join(" · ");
}
