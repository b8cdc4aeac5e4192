// One macro: compile a function for several x86-64 levels and let the loader pick (AVX-512, AVX2, baseline).
// The loops stay plain C++ for the auto-vectoriser. Expands to nothing where ifuncs are missing (musl, macOS, Windows,
// other architectures) and under sanitizers, whose runtime is not up yet when ifuncs are resolved.
#pragma once

#include <cstddef>  // on glibc this defines __GLIBC__

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__GLIBC__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define DELINEATE_SIMD_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define DELINEATE_SIMD_CLONES
#endif
