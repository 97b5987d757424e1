// What implicit methods keep from try to try: the entries of J that are not 0 by structure, ENTRIES of them at the places at(k), and
// factors. A try renews them where they stand, each lane on its own account, as `methods/implicit.py` decides.
struct Memory {
  static constexpr int ROWS = ENTRIES + N * N + N;
  T jac[ENTRIES + 1];
  Factors<T, N> f;
  DEVICE void order() {
    I moved = I{};
    UNROLL
    for (int i = 0; i < N; i++) moved |= f.rows[i] != i;
    f.moved = any(moved);
  }
  DEVICE void load(const double *column, int64_t stride, int l) {
    UNROLL
    for (int k = 0; k < ENTRIES; k++, column += stride) jac[k][l] = *column;
    UNROLL
    for (int k = 0; k < N * N; k++, column += stride) f.lu[k / N][k % N][l] = *column;
    UNROLL
    for (int k = 0; k < N; k++, column += stride) f.rows[k][l] = bits(*column);
    order();
  }
  DEVICE void store(double *column, int64_t stride, int l) const {
    UNROLL
    for (int k = 0; k < ENTRIES; k++, column += stride) *column = jac[k][l];
    UNROLL
    for (int k = 0; k < N * N; k++, column += stride) *column = f.lu[k / N][k % N][l];
    UNROLL
    for (int k = 0; k < N; k++, column += stride) *column = from_bits(f.rows[k][l]);
  }
};
struct Held {
  Memory &m;
  I singular;
};
FAR Held renew(Memory &m, V t, T shift, I singular, I anew, I moved, const T *x, const V *s, const void *const *U,
               const double *C) {
  if (any(anew)) {
    T d[ENTRIES + 1];
    SLOPES(t, x, s, U, C, d);
    UNROLL
    for (int k = 0; k < ENTRIES; k++) m.jac[k] = sel(anew, d[k], m.jac[k]);
  }
  if (any(moved)) {
    Factors<T, N> g;
    UNROLL
    for (int i = 0; i < N; i++)
      UNROLL
      for (int j = 0; j < N; j++) g.lu[i][j] = i == j ? shift : T{};
    UNROLL
    for (int k = 0; k < ENTRIES; k++) g.lu[at(k) / N][at(k) % N] -= m.jac[k];
    factor(g);
    UNROLL
    for (int i = 0; i < N; i++) {
      UNROLL
      for (int j = 0; j < N; j++) m.f.lu[i][j] = sel(moved, g.lu[i][j], m.f.lu[i][j]);
      m.f.rows[i] = sel(moved, g.rows[i], m.f.rows[i]);
    }
    m.order();
    singular = sel(moved, g.singular, singular);
  }
  return {m, singular};
}
