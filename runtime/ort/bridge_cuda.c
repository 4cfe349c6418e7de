#include "bridge.h"

#include <dlfcn.h>
#include <stdio.h>

OrtStatus *ms_options_cuda(const OrtApi *a, OrtSessionOptions *o, char **keys, char **values, size_t count) {
  OrtCUDAProviderOptionsV2 *cuda = NULL;
  OrtStatus *s = a->CreateCUDAProviderOptions(&cuda);
  if (s == NULL) s = a->UpdateCUDAProviderOptions(cuda, (const char *const *)keys, (const char *const *)values, count);
  if (s == NULL) s = a->SessionOptionsAppendExecutionProvider_CUDA_V2(o, cuda);
  if (cuda != NULL) a->ReleaseCUDAProviderOptions(cuda);
  return s;
}

void *ms_open_global(const char *path, char *message, size_t message_len) {
  void *handle = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
  if (handle == NULL) snprintf(message, message_len, "%s", dlerror());
  return handle;
}

// The part of the CUDA runtime's API (cuda_runtime_api.h) that tells of GPUs.
// Its error type is an int there.
typedef int (*device_count_fn)(int *count);
typedef int (*version_fn)(int *version);
typedef const char *(*error_string_fn)(int error);

static int version_of(void *cudart, const char *function) {
  version_fn read = (version_fn)dlsym(cudart, function);
  int version = 0;
  if (read == NULL || read(&version) != 0) return 0;
  return version;
}

int ms_cuda_devices(void *cudart, char *message, size_t message_len) {
  device_count_fn count_devices = (device_count_fn)dlsym(cudart, "cudaGetDeviceCount");
  error_string_fn error_string = (error_string_fn)dlsym(cudart, "cudaGetErrorString");
  if (count_devices == NULL || error_string == NULL) {
    snprintf(message, message_len, "the CUDA runtime library lacks cudaGetDeviceCount");
    return 0;
  }
  int count = 0;
  int error = count_devices(&count);
  if (error == 0 && count > 0) return count;
  int driver = version_of(cudart, "cudaDriverGetVersion"), runtime = version_of(cudart, "cudaRuntimeGetVersion");
  snprintf(message, message_len, "%s (the driver is for CUDA %d.%d, the libraries are of %d.%d)",
           error == 0 ? "no device" : error_string(error), driver / 1000, driver % 1000 / 10, runtime / 1000,
           runtime % 1000 / 10);
  return 0;
}
