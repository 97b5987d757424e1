// Van der Pol's oscillator by Dopri5 or a two-stage Rosenbrock method under I, PI or H211b control, in the reader's browser.
// The laws are those of odebridge/control/classical.py: h' = h 0.9 e0^(-b1/k) e1^(-b2/k) r0^(-a2), factor in [0.2, 10].
"use strict";
(() => {
  const LAWS = { i: { b: [1, 0], a: 0 }, pi: { b: [0.7, -0.4], a: 0 }, h211b: { b: [0.25, 0.25], a: 0.25 } };
  const MOST = 20000;
  const A = [[], [1 / 5], [3 / 40, 9 / 40], [44 / 45, -56 / 15, 32 / 9],
    [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729],
    [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656],
    [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84]];
  const B = [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0];
  const HAT = [5179 / 57600, 0, 7571 / 16695, 393 / 640, -92097 / 339200, 187 / 2100, 1 / 40];
  const G = 1 - Math.SQRT1_2;

  const field = (mu, x) => [x[1], mu * (1 - x[0] * x[0]) * x[1] - x[0]];
  const jacobian = (mu, x) => [[0, 1], [-2 * mu * x[0] * x[1] - 1, mu * (1 - x[0] * x[0])]];

  function dopri5(mu, x, h, f0) {
    const k = [f0];
    let end = x;
    for (let i = 1; i < 7; i++) {
      end = [0, 1].map((c) => x[c] + h * A[i].reduce((s, a, j) => s + a * k[j][c], 0));
      k.push(field(mu, end));
    }
    const error = [0, 1].map((c) => h * k.reduce((s, v, j) => s + (B[j] - HAT[j]) * v[c], 0));
    return { x: end, error, slope: k[6], evaluations: 6 };
  }

  function ros2(mu, x, h, f0) { // (I - g h J) k1 = f(x), (I - g h J) k2 = f(x + h k1) - 2 g h J k1; x1 = x + h (k1 + k2) / 2
    const J = jacobian(mu, x), m = G * h;
    const a = 1 - m * J[0][0], b = -m * J[0][1], c = -m * J[1][0], d = 1 - m * J[1][1], det = a * d - b * c;
    const solve = (r) => [(d * r[0] - b * r[1]) / det, (a * r[1] - c * r[0]) / det];
    const k1 = solve(f0);
    const f2 = field(mu, [x[0] + h * k1[0], x[1] + h * k1[1]]);
    const Jk = J.map((row) => row[0] * k1[0] + row[1] * k1[1]);
    const k2 = solve([0, 1].map((i) => f2[i] - 2 * m * Jk[i]));
    const end = [0, 1].map((i) => x[i] + (h * (k1[i] + k2[i])) / 2);
    const error = [0, 1].map((i) => (h * (k2[i] - k1[i])) / 2); // against x + h k1, of order 1
    return { x: end, error, slope: field(mu, end), evaluations: 2 };
  }

  const METHODS = { dopri5: { step: dopri5, k: 5, bound: 3.31 }, ros2: { step: ros2, k: 2, bound: Infinity } };

  function solve(mu, tol, law, method, t1) {
    const { step, k } = METHODS[method], { b, a } = LAWS[law];
    let t = 0, x = [2, 0], f = field(mu, x), h = 1e-4 / mu, e1 = 0, last = Math.log(h), evaluations = 1, rejected = 0;
    const kept = [], tries = [];
    while (t < t1 * (1 - 1e-12) && kept.length + rejected < MOST) {
      h = Math.min(h, t1 - t);
      const made = step(mu, x, h, f);
      evaluations += made.evaluations;
      const scaled = made.error.map((e, i) => e / (tol * 1e-2 + tol * Math.max(Math.abs(x[i]), Math.abs(made.x[i]))));
      const error = Math.max(Math.hypot(...scaled) / Math.SQRT2, 1e-10);
      const good = error <= 1 && Number.isFinite(made.x[0]) && Number.isFinite(made.x[1]);
      const log = Number.isFinite(error) ? Math.log(error) : 50;
      tries.push({ t, h, error, good });
      let factor;
      if (good) {
        kept.push({ t, h, x });
        factor = 0.9 * Math.exp(-(b[0] * log + b[1] * e1) / k - a * (Math.log(h) - last));
        factor = Math.min(10, Math.max(0.2, factor));
        last = Math.log(h);
        e1 = log;
        [t, x, f] = [t + h, made.x, made.slope];
      } else {
        rejected++;
        factor = Math.min(0.9, Math.max(0.2, 0.9 * Math.exp(-log / k)));
        last = Math.log(h * factor);
      }
      h *= factor;
    }
    return { kept, tries, rejected, evaluations, end: { t, x }, done: t >= t1 * (1 - 1e-9) };
  }

  function growth(method, re, im) { // |R(z)| of one step on x' = z x
    const mul = (p, q) => [p[0] * q[0] - p[1] * q[1], p[0] * q[1] + p[1] * q[0]];
    const z = [re, im];
    if (method === "dopri5") {
      const c = [1, 1, 1 / 2, 1 / 6, 1 / 24, 1 / 120, 1 / 600];
      let sum = [0, 0];
      for (let i = 6; i >= 0; i--) { sum = mul(sum, z); sum[0] += c[i]; }
      return Math.hypot(...sum);
    }
    const top = [1 + (1 - 2 * G) * re + 0 * im, (1 - 2 * G) * im]; // R = (1 + (1 - 2 g) z) / (1 - g z)^2 for this g
    const low = mul([1 - G * re, -G * im], [1 - G * re, -G * im]);
    return Math.hypot(...top) / Math.hypot(...low);
  }

  function eigenvalues(mu, x) {
    const J = jacobian(mu, x), tr = J[0][0] + J[1][1], det = J[0][0] * J[1][1] - J[0][1] * J[1][0], q = (tr * tr) / 4 - det;
    const r = Math.sqrt(Math.abs(q));
    return q >= 0 ? [[tr / 2 - r, 0], [tr / 2 + r, 0]] : [[tr / 2, -r], [tr / 2, r]];
  }

  const W = 640, H = 150, LEFT = 62, BOTTOM = 22;
  const node = (id) => document.getElementById("pg-" + id);

  function panel(id, title, points, { log, t1, low, high, line }) {
    const map = (v) => (log ? Math.log10(Math.max(v, 1e-300)) : v), lo = log ? Math.floor(map(low)) : low, hi = log ? Math.ceil(map(high)) : high;
    const X = (t) => LEFT + ((W - LEFT - 10) * t) / t1;
    const Y = (v) => 20 + (H - 20 - BOTTOM) * (1 - (Math.min(Math.max(map(v), lo), hi) - lo) / (hi - lo));
    const marks = log ? [lo, Math.round((lo + hi) / 2), hi].map((e) => [10 ** e, "1e" + e]) :
      [lo, (lo + hi) / 2, hi].map((v) => [v, v.toPrecision(2)]);
    let out = `<text x="${LEFT}" y="13" class="pg-title">${title}</text>`;
    for (const [v, text] of marks) {
      out += `<line x1="${LEFT}" x2="${W - 10}" y1="${Y(v)}" y2="${Y(v)}" class="pg-grid"/>` +
        `<text x="${LEFT - 6}" y="${Y(v) + 4}" text-anchor="end">${text}</text>`;
    }
    for (const share of [0, 0.5, 1]) {
      out += `<text x="${X(share * t1)}" y="${H - 6}" text-anchor="${share === 1 ? "end" : "middle"}">t = ${(share * t1).toPrecision(3)}</text>`;
    }
    if (line) out += `<line x1="${LEFT}" x2="${W - 10}" y1="${Y(line)}" y2="${Y(line)}" class="pg-line"/>`;
    const every = Math.max(1, Math.ceil(points.length / 3000));
    out += points.filter((_, i) => i % every === 0)
      .map(([t, v, bad]) => `<circle cx="${X(t).toFixed(1)}" cy="${Y(v).toFixed(1)}" r="1.8" class="${bad ? "pg-bad" : "pg-dot"}"/>`)
      .join("");
    node(id).innerHTML = out;
  }

  function region(method, points) {
    const size = 330, reach = 6, n = 66, cell = size / n;
    const P = (v) => (size * (v + reach)) / (2 * reach);
    let out = "";
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) {
        const re = -reach + (2 * reach * (i + 0.5)) / n, im = -reach + (2 * reach * (j + 0.5)) / n;
        if (growth(method, re, im) <= 1) out += `<rect x="${i * cell}" y="${j * cell}" width="${cell}" height="${cell}" class="pg-stable"/>`;
      }
    }
    out += `<line x1="0" x2="${size}" y1="${size / 2}" y2="${size / 2}" class="pg-grid"/>` +
      `<line y1="0" y2="${size}" x1="${size / 2}" x2="${size / 2}" class="pg-grid"/>`;
    const every = Math.max(1, Math.ceil(points.length / 1500));
    out += points.filter((_, i) => i % every === 0).filter(([re, im]) => Math.abs(re) < reach && Math.abs(im) < reach)
      .map(([re, im]) => `<circle cx="${P(re).toFixed(1)}" cy="${P(-im).toFixed(1)}" r="2" class="pg-dot"/>`).join("");
    out += `<text x="4" y="${size / 2 - 6}">Re hλ = -6</text><text x="${size / 2 + 6}" y="14">Im hλ = 6</text>`;
    node("region").innerHTML = out;
  }

  function draw() {
    const mu = 10 ** +node("mu").value, tol = 10 ** +node("tol").value, law = node("law").value, method = node("method").value;
    const t1 = Math.max(20, 1.7 * mu), sol = solve(mu, tol, law, method, t1);
    node("mu-text").textContent = mu.toPrecision(3);
    node("tol-text").textContent = tol.toExponential(1);
    node("counts").textContent = `${sol.kept.length} steps kept, ${sol.rejected} rejected, ${sol.evaluations} evaluations of f` +
      (sol.done ? "" : `; stopped after ${MOST} tries at t = ${sol.end.t.toPrecision(3)} of ${t1.toPrecision(3)}`);
    const counts = { kept: sol.kept.length, rejected: sol.rejected, evaluations: sol.evaluations, done: sol.done, end: sol.end.x };
    node("root").dataset.counts = JSON.stringify(counts);
    panel("state", "position x", sol.kept.map((s) => [s.t, s.x[0]]), { t1, low: -2.5, high: 2.5 });
    const sizes = sol.tries.map((s) => [s.t, s.h, !s.good]);
    const hs = sizes.map((s) => s[1]).filter((v) => v > 0);
    panel("steps", "step size h, rejected tries in the second colour", sizes,
      { log: true, t1, low: hs.reduce((a, b) => Math.min(a, b), 1), high: hs.reduce((a, b) => Math.max(a, b), 1e-6) });
    panel("errors", "estimated error / tolerance", sol.tries.map((s) => [s.t, s.error, !s.good]),
      { log: true, t1, low: 1e-3, high: 1e2, line: 1 });
    region(method, sol.kept.flatMap((s) => eigenvalues(mu, s.x).map(([re, im]) => [re * s.h, im * s.h])));
  }

  function begin() {
    if (!node("root")) return;
    for (const [key, value] of new URLSearchParams(location.hash.slice(1))) if (node(key)) node(key).value = value;
    for (const id of ["mu", "tol", "law", "method"]) {
      node(id).addEventListener("input", draw);
      node(id).addEventListener("change", draw);
    }
    draw();
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin);
  else begin();
})();
