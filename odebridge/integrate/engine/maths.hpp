// Functions of V, F, I and J that both devices share.
// As torch.maximum and torch.minimum: nan wins.
template <class T> INL T vmax(T a, T b) { return sel(mask(a > b) | mask(a != a), a, b); }
template <class T> INL T vmin(T a, T b) { return sel(mask(a < b) | mask(a != a), a, b); }
template <class T> INL T vsign(T a) { return sel(mask(a > T{}), T{} + 1.0f, sel(mask(a < T{}), T{} - 1.0f, T{})); }
// PA = LU with row pivoting for one matrix a lane, as linalg/small.py: a singular one becomes the identity and is reported.
template <class T, int N> struct Factors {
  T lu[N][N];
  I rows[N];
  bool moved;
  I singular;
};
template <class T, int N> FAR void factor(Factors<T, N> &f) {
  I bad = I{};
  UNROLL
  for (int i = 0; i < N; i++)
    UNROLL
    for (int j = 0; j < N; j++) bad |= ~mask(f.lu[i][j] - f.lu[i][j] == T{});
  f.moved = false;
  UNROLL
  for (int i = 0; i < N; i++) f.rows[i] = vi(i);
  UNROLL
  for (int k = 0; k < N; k++) {
    T best = vabs(f.lu[k][k]);
    I pivot = vi(k);
    UNROLL
    for (int i = k + 1; i < N; i++) {
      T size = vabs(f.lu[i][k]);
      I more = mask(size > best);
      pivot = sel(more, vi(i), pivot);
      best = sel(more, size, best);
    }
    if (any(pivot != k)) {
      f.moved = true;
      UNROLL
      for (int i = k + 1; i < N; i++) {
        I here = pivot == i;
        if (!any(here)) continue;
        UNROLL
        for (int j = 0; j < N; j++) {
          T p = f.lu[k][j], q = f.lu[i][j];
          f.lu[k][j] = sel(here, q, p);
          f.lu[i][j] = sel(here, p, q);
        }
        I p = f.rows[k], q = f.rows[i];
        f.rows[k] = sel(here, q, p);
        f.rows[i] = sel(here, p, q);
      }
    }
    bad |= mask(best == T{});
    T unit = T{} + 1.0f, inverse = unit / sel(mask(best == T{}), unit, f.lu[k][k]);
    f.lu[k][k] = inverse;  // its reciprocal, so that solving divides nowhere
    UNROLL
    for (int i = k + 1; i < N; i++) {
      T l = f.lu[i][k] * inverse;
      f.lu[i][k] = l;
      UNROLL
      for (int j = k + 1; j < N; j++) f.lu[i][j] -= l * f.lu[k][j];
    }
  }
  UNROLL
  for (int i = 0; i < N; i++)
    UNROLL
    for (int j = 0; j < N; j++) bad |= ~mask(f.lu[i][j] - f.lu[i][j] == T{});
  if (any(bad))
    UNROLL
    for (int i = 0; i < N; i++)
      UNROLL
      for (int j = 0; j < N; j++) f.lu[i][j] = sel(bad, T{} + (float)(i == j), f.lu[i][j]);
  f.singular = bad;
}
template <class T, int N> INL void solve(const Factors<T, N> &f, T *y) {
  if (f.moved) permute<N>(f.rows, y);
  UNROLL
  for (int i = 0; i < N; i++)
    UNROLL
    for (int j = 0; j < i; j++) y[i] -= f.lu[i][j] * y[j];
  UNROLL
  for (int i = N - 1; i >= 0; i--) {
    UNROLL
    for (int j = i + 1; j < N; j++) y[i] -= f.lu[i][j] * y[j];
    y[i] *= f.lu[i][i];
  }
}
