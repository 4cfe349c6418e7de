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
  int of_kind;                              // likewise, of a sequence's elements
  int element;                              // enum ONNXTensorElementDataType
  int has_shape;
  size_t rank;
} ms_port;

// ms_open loads a library and returns its table; NULL with a message otherwise.
const OrtApi *ms_open(const char *path, char *message, size_t message_len, const char **version);

// ms_fpe has the smallest integer divided by -1 wrap around, once for the
// process, where the processor would raise SIGFPE.
void ms_fpe(void);

OrtStatus *ms_env(const OrtApi *a, OrtEnv **env);

// ms_pool is the main memory that a session's operators and its runs have, in
// place of ONNX Runtime's arena: see bridge_memory.c.
typedef struct ms_pool ms_pool;
// ms_pools are those that share a bound, with what their sessions are made of. They
// stay: a pool outlives its session while somebody has a block of it.
typedef struct ms_pools ms_pools;
ms_pools *ms_pools_new(void);                      // NULL without memory
void ms_pools_most(ms_pools *all, size_t most);    // bytes; 0 is no bound
void ms_pools_add(ms_pools *all, int64_t bytes);   // that sessions have beside their pools
// most is how many bytes its runs may have at once; 0 is no bound.
ms_pool *ms_pool_new(ms_pools *all, size_t most);  // NULL without memory
void ms_pool_free(ms_pool *p);
int64_t ms_pool_size(ms_pool *p);  // bytes, in use or kept for later runs
int64_t ms_pool_heap(ms_pool *p);  // the same as ms_heap counts them
int64_t ms_pool_high(ms_pool *p);  // bytes that runs had at most at once, since it was asked
void ms_pool_trim(ms_pool *p);     // gives back what no run uses

// ms_work says whose memory this thread takes from now on, NULL for nobody's,
// and whether it is a run's.
void ms_work(ms_pool *p, int run);

// ms_env_memory has sessions with session.use_env_allocators take their memory
// from pools, which fill it with MS_POISON where it is poisoned.
enum { MS_POISON = 0x7F };
OrtStatus *ms_env_memory(const OrtApi *a, OrtEnv *env, int poisoned);

// ms_memory_library finds what reports that there is no memory; handle is ONNX
// Runtime's library.
void ms_memory_library(void *handle);
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

// ms_options_cuda adds the CUDA provider with its options by name.
OrtStatus *ms_options_cuda(const OrtApi *a, OrtSessionOptions *o, char **keys, char **values, size_t count);

// ms_open_global loads a library for all to see; NULL with a message otherwise.
void *ms_open_global(const char *path, char *message, size_t message_len);

// ms_cuda_devices counts the GPUs by the CUDA runtime library that is open as
// cudart; without any the message is CUDA's own.
int ms_cuda_devices(void *cudart, char *message, size_t message_len);

// A session takes its memory from a pool; NULL for one that is not to run.
OrtStatus *ms_session_file(const OrtApi *a, OrtEnv *env, const char *path, OrtSessionOptions *o, ms_pool *p,
                           OrtSession **s);
OrtStatus *ms_session_bytes(const OrtApi *a, OrtEnv *env, const void *data, size_t len, OrtSessionOptions *o,
                            ms_pool *p, OrtSession **s);
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

// MS_RANK is the rank up to which a slot keeps its shape in itself.
enum { MS_RANK = 8 };

// ms_slot is one input or output of a call.
typedef struct {
  const char *name;  // the session's
  void *data;        // where the elements lie; NULL is an output that ONNX Runtime allocates
  size_t len;        // bytes at data
  OrtValue *value;   // a string tensor before the run; after it, an output that is not at data
  int64_t *heap;     // the shape, when it is longer than dims
  size_t rank;
  int element;
  int given;         // the value is made of data, which is the caller's
  int64_t dims[MS_RANK];
} ms_slot;

// ms_call is what one run needs, kept from run to run: a run is one crossing.
typedef struct {
  OrtSession *session;
  ms_pool *pool;  // that its runs take memory from
  const OrtMemoryInfo *memory;  // of the memory at every slot's data
  const OrtMemoryInfo *host;    // of strings
  OrtAllocator *allocator;      // of the list of bound outputs
  OrtIoBinding *binding;        // of the inputs and outputs, during a run
  OrtRunOptions *options;       // NULL until a run can be cancelled
  size_t n_in, n_out;
  ms_slot *in, *out;
  size_t live;  // values that are allocated now
  int64_t high;  // of the pool, in the last run: see ms_pool_high
} ms_call;

// ms_call_new makes a call with room for so many slots; NULL without memory.
ms_call *ms_call_new(OrtSession *s, ms_pool *p, const OrtMemoryInfo *memory, size_t max_in, size_t max_out);
void ms_call_free(const OrtApi *a, ms_call *c);

// ms_call_bind makes the call's I/O binding, which a run needs.
OrtStatus *ms_call_bind(const OrtApi *a, ms_call *c, const OrtMemoryInfo *host, OrtAllocator *allocator);

// ms_call_options makes the run options, by which a run is told to stop, and
// ms_call_shrink has the next run give back what of a device's arena no run uses
// ("gpu:1");
// ms_call_forget frees the options.
OrtStatus *ms_call_options(const OrtApi *a, ms_call *c);
OrtStatus *ms_call_shrink(const OrtApi *a, ms_call *c, const char *arenas);
void ms_call_forget(const OrtApi *a, ms_call *c);
OrtStatus *ms_call_terminate(const OrtApi *a, ms_call *c);
OrtStatus *ms_call_resume(const OrtApi *a, ms_call *c);

// ms_call_run makes values of the slots and runs. What it made over the
// caller's memory is freed when it returns; inputs are kept when it fails, so
// that the call can be run again.
OrtStatus *ms_call_run(const OrtApi *a, ms_call *c);

// ms_call_strings copies count strings, each behind its length as four
// little-endian bytes, into an input. The caller has checked data.
OrtStatus *ms_call_strings(const OrtApi *a, ms_call *c, ms_slot *slot, OrtAllocator *alloc, const uint8_t *data,
                           size_t count);
void ms_call_drop(const OrtApi *a, ms_call *c, ms_slot *slot);
void ms_call_reset(const OrtApi *a, ms_call *c);

// ms_slot_shape gives room for a shape of that rank; NULL without memory.
int64_t *ms_slot_shape(ms_slot *slot, size_t rank);

// ms_value_type reads a value's kind and, for a tensor, its element type and
// rank; ms_value_dims its shape; ms_value_data where its elements are.
OrtStatus *ms_value_type(const OrtApi *a, const OrtValue *v, int *kind, int *element, size_t *rank);
OrtStatus *ms_value_dims(const OrtApi *a, const OrtValue *v, int64_t *dims, size_t rank);
OrtStatus *ms_value_data(const OrtApi *a, OrtValue *v, void **data);
OrtStatus *ms_value_strings(const OrtApi *a, const OrtValue *v, void *data, size_t len, size_t *offsets, size_t count);
OrtStatus *ms_value_strings_len(const OrtApi *a, const OrtValue *v, size_t *len);

// ms_bound finds the host memory that a session's device copies from, by name
// and device number, and an allocator of it.
OrtStatus *ms_bound(const OrtApi *a, OrtSession *s, const char *name, int number, OrtMemoryInfo **info,
                    OrtAllocator **alloc);
void ms_bound_free(const OrtApi *a, OrtMemoryInfo *info, OrtAllocator *alloc);
OrtStatus *ms_alloc(const OrtApi *a, OrtAllocator *alloc, size_t size, void **p);

// ms_heap is how many bytes of the C heap are in use; -1 where it cannot be
// known.
int64_t ms_heap(void);

// ms_trim gives freed memory back to the system where the C library can.
void ms_trim(void);

#endif
