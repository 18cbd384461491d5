// Aligned columns for people. Values; pure but for Print.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

namespace baton::cli {

// What was made elsewhere (file and program names) must be Printable() already.
class Table {
 public:
  enum class Align { kLeft, kRight };
  struct Column {
    std::string head;
    Align align = Align::kLeft;
  };

  explicit Table(std::vector<Column> columns);

  // Requires as many cells as there are columns. An empty cell shows as "-".
  void Add(std::vector<std::string> cells);
  // The header too.
  std::string Text() const;

 private:
  std::string Line(const std::vector<std::string>& cells, const std::vector<std::size_t>& widths) const;

  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// How many columns a terminal needs for it, as far as that can be told: code points.
std::size_t Width(const std::string& text);
// Blanks up to `width` at the right side.
std::string Padded(const std::string& text, std::size_t width);

}  // namespace baton::cli
