// What generated kernels stand on: W trajectories side by side in vectors of the compiler (GCC, Clang), and functions of them.
#include <cmath>
#include <cstdint>
#include <cstring>
typedef double V __attribute__((vector_size(8 * W)));
typedef float F __attribute__((vector_size(4 * W)));
typedef int64_t I __attribute__((vector_size(8 * W)));  // integers, and masks: 0 or -1
typedef int32_t J __attribute__((vector_size(4 * W)));
#define INL static inline __attribute__((always_inline))
#define FAR static __attribute__((noinline))
INL V vd(double a) { return a - V{}; }
INL F vf(float a) { return a - F{}; }
INL I vi(int64_t a) { return a + I{}; }
INL bool any(I m) {
  int64_t out = 0;
  for (int l = 0; l < W; l++) out |= m[l];
  return out != 0;
}
INL V sel(I m, V a, V b) { return m ? a : b; }
INL I sel(I m, I a, I b) { return m ? a : b; }
INL F sel(I m, F a, F b) { return __builtin_convertvector(m, J) ? a : b; }
INL I mask(I m) { return m; }
INL I mask(J m) { return __builtin_convertvector(m, I); }
INL V to_d(V a) { return a; }
INL V to_d(F a) { return __builtin_convertvector(a, V); }
INL V to_d(I a) { return __builtin_convertvector(a, V); }
INL F to_f(F a) { return a; }
INL F to_f(V a) { return __builtin_convertvector(a, F); }
INL F to_f(I a) { return __builtin_convertvector(a, F); }
INL I to_i(I a) { return a; }
INL I to_i(V a) { return __builtin_convertvector(a, I); }
INL I to_i(F a) { return __builtin_convertvector(a, I); }
// As torch.maximum and torch.minimum: nan wins.
template <class T> INL T vmax(T a, T b) { return sel(mask(a > b) | mask(a != a), a, b); }
template <class T> INL T vmin(T a, T b) { return sel(mask(a < b) | mask(a != a), a, b); }
template <class T> INL T vabs(T a) { return sel(mask(a < T{}), -a, sel(mask(a == T{}), T{}, a)); }
INL V vabs(V a) { return (V)((I)a & vi(0x7fffffffffffffffLL)); }
template <class T> INL T vsign(T a) { return sel(mask(a > T{}), T{} + 1.0f, sel(mask(a < T{}), T{} - 1.0f, T{})); }
#define EACH(name, function)                                  \
  template <class T> INL T name(T a) {                        \
    T out;                                                    \
    for (int l = 0; l < W; l++) out[l] = function(a[l]);      \
    return out;                                               \
  }
EACH(vsqrt, std::sqrt) EACH(vfloor, std::floor) EACH(vceil, std::ceil) EACH(vround, std::nearbyint) EACH(vtrunc, std::trunc)
EACH(vsin, std::sin) EACH(vcos, std::cos) EACH(vtan, std::tan) EACH(vasin, std::asin) EACH(vacos, std::acos)
EACH(vatan, std::atan) EACH(vsinh, std::sinh) EACH(vcosh, std::cosh) EACH(vexpm1, std::expm1) EACH(vlog1p, std::log1p)
EACH(verf, std::erf) EACH(vexp, std::exp) EACH(vlog, std::log) EACH(vtanh, std::tanh)
template <class T> FAR T vpow(T a, T b) {
  T out;
  for (int l = 0; l < W; l++) out[l] = std::pow(a[l], b[l]);
  return out;
}
template <class T> FAR T vfmod(T a, T b) {
  T out;
  for (int l = 0; l < W; l++) out[l] = std::fmod(a[l], b[l]);
  return out;
}
template <class T> FAR T vatan2(T a, T b) {
  T out;
  for (int l = 0; l < W; l++) out[l] = std::atan2(a[l], b[l]);
  return out;
}
// exp and log by fdlibm's reductions and polynomials (Sun, 1993): below one unit in the last place, all lanes at once.
FAR V vexp(V x) {
  V y = sel(x > 710.0, vd(710.0), sel(x < -746.0, vd(-746.0), x));
  V k = (y * 1.44269504088896338700 + 0x1.8p52) - 0x1.8p52;
  V hi = y - k * 6.93147180369123816490e-01, lo = k * 1.90821492927058770002e-10, r = hi - lo, t = r * r;
  V c = r - t * (1.66666666666666019037e-01 + t * (-2.77777777770155933842e-03 + t * (6.61375632143793436117e-05 +
        t * (-1.65339022054652515390e-06 + t * 4.13813679705723846039e-08))));
  V e = 1.0 - ((lo - (r * c) / (2.0 - c)) - hi);
  I n = to_i(k), half = n >> 1;
  V out = e * (V)((half + 1023) << 52) * (V)((n - half + 1023) << 52);
  return sel(x != x, x, out);
}
FAR V vlog(V x) {
  I tiny = x < 2.2250738585072014e-308;
  I bits = (I)sel(tiny, x * 0x1p54, x), e = ((bits >> 52) & 0x7ff) - 1023 - (tiny & 54);
  V m = (V)((bits & 0xfffffffffffffLL) | 0x3ff0000000000000LL);
  I high = m > 1.41421356237309504880;
  m = sel(high, m * 0.5, m);
  V k = to_d(e - high);
  V f = m - 1.0, s = f / (2.0 + f), z = s * s, w = z * z, half = 0.5 * f * f;
  V t1 = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01));
  V t2 = z * (6.666666666666735130e-01 + w * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 +
         w * 1.479819860511658591e-01)));
  V out = k * 6.93147180369123816490e-01 - ((half - (s * (half + t1 + t2) + k * 1.90821492927058770002e-10)) - f);
  out = sel(x == 0.0, vd(-INFINITY), sel(x < 0.0, vd(NAN), out));
  return sel((I)(x == INFINITY) | (I)(x != x), x, out);
}
FAR V vtanh(V x) {
  V a = vabs(x), e = vexp(-2.0 * a), far = (1.0 - e) / (1.0 + e), z = x * x;
  V near = a * (1.0 + z * (-3.33333333333333333e-01 + z * (1.33333333333333333e-01 + z * (-5.39682539682539683e-02 +
           z * (2.18694885361552028e-02 + z * (-8.86323552990219657e-03 + z * 3.59212803657248102e-03))))));
  V out = sel(a < 0.1, near, far);
  return sel(x < 0.0, -out, out);
}
// PA = LU with row pivoting for one matrix a lane, as linalg/small.py: a singular one becomes the identity and is reported.
template <class T, int N> struct Factors {
  T lu[N][N];
  I rows[N];
  bool moved;
  I singular;
};
template <class T, int N> FAR void factor(Factors<T, N> &f) {
  I bad = I{};
  for (int i = 0; i < N; i++)
    for (int j = 0; j < N; j++) bad |= ~mask(f.lu[i][j] - f.lu[i][j] == T{});
  f.moved = false;
  for (int i = 0; i < N; i++) f.rows[i] = vi(i);
  for (int k = 0; k < N; k++) {
    T best = vabs(f.lu[k][k]);
    I pivot = vi(k);
    for (int i = k + 1; i < N; i++) {
      T size = vabs(f.lu[i][k]);
      I more = mask(size > best);
      pivot = sel(more, vi(i), pivot);
      best = sel(more, size, best);
    }
    if (any(pivot != k)) {
      f.moved = true;
      for (int i = k + 1; i < N; i++) {
        I here = pivot == i;
        if (!any(here)) continue;
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
    for (int i = k + 1; i < N; i++) {
      T l = f.lu[i][k] * inverse;
      f.lu[i][k] = l;
      for (int j = k + 1; j < N; j++) f.lu[i][j] -= l * f.lu[k][j];
    }
  }
  for (int i = 0; i < N; i++)
    for (int j = 0; j < N; j++) bad |= ~mask(f.lu[i][j] - f.lu[i][j] == T{});
  if (any(bad))
    for (int i = 0; i < N; i++)
      for (int j = 0; j < N; j++) f.lu[i][j] = sel(bad, T{} + (float)(i == j), f.lu[i][j]);
  f.singular = bad;
}
template <class T, int N> INL void solve(const Factors<T, N> &f, T *y) {
  if (f.moved) {
    T b[N];
    for (int i = 0; i < N; i++) b[i] = y[i];
    for (int i = 0; i < N; i++)
      for (int l = 0; l < W; l++) y[i][l] = b[f.rows[i][l]][l];
  }
  for (int i = 0; i < N; i++)
    for (int j = 0; j < i; j++) y[i] -= f.lu[i][j] * y[j];
  for (int i = N - 1; i >= 0; i--) {
    for (int j = i + 1; j < N; j++) y[i] -= f.lu[i][j] * y[j];
    y[i] *= f.lu[i][i];
  }
}
