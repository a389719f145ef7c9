// For candle's kernels: what their use of half needs beyond card.hpp.
#pragma once
#include "card.hpp"
// Functions of a half in float32, rounded. Of __hmax_nan and __hmin_nan, NaN if either is.
#define CARD_FUNCTIONS(T)                                                                          \
    inline bool __hisnan(T a) { return isnan(float(a)); }                                          \
    inline T __habs(T a) { return fabsf(a); }                                                      \
    inline T __hmax_nan(T a, T b) { return __hisnan(a) ? a : __hisnan(b) ? b : float(a) > float(b) ? a : b; } \
    inline T __hmin_nan(T a, T b) { return __hisnan(a) ? a : __hisnan(b) ? b : float(a) < float(b) ? a : b; } \
    inline T hsqrt(T a) { return sqrtf(a); }                                                       \
    inline T hcos(T a) { return cosf(a); }                                                         \
    inline T hsin(T a) { return sinf(a); }                                                         \
    inline T hlog(T a) { return logf(a); }                                                         \
    inline T hexp(T a) { return expf(a); }
CARD_FUNCTIONS(__half)
