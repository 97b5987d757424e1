// What generated kernels stand on, on the CPU: W trajectories side by side in vectors of the compiler (GCC, Clang).
// `numbers.hpp` has the same names for CUDA.
#include <cmath>
#include <cstdint>
#include <cstring>
typedef double V __attribute__((vector_size(8 * W)));
typedef float F __attribute__((vector_size(4 * W)));
typedef int64_t I __attribute__((vector_size(8 * W)));  // integers, and masks: 0 or -1
typedef int32_t J __attribute__((vector_size(4 * W)));
#define INL static inline __attribute__((always_inline))
#define FAR static __attribute__((noinline))
#define UNROLL
#define DEVICE
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
template <class T> INL T vabs(T a) { return sel(mask(a < T{}), -a, sel(mask(a == T{}), T{}, a)); }
INL V vabs(V a) { return (V)((I)a & vi(0x7fffffffffffffffLL)); }
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
// y[i] = y[rows[i]], each lane by its own rows.
template <int N, class T> INL void permute(const I *rows, T *y) {
  T b[N];
  for (int i = 0; i < N; i++) b[i] = y[i];
  for (int i = 0; i < N; i++)
    for (int l = 0; l < W; l++) y[i][l] = b[rows[i][l]][l];
}
INL int64_t bits(double a) {
  int64_t out;
  std::memcpy(&out, &a, 8);
  return out;
}
INL double from_bits(int64_t a) {
  double out;
  std::memcpy(&out, &a, 8);
  return out;
}
