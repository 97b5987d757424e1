// W trajectories at a time; a place whose trajectory has ended, or had its tries, is given to the next one in the list.
// S (KEPT and the rows of the memory, stride): one column a trajectory; O (stride, OUTS) or, where every try is noted,
// (tries, stride, OUTS); used (stride): tries it had. Codes below 0 are running.
extern "C" void run(double *S, double *O, int64_t *used, const int64_t *list, int64_t count, int64_t tries, int64_t all,
                    int64_t stride, const void *const *U, const double *C) {
  V s[KEPT], o[OUTS];
  Memory m;
  int64_t id[W], left[W], next = 0, busy = 0;
  for (int k = 0; k < OUTS; k++) o[k] = V{};
  for (int l = 0; l < W; l++) {
    bool real = next < count;
    id[l] = real ? list[next++] : -1;
    left[l] = tries;
    busy += real;
    int64_t from = real ? id[l] : list[0];
    for (int k = 0; k < KEPT; k++) s[k][l] = S[k * stride + from];
    m.load(S + KEPT * stride + from, stride, l);
    if (!real) {
      I code = (I)s[RESULT];
      code[l] = 0;
      s[RESULT] = (V)code;
    }
  }
  while (busy) {
    attempt(s, o, m, U, C);
    I code = (I)s[RESULT];
    for (int l = 0; l < W; l++) {
      if (id[l] < 0) continue;
      bool stays = --left[l] > 0 && code[l] < 0;
      if (all || !stays) {
        double *note = O + ((all ? tries - left[l] - 1 : 0) * stride + id[l]) * OUTS;
        for (int k = 0; k < OUTS; k++) note[k] = o[k][l];
      }
      if (stays) continue;
      used[id[l]] = tries - left[l];
      for (int k = FIXED; k < KEPT; k++) S[k * stride + id[l]] = s[k][l];
      m.store(S + KEPT * stride + id[l], stride, l);
      if (next < count) {
        id[l] = list[next++];
        left[l] = tries;
        for (int k = 0; k < KEPT; k++) s[k][l] = S[k * stride + id[l]];
        m.load(S + KEPT * stride + id[l], stride, l);
        code[l] = ((I)s[RESULT])[l];
      } else {
        id[l] = -1;
        busy--;
        code[l] = 0;
        s[RESULT] = (V)code;
      }
    }
  }
}
