#include "runtime/self_messages.h"

#include <cstring>

namespace weft {

Request* SelfMessages::Match(Request* request) {
  Waiting& waiting = waiting_[request->wire.tag];
  const bool is_send = request->wire.is_send;
  Request* const other = (is_send ? waiting.receives : waiting.sends).Pop();
  if (other == nullptr) {
    (is_send ? waiting.sends : waiting.receives).Push(request);
    return nullptr;
  }
  const Request::Wire& source = (is_send ? request : other)->wire;
  const Request::Wire& target = (is_send ? other : request)->wire;
  if (source.bytes == target.bytes && source.bytes > 0) {
    std::memcpy(target.data, source.data, source.bytes);
  }
  return other;
}

Request* SelfMessages::Take() {
  for (auto& [tag, waiting] : waiting_) {
    if (Request* request = waiting.sends.Pop()) return request;
    if (Request* request = waiting.receives.Pop()) return request;
  }
  return nullptr;
}

}  // namespace weft
