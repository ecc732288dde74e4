#include "proxy/net/transport.h"

#include <malloc.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "tests/net/net_fixture.h"

namespace dragoman {
namespace {

/// An owner that writes down what it is told.
struct Owner final : TransportEvents, Retired {
  void adopt(Loop& loop, int fd, TransportOptions options = {}) {
    transport = Transport::adopt(loop, fd, *this, options);
  }
  void on_data(uint8_t* bytes, size_t n) override {
    EXPECT_GT(n, 0u);
    last_data = bytes;
    received += n;
    if (keep) text.append(reinterpret_cast<char*>(bytes), n);
    ++data_calls;
    if (then_data) then_data();
  }
  void on_eof() override {
    ++eofs;
    if (then_eof) then_eof();
  }
  void on_closed(Reason why) override {
    ++closes;
    reason = why;
    EXPECT_TRUE(transport->closed());
    if (then_closed) then_closed();
  }
  void on_write_blocked(bool is_blocked) override {
    EXPECT_EQ(transport->write_blocked(), is_blocked);
    blocked.push_back(is_blocked);
    if (then_blocked) then_blocked(is_blocked);
  }

  std::unique_ptr<Transport> transport;
  bool keep = true;
  std::string text;
  uint8_t* last_data = nullptr;
  size_t received = 0;
  int data_calls = 0, eofs = 0, closes = 0;
  Reason reason = Reason::kNone;
  std::vector<bool> blocked;
  std::function<void()> then_data, then_eof, then_closed;
  std::function<void(bool)> then_blocked;
};

class TransportTest : public NetTest {
 protected:
  void TearDown() override {
    owner.reset();
    NetTest::TearDown();
  }
  void open(TransportOptions options = {}) { owner->adopt(*loop, pair.take_near(), options); }

  Address peer_of_far() {
    sockaddr_in sa;
    socklen_t length = sizeof(sa);
    EXPECT_EQ(::getpeername(pair.far, reinterpret_cast<sockaddr*>(&sa), &length), 0);
    return Address::from(reinterpret_cast<sockaddr*>(&sa), length);
  }

  SocketPair pair;
  std::unique_ptr<Owner> owner = std::make_unique<Owner>();
};

TEST_F(TransportTest, Echo) {
  open();
  owner->then_data = [&] {
    EXPECT_EQ(owner->last_data, loop->scratch());
    owner->transport->write(owner->text);
    owner->text.clear();
  };
  pair.send("hello");
  EXPECT_TRUE(run_until([&] { return owner->received == 5; }));
  EXPECT_EQ(pair.receive(5), "hello");
  EXPECT_EQ(owner->transport->bytes_read(), 5u);
  EXPECT_EQ(owner->transport->bytes_written(), 5u);
  EXPECT_EQ(owner->transport->peer(), bound_address(pair.far));
  EXPECT_EQ(owner->transport->local(), peer_of_far());
  EXPECT_EQ(loop->live_handles(), 1u);
}

TEST_F(TransportTest, IdleTransportsHoldNoBuffer) {
  open();
  owner->transport->write("x");
  EXPECT_EQ(live_chunks(), 1u);
  turns(1);
  EXPECT_EQ(live_chunks(), 0u);
}

TEST_F(TransportTest, TheClockOfAWriteStartsWhenItIsQueued) {
  open();
  const uint64_t begin = loop->now_ms();
  EXPECT_EQ(owner->transport->last_write_ms(), begin);
  EXPECT_FALSE(run_until([] { return false; }, 20));
  loop->post([&] {
    owner->transport->write("x");
    // Whoever looks before the flush must not take the idle time for a stall.
    EXPECT_EQ(owner->transport->last_write_ms(), loop->now_ms());
  });
  turns(1);
  EXPECT_GE(owner->transport->last_write_ms(), begin + 20);
}

TEST_F(TransportTest, ManyWritesOfOneTurnAreOneSyscall) {
  open();
  const uint64_t before = loop->stats().writes;
  loop->post([&] {
    for (int i = 0; i < 100; ++i) owner->transport->write("0123456789");
  });
  turns(1);
  EXPECT_EQ(loop->stats().writes - before, 1u);
  EXPECT_EQ(pair.receive(1000).size(), 1000u);
}

TEST_F(TransportTest, AnswersLeaveInTheTurnTheirRequestCame) {
  open();
  owner->then_data = [&] { owner->transport->write("answer"); };
  pair.send("request");
  turns(1);
  EXPECT_EQ(pair.receive(6), "answer");
}

TEST_F(TransportTest, RequestsOnAnIdlePathCostOneReadAndOneWrite) {
  open();
  owner->then_data = [&] { owner->transport->write("answer"); };
  const LoopStats before = loop->stats();
  for (int i = 0; i < 20; ++i) {
    pair.send("request");
    EXPECT_TRUE(run_until([&] { return owner->data_calls == i + 1; }));
    EXPECT_EQ(pair.receive(6), "answer");
  }
  EXPECT_EQ(loop->stats().reads - before.reads, 20u);
  EXPECT_EQ(loop->stats().writes - before.writes, 20u);
  EXPECT_EQ(loop->stats().poll_changes, before.poll_changes);
}

TEST_F(TransportTest, LargeWritesGoOutAtOnceAndStayInOrder) {
  open();
  const std::string large(20'000, 'L');
  owner->transport->write(large);
  EXPECT_EQ(owner->transport->out.size(), 0u);
  EXPECT_EQ(live_chunks(), 0u);
  owner->transport->write("small");
  owner->transport->write(large);  // queues behind
  EXPECT_EQ(owner->transport->out.size(), 20'005u);
  turns(1);
  EXPECT_EQ(pair.receive(40'005), large + "small" + large);
}

TEST_F(TransportTest, MoreThan64PiecesLeaveInOneFlush) {
  open({.high_bytes = 64 << 20, .low_bytes = 1 << 20});
  std::string expected;
  for (int i = 0; i < 90; ++i) {
    ByteChain piece;
    const std::string text(5000, static_cast<char>('a' + i % 26));
    piece.append(text);
    owner->transport->out.splice(piece);
    expected += text;
  }
  owner->transport->wrote();
  std::string got;
  std::thread reader([&] { got = pair.receive(expected.size()); });
  EXPECT_TRUE(run_until([&] { return owner->transport->out.empty(); }));
  reader.join();
  EXPECT_EQ(got, expected);
}

TEST_F(TransportTest, HalfCloseKeepsWriting) {
  open();
  pair.send("last words");
  ::shutdown(pair.far, SHUT_WR);
  EXPECT_TRUE(run_until([&] { return owner->eofs == 1; }));
  EXPECT_EQ(owner->text, "last words");
  EXPECT_EQ(owner->closes, 0);
  turns(5);
  EXPECT_EQ(owner->eofs, 1);
  owner->transport->write("answer");
  owner->transport->finish();
  turns(2);
  EXPECT_EQ(pair.receive(100), "answer");  // up to the FIN
  EXPECT_EQ(owner->closes, 0);
}

TEST_F(TransportTest, FinishSendsWhatIsQueuedAndReadingGoesOn) {
  open();
  owner->transport->write("bye");
  owner->transport->finish();
  owner->transport->write("after the end: dropped");
  turns(2);
  EXPECT_EQ(pair.receive(3), "bye");
  pair.send("still here");
  EXPECT_TRUE(run_until([&] { return owner->text == "still here"; }));
}

TEST_F(TransportTest, ResetIsToldAfterTheDataBeforeIt) {
  open({.broken = Reason::kUpstreamReset});
  pair.send("before");
  pair.reset_far();
  EXPECT_TRUE(run_until([&] { return owner->closes == 1; }));
  EXPECT_EQ(owner->text, "before");
  EXPECT_EQ(owner->eofs, 0);
  EXPECT_EQ(owner->reason, Reason::kUpstreamReset);
  turns(3);
  EXPECT_EQ(owner->closes, 1);
}

TEST_F(TransportTest, ResetWhilePausedIsNoticed) {
  open();
  owner->transport->pause_read(kPauseCodec);
  pair.send("x");
  turns(3);  // the poll for reading has gone
  EXPECT_EQ(owner->received, 0u);
  // Unread bytes are delivered before the end.
  pair.reset_far();
  turns(3);
  EXPECT_EQ(owner->closes, 0);
  owner->transport->resume_read(kPauseCodec);
  EXPECT_TRUE(run_until([&] { return owner->closes == 1; }));
  EXPECT_EQ(owner->text, "x");
  EXPECT_EQ(owner->reason, Reason::kDownstreamReset);
}

TEST_F(TransportTest, ResetWhilePausedWithNothingUnreadIsToldAtOnce) {
  open();
  owner->transport->pause_read(kPausePeerFull);
  pair.reset_far();
  EXPECT_TRUE(run_until([&] { return owner->closes == 1; }));
}

TEST_F(TransportTest, EofWhilePausedWaitsForTheResume) {
  open();
  owner->transport->pause_read(kPauseEngine);
  pair.send("x");
  pair.close_far();
  const uint64_t before = loop->stats().turns;
  EXPECT_FALSE(run_until([&] { return owner->eofs || owner->received; }, 50));
  EXPECT_LE(loop->stats().turns - before, 12u) << "a paused transport keeps the loop spinning";
  owner->transport->resume_read(kPauseEngine);
  EXPECT_TRUE(run_until([&] { return owner->eofs == 1; }));
  EXPECT_EQ(owner->text, "x");
}

TEST_F(TransportTest, EveryPauseReasonMustGo) {
  open();
  owner->transport->pause_read(kPauseCodec);
  owner->transport->pause_read(kPauseCodec);
  owner->transport->pause_read(kPausePeerFull);
  pair.send("abc");
  turns(3);
  owner->transport->resume_read(kPauseCodec);
  turns(3);
  EXPECT_EQ(owner->received, 0u);
  owner->transport->resume_read(kPausePeerFull);
  EXPECT_EQ(owner->received, 0u) << "called from inside resume_read";
  EXPECT_TRUE(run_until([&] { return owner->text == "abc"; }));
}

TEST_F(TransportTest, PausingInsideOnDataStopsTheReading) {
  open();
  owner->keep = false;
  owner->then_data = [&] { owner->transport->pause_read(kPausePeerFull); };
  const std::string big(400'000, 'x');
  std::thread writer([&] { pair.send(big); });
  for (int i = 1; owner->received < big.size(); ++i) {
    ASSERT_TRUE(run_until([&] { return owner->data_calls == i; }));
    turns(3);
    ASSERT_EQ(owner->data_calls, i);
    owner->transport->resume_read(kPausePeerFull);
  }
  writer.join();
}

TEST_F(TransportTest, WhatOneFlushTakesIsNoNewsUnlessSomebodyWantsRoom) {
  open({.high_bytes = 10'000, .low_bytes = 1000});
  owner->transport->write(std::string(5000, 'a'));
  owner->transport->write(std::string(7000, 'b'));
  turns(1);
  EXPECT_EQ(owner->blocked, std::vector<bool>{});
  for (size_t bytes : {12'000, 300}) {
    owner->blocked.clear();
    for (size_t left = bytes; left; left -= 100) owner->transport->write(std::string(100, 'c'));
    owner->transport->want_room();
    EXPECT_EQ(owner->blocked, std::vector<bool>{});  // never from inside write
    turns(1);
    EXPECT_EQ(owner->blocked, (std::vector<bool>{true, false})) << bytes;
  }
  owner->transport->write(std::string(300, 'd'));
  turns(1);
  EXPECT_EQ(owner->blocked.size(), 2u) << "it was wanted once";
}

TEST_F(TransportTest, WatermarksAndAResumeWhenThePeerReads) {
  open({.high_bytes = 100'000, .low_bytes = 20'000});
  const std::string piece(4000, 'p');
  size_t written = 0;
  while (owner->blocked.empty()) {
    for (int i = 0; i < 10; ++i) owner->transport->write(piece);
    written += 10 * piece.size();
    EXPECT_TRUE(owner->blocked.empty());  // never from inside write
    turns(1);
    ASSERT_LT(written, 64u << 20);
  }
  EXPECT_EQ(owner->blocked, (std::vector<bool>{true}));
  EXPECT_LE(owner->transport->out.size(), 140'000u);
  std::string got;
  std::thread reader([&] { got = pair.receive(written); });
  EXPECT_TRUE(run_until([&] { return owner->blocked.size() == 2; }));
  EXPECT_EQ(owner->blocked, (std::vector<bool>{true, false}));
  EXPECT_TRUE(run_until([&] { return owner->transport->out.empty(); }));
  reader.join();
  EXPECT_EQ(got.size(), written);
  EXPECT_EQ(owner->transport->bytes_written(), written);
}

TEST_F(TransportTest, FiftyMegabytesToASlowReaderStayWithinTheWatermarks) {
  open();
  constexpr size_t kTotal = 50u << 20;
  const std::string piece(60'000, 's');
  size_t written = 0, peak = 0;
  const auto fill = [&] {
    while (written < kTotal && owner->transport->out.size() <= 256 * 1024) {
      const size_t n = std::min(piece.size(), kTotal - written);
      owner->transport->write(piece.data(), n);
      written += n;
      peak = std::max(peak, live_chunks());
    }
    if (written == kTotal) owner->transport->finish();
  };
  owner->then_blocked = [&](bool blocked) {
    if (!blocked) fill();
  };
  fill();
  size_t got = 0;
  std::thread reader([&] {
    std::vector<char> buffer(30'000);
    for (int i = 0;; ++i) {
      const ssize_t n = ::recv(pair.far, buffer.data(), buffer.size(), 0);
      if (n <= 0) break;
      got += static_cast<size_t>(n);
      if (i % 50 == 0) ::usleep(1000);
    }
  });
  EXPECT_TRUE(run_until([&] { return written == kTotal && owner->transport->out.empty(); }, 60'000));
  turns(1);
  reader.join();
  EXPECT_EQ(got, kTotal);
  EXPECT_LE(peak, 24u);  // (256 KiB + one piece) in 16 KiB chunks
}

TEST_F(TransportTest, AFloodingPeerDoesNotStarveTheOthers) {
  TransportOptions options;
  options.read_budget_bytes = 128 * 1024;
  const int big = 4 << 20;
  ::setsockopt(pair.near, SOL_SOCKET, SO_RCVBUF, &big, sizeof(big));
  ::setsockopt(pair.far, SOL_SOCKET, SO_SNDBUF, &big, sizeof(big));
  open(options);
  owner->keep = false;
  SocketPair quiet_pair;
  Owner quiet;
  quiet.adopt(*loop, quiet_pair.take_near());

  const std::string flood(2 << 20, 'f');
  const ssize_t sent = ::send(pair.far, flood.data(), flood.size(), MSG_DONTWAIT);
  ASSERT_GT(sent, 300'000);
  quiet_pair.send("ping");
  turns(1);
  EXPECT_EQ(quiet.text, "ping");
  EXPECT_GT(owner->received, 0u);
  EXPECT_LE(owner->received, options.read_budget_bytes + Loop::kScratchBytes);
  EXPECT_TRUE(run_until([&] { return owner->received == static_cast<size_t>(sent); }));
  quiet.transport.reset();
}

TEST_F(TransportTest, WriteErrorComesAtTheFlushAfterWhatThePeerHadSaid) {
  open({.broken = Reason::kUpstreamReset});
  // The peer refuses early, closes with our bytes unread: its answer is in our buffer, followed by a reset.
  owner->transport->write("request");
  turns(1);
  pair.send("refused");
  pair.close_far();
  owner->transport->write(std::string(100'000, 'b'));
  owner->transport->write(std::string(100'000, 'b'));
  EXPECT_EQ(owner->closes, 0) << "told inside the owner's call";
  EXPECT_TRUE(run_until([&] { return owner->closes == 1; }));
  EXPECT_EQ(owner->text, "refused");
  EXPECT_EQ(owner->eofs, 0);
  EXPECT_EQ(owner->reason, Reason::kUpstreamReset);
}

TEST_F(TransportTest, AWriteErrorWhileReadingIsPausedIsToldToo) {
  open();
  owner->transport->pause_read(kPauseCodec);
  pair.reset_far();
  owner->transport->write("x");
  EXPECT_TRUE(run_until([&] { return owner->closes == 1; }));
}

TEST_F(TransportTest, CloseAndAbort) {
  for (bool abort : {false, true}) {
    SocketPair sockets;
    Owner o;
    o.adopt(*loop, sockets.take_near());
    o.transport->close(abort);
    EXPECT_TRUE(o.transport->closed());
    o.transport->close();
    o.transport->write("nobody hears");
    o.transport->write(std::string(10'000, 'x'));
    o.transport->finish();
    o.transport->pause_read(kPauseCodec);
    o.transport->resume_read(kPauseCodec);
    o.transport->close_after_flush();
    EXPECT_EQ(sockets.receive_status(), abort ? -ECONNRESET : 0);
    turns(3);
    EXPECT_EQ(o.closes, 0);
    EXPECT_EQ(o.transport->out.size(), 0u);
  }
  EXPECT_EQ(loop->live_handles(), 0u);
}

TEST_F(TransportTest, NothingIsToldAfterClose) {
  open();
  pair.send("data");
  loop->post([&] { owner->transport->close(); });
  pair.close_far();
  turns(5);
  EXPECT_EQ(owner->eofs + owner->closes, 0);
}

// Each callback may close the transport and retire its owner; nothing else happens to it then.
enum class Event { kData, kEof, kClosed, kBlocked };
class InCallback : public TransportTest, public ::testing::WithParamInterface<std::tuple<Event, int>> {};

TEST_P(InCallback, ClosingAndRetiringOrDestroyingIsFine) {
  const auto [event, how] = GetParam();
  open({.high_bytes = 10'000, .low_bytes = 1000});
  Owner* raw = owner.get();
  bool done = false;
  const auto act = [&, how = how] {
    EXPECT_FALSE(done) << "told after its end";
    done = true;
    switch (how) {
      case 0:
        raw->transport->close();
        break;
      case 1:
        raw->transport->close(true);
        break;
      case 2:
        raw->transport->close_after_flush(50);
        break;
      case 3:
        raw->transport.reset();
        break;
    }
    loop->retire(owner.release());
  };
  switch (event) {
    case Event::kData:
      owner->then_data = act;
      pair.send("x");
      ::shutdown(pair.far, SHUT_WR);
      break;
    case Event::kEof:
      owner->then_eof = act;
      ::shutdown(pair.far, SHUT_WR);
      break;
    case Event::kClosed:
      owner->then_closed = act;
      pair.reset_far();
      break;
    case Event::kBlocked: {
      owner->then_blocked = [&](bool) { act(); };
      const int small = 4096;
      ::setsockopt(pair.far, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
      for (int i = 0; i < 4000; ++i) owner->transport->write(std::string(4000, 'x'));
      break;
    }
  }
  EXPECT_TRUE(run_until([&] { return done; }));
  pair.close_far();
  turns(3);
  EXPECT_TRUE(run_until([&] { return loop->live_handles() == 0; }));
}

INSTANTIATE_TEST_SUITE_P(All, InCallback,
                         ::testing::Combine(::testing::Values(Event::kData, Event::kEof, Event::kClosed,
                                                              Event::kBlocked),
                                            ::testing::Values(0, 1, 2, 3)));

TEST_F(TransportTest, CloseAfterFlushDeliversEverythingThenFin) {
  open();
  std::string answer(3 << 20, 'a');
  owner->transport->out.append(answer);
  owner->transport->wrote();
  pair.send("unread request bytes that would turn close() into a reset");
  owner->transport->close_after_flush();
  EXPECT_TRUE(owner->transport->closed());
  owner.reset();
  std::string got;
  std::thread reader([&] {
    got = pair.receive(answer.size() + 1);
    pair.close_far();
  });
  EXPECT_TRUE(run_until([&] { return loop->live_handles() == 0; }));
  reader.join();
  EXPECT_EQ(got.size(), answer.size());
}

TEST_F(TransportTest, LingeringEndsByItselfWhenThePeerStays) {
  open();
  owner->transport->close_after_flush(30);
  EXPECT_EQ(pair.receive_status(), 0);
  EXPECT_TRUE(run_until([&] { return loop->live_handles() == 0; }, 1000));
}

TEST_F(TransportTest, LingeringDropsAtMostSoMuch) {
  open();
  owner->transport->close_after_flush(60'000);
  std::thread writer([&] {
    const std::string noise(64 * 1024, 'n');
    while (::send(pair.far, noise.data(), noise.size(), MSG_NOSIGNAL) > 0) {
    }
  });
  EXPECT_TRUE(run_until([&] { return loop->live_handles() == 0; }, 4000));
  writer.join();
}

TEST_F(TransportTest, LingeringEndsAtOnceWhenThePeerHadFinished) {
  open();
  ::shutdown(pair.far, SHUT_WR);
  EXPECT_TRUE(run_until([&] { return owner->eofs == 1; }));
  owner->transport->write("answer");
  owner->transport->close_after_flush(60'000);
  turns(2);
  EXPECT_EQ(loop->live_handles(), 0u);
  EXPECT_EQ(pair.receive(100), "answer");
}

TEST_F(TransportTest, StopWaitsForLingeringOnlySoLong) {
  open();
  owner->transport->out.append(std::string(8 << 20, 'a'));  // the peer reads nothing: a stall of 10 s
  owner->transport->close_after_flush(40);
  owner.reset();
  turns(2);
  EXPECT_EQ(loop->live_handles(), 1u);
  const uint64_t start = Loop::now_ns();
  finish();
  EXPECT_LT(Loop::now_ns() - start, 2'000'000'000u);
}

TEST_F(TransportTest, ALoopDestroyedWithoutRunClosesWhatLingers) {
  open();
  owner->transport->close_after_flush(60'000);
  owner.reset();
  loop.reset();
  EXPECT_EQ(pair.receive_status(), 0);
}

TEST_F(TransportTest, LargeWritesUntilTheSocketIsFullThenInOrder) {
  open({.high_bytes = 1 << 20});
  std::string expected;
  for (int i = 0; owner->transport->out.size() < 500'000; ++i) {
    const std::string piece(30'000, static_cast<char>('a' + i % 26));
    owner->transport->write(piece);
    expected += piece;
  }
  EXPECT_TRUE(owner->blocked.empty());
  std::string got;
  std::thread reader([&] { got = pair.receive(expected.size()); });
  EXPECT_TRUE(run_until([&] { return owner->transport->out.empty(); }));
  reader.join();
  EXPECT_TRUE(got == expected);
}

TEST_F(TransportTest, ABadDescriptorIsToldNotThrown) {
  const int file = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);  // can't be polled
  owner->adopt(*loop, file);
  EXPECT_EQ(owner->closes, 0);
  EXPECT_TRUE(run_until([&] { return owner->closes == 1; }));
}

TEST_F(TransportTest, NoDelayIsSet) {
  const int fd = pair.take_near();
  owner->adopt(*loop, fd);
  int value = 0;
  socklen_t length = sizeof(value);
  ::getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &length);
  EXPECT_EQ(value, 1);
}

TEST_F(TransportTest, WritingFromTimersAndOtherTransportsCallbacksIsFlushedBeforeTheLoopBlocks) {
  open();
  SocketPair other_pair;
  Owner other;
  other.adopt(*loop, other_pair.take_near());
  owner->then_data = [&] { other.transport->write("from the other"); };
  pair.send("x");
  turns(1);
  EXPECT_EQ(other_pair.receive(14), "from the other");
  struct Writer {
    void on_timeout() { transport->write("from a timer"); }
    Timer timer;
    Transport* transport;
  } writer;
  writer.transport = other.transport.get();
  writer.timer.bind<&Writer::on_timeout>(loop->timers(), &writer);
  writer.timer.start(1);
  EXPECT_TRUE(run_until([&] { return other.transport->bytes_written() == 26; }));
  EXPECT_EQ(other_pair.receive(12), "from a timer");
  other.transport.reset();
}

// Both ends of a relay, with the back-pressure a proxy applies.
struct Relay final : Retired {
  struct Side final : TransportEvents {
    Relay* relay = nullptr;
    Side* other = nullptr;
    std::unique_ptr<Transport> transport;
    bool eof = false;
    void on_data(uint8_t* data, size_t n) override { other->transport->write(data, n); }
    void on_eof() override {
      eof = true;
      if (!other->eof) {
        other->transport->finish();
        return;
      }
      relay->a.transport->close_after_flush();
      relay->b.transport->close_after_flush();
      relay->end();
    }
    void on_closed(Reason) override {
      ++relay->broken;
      other->transport->close(true);
      relay->end();
    }
    void on_write_blocked(bool blocked) override {
      if (blocked) {
        other->transport->pause_read(kPausePeerFull);
      } else {
        other->transport->resume_read(kPausePeerFull);
      }
    }
  };
  Relay(Loop& l, int near, int far, int& ended_count, int& broken_count)
      : loop(l), ended(ended_count), broken(broken_count) {
    a.relay = b.relay = this;
    a.other = &b;
    b.other = &a;
    const TransportOptions options{.high_bytes = 128 * 1024, .low_bytes = 32 * 1024};
    a.transport = Transport::adopt(loop, near, a, options);
    b.transport = Transport::adopt(loop, far, b, options);
  }
  void end() {
    ++ended;
    loop.retire(this);
  }
  Loop& loop;
  int &ended, &broken;
  Side a, b;
};

TEST_F(TransportTest, RelayedStreamsArriveWholeWithinBoundedMemoryWhileOthersBreak) {
  constexpr int kStreams = 8;
  constexpr size_t kBytes = 3 << 20;
  struct Stream {
    SocketPair client, backend;
    std::string sent, got;
    std::thread writer, reader, echo;
  };
  std::vector<std::unique_ptr<Stream>> streams;
  int ended = 0, broken = 0;
  for (int i = 0; i < kStreams; ++i) {
    auto s = std::make_unique<Stream>();
    new Relay(*loop, s->client.take_near(), s->backend.take_near(), ended, broken);
    Stream* stream = s.get();
    const bool breaks = i % 4 == 3;
    stream->sent.resize(kBytes);
    for (size_t k = 0; k < kBytes; ++k) stream->sent[k] = static_cast<char>((k * 31 + i) >> (k % 7));
    stream->echo = std::thread([stream, breaks] {
      std::vector<char> buffer(50'000);
      for (size_t total = 0;;) {
        const ssize_t n = ::recv(stream->backend.far, buffer.data(), buffer.size(), 0);
        if (n <= 0) break;
        total += static_cast<size_t>(n);
        if (breaks && total > kBytes / 3) {
          stream->backend.reset_far();
          return;
        }
        for (ssize_t at = 0; at < n;) {
          const ssize_t k =
              ::send(stream->backend.far, buffer.data() + at, static_cast<size_t>(n - at), MSG_NOSIGNAL);
          if (k <= 0) return;
          at += k;
        }
      }
      ::shutdown(stream->backend.far, SHUT_WR);
    });
    stream->writer = std::thread([stream] {
      for (size_t at = 0; at < kBytes;) {
        const size_t n = std::min<size_t>(kBytes - at, 1 + (at * 7919) % 100'000);
        const ssize_t k = ::send(stream->client.far, stream->sent.data() + at, n, MSG_NOSIGNAL);
        if (k <= 0) return;
        at += static_cast<size_t>(k);
      }
      ::shutdown(stream->client.far, SHUT_WR);
    });
    stream->reader = std::thread([stream] { stream->got = stream->client.receive(kBytes + 1); });
    streams.push_back(std::move(s));
  }
  size_t peak = 0;
  EXPECT_TRUE(run_until(
      [&] {
        peak = std::max(peak, live_chunks());
        return ended == kStreams && loop->live_handles() == 0;
      },
      20'000));
  for (int i = 0; i < kStreams; ++i) {
    Stream& s = *streams[static_cast<size_t>(i)];
    s.writer.join();
    s.reader.join();
    s.echo.join();
    if (i % 4 == 3) {
      EXPECT_LT(s.got.size(), kBytes);
    } else {
      EXPECT_TRUE(s.got == s.sent) << i << ": " << s.got.size() << " bytes";
    }
  }
  EXPECT_EQ(broken, kStreams / 4);
  // Each direction: the high watermark, one read budget on top.
  EXPECT_LE(peak, kStreams * 2 * ((128 + 256 + 64) / 16 + 1));
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_F(TransportTest, AnIdleTransportIsSmall) {
  constexpr int kCount = 100;
  std::vector<SocketPair> pairs(kCount);
  Owner all;
  std::vector<std::unique_ptr<Transport>> transports;
  transports.reserve(kCount);
  turns(1);
  const size_t before = ::mallinfo2().uordblks;
  for (SocketPair& p : pairs) transports.push_back(Transport::adopt(*loop, p.take_near(), all, {}));
  turns(1);
  // libuv's table of descriptors grows in powers of two: some of the sum is not the transports'.
  EXPECT_LE((::mallinfo2().uordblks - before) / kCount, 470u);
}
#endif

}  // namespace
}  // namespace dragoman
