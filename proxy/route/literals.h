// What must be in a text for an expression to match it. Lets an index leave out expressions without trying them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace dragoman {

struct Literals {
  std::string prefix;  // every match starts with it
  std::string suffix;  // every match ends with it
  std::vector<std::string>
      parts;  // every match contains each of them; prefix and suffix are among them, unless empty
};

/// Of an expression that RE2 accepts and that has to match a whole text. Perhaps less than could be known, never more.
Literals literals_of(std::string_view expression);

}  // namespace dragoman
