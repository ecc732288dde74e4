// What we send to a backend must mean the same to backends that read carelessly: a reader that is lenient in every way that is known of
// servers finds the requests that a strict one finds.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "tests/http1/http1_support.h"

namespace dragoman::testing {
namespace {

struct Seen {
  std::string line, body;
  bool operator==(const Seen&) const = default;
};

void PrintTo(const Seen& s, std::ostream* to) { *to << "[" << s.line << "] " << s.body; }

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(c == '_' ? '-' : std::tolower(static_cast<unsigned char>(c)));
  return out;
}

/// In what two careless readers may differ.
struct Manners {
  bool first_wins = false;   // of two lengths
  bool length_wins = false;  // over a coding
};

/// Lines end with LF, blanks and control characters around names and values are nothing, '_' is '-', a line that begins with a blank
/// goes on with the one before, numbers end where they are none, "chunked" may stand anywhere.
class SloppyReader {
 public:
  SloppyReader(std::string_view bytes, Manners manners) : rest_(bytes), manners_(manners) {}

  std::vector<Seen> all() {
    std::vector<Seen> out;
    while (!rest_.empty()) {
      std::string first = line();
      if (first.empty()) continue;
      Seen seen{first, ""};
      size_t length = 0;
      bool lengths = false, chunked = false;
      fields([&](const std::string& name, const std::string& value) {
        if (name == "content-length" && (!lengths || !manners_.first_wins)) {
          length = std::strtoul(value.c_str(), nullptr, 10);
          lengths = true;
        }
        if (name == "transfer-encoding" && lower(value).find("chunked") != std::string::npos) chunked = true;
      });
      if (chunked && !(lengths && manners_.length_wins))
        seen.body = chunks();
      else
        seen.body = take(length);
      out.push_back(std::move(seen));
    }
    return out;
  }

 private:
  std::string take(size_t n) {
    std::string out(rest_.substr(0, n));
    rest_.remove_prefix(out.size());
    return out;
  }
  std::string line() {
    size_t end = rest_.find('\n');
    std::string out = take(end == std::string_view::npos ? rest_.size() : end + 1);
    while (!out.empty() && (out.back() == '\n' || out.back() == '\r')) out.pop_back();
    return out;
  }
  static std::string trim(std::string text) {
    auto blank = [](char c) { return static_cast<unsigned char>(c) <= ' '; };
    while (!text.empty() && blank(text.back())) text.pop_back();
    while (!text.empty() && blank(text.front())) text.erase(0, 1);
    return text;
  }
  template <class Each>
  void fields(Each&& each) {
    for (std::string next = line(); !next.empty();) {
      std::string field = next;
      for (next = line(); !next.empty() && (next[0] == ' ' || next[0] == '\t'); next = line()) field += next;
      size_t colon = field.find(':');
      if (colon != std::string::npos)
        each(lower(trim(field.substr(0, colon))), trim(field.substr(colon + 1)));
    }
  }
  std::string chunks() {
    std::string body;
    for (;;) {
      size_t n = std::strtoul(trim(line()).c_str(), nullptr, 16);
      if (n == 0) break;
      body += take(n);
      line();
    }
    fields([](const std::string&, const std::string&) {});
    return body;
  }

  std::string_view rest_;
  const Manners manners_;
};

/// The bytes that a backend gets for what a client sent.
std::string forwarded(std::string_view bytes, Underscores underscores) {
  Http1Options options;
  options.underscores = underscores;
  Http1Connection down(Role::kServer), up(Role::kClient, options);
  std::string out;
  {
    Relay relay(down, up,
                [](const Head&) { return std::string("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"); });
    down.feed(bytes);
    out = up.sink.take();
  }
  return out;
}

std::vector<Seen> strictly(std::string_view bytes) {
  Http1Connection c(Role::kServer);
  std::vector<Seen> out;
  c.events.then_exchange = [&](FakeMessageSink& sink) {
    auto done = [&out, &sink] {
      out.push_back(
          {std::string(sink.head->method) + " " + std::string(sink.head->path) + " HTTP/1.1", sink.body});
      Answer answer(200, 0);
      static_cast<void>(sink.exchange->send_head(answer.head, true));
      sink.release();
    };
    sink.then_head = [done](Head&, bool end) {
      if (end) done();
    };
    sink.then_body = [done](std::string_view, bool end) {
      if (end) done();
    };
    sink.then_trailers = [done](HeaderList&) { done(); };
  };
  c.feed(bytes);
  return out;
}

std::string random_requests(std::mt19937& random) {
  static const std::vector<std::string> fields = {"Content-Length: 5\r\n",
                                                  "Content_Length: 3\r\n",
                                                  "content_length:0\r\n",
                                                  "Content-Length: 5 \t\r\n",
                                                  "Content-Length:\t5\r\n",
                                                  "Content-Length : 3\r\n",
                                                  "Content-Length: 3\n",
                                                  "X: a\nContent-Length: 3\r\n",
                                                  "X: a\r\n Content-Length: 3\r\n",
                                                  "Content-Length: 5, 5\r\n",
                                                  "Content-Length: 005\r\n",
                                                  "Content-Length: 0x5\r\n",
                                                  "Transfer-Encoding: chunked\r\n",
                                                  "Transfer_Encoding: chunked\r\n",
                                                  "TRANSFER_encoding: chunked\r\n",
                                                  "Transfer-Encoding: chunked \t\r\n",
                                                  "Transfer-Encoding:\tchunked\r\n",
                                                  "Transfer-Encoding: x, chunked\r\n",
                                                  "Transfer-Encoding: identity\r\n",
                                                  "Transfer-Encoding\t: chunked\r\n",
                                                  "Transfer-Encoding: \x0b"
                                                  "chunked\r\n",
                                                  "X_Y: z\r\n",
                                                  "X: y\r\n",
                                                  "Trailer: Content-Length\r\n",
                                                  "Connection: Content_Length\r\n",
                                                  "Connection: close, transfer_encoding\r\n",
                                                  "X: \r\n",
                                                  "X:\t\r\n",
                                                  "Expect: 100-continue\r\n"};
  static const std::vector<std::string> bodies = {
      "",
      "hello",
      "5\r\nhello\r\n0\r\n\r\n",
      "5 \r\nhello\r\n0\r\n\r\n",
      "5;a=b\r\nhello\r\n0\r\n\r\n",
      "5\nhello\n0\n\n",
      "5\r\nhello\r\n0\r\nContent-Length: 9\r\nTransfer_Encoding: chunked\r\nx_y: z\r\n\r\n",
      "05\r\nhello\r\n0;\r\n\r\n",
      "0\r\n\r\n",
      "5\r\nhello\r\n0\r\n Content-Length: 3\r\n\r\n",
      "2d\r\nx\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n0\r\n\r\n....\r\n0\r\n\r\n"};
  std::string out;
  for (uint32_t n = 1 + random() % 3; n > 0; --n) {
    out += (random() % 2 ? "POST /" : "GET /") + std::to_string(random() % 100) + " HTTP/1.1\r\nHost: a\r\n";
    for (uint32_t k = random() % 4; k > 0; --k) out += fields[random() % fields.size()];
    out += "\r\n" + bodies[random() % bodies.size()];
  }
  return out;
}

size_t disagreements(Underscores underscores, uint32_t seed, int rounds, bool tell) {
  std::mt19937 random(seed);
  size_t found = 0, requests = 0;
  for (int i = 0; i < rounds; ++i) {
    const std::string sent = random_requests(random);
    const std::string wire = forwarded(sent, underscores);
    // One that was cut has no meaning yet: its connection ends.
    const std::vector<Seen> strict = strictly(wire);
    requests += strict.size();
    for (Manners manners :
         {Manners{false, false}, Manners{true, false}, Manners{false, true}, Manners{true, true}}) {
      std::vector<Seen> sloppy = SloppyReader(wire, manners).all();
      if (sloppy.size() == strict.size() + 1) sloppy.pop_back();
      if (sloppy == strict) continue;
      ++found;
      if (tell) {
        EXPECT_EQ(sloppy, strict) << "seed " << seed << ", sent:\n" << sent << "\nforwarded:\n" << wire;
        return found;
      }
    }
  }
  EXPECT_GT(requests, static_cast<size_t>(rounds) / 4) << "most of them are refused";
  return found;
}

TEST(SloppyBackends, FindTheRequestsThatWeFound) {
  const uint32_t seed = std::random_device{}();
  RecordProperty("seed", std::to_string(seed));
  std::cout << "seed " << seed << "\n";
  EXPECT_EQ(disagreements(Underscores::kDrop, seed, 20'000, true), 0u);
  EXPECT_EQ(disagreements(Underscores::kRefuse, seed, 5'000, true), 0u);
}

TEST(SloppyBackends, WouldBeMisledByUnderscores) {
  EXPECT_GT(disagreements(Underscores::kPass, 1, 2'000, false), 0u) << "so the test above looks at something";
}

}  // namespace
}  // namespace dragoman::testing
