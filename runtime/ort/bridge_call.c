#include "bridge.h"

#include <stdlib.h>

#define TRY(call)                 \
  do {                            \
    OrtStatus *ms_status = (call); \
    if (ms_status != NULL) return ms_status; \
  } while (0)

ms_call *ms_call_new(OrtSession *s, ms_pool *p, const OrtMemoryInfo *memory, size_t max_in, size_t max_out) {
  // One block: the call and its slots.
  size_t size = sizeof(ms_call) + (max_in + max_out) * sizeof(ms_slot);
  ms_call *c = calloc(1, size);
  if (c == NULL) return NULL;
  c->session = s;
  c->pool = p;
  c->memory = memory;
  c->in = (ms_slot *)(c + 1);
  c->out = c->in + max_in;
  return c;
}

void ms_call_free(const OrtApi *a, ms_call *c) {
  if (c == NULL) return;
  ms_call_reset(a, c);
  if (c->binding != NULL) a->ReleaseIoBinding(c->binding);
  if (c->options != NULL) a->ReleaseRunOptions(c->options);
  free(c);
}

OrtStatus *ms_call_bind(const OrtApi *a, ms_call *c, const OrtMemoryInfo *host, OrtAllocator *allocator) {
  c->host = host;
  c->allocator = allocator;
  return a->CreateIoBinding(c->session, &c->binding);
}

OrtStatus *ms_call_options(const OrtApi *a, ms_call *c) { return a->CreateRunOptions(&c->options); }
OrtStatus *ms_call_shrink(const OrtApi *a, ms_call *c, const char *arenas) {
  return a->AddRunConfigEntry(c->options, "memory.enable_memory_arena_shrinkage", arenas);
}
void ms_call_forget(const OrtApi *a, ms_call *c) {
  a->ReleaseRunOptions(c->options);
  c->options = NULL;
}
OrtStatus *ms_call_terminate(const OrtApi *a, ms_call *c) { return a->RunOptionsSetTerminate(c->options); }
OrtStatus *ms_call_resume(const OrtApi *a, ms_call *c) { return a->RunOptionsUnsetTerminate(c->options); }

int64_t *ms_slot_shape(ms_slot *slot, size_t rank) {
  free(slot->heap);
  slot->heap = NULL;
  slot->rank = rank;
  if (rank <= MS_RANK) return slot->dims;
  return slot->heap = malloc(rank * sizeof(int64_t));
}

static const int64_t *shape_of(const ms_slot *slot) { return slot->heap != NULL ? slot->heap : slot->dims; }

void ms_call_drop(const OrtApi *a, ms_call *c, ms_slot *slot) {
  if (slot->value == NULL) return;
  a->ReleaseValue(slot->value);
  slot->value = NULL;
  slot->given = 0;
  c->live--;
}

void ms_call_reset(const OrtApi *a, ms_call *c) {
  for (size_t i = 0; i < c->n_in + c->n_out; i++) {
    ms_slot *slot = i < c->n_in ? &c->in[i] : &c->out[i - c->n_in];
    ms_call_drop(a, c, slot);
    free(slot->heap);
    slot->heap = NULL;
    slot->data = NULL;
  }
  c->n_in = c->n_out = 0;
}

// give makes a value over the caller's memory.
static OrtStatus *give(const OrtApi *a, ms_call *c, ms_slot *slot) {
  TRY(a->CreateTensorWithDataAsOrtValue(c->memory, slot->data, slot->len, shape_of(slot), slot->rank,
                                        (ONNXTensorElementDataType)slot->element, &slot->value));
  slot->given = 1;
  c->live++;
  return NULL;
}

static OrtStatus *prepare(const OrtApi *a, ms_call *c) {
  for (size_t i = 0; i < c->n_in; i++) {
    if (c->in[i].value == NULL) TRY(give(a, c, &c->in[i]));
  }
  for (size_t i = 0; i < c->n_out; i++) {
    if (c->out[i].data != NULL) TRY(give(a, c, &c->out[i]));
  }
  return NULL;
}

// run_bound runs through the binding, which knows afterwards where each output
// is. Inputs are copied to a device as they are bound, and an output without
// memory is allocated where the others lie.
static OrtStatus *run_bound(const OrtApi *a, ms_call *c) {
  a->ClearBoundInputs(c->binding);
  a->ClearBoundOutputs(c->binding);
  for (size_t i = 0; i < c->n_in; i++) TRY(a->BindInput(c->binding, c->in[i].name, c->in[i].value));
  for (size_t i = 0; i < c->n_out; i++) {
    ms_slot *slot = &c->out[i];
    if (slot->value != NULL) {
      TRY(a->BindOutput(c->binding, slot->name, slot->value));
      continue;
    }
    int text = slot->element == ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING;
    TRY(a->BindOutputToDevice(c->binding, slot->name, text ? c->host : c->memory));
  }
  TRY(a->SynchronizeBoundInputs(c->binding));
  TRY(a->RunWithBinding(c->session, c->options, c->binding));
  return a->SynchronizeBoundOutputs(c->binding);
}

// lies_at reports whether a value's elements are at data.
static int lies_at(const OrtApi *a, OrtValue *v, const void *data) {
  void *at = NULL;
  OrtStatus *s = a->GetTensorMutableData(v, &at);
  if (s == NULL) return at == data;
  a->ReleaseStatus(s);  // no tensor, or none at all: whoever reads the value reports it
  return 0;
}

// collect takes the outputs over from where ONNX Runtime says that they are. It
// does not write to the memory it was given for an output that is an input or
// a constant of the model: the value is another one then.
static OrtStatus *collect(const OrtApi *a, ms_call *c) {
  OrtValue **bound = NULL;
  size_t count = 0;
  TRY(a->GetBoundOutputValues(c->binding, c->allocator, &bound, &count));
  for (size_t i = 0; i < count; i++) {
    if (i >= c->n_out || (c->out[i].given && lies_at(a, bound[i], c->out[i].data))) {
      a->ReleaseValue(bound[i]);
      continue;
    }
    ms_call_drop(a, c, &c->out[i]);
    c->out[i].value = bound[i];
    if (bound[i] != NULL) c->live++;
  }
  if (bound != NULL) ms_free(a, c->allocator, bound);
  return NULL;
}

static OrtStatus *invoke(const OrtApi *a, ms_call *c) {
  OrtStatus *s = run_bound(a, c);
  if (s == NULL) s = collect(a, c);
  // The binding holds references to memory that is the caller's again.
  a->ClearBoundInputs(c->binding);
  a->ClearBoundOutputs(c->binding);
  return s;
}

static void drop_given(const OrtApi *a, ms_call *c, ms_slot *slots, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (slots[i].given) ms_call_drop(a, c, &slots[i]);
  }
}

OrtStatus *ms_call_run(const OrtApi *a, ms_call *c) {
  ms_work(c->pool, 1);
  OrtStatus *s = prepare(a, c);
  if (s == NULL) s = invoke(a, c);
  ms_work(NULL, 0);
  c->high = ms_pool_high(c->pool);
  if (s != NULL) {
    drop_given(a, c, c->out, c->n_out);
    return s;
  }
  for (size_t i = 0; i < c->n_in; i++) ms_call_drop(a, c, &c->in[i]);
  drop_given(a, c, c->out, c->n_out);
  return NULL;
}

OrtStatus *ms_call_strings(const OrtApi *a, ms_call *c, ms_slot *slot, OrtAllocator *alloc, const uint8_t *data,
                           size_t count) {
  TRY(a->CreateTensorAsOrtValue(alloc, shape_of(slot), slot->rank, ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING,
                                &slot->value));
  c->live++;
  for (size_t i = 0; i < count; i++) {
    size_t len = (size_t)data[0] | (size_t)data[1] << 8 | (size_t)data[2] << 16 | (size_t)data[3] << 24;
    data += 4;
    if (len > 0) {
      char *buffer = NULL;
      TRY(a->GetResizedStringTensorElementBuffer(slot->value, i, len, &buffer));
      memcpy(buffer, data, len);
    }
    data += len;
  }
  return NULL;
}

OrtStatus *ms_bound(const OrtApi *a, OrtSession *s, const char *name, int number, OrtMemoryInfo **info,
                    OrtAllocator **alloc) {
  TRY(a->CreateMemoryInfo(name, OrtDeviceAllocator, number, OrtMemTypeCPUOutput, info));
  return a->CreateAllocator(s, *info, alloc);
}

void ms_bound_free(const OrtApi *a, OrtMemoryInfo *info, OrtAllocator *alloc) {
  if (alloc != NULL) a->ReleaseAllocator(alloc);
  if (info != NULL) a->ReleaseMemoryInfo(info);
}

OrtStatus *ms_alloc(const OrtApi *a, OrtAllocator *alloc, size_t size, void **p) {
  return a->AllocatorAlloc(alloc, size, p);
}
