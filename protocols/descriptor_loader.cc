#include "protocols/descriptor_loader.h"

#include "protocols/descriptor/descriptor.h"

namespace dragoman {
namespace {

class DescriptorModule final : public CodecModule {
 public:
  explicit DescriptorModule(std::shared_ptr<const descriptor::Descriptor> d) : descriptor_(std::move(d)) {
    table_ = descriptor_->table();
  }
  std::string_view kind() const override { return "descriptor"; }

 private:
  std::shared_ptr<const descriptor::Descriptor> descriptor_;  // the table points into it
};

}  // namespace

LoadedDescriptor load_descriptor(const std::string& path, const std::string& name) {
  descriptor::Loaded loaded = descriptor::load_file(path);
  LoadedDescriptor result;
  for (config::Diagnostic& d : loaded.diagnostics) {
    std::string message = d.path.empty() ? std::move(d.message) : d.path + ": " + d.message;
    result.faults.push_back({.message = std::move(message), .file = path, .line = d.line, .column = d.column});
  }
  if (!loaded.descriptor) return result;
  std::string calls_itself = loaded.descriptor->table().name;
  if (!name.empty() && calls_itself != name) {
    result.faults.push_back({.message = path + ": calls itself \"" + calls_itself + "\", not \"" + name +
                                        "\"; say codec: " + calls_itself + " if that is meant"});
    return result;
  }
  result.module = std::make_shared<const DescriptorModule>(std::move(loaded.descriptor));
  return result;
}

}  // namespace dragoman
