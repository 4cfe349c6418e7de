// The smallest integer divided by -1 does not fit its type. ONNX says nothing
// of it, arm64 wraps around, vectorised code wraps around, and on amd64 the
// idiv that a kernel of ONNX Runtime comes to raises SIGFPE: one request would
// end the process, and with it everybody's. Here it wraps around too.
#define _GNU_SOURCE
#include "bridge.h"

#if defined(__linux__) && defined(__x86_64__)
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

static struct sigaction ms_fpe_before;  // Go's

// operand finds what the ModRM byte at p names: a register's place in the
// context, or memory, which the processor has just read. next becomes the
// address behind the instruction.
static const void *operand(greg_t *regs, const uint8_t *p, int rex, int width, const uint8_t **next) {
  static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  int mod = p[0] >> 6, rm = p[0] & 7, b = (rex & 1) << 3;
  p++;
  if (mod == 3) {
    *next = p;
    if (width == 1 && rex == 0 && rm >= 4) return (const uint8_t *)&regs[order[rm - 4]] + 1;  // ah, ch, dh, bh
    return &regs[order[rm | b]];
  }
  uint64_t address = 0;
  int wide = mod == 2;  // is the displacement of 32 bits?
  int relative = 0;
  if (rm == 4) {  // SIB
    int scale = *p >> 6, index = (*p >> 3 & 7) | (rex & 2) << 2, base = *p & 7;
    p++;
    if (index != 4) address += (uint64_t)regs[order[index]] << scale;
    if (mod == 0 && base == 5) {
      wide = 1;  // and no base
    } else {
      address += (uint64_t)regs[order[base | b]];
    }
  } else if (mod == 0 && rm == 5) {
    wide = relative = 1;
  } else {
    address += (uint64_t)regs[order[rm | b]];
  }
  if (wide) {
    int32_t d;
    memcpy(&d, p, sizeof d);
    address += (uint64_t)(int64_t)d;
    p += 4;
  } else if (mod == 1) {
    address += (uint64_t)(int64_t)(int8_t)*p++;
  }
  if (relative) address += (uint64_t)(uintptr_t)p;
  *next = p;
  return (const void *)(uintptr_t)address;
}

// signed_at reads a little-endian integer of so many bytes.
static int64_t signed_at(const void *p, int width) {
  int64_t v = 0;
  memcpy(&v, p, (size_t)width);
  int unused = 64 - 8 * width;
  return (int64_t)((uint64_t)v << unused) >> unused;
}

// ms_fpe_wrap completes the idiv that the context stands at, if it divides the
// smallest integer by -1; 0 is that it stands at something else.
static int ms_fpe_wrap(greg_t *regs) {
  const uint8_t *p = (const uint8_t *)(uintptr_t)regs[REG_RIP];
  int width = 4, rex = 0;
  if (*p == 0x66) {
    width = 2;
    p++;
  }
  if ((*p & 0xf0) == 0x40) rex = *p++;
  if (rex & 8) width = 8;
  if (*p == 0xf6) {
    width = 1;
  } else if (*p != 0xf7) {
    return 0;
  }
  p++;
  if ((*p >> 3 & 7) != 7) return 0;  // not idiv
  const uint8_t *next;
  const void *divisor = operand(regs, p, rex, width, &next);
  int64_t smallest = INT64_MIN >> (64 - 8 * width);
  if (signed_at(divisor, width) != -1 || signed_at(&regs[REG_RAX], width) != smallest) return 0;
  // The upper half of the dividend has nothing but its sign.
  const void *upper = width == 1 ? (const void *)((const uint8_t *)&regs[REG_RAX] + 1) : (const void *)&regs[REG_RDX];
  if (signed_at(upper, width) != -1) return 0;
  // The lower half is the quotient already; the remainder is nothing. A register
  // that is written by 32 bits loses the others.
  switch (width) {
    case 1:
      regs[REG_RAX] &= ~(greg_t)0xff00;
      break;
    case 2:
      regs[REG_RDX] &= ~(greg_t)0xffff;
      break;
    case 4:
      regs[REG_RAX] = (greg_t)(uint32_t)regs[REG_RAX];
      regs[REG_RDX] = 0;
      break;
    default:
      regs[REG_RDX] = 0;
  }
  regs[REG_RIP] = (greg_t)(uintptr_t)next;
  return 1;
}

static void ms_fpe_handle(int sig, siginfo_t *info, void *context) {
  if (info->si_code == FPE_INTDIV && ms_fpe_wrap(((ucontext_t *)context)->uc_mcontext.gregs)) return;
  if (ms_fpe_before.sa_flags & SA_SIGINFO) {
    ms_fpe_before.sa_sigaction(sig, info, context);
  } else if (ms_fpe_before.sa_handler != SIG_DFL && ms_fpe_before.sa_handler != SIG_IGN) {
    ms_fpe_before.sa_handler(sig);
  } else {
    signal(sig, SIG_DFL);
    raise(sig);  // when this returns
  }
}

static void ms_fpe_install(void) {
  if (sigaction(SIGFPE, NULL, &ms_fpe_before) != 0) return;
  struct sigaction mine = ms_fpe_before;  // blocking what Go's blocks
  mine.sa_sigaction = ms_fpe_handle;
  mine.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  sigaction(SIGFPE, &mine, NULL);
}

void ms_fpe(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, ms_fpe_install);
}
#else
void ms_fpe(void) {}
#endif
