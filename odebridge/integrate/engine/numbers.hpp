// What generated kernels stand on in CUDA, one trajectory a thread: the names and rules of `vectors.hpp` for vectors of one number.
// Comparisons give masks, (I)v and (V)i take the bits, v[0] is the number. HOST: the same text on the CPU, for tests without a card.
#ifdef HOST
#include <cmath>
#include <cstdint>
#include <cstring>
#define DEVICE
#define INL static inline
#define FAR static
#define UNROLL
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
INL int64_t taken(int64_t *next) { return (*next)++; }
#else
typedef long long int64_t;
typedef int int32_t;
#define DEVICE __device__
#define INL static __device__ __forceinline__
// Small systems without loops, so that their arrays are registers. (A count behind "unroll" unrolls triangles before their
// lengths are known, and takes the compiler half a minute.)
#ifdef SMALL
#define UNROLL _Pragma("unroll")
#define FAR static __device__
#else
#define UNROLL
#define FAR static __device__ __noinline__
#endif
#ifndef INFINITY
#define INFINITY __longlong_as_double(0x7ff0000000000000LL)
#endif
#ifndef NAN
#define NAN __longlong_as_double(0x7ff8000000000000LL)
#endif
INL int64_t bits(double a) { return __double_as_longlong(a); }
INL double from_bits(int64_t a) { return __longlong_as_double(a); }
INL int64_t taken(int64_t *next) { return (int64_t)atomicAdd((unsigned long long *)next, 1ULL); }
#endif
constexpr int W = 1;
struct I;
struct V {
  double v;
  DEVICE double &operator[](int) { return v; }
  DEVICE double operator[](int) const { return v; }
  DEVICE explicit operator I() const;
};
struct F {
  float v;
  DEVICE float &operator[](int) { return v; }
  DEVICE float operator[](int) const { return v; }
};
struct I {  // integers, and masks: 0 or -1
  int64_t v;
  DEVICE int64_t &operator[](int) { return v; }
  DEVICE int64_t operator[](int) const { return v; }
  DEVICE explicit operator V() const;
};
struct J {
  int32_t v;
};
DEVICE inline V::operator I() const { return {bits(v)}; }
DEVICE inline I::operator V() const { return {from_bits(v)}; }
#define INFIX(T, S, op)                                    \
  INL T operator op(T a, T b) { return {a.v op b.v}; }     \
  INL T operator op(T a, S b) { return {a.v op b}; }       \
  INL T operator op(S a, T b) { return {a op b.v}; }       \
  INL T &operator op##=(T &a, T b) { return a = a op b; }
#define COMPARE(T, S, M, op)                                  \
  INL M operator op(T a, T b) { return {-(a.v op b.v)}; }     \
  INL M operator op(T a, S b) { return {-(a.v op b)}; }
#define REAL(T, S, M)                                                                                 \
  INFIX(T, S, +) INFIX(T, S, -) INFIX(T, S, *) COMPARE(T, S, M, ==) COMPARE(T, S, M, !=)              \
  COMPARE(T, S, M, <) COMPARE(T, S, M, <=) COMPARE(T, S, M, >) COMPARE(T, S, M, >=)                   \
  INL T operator-(T a) { return {-a.v}; }
REAL(V, double, I) REAL(F, float, J) REAL(I, int64_t, I)
INFIX(V, double, /) INFIX(F, float, /) INFIX(I, int64_t, &) INFIX(I, int64_t, |) INFIX(I, int64_t, ^)
INL I operator~(I a) { return {~a.v}; }
INL V vd(double a) { return {a}; }
INL F vf(float a) { return {a}; }
INL I vi(int64_t a) { return {a}; }
INL bool any(I m) { return m.v != 0; }
INL V sel(I m, V a, V b) { return m.v ? a : b; }
INL F sel(I m, F a, F b) { return m.v ? a : b; }
INL I sel(I m, I a, I b) { return m.v ? a : b; }
INL I mask(I m) { return m; }
INL I mask(J m) { return {m.v}; }
INL V to_d(V a) { return a; }
INL V to_d(F a) { return {(double)a.v}; }
INL V to_d(I a) { return {(double)a.v}; }
INL F to_f(F a) { return a; }
INL F to_f(V a) { return {(float)a.v}; }
INL F to_f(I a) { return {(float)a.v}; }
INL I to_i(I a) { return a; }
INL I to_i(V a) { return {(int64_t)a.v}; }
INL I to_i(F a) { return {(int64_t)a.v}; }
#define EACH(name)                                 \
  INL V v##name(V a) { return {name(a.v)}; }       \
  INL F v##name(F a) { return {name##f(a.v)}; }
#define BOTH(name)                                                   \
  FAR V v##name(V a, V b) { return {name(a.v, b.v)}; }               \
  FAR F v##name(F a, F b) { return {name##f(a.v, b.v)}; }
EACH(sqrt) EACH(floor) EACH(ceil) EACH(trunc) EACH(sin) EACH(cos) EACH(tan) EACH(asin) EACH(acos) EACH(atan) EACH(sinh)
EACH(cosh) EACH(expm1) EACH(log1p) EACH(erf) EACH(exp) EACH(log) EACH(tanh) BOTH(pow) BOTH(fmod) BOTH(atan2)
INL V vabs(V a) { return {fabs(a.v)}; }
INL F vabs(F a) { return {fabsf(a.v)}; }
INL I vabs(I a) { return {a.v < 0 ? -a.v : a.v}; }
INL V vround(V a) { return {rint(a.v)}; }
INL F vround(F a) { return {rintf(a.v)}; }
// y[i] = y[rows[i]]. By comparison where the arrays are to stay in registers.
template <int N, class T> INL void permute(const I *rows, T *y) {
  T b[N];
  UNROLL
  for (int i = 0; i < N; i++) b[i] = y[i];
  UNROLL
  for (int i = 0; i < N; i++) {
#ifdef SMALL
    UNROLL
    for (int j = 0; j < N; j++) y[i] = sel(rows[i] == j, b[j], y[i]);
#else
    y[i] = b[rows[i].v];
#endif
  }
}
