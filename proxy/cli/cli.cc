// The only file that includes CLI11 (8 s to compile).
#include "proxy/cli/cli.h"

#include <CLI/CLI.hpp>
#include <cstdio>

#include "config/load.h"
#include "proxy/base/memory_reserve.h"
#include "proxy/base/suggest.h"
#include "proxy/cli/codec_command.h"
#include "proxy/server/checks.h"
#include "proxy/server/server.h"

namespace dragoman {
namespace {

int validate(const std::vector<std::string>& files, bool json) {
  bool ok = true;
  for (const std::string& file : files) {
    const config::LoadResult result = check_file(file);
    ok = ok && result.ok();
    if (json) {
      std::fputs(config::render_json(result.diagnostics).c_str(), stdout);
      continue;
    }
    std::fputs(config::render_text(result.diagnostics, result.source).c_str(), stderr);
    if (result.ok()) std::fprintf(stdout, "%s: ok\n", file.c_str());
  }
  return ok ? 0 : 1;
}

}  // namespace

int cli_main(int argc, char** argv) {
  CLI::App app{"Dragoman: a multi-protocol service-mesh sidecar proxy"};
  app.require_subcommand(1);
  app.set_help_all_flag("--help-all", "Help of every command");
  std::string version_line = version_text(false);
  version_line.pop_back();  // its end comes with the printing
  app.set_version_flag("--version", version_line, "Print the version");

  std::string config_path;
  bool demo = false;
  bool no_watch = false;
  bool share_ports = false;
  DemoOptions demo_options;
  auto* run = app.add_subcommand("run", "Serve.\nExample: dragoman run -c sidecar.yaml");
  run->add_option("-c,--config", config_path, "Configuration file, or - for standard input")
      ->envname("DRAGOMAN_CONFIG");
  run->add_flag("--no-watch", no_watch, "Do not reload when the file changes (SIGHUP and POST /reload still do)");
  run->add_flag("--share-ports", share_ports,
                "Listen beside another process that serves the same ports, to replace it: start this one, "
                "then end that one");
  run->add_flag("--demo", demo, "Ignore any configuration: start echo services, a pair of sidecars and routes");
  run->add_option("--demo-port", demo_options.port_base, "First of the ports the demo uses; 0 = any free ones");

  std::vector<std::string> files;
  std::string format = "text";
  auto* check = app.add_subcommand("validate", "Check configuration files.\nExample: dragoman validate sidecar.yaml");
  check->add_option("files", files, "Configuration files, or -")->required();
  check->add_option("--format", format, "text or json")->check(CLI::IsMember({"text", "json"}));

  auto* schema = app.add_subcommand("schema", "Print the JSON Schema (draft-07) of the configuration.\n"
                                              "Example: dragoman schema > dragoman.schema.json");
  auto* reference = app.add_subcommand("reference", "Print every configuration key as Markdown.\n"
                                                    "Example: dragoman reference | less");
  bool version_json = false;
  auto* version = app.add_subcommand("version", "Print the version.\nExample: dragoman version --json");
  version->add_flag("--json", version_json, "For programs");

  CallOptions call_options;
  auto* call = app.add_subcommand("call", "Call a service.\n"
                                          "Example: dragoman call bolt 127.0.0.1:12200 --service demo.Echo:1.0 "
                                          "--method echo --data hello");
  call->add_option("protocol", call_options.protocol, "bolt")->required()->check(CLI::IsMember({"bolt"}));
  call->add_option("address", call_options.address, "ip:port")->required();
  call->add_option("--service", call_options.service, "Service name, with its version")->capture_default_str();
  call->add_option("--method", call_options.method, "Method name")->capture_default_str();
  call->add_option("--data", call_options.data, "Content, sent as it is")->capture_default_str();
  call->add_option("--header", call_options.headers, "key=value, may be repeated");
  call->add_option("--timeout-ms", call_options.timeout_ms, "How long to wait")->capture_default_str();
  call->add_option("--count", call_options.count, "How many calls")->capture_default_str();

  CodecCommand codec;
  auto* codecs = app.add_subcommand("codec", "For those who write codecs: list, new, check, decode, bench");
  codecs->require_subcommand(1);
  auto* list = codecs->add_subcommand("list", "What each protocol can do.\nExample: dragoman codec list");
  list->add_flag("--markdown", codec.markdown, "As a page");
  auto* make = codecs->add_subcommand("new",
                                      "Write a new codec that passes the kit.\n"
                                      "Example: dragoman codec new acme");
  make->add_option("name", codec.name, "Of the protocol")->required();
  make->add_flag("--descriptor", codec.descriptor, "In YAML instead of C++: nothing to compile");
  make->add_option("--dir", codec.folder, "Where its folder goes")->capture_default_str();
  auto* checks = codecs->add_subcommand("check", "Run the conformance kit.\n"
                                                 "Example: dragoman codec check ./libacme.so --vectors vectors");
  checks->add_option("codec", codec.codec, "A library, a descriptor, or the name of a built-in codec")->required();
  checks->add_option("--vectors", codec.vectors, "Folder of *.hex files")->required();
  checks->add_option("--others", codec.others, "Folders of *.hex files of other protocols");
  checks->add_option("--instead-of", codec.instead_of,
                     "A built-in codec of the same protocol: its frames are no conflict");
  checks->add_option("--seconds", codec.seconds, "How long to try random changes")->capture_default_str();
  checks->add_option("--seed", codec.seed, "Of the random changes")->capture_default_str();
  checks->add_flag("--only-failed", codec.only_failed, "Show broken rules only");
  auto* decode = codecs->add_subcommand("decode", "Show frames field by field.\n"
                                                  "Example: dragoman codec decode request.hex --codec ./libacme.so");
  decode->add_option("file", codec.file, "A *.hex file")->required();
  decode->add_option("--codec", codec.codec, "Left out, the first built-in codec that takes it");
  auto* bench = codecs->add_subcommand("bench", "What frames cost.\n"
                                                "Example: dragoman codec bench ./libacme.so bolt --vectors vectors");
  bench->add_option("codecs", codec.codecs, "Libraries, descriptors, names of built-in codecs")->required();
  bench->add_option("--vectors", codec.vectors, "Folder of *.hex files")->required();
  bench->add_option("--seconds", codec.seconds, "How long to measure each")->capture_default_str();

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    int code = app.exit(e);
    if (code == 0) return 0;  // --help, --version
    if (argc > 1 && argv[1][0] != '-') {
      static constexpr std::string_view kCommands[] = {"run", "validate", "schema", "reference", "version", "call",
                                                       "codec"};
      std::string_view given = argv[1];
      bool known = false;
      for (std::string_view c : kCommands) known = known || c == given;
      if (!known) {
        auto like = nearest(given, kCommands);
        if (!like.empty())
          std::fprintf(stderr, "unknown command '%s'; did you mean '%s'?\n", argv[1], std::string(like).c_str());
      }
    }
    return 2;
  }

  if (*run) {
    if (!install_memory_reserve())
      std::fputs("dragoman: no memory for the reserve: the first lack of it ends connections\n", stderr);
    if (demo) return run_demo(demo_options);
    if (config_path.empty()) {
      std::fprintf(stderr, "dragoman run needs a configuration: -c FILE, or --demo\n");
      return 2;
    }
    ServerOptions options;
    options.config_path = config_path;
    options.watch_file = !no_watch;
    options.share_ports = share_ports;
    return Server(std::move(options)).run();
  }
  if (*list) return codec_list(codec);
  if (*make) return codec_new(codec);
  if (*checks) return codec_check(codec);
  if (*decode) return codec_decode(codec);
  if (*bench) return codec_bench(codec);
  if (*check) return validate(files, format == "json");
  if (*schema) {
    std::fputs(config::schema_json().c_str(), stdout);
    return 0;
  }
  if (*reference) {
    std::fputs(config::reference_markdown().c_str(), stdout);
    return 0;
  }
  if (*version) {
    std::fputs(version_text(version_json).c_str(), stdout);
    return 0;
  }
  return run_call(call_options);
}

}  // namespace dragoman
