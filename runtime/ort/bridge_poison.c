#include "bridge.h"

#include <stdlib.h>
#include <string.h>

// poisoned is an allocator for tests: what an operator does not write is seen
// in the answer, where an arena would show whatever was there before.
typedef struct {
  OrtAllocator allocator;
  OrtMemoryInfo *info;
} poisoned;

// ALIGN is what ONNX Runtime's own CPU allocator aligns to.
enum { ALIGN = 64 };

static void *poisoned_alloc(OrtAllocator *self, size_t size) {
  (void)self;
  void *p = NULL;
  if (size == 0 || posix_memalign(&p, ALIGN, size) != 0) return NULL;
  return memset(p, MS_POISON, size);
}

static void poisoned_free(OrtAllocator *self, void *p) {
  (void)self;
  free(p);
}

static const OrtMemoryInfo *poisoned_info(const OrtAllocator *self) { return ((const poisoned *)self)->info; }

// It lives as long as the environment, which is one for the process.
OrtStatus *ms_env_poison(const OrtApi *a, OrtEnv *env) {
  static poisoned p = {
      .allocator = {.version = ORT_API_VERSION,
                    .Alloc = poisoned_alloc,
                    .Free = poisoned_free,
                    .Info = poisoned_info,
                    .Reserve = poisoned_alloc},
  };
  if (p.info == NULL) {
    OrtStatus *s = a->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &p.info);
    if (s != NULL) return s;
  }
  return a->RegisterAllocator(env, &p.allocator);
}
