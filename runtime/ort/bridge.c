#include "bridge.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

// The oldest API version with every function used here: 24 brought
// TensorTypeAndShape_HasShape.
#define MS_API_VERSION 24

#define TRY(call)                 \
  do {                            \
    OrtStatus *ms_status = (call); \
    if (ms_status != NULL) return ms_status; \
  } while (0)

// Blocks of this size are mapped each by itself, and so go back to the system
// when they are freed. Without a fixed size the C library raises it up to
// 32 MiB as such blocks come and go, and keeps what is freed.
#define MS_MMAP_THRESHOLD (256 * 1024)

const OrtApi *ms_open(const char *path, char *message, size_t message_len, const char **version) {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, MS_MMAP_THRESHOLD);
#endif
  void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (handle == NULL) {
    snprintf(message, message_len, "%s", dlerror());
    return NULL;
  }
  const OrtApiBase *(*base)(void) = (const OrtApiBase *(*)(void))dlsym(handle, "OrtGetApiBase");
  if (base == NULL) {
    snprintf(message, message_len, "it is no ONNX Runtime library: it has no OrtGetApiBase");
    dlclose(handle);
    return NULL;
  }
  *version = base()->GetVersionString();
  const OrtApi *api = base()->GetApi(MS_API_VERSION);
  if (api == NULL) {
    snprintf(message, message_len, "ONNX Runtime %s is too old: 1.%d or newer is needed", *version, MS_API_VERSION);
    return NULL;  // The library stays loaded: its destructors are not safe to run.
  }
  ms_fpe();
  ms_memory_library(handle);
  return api;
}

OrtStatus *ms_env(const OrtApi *a, OrtEnv **env) {
  // Fatal only: every error comes back as a status, and hostile inputs must
  // not write to standard error.
  TRY(a->CreateEnv(ORT_LOGGING_LEVEL_FATAL, "modelserve", env));
  return a->DisableTelemetryEvents(*env);
}

void ms_env_free(const OrtApi *a, OrtEnv *env) { a->ReleaseEnv(env); }

const char *ms_status_message(const OrtApi *a, const OrtStatus *s) { return a->GetErrorMessage(s); }
int ms_status_code(const OrtApi *a, const OrtStatus *s) { return (int)a->GetErrorCode(s); }
void ms_status_free(const OrtApi *a, OrtStatus *s) { a->ReleaseStatus(s); }

OrtStatus *ms_memory(const OrtApi *a, OrtMemoryInfo **info, OrtAllocator **allocator) {
  TRY(a->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, info));
  return a->GetAllocatorWithDefaultOptions(allocator);
}

void ms_memory_free(const OrtApi *a, OrtMemoryInfo *info) { a->ReleaseMemoryInfo(info); }

OrtStatus *ms_options(const OrtApi *a, OrtSessionOptions **o, int intra_op_threads, int memory_pattern, int level) {
  TRY(a->CreateSessionOptions(o));
  TRY(a->SetIntraOpNumThreads(*o, intra_op_threads));
  TRY(a->SetInterOpNumThreads(*o, 1));
  TRY(a->SetSessionExecutionMode(*o, ORT_SEQUENTIAL));
  TRY(memory_pattern ? a->EnableMemPattern(*o) : a->DisableMemPattern(*o));
  TRY(a->SetSessionLogSeverityLevel(*o, ORT_LOGGING_LEVEL_FATAL));
  return a->SetSessionGraphOptimizationLevel(*o, (GraphOptimizationLevel)level);
}

OrtStatus *ms_options_entry(const OrtApi *a, OrtSessionOptions *o, const char *key, const char *value) {
  return a->AddSessionConfigEntry(o, key, value);
}

OrtStatus *ms_options_save(const OrtApi *a, OrtSessionOptions *o, const char *path) {
  return a->SetOptimizedModelFilePath(o, path);
}

void ms_options_free(const OrtApi *a, OrtSessionOptions *o) { a->ReleaseSessionOptions(o); }

OrtStatus *ms_session_file(const OrtApi *a, OrtEnv *env, const char *path, OrtSessionOptions *o, ms_pool *p,
                           OrtSession **s) {
  ms_work(p, 0);
  OrtStatus *status = a->CreateSession(env, path, o, s);
  ms_work(NULL, 0);
  return status;
}

OrtStatus *ms_session_bytes(const OrtApi *a, OrtEnv *env, const void *data, size_t len, OrtSessionOptions *o,
                            ms_pool *p, OrtSession **s) {
  ms_work(p, 0);
  OrtStatus *status = a->CreateSessionFromArray(env, data, len, o, s);
  ms_work(NULL, 0);
  return status;
}

void ms_session_free(const OrtApi *a, OrtSession *s) { a->ReleaseSession(s); }

OrtStatus *ms_ports(const OrtApi *a, OrtSession *s, int list, size_t *count) {
  switch (list) {
    case MS_INPUT:
      return a->SessionGetInputCount(s, count);
    case MS_OUTPUT:
      return a->SessionGetOutputCount(s, count);
    default:
      return a->SessionGetOverridableInitializerCount(s, count);
  }
}

static OrtStatus *port_open(const OrtApi *a, OrtAllocator *alloc, OrtSession *s, int list, size_t i, ms_port *p) {
  switch (list) {
    case MS_INPUT:
      TRY(a->SessionGetInputName(s, i, alloc, &p->name));
      return a->SessionGetInputTypeInfo(s, i, &p->type_info);
    case MS_OUTPUT:
      TRY(a->SessionGetOutputName(s, i, alloc, &p->name));
      return a->SessionGetOutputTypeInfo(s, i, &p->type_info);
    default:
      TRY(a->SessionGetOverridableInitializerName(s, i, alloc, &p->name));
      return a->SessionGetOverridableInitializerTypeInfo(s, i, &p->type_info);
  }
}

// sequence_element reads what kind the elements of a sequence are.
static OrtStatus *sequence_element(const OrtApi *a, ms_port *p) {
  const OrtSequenceTypeInfo *sequence = NULL;
  TRY(a->CastTypeInfoToSequenceTypeInfo(p->type_info, &sequence));
  if (sequence == NULL) return NULL;
  OrtTypeInfo *element = NULL;
  TRY(a->GetSequenceElementType(sequence, &element));
  enum ONNXType kind = ONNX_TYPE_UNKNOWN;
  OrtStatus *status = a->GetOnnxTypeFromTypeInfo(element, &kind);
  a->ReleaseTypeInfo(element);
  p->of_kind = (int)kind;
  return status;
}

OrtStatus *ms_port_read(const OrtApi *a, OrtAllocator *alloc, OrtSession *s, int list, size_t i, ms_port *p) {
  memset(p, 0, sizeof *p);
  TRY(port_open(a, alloc, s, list, i, p));
  enum ONNXType kind;
  TRY(a->GetOnnxTypeFromTypeInfo(p->type_info, &kind));
  p->kind = (int)kind;
  if (kind == ONNX_TYPE_SEQUENCE) return sequence_element(a, p);
  if (kind != ONNX_TYPE_TENSOR) return NULL;
  TRY(a->CastTypeInfoToTensorInfo(p->type_info, &p->tensor));
  if (p->tensor == NULL) return NULL;
  enum ONNXTensorElementDataType element;
  TRY(a->GetTensorElementType(p->tensor, &element));
  p->element = (int)element;
  p->has_shape = a->TensorTypeAndShape_HasShape(p->tensor) ? 1 : 0;
  return a->GetDimensionsCount(p->tensor, &p->rank);
}

OrtStatus *ms_port_shape(const OrtApi *a, const ms_port *p, int64_t *dims, const char **symbols) {
  TRY(a->GetDimensions(p->tensor, dims, p->rank));
  return a->GetSymbolicDimensions(p->tensor, symbols, p->rank);
}

void ms_port_free(const OrtApi *a, OrtAllocator *alloc, ms_port *p) {
  ms_free(a, alloc, p->name);
  if (p->type_info != NULL) a->ReleaseTypeInfo(p->type_info);
  memset(p, 0, sizeof *p);
}

OrtStatus *ms_metadata(const OrtApi *a, OrtAllocator *alloc, OrtSession *s, OrtModelMetadata **m, char ***keys,
                       int64_t *count) {
  TRY(a->SessionGetModelMetadata(s, m));
  return a->ModelMetadataGetCustomMetadataMapKeys(*m, alloc, keys, count);
}

OrtStatus *ms_metadata_value(const OrtApi *a, OrtAllocator *alloc, OrtModelMetadata *m, const char *key, char **value) {
  return a->ModelMetadataLookupCustomMetadataMap(m, alloc, key, value);
}

void ms_metadata_free(const OrtApi *a, OrtAllocator *alloc, OrtModelMetadata *m, char **keys, int64_t count) {
  if (keys != NULL) {
    for (int64_t i = 0; i < count; i++) ms_free(a, alloc, keys[i]);
    ms_free(a, alloc, keys);
  }
  if (m != NULL) a->ReleaseModelMetadata(m);
}

void ms_free(const OrtApi *a, OrtAllocator *alloc, void *p) {
  if (p == NULL) return;
  OrtStatus *s = a->AllocatorFree(alloc, p);
  if (s != NULL) a->ReleaseStatus(s);  // Freeing what the allocator gave does not fail.
}

OrtStatus *ms_value_type(const OrtApi *a, const OrtValue *v, int *kind, int *element, size_t *rank) {
  enum ONNXType t;
  TRY(a->GetValueType(v, &t));
  *kind = (int)t;
  if (t != ONNX_TYPE_TENSOR) return NULL;
  OrtTensorTypeAndShapeInfo *info = NULL;
  TRY(a->GetTensorTypeAndShape(v, &info));
  enum ONNXTensorElementDataType e = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  OrtStatus *s = a->GetTensorElementType(info, &e);
  if (s == NULL) s = a->GetDimensionsCount(info, rank);
  *element = (int)e;
  a->ReleaseTensorTypeAndShapeInfo(info);
  return s;
}

OrtStatus *ms_value_dims(const OrtApi *a, const OrtValue *v, int64_t *dims, size_t rank) {
  OrtTensorTypeAndShapeInfo *info = NULL;
  TRY(a->GetTensorTypeAndShape(v, &info));
  OrtStatus *s = a->GetDimensions(info, dims, rank);
  a->ReleaseTensorTypeAndShapeInfo(info);
  return s;
}

OrtStatus *ms_value_data(const OrtApi *a, OrtValue *v, void **data) { return a->GetTensorMutableData(v, data); }

OrtStatus *ms_value_strings_len(const OrtApi *a, const OrtValue *v, size_t *len) {
  return a->GetStringTensorDataLength(v, len);
}

OrtStatus *ms_value_strings(const OrtApi *a, const OrtValue *v, void *data, size_t len, size_t *offsets, size_t count) {
  return a->GetStringTensorContent(v, data, len, offsets, count);
}

#ifdef __GLIBC__
#if __GLIBC_PREREQ(2, 33)
#define MS_HAS_MALLINFO2
#endif
#endif

int64_t ms_heap(void) {
#ifdef MS_HAS_MALLINFO2
  struct mallinfo2 info = mallinfo2();
  return (int64_t)(info.uordblks + info.hblkhd);
#else
  return -1;
#endif
}

void ms_trim(void) {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}
