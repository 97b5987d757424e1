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
