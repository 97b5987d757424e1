// One trajectory a thread, each with its own clock. A thread whose trajectory has ended, or had its tries, takes the next one of
// the list, so that none of a warp waits for the slowest of its first 32. S, list, tries, all and stride as in `loop.hpp`; O is
// (OUTS, stride) or, where every try is noted, (tries, OUTS, stride): neighbours write side by side. next: starts as 0.
DEVICE void work(int64_t at, int64_t threads, double *S, double *O, int64_t *used, const int64_t *list, int64_t count,
                 int64_t tries, int64_t all, int64_t stride, const void *const *U, const double *C, int64_t *next) {
  V s[KEPT], o[OUTS];
  Memory m;
  int64_t id = 0, left = 0;
  while (true) {
    if (left == 0) {
      if (at >= count) break;
      id = list[at];
      left = tries;
      UNROLL
      for (int k = 0; k < KEPT; k++) s[k].v = S[k * stride + id];
      m.load(S + KEPT * stride + id, stride, 0);
    }
    attempt(s, o, m, U, C);
    left--;
    const bool stays = left > 0 && bits(s[RESULT].v) < 0;
    if (all || !stays) {
      double *note = O + (all ? tries - left - 1 : 0) * OUTS * stride + id;
      UNROLL
      for (int k = 0; k < OUTS; k++) note[k * stride] = o[k].v;
    }
    if (stays) continue;
    used[id] = tries - left;
    UNROLL
    for (int k = FIXED; k < KEPT; k++) S[k * stride + id] = s[k].v;
    m.store(S + KEPT * stride + id, stride, 0);
    left = 0;
    at = threads >= count ? count : threads + taken(next);
  }
}
#ifdef HOST
extern "C" void run(double *S, double *O, int64_t *used, const int64_t *list, int64_t count, int64_t tries, int64_t all,
                    int64_t stride, const void *const *U, const double *C, int64_t *next) {
  work(0, 1, S, O, used, list, count, tries, all, stride, U, C, next);
}
#else
extern "C" __global__ void __launch_bounds__(BLOCK)
    run(double *__restrict__ S, double *__restrict__ O, int64_t *__restrict__ used, const int64_t *__restrict__ list,
        int64_t count, int64_t tries, int64_t all, int64_t stride, const void *const *__restrict__ U,
        const double *__restrict__ C, int64_t *next) {
  work(blockIdx.x * (int64_t)BLOCK + threadIdx.x, gridDim.x * (int64_t)BLOCK, S, O, used, list, count, tries, all, stride, U,
       C, next);
}
#endif
