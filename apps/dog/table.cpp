#include "apps/dog/table.hpp"

#include <fmt/color.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "core/client/printable_text.hpp"

namespace sd::dog {

bool colours() {
  static const bool result = [] {
    const char* term = std::getenv("TERM");
    const char* no_color = std::getenv("NO_COLOR");
    return isatty(STDOUT_FILENO) == 1 && !(no_color && *no_color) && !(term && std::string_view(term) == "dumb");
  }();
  return result;
}

std::string toned(Tone tone, std::string_view raw) {
  const std::string text = client::printable(raw);
  if (!colours() || tone == Tone::plain) return text;
  switch (tone) {
    case Tone::plain: break;
    case Tone::good: return fmt::format(fmt::fg(fmt::terminal_color::green), "{}", text);
    case Tone::warning: return fmt::format(fmt::fg(fmt::terminal_color::yellow), "{}", text);
    case Tone::bad: return fmt::format(fmt::fg(fmt::terminal_color::red), "{}", text);
    case Tone::strong: return fmt::format(fmt::emphasis::bold, "{}", text);
    case Tone::faint: return fmt::format(fmt::emphasis::faint, "{}", text);
  }
  return text;
}

namespace {

// Columns on a terminal, taking each code point as one: right for all but East Asian and combining characters.
std::size_t width(std::string_view text) {
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

}  // namespace

void Table::add(std::vector<Cell> row) {
  for (Cell& cell : row) cell.text = client::printable(cell.text);
  rows_.push_back(std::move(row));
}

std::string Table::text() const {
  std::vector<std::size_t> widths;
  for (const Column& column : columns_) widths.push_back(width(column.title));
  for (const auto& row : rows_)
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width(row[i].text));

  std::string out;
  const auto put = [&](std::size_t i, std::string_view cell, Tone tone) {
    const std::string space(widths[i] - width(cell), ' ');
    const bool last = i + 1 == columns_.size();
    if (columns_[i].align == Align::right)
      out += space + toned(tone, cell);
    else
      out += toned(tone, cell) + (last ? "" : space);
    out += last ? "\n" : "  ";
  };
  for (std::size_t i = 0; i < columns_.size(); ++i) put(i, columns_[i].title, Tone::strong);
  for (const auto& row : rows_)
    for (std::size_t i = 0; i < columns_.size(); ++i) put(i, row[i].text, row[i].tone);
  return out;
}

}  // namespace sd::dog
