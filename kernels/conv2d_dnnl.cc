#include "kernels/conv2d_dnnl.h"

#include <array>
#include <memory>

#include "absl/container/flat_hash_map.h"
#include "kernels/dnnl_handles.h"
#include "kernels/single_thread.h"

namespace weft {
namespace {

// The geometry's numbers, the product and the type.
using Key = std::array<int64_t, 18>;

// One operand: as the caller has it, as the primitive wants it, and the way between.
struct ConvOperand {
  DnnlMemory plain, own;
  DnnlPrimitive reorder;  // null if the two formats are one
  int64_t bytes = 0;      // of the copy in the primitive's format; 0 without one
  int arg = 0;
};

struct ConvCall {
  DnnlPrimitive primitive;
  std::array<ConvOperand, 3> operands;  // a, b, c
  DnnlMemory scratchpad;
  int64_t scratchpad_bytes = 0;
  int64_t workspace_bytes = 0;
};

absl::StatusOr<dnnl_memory_desc_t> Describe(std::initializer_list<int64_t> extents,
                                            dnnl_data_type_t type, dnnl_format_tag_t tag) {
  dnnl_dims_t dims;
  int rank = 0;
  for (int64_t extent : extents) dims[rank++] = extent;
  dnnl_memory_desc_t desc;
  WEFT_RETURN_IF_ERROR(DnnlStatus(dnnl_memory_desc_init_by_tag(&desc, rank, dims, type, tag),
                                  "a convolution's operand"));
  return desc;
}

// The three tensors of a convolution, in the plain formats or (`any`) as oneDNN likes.
struct ConvTensors {
  dnnl_memory_desc_t x, w, y;
};

absl::StatusOr<ConvTensors> DescribeTensors(const ConvGeometry& g, ConvProduct product, bool bf16,
                                            bool any) {
  const dnnl_data_type_t type = bf16 ? dnnl_bf16 : dnnl_f32;
  const dnnl_data_type_t weights = product == ConvProduct::kWeightGrad ? dnnl_f32 : type;
  const dnnl_format_tag_t image = any               ? dnnl_format_tag_any
                                  : g.channels_last ? dnnl_nhwc
                                                    : dnnl_nchw;
  ConvTensors t;
  WEFT_ASSIGN_OR_RETURN(t.x, Describe({g.batch, g.channels, g.size[0], g.size[1]}, type, image));
  WEFT_ASSIGN_OR_RETURN(t.y, Describe({g.batch, g.filters, g.out[0], g.out[1]}, type, image));
  if (g.groups == 1) {
    WEFT_ASSIGN_OR_RETURN(t.w, Describe({g.filters, g.group_channels, g.kernel[0], g.kernel[1]},
                                        weights, any ? dnnl_format_tag_any : dnnl_oihw));
  } else {
    WEFT_ASSIGN_OR_RETURN(
        t.w, Describe({g.groups, g.group_filters(), g.group_channels, g.kernel[0], g.kernel[1]},
                      weights, any ? dnnl_format_tag_any : dnnl_goihw));
  }
  return t;
}

absl::Status DescribeProduct(const ConvGeometry& g, ConvProduct product, const ConvTensors& t,
                             dnnl_convolution_desc_t* desc) {
  const dnnl_dims_t stride = {g.stride[0], g.stride[1]};
  const dnnl_dims_t dilation = {g.dilation[0] - 1, g.dilation[1] - 1};
  const dnnl_dims_t padding = {g.padding[0], g.padding[1]};
  switch (product) {
    case ConvProduct::kForward:
      return DnnlStatus(dnnl_dilated_convolution_forward_desc_init(
                            desc, dnnl_forward_training, dnnl_convolution_direct, &t.x, &t.w,
                            nullptr, &t.y, stride, dilation, padding, padding),
                        "a convolution");
    case ConvProduct::kDataGrad:
      return DnnlStatus(
          dnnl_dilated_convolution_backward_data_desc_init(
              desc, dnnl_convolution_direct, &t.x, &t.w, &t.y, stride, dilation, padding, padding),
          "a convolution's data gradient");
    case ConvProduct::kWeightGrad:
      return DnnlStatus(dnnl_dilated_convolution_backward_weights_desc_init(
                            desc, dnnl_convolution_direct, &t.x, &t.w, nullptr, &t.y, stride,
                            dilation, padding, padding),
                        "a convolution's weight gradient");
  }
  return absl::OkStatus();
}

// One thread's engine and convolutions.
class ConvCache {
 public:
  absl::StatusOr<ConvCall*> Get(const ConvGeometry& g, ConvProduct product, bool bf16) {
    const Key key = {g.channels_last, g.batch,          g.channels,
                     g.filters,       g.group_channels, g.size[0],
                     g.size[1],       g.kernel[0],      g.kernel[1],
                     g.stride[0],     g.stride[1],      g.padding[0],
                     g.padding[1],    g.dilation[0],    g.dilation[1],
                     g.out[0],        g.out[1],         static_cast<int>(product) * 2 + bf16};
    auto it = cache_.find(key);
    if (it != cache_.end()) return it->second.get();
    if (cache_.size() >= kMostPrimitives) cache_.clear();
    auto made = std::make_unique<ConvCall>();
    WEFT_RETURN_IF_ERROR(Make(g, product, bf16, made.get()));
    return (cache_[key] = std::move(made)).get();
  }
  dnnl_stream_t stream() const { return engine_.stream(); }

 private:
  static constexpr size_t kMostPrimitives = 256;

  absl::Status Make(const ConvGeometry& g, ConvProduct product, bool bf16, ConvCall* call) {
    WEFT_RETURN_IF_ERROR(engine_.Start());
    WEFT_ASSIGN_OR_RETURN(const ConvTensors plain, DescribeTensors(g, product, bf16, false));
    WEFT_ASSIGN_OR_RETURN(const ConvTensors any, DescribeTensors(g, product, bf16, true));
    dnnl_convolution_desc_t desc;
    WEFT_RETURN_IF_ERROR(DescribeProduct(g, product, any, &desc));
    dnnl_primitive_attr_t attr;
    WEFT_RETURN_IF_ERROR(DnnlStatus(dnnl_primitive_attr_create(&attr), "attributes"));
    DnnlAttr owned_attr(attr);
    WEFT_RETURN_IF_ERROR(
        DnnlStatus(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user),
                   "a scratchpad's mode"));
    // A data gradient and a weight gradient want the forward pass's choice as a hint.
    DnnlPrimitiveDesc hint;
    if (product != ConvProduct::kForward) WEFT_RETURN_IF_ERROR(MakeHint(g, bf16, &hint));
    dnnl_primitive_desc_t made;
    WEFT_RETURN_IF_ERROR(
        DnnlStatus(dnnl_primitive_desc_create(&made, &desc, attr, engine_.engine(), hint.get()),
                   "choosing a convolution"));
    DnnlPrimitiveDesc owned(made);
    dnnl_primitive_t primitive;
    WEFT_RETURN_IF_ERROR(
        DnnlStatus(dnnl_primitive_create(&primitive, made), "compiling a convolution"));
    call->primitive.reset(primitive);
    WEFT_RETURN_IF_ERROR(AddOperands(product, plain, made, call));
    const dnnl_memory_desc_t* pad = dnnl_primitive_desc_query_md(made, dnnl_query_scratchpad_md, 0);
    WEFT_RETURN_IF_ERROR(engine_.Bind(*pad, &call->scratchpad));
    call->scratchpad_bytes = static_cast<int64_t>(dnnl_memory_desc_get_size(pad));
    Scratch measure(nullptr);
    for (const ConvOperand& operand : call->operands) measure.Take<char>(operand.bytes);
    measure.Take<char>(call->scratchpad_bytes);
    call->workspace_bytes = measure.used();
    return absl::OkStatus();
  }

  absl::Status MakeHint(const ConvGeometry& g, bool bf16, DnnlPrimitiveDesc* hint) {
    WEFT_ASSIGN_OR_RETURN(const ConvTensors any,
                          DescribeTensors(g, ConvProduct::kForward, bf16, true));
    dnnl_convolution_desc_t desc;
    WEFT_RETURN_IF_ERROR(DescribeProduct(g, ConvProduct::kForward, any, &desc));
    dnnl_primitive_desc_t made;
    WEFT_RETURN_IF_ERROR(
        DnnlStatus(dnnl_primitive_desc_create(&made, &desc, nullptr, engine_.engine(), nullptr),
                   "choosing a convolution"));
    hint->reset(made);
    return absl::OkStatus();
  }

  absl::Status AddOperands(ConvProduct product, const ConvTensors& t, dnnl_primitive_desc_t desc,
                           ConvCall* call) {
    auto& [a, b, c] = call->operands;
    switch (product) {
      case ConvProduct::kForward:
        WEFT_RETURN_IF_ERROR(Add(t.x, desc, dnnl_query_src_md, DNNL_ARG_SRC, true, &a));
        WEFT_RETURN_IF_ERROR(Add(t.w, desc, dnnl_query_weights_md, DNNL_ARG_WEIGHTS, true, &b));
        return Add(t.y, desc, dnnl_query_dst_md, DNNL_ARG_DST, false, &c);
      case ConvProduct::kDataGrad:
        WEFT_RETURN_IF_ERROR(Add(t.y, desc, dnnl_query_diff_dst_md, DNNL_ARG_DIFF_DST, true, &a));
        WEFT_RETURN_IF_ERROR(Add(t.w, desc, dnnl_query_weights_md, DNNL_ARG_WEIGHTS, true, &b));
        return Add(t.x, desc, dnnl_query_diff_src_md, DNNL_ARG_DIFF_SRC, false, &c);
      case ConvProduct::kWeightGrad:
        WEFT_RETURN_IF_ERROR(Add(t.x, desc, dnnl_query_src_md, DNNL_ARG_SRC, true, &a));
        WEFT_RETURN_IF_ERROR(Add(t.y, desc, dnnl_query_diff_dst_md, DNNL_ARG_DIFF_DST, true, &b));
        return Add(t.w, desc, dnnl_query_diff_weights_md, DNNL_ARG_DIFF_WEIGHTS, false, &c);
    }
    return absl::OkStatus();
  }

  absl::Status Add(const dnnl_memory_desc_t& plain, dnnl_primitive_desc_t desc, dnnl_query_t query,
                   int arg, bool input, ConvOperand* operand) {
    const dnnl_memory_desc_t* own = dnnl_primitive_desc_query_md(desc, query, 0);
    operand->arg = arg;
    WEFT_RETURN_IF_ERROR(engine_.Bind(plain, &operand->plain));
    WEFT_RETURN_IF_ERROR(engine_.Bind(*own, &operand->own));
    if (dnnl_memory_desc_equal(&plain, own)) return absl::OkStatus();
    operand->bytes = static_cast<int64_t>(dnnl_memory_desc_get_size(own));
    dnnl_primitive_desc_t reorder_desc;
    WEFT_RETURN_IF_ERROR(DnnlStatus(
        dnnl_reorder_primitive_desc_create(&reorder_desc, input ? &plain : own, engine_.engine(),
                                           input ? own : &plain, engine_.engine(), nullptr),
        "choosing a change of format"));
    DnnlPrimitiveDesc owned(reorder_desc);
    dnnl_primitive_t reorder;
    WEFT_RETURN_IF_ERROR(
        DnnlStatus(dnnl_primitive_create(&reorder, reorder_desc), "compiling a change of format"));
    operand->reorder.reset(reorder);
    return absl::OkStatus();
  }

  DnnlEngine engine_;
  absl::flat_hash_map<Key, std::unique_ptr<ConvCall>> cache_;
};

ConvCache& CacheOfThread() {
  thread_local ConvCache cache;
  return cache;
}

absl::Status Execute(const DnnlPrimitive& primitive, dnnl_stream_t stream,
                     std::initializer_list<dnnl_exec_arg_t> args) {
  return DnnlStatus(
      dnnl_primitive_execute(primitive.get(), stream, static_cast<int>(args.size()), args.begin()),
      "a convolution");
}

}  // namespace

absl::StatusOr<int64_t> ConvWorkspace(const ConvGeometry& g, ConvProduct product, bool bf16) {
  ChooseOneThread();
  WEFT_ASSIGN_OR_RETURN(const ConvCall* call, CacheOfThread().Get(g, product, bf16));
  return call->workspace_bytes;
}

absl::Status RunConv(const ConvGeometry& g, ConvProduct product, bool bf16, const void* a,
                     const void* b, void* c, Scratch& scratch) {
  ChooseOneThread();
  ConvCache& cache = CacheOfThread();
  WEFT_ASSIGN_OR_RETURN(ConvCall * call, cache.Get(g, product, bf16));
  const void* data[] = {a, b, c};
  for (int i = 0; i < 3; ++i) {
    ConvOperand& operand = call->operands[i];
    WEFT_RETURN_IF_ERROR(DnnlPoint(operand.plain, data[i]));
    const char* copy = scratch.Take<char>(operand.bytes);
    WEFT_RETURN_IF_ERROR(DnnlPoint(operand.own, operand.reorder ? copy : data[i]));
    if (i < 2 && operand.reorder) {
      WEFT_RETURN_IF_ERROR(
          Execute(operand.reorder, cache.stream(),
                  {{DNNL_ARG_FROM, operand.plain.get()}, {DNNL_ARG_TO, operand.own.get()}}));
    }
  }
  WEFT_RETURN_IF_ERROR(DnnlPoint(call->scratchpad, scratch.Take<char>(call->scratchpad_bytes)));
  const auto& [in_a, in_b, out] = call->operands;
  WEFT_RETURN_IF_ERROR(Execute(call->primitive, cache.stream(),
                               {{in_a.arg, in_a.own.get()},
                                {in_b.arg, in_b.own.get()},
                                {out.arg, out.own.get()},
                                {DNNL_ARG_SCRATCHPAD, call->scratchpad.get()}}));
  if (out.reorder) {
    WEFT_RETURN_IF_ERROR(Execute(out.reorder, cache.stream(),
                                 {{DNNL_ARG_FROM, out.own.get()}, {DNNL_ARG_TO, out.plain.get()}}));
  }
  return DnnlStatus(dnnl_stream_wait(cache.stream()), "waiting for a convolution");
}

}  // namespace weft
