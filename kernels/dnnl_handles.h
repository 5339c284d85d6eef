// oneDNN's C objects with owners, for the sources that call it (products and convolutions). Never
// included by a header of another folder.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "oneapi/dnnl/dnnl.h"
#include "runtime/status.h"

namespace weft {

// Internal, naming `what`, unless oneDNN succeeded.
inline absl::Status DnnlStatus(dnnl_status_t status, const char* what) {
  if (status == dnnl_success) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(what, " failed with oneDNN status ", status));
}

template <typename Handle, dnnl_status_t (*Destroy)(Handle)>
struct DnnlDestroyer {
  using pointer = Handle;
  void operator()(Handle handle) const { Destroy(handle); }
};
template <typename Handle, dnnl_status_t (*Destroy)(Handle)>
using DnnlOwned = std::unique_ptr<Handle, DnnlDestroyer<Handle, Destroy>>;
using DnnlMemory = DnnlOwned<dnnl_memory_t, dnnl_memory_destroy>;
using DnnlPrimitive = DnnlOwned<dnnl_primitive_t, dnnl_primitive_destroy>;
using DnnlPrimitiveDesc = DnnlOwned<dnnl_primitive_desc_t, dnnl_primitive_desc_destroy>;
using DnnlAttr = DnnlOwned<dnnl_primitive_attr_t, dnnl_primitive_attr_destroy>;

// Whether oneDNN computes in bf16 on this CPU: with AVX-512, by emulation where it has no bf16
// instructions. Elsewhere bf16 operands are widened to f32.
inline bool DnnlComputesBF16() {
  static const bool computes =
      (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core;
  return computes;
}

// A CPU engine and a stream on it, made at first use. One per thread that computes.
class DnnlEngine {
 public:
  absl::Status Start() {
    if (stream_) return absl::OkStatus();
    dnnl_engine_t engine;
    WEFT_RETURN_IF_ERROR(DnnlStatus(dnnl_engine_create(&engine, dnnl_cpu, 0), "a CPU engine"));
    engine_.reset(engine);
    dnnl_stream_t stream;
    WEFT_RETURN_IF_ERROR(
        DnnlStatus(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags), "a stream"));
    stream_.reset(stream);
    return absl::OkStatus();
  }
  dnnl_engine_t engine() const { return engine_.get(); }
  dnnl_stream_t stream() const { return stream_.get(); }

  // A memory object of this layout, without memory yet.
  absl::Status Bind(const dnnl_memory_desc_t& desc, DnnlMemory* memory) const {
    dnnl_memory_t made;
    WEFT_RETURN_IF_ERROR(DnnlStatus(
        dnnl_memory_create(&made, &desc, engine_.get(), DNNL_MEMORY_NONE), "a memory object"));
    memory->reset(made);
    return absl::OkStatus();
  }

 private:
  DnnlOwned<dnnl_engine_t, dnnl_engine_destroy> engine_;
  DnnlOwned<dnnl_stream_t, dnnl_stream_destroy> stream_;
};

// Points the object to data that its user keeps alive until the primitive has run.
inline absl::Status DnnlPoint(const DnnlMemory& memory, const void* data) {
  return DnnlStatus(dnnl_memory_set_data_handle(memory.get(), const_cast<void*>(data)),
                    "binding an operand");
}

}  // namespace weft
