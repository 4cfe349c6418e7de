#include "bridge.h"

#include <assert.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

// ONNX Runtime's own arena gives a run what an earlier one left, and some
// operators do not write all that they answer. Here a run is given no byte that it
// has not had before without that it was cleared; what an operator of the same run
// left is not cleared again.

// ALIGN is what ONNX Runtime's own CPU allocator aligns to, and the size of a
// block's header.
enum { ALIGN = 64 };

// Sizes of blocks are quarters of powers of two, in whole lines of ALIGN bytes:
// kernels use instructions that fault on less.
enum { CLASSES = 4 * 64 };

// Small blocks are cut from slabs, which fill huge pages where the C library is
// asked for such, and go back whole. The first is smaller: there are sessions that
// need no more.
enum { SMALL = 512 << 10, FIRST_SLAB = 1 << 20, SLAB = 2 << 20 };

typedef struct slab {
  struct slab *next;
  size_t bytes;
  size_t heap;    // that the C library counts for it, which may be twice as much
  size_t used;    // blocks
  uint64_t turn;  // of the pool, when one was taken last
  int unwanted;
} slab;

_Static_assert(sizeof(slab) <= ALIGN, "a slab's header is before its blocks");

typedef struct block {
  struct block *next;  // idle, in the same class
  ms_pool *pool;
  slab *slab;     // that it is cut from; NULL is none
  uint64_t run;   // that had it last
  size_t had;     // bytes of it, at most, that this run had
  uint64_t turn;  // of the pool, when it was taken last
  size_t size;    // bytes behind the header
  unsigned class;
  uint32_t freed;  // the pool's count of frees, when it was one
} block;

_Static_assert(sizeof(block) <= ALIGN, "a block's header is before its data");

struct ms_pools {
  _Atomic size_t bytes, most;  // 0 is no bound
};

struct ms_pool {
  pthread_mutex_t mu;
  ms_pools *all;  // that it is one of; NULL for nobody's
  block *idle[CLASSES];
  slab *slabs;
  char *room;  // what is left of the last one
  size_t room_bytes;
  size_t idle_bytes, used_bytes;
  size_t slab_bytes, slab_heap, own_bytes;  // of slabs, and of blocks that are not cut from one
  size_t peak;     // of used_bytes
  size_t high;     // the same, since somebody asked
  size_t resting;  // used_bytes before the first run
  size_t base;     // slab_bytes and own_bytes then
  size_t most;     // bytes that runs may have beside those; 0 is no bound
  uint64_t turns;  // runs
  uint32_t frees;
  size_t blocks;
  int closed;
};

// What this thread does now: outside of a session's creation and its runs the
// memory is nobody's in particular, and is always cleared.
static _Thread_local ms_pool *working;
static _Thread_local uint64_t running;

static ms_pool nobodys = {.mu = PTHREAD_MUTEX_INITIALIZER};
static int poison;
static void (*throw_bad_alloc)(void);

void ms_memory_library(void *handle) {
  // std::__throw_bad_alloc of the C++ library that ONNX Runtime has: its
  // allocators throw, and nobody there looks for NULL.
  *(void **)&throw_bad_alloc = dlsym(handle, "_ZSt17__throw_bad_allocv");
}

ms_pools *ms_pools_new(void) { return calloc(1, sizeof(ms_pools)); }

void ms_pools_most(ms_pools *all, size_t most) { atomic_store(&all->most, most); }

void ms_pools_add(ms_pools *all, int64_t bytes) { atomic_fetch_add(&all->bytes, (size_t)bytes); }

ms_pool *ms_pool_new(ms_pools *all, size_t most) {
  ms_pool *p = calloc(1, sizeof *p);
  if (p == NULL) return NULL;
  pthread_mutex_init(&p->mu, NULL);
  p->all = all;
  p->most = most;
  return p;
}

static void count(ms_pool *p, size_t more, size_t less) {
  if (p->all != NULL) atomic_fetch_add(&p->all->bytes, more - less);
}

static unsigned class_of(size_t n, size_t *size) {
  if (n < ALIGN) n = ALIGN;
  unsigned power = 63 - (unsigned)__builtin_clzll(n);
  size_t base = (size_t)1 << power, quarter = base / 4;
  size_t quarters = (n - base + quarter - 1) / quarter;
  *size = (base + quarters * quarter + ALIGN - 1) / ALIGN * ALIGN;
  return power * 4 + (unsigned)quarters;
}

// LARGER is how many classes a block may be above what is asked for: 16 times.
enum { LARGER = 16 };

static block *take_idle(ms_pool *p, unsigned class) {
  // What is larger will do, too, so that runs of other sizes share it. What was
  // used last is in the processor's caches.
  unsigned from = CLASSES;
  for (unsigned c = class; c < CLASSES && c <= class + LARGER; c++) {
    block *b = p->idle[c];
    if (b == NULL) continue;
    if (from == CLASSES || (int32_t)(b->freed - p->idle[from]->freed) > 0) from = c;
    if (c >= class + 4) break;
  }
  if (from == CLASSES) return NULL;
  block *b = p->idle[from];
  p->idle[from] = b->next;
  p->idle_bytes -= b->size;
  return b;
}

static void release(ms_pool *p, block *b) {
  p->blocks--;
  if (b->slab != NULL) return;
  p->own_bytes -= b->size;
  count(p, 0, b->size);
  free(b);
}

static void destroy(ms_pool *p) {
  while (p->slabs != NULL) {
    slab *s = p->slabs;
    p->slabs = s->next;
    count(p, 0, s->bytes);
    free(s);
  }
  free(p);
}

// cut takes a small block from the last slab, or a new one; NULL without memory.
static block *cut(ms_pool *p, size_t size) {
  if (p->room_bytes < size + ALIGN) {
    size_t bytes = p->slabs == NULL ? FIRST_SLAB : SLAB;
    void *memory = NULL;
    int64_t before = ms_heap();
    if (posix_memalign(&memory, bytes, bytes) != 0) return NULL;
    int64_t heap = ms_heap() - before;
    slab *s = memory;
    *s = (slab){.next = p->slabs, .bytes = bytes, .heap = heap > 0 ? (size_t)heap : 0};
    p->slabs = s;
    p->slab_bytes += s->bytes;
    count(p, s->bytes, 0);
    p->slab_heap += s->heap;
    p->room = (char *)memory + ALIGN;
    p->room_bytes = bytes - ALIGN;
  }
  block *b = (block *)p->room;
  p->room += size + ALIGN;
  p->room_bytes -= size + ALIGN;
  return b;
}

// fresh makes a block; NULL without memory.
static block *fresh(ms_pool *p, size_t size, unsigned class) {
  void *memory = NULL;
  if (size <= SMALL) {
    memory = cut(p, size);
  } else if (posix_memalign(&memory, ALIGN, size + ALIGN) != 0) {
    memory = NULL;
  }
  if (memory == NULL) return NULL;
  block *b = memory;
  *b = (block){.pool = p, .size = size, .class = class, .slab = size <= SMALL ? p->slabs : NULL};
  p->blocks++;
  if (b->slab == NULL) {
    p->own_bytes += size;
    count(p, size, 0);
  }
  return b;
}

// evict_slabs frees slabs of which no run took a block since a turn and has none,
// until at most so many bytes are idle.
static void evict_slabs(ms_pool *p, uint64_t since, size_t most) {
  size_t unwanted = 0;
  for (slab *s = p->slabs; s != NULL && p->idle_bytes > most + unwanted; s = s->next) {
    s->unwanted = s->used == 0 && s->turn < since;
    if (s->unwanted) unwanted += s->bytes;
  }
  if (unwanted == 0) return;
  for (unsigned c = 0; c < CLASSES; c++) {
    for (block **at = &p->idle[c]; *at != NULL;) {
      block *b = *at;
      if (b->slab == NULL || !b->slab->unwanted) {
        at = &b->next;
        continue;
      }
      *at = b->next;
      p->idle_bytes -= b->size;
      p->blocks--;
    }
  }
  for (slab **at = &p->slabs; *at != NULL;) {
    slab *s = *at;
    if (!s->unwanted) {
      at = &s->next;
      continue;
    }
    if (s == p->slabs) p->room_bytes = 0;  // it is the last one, which blocks are cut from
    *at = s->next;
    p->slab_bytes -= s->bytes;
    count(p, 0, s->bytes);
    p->slab_heap -= s->heap;
    free(s);
  }
}

// evict frees idle blocks that no run took since a turn, the largest first,
// until at most so many bytes are idle.
static void evict(ms_pool *p, uint64_t since, size_t most) {
  for (unsigned c = CLASSES; c-- > 0 && p->idle_bytes > most;) {
    for (block **at = &p->idle[c]; *at != NULL && p->idle_bytes > most;) {
      block *b = *at;
      if (b->turn >= since || b->slab != NULL) {
        at = &b->next;
        continue;
      }
      *at = b->next;
      p->idle_bytes -= b->size;
      release(p, b);
    }
  }
  evict_slabs(p, since, most);
}

// KEPT is for how many runs a block is kept that none of them took, once others
// are needed.
enum { KEPT = 64 };

// make_room frees what runs of other shapes left behind, before more is taken.
static void make_room(ms_pool *p) {
  if (p->turns > KEPT && p->idle_bytes > p->peak) evict(p, p->turns - KEPT, p->peak);
  if (p->idle_bytes / 4 > p->peak) evict(p, UINT64_MAX, p->peak);
}

// over is whether so many bytes more are too much for the runs of a pool, or of all.
static int over(ms_pool *p, size_t size) {
  size_t has = p->slab_bytes + p->own_bytes, most = p->all != NULL ? atomic_load(&p->all->most) : 0;
  has = has > p->base ? has - p->base : 0;
  return (p->most != 0 && (size > p->most || has > p->most - size)) ||
         (most != 0 && (size > most || atomic_load(&p->all->bytes) > most - size));
}

// may_grow is whether a run may have a block that is not there: what is idle goes
// first. What a session is made of is for whoever loads it to bound.
static int may_grow(ms_pool *p, size_t size) {
  if (running == 0 || !over(p, size)) return 1;
  evict(p, UINT64_MAX, 0);
  return !over(p, size);
}

void ms_pool_trim(ms_pool *p) {
  pthread_mutex_lock(&p->mu);
  evict(p, UINT64_MAX, 0);
  p->peak = p->used_bytes;
  pthread_mutex_unlock(&p->mu);
}

int64_t ms_pool_high(ms_pool *p) {
  pthread_mutex_lock(&p->mu);
  size_t high = p->high > p->resting ? p->high - p->resting : 0;
  p->high = p->used_bytes;
  pthread_mutex_unlock(&p->mu);
  return (int64_t)high;
}

int64_t ms_pool_size(ms_pool *p) {
  pthread_mutex_lock(&p->mu);
  size_t total = p->slab_bytes + p->own_bytes;
  pthread_mutex_unlock(&p->mu);
  return (int64_t)total;
}

int64_t ms_pool_heap(ms_pool *p) {
  pthread_mutex_lock(&p->mu);
  size_t total = p->slab_heap + p->own_bytes;
  pthread_mutex_unlock(&p->mu);
  return (int64_t)total;
}

void ms_pool_free(ms_pool *p) {
  if (p == NULL) return;
  pthread_mutex_lock(&p->mu);
  p->closed = 1;
  for (unsigned c = 0; c < CLASSES; c++) {
    while (p->idle[c] != NULL) {
      block *b = p->idle[c];
      p->idle[c] = b->next;
      p->idle_bytes -= b->size;
      release(p, b);
    }
  }
  int last = p->blocks == 0;
  pthread_mutex_unlock(&p->mu);
  if (last) destroy(p);
}

void ms_work(ms_pool *p, int run) {
  static _Atomic uint64_t runs;
  working = p;
  running = run ? atomic_fetch_add(&runs, 1) + 1 : 0;
  if (p == NULL || !run) return;
  pthread_mutex_lock(&p->mu);
  if (p->turns++ == 0) {
    p->high = p->resting = p->used_bytes;
    p->base = p->slab_bytes + p->own_bytes;
  }
  pthread_mutex_unlock(&p->mu);
}

static void *pool_alloc(OrtAllocator *self, size_t n) {
  (void)self;
  if (n == 0) return NULL;
  ms_pool *p = working != NULL ? working : &nobodys;
  size_t size = 0;
  block *b = NULL;
  if (n <= SIZE_MAX / 4) {
    unsigned class = class_of(n, &size);
    pthread_mutex_lock(&p->mu);
    b = take_idle(p, class);
    if (b == NULL) {
      make_room(p);
      b = may_grow(p, size) ? fresh(p, size, class) : NULL;
    }
    if (b != NULL) {
      b->turn = p->turns;
      if (b->slab != NULL) {
        b->slab->turn = p->turns;
        b->slab->used++;
      }
      p->used_bytes += b->size;
      if (p->used_bytes > p->peak) p->peak = p->used_bytes;
      if (p->used_bytes > p->high) p->high = p->used_bytes;
    }
    pthread_mutex_unlock(&p->mu);
  }
  if (b == NULL) {
    if (throw_bad_alloc != NULL) throw_bad_alloc();
    return NULL;
  }
  void *data = (char *)b + ALIGN;
  assert((uintptr_t)data % ALIGN == 0);
  if (running == 0 || b->run != running) b->had = 0;
  b->run = running;
  if (poison) {
    memset(data, MS_POISON, n);
  } else if (n > b->had) {
    memset((char *)data + b->had, 0, n - b->had);
  }
  if (n > b->had) b->had = n;
  return data;
}

static void pool_free(OrtAllocator *self, void *data) {
  (void)self;
  if (data == NULL) return;
  block *b = (block *)((char *)data - ALIGN);
  ms_pool *p = b->pool;
  pthread_mutex_lock(&p->mu);
  p->used_bytes -= b->size;
  if (b->slab != NULL) b->slab->used--;
  int last = 0;
  if (p->closed) {
    release(p, b);
    last = p->blocks == 0;
  } else {
    b->freed = ++p->frees;
    b->next = p->idle[b->class];
    p->idle[b->class] = b;
    p->idle_bytes += b->size;
  }
  pthread_mutex_unlock(&p->mu);
  if (last) destroy(p);
}

static OrtMemoryInfo *cpu;

static const OrtMemoryInfo *pool_info(const OrtAllocator *self) {
  (void)self;
  return cpu;
}

// It lives as long as the environment, which is one for the process.
OrtStatus *ms_env_memory(const OrtApi *a, OrtEnv *env, int poisoned) {
  static OrtAllocator allocator = {
      .version = ORT_API_VERSION,
      .Alloc = pool_alloc,
      .Free = pool_free,
      .Info = pool_info,
      .Reserve = pool_alloc,
  };
  poison = poisoned;
  if (cpu == NULL) {
    OrtStatus *s = a->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &cpu);
    if (s != NULL) return s;
  }
  return a->RegisterAllocator(env, &allocator);
}
