// Conformance of transports. Every rank of a network runs each case at the same time, as a thread
// or as a process; the cases hold for any number of ranks.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/rendezvous.h"
#include "runtime/transport.h"

namespace weft::testing {

struct TransportCase {
  const char* name;
  void (*run)(Transport&);
};

inline int Next(const Transport& t) { return (t.rank() + 1) % t.size(); }
inline int Previous(const Transport& t) { return (t.rank() + t.size() - 1) % t.size(); }

// Messages of one tag arrive in the order in which they were sent.
inline void KeepsOrder(Transport& t) {
  constexpr int kMessages = 200;
  auto sends = std::make_unique<Request[]>(kMessages);
  auto receives = std::make_unique<Request[]>(kMessages);
  std::vector<int> out(kMessages);
  std::vector<int> in(kMessages, -1);
  for (int i = 0; i < kMessages; ++i) {
    out[i] = 1000 * t.rank() + i;
    t.Receive(Previous(t), 5, &in[i], sizeof(int), &receives[i]);
    t.Send(Next(t), 5, &out[i], sizeof(int), &sends[i]);
  }
  for (int i = 0; i < kMessages; ++i) {
    ASSERT_TRUE(receives[i].Wait().ok()) << receives[i].status();
    ASSERT_TRUE(sends[i].Wait().ok()) << sends[i].status();
    EXPECT_EQ(in[i], 1000 * Previous(t) + i);
  }
}

// A message that comes before its receive waits for it, whatever other tags do meanwhile.
inline void KeepsUnexpectedMessages(Transport& t) {
  constexpr int kTags = 50;
  auto sends = std::make_unique<Request[]>(kTags);
  std::vector<int> out(kTags);
  for (int tag = 0; tag < kTags; ++tag) {
    out[tag] = 100 * t.rank() + tag;
    t.Send(Next(t), tag, &out[tag], sizeof(int), &sends[tag]);
  }
  ASSERT_TRUE(Barrier(t).ok());
  for (int tag = kTags - 1; tag >= 0; --tag) {
    int in = -1;
    Request receive;
    t.Receive(Previous(t), tag, &in, sizeof(int), &receive);
    ASSERT_TRUE(receive.Wait().ok()) << receive.status();
    EXPECT_EQ(in, 100 * Previous(t) + tag);
  }
  for (int tag = 0; tag < kTags; ++tag) ASSERT_TRUE(sends[tag].Wait().ok());
}

inline void CarriesZeroBytes(Transport& t) {
  for (int i = 0; i < 3; ++i) {
    Request send;
    Request receive;
    t.Send(Next(t), 0, nullptr, 0, &send);
    t.Receive(Previous(t), 0, nullptr, 0, &receive);
    EXPECT_TRUE(send.Wait().ok());
    EXPECT_TRUE(receive.Wait().ok());
  }
}

inline void CarriesLargeMessages(Transport& t) {
  constexpr int64_t kWords = (64 << 20) / 8 + 3;
  std::vector<int64_t> out(kWords);
  std::vector<int64_t> in(kWords, -1);
  for (int64_t i = 0; i < kWords; ++i) out[i] = i * (t.rank() + 1);
  Request send;
  Request receive;
  t.Send(Next(t), 9, out.data(), kWords * 8, &send);
  t.Receive(Previous(t), 9, in.data(), kWords * 8, &receive);
  ASSERT_TRUE(receive.Wait().ok()) << receive.status();
  ASSERT_TRUE(send.Wait().ok()) << send.status();
  int64_t wrong = 0;
  for (int64_t i = 0; i < kWords; ++i) wrong += in[i] != i * (Previous(t) + 1);
  EXPECT_EQ(wrong, 0);
}

// All pairs at once, with tags up to the limit and sizes from 0 up.
inline void CarriesManyTags(Transport& t) {
  constexpr int kPerPair = 40;
  const int n = t.size() * kPerPair;
  auto sends = std::make_unique<Request[]>(n);
  auto receives = std::make_unique<Request[]>(n);
  std::vector<std::string> out(n);
  std::vector<std::string> in(n);
  const auto text = [](int from, int to, int i) {
    return std::string(i * i, static_cast<char>('a' + (from * 5 + to * 3 + i) % 26));
  };
  for (int i = 0; i < kPerPair; ++i) {
    for (int peer = 0; peer < t.size(); ++peer) {
      const int k = peer * kPerPair + i;
      const uint32_t tag = Transport::kTagLimit - 1 - 1000 * i;
      out[k] = text(t.rank(), peer, i);
      in[k].resize(i * i);
      t.Send(peer, tag, out[k].data(), i * i, &sends[k]);
      t.Receive(peer, tag, in[k].data(), i * i, &receives[k]);
    }
  }
  for (int k = 0; k < n; ++k) {
    ASSERT_TRUE(receives[k].Wait().ok()) << receives[k].status();
    ASSERT_TRUE(sends[k].Wait().ok()) << sends[k].status();
    EXPECT_EQ(in[k], text(k / kPerPair, t.rank(), k % kPerPair));
  }
}

inline void CountsPayloadBytes(Transport& t) {
  const int64_t sent_before = t.bytes_sent(Next(t));
  const int64_t received_before = t.bytes_received(Previous(t));
  const std::string out(1234, 'x');
  std::string in(1234, ' ');
  Request send;
  Request receive;
  t.Send(Next(t), 1, out.data(), 1234, &send);
  t.Receive(Previous(t), 1, in.data(), 1234, &receive);
  ASSERT_TRUE(send.Wait().ok());
  ASSERT_TRUE(receive.Wait().ok());
  EXPECT_EQ(t.bytes_sent(Next(t)) - sent_before, 1234);
  EXPECT_EQ(t.bytes_received(Previous(t)) - received_before, 1234);
}

// The hook runs once per completion, and a request is used again and again.
inline void CallsHooks(Transport& t) {
  std::atomic<int> calls{0};
  const Request::Hook count = [](void* calls) { ++*static_cast<std::atomic<int>*>(calls); };
  Request send;
  Request receive;
  send.set_hook(count, &calls);
  receive.set_hook(count, &calls);
  for (int i = 0; i < 10; ++i) {
    int in = 0;
    t.Receive(Previous(t), 2, &in, sizeof(in), &receive);
    t.Send(Next(t), 2, &i, sizeof(i), &send);
    ASSERT_TRUE(receive.Wait().ok());
    ASSERT_TRUE(send.Wait().ok());
    EXPECT_EQ(in, i);
  }
  while (calls.load() < 20) std::this_thread::yield();  // a hook runs after its request is done
  EXPECT_EQ(calls.load(), 20);
}

inline void RefusesBadArguments(Transport& t) {
  int value = 0;
  Request request;
  t.Send(t.size(), 0, &value, sizeof(value), &request);
  EXPECT_EQ(request.Wait().code(), absl::StatusCode::kInvalidArgument);
  t.Receive(-1, 0, &value, sizeof(value), &request);
  EXPECT_EQ(request.Wait().code(), absl::StatusCode::kInvalidArgument);
  t.Send(0, ~0u, &value, sizeof(value), &request);
  EXPECT_EQ(request.Wait().code(), absl::StatusCode::kInvalidArgument);
  t.Send(0, 0, &value, -4, &request);
  EXPECT_EQ(request.Wait().code(), absl::StatusCode::kInvalidArgument);
  t.Receive(0, 0, nullptr, 4, &request);
  EXPECT_EQ(request.Wait().code(), absl::StatusCode::kInvalidArgument);
}

// Both directions of the mismatch; the message names both ranks, the tag and both sizes.
inline void RefusesOtherSizes(Transport& t) {
  for (const auto& [sent, expected] : {std::pair{12, 8}, std::pair{8, 12}, std::pair{0, 4}}) {
    const std::string out(sent, 'x');
    std::string in(expected, ' ');
    Request send;
    Request receive;
    t.Receive(Previous(t), 77, in.data(), expected, &receive);
    t.Send(Next(t), 77, out.data(), sent, &send);
    EXPECT_EQ(receive.Wait().code(), absl::StatusCode::kInvalidArgument);
    const std::string message(receive.status().message());
    EXPECT_THAT(message, ::testing::HasSubstr("rank " + std::to_string(Previous(t))));
    EXPECT_THAT(message, ::testing::HasSubstr("rank " + std::to_string(t.rank())));
    EXPECT_THAT(message, ::testing::HasSubstr("tag 77"));
    EXPECT_THAT(message, ::testing::HasSubstr(std::to_string(sent) + " bytes were sent"));
    EXPECT_THAT(message, ::testing::HasSubstr("expects " + std::to_string(expected)));
    send.Wait();  // fails as well, or not: the sender need not learn of it
    ASSERT_TRUE(Barrier(t).ok());
  }
}

inline void Broadcasts(Transport& t) {
  for (int root = 0; root < t.size(); ++root) {
    for (const size_t length : {0, 1, 1000, 300000}) {
      std::string bytes =
          t.rank() == root ? std::string(length, static_cast<char>('a' + root)) : "?";
      ASSERT_TRUE(BroadcastBytes(t, root, &bytes).ok());
      EXPECT_EQ(bytes, std::string(length, static_cast<char>('a' + root)));
    }
  }
  std::string bytes;
  EXPECT_EQ(BroadcastBytes(t, t.size(), &bytes).code(), absl::StatusCode::kInvalidArgument);
}

// Every rank sends every rank, itself too, some notes; each comes once, whole and from its sender,
// and none counts as bytes.
inline void CarriesNotes(Transport& t) {
  constexpr int kNotes = 5;
  const auto note_of = [](int from, int i) {
    std::string note(i * 900 + 1, static_cast<char>('a' + from));
    note[0] = '\0';  // bytes, not a string
    return note;
  };
  std::mutex mutex;
  std::vector<int> seen(t.size(), 0);
  std::atomic<int> total{0};
  const int64_t sent = t.total_bytes_sent();
  t.OnNote([&](int from, std::string_view note) {
    std::lock_guard<std::mutex> lock(mutex);
    EXPECT_EQ(note, note_of(from, seen[from]++));
    ++total;
  });
  ASSERT_TRUE(Barrier(t).ok());
  for (int i = 0; i < kNotes; ++i) {
    for (int to = 0; to < t.size(); ++to) t.SendNote(to, note_of(t.rank(), i));
  }
  while (total < kNotes * t.size()) std::this_thread::yield();
  EXPECT_EQ(t.total_bytes_sent(), sent);
  t.OnNote(nullptr);
  t.SendNote(t.rank(), "nobody listens");
  ASSERT_TRUE(Barrier(t).ok());
  EXPECT_EQ(total, kNotes * t.size());
}

// Cases after which the network is as before.
inline std::vector<TransportCase> TransportCases() {
  return {{"KeepsOrder", KeepsOrder},
          {"KeepsUnexpectedMessages", KeepsUnexpectedMessages},
          {"CarriesZeroBytes", CarriesZeroBytes},
          {"CarriesLargeMessages", CarriesLargeMessages},
          {"CarriesManyTags", CarriesManyTags},
          {"CountsPayloadBytes", CountsPayloadBytes},
          {"CallsHooks", CallsHooks},
          {"RefusesBadArguments", RefusesBadArguments},
          {"RefusesOtherSizes", RefusesOtherSizes},
          {"Broadcasts", Broadcasts},
          {"CarriesNotes", CarriesNotes}};
}

// The last case of a network: one rank fails while all others wait for a message that never comes,
// with a send in flight that nobody takes. All learn which rank failed and why.
inline void PoisonReachesAllRanks(Transport& t) {
  std::atomic<bool> hooked{false};
  t.OnPoison([&hooked](const absl::Status& status) { hooked = !status.ok(); });
  const int origin = t.size() - 1;
  int in = 0;
  Request receive;
  Request send;
  const std::vector<char> large(1 << 20);
  t.Receive(Previous(t), 3, &in, sizeof(in), &receive);
  t.Send(Next(t), 4, large.data(), large.size(), &send);
  Request ready;
  if (t.rank() == origin) {
    for (int peer = 0; peer < origin; ++peer) {
      t.Receive(peer, 6, nullptr, 0, &ready);
      ASSERT_TRUE(ready.Wait().ok());
    }
    t.Poison(absl::DataLossError("op `matmul_7` read NaN"));
  } else {
    t.Send(origin, 6, nullptr, 0, &ready);
    ready.Wait();
  }
  const std::string cause = "rank " + std::to_string(origin) + " failed: op `matmul_7` read NaN";
  const absl::Status failure = receive.Wait();
  EXPECT_EQ(failure.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(failure.message(), cause);
  send.Wait();
  EXPECT_EQ(t.status(), failure);
  t.Poison(absl::InternalError("later failures are ignored"));
  t.Send(Next(t), 4, &in, sizeof(in), &send);
  EXPECT_EQ(send.Wait(), failure);
  EXPECT_EQ(Barrier(t), failure);
  while (!hooked) std::this_thread::yield();
  bool told = false;
  t.OnPoison([&told](const absl::Status& status) { told = !status.ok(); });
  EXPECT_TRUE(told);
}

// Also the last case of a network: all ranks fail at once, each for a reason of its own, with sends
// in flight that nobody takes. The buffers come free, and Close answers one failure, which is
// returned for comparison with the other ranks'.
inline std::string AgreedFailure(Transport& t) {
  constexpr int kSends = 3;
  Request sends[kSends];
  auto large = std::make_unique<std::vector<char>>(3 << 20, 'x');
  Barrier(t).IgnoreError();  // or a faster rank has failed already
  for (int i = 0; i < kSends; ++i) t.Send(Next(t), 10 + i, large->data(), large->size(), &sends[i]);
  std::atomic<int> agreed{0};
  t.OnAgreement([&agreed](const absl::Status& status) { agreed += status.ok() ? 100 : 1; });
  t.Poison(absl::InternalError("reason " + std::to_string(t.rank())));
  for (Request& send : sends) {
    EXPECT_FALSE(send.Wait().ok() && t.size() > 1);
  }
  large.reset();
  const absl::Status closed = t.Close();
  EXPECT_EQ(closed, t.status());
  EXPECT_EQ(closed.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(agreed, 1);
  const std::string origin = std::to_string(t.failed_rank());
  EXPECT_EQ(closed.message(), "rank " + origin + " failed: reason " + origin);
  return std::string(closed.message());
}

}  // namespace weft::testing
