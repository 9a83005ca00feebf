// The canvas: a scan and its masks in NiiVue, the one place that knows NiiVue's interface.

const { Niivue, NVImage, SHOW_RENDER, SLICE_TYPE } = globalThis.niivue;
const LAYOUTS = {
  all: SLICE_TYPE.MULTIPLANAR,
  axial: SLICE_TYPE.AXIAL,
  coronal: SLICE_TYPE.CORONAL,
  sagittal: SLICE_TYPE.SAGITTAL,
  render: SLICE_TYPE.RENDER,
};
// Step of the crosshair in voxels along R, A, S.
const MOVES = {
  ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], ArrowDown: [0, -1, 0], ArrowUp: [0, 1, 0],
  PageDown: [0, 0, -1], PageUp: [0, 0, 1],
};

export class Viewer {
  // onPlace is told where the crosshair is, in words.
  constructor(canvas, onPlace) {
    this.canvas = canvas;
    this.masks = new Map(); // key → NVImage
    this.hidden = new Set();
    this.opacity = 0.5;
    this.scan = null;
    this.nv = new Niivue({
      isRadiologicalConvention: true,
      isOrientationTextVisible: true,
      showAllOrientationMarkers: true,
      isOrientCube: true,
      multiplanarShowRender: SHOW_RENDER.ALWAYS,
      dragAndDropEnabled: false,
      crosshairWidth: 0.5,
      fontColor: [1, 0.85, 0.3, 1],
      fontMinPx: 18,
      loadingText: "",
      backColor: [0, 0, 0, 1],
    });
    canvas.addEventListener("keydown", (event) => this.onKey(event), true);
    this.nv.onLocationChange = (place) => onPlace(this.describe(place));
  }

  async start() {
    await this.nv.attachToCanvas(this.canvas);
    this.nv.setInterpolation(true); // voxels as they are
    this.layout("all");
  }

  async showScan(buffer) {
    this.clear();
    this.scan = await NVImage.new(buffer, "scan.nii", "gray", 1);
    this.nv.addVolume(this.scan);
  }

  async showMask(key, buffer, colour) {
    this.removeMask(key);
    const [red, green, blue] = colour;
    const name = `mask-${colour.join("-")}`;
    this.nv.addColormap(name, { R: [0, red], G: [0, green], B: [0, blue], A: [0, 255], I: [0, 255] });
    const mask = await NVImage.new(buffer, "mask.nii.gz", name, this.opacity, null, 0, 1);
    mask.colorbarVisible = false;
    this.masks.set(key, mask);
    this.nv.addVolume(mask);
  }

  removeMask(key) {
    const mask = this.masks.get(key);
    this.masks.delete(key);
    this.hidden.delete(key);
    if (mask) this.nv.removeVolume(mask);
  }

  clear() {
    for (const volume of [...this.nv.volumes].reverse()) this.nv.removeVolume(volume);
    this.masks.clear();
    this.hidden.clear();
    this.scan = null;
  }

  setVisible(key, visible) {
    if (visible) this.hidden.delete(key);
    else this.hidden.add(key);
    this.refreshOpacity();
  }

  setOpacity(value) {
    this.opacity = value;
    this.refreshOpacity();
  }

  refreshOpacity() {
    for (const [key, mask] of this.masks) {
      const index = this.nv.volumes.indexOf(mask);
      if (index >= 0) this.nv.setOpacity(index, this.hidden.has(key) ? 0 : this.opacity);
    }
  }

  layout(name) {
    this.nv.setSliceType(LAYOUTS[name]);
  }

  // Two numbers; none shows the whole range.
  window(range) {
    if (!this.scan) return;
    [this.scan.cal_min, this.scan.cal_max] = range ||
      [this.scan.global_min, this.scan.global_max];
    this.nv.updateGLVolume();
  }

  radiological(yes) {
    this.nv.setRadiologicalConvention(yes);
  }

  // A place in LPS millimetres, as the records have it.
  goTo([left, posterior, superior]) {
    this.nv.scene.crosshairPos = this.nv.mm2frac([-left, -posterior, superior]);
    this.nv.createOnLocationChange();
    this.nv.drawScene();
  }

  onKey(event) {
    const move = MOVES[event.key];
    if (!event.ctrlKey && !event.metaKey && !event.altKey) event.stopImmediatePropagation();
    if (!move) {
      this.canvas.parentElement.dispatchEvent(new KeyboardEvent("keydown", event));
      return;
    }
    event.preventDefault();
    const steps = event.shiftKey ? 10 : 1;
    this.nv.moveCrosshairInVox(...move.map((step) => step * steps));
  }

  describe({ mm, values }) {
    const letters = ["RL", "AP", "SI"];
    const words = [...mm].slice(0, 3).map((value, axis) =>
      `${letters[axis][value < 0 ? 1 : 0]} ${Math.abs(value).toFixed(0)} mm`);
    const value = values?.[0]?.value;
    return words.join("  ") + (Number.isFinite(value) ? `  ·  value ${value.toFixed(0)}` : "");
  }
}
