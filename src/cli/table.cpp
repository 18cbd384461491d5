#include "cli/table.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace baton::cli {

std::size_t Width(const std::string& text) {
  return static_cast<std::size_t>(std::ranges::count_if(text, [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string Padded(const std::string& text, std::size_t width) {
  const std::size_t has = Width(text);
  return has < width ? text + std::string(width - has, ' ') : text;
}

Table::Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

void Table::Add(std::vector<std::string> cells) {
  BATON_CHECK(cells.size() == columns_.size());
  for (std::string& cell : cells) {
    if (cell.empty()) cell = "-";
  }
  rows_.push_back(std::move(cells));
}

std::string Table::Line(const std::vector<std::string>& cells, const std::vector<std::size_t>& widths) const {
  std::string line;
  for (std::size_t at = 0; at < cells.size(); ++at) {
    const std::size_t blanks = widths[at] - Width(cells[at]);
    const bool right = columns_[at].align == Align::kRight;
    if (at > 0) line += "  ";
    if (right) line.append(blanks, ' ');
    line += cells[at];
    if (!right && at + 1 < cells.size()) line.append(blanks, ' ');
  }
  return line + "\n";
}

std::string Table::Text() const {
  std::vector<std::string> head;
  for (const Column& column : columns_) head.push_back(column.head);
  std::vector<std::size_t> widths;
  for (std::size_t at = 0; at < columns_.size(); ++at) {
    std::size_t width = Width(head[at]);
    for (const auto& row : rows_) width = std::max(width, Width(row[at]));
    widths.push_back(width);
  }
  std::string text = Line(head, widths);
  for (const auto& row : rows_) text += Line(row, widths);
  return text;
}

}  // namespace baton::cli
