// Attributes of an op: small named constants, fixed when the graph is built.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"

namespace weft {

class AttrValue;  // runtime/attr.proto

using Attr = std::variant<int64_t, double, bool, std::string, std::vector<int64_t>>;

// Ordered by name, so that text forms are canonical. Getters CHECK presence and type: OpDef fills
// defaults and the graph's Verify checks user input before any kernel sees it.
class Attrs {
 public:
  Attrs() = default;
  Attrs(std::initializer_list<std::pair<const std::string, Attr>> values) : values_(values) {}

  bool Has(std::string_view name) const { return values_.find(name) != values_.end(); }
  void Set(std::string name, Attr value) { values_[std::move(name)] = std::move(value); }
  int64_t Int(std::string_view name) const { return Get<int64_t>(name); }
  double Float(std::string_view name) const { return Get<double>(name); }
  bool Bool(std::string_view name) const { return Get<bool>(name); }
  const std::string& String(std::string_view name) const { return Get<std::string>(name); }
  const std::vector<int64_t>& Ints(std::string_view name) const {
    return Get<std::vector<int64_t>>(name);
  }
  const std::map<std::string, Attr, std::less<>>& values() const { return values_; }
  // "{axis: -1, eps: 1e-05}".
  std::string ToString() const;
  friend bool operator==(const Attrs&, const Attrs&) = default;

 private:
  template <typename T>
  const T& Get(std::string_view name) const;
  std::map<std::string, Attr, std::less<>> values_;
};

// Both directions of runtime/attr.proto; the identity when composed.
void ToProto(const Attr& attr, AttrValue* proto);
absl::StatusOr<Attr> FromProto(const AttrValue& proto);

}  // namespace weft
