// The prompt box: what the model knows and what was asked before, completed while typing.

const MOST = 8;

export class PromptBox {
  constructor(input, list) {
    this.input = input;
    this.list = list;
    this.entries = [];
    this.history = [];
    this.chosen = -1;
    input.addEventListener("input", () => this.suggest());
    input.addEventListener("keydown", (event) => this.onKey(event));
    input.addEventListener("blur", () => setTimeout(() => this.close(), 150));
    list.addEventListener("mousedown", (event) => {
      const item = event.target.closest("li");
      if (item) this.take(item.dataset.text);
      event.preventDefault();
    });
  }

  // [{name, wordings}] of the server's /vocabulary.
  know(vocabulary) {
    this.entries = vocabulary.map(({ name, wordings }) => ({
      name, texts: [name, ...wordings].map((text) => text.toLowerCase()),
    }));
  }

  // The prompts that stand in the box; they become history.
  read() {
    const texts = this.input.value.split(";").map((text) => text.trim()).filter(Boolean);
    this.history = [...new Set([...texts, ...this.history])].slice(0, 50);
    this.input.value = "";
    this.close();
    return [...new Set(texts)];
  }

  get open() {
    return !this.list.hidden;
  }

  // Every entry scores by its best wording: begins so, a word begins so, holds it.
  matches(typed) {
    const wanted = typed.trim().toLowerCase();
    const found = this.history.filter((text) => text.toLowerCase().startsWith(wanted))
      .map((name) => ({ name, score: 0, via: "asked before" }));
    for (const { name, texts } of wanted ? this.entries : []) {
      const scored = texts.map((text) => [score(text, wanted), text]).sort((a, b) => a[0] - b[0]);
      const [best, text] = scored[0];
      const own = score(texts[0], wanted);
      if (best < 9) found.push({ name, score: Math.min(own, best + 0.5), via: own <= best ? "" : text });
    }
    const seen = new Set();
    return found.sort((a, b) => a.score - b.score || a.name.length - b.name.length)
      .filter(({ name }) => !seen.has(name) && seen.add(name)).slice(0, MOST);
  }

  suggest() {
    const found = this.matches(this.input.value.split(";").pop());
    this.chosen = -1;
    this.list.replaceChildren(...found.map(({ name, via }, index) => {
      const item = document.createElement("li");
      item.id = `suggestion-${index}`;
      item.setAttribute("role", "option");
      item.setAttribute("aria-selected", "false");
      item.dataset.text = name;
      item.textContent = name;
      if (via) {
        const small = document.createElement("small");
        small.textContent = via;
        item.append(small);
      }
      return item;
    }));
    this.list.hidden = !found.length;
    this.input.setAttribute("aria-expanded", String(this.open));
    this.input.removeAttribute("aria-activedescendant");
  }

  choose(index) {
    const items = [...this.list.children];
    this.chosen = (index + items.length) % items.length;
    items.forEach((item, n) => item.setAttribute("aria-selected", String(n === this.chosen)));
    items[this.chosen].scrollIntoView({ block: "nearest" });
    this.input.setAttribute("aria-activedescendant", items[this.chosen].id);
  }

  // Puts a suggestion in the place of the last prompt.
  take(text) {
    const before = this.input.value.split(";").slice(0, -1).map((part) => part.trim());
    this.input.value = [...before, text].join("; ");
    this.close();
  }

  close() {
    this.list.hidden = true;
    this.chosen = -1;
    this.input.setAttribute("aria-expanded", "false");
    this.input.removeAttribute("aria-activedescendant");
  }

  onKey(event) {
    const items = this.list.children;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (!this.open) this.suggest();
      if (items.length) this.choose(this.chosen + (event.key === "ArrowDown" ? 1 : items.length - (this.chosen < 0 ? 0 : 1)));
    } else if (event.key === "Tab" && this.open && !event.shiftKey) {
      event.preventDefault();
      this.take(items[Math.max(0, this.chosen)].dataset.text);
    } else if (event.key === "Enter" && this.open && this.chosen >= 0) {
      event.preventDefault();
      this.take(items[this.chosen].dataset.text);
    } else if (event.key === "Escape" && this.open) {
      event.stopPropagation();
      this.close();
    }
  }
}

function score(text, wanted) {
  if (text.startsWith(wanted)) return text.length === wanted.length ? 0 : 1;
  const at = text.indexOf(wanted);
  if (at < 0) return 9;
  return /\w/.test(text[at - 1]) ? 3 : 2;
}
