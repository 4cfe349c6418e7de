// Go cannot call through C function pointers, which is all that ONNX Runtime
// offers: each function here is one call of its table, or a few that always go
// together and would cost a crossing each.
#ifndef MODELSERVE_ORT_BRIDGE_H
#define MODELSERVE_ORT_BRIDGE_H

#include "onnxruntime_c_api.h"

// Where a port of a model is listed.
enum { MS_INPUT = 0, MS_OUTPUT = 1, MS_OPTIONAL = 2 };

// ms_port is one input or output as the model declares it. The type info owns
// shape, which is read by ms_port_shape.
typedef struct {
  char *name;  // freed by ms_port_free
  OrtTypeInfo *type_info;
  const OrtTensorTypeAndShapeInfo *tensor;  // NULL when it is no tensor
  int kind;                                 // enum ONNXType
  int element;                              // enum ONNXTensorElementDataType
  int has_shape;
  size_t rank;
} ms_port;

// ms_open loads a library and returns its table; NULL with a message otherwise.
const OrtApi *ms_open(const char *path, char *message, size_t message_len, const char **version);

OrtStatus *ms_env(const OrtApi *a, OrtEnv **env);
void ms_env_free(const OrtApi *a, OrtEnv *env);

const char *ms_status_message(const OrtApi *a, const OrtStatus *s);
int ms_status_code(const OrtApi *a, const OrtStatus *s);
void ms_status_free(const OrtApi *a, OrtStatus *s);

OrtStatus *ms_memory(const OrtApi *a, OrtMemoryInfo **info, OrtAllocator **allocator);
void ms_memory_free(const OrtApi *a, OrtMemoryInfo *info);

OrtStatus *ms_options(const OrtApi *a, OrtSessionOptions **o, int intra_op_threads, int memory_pattern, int level);
OrtStatus *ms_options_entry(const OrtApi *a, OrtSessionOptions *o, const char *key, const char *value);
OrtStatus *ms_options_save(const OrtApi *a, OrtSessionOptions *o, const char *path);
void ms_options_free(const OrtApi *a, OrtSessionOptions *o);

OrtStatus *ms_session_file(const OrtApi *a, OrtEnv *env, const char *path, OrtSessionOptions *o, OrtSession **s);
OrtStatus *ms_session_bytes(const OrtApi *a, OrtEnv *env, const void *data, size_t len, OrtSessionOptions *o,
                            OrtSession **s);
void ms_session_free(const OrtApi *a, OrtSession *s);

OrtStatus *ms_ports(const OrtApi *a, OrtSession *s, int list, size_t *count);
OrtStatus *ms_port_read(const OrtApi *a, OrtAllocator *alloc, OrtSession *s, int list, size_t i, ms_port *p);
OrtStatus *ms_port_shape(const OrtApi *a, const ms_port *p, int64_t *dims, const char **symbols);
void ms_port_free(const OrtApi *a, OrtAllocator *alloc, ms_port *p);

OrtStatus *ms_metadata(const OrtApi *a, OrtAllocator *alloc, OrtSession *s, OrtModelMetadata **m, char ***keys,
                       int64_t *count);
OrtStatus *ms_metadata_value(const OrtApi *a, OrtAllocator *alloc, OrtModelMetadata *m, const char *key, char **value);
void ms_metadata_free(const OrtApi *a, OrtAllocator *alloc, OrtModelMetadata *m, char **keys, int64_t count);
void ms_free(const OrtApi *a, OrtAllocator *alloc, void *p);

OrtStatus *ms_run_options(const OrtApi *a, OrtRunOptions **o);
OrtStatus *ms_run_terminate(const OrtApi *a, OrtRunOptions *o);
void ms_run_options_free(const OrtApi *a, OrtRunOptions *o);

// ms_tensor makes a tensor over memory that stays the caller's.
OrtStatus *ms_tensor(const OrtApi *a, const OrtMemoryInfo *info, void *data, size_t len, const int64_t *shape,
                     size_t rank, int element, OrtValue **v);

// ms_string_tensor copies count strings, each behind its length as four
// little-endian bytes, into a new tensor. The caller has checked data.
OrtStatus *ms_string_tensor(const OrtApi *a, OrtAllocator *alloc, const uint8_t *data, size_t count,
                            const int64_t *shape, size_t rank, OrtValue **v);

OrtStatus *ms_run(const OrtApi *a, OrtSession *s, OrtRunOptions *o, const char **in_names, OrtValue **in, size_t n_in,
                  const char **out_names, OrtValue **out, size_t n_out);

// ms_value_type reads a value's kind and, for a tensor, its element type and
// rank; ms_value_dims its shape; ms_value_data where its elements are.
OrtStatus *ms_value_type(const OrtApi *a, const OrtValue *v, int *kind, int *element, size_t *rank);
OrtStatus *ms_value_dims(const OrtApi *a, const OrtValue *v, int64_t *dims, size_t rank);
OrtStatus *ms_value_data(const OrtApi *a, OrtValue *v, void **data);
OrtStatus *ms_value_strings(const OrtApi *a, const OrtValue *v, void *data, size_t len, size_t *offsets, size_t count);
OrtStatus *ms_value_strings_len(const OrtApi *a, const OrtValue *v, size_t *len);
void ms_value_free(const OrtApi *a, OrtValue *v);

// ms_trim gives freed memory back to the system where the C library can.
void ms_trim(void);

#endif
