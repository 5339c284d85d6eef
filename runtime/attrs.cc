#include "runtime/attrs.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/attr.pb.h"
#include "runtime/logging.h"

namespace weft {

template <typename T>
const T& Attrs::Get(std::string_view name) const {
  auto it = values_.find(name);
  CHECK(it != values_.end()) << "no attribute '" << name << "'";
  const T* value = std::get_if<T>(&it->second);
  CHECK(value != nullptr) << "attribute '" << name << "' has another type";
  return *value;
}
template const int64_t& Attrs::Get(std::string_view) const;
template const double& Attrs::Get(std::string_view) const;
template const bool& Attrs::Get(std::string_view) const;
template const std::string& Attrs::Get(std::string_view) const;
template const std::vector<int64_t>& Attrs::Get(std::string_view) const;

std::string Attrs::ToString() const {
  std::vector<std::string> parts;
  for (const auto& [name, attr] : values_) {
    std::string text;
    if (const auto* i = std::get_if<int64_t>(&attr)) text = absl::StrCat(*i);
    if (const auto* f = std::get_if<double>(&attr)) text = absl::StrCat(*f);
    if (const auto* b = std::get_if<bool>(&attr)) text = *b ? "true" : "false";
    if (const auto* s = std::get_if<std::string>(&attr)) text = *s;
    if (const auto* v = std::get_if<std::vector<int64_t>>(&attr)) {
      text = absl::StrCat("[", absl::StrJoin(*v, ","), "]");
    }
    parts.push_back(absl::StrCat(name, ": ", text));
  }
  return absl::StrCat("{", absl::StrJoin(parts, ", "), "}");
}

void ToProto(const Attr& attr, AttrValue* proto) {
  if (const auto* i = std::get_if<int64_t>(&attr)) proto->set_i(*i);
  if (const auto* f = std::get_if<double>(&attr)) proto->set_f(*f);
  if (const auto* b = std::get_if<bool>(&attr)) proto->set_b(*b);
  if (const auto* s = std::get_if<std::string>(&attr)) proto->set_s(*s);
  if (const auto* v = std::get_if<std::vector<int64_t>>(&attr)) {
    proto->mutable_ints()->mutable_values()->Assign(v->begin(), v->end());
  }
}

absl::StatusOr<Attr> FromProto(const AttrValue& proto) {
  switch (proto.value_case()) {
    case AttrValue::kI: return Attr(static_cast<int64_t>(proto.i()));
    case AttrValue::kF: return Attr(proto.f());
    case AttrValue::kB: return Attr(proto.b());
    case AttrValue::kS: return Attr(proto.s());
    case AttrValue::kInts:
      return Attr(std::vector<int64_t>(proto.ints().values().begin(), proto.ints().values().end()));
    case AttrValue::VALUE_NOT_SET: break;
  }
  return absl::InvalidArgumentError("an attribute has no value");
}

}  // namespace weft
