// Simplified Newton on the stage equations, as `methods/implicit.py` has it; the lanes side by side go on until all are done.
template <class S, int M> struct Newton {
  S z[M];
  I converged, iterations;
  V rate, theta;
};
FAR void newton(Newton<T, N> &out, V t, const Factors<T, N> &factors, V rate, I active, I limits, const T *x, const T *known,
                const T *per, const T *damp, const T *guess, const T *weights, const V *s, const void *const *U,
                const double *C) {
  const V floor = vd(2.220446049250313e-16), kappa = vd(1e-2);
  const int64_t limit = limits[0];
  rate = vexp(0.8 * vlog(vmax(rate, vd(1e-2))));
  V eta = rate, worst = vd(0), before = vd(1);
  I converged = vi(0), iterations = vi(0);
  T *z = out.z;
  T per_weight[N];
  UNROLL
  for (int i = 0; i < N; i++) z[i] = guess[i], per_weight[i] = (T{} + 1.0f) / weights[i];
  for (int64_t k = 0; k < limit && any(active); k++) {
    T y[N], r[N];
    UNROLL
    for (int i = 0; i < N; i++) y[i] = x[i] + z[i];
    field(t, y, s, U, C, r);
    UNROLL
    for (int i = 0; i < N; i++) r[i] += (known[i] - z[i]) * per[i];
    solve(factors, r);
    T total = T{};
    UNROLL
    for (int i = 0; i < N; i++) {
      r[i] *= damp[i];
      T q = r[i] * per_weight[i];
      total += q * q;
      z[i] = sel(active, z[i] + r[i], z[i]);
    }
    V size = vsqrt(to_d(total) / (double)N);
    iterations += active & 1;
    I lost = ~(I)(size - size == 0.0);
    if (k > 0) {
      V theta = size / before;
      worst = sel(active, vmax(worst, theta), worst);
      eta = sel((I)(theta < 1.0), theta / vmax(1.0 - theta, floor), vd(INFINITY));
      V hope = vd(1), square = theta;  // theta^(limit - 1 - k)
      for (int64_t e = limit - 1 - k; e > 0; e >>= 1, square *= square)
        if (e & 1) hope *= square;
      hope *= eta * size;
      lost |= (I)(theta >= 2.0) | (I)(hope > kappa);
    }
    I done = (I)(eta * size <= kappa);
    if (k == 0) done &= (I)(eta <= 0.3);  // BELIEVED
    done |= (I)(size <= 1e-7);            // NOTHING
    converged |= active & done;
    active &= ~done & ~lost;
    before = sel(active, size, before);
  }
  V measured = worst / vmax(1.0 - worst, floor);
  out.rate = sel((I)(iterations > 1), vmin(measured, vd(1)), rate);
  out.converged = converged;
  out.iterations = iterations;
  out.theta = worst;
}
