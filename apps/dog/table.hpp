// Text for people: aligned tables, and colours where a terminal shows them.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace sd::dog {

// Whether standard output takes colours: a terminal, and neither NO_COLOR nor TERM=dumb is set (https://no-color.org).
bool colours();

enum class Tone { plain, good, warning, bad, strong, faint };
// The text, made printable, in that tone if `colours`.
std::string toned(Tone tone, std::string_view text);

class Table {
 public:
  enum class Align { left, right };
  struct Column {
    std::string title;
    Align align = Align::left;
  };
  struct Cell {
    std::string text;
    Tone tone = Tone::plain;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  void add(std::vector<Cell> row);  // their texts are made printable
  // A line of titles and one for each row, columns two spaces apart.
  std::string text() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

}  // namespace sd::dog
