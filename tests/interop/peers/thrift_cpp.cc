// Thrift for C++, both ends. Configuration (JSON, first argument): transport (framed, buffered, header, header-zlib), protocol
// (binary, compact), serve (a port) or port, and service (of a multiplexed server; left out: not multiplexed). A multiplexed
// server has the services "one" and "two". A client takes the commands call(method, text, headers) and load(calls).
#include <rapidjson/document.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>
#include <thrift/processor/TMultiplexedProcessor.h>
#include <thrift/protocol/TBinaryProtocol.h>
#include <thrift/protocol/TCompactProtocol.h>
#include <thrift/protocol/THeaderProtocol.h>
#include <thrift/protocol/TMultiplexedProtocol.h>
#include <thrift/server/TThreadedServer.h>
#include <thrift/transport/TBufferTransports.h>
#include <thrift/transport/TServerSocket.h>
#include <thrift/transport/TSocket.h>

#include <iostream>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "Echo.h"

namespace {

using namespace apache::thrift;
using namespace apache::thrift::protocol;
using namespace apache::thrift::transport;
using Json = rapidjson::Document;
using Value = rapidjson::Value;

class Handler : public EchoIf {
 public:
  void echo(std::string& answer, const std::string& text) override { answer = text; }
  void fail(std::string&) override {
    Failed failed;
    failed.why = "because";
    throw failed;
  }
  void broken(std::string&) override { throw std::runtime_error("broken"); }
  void note(const std::string& text) override {
    std::lock_guard lock(mutex_);
    notes_.push_back(text);
  }
  void noted(std::vector<std::string>& answer) override {
    std::lock_guard lock(mutex_);
    answer = notes_;
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> notes_;
};

std::string text(const Value& object, const char* name) {
  return object.HasMember(name) ? object[name].GetString() : std::string();
}

void say(Json& what) {
  rapidjson::StringBuffer out;
  rapidjson::Writer<rapidjson::StringBuffer> writer(out);
  what.Accept(writer);
  std::cout << out.GetString() << std::endl;
}

bool starts_with(const std::string& text, const char* prefix) { return text.rfind(prefix, 0) == 0; }

void serve(const Json& config) {
  std::string transport = text(config, "transport"), protocol = text(config, "protocol");
  std::shared_ptr<TTransportFactory> transports = std::make_shared<TFramedTransportFactory>();
  if (transport == "buffered") transports = std::make_shared<TBufferedTransportFactory>();
  std::shared_ptr<TProtocolFactory> protocols = std::make_shared<TBinaryProtocolFactory>();
  if (protocol == "compact") protocols = std::make_shared<TCompactProtocolFactory>();
  if (starts_with(transport, "header")) {  // takes either protocol, and answers in it
    transports = std::make_shared<TTransportFactory>();
    protocols = std::make_shared<THeaderProtocolFactory>();
  }
  std::shared_ptr<TProcessor> processor = std::make_shared<EchoProcessor>(std::make_shared<Handler>());
  if (config.HasMember("service")) {
    auto services = std::make_shared<TMultiplexedProcessor>();
    for (const char* name : {"one", "two"})
      services->registerProcessor(name, std::make_shared<EchoProcessor>(std::make_shared<Handler>()));
    processor = services;
  }
  auto socket = std::make_shared<TServerSocket>("127.0.0.1", config["serve"].GetInt());
  struct Started : server::TServerEventHandler {
    explicit Started(int port) : port_(port) {}
    void preServe() override {
      Json what(rapidjson::kObjectType);
      what.AddMember("port", port_, what.GetAllocator());
      say(what);
    }
    int port_;
  };
  server::TThreadedServer server(processor, socket, transports, protocols);
  server.setServerEventHandler(std::make_shared<Started>(config["serve"].GetInt()));
  server.serve();
}

class Caller {
 public:
  explicit Caller(const Json& config) {
    std::string transport = text(config, "transport");
    bool compact = text(config, "protocol") == "compact";
    auto socket = std::make_shared<TSocket>("127.0.0.1", config["port"].GetInt());
    std::shared_ptr<TTransport> outer = socket;
    std::shared_ptr<TProtocol> protocol;
    if (starts_with(transport, "header")) {
      protocol = header_ = std::make_shared<THeaderProtocol>(
          outer, static_cast<uint16_t>(compact ? T_COMPACT_PROTOCOL : T_BINARY_PROTOCOL));
      if (transport == "header-zlib")
        std::dynamic_pointer_cast<THeaderTransport>(header_->getTransport())
            ->setTransform(THeaderTransport::ZLIB_TRANSFORM);
    } else {
      if (transport == "framed")
        outer = std::make_shared<TFramedTransport>(socket);
      else
        outer = std::make_shared<TBufferedTransport>(socket);
      if (compact)
        protocol = std::make_shared<TCompactProtocol>(outer);
      else
        protocol = std::make_shared<TBinaryProtocol>(outer);
    }
    if (config.HasMember("service"))
      protocol = std::make_shared<TMultiplexedProtocol>(protocol, text(config, "service"));
    client_ = std::make_unique<EchoClient>(protocol);
    socket->open();
  }

  /// Writes "value", or "error" and "type", into `answer`.
  void run(const Value& command, Json& answer) {
    auto& memory = answer.GetAllocator();
    auto set = [&](const char* name, const std::string& value) {
      answer.AddMember(Value(name, memory),
                       Value(value.c_str(), static_cast<rapidjson::SizeType>(value.size()), memory), memory);
    };
    try {
      if (text(command, "operation") == "load") {
        load(command["calls"].GetInt(), answer);
        return;
      }
      if (header_ && command.HasMember("headers"))
        for (auto& h : command["headers"].GetObject())
          header_->setHeader(h.name.GetString(), h.value.GetString());
      std::string method = text(command, "method"), said;
      if (method == "noted") {
        std::vector<std::string> notes;
        client_->noted(notes);
        Value list(rapidjson::kArrayType);
        for (const std::string& n : notes) list.PushBack(Value(n.c_str(), memory), memory);
        answer.AddMember("value", list, memory);
        return;
      }
      if (method == "note") {
        client_->note(text(command, "text"));
        answer.AddMember("value", Value(), memory);
        return;
      }
      if (method == "fail")
        client_->fail(said);
      else if (method == "broken")
        client_->broken(said);
      else
        client_->echo(said, text(command, "text"));
      set("value", said);
    } catch (const Failed& e) {
      set("error", "Failed");
      set("message", e.why);
    } catch (const TApplicationException& e) {
      set("error", "TApplicationException");
      set("message", e.what());
      answer.AddMember("type", static_cast<int>(e.getType()), memory);
    } catch (const std::exception& e) {
      set("error", "exception");
      set("message", e.what());
    }
  }

 private:
  void load(int calls, Json& answer) {
    int wrong = 0;
    for (int i = 0; i < calls; ++i) {
      std::string token = std::to_string(i) + "-" + std::string(static_cast<size_t>(i % 300), 'x'), said;
      client_->echo(said, token);
      wrong += said != token;
    }
    Value done(rapidjson::kObjectType);
    done.AddMember("calls", calls, answer.GetAllocator()).AddMember("wrong", wrong, answer.GetAllocator());
    answer.AddMember("value", done, answer.GetAllocator());
  }

  std::shared_ptr<THeaderProtocol> header_;
  std::unique_ptr<EchoClient> client_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  Json config;
  config.Parse(argv[1]);
  if (config.HasMember("serve")) {
    serve(config);
    return 0;
  }
  Caller caller(config);
  Json ready(rapidjson::kObjectType);
  ready.AddMember("ready", true, ready.GetAllocator());
  say(ready);
  for (std::string line; std::getline(std::cin, line);) {
    Json command, answer(rapidjson::kObjectType);
    command.Parse(line.c_str());
    answer.AddMember("answer", command["id"].GetInt(), answer.GetAllocator());
    caller.run(command, answer);
    say(answer);
  }
  return 0;
}
