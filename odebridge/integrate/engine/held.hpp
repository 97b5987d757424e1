// What implicit methods keep from try to try: the entries of J that are not 0 by structure, ENTRIES of them at the places AT, and
// factors. A try renews them where they stand, each lane on its own account, as `methods/implicit.py` decides.
struct Memory {
  static constexpr int ROWS = ENTRIES + N * N + N;
  T jac[ENTRIES + 1];
  Factors<T, N> f;
  void order() {
    I moved = I{};
    for (int i = 0; i < N; i++) moved |= f.rows[i] != i;
    f.moved = any(moved);
  }
  void load(const double *column, int64_t stride, int l) {
    for (int k = 0; k < ENTRIES; k++, column += stride) jac[k][l] = *column;
    for (int k = 0; k < N * N; k++, column += stride) f.lu[k / N][k % N][l] = *column;
    for (int k = 0; k < N; k++, column += stride) {
      int64_t row;
      std::memcpy(&row, column, 8);
      f.rows[k][l] = row;
    }
    order();
  }
  void store(double *column, int64_t stride, int l) const {
    for (int k = 0; k < ENTRIES; k++, column += stride) *column = jac[k][l];
    for (int k = 0; k < N * N; k++, column += stride) *column = f.lu[k / N][k % N][l];
    for (int k = 0; k < N; k++, column += stride) {
      int64_t row = f.rows[k][l];
      std::memcpy(column, &row, 8);
    }
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
    for (int k = 0; k < ENTRIES; k++) m.jac[k] = sel(anew, d[k], m.jac[k]);
  }
  if (any(moved)) {
    Factors<T, N> g;
    for (int i = 0; i < N; i++)
      for (int j = 0; j < N; j++) g.lu[i][j] = i == j ? shift : T{};
    for (int k = 0; k < ENTRIES; k++) g.lu[AT[k] / N][AT[k] % N] -= m.jac[k];
    factor(g);
    for (int i = 0; i < N; i++) {
      for (int j = 0; j < N; j++) m.f.lu[i][j] = sel(moved, g.lu[i][j], m.f.lu[i][j]);
      m.f.rows[i] = sel(moved, g.rows[i], m.f.rows[i]);
    }
    m.order();
    singular = sel(moved, g.singular, singular);
  }
  return {m, singular};
}
