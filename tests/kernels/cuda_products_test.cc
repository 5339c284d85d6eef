// Algorithms of matrix products chosen by measuring. Needs a GPU.
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda_kernels.h"
#include "kernels/cuda_product_measurer.h"
#include "runtime/cuda_status.h"
#include "tests/kernels/cuda_compare.h"

namespace weft::testing {
namespace {

// Multiples of 1/16 in device memory, and one call of a kernel on them.
class CudaProducts : public ::testing::Test {
 protected:
  void SetUp() override {
    FillCudaKernels(kernels_);
    auto made = MakeCudaHandles(0);
    ASSERT_TRUE(made.ok()) << made.status();
    state_ = *std::move(made);
    auto measurer = CudaProductMeasurer::Make(handles());
    ASSERT_TRUE(measurer.ok()) << measurer.status();
    measurer_ = *std::move(measurer);
  }
  void TearDown() override {
    measurer_.reset();
    for (void* data : memory_) (void)cudaFree(data);
  }
  CudaHandles& handles() { return static_cast<CudaHandles&>(*state_); }

  void* Device(int64_t bytes) {
    void* data = nullptr;
    const absl::Status status = CudaStatus(cudaMalloc(&data, bytes), absl::StrCat(bytes));
    EXPECT_TRUE(status.ok()) << status;
    memory_.push_back(data);
    return data;
  }
  void* Device(const TensorSpec& spec, uint64_t seed) {
    const HostTensor x = Sixteenths(spec, seed, -1, 1);
    std::vector<char> bytes(spec.bytes());
    for (size_t i = 0; i < x.values.size(); ++i) {
      StoreElement(spec.dtype, bytes.data(), static_cast<int64_t>(i), x.values[i]);
    }
    void* const data = Device(spec.bytes());
    EXPECT_EQ(cudaMemcpy(data, bytes.data(), bytes.size(), cudaMemcpyHostToDevice), cudaSuccess);
    return data;
  }

  // An einsum of two tensors, adding to what its result holds or not.
  struct Product {
    Attrs attrs;
    std::vector<TensorSpec> specs;
    std::vector<Box> boxes;
    std::vector<Operand> operands;
    bool accumulates;
    KernelContext context;
  };
  std::unique_ptr<Product> ProductOf(const std::string& equation, TensorSpec a, TensorSpec b,
                                     bool accumulates) {
    const OpDef& op = *CudaLawOps().Find("einsum");
    auto product = std::make_unique<Product>();
    product->attrs = Completed(op, {{"equation", equation}});
    product->specs = {a, b};
    auto inferred = op.infer(InferContext{product->specs, product->attrs});
    EXPECT_TRUE(inferred.ok()) << inferred.status();
    const CostContext cost{product->specs, *inferred, product->attrs};
    const int64_t workspace = op.cuda_workspace(cost);
    product->specs.push_back((*inferred)[0]);
    for (const TensorSpec& spec : product->specs) product->boxes.push_back(Box::Whole(spec.shape));
    for (size_t i = 0; i < product->specs.size(); ++i) {
      const TensorSpec& spec = product->specs[i];
      product->operands.push_back(
          {Device(spec, i + 1), &product->specs[i], &product->boxes[i], spec.shape});
    }
    product->accumulates = accumulates;
    KernelContext& c = product->context;
    c.inputs = absl::MakeConstSpan(product->operands).first(2);
    c.outputs = absl::MakeConstSpan(product->operands).subspan(2);
    c.attrs = &product->attrs;
    c.workspace = Device(workspace + 1);
    c.workspace_bytes = workspace;
    c.accumulate = absl::MakeConstSpan(&product->accumulates, 1);
    c.device = state_.get();
    return product;
  }
  // The result, from the same contents each time.
  std::vector<double> Run(const Product& product) {
    const Operand& out = product.operands[2];
    const TensorSpec& spec = product.specs[2];
    const void* const fresh = Device(spec, 3);
    EXPECT_EQ(cudaMemcpy(out.data, fresh, spec.bytes(), cudaMemcpyDeviceToDevice), cudaSuccess);
    const absl::Status status = kernels_.Find("einsum")(product.context);
    EXPECT_TRUE(status.ok()) << status;
    std::vector<char> bytes(spec.bytes());
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(bytes.data(), out.data, bytes.size(), cudaMemcpyDeviceToHost),
              cudaSuccess);
    std::vector<double> values(spec.elements());
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = LoadElement(spec.dtype, bytes.data(), static_cast<int64_t>(i));
    }
    return values;
  }
  ProductSet List(const Product& product) {
    ProductSet products;
    const absl::Status status =
        measurer_->List("einsum", kernels_.Find("einsum"), product.context, products);
    EXPECT_TRUE(status.ok()) << status;
    return products;
  }

  KernelTable kernels_;
  std::unique_ptr<DeviceState> state_;
  std::unique_ptr<ProductMeasurer> measurer_;
  std::vector<void*> memory_;
};

TEST_F(CudaProducts, ListingDoesNothing) {
  // The operands' packed copies, too, are only listed.
  const auto product = ProductOf("abc,cbd->ad", {{64, 3, 40}, DType::kF32},
                                 {{40, 3, 32}, DType::kF32}, /*accumulates=*/false);
  const std::vector<double> want = Run(*product);
  const TensorSpec& spec = product->specs[2];
  ASSERT_EQ(cudaMemset(product->operands[2].data, 0, spec.bytes()), cudaSuccess);
  const ProductSet products = List(*product);
  EXPECT_EQ(products.size(), 1u);
  std::vector<char> bytes(spec.bytes(), 1);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  ASSERT_EQ(
      cudaMemcpy(bytes.data(), product->operands[2].data, bytes.size(), cudaMemcpyDeviceToHost),
      cudaSuccess);
  EXPECT_EQ(bytes, std::vector<char>(spec.bytes(), 0));
  EXPECT_EQ(handles().listing(), nullptr);
  EXPECT_EQ(Run(*product), want);
}

TEST_F(CudaProducts, MeasuredAlgorithmsGiveTheSameResults) {
  const DType bf16 = DType::kBF16;
  const struct {
    const char* equation;
    TensorSpec a, b;
    bool adds;
  } cases[] = {{"mk,kn->mn", {{2048, 512}, bf16}, {{512, 1024}, bf16}, false},
               {"mk,nk->mn", {{2048, 512}, bf16}, {{1024, 512}, bf16}, true},
               {"km,kn->mn", {{4096, 256}, bf16}, {{4096, 512}, bf16}, true},
               {"bmk,bkn->bmn", {{4, 512, 256}, bf16}, {{4, 256, 512}, bf16}, false},
               {"mk,kn->mn", {{1000, 300}, DType::kF32}, {{300, 500}, DType::kF32}, true}};
  for (const auto& [equation, a, b, adds] : cases) {
    SCOPED_TRACE(absl::StrCat(equation, " ", a.ToString(), " ", b.ToString(), adds ? " adds" : ""));
    const auto product = ProductOf(equation, a, b, adds);
    const std::vector<double> want = Run(*product);
    const ProductSet products = List(*product);
    ASSERT_EQ(products.size(), 1u);
    const ProductKey key = *products.begin();
    const auto measured = measurer_->Measure(key);
    ASSERT_TRUE(measured.ok()) << measured.status();
    ASSERT_TRUE(measured->has_value()) << key.ToString();
    const ProductAlgorithm algorithm = **measured;
    EXPECT_GT(algorithm.seconds, 0);
    EXPECT_LE(algorithm.seconds, algorithm.first_seconds * 1.02) << "the first guess was better";
    const auto accepted = measurer_->Accepts(key, algorithm);
    ASSERT_TRUE(accepted.ok()) << accepted.status();
    EXPECT_TRUE(*accepted);
    measurer_->Adopt({{key, algorithm}});
    const std::vector<double> got = Run(*product);
    // The kernel runs what was adopted.
    ASSERT_TRUE(handles().HasPlan(key));
    EXPECT_EQ(std::memcmp(&handles().PlanOf(key).algorithm, algorithm.words.data(),
                          sizeof(algorithm.words)),
              0);
    double scale = 1;
    for (double v : want) scale = std::max(scale, std::abs(v));
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_NEAR(got[i], want[i], CudaTolerance(a.dtype, product->specs[2].dtype) * scale) << i;
    }
    measurer_->Adopt({});
  }
}

TEST_F(CudaProducts, AnAlgorithmOfSomethingElseIsRefused) {
  const auto product = ProductOf("mk,kn->mn", {{512, 512}, DType::kBF16},
                                 {{512, 512}, DType::kBF16}, /*accumulates=*/false);
  const ProductKey key = *List(*product).begin();
  const auto other = ProductOf("mk,kn->mn", {{512, 512}, DType::kF64}, {{512, 512}, DType::kF64},
                               /*accumulates=*/false);
  const auto measured = measurer_->Measure(*List(*other).begin());
  ASSERT_TRUE(measured.ok()) << measured.status();
  ASSERT_TRUE(measured->has_value());
  const auto accepted = measurer_->Accepts(key, **measured);
  ASSERT_TRUE(accepted.ok()) << accepted.status();
  EXPECT_FALSE(*accepted);
  // Adopted all the same, the product is done by the first guess.
  const std::vector<double> want = Run(*product);
  measurer_->Adopt({{key, **measured}});
  EXPECT_EQ(Run(*product), want);
}

// Multiples of 1/16 are exact in tf32, and so are the sums of their products in f32.
TEST_F(CudaProducts, Tf32IsForF32Alone) {
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16, DType::kF64}) {
    SCOPED_TRACE(std::string(Name(dtype)));
    handles().set_tf32(false);
    const auto product = ProductOf("mk,kn->mn", {{512, 512}, dtype}, {{512, 512}, dtype},
                                   /*accumulates=*/false);
    const ProductKey plain = *List(*product).begin();
    const std::vector<double> want = Run(*product);
    handles().set_tf32(true);
    const ProductKey key = *List(*product).begin();
    EXPECT_EQ(plain[ProductKey::kTf32], 0);
    EXPECT_EQ(key[ProductKey::kTf32], dtype == DType::kF32 ? 1 : 0);
    EXPECT_EQ(Run(*product), want);
    const auto measured = measurer_->Measure(key);
    ASSERT_TRUE(measured.ok()) << measured.status();
    EXPECT_TRUE(measured->has_value());
  }
}

TEST_F(CudaProducts, DeterministicOnesAreOthers) {
  const auto product = ProductOf("km,kn->mn", {{8192, 128}, DType::kBF16},
                                 {{8192, 128}, DType::kBF16}, /*accumulates=*/true);
  const ProductKey loose = *List(*product).begin();
  handles().set_deterministic(true);
  const ProductKey key = *List(*product).begin();
  EXPECT_NE(key, loose);
  const auto measured = measurer_->Measure(key);
  ASSERT_TRUE(measured.ok()) << measured.status();
  ASSERT_TRUE(measured->has_value());
  measurer_->Adopt({{key, **measured}});
  const std::vector<double> first = Run(*product);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Run(*product), first);
}

}  // namespace
}  // namespace weft::testing
