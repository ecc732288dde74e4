// Plugins are loaded, refused with a reason that names both sides, exchanged for another version, and
// unloaded only when nothing uses them.
#include <gtest/gtest.h>

#include <elf.h>
#include <link.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <thread>

#include "protocols/catalog.h"
#include "protocols/plugin_crash.h"
#include "protocols/plugin_image.h"
#include "protocols/plugin_loader.h"

namespace dragoman {
namespace {

namespace fs = std::filesystem;

std::string plugin(const std::string& name) { return std::string(DRAGOMAN_TEST_PLUGINS) + "/" + name +
                                             ".so"; }

std::string bytes_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

size_t loaded_copies() {
  size_t count = 0;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* c) {
        *static_cast<size_t*>(c) += info->dlpi_name && std::strstr(info->dlpi_name, "/proc/self/fd/") ? 1 : 0;
        return 0;
      },
      &count);
  return count;
}

class Plugins : public ::testing::Test {
 protected:
  Plugins() {
    std::string name = fs::temp_directory_path() / "dragoman-plugins-XXXXXX";
    folder = mkdtemp(name.data());
  }
  ~Plugins() override {
    EXPECT_EQ(loaded_copies(), 0u);
    fs::remove_all(folder);
  }
  std::string write(const std::string& name, const std::string& bytes) {
    std::ofstream(folder / name, std::ios::binary) << bytes;
    return folder / name;
  }
  fs::path folder;
};

TEST_F(Plugins, Load) {
  for (const char* name : {"parcel1", "later_minor", "earlier", "required_only"}) {
    auto loaded = load_plugin(plugin(name), "parcel");
    ASSERT_TRUE(loaded) << loaded.error();
    EXPECT_STREQ((*loaded)->table().name, "parcel");
    EXPECT_EQ((*loaded)->table().size, sizeof(dragoman_codec));
    EXPECT_EQ((*loaded)->kind(), "plugin");
    EXPECT_EQ(loaded_copies(), 1u);
  }
}

TEST_F(Plugins, AreRefusedWithBothSidesNamed) {
  const std::string bytes = std::to_string(sizeof(dragoman_codec));
  const std::string minor = std::to_string(DRAGOMAN_ABI_MINOR), ours = "1." + minor;
  const std::string most = ", this program has " + ours + " (tables of at least " +
                           std::to_string(DRAGOMAN_TABLE_BYTES_MIN) + " bytes)";
  const struct {
    std::string file;
    std::string says;
  } rows[] = {
      {plugin("abi2"), "was built for codec ABI 2." + minor + " (a table of " + bytes + " bytes)" + most},
      {plugin("short_table"), "was built for codec ABI " + ours + " (a table of 64 bytes)" + most},
      {plugin("too_short"), "was built for codec ABI " + ours + " (a table of " +
                                std::to_string(DRAGOMAN_TABLE_BYTES_MIN - 1) + " bytes)" + most},
      {plugin("crash_probe"), "crashes in probe() of "},
      {plugin("crash_view"), "crashes in view() of "},
      {plugin("crash_outcome"), "crashes in outcome() of "},
      {plugin("crash_reply"), "crashes in reply() of "},
      {plugin("crash_edit"), "crashes in edit() of "},
      {plugin("crash_heartbeat"), "crashes in heartbeat() (Segmentation fault)"},
      {plugin("crash_heartbeat_reply"), "crashes in heartbeat_reply() of "},
      {plugin("crash_goaway"), "crashes in goaway() (Segmentation fault)"},
      {plugin("hang_probe"), "does not return from probe() of "},
      {plugin("hang_reply"), "does not return from reply() of "},
      {plugin("exit_view"), "ends the process in view() of "},
      {plugin("overread"), "crashes in probe() of "},
      {plugin("call_thread"), "can't be unloaded: its functions make threads"},
      {plugin("other_name"), "holds the codec \"packet\", the configuration wants \"parcel\""},
      {plugin("bad_ability"), "is refused: codec parcel: CAN_EDIT and edit don't go together"},
      {plugin("no_table"), "gives no table"},
      {plugin("symbol2"), "exports dragoman_codec_v2, this program takes dragoman_codec_v1"},
      {plugin("no_symbol"), "exports no dragoman_codec_v1"},
      {plugin("thread"), "can't be unloaded: it makes threads"},
      {plugin("hidden_thread"), "can't be unloaded: it makes threads when it is loaded"},
      {plugin("tls"), "can't be unloaded: it has thread-local objects with destructors"},
      {plugin("unique"), "is unique in the process; compile with -fvisibility=hidden or -fno-gnu-unique"},
      {plugin("nodelete"), "can't be unloaded: it is linked with -z nodelete"},
      {plugin("stays"), "can't be unloaded: it is still there after it was closed"},
      {plugin("crash"), "crashes while it is loaded or unloaded (Aborted)"},
      {plugin("exit"), "ends the process while it is loaded or unloaded"},
      {plugin("missing"), "can't be opened: No such file or directory"},
      {folder.string(), "is a folder, not a file"},
      {write("text.so", "hello"), "is not a shared library"},
      {write("empty.so", ""), "is not a shared library"},
  };
  for (const auto& row : rows) {
    auto loaded = load_plugin(row.file, "parcel");
    ASSERT_FALSE(loaded) << row.file;
    EXPECT_EQ(loaded.error().find(row.file + " "), 0u) << loaded.error();
    EXPECT_NE(loaded.error().find(row.says), std::string::npos) << loaded.error();
    EXPECT_EQ(loaded_copies(), 0u) << row.file;
  }
}

Result<void> check(const std::string& image) {
  return check_plugin_image({reinterpret_cast<const uint8_t*>(image.data()), image.size()});
}

TEST_F(Plugins, ForAnotherMachineAreRefused) {
  std::string image = bytes_of(plugin("parcel1"));
  ASSERT_TRUE(check(image));
  std::string other = image;
  other[offsetof(Elf64_Ehdr, e_machine)] = static_cast<char>(EM_RISCV);
  other[offsetof(Elf64_Ehdr, e_machine) + 1] = static_cast<char>(EM_RISCV >> 8);
  EXPECT_NE(check(other).error().find("is for RISC-V, this program for "), std::string::npos);
  other = image;
  other[offsetof(Elf64_Ehdr, e_type)] = ET_EXEC;
  EXPECT_NE(check(other).error().find("not a shared library but"), std::string::npos);
}

TEST_F(Plugins, BrokenImagesAreRefusedAndNeverReadOutside) {
  const std::string image = bytes_of(plugin("parcel1"));
  for (size_t n = 0; n < image.size(); n += 1 + n / 64) {
    // An allocation of exactly that size: sanitizers notice a read behind it.
    std::vector<uint8_t> part(image.begin(), image.begin() + static_cast<ptrdiff_t>(n));
    EXPECT_FALSE(check_plugin_image(part)) << n;
  }
  std::mt19937 random(3);
  for (int round = 0; round < 3000; ++round) {
    std::vector<uint8_t> changed(image.begin(), image.end());
    const size_t headers = changed.size() - 64 * 64;  // the section headers are at the end
    for (int i = 0; i < 8; ++i) {
      size_t at = random() % 2 ? random() % 64 : headers + random() % (64 * 64);
      changed[at] = static_cast<uint8_t>(random());
    }
    static_cast<void>(check_plugin_image(changed));
  }
}

TEST_F(Plugins, OverwritingTheFileHarmsNobody) {
  std::string file = write("p.so", bytes_of(plugin("parcel1")));
  auto loaded = load_plugin(file, "parcel");
  ASSERT_TRUE(loaded) << loaded.error();
  write("p.so", std::string(fs::file_size(file), '\0'));
  dragoman_frame f{};
  f.size = sizeof f;
  const dragoman_codec& t = (*loaded)->table();
  EXPECT_EQ(t.probe(t.context, nullptr, reinterpret_cast<const uint8_t*>("PC"), 2, &f), DRAGOMAN_NEED);
}

TEST_F(Plugins, ShorterTablesLackWhatTheyDoNotReach) {
  auto loaded = load_plugin(plugin("earlier"), "parcel");
  ASSERT_TRUE(loaded) << loaded.error();
  EXPECT_NE((*loaded)->table().edit, nullptr);
  EXPECT_EQ((*loaded)->table().set_id, nullptr);
  EXPECT_EQ((*loaded)->table().checksum, nullptr);
  EXPECT_EQ((*loaded)->table().extent, nullptr);
  loaded = load_plugin(plugin("required_only"), "parcel");
  ASSERT_TRUE(loaded) << loaded.error();
  EXPECT_NE((*loaded)->table().reply, nullptr);
  EXPECT_EQ((*loaded)->table().edit, nullptr);
  EXPECT_EQ((*loaded)->table().heartbeat, nullptr);
  EXPECT_EQ((*loaded)->table().extent, nullptr);
}

using PluginsDeathTest = Plugins;

TEST_F(PluginsDeathTest, ACrashInServiceNamesTheCodec) {
  const struct {
    std::string file;
    const char* says;
  } rows[] = {
      {plugin("crash_later"), "the codec parcel 6 \\(.*crash_later.so\\) crashed the process: SIGSEGV"},
      {plugin("abort_later"), "the codec parcel 7 \\(.*abort_later.so\\) crashed the process: SIGABRT"}};
  for (const auto& row : rows) {
    auto loaded = load_plugin(row.file, "parcel");
    ASSERT_TRUE(loaded) << loaded.error();
    const dragoman_codec& t = (*loaded)->table();
    const std::string frame = std::string("PC\1\1\0\0\0\7\0\0\0\0\0\x0b\0\0\0\0", 18) + "the-mark=x\n";
    dragoman_frame f{};
    f.size = sizeof f;
    EXPECT_DEATH(
        t.probe(t.context, nullptr, reinterpret_cast<const uint8_t*>(frame.data()), frame.size(), &f),
        row.says);
  }
}

TEST_F(PluginsDeathTest, ALibraryThatRunsOutOfStackIsNamed) {
  auto loaded = load_plugin(plugin("overflow_later"), "parcel");
  ASSERT_TRUE(loaded) << loaded.error();
  const dragoman_codec& t = (*loaded)->table();
  const std::string frame = std::string("PC\1\1\0\0\0\7\0\0\0\0\0\x0b\0\0\0\0", 18) + "the-mark=x\n";
  EXPECT_DEATH(std::thread([&] {
                 const CrashStack stack;  // as workers have one
                 dragoman_frame f{};
                 f.size = sizeof f;
                 t.probe(t.context, nullptr, reinterpret_cast<const uint8_t*>(frame.data()), frame.size(),
                         &f);
               }).join(),
               "the codec parcel 8 \\(.*overflow_later.so\\) crashed the process: SIGSEGV");
}

TEST_F(Plugins, ALibraryThatHangsIsNamedToWhoeverAsks) {
  auto loaded = load_plugin(plugin("hang_later"), "parcel");
  ASSERT_TRUE(loaded) << loaded.error();
  const dragoman_codec& t = (*loaded)->table();
  const std::string go_on = (folder / "go-on").string(), header = "the-mark=" + go_on + "\n";
  std::string frame("PC\1\1\0\0\0\7\0\0\0\0\0\0\0\0\0\0", 18);
  frame[13] = static_cast<char>(header.size());
  frame += header;
  std::atomic<bool> begun{false}, asked{false};
  std::thread worker([&] {
    const CrashStack stack;
    dragoman_frame f{};
    f.size = sizeof f;
    begun = true;
    EXPECT_EQ(t.probe(t.context, nullptr, reinterpret_cast<const uint8_t*>(frame.data()), frame.size(), &f),
              DRAGOMAN_FRAME);
    while (!asked) std::this_thread::yield();
  });
  while (!begun) std::this_thread::yield();
  std::string name;
  for (int i = 0; i < 100 && name.empty(); ++i) name = library_of(worker.native_handle());
  EXPECT_NE(name.find("parcel 9 ("), std::string::npos) << name;
  std::ofstream(go_on).close();
  // It is out of the library soon.
  for (int i = 0; i < 1000 && !name.empty(); ++i) name = library_of(worker.native_handle());
  EXPECT_EQ(name, "");
  asked = true;
  worker.join();
}

class Catalog : public Plugins {
 protected:
  config::DeclaredCodec load(DeclaredProtocols& into, const std::string& name = "x") {
    config::Codec codec;
    codec.name = name;
    codec.codec = "parcel";
    codec.path = "p.so";
    return catalog.load(codec, folder / "p.so", into);
  }
  CodecCatalog catalog;
};

TEST_F(Catalog, KeepsWhatDidNotChangeAndDropsWhatNobodyUses) {
  write("p.so", bytes_of(plugin("parcel1")));
  DeclaredProtocols first, again;
  ASSERT_TRUE(load(first).faults.empty());
  ASSERT_TRUE(load(again).faults.empty());
  EXPECT_EQ(first["x"], again["x"]);
  EXPECT_EQ(catalog.size(), 1u);
  again.clear();
  EXPECT_EQ(catalog.sweep(first), 0u);
  EXPECT_EQ(catalog.size(), 1u);

  // A connection of the first version outlives the configuration that had it.
  class Out final : public ByteSink {
    void on_dirty() override {}
  } out;
  class Events final : public ConnectionEvents {
    MessageSink* on_exchange(Exchange&) override { return nullptr; }
    void on_goaway() override {}
    void on_broken(Reason, std::string_view) override {}
    void on_finished() override {}
    void on_capacity() override {}
    void pause_reading() override {}
    void resume_reading() override {}
    void on_event(CodecEvent) override {}
    uint64_t now_ms() const override { return 0; }
  } events;
  auto connection = first["x"]->create(*first["x"], Role::kServer, out, events, {});

  write("p.so", bytes_of(plugin("parcel2")));
  DeclaredProtocols second;
  ASSERT_TRUE(load(second).faults.empty());
  EXPECT_STREQ(first["x"]->table->version, "1");
  EXPECT_STREQ(second["x"]->table->version, "2");
  EXPECT_EQ(loaded_copies(), 2u);
  first.clear();
  EXPECT_EQ(catalog.sweep(second), 1u) << "the connection still needs it";
  EXPECT_EQ(loaded_copies(), 2u);
  ASSERT_EQ(catalog.view().size(), 2u);
  EXPECT_EQ(catalog.view()[0].users, 1);
  connection.reset();
  EXPECT_EQ(catalog.sweep(second), 0u);
  EXPECT_EQ(loaded_copies(), 1u);
  second.clear();
  EXPECT_EQ(catalog.sweep(second), 0u);
  EXPECT_EQ(loaded_copies(), 0u);
}

TEST_F(Catalog, TellsWhatIsWrong) {
  DeclaredProtocols into;
  auto missing = load(into);
  ASSERT_EQ(missing.faults.size(), 1u);
  EXPECT_NE(missing.faults[0].message.find("can't be opened"), std::string::npos);
  EXPECT_TRUE(into.empty());
  EXPECT_EQ(catalog.size(), 0u);
}

TEST_F(Catalog, PluginsInOneFileTwiceAreTwoCodecs) {
  write("p.so", bytes_of(plugin("parcel1")));
  DeclaredProtocols into;
  ASSERT_TRUE(load(into, "a").faults.empty());
  ASSERT_TRUE(load(into, "b").faults.empty());
  EXPECT_EQ(into.size(), 2u);
  EXPECT_EQ(into["a"], into["b"]) << "one library serves both names";
  into.clear();
  catalog.sweep(into);
}

}  // namespace
}  // namespace dragoman
