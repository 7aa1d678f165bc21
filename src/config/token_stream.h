// SPDX-License-Identifier: GPL-2.0-or-later
// The words of one text, one after the other, with their places; and the way back after a mistake: what to leave out
// so that the parser can go on with the next statement. Wraps the generated scanner.
#pragma once

#include <deque>
#include <string_view>
#include <vector>

#include "grammar.h"
#include "position.h"

namespace ctsync::config {

// The token of a word: its own if it is a keyword, else IDENTIFIER.
int word_token(std::string_view word);

// All words that word_token() takes for keywords, sorted.
std::vector<std::string_view> grammar_keywords();

class TokenStream {
 public:
  // `text` must outlive the stream. The scanner keeps a copy of its own.
  explicit TokenStream(std::string_view text);
  ~TokenStream();
  TokenStream(const TokenStream&) = delete;
  TokenStream& operator=(const TokenStream&) = delete;

  // The next word for the parser.
  Grammar::symbol_type next();

  // The word that next() returned last: after a syntax error, the offending one.
  std::string_view word() const { return current_.word; }
  // The number that it follows without a blank; empty if it does not.
  std::string_view number_before() const;
  Position position() const { return current_.where; }
  bool at_end() const { return current_.kind == Grammar::token::END; }

  // False if recover() or recover_top() already gave this very word a second chance, so that complaining again would
  // only repeat what was said.
  bool is_new_trouble() const { return current_.where.offset != retried_ || !has_retried_; }

  // What the parser has to do with its lookahead, the offending word, after it has dropped the broken statement.
  enum class Recovery { keep, drop, give_up };

  // Leaves out the rest of a broken statement: what follows on its line, and the braces it opened.
  Recovery recover();
  // The same outside of all blocks: an unknown block, else everything up to the next top-level keyword. One whose name
  // is in the wrong case is read as what was meant.
  Recovery recover_top();

  // Called by the scanner for each piece of text it has matched.
  void advance(std::string_view matched);

 private:
  struct Entry {
    int kind = 0;
    std::string_view word;
    Position where;
  };

  Entry scan();
  void skip_statement();
  bool skip_block();
  bool retry();

  std::string_view text_;
  void* scanner_ = nullptr;
  Position start_;  // of the piece matched last
  Position end_;    // behind it
  Entry current_;
  Entry previous_;
  std::deque<Entry> pending_;  // to be returned before anything is scanned
  int depth_ = 0;              // blocks open, as far as the parser has seen
  std::size_t retried_ = 0;
  bool has_retried_ = false;
};

}  // namespace ctsync::config
