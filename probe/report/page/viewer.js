"use strict";
// Point clouds and camera paths, drawn point by point into a plain 2D canvas: works without WebGL, prints, and any number
// of viewers fit on a page. The two canvases of a scene, truth and prediction, turn together.
(() => {
  const START = { yaw: 0.5, pitch: 0.45, zoom: 1, panX: 0, panY: 0 };
  const BACKGROUND = 0xff181410; // ABGR of #101418

  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

  function unpack(cloud) {
    if (!cloud) return null;
    const packed = new DataView(bytes(cloud.positions).buffer);
    const colours = bytes(cloud.colours);
    const points = new Float32Array(cloud.count * 3);
    const pixels = new Uint32Array(cloud.count);
    for (let i = 0; i < cloud.count; i++) {
      for (let k = 0; k < 3; k++) {
        const part = packed.getUint16((3 * i + k) * 2, true) / 65535;
        points[3 * i + k] = cloud.low[k] + part * (cloud.high[k] - cloud.low[k]);
      }
      pixels[i] = 0xff000000 | (colours[3 * i + 2] << 16) | (colours[3 * i + 1] << 8) | colours[3 * i];
    }
    return { points, pixels, count: cloud.count };
  }

  class Pane {
    constructor(canvas, scene) {
      this.canvas = canvas;
      this.scene = scene;
      this.context = canvas.getContext("2d");
      this.item = null;
    }

    fit() {
      const ratio = Math.min(window.devicePixelRatio || 1, 2);
      const width = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
      const height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
      if (this.image && this.image.width === width && this.image.height === height) return;
      this.canvas.width = width;
      this.canvas.height = height;
      this.image = this.context.createImageData(width, height);
      this.pixels = new Uint32Array(this.image.data.buffer);
      this.depth = new Float32Array(width * height);
    }

    // World (x right, y down, z away) to canvas: [x, y, distance].
    project(x, y, z) {
      const { centre, radius } = this.scene.content;
      const s = this.scene.state;
      const [a, b, c] = [x - centre[0], y - centre[1], z - centre[2]];
      const [cy, sy, cp, sp] = [Math.cos(s.yaw), Math.sin(s.yaw), Math.cos(s.pitch), Math.sin(s.pitch)];
      const right = cy * a - sy * c;
      const away = sy * a + cy * c;
      const down = cp * b - sp * away;
      const depth = sp * b + cp * away + (2.7 * radius) / s.zoom;
      const focal = 1.35 * Math.min(this.image.width, this.image.height);
      return [
        this.image.width / 2 + (focal * right) / depth + s.panX * this.image.width,
        this.image.height / 2 + (focal * down) / depth + s.panY * this.image.height,
        depth,
      ];
    }

    draw() {
      this.fit();
      this.pixels.fill(BACKGROUND);
      this.depth.fill(Infinity);
      if (this.item?.cloud) this.splat(this.item.cloud);
      this.context.putImageData(this.image, 0, 0);
      if (this.scene.paths) {
        for (const path of this.item?.paths ?? []) this.line(path);
      }
    }

    splat({ points, pixels, count }) {
      const { width, height } = this.image;
      const radius = this.scene.content.radius;
      const focal = 1.35 * Math.min(width, height);
      const spacing = (1.5 * radius) / Math.sqrt(count);
      for (let i = 0; i < count; i++) {
        const [x, y, depth] = this.project(points[3 * i], points[3 * i + 1], points[3 * i + 2]);
        if (depth < 0.05 * radius) continue;
        const side = Math.min(14, Math.max(1, Math.round((focal * spacing) / depth)));
        const left = Math.round(x - side / 2);
        const top = Math.round(y - side / 2);
        if (left < 0 || top < 0 || left + side > width || top + side > height) continue;
        for (let row = top; row < top + side; row++) {
          for (let place = row * width + left; place < row * width + left + side; place++) {
            if (depth < this.depth[place]) {
              this.depth[place] = depth;
              this.pixels[place] = pixels[i];
            }
          }
        }
      }
    }

    line(path) {
      const pen = this.context;
      const near = 0.05 * this.scene.content.radius;
      const size = 0.1 * this.scene.content.radius;
      pen.strokeStyle = path.colour;
      pen.fillStyle = path.colour;
      pen.lineWidth = Math.max(1.5, this.image.width / 400);
      const centres = path.cameras.map((camera) => this.project(camera[9], camera[10], camera[11]));
      pen.beginPath();
      centres.forEach(([x, y, depth], i) => depth > near && (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
      pen.stroke();
      path.cameras.forEach((camera, i) => {
        if (centres[i][2] < near) return;
        const corners = [[-1, -0.75], [1, -0.75], [1, 0.75], [-1, 0.75]].map(([u, v]) => this.project(
          ...[0, 1, 2].map((k) => camera[9 + k] + size * (u * camera[k] + v * camera[3 + k] + 1.2 * camera[6 + k])),
        ));
        if (corners.some((corner) => corner[2] < near)) return;
        pen.beginPath();
        corners.forEach(([x, y], k) => {
          pen.moveTo(centres[i][0], centres[i][1]);
          pen.lineTo(x, y);
          pen.lineTo(corners[(k + 1) % 4][0], corners[(k + 1) % 4][1]);
        });
        pen.stroke();
        if (i === 0) {
          pen.beginPath();
          pen.arc(centres[i][0], centres[i][1], 2.2 * pen.lineWidth, 0, 2 * Math.PI);
          pen.fill();
        }
      });
    }
  }

  class Scene {
    constructor(box, number) {
      this.content = JSON.parse(box.querySelector("script").textContent);
      this.items = this.content.items.map((item) => ({ ...item, cloud: unpack(item.cloud) }));
      this.state = { ...START };
      this.paths = true;
      this.pointers = new Map();
      this.panes = [];
      const hint = `scene-hint-${number}`;
      const controls = box.appendChild(document.createElement("div"));
      controls.className = "controls";
      const grid = box.appendChild(document.createElement("div"));
      grid.className = "panes";
      const pairs = this.items.length > 1 ? [0, 1] : [0];
      for (const place of pairs) {
        const figure = grid.appendChild(document.createElement("figure"));
        const caption = figure.appendChild(document.createElement("figcaption"));
        const canvas = figure.appendChild(document.createElement("canvas"));
        canvas.tabIndex = 0;
        canvas.setAttribute("role", "img");
        canvas.setAttribute("aria-describedby", hint);
        const pane = new Pane(canvas, this);
        if (!pane.context) throw new Error("no 2D canvas");
        pane.caption = caption;
        this.panes.push(pane);
        this.show(pane, place);
        this.listen(canvas);
      }
      this.controls(controls);
      const text = box.appendChild(document.createElement("p"));
      text.id = hint;
      text.className = "note";
      text.textContent = "Drag, or focus a picture and use the arrow keys, to turn; wheel (after a click), pinch, + and − to zoom; "
        + "Shift with drag or arrows to move; 0 to start again. Both pictures turn together.";
      let waiting = false;
      this.redraw = () => {
        if (waiting) return;
        waiting = true;
        requestAnimationFrame(() => {
          waiting = false;
          for (const pane of this.panes) pane.draw();
        });
      };
      new ResizeObserver(this.redraw).observe(grid);
      this.redraw();
    }

    show(pane, place) {
      pane.item = this.items[place];
      pane.caption.textContent = pane.item.label + (pane.item.cloud ? "" : " (no points kept)");
      pane.canvas.setAttribute("aria-label", `${pane.item.label}: ${pane.item.cloud?.count ?? 0} points, `
        + pane.item.paths.map((path) => `${path.label}, ${path.cameras.length} cameras in ${path.colour}`).join("; "));
    }

    controls(box) {
      if (this.items.length > 2) {
        const label = box.appendChild(document.createElement("label"));
        label.append("Prediction of ");
        const select = label.appendChild(document.createElement("select"));
        this.items.slice(1).forEach((item, i) => select.add(new Option(item.label, String(i + 1))));
        select.addEventListener("change", () => {
          this.show(this.panes[1], Number(select.value));
          this.redraw();
        });
      }
      const label = box.appendChild(document.createElement("label"));
      const tick = label.appendChild(document.createElement("input"));
      tick.type = "checkbox";
      tick.checked = true;
      label.append("camera paths");
      tick.addEventListener("change", () => {
        this.paths = tick.checked;
        this.redraw();
      });
      const reset = box.appendChild(document.createElement("button"));
      reset.type = "button";
      reset.textContent = "Start again";
      reset.addEventListener("click", () => this.change(START));
    }

    change(values) {
      Object.assign(this.state, values);
      this.state.pitch = Math.min(1.55, Math.max(-1.55, this.state.pitch));
      this.state.zoom = Math.min(12, Math.max(0.3, this.state.zoom));
      this.redraw();
    }

    turn(x, y, move) {
      const s = this.state;
      this.change(move ? { panX: s.panX + x, panY: s.panY + y } : { yaw: s.yaw - 3 * x, pitch: s.pitch + 3 * y });
    }

    listen(canvas) {
      canvas.addEventListener("pointerdown", (event) => {
        canvas.setPointerCapture(event.pointerId);
        this.pointers.set(event.pointerId, event);
      });
      for (const name of ["pointerup", "pointercancel"]) {
        canvas.addEventListener(name, (event) => this.pointers.delete(event.pointerId));
      }
      canvas.addEventListener("pointermove", (event) => {
        const last = this.pointers.get(event.pointerId);
        if (!last) return;
        const others = [...this.pointers.values()].filter((one) => one.pointerId !== event.pointerId);
        if (others.length) {
          const gap = (one) => Math.hypot(one.clientX - others[0].clientX, one.clientY - others[0].clientY);
          this.change({ zoom: (this.state.zoom * Math.max(gap(event), 1)) / Math.max(gap(last), 1) });
        } else {
          const [x, y] = [event.clientX - last.clientX, event.clientY - last.clientY];
          this.turn(x / canvas.clientWidth, y / canvas.clientHeight, event.shiftKey);
        }
        this.pointers.set(event.pointerId, event);
      });
      canvas.addEventListener("wheel", (event) => {
        if (document.activeElement !== canvas) return; // the page scrolls on until a picture is chosen
        event.preventDefault();
        this.change({ zoom: this.state.zoom * Math.exp(-event.deltaY / 600) });
      }, { passive: false });
      canvas.addEventListener("keydown", (event) => {
        const steps = { ArrowLeft: [-0.05, 0], ArrowRight: [0.05, 0], ArrowUp: [0, -0.05], ArrowDown: [0, 0.05] };
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        if (steps[event.key]) this.turn(...steps[event.key], event.shiftKey);
        else if (event.key === "+" || event.key === "=") this.change({ zoom: this.state.zoom * 1.15 });
        else if (event.key === "-" || event.key === "−") this.change({ zoom: this.state.zoom / 1.15 });
        else if (event.key === "0") this.change(START);
        else return;
        event.preventDefault();
      });
    }
  }

  document.querySelectorAll("[data-scene]").forEach((box, number) => {
    try {
      new Scene(box, number);
    } catch (error) {
      if (error.message !== "no 2D canvas") throw error;
      box.querySelectorAll(".panes, .controls").forEach((part) => part.remove());
      box.querySelector(".fallback").hidden = false;
    }
  });
})();
